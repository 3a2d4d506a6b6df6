"""Any Hugging Face causal language model on this machine, with a LoRA adapter where there is one."""

import hashlib
import inspect
import struct
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from mtrb.errors import ArtefactError, InputError, MissingDependencyError
from qta.rewriting.generator import Decoding, check_deadline
from qta.rewriting.prompt import Message, plain_text

DEFAULT_BASE = "default"
"""Our own small base, whose layers come with the package."""


class CausalGenerator:
    """Generate with transformers; on a GPU in bfloat16 where there is one."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        """Take a model and its tokenizer, see `load`."""
        self.model = model
        self.tokenizer = tokenizer
        limits = (getattr(model.config, "max_position_embeddings", None), tokenizer.model_max_length)
        self.positions: int = min(limit for limit in limits if limit)
        self.base = model.get_base_model() if hasattr(model, "get_base_model") else model

    @classmethod
    def adapted(cls, model: Any, tokenizer: Any, adapter: Path) -> Self:
        """Return a generator with a LoRA adapter on the model.

        Raises:
            MissingDependencyError: peft is not installed.
            ArtefactError: the adapter cannot be read or belongs to another architecture.
        """
        try:
            from peft import PeftModel
        except ImportError as error:
            raise MissingDependencyError(f"adapters need peft ({error}); `make install`") from None
        try:
            with quiet():
                model = PeftModel.from_pretrained(model, str(adapter))
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise ArtefactError(f"{adapter}: no adapter of this base: {str(error).strip().splitlines()[0]}") from None
        return cls(model.eval(), tokenizer)

    def prompt_ids(self, conversation: Sequence[Message]) -> list[int]:
        """Return a conversation as tokens, through the model's chat template where it has one."""
        if not self.tokenizer.chat_template:
            ids: list[int] = self.tokenizer(plain_text(conversation))["input_ids"]
            if ids and ids[-1] == self.tokenizer.eos_token_id:
                ids.pop()  # some tokenizers end every text, and an ended text has no continuation
            return ids
        messages = accepted(self.tokenizer, conversation)
        return list(
            self.tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=True, return_dict=True, enable_thinking=False
            )["input_ids"]
        )

    @property
    def _ends(self) -> list[int]:
        """Return the tokens that end an answer: of some chat models it is another one than ends a text."""
        of_model = self.model.generation_config.eos_token_id or []
        return sorted({self.tokenizer.eos_token_id, *([of_model] if isinstance(of_model, int) else of_model)})

    def fits(self, conversation: Sequence[Message], decoding: Decoding) -> bool:
        """Tell whether the model can read a conversation and still answer."""
        length: int = len(self.prompt_ids(conversation)) + decoding.max_new_tokens
        return length <= self.positions

    def generate(
        self, conversations: Sequence[Sequence[Message]], decoding: Decoding, deadline: float | None = None
    ) -> list[list[str]]:
        """Return `decoding.samples` answers a conversation, see `Generator`."""
        import torch

        prompts = [self.prompt_ids(conversation) for conversation in conversations]
        answers: list[list[str]] = [[""] * decoding.samples for _ in prompts]
        room = self.positions - decoding.max_new_tokens
        # Of like length together: the less padding, the less work.
        fitting = sorted((n for n, ids in enumerate(prompts) if len(ids) <= room), key=lambda n: len(prompts[n]))
        torch.manual_seed(decoding.seed)
        step = max(1, decoding.at_once // decoding.samples)
        for start in range(0, len(fitting), step):
            check_deadline(deadline)
            chosen = fitting[start : start + step]
            texts = self._continue([prompts[n] for n in chosen], decoding, deadline)
            for place, number in enumerate(chosen):
                answers[number] = texts[place * decoding.samples : (place + 1) * decoding.samples]
        return answers

    def _continue(self, prompts: list[list[int]], decoding: Decoding, deadline: float | None) -> list[str]:
        import torch
        from transformers import GenerationConfig

        tokenizer = self.tokenizer
        batch = tokenizer.pad({"input_ids": prompts}, padding=True, padding_side="left", return_tensors="pt")
        batch = {name: batch[name].to(self.model.device) for name in ("input_ids", "attention_mask")}
        length = batch["input_ids"].shape[1]
        sampling = {"temperature": decoding.temperature, "top_k": decoding.top_k} if decoding.temperature else {}
        config = GenerationConfig(
            max_new_tokens=decoding.max_new_tokens,
            do_sample=bool(decoding.temperature),
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=self._ends,
            **sampling,
        )
        with torch.inference_mode():
            stop = [_Deadline(deadline)] if deadline is not None else None
            once = [_NoRepeats(decoding.no_repeat, length)] if decoding.no_repeat else None
            if decoding.samples > 1:
                batch = self._read_once(batch, decoding.samples)
            ids = self.model.generate(**batch, generation_config=config, stopping_criteria=stop, logits_processor=once)
        check_deadline(deadline)
        texts: list[str] = tokenizer.batch_decode(ids[:, length:], skip_special_tokens=True)
        return texts

    def _read_once(self, batch: dict[str, Any], samples: int) -> dict[str, Any]:
        """Return a row a sample, whose prompts but for their last token have been read, each once for all its samples.

        On a GPU this saves an eighth to a sixth of the time, and packing the prompts into one row saves no more
        (results/prepacking.md).
        """
        import torch

        ids, mask = (batch[name][:, :-1] for name in ("input_ids", "attention_mask"))
        more = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0), "logits_to_keep": 1}
        taken = inspect.signature(self.base.forward).parameters
        more = {name: value for name, value in more.items() if name in taken}
        cache = self.model(input_ids=ids, attention_mask=mask, use_cache=True, **more).get("past_key_values")
        rows = {name: torch.repeat_interleave(values, samples, 0) for name, values in batch.items()}
        if not hasattr(cache, "batch_repeat_interleave"):
            return rows  # a model without attention keeps something else, and reads each copy
        cache.batch_repeat_interleave(samples)
        return {**rows, "past_key_values": cache}


