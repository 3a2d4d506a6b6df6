"""The supervised stage: teach a causal language model to write the steps of requests (TRL's SFTTrainer).

    python -m qta.training.supervised --out DIR [--base BASE]

The result is a model folder. `qta.training.delta` makes of it what is shipped.
"""

import csv
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from mtrb.errors import InputError
from mtrb.types import Benchmark
from qta.rewriting.prompt import Prompt
from qta.training.demonstrations import Demonstration, demonstrate


@dataclass(frozen=True)
class SupervisedSettings:
    """How long and how fast; a step sees batch x accumulation demonstrations."""

    learning_rate: float = 6e-4
    batch: int = 32
    accumulation: int = 4
    epochs: int = 1
    seed: int = 0


def train(
    model: Any, tokenizer: Any, demonstrations: Sequence[Demonstration], out: Path, settings: SupervisedSettings
) -> list[dict[str, float]]:
    """Train a model on demonstrations, save it and its log into a folder; an interrupted run goes on from there.

    Raises:
        InputError: the trainer left out demonstrations that do not fit the model.
    """
    from datasets import Dataset
    from transformers.trainer_utils import get_last_checkpoint
    from trl import SFTConfig, SFTTrainer

    from qta.training.policy import compact_output_layer

    rows = [
        {"prompt": one.prompt, "completion": [{"role": "assistant", "content": one.steps}]} for one in demonstrations
    ]
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
        max_length=tokenizer.model_max_length,
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
        trainer = SFTTrainer(model, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
        if len(trainer.train_dataset) != len(rows):
            dropped = len(rows) - len(trainer.train_dataset)
            raise InputError(f"{dropped} of {len(rows)} demonstrations do not fit the model; show fewer tools or words")
        trainer.train(resume_from_checkpoint=get_last_checkpoint(arguments.output_dir) if out.exists() else None)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    log: list[dict[str, float]] = [entry for entry in trainer.state.log_history if "loss" in entry]
    with (out / "log.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["step", "epoch", "loss", "learning_rate"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(log)
    return log


def training_catalogues(names: Sequence[str]) -> list[Benchmark]:
    """Return the training catalogues without anything that tells of a held-out set."""
    from mtrb.benchmarks import held_out
    from mtrb.benchmarks.training import allowed, load_training

    return list(allowed((bench for name in names for bench in load_training(name)), held_out()))


def write_demonstrations(path: Path, demonstrations: Sequence[Demonstration]) -> None:
    """Write demonstrations as JSON Lines."""
    with path.open("w", encoding="utf-8") as file:
        for one in demonstrations:
            file.write(json.dumps(vars(one), ensure_ascii=False) + "\n")


def read_demonstrations(path: Path) -> list[Demonstration]:
    """Read what `write_demonstrations` wrote."""
    with path.open(encoding="utf-8") as file:
        return [Demonstration(**json.loads(line)) for line in file]


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the model.")
@click.option("--mixtures", default=4, show_default=True, help="Times each request is shown, among other tools.")
@click.option("--epochs", default=2, show_default=True)
@click.option("--tools", default=10, show_default=True, help="Tools in a prompt.")
@click.option("--words", default=6, show_default=True, help="Words of each description.")
def main(out: Path, mixtures: int, epochs: int, tools: int, words: int) -> None:
    """Train our own small base on all training sets."""
    from mtrb.benchmarks.training import NAMES
    from qta.encoder import Encoder
    from qta.training.causal import tokenizer, untrained_model

    out.mkdir(parents=True, exist_ok=True)
    path = out / "demonstrations.jsonl"
    if not path.exists():
        catalogues, encoder, prompt = training_catalogues(NAMES), Encoder(), Prompt(tools=tools, words=words)
        mixed = [one for seed in range(mixtures) for one in demonstrate(catalogues, encoder, prompt, seed)]
        write_demonstrations(path, mixed)
    start = time.perf_counter()
    settings = SupervisedSettings(epochs=epochs)
    log = train(untrained_model(), tokenizer(), read_demonstrations(path), out, settings)
    click.echo(f"loss {log[0]['loss']:.3f} to {log[-1]['loss']:.3f} in {time.perf_counter() - start:,.0f} s: {out}")


if __name__ == "__main__":
    main()
