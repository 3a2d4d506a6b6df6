"""The dense index: FAISS over unit vectors in half precision, exhaustive up to 50,000 tools and HNSW above."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLAT_LIMIT = 50_000
"""Up to this size exhaustive search takes about a millisecond; HNSW trades some recall for speed above it."""

GRAPH = "hnsw.faiss"

_FEW = 4000  # tools that a filter leaves, which are sooner all looked at than searched

_HNSW_LINKS, _HNSW_BUILD, _HNSW_SEARCH = 32, 200, 128


class DenseIndex:
    """Find the nearest unit vectors by inner product, which for them is the cosine.

    Half precision changes a cosine by less than 0.001 and halves what a query has to read.
    """

    def __init__(self, vectors: NDArray[np.float16], graph: Any = None) -> None:
        """Search `vectors` (tools, dimension) exhaustively, or through an HNSW graph over them."""
        import faiss

        self.vectors = vectors
        self.kind = "flat" if graph is None else "hnsw"
        self._faiss = graph
        if graph is None:
            self._faiss = faiss.IndexScalarQuantizer(
                vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
            )
            self._faiss.add_sa_codes(vectors.view(np.uint8))

    @classmethod
    def build(cls, vectors: NDArray[np.float32], flat_limit: int = FLAT_LIMIT) -> "DenseIndex":
        """Index vectors; more than `flat_limit` of them get an HNSW graph."""
        import faiss

        graph = None
        if len(vectors) > flat_limit:
            graph = faiss.IndexHNSWSQ(
                vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, _HNSW_LINKS, faiss.METRIC_INNER_PRODUCT
            )
            graph.hnsw.efConstruction = _HNSW_BUILD
            graph.train(vectors)
            graph.add(vectors)
        return cls(vectors.astype(np.float16), graph)

    def search(
        self, vector: NDArray[np.float32], n: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return positions and cosines of the n nearest tools, nearest first; of the allowed ones where not all are."""
        import faiss

        if allowed is not None and np.count_nonzero(allowed) <= _FEW:
            return nearest_of(self.cosines, vector, n, np.flatnonzero(allowed))
        # The setting belongs to the calling thread. One query is fastest on one core, and requests run in parallel.
        faiss.omp_set_num_threads(1)
        n = min(n, len(self.vectors))
        selector = None if allowed is None else faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        if self.kind == "flat":
            parameters = faiss.SearchParameters(sel=selector)
        else:
            parameters = faiss.SearchParametersHNSW(efSearch=max(_HNSW_SEARCH, 2 * n), sel=selector)
        scores, positions = self._faiss.search(vector[None], n, params=parameters)
        found = positions[0] >= 0  # HNSW may reach fewer than n, and fewer than n may be allowed
        return positions[0][found], scores[0][found]

    def cosines(self, vector: NDArray[np.float32], positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the cosines of given tools."""
        return self.vectors[positions].astype(np.float32) @ vector

    def vector(self, position: int) -> NDArray[np.float32]:
        """Return a tool's vector."""
        return np.asarray(self.vectors[position], np.float32)

    def save(self, folder: Path) -> list[str]:
        """Write the vectors, and the graph where there is one; return the files' names."""
        import faiss

        np.save(folder / "vectors.npy", self.vectors)
        if self.kind == "flat":
            return ["vectors.npy"]
        faiss.write_index(self._faiss, str(folder / GRAPH))
        return ["vectors.npy", GRAPH]

    @classmethod
    def load(cls, folder: Path, graph: bool) -> "DenseIndex":
        """Open a saved index, memory-mapped, with the graph that a large one has."""
        import faiss

        vectors = np.asarray(np.load(folder / "vectors.npy", mmap_mode="r"))
        return cls(vectors, faiss.read_index(str(folder / GRAPH), faiss.IO_FLAG_MMAP_IFC) if graph else None)


def nearest_of(
    cosines_of: Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.float32]],
    vector: NDArray[np.float32],
    n: int,
    positions: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the n nearest of some tools and their cosines, nearest first, by looking at each."""
    cosines = cosines_of(vector, positions)
    nearest = np.argsort(-cosines, kind="stable")[:n]
    return positions[nearest], cosines[nearest]
