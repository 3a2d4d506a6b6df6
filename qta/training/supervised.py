"""The supervised stage: teach a causal language model to write the steps of requests (TRL's SFTTrainer).

All of it, to the file that is shipped:

    python -m qta.training.demonstrations --out demonstrations.jsonl
    python -m qta.training.supervised demonstrations.jsonl --out DIR
    python -m qta.training.layers rewriter DIR --out qta/weights
    python -m qta.export.rewriter --out qta/weights

Of another base than our own (`--base`), it trains an adapter and saves the model with the adapter in its weights, which
is a base for `qta train dpo --base DIR` then.
"""

import csv
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from mtrb.errors import InputError
from mtrb.formats.records import read_lines
from qta.commands.numbers import FiniteRange
from qta.refusals import run_command
from qta.rewriting.local import CausalGenerator, accepted
from qta.rewriting.prompt import plain_text
from qta.training.demonstrations import Demonstration

_LONGEST = 768  # tokens of a demonstration; our own base reads 512
_RANK = 32  # of the adapter that another base gets


@dataclass(frozen=True)
class SupervisedSettings:
    """How long and how fast; a step sees batch x accumulation demonstrations."""

    learning_rate: float = 6e-4
    batch: int = 32
    accumulation: int = 4
    epochs: float = 1
    seed: int = 0


def train(
    model: Any, tokenizer: Any, demonstrations: Path, out: Path, settings: SupervisedSettings
) -> list[dict[str, float]]:
    """Train a model on demonstrations, save it and its log into a folder; an interrupted run goes on from there.

    Raises:
        InputError: there is no demonstration, a line is none, the trainer left some out, or training ran away.
    """
    from datasets import Dataset
    from transformers.trainer_utils import get_last_checkpoint
    from trl import SFTConfig, SFTTrainer

    from qta.training.policy import compact_output_layer, require_finite

    longest = min(CausalGenerator(model, tokenizer).positions, _LONGEST)
    rows = Dataset.from_list([_asked(row, tokenizer) for row in _read(demonstrations)])
    fitting = rows.filter(_fits, fn_kwargs={"tokenizer": tokenizer, "longest": longest}, num_proc=os.cpu_count())
    print(f"{len(fitting)} of {len(rows)} demonstrations fit the model")  # noqa: T201
    on_gpu = model.device.type == "cuda"
    arguments = SFTConfig(
        output_dir=str(out / "checkpoints"),
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.03,
        weight_decay=0.01,
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch,
        gradient_accumulation_steps=settings.accumulation,
        train_sampling_strategy="group_by_length",
        dataset_num_proc=os.cpu_count(),
        max_length=longest,
        gradient_checkpointing=False,
        bf16=True,
        use_cpu=not on_gpu,
        logging_steps=20,
        save_steps=200,
        save_total_limit=1,
        report_to="none",
        dataloader_pin_memory=on_gpu,
        seed=settings.seed,
    )
    with compact_output_layer():
        trainer = SFTTrainer(model, args=arguments, train_dataset=fitting, processing_class=tokenizer)
        if len(trainer.train_dataset) != len(fitting):
            raise InputError(f"the trainer kept {len(trainer.train_dataset)} of {len(fitting)} demonstrations")
        trainer.train(resume_from_checkpoint=get_last_checkpoint(arguments.output_dir) if out.exists() else None)
    require_finite(model, settings.learning_rate)
    if hasattr(model, "merge_and_unload"):
        model.save_pretrained(out / "adapter")
        model = model.merge_and_unload()
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    log: list[dict[str, float]] = [entry for entry in trainer.state.log_history if "loss" in entry]
    with (out / "log.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["step", "epoch", "loss", "learning_rate"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(log)
    return log


def _read(path: Path) -> Iterator[Demonstration]:
    """Yield the demonstrations of a file.

    Raises:
        InputError: there is none, or a line is none.
    """
    empty = True
    for location, row in read_lines(path):
        if not isinstance(row, dict) or not all(_are_messages(row.get(part)) for part in ("prompt", "completion")):
            why = row if isinstance(row, Exception) else "no demonstration; 'prompt' and 'completion' must be messages"
            raise InputError(f"{location}: {why}")
        yield Demonstration(prompt=row["prompt"], completion=row["completion"])
        empty = False
    if empty:
        raise InputError(f"{path}: holds no demonstration; `python -m qta.training.demonstrations` writes them")


def _are_messages(found: Any) -> bool:
    keys = ("role", "content")
    return isinstance(found, list) and all(
        isinstance(one, dict) and all(isinstance(one.get(key), str) for key in keys) for one in found
    )


def _asked(row: Demonstration, tokenizer: Any) -> dict[str, Any]:
    """Return a demonstration as a model is asked: through its chat template where it has one."""
    if tokenizer.chat_template:
        return {**row, "prompt": accepted(tokenizer, row["prompt"])}
    return {"prompt": plain_text(row["prompt"]), "completion": f" {row['completion'][0]['content']}"}


def _fits(row: Any, tokenizer: Any, longest: int) -> bool:
    whole = row["prompt"] + row["completion"]
    if isinstance(whole, str):
        return len(tokenizer(whole)["input_ids"]) < longest
    return len(tokenizer.apply_chat_template(whole, return_dict=True)["input_ids"]) <= longest


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.argument("demonstrations", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the model.")
@click.option("--base", help="A model of the hub, a folder or a GGUF file.  [default: our own small one, untrained]")
@click.option("--rate", type=FiniteRange(0, min_open=True), help="Learning rate.  [default: 6e-4]")
@click.option("--epochs", type=FiniteRange(0, min_open=True), default=4.0, show_default=True)
@click.option("--dropout", default=0.0, show_default=True, help="Of our own small base.")
@click.option(
    "--batch",
    type=click.IntRange(1),
    default=128,
    show_default=True,
    help="Demonstrations in a step.",
)
def main(
    demonstrations: Path,
    out: Path,
    base: str | None,
    rate: float | None,
    epochs: float,
    dropout: float,
    batch: int,
) -> None:
    """Train our own small base, or an adapter of another."""
    import torch

    from qta.training.causal import tokenizer, untrained_model
    from qta.training.config import LoraSettings
    from qta.training.policy import Policy

    on_gpu = torch.cuda.is_available()
    at_once = batch if on_gpu else math.gcd(batch, 32)
    settings = SupervisedSettings(batch=at_once, accumulation=batch // at_once, epochs=epochs)
    if rate is not None:
        settings = replace(settings, learning_rate=rate)
    if base is None:
        model, reads = untrained_model(dropout).to("cuda" if on_gpu else "cpu"), tokenizer()
    else:
        policy = Policy(base, LoraSettings(rank=_RANK, alpha=_RANK), settings.seed)
        model, reads = policy.model, policy.tokenizer
    start = time.perf_counter()
    log = train(model, reads, demonstrations, out, settings)
    loss = f"loss {log[0]['loss']:.3f} to {log[-1]['loss']:.3f}" if log else "trained"
    click.echo(f"{loss} in {time.perf_counter() - start:,.0f} s: {out}")


if __name__ == "__main__":
    run_command(main)
