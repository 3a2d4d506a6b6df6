"""Document expansion: requests that a model writes for each tool are indexed with its description (arXiv 1904.08375).

The model is that of `qta.training.requests`; `qta.training.layers generator` makes of it the file that is read here.
"""

from dataclasses import replace
from pathlib import Path

from mtrb.errors import AbsentDataError
from mtrb.types import Toolset
from qta.rewriting.generator import Generator
from qta.training.requests import DECODING, messages

GENERATOR = Path("generator/generator.safetensors")


def load_generator(path: Path = GENERATOR) -> Generator:
    """Return the model that writes requests.

    Raises:
        AbsentDataError: it is not there.
    """
    from qta.rewriting.local import CausalGenerator
    from qta.training.layers import load_rewriter

    if not path.exists():
        raise AbsentDataError(f"{path}: no model that writes requests; qta/training/requests.py says how to make it")
    generator: Generator = CausalGenerator(*load_rewriter(path))
    return generator


def expanded(toolset: Toolset, generator: Generator, requests: int = 1) -> Toolset:
    """Return the same tools, each described by what is said of it and so many requests for it."""
    decoding = replace(DECODING, samples=requests)
    written = generator.generate([messages([tool]) for tool in toolset], decoding)
    return Toolset(
        replace(tool, description="\n".join([tool.description, *dict.fromkeys(filter(None, texts))]))
        for tool, texts in zip(toolset, written, strict=True)
    )
