"""What the systems of an evaluation share over one catalogue."""

from functools import cached_property
from pathlib import Path

from mtrb.types import Tool, Toolset
from qta.baselines import FloatDenseRetriever
from qta.encoder import Encoder
from qta.index import Advance, ToolIndex, build_in_memory
from qta.reading import Reader, Reading

_PAPER_TOKENS = 256  # what sentence-transformers reads of a text unless told otherwise


class Workbench:
    """Build systems over one catalogue; those that need an index or the original weights share them."""

    def __init__(
        self,
        toolset: Toolset,
        encoder: Encoder,
        advance: Advance = lambda _: None,
        rewriters: Path = Path("rewriters"),
    ) -> None:
        """Take a catalogue, the encoder, and the folder where `make rewriters` put aligned rewriters."""
        self.toolset = toolset
        self.encoder = encoder
        self.rewriters = rewriters
        self._advance = advance
        self._readings: dict[str, Reading] = {}

    def read(self, request: str) -> Reading:
        """Return what retrieval needs of a request, which is read once."""
        if request not in self._readings:
            self._readings[request] = Reader(self.encoder).read(request)
        return self._readings[request]

    @cached_property
    def index(self) -> ToolIndex:
        """Return the catalogue's index, built at first use."""
        return build_in_memory(self.toolset, self.encoder, self._advance)

    @cached_property
    def minilm(self) -> FloatDenseRetriever:
        """Return the paper's zero-shot retriever."""
        return FloatDenseRetriever(self.toolset, _description, _PAPER_TOKENS)


def _description(tool: Tool) -> str:
    return tool.description
