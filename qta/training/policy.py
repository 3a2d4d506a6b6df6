"""The language model in training: a base with a LoRA adapter, sampled from and moved by TRL's DPO trainer."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mtrb.errors import InputError, MissingDependencyError
from qta.rewriting.local import CausalGenerator, accepted, load_model, quiet
from qta.rewriting.prompt import plain_text
from qta.training.config import DPOSettings, LoraSettings
from qta.training.preferences import PreferencePair


@dataclass
class Speed:
    """What a policy was trained on, and how long that took."""

    pairs: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        per_second = max(self.seconds, 1e-9)
        return f"{self.pairs / per_second:,.1f} pairs/s, {self.tokens / per_second:,.0f} tokens/s"


class Policy:
    """A base model with one trainable adapter."""

    def __init__(self, base: str, lora: LoraSettings, seed: int, adapter: Path | None = None) -> None:
        """Load the base with a new adapter, or with a saved one.

        Raises:
            MissingDependencyError: trl, peft or transformers is not installed.
            InputError: there is no such base, or it cannot be trained.
        """
        try:
            import torch
            import trl  # noqa: F401 (missing here rather than after minutes of sampling)
            from peft import LoraConfig, PeftModel, get_peft_model
        except ImportError as error:
            raise MissingDependencyError(f"training needs trl and peft ({error}); `make install`") from None
        self.speed = Speed()
        model, self.tokenizer = load_model(base)
        torch.manual_seed(seed)
        if adapter is not None:
            with quiet():
                self.model: Any = PeftModel.from_pretrained(model, str(adapter), is_trainable=True)
            return
        config = LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        try:
            with quiet():
                self.model = get_peft_model(model, config)
        except ValueError as error:
            raise InputError(f"{base!r} cannot get a LoRA adapter: {error}") from None

    def generator(self) -> CausalGenerator:
        """Return what samples from the current policy."""
        return CausalGenerator(self.model.eval(), self.tokenizer)

    def merged(self) -> Any:
        """Return a copy of the base with the adapter in its weights."""
        with quiet():
            return copy.deepcopy(self.model).merge_and_unload()

    def save(self, folder: Path) -> None:
        """Write the adapter into a folder.

        Raises:
            OSError: the disk does not take it.
        """
        from safetensors import SafetensorError

        try:
            self.model.save_pretrained(str(folder), selected_adapters=["default"])
        except SafetensorError as error:  # what a full disk is to it
            raise OSError(str(error)) from None

    def prefer(self, pairs: Sequence[PreferencePair], settings: DPOSettings, seed: int) -> list[Mapping[str, float]]:
        """Move the policy towards the chosen rewrites, the policy as it is being the reference; return the log.

        Raises:
            InputError: the trainer left out pairs, because their prompt alone fills the model; or training ran away.
        """
        from datasets import Dataset
        from trl import DPOConfig, DPOTrainer

        rows = [self._row(pair) for pair in pairs]
        with TemporaryDirectory() as folder, quiet():
            arguments = DPOConfig(
                output_dir=folder,
                beta=settings.beta,
                learning_rate=settings.learning_rate,
                num_train_epochs=settings.epochs,
                per_device_train_batch_size=settings.batch,
                gradient_accumulation_steps=settings.accumulation,
                loss_type=["sigmoid", "sft"] if settings.likelihood else ["sigmoid"],
                loss_weights=[1.0, settings.likelihood] if settings.likelihood else None,
                lr_scheduler_type="constant",
                max_length=self.generator().positions,
                gradient_checkpointing=False,
                bf16=self.model.device.type == "cuda",
                use_cpu=self.model.device.type == "cpu",
                logging_steps=1,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                dataloader_pin_memory=False,
                seed=seed,
            )
            with compact_output_layer():
                trainer = DPOTrainer(
                    self.model, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=self.tokenizer
                )
                kept = len(trainer.train_dataset)
                if kept != len(pairs):
                    raise InputError(
                        f"{len(pairs) - kept} of {len(pairs)} pairs have a prompt that alone fills the model's "
                        f"{arguments.max_length} tokens; show fewer tools or words (prompt.tools, prompt.words)"
                    )
                with within_memory("take fewer pairs together (dpo.batch, and more of dpo.accumulation)"):
                    trainer.train()
        self._detach()
        require_finite(self.model, settings.learning_rate)
        self._note(trainer.state.log_history, len(pairs) * settings.epochs)
        return [entry for entry in trainer.state.log_history if "loss" in entry]

    def _note(self, history: Sequence[Mapping[str, float]], pairs: int) -> None:
        self.speed.pairs += pairs
        self.speed.tokens += int(max((entry.get("num_tokens", 0) for entry in history), default=0))
        self.speed.seconds += sum(entry.get("train_runtime", 0.0) for entry in history)

    def _row(self, pair: PreferencePair) -> Mapping[str, Any]:
        if self.tokenizer.chat_template:
            return {**pair.to_trl(), "prompt": accepted(self.tokenizer, pair.prompt)}
        return {"prompt": plain_text(pair.prompt), "chosen": f" {pair.chosen}", "rejected": f" {pair.rejected}"}

    def _detach(self) -> None:
        """Take off what the trainer has put on the model, so that the next round starts clean."""
        self.model.delete_adapter("ref")
        self.model.set_adapter("default")
        vars(self.model.get_base_model()).pop("forward", None)


@contextmanager
def within_memory(advice: str) -> Iterator[None]:
    """Tell what takes less memory, where a GPU has too little.

    Raises:
        InputError: it has.
    """
    import torch

    try:
        yield
    except torch.OutOfMemoryError:
        raise InputError(f"the GPU has too little memory; {advice}, or take a smaller base") from None


def require_finite(model: Any, learning_rate: float) -> None:
    """Refuse a model that training has ruined.

    Raises:
        InputError: what was trained of it is no number any more.
    """
    if not all(weights.isfinite().all() for weights in model.parameters() if weights.requires_grad):
        raise InputError(
            f"training has run away at the learning rate {learning_rate:g}: its weights are no numbers any more; "
            "train at a lower one"
        )


@contextmanager
def compact_output_layer() -> Iterator[None]:
    """Let TRL score only the tokens that have a label on a CPU too, as it does on a GPU.

    It projects every token of the prompt there, for the sake of compilers that this does not concern; the loss is the
    same, and a small model with a large vocabulary trains twice as fast.
    """
    from trl.trainer import utils

    before = utils._use_triton
    utils._use_triton = lambda device: device.type == "cpu" or before(device)
    try:
        yield
    finally:
        utils._use_triton = before
