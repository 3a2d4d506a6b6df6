"""A tiny base, and a rewriter aligned on it."""

import pytest

from qta.encoder import Encoder
from qta.training.run import Outcome
from tests.aligning import trained
from tests.tiny import make_llama


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="session")
def outcome(base: str, tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Outcome:
    return trained(base, tmp_path_factory.mktemp("aligned") / "rewriter", encoder)
