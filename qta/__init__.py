"""Retrieve the tools that a request needs, and align the retrieval to a catalogue of one's own.

import qta

tools = qta.load("my-index")
for tool in tools.retrieve("refund order 8841", k=5).tools:
    print(tool.tool_id, tool.description)
"""

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qta.engine import Engine
    from qta.rewriting import RewriterChoice

__version__ = "0.1.0"

__all__ = ["__version__", "load"]


def load(
    index: str | PathLike[str] | None = None,
    *,
    tools: Iterable[Mapping[str, Any]] | None = None,
    rewriter: "str | RewriterChoice | None" = None,
) -> "Engine":
    """Open a catalogue for searching; what is returned may be shared between threads.

    Args:
        index: a folder that `qta index` made.
        tools: records instead of a folder, as OpenAI, Anthropic, MCP or our own files hold them. They are indexed at
            once, some hundred a second, in a folder that goes with the process.
        rewriter: `default` for the one that comes with the package, a folder of `qta train`, or a `RewriterChoice` for
            an endpoint; none unless given.

    Raises:
        TypeError: neither or both of `index` and `tools` are given.
        InputError: a record holds no tool, or two have one id.
        ArtefactError: the index or the rewriter is absent, damaged or does not fit.
    """
    if (index is None) == (tools is None):
        raise TypeError("give either an index folder or tools=[...]")
    # `import qta` is all that many programs do of it, so that what takes time waits until here.
    from pathlib import Path

    from qta.engine import Engine
    from qta.records import open_records
    from qta.rewriting import RewriterChoice

    choice = RewriterChoice(rewriter) if isinstance(rewriter, str) else rewriter
    return Engine.open(Path(index), choice) if index is not None else open_records(tools or (), choice)
