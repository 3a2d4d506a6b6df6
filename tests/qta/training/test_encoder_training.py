"""The encoder is trained on what a few requests need, and models are averaged."""

import numpy as np
import pytest
import torch

from mtrb.errors import ArtefactError
from mtrb.types import Benchmark, Query, Tool, Toolset
from qta.training.encoder import EncoderSettings, TrainingData, no_negatives, read_training, train, untrained
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


def test_what_a_request_needs_and_what_says_the_same_is_no_negative() -> None:
    # Tools 0 and 1 are needed together; 2 says what 1 says; 3 is another.
    vectors = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0.999, 0.01], [0, 0, 1.0]])
    data = TrainingData(golden=[[0, 1], [3]], near=[[3], [0]], vectors=vectors)

    spared = no_negatives(data, [(0, 0), (1, 3)], [0, 3, 1, 2])

    assert spared.tolist() == [[False, False, True, True], [False, False, False, False]]


def test_models_of_one_architecture_have_a_mean() -> None:
    shared = {"embeddings.word_embeddings.weight": np.ones(4)}  # is MiniLM's, and not shipped
    averaged = mean([{"a": np.zeros(2, np.float16), **shared}, {"a": np.ones(2)}])

    assert averaged.keys() == {"a"}
    assert averaged["a"].tolist() == [0.5, 0.5]
    for other in ({"b": np.ones(2)}, {"a": np.ones(3)}, {"a": np.ones(2), "b": np.ones(2)}):
        with pytest.raises(ArtefactError, match="these differ in"):
            mean([{"a": np.zeros(2)}, other])
