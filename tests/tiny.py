"""A tiny random Llama with a chat template, made on the spot: what `any Hugging Face model` means in the tests."""

from pathlib import Path

TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
WORDS = [
    "list",
    "orders",
    "refund",
    "the",
    "last",
    "order",
    "send",
    "mail",
    "to",
    "customer",
    "find",
    "search",
    "get",
    "movie",
    "credits",
    "cancel",
    "booking",
]


def make_llama(
    folder: Path, template: str | None = TEMPLATE, end: str | None = "</s>", pad: str | None = "<pad>"
) -> str:
    """Save a model of two layers and its tokenizer; return the folder's name."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = ["<unk>", "<pad>", "</s>", "<system>", "<user>", "<assistant>"]
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace()])
    tokenizer.train_from_iterator([" ".join(WORDS), "; : , ."], trainers.WordLevelTrainer(special_tokens=special))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token=end, pad_token=pad, model_max_length=512
    )
    fast.chat_template = template
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        eos_token_id=fast.convert_tokens_to_ids("</s>"),
        pad_token_id=fast.convert_tokens_to_ids("<pad>"),
        initializer_range=0.3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return str(folder)
