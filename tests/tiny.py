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


def make_gguf(path: Path) -> str:
    """Write a model of one layer as a GGUF file, llama.cpp's format; return its name."""
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(path, "llama")
    rng = np.random.default_rng(0)
    characters = [chr(code) for code in range(ord("!"), ord("~") + 1)] + ["Ġ"]  # a blank, in byte-level BPE
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *characters, "th", "the"]
    writer.add_block_count(1)
    writer.add_context_length(4096)  # a token a character
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(1e4)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_merges(["t h", "th e"])
    writer.add_token_types([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (len(tokens) - 3))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE.replace("</s>", "<|im_end|>"))
    shapes = {"attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32), "attn_output": (32, 32)}
    shapes |= {"ffn_gate": (64, 32), "ffn_up": (64, 32), "ffn_down": (32, 64)}
    tensors = {f"blk.0.{name}.weight": 0.3 * rng.standard_normal(shape) for name, shape in shapes.items()}
    tensors |= {f"blk.0.{name}.weight": np.ones(32) for name in ("attn_norm", "ffn_norm")}
    tensors |= {"token_embd.weight": rng.standard_normal((len(tokens), 32)), "output_norm.weight": np.ones(32)}
    for name, values in tensors.items():
        writer.add_tensor(name, values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(path)
