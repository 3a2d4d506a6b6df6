"""The dense index: every tool is looked at; above a few thousand by 4-bit codes first, and the nearest by its vector.

The codes are those of FAISS' fast scan: product quantisation whose tables fit the processor's registers (Quicker ADC,
arXiv 1812.09162). Over 18,378 tools a query takes 0.23 ms, where FAISS over all vectors in half precision takes 0.59;
over 91,890 it takes 0.51 ms, where HNSW takes 1.06 and is built in 19 s rather than 2 (results/dense.md).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qta.pipeline import Dense

CODES = "codes.faiss"

_FEW = 5000  # tools that are sooner looked at by their vectors; codes also need some thousands to be made from
_TIMES, _LEAST = 1.5, 300  # by their codes so many times the tools are taken that are asked for, and at least so many
_MOVED = 300  # taught tools beyond which others are looked for; examples are few, and more would take its time
_DIMENSIONS_A_CODE = 2  # of which 4 bits are kept together
_ROUNDS = 10  # of k-means for the codes


class DenseIndex:
    """Find the nearest unit vectors by inner product, which for them is the cosine.

    A cosine depends on the two vectors alone, bit for bit, so that equal tools are ties.
    """

    def __init__(self, vectors: NDArray[Any], codes: Any = None) -> None:
        """Search `vectors` (tools, dimension), of single or half precision, by their codes where they have some."""
        self.vectors = vectors
        self.kind = "flat" if codes is None else "fast scan"
        self._codes = codes

    @classmethod
    def build(cls, vectors: NDArray[np.float32], few: int = _FEW) -> "DenseIndex":
        """Index vectors, rounded to half precision as changes to them are; more than `few` of them get codes."""
        import faiss

        vectors = vectors.astype(np.float16).astype(np.float32)
        if len(vectors) <= few:
            return cls(vectors)
        faiss.omp_set_num_threads(1)  # half a second; on all cores it would wait for those that answer requests
        dimension = vectors.shape[1]
        codes = faiss.IndexPQFastScan(dimension, dimension // _DIMENSIONS_A_CODE, 4, faiss.METRIC_INNER_PRODUCT)
        codes.pq.cp.niter = _ROUNDS
        codes.train(vectors)
        codes.add(vectors)
        return cls(vectors, codes)

    def search(
        self, vector: NDArray[np.float32], n: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return positions and cosines of the n nearest tools, nearest first; of the allowed ones where not all are."""
        tools = len(self.vectors)
        count = tools if allowed is None else int(np.count_nonzero(allowed))
        positions = None
        if self._codes is not None and count > _FEW:
            taken = int(max(_LEAST, _TIMES * n) * tools / count)
            positions = self._nearest_codes(vector, min(taken, tools), allowed)
        if positions is None or len(positions) < min(n, count):
            positions = np.arange(tools) if allowed is None else np.flatnonzero(allowed)
        return nearest_of(self.cosines, vector, n, positions)

    def _nearest_codes(
        self, vector: NDArray[np.float32], n: int, allowed: NDArray[np.bool_] | None
    ) -> NDArray[np.int64]:
        """Return the allowed ones of the n tools that are nearest by their codes, in catalogue order."""
        import faiss

        # The setting belongs to the calling thread. One query is fastest on one core, and requests run in parallel.
        faiss.omp_set_num_threads(1)
        found: NDArray[np.int64] = np.sort(self._codes.search(vector[None], n)[1][0])
        found = found[found >= 0]  # of a text of which nothing is known there are none
        return found if allowed is None else found[allowed[found]]

    def cosines(self, vector: NDArray[np.float32], positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the cosines of given tools."""
        # A product by BLAS would be as fast, but what it makes of a row depends on how many there are.
        rows = self.vectors[positions].astype(np.float32, copy=False)
        return np.asarray(np.einsum("ij,j->i", rows, vector))

    def vector(self, position: int) -> NDArray[np.float32]:
        """Return a tool's vector."""
        return np.asarray(self.vectors[position], np.float32)

    def save(self, folder: Path) -> list[str]:
        """Write the vectors, and their codes where they have some; return the files' names."""
        import faiss

        np.save(folder / "vectors.npy", self.vectors)
        if self._codes is None:
            return ["vectors.npy"]
        faiss.write_index(self._codes, str(folder / CODES))
        return ["vectors.npy", CODES]

    @classmethod
    def load(cls, folder: Path, codes: bool) -> "DenseIndex":
        """Open a saved index, its vectors memory-mapped, with the codes that a large one has."""
        import faiss

        vectors = np.asarray(np.load(folder / "vectors.npy", mmap_mode="r"))
        return cls(vectors, faiss.read_index(str(folder / CODES)) if codes else None)


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


class TaughtDense:
    """An index in which tools lie nearer to the requests that annotated examples use them for.

    Such a tool's vector is the direction of its own and the mean of those requests' vectors, added: Rocchio's feedback,
    given to the documents. Chosen on the public validation halves, see results/fewshot.md.
    """

    def __init__(self, base: Dense, requests: Mapping[int, NDArray[np.float32]]) -> None:
        """Take an index, and by position the mean of the vectors of the requests for each used tool."""
        self.base = base
        self._positions = np.array(sorted(requests), np.int64)
        sums = [base.vector(at) + requests[at] for at in self._positions.tolist()]
        self._vectors = np.array([one / np.linalg.norm(one) for one in sums], np.float32)

    def search(
        self, vector: NDArray[np.float32], n: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return positions and cosines of the n nearest tools, nearest first; of the allowed ones where not all are."""
        # Those of the taught ones that are found lie elsewhere now, and must not keep others out.
        positions, cosines = self.base.search(vector, n + min(len(self._positions), _MOVED), allowed)
        rows = slice(None) if allowed is None else allowed[self._positions]
        others = ~np.isin(positions, self._positions)
        positions = np.concatenate([positions[others], self._positions[rows]])
        cosines = np.concatenate([cosines[others], np.einsum("ij,j->i", self._vectors[rows], vector)])
        nearest = np.argsort(-cosines, kind="stable")[:n]
        return positions[nearest], cosines[nearest]

    def cosines(self, vector: NDArray[np.float32], positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the cosines of given tools."""
        places = np.searchsorted(self._positions, positions).clip(max=len(self._positions) - 1)
        taught = self._positions[places] == positions
        found = np.empty(len(positions), np.float32)
        found[~taught] = self.base.cosines(vector, positions[~taught])
        found[taught] = np.einsum("ij,j->i", self._vectors[places[taught]], vector)
        return found

    def gains(self, vector: NDArray[np.float32], positions: NDArray[np.int64]) -> dict[int, float]:
        """Return what the examples have added to the cosines of those of some tools that they use."""
        taught = positions[np.isin(positions, self._positions)]
        gains = self.cosines(vector, taught) - self.base.cosines(vector, taught)
        return dict(zip(taught.tolist(), gains.tolist(), strict=True))

    def vector(self, position: int) -> NDArray[np.float32]:
        """Return a tool's vector."""
        at = int(np.searchsorted(self._positions, position))
        is_taught = at < len(self._positions) and self._positions[at] == position
        return np.asarray(self._vectors[at]) if is_taught else self.base.vector(position)
