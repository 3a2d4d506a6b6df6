"""Fine-tune the sentence encoder on requests and the tools they need, with hard negatives.

    python -m qta.training.encoder --out DIR

Trained are all-MiniLM-L6-v2's layers; the word embeddings stay as they are. `qta.training.layers` makes of one or
several results what is shipped, and `qta.export.encoder` the served file.

The loss is that of sentence-transformers' MultipleNegativesRankingLoss, but for one thing: tools that say the same as a
golden one, of which large catalogues are full, are no negatives of its request.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mtrb.types import Benchmark
from qta.embeddings import embedded_text
from qta.languages import read_in_english
from qta.refusals import run_command
from qta.training.causal import encoder_folder

_NEAREST = 30  # tools that hard negatives are drawn from
_TWIN = 0.92  # cosine of tools that say the same
_WEAK = {"open/apibench": 1000}  # one model is golden there though many fit, so that fewer requests count
_WARMUP = 0.1  # of the steps

Pair = tuple[int, int]
"""A request and a tool that it needs, by position."""


@dataclass(frozen=True)
class EncoderSettings:
    """How the encoder is trained, with a temperature of 1 / scale; `negatives` are those of each pair."""

    epochs: int = 2
    batch: int = 128
    negatives: int = 4
    learning_rate: float = 5e-5
    scale: float = 20.0
    max_tokens: int = 64
    seed: int = 0


@dataclass
class TrainingData:
    """The texts of tools and requests of all catalogues, and which belong together.

    Attributes:
        golden: the tools of each request, by position.
        near: tools that are near each request and that it does not need.
        vectors: of the tools, by the encoder that found what is near.
    """

    tools: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    golden: list[list[int]] = field(default_factory=list)
    near: list[list[int]] = field(default_factory=list)
    vectors: Any = None

    @property
    def pairs(self) -> list[Pair]:
        """Return each request with each of its tools; not those that nothing is near to."""
        return [(at, tool) for at, golden in enumerate(self.golden) if self.near[at] for tool in golden]


def read_training(training: Sequence[Benchmark], finder: Any, seed: int) -> TrainingData:
    """Read the training catalogues; `finder` is the encoder that finds the hard negatives."""
    import torch

    rng = random.Random(seed)  # noqa: S311 (a draw, no secret)
    found, parts = TrainingData(), []
    for bench in tqdm(training, desc="catalogues"):
        first = len(found.tools)
        queries = list(bench.queries)
        if len(queries) > _WEAK.get(bench.dataset_id, len(queries)):
            queries = rng.sample(queries, _WEAK[bench.dataset_id])
        texts = [embedded_text(tool) for tool in bench.toolset]
        readings = [read_in_english(query.text) or query.text for query in queries]
        golden = [[bench.toolset.positions[tool_id] for tool_id in bench.qrels[query.query_id]] for query in queries]
        tools = _vectors(finder, texts)
        found.near += [[first + at for at in near] for near in _near(tools, _vectors(finder, readings), golden)]
        found.golden += [[first + at for at in one] for one in golden]
        found.tools += texts
        found.requests += readings
        parts.append(torch.from_numpy(tools))
    found.vectors = torch.cat(parts).to(finder.device)
    return found


def _near(
    tools: NDArray[np.float32], requests: NDArray[np.float32], golden: Sequence[Sequence[int]]
) -> Iterator[list[int]]:
    for vector, needed in zip(requests, golden, strict=True):
        nearest = np.argsort(-(tools @ vector))[: _NEAREST + len(needed)]
        others = (tools[nearest] @ tools[list(needed)].T).max(axis=1) <= _TWIN
        yield nearest[others][:_NEAREST].tolist()


def _vectors(model: Any, texts: Sequence[str]) -> NDArray[np.float32]:
    return np.asarray(model.encode(list(texts), normalize_embeddings=True, batch_size=256, show_progress_bar=False))


def train(model: Any, data: TrainingData, settings: EncoderSettings) -> list[float]:
    """Train the model in place; return the loss of each step."""
    import torch
    from transformers import get_linear_schedule_with_warmup

    rng = random.Random(settings.seed)  # noqa: S311 (a draw, no secret)
    torch.manual_seed(settings.seed)
    model.transformers_model.embeddings.requires_grad_(False)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=0.0)
    pairs = data.pairs
    batch = min(settings.batch, len(pairs))
    steps = settings.epochs * (len(pairs) // batch)
    schedule = get_linear_schedule_with_warmup(optimizer, int(_WARMUP * steps), steps)
    losses = []
    model.train()
    for number in tqdm(range(steps), desc="training the encoder"):
        start = number % (len(pairs) // batch) * batch
        if start == 0:
            rng.shuffle(pairs)
        loss = _loss(model, data, pairs[start : start + batch], settings, rng)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss))
    model.eval()
    return losses


def _loss(model: Any, data: TrainingData, batch: Sequence[Pair], settings: EncoderSettings, rng: random.Random) -> Any:
    """Return the mean cross entropy of each pair's tool among all tools of the batch."""
    import torch
    from torch.nn.functional import cross_entropy

    tools = [tool for _, tool in batch]
    tools += [rng.choice(data.near[request]) for request, _ in batch for _ in range(settings.negatives)]
    requests = _embedded(model, [data.requests[request] for request, _ in batch])
    scores = settings.scale * requests @ _embedded(model, [data.tools[tool] for tool in tools]).T
    return cross_entropy(
        scores.masked_fill(no_negatives(data, batch, tools), -1e4), torch.arange(len(batch), device=scores.device)
    )


