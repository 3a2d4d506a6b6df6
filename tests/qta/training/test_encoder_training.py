"""The encoder is trained on what a few requests need, and models are averaged."""

import numpy as np
import pytest

from mtrb.types import Benchmark, Query, Tool, Toolset
from qta.training.encoder import EncoderSettings, read_training, train, untrained
from qta.training.layers import mean

TOOLS = {
    "w": "Forecast of rain, wind and temperature for a town.",
    "t": "Departures of trains from a station.",
    "m": "Send an e-mail to somebody.",
    "c": "Convert an amount of money to another currency.",
    "d": "Departures of trains from a station!",
}
REQUESTS = {"do I need an umbrella in Bergen": "w", "when can I leave for Gent by rail": "t", "write to Ada": "m"}


@pytest.fixture
def bench() -> Benchmark:
    toolset = Toolset(Tool(tool_id, "tool", text) for tool_id, text in TOOLS.items())
    queries = tuple(Query(f"q{at}", text) for at, text in enumerate(REQUESTS))
    qrels = {query.query_id: {REQUESTS[query.text]: 1} for query in queries}
    return Benchmark("toy", "train", toolset, queries, qrels)


@pytest.mark.filterwarnings("ignore")  # of the libraries that train
def test_requests_come_nearer_to_what_they_need(bench: Benchmark) -> None:
    settings = EncoderSettings(epochs=4, batch=3, negatives=2, learning_rate=2e-4)
    model = untrained(settings)
    words = model.transformers_model.embeddings.word_embeddings.weight
    before = words.detach().clone()

    data = read_training([bench], untrained(settings), seed=0)
    losses = train(model, data, settings)

    assert len(losses) == settings.epochs
    assert losses[-1] < losses[0] / 2
    assert (words == before).all()
    # A tool that says the same as the golden one is no hard negative.
    assert data.tools[4] == "tool: Departures of trains from a station!"
    assert 4 not in data.near[1]
    assert set(data.near[1]) == {0, 2, 3}


def test_the_mean_of_models_leaves_out_what_only_one_has() -> None:
    averaged = mean([{"a": np.zeros(2), "b": np.ones(1)}, {"a": np.ones(2)}])

    assert averaged.keys() == {"a"}
    assert averaged["a"].tolist() == [0.5, 0.5]
