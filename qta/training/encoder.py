"""Fine-tune the sentence encoder on requests and the tools they need, with hard negatives (sentence-transformers).

    python -m qta.training.encoder --out DIR

Trained are all-MiniLM-L6-v2's layers; the word embeddings stay as they are. `qta.training.layers` makes of the result
what is shipped, and `qta.export.encoder` the served file.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from mtrb.types import Benchmark
from qta.embeddings import embedded_text
from qta.languages import read_in_english
from qta.training.causal import encoder_folder

_NEAREST = 20  # tools that a hard negative is drawn from
_TWIN = 0.92  # cosine of tools that say the same; such a neighbour of a golden tool is no wrong answer
_WEAK = {"open/apibench": 1000}  # one model is golden there though many fit, so that fewer requests count


@dataclass(frozen=True)
class EncoderSettings:
    """How the encoder is trained, with a temperature of 1 / scale."""

    epochs: int = 1
    batch: int = 64
    learning_rate: float = 5e-5
    scale: float = 20.0
    max_tokens: int = 64
    seed: int = 0


Triple = tuple[str, str, str]
"""A request as it is read, a tool it needs, and a tool that is near but not needed."""


def untrained(settings: EncoderSettings) -> Any:
    """Return all-MiniLM-L6-v2 as published."""
    from sentence_transformers import SentenceTransformer

    # For short texts and small heads plain attention is faster than torch's fused one, by half on a CPU.
    model = SentenceTransformer(str(encoder_folder()), model_kwargs={"attn_implementation": "eager"})
    model.max_seq_length = settings.max_tokens
    return model


def triples(training: Sequence[Benchmark], model: Any, seed: int) -> Iterator[Triple]:
    """Yield a triple for each golden tool of each request, negatives drawn among the nearest by the untrained model."""
    rng = random.Random(seed)  # noqa: S311 (a draw, no secret)
    for bench in training:
        texts = [embedded_text(tool) for tool in bench.toolset]
        tools = _vectors(model, texts)
        queries = list(bench.queries)
        if len(queries) > _WEAK.get(bench.dataset_id, len(queries)):
            queries = rng.sample(queries, _WEAK[bench.dataset_id])
        readings = [read_in_english(query.text) or query.text for query in queries]
        for query, reading, vector in zip(queries, readings, _vectors(model, readings), strict=True):
            golden = [bench.toolset.positions[tool_id] for tool_id in bench.qrels[query.query_id]]
            twins = (tools @ tools[golden].T).max(axis=1) > _TWIN
            near = [at for at in np.argsort(-(tools @ vector))[: _NEAREST + len(golden)] if not twins[at]]
            for position in golden:
                if near:
                    yield reading, texts[position], texts[rng.choice(near)]


def _vectors(model: Any, texts: Sequence[str]) -> NDArray[np.float32]:
    return np.asarray(model.encode(list(texts), normalize_embeddings=True, batch_size=64, show_progress_bar=False))


def train(model: Any, rows: Sequence[Triple], settings: EncoderSettings, out: Path) -> None:
    """Train the model and save it."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.training_args import BatchSamplers

    for parameter in model.transformers_model.embeddings.parameters():
        parameter.requires_grad_(False)
    columns = dict(zip(("anchor", "positive", "negative"), map(list, zip(*rows, strict=True)), strict=True))
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(out / "checkpoints"),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch,
        learning_rate=settings.learning_rate,
        warmup_steps=0.1,
        bf16=True,
        use_cpu=model.device.type == "cpu",
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        save_strategy="no",
        logging_steps=50,
        report_to="none",
        dataloader_pin_memory=False,
        seed=settings.seed,
    )
    loss = MultipleNegativesRankingLoss(model, scale=settings.scale)
    SentenceTransformerTrainer(model, arguments, train_dataset=Dataset.from_dict(columns), loss=loss).train()
    model.save_pretrained(str(out))


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the model.")
@click.option("--epochs", default=1, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(out: Path, epochs: int, seed: int) -> None:
    """Train the encoder on all training sets."""
    from mtrb.benchmarks.training import NAMES
    from qta.training.demonstrations import training_catalogues

    settings = EncoderSettings(epochs=epochs, seed=seed)
    model = untrained(settings)
    rows = list(triples(training_catalogues(NAMES), model, seed))
    click.echo(f"{len(rows):,} triples")
    train(model, rows, settings, out)


if __name__ == "__main__":
    main()
