"""The benchmark registry: dataset ids, their splits, and one way to load them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from mtrb.benchmarks.files import load_files, make_benchmark, read_queries
from mtrb.benchmarks.public import NAMES, load_public
from mtrb.benchmarks.released import (
    METATOOL_DRAWS,
    load_metatool,
    load_restbench,
    load_toolbench,
    load_toolbench_standin,
)
from mtrb.errors import AbsentDataError, DataError
from mtrb.formats import read_tools, sample_path
from mtrb.types import Benchmark, Toolset

__all__ = ["DATASETS", "Dataset", "held_out", "load", "load_examples", "load_files"]


@dataclass(frozen=True)
class Dataset:
    """Describe a dataset: the splits it has and how one is loaded."""

    splits: tuple[str, ...]
    load: Callable[[str], Benchmark]


def _load_sample(split: str) -> Benchmark:
    toolset = Toolset(read_tools(["sample:"]))
    records = [entry for entry in read_queries(sample_path("queries.jsonl")) if entry[1]["split"] == split]
    return make_benchmark("sample", split, toolset, records)


DATASETS: dict[str, Dataset] = {
    "mtrb/restbench": Dataset(("train", "test"), load_restbench),
    "mtrb/metatool": Dataset(("train", *(f"train-{n}" for n in range(1, METATOOL_DRAWS + 1)), "test"), load_metatool),
    "mtrb/toolbench": Dataset(("train", "test"), load_toolbench),
    "mtrb/toolbench-standin": Dataset(("train", "test"), load_toolbench_standin),
    "sample": Dataset(("train", "validation", "test"), _load_sample),
    **{f"public/{name}": Dataset(("validation", "test"), partial(load_public, name)) for name in NAMES},
}


def load(dataset_id: str, split: str = "test") -> Benchmark:
    """Load one split of a dataset.

    Raises:
        DataError: the dataset or split is unknown, or its files are absent or altered.
    """
    dataset = DATASETS.get(dataset_id)
    if dataset is None:
        raise DataError(f"unknown dataset {dataset_id!r}; known: {', '.join(DATASETS)}")
    if split not in dataset.splits:
        raise DataError(f"{dataset_id} has no split {split!r}; it has {', '.join(dataset.splits)}")
    return dataset.load(split)


def held_out() -> Iterator[Benchmark]:
    """Yield every split of every dataset whose data is there: what training must not see."""
    for dataset_id, dataset in DATASETS.items():
        for split in dataset.splits:
            try:
                yield load(dataset_id, split)
            except AbsentDataError:
                continue


def load_examples(dataset_id: str) -> list[Benchmark]:
    """Load the annotated examples of a dataset: its train split, or several draws of it; none where it has none.

    Raises:
        DataError: the dataset is unknown, or its files are absent or altered.
    """
    if dataset_id not in DATASETS:
        raise DataError(f"unknown dataset {dataset_id!r}; known: {', '.join(DATASETS)}")
    splits = DATASETS[dataset_id].splits
    draws = [split for split in splits if split.startswith("train-")] or [split for split in splits if split == "train"]
    return [load(dataset_id, split) for split in draws]
