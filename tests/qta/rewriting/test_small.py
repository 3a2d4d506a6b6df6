"""Our own small rewriter: the served file against the model it is made of, and its decoding."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtrb.errors import ArtefactError
from mtrb.formats import read_tools
from qta.encoder import WEIGHTS
from qta.rewriting import small
from qta.rewriting.generator import DeadlineError, Decoding
from qta.rewriting.prompt import Message, Prompt
from qta.rewriting.small import POSITIONS, Lookup, Repeats, SmallGenerator


@pytest.fixture(scope="module")
def served() -> SmallGenerator:
    return SmallGenerator(WEIGHTS)


@pytest.fixture(scope="module")
def original() -> Any:
    from qta.rewriting.local import DEFAULT_BASE, CausalGenerator, load_model

    return CausalGenerator(*load_model(DEFAULT_BASE))


@pytest.fixture(scope="module")
def conversations() -> list[list[Message]]:
    tools, prompt = list(read_tools(["sample:"])), Prompt()
    asked = ["the parcel never came, I want my money back", "book a room in Kyoto and tell Anna", "x", "请退款 8841"]
    return [prompt.messages(text, tools[n * 10 : n * 10 + 10]) for n, text in enumerate(asked)]


def test_the_file_is_small() -> None:
    assert (WEIGHTS / "rewriter.onnx").stat().st_size < 28_000_000
    assert (WEIGHTS / "rewriter.safetensors").stat().st_size < 16_000_000
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) < 90_000_000


def test_scores_are_those_of_transformers(served: SmallGenerator, original: Any, conversations: Any) -> None:
    import torch

    for conversation in conversations:
        ids = original.prompt_ids(conversation)
        with torch.inference_mode():
            expected = original.model(torch.tensor([ids])).logits[0, -1].numpy()
        assert np.corrcoef(expected, served._step(ids, 0, 1)[0])[0, 1] > 0.99


def test_answers_are_mostly_those_of_transformers(served: SmallGenerator, original: Any, conversations: Any) -> None:
    decoding = Decoding(max_new_tokens=24)
    quantised, exact = served.generate(conversations, decoding), original.generate(conversations, decoding)
    assert sum(a == b for a, b in zip(quantised, exact, strict=True)) >= len(conversations) / 2


def test_an_answer_depends_on_its_conversation_alone(served: SmallGenerator, conversations: Any) -> None:
    alone = [served.generate([one], Decoding(max_new_tokens=16))[0] for one in conversations]
    assert served.generate(conversations[::-1], Decoding(max_new_tokens=16)) == alone[::-1]
    with ThreadPoolExecutor(4) as pool:
        crowded = pool.map(lambda one: served.generate([one], Decoding(max_new_tokens=16))[0], conversations * 3)
        assert list(crowded) == alone * 3


def test_guesses_save_steps_and_change_nothing(
    served: SmallGenerator, conversations: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    step = SmallGenerator._step
    monkeypatch.setattr(SmallGenerator, "_step", lambda self, *given: steps.append(1) or step(self, *given))
    guessed, with_guesses = served.generate(conversations, Decoding()), len(steps)
    monkeypatch.setattr(small, "_GUESSES", 0)
    steps.clear()
    assert served.generate(conversations, Decoding()) == guessed
    assert with_guesses < 0.9 * len(steps)


def test_guesses_are_what_followed_the_last_two_tokens() -> None:
    lookup = Lookup([7, 1, 2, 3, 4, 9])
    assert lookup.guesses(3) == []
    lookup.append(1)
    lookup.append(2)
    assert (lookup.guesses(2), lookup.guesses(9), lookup.guesses(0)) == ([3, 4], [3, 4, 9, 1, 2], [])
    lookup.append(5)
    lookup.append(1)
    lookup.append(2)
    assert lookup.guesses(2) == [5, 1], "the last time counts"


def test_answers_are_bounded(served: SmallGenerator, conversations: Any) -> None:
    [[answer]] = served.generate(conversations[:1], Decoding(max_new_tokens=3))
    assert len(answer.split()) <= 3
    assert served.generate([[{"role": "user", "content": "word " * POSITIONS}]], Decoding()) == [[""]]
    assert served.generate([], Decoding()) == []


def test_a_deadline_ends_it(served: SmallGenerator, conversations: Any) -> None:
    with pytest.raises(DeadlineError):
        served.generate(conversations, Decoding(), deadline=time.monotonic())


def test_it_answers_greedily_only(served: SmallGenerator, conversations: Any) -> None:
    with pytest.raises(ValueError, match="greedily"):
        served.generate(conversations, Decoding(temperature=1.0))


def test_no_sequence_is_repeated() -> None:
    repeats = Repeats(3)
    for token in [1, 2, 3, 1, 2]:
        repeats.append(token)
    assert repeats.forbidden() == [3]
    repeats.append(4)
    assert repeats.forbidden() == []
    free = Repeats(0)
    for token in [1, 1, 1, 1]:
        free.append(token)
    assert free.forbidden() == []


@pytest.mark.parametrize("length", [1, 2, 3, 6])
def test_decoding_forbids_what_transformers_forbids(length: int) -> None:
    import torch
    from transformers import NoRepeatNGramLogitsProcessor

    rng = np.random.default_rng(length)
    tokens, repeats = [], Repeats(length)
    processor = NoRepeatNGramLogitsProcessor(length)
    for _ in range(60):
        scores = processor(torch.tensor([tokens], dtype=torch.long), torch.zeros(1, 4)) if tokens else torch.zeros(1, 4)
        assert set(repeats.forbidden()) == set(torch.isinf(scores[0]).nonzero().flatten().tolist())
        tokens.append(int(rng.integers(4)))
        repeats.append(tokens[-1])


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no usable rewriter"):
        SmallGenerator(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes((WEIGHTS / "tokenizer.json").read_bytes())
    (tmp_path / "rewriter.onnx").write_bytes(b"not a model")
    with pytest.raises(ArtefactError, match="no usable rewriter"):
        SmallGenerator(tmp_path)


def test_threads_have_buffers_of_their_own(served: SmallGenerator) -> None:
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(id(served._cache))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert id(served._cache) not in seen
