"""Tools that examples move: the nearest are those of looking at every tool."""

import numpy as np
import pytest

from qta.dense import DenseIndex, TaughtDense


@pytest.mark.parametrize("n", [1, 3, 10, 60])
def test_taught_tools_that_moved_away_keep_no_other_out(n: int) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((60, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    base, query = DenseIndex(vectors), vectors[0]
    nearest = base.search(query, 5)[0].tolist()
    taught = TaughtDense(base, dict.fromkeys(nearest, -2 * query))
    every = taught.cosines(query, np.arange(60))
    allowed = np.arange(60) % 2 == 0
    for mask in (None, allowed):
        kept = np.arange(60) if mask is None else np.flatnonzero(mask)
        positions, cosines = taught.search(query, n, mask)
        assert positions.tolist() == kept[np.argsort(-every[kept], kind="stable")][:n].tolist()
        np.testing.assert_array_equal(cosines, every[positions])