def no_negatives(data: TrainingData, batch: Sequence[Pair], tools: Sequence[int]) -> Any:
    """Return (pairs, tools): which of the tools are no negatives of a pair's request, but for the pair's own tool.

    The request needs them, or they say the same as one that it needs.
    """
    import torch

    vectors = data.vectors[list(tools)]
    twins = [(data.vectors[data.golden[request]] @ vectors.T).amax(0) > _TWIN for request, _ in batch]
    return torch.stack(twins).fill_diagonal_(False)


def _embedded(model: Any, texts: list[str]) -> Any:
    import torch
    from sentence_transformers.util import batch_to_device

    features = batch_to_device(model.preprocess(texts), model.device)
    with torch.autocast(model.device.type, torch.bfloat16, enabled=model.device.type == "cuda"):
        vectors = model(features)["sentence_embedding"]
    return torch.nn.functional.normalize(vectors.float(), dim=-1)


def untrained(settings: EncoderSettings) -> Any:
    """Return all-MiniLM-L6-v2 as published."""
    from sentence_transformers import SentenceTransformer

    # For short texts and small heads plain attention is faster than torch's fused one, by half on a CPU.
    model = SentenceTransformer(str(encoder_folder()), model_kwargs={"attn_implementation": "eager"})
    model.max_seq_length = settings.max_tokens
    return model


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the model.")
@click.option("--epochs", type=click.IntRange(1), default=EncoderSettings.epochs, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(out: Path, epochs: int, seed: int) -> None:
    """Train an encoder on all training sets; what is shipped finds the hard negatives."""
    from mtrb.benchmarks.training import LATER, NAMES
    from qta.training.demonstrations import training_catalogues
    from qta.training.layers import float_encoder

    settings = EncoderSettings(epochs=epochs, seed=seed)
    model = untrained(settings)
    finder = float_encoder(settings.max_tokens).to(model.device)
    data = read_training(training_catalogues((*NAMES, *LATER)), finder, seed)
    click.echo(f"{len(data.pairs):,} pairs of {len(data.requests):,} requests")
    losses = train(model, data, settings)
    model.save_pretrained(str(out))
    click.echo(f"loss {losses[0]:.2f} to {np.mean(losses[-100:]):.2f}: {out}")


if __name__ == "__main__":
    run_command(main)