class _NoRepeats:
    """Forbid repeated sequences in answers; what the prompt says may be said again, as the tools' names must be."""

    def __init__(self, length: int, prompt: int) -> None:
        from transformers import NoRepeatNGramLogitsProcessor

        self._rule, self._prompt = NoRepeatNGramLogitsProcessor(length), prompt

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        return self._rule(input_ids[:, self._prompt :], scores)


class _Deadline:
    """Stop decoding once nobody waits for it."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:  # noqa: ARG002 (the signature is transformers')
        import time

        import torch

        return torch.full((len(input_ids),), time.monotonic() > self.deadline, device=input_ids.device)


def load_model(base: str) -> tuple[Any, Any]:
    """Return a causal language model and its tokenizer, ready for generation and for training.

    Raises:
        MissingDependencyError: transformers is not installed.
        InputError: there is no such model, it is damaged, or its tokenizer has no end token.
    """
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise MissingDependencyError(f"local models need torch and transformers ({error}); `make install`") from None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    if base == DEFAULT_BASE:
        from qta.training.layers import load_rewriter

        model, tokenizer = load_rewriter()
        return model.to(device).eval(), tokenizer
    try:
        with quiet():
            if Path(base).suffix.lower() == ".gguf" and not Path(base).is_dir():
                model, tokenizer = _unpacked(Path(base), dtype)
            else:
                tokenizer = AutoTokenizer.from_pretrained(base)
                model, read = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, output_loading_info=True)
                _check_whole(read)
            model = model.to(device)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"cannot load the base model {base!r}: {reason}; give a folder, a GGUF file or a name on the hub"
        ) from None
    if tokenizer.eos_token is None:
        raise InputError(
            f"the tokenizer of {base!r} has no end token, so that no answer could end; "
            "set eos_token in its tokenizer_config.json, or choose another base"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.eval(), tokenizer


def _unpacked(path: Path, dtype: Any) -> tuple[Any, Any]:
    """Return the model and tokenizer of a GGUF file (llama.cpp's format), as if they had never been packed.

    What transformers itself makes of the file counts as quantised for it still, and could be neither trained nor saved.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not path.is_file():
        raise FileNotFoundError("there is no such file")
    of_file = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(**of_file)
        packed, read = AutoModelForCausalLM.from_pretrained(**of_file, dtype=dtype, output_loading_info=True)
    except struct.error:
        raise ValueError("it ends before it should; download it again") from None
    _check_whole(read)
    del packed.config.quantization_config
    model = AutoModelForCausalLM.from_config(packed.config, dtype=dtype)
    model.load_state_dict(packed.state_dict())
    model.generation_config = packed.generation_config
    return model, tokenizer


def _check_whole(read: Mapping[str, Any]) -> None:
    """Refuse a model whose weights are not all there: the rest would be random, another each time."""
    if lacking := sorted(read["missing_keys"]) or [name for name, *_ in read["mismatched_keys"]]:
        raise ValueError(f"it lacks {len(lacking)} of its weights, {lacking[0]} for one")


def accepted(tokenizer: Any, conversation: Sequence[Message]) -> list[Message]:
    """Return a conversation as a chat template takes it: some have no place for an instruction before the request."""
    from jinja2 import TemplateError

    messages = list(conversation)
    try:
        tokenizer.apply_chat_template(messages, tokenize=False)
    except TemplateError:
        return [{"role": "user", "content": "\n\n".join(message["content"] for message in messages)}]
    return messages


def fingerprint(model: Any) -> str:
    """Return what tells a model's weights from others: names, shapes and a few values of each, hashed.

    It is the same on a GPU, where they are loaded in bfloat16, and on a CPU.
    """
    digest = hashlib.sha256()
    for name, parameter in sorted(model.state_dict().items()):
        values = parameter.detach().flatten()[:16].bfloat16().float().cpu().numpy().round(3)
        digest.update(f"{name} {tuple(parameter.shape)} {values.tolist()}".encode())
    return digest.hexdigest()[:16]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' bars and notes to each other from the user's terminal."""
    import transformers

    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        transformers.logging.set_verbosity(verbosity)
        transformers.logging.enable_progress_bar()
