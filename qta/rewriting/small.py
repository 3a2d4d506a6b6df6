"""Our own small rewriter through ONNX Runtime: greedy, one request at a time, neither torch nor transformers."""

import threading
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrb.errors import ArtefactError
from qta.rewriting.generator import Decoding, check_deadline
from qta.rewriting.prompt import Message

FILE, TOKENIZER = "rewriter.onnx", "tokenizer.json"
POSITIONS = 512
_LAYERS, _HEADS, _HEAD_SIZE = 6, 12, 32
_END = 102  # [SEP]
_GUESSES = 4  # of 3 to 12, the fastest for rewrites of the sample's validation requests


class SmallGenerator:
    """Generate from a file that `qta.export.rewriter` made; safe to share between threads."""

    def __init__(self, folder: Path) -> None:
        """Open the folder's model.

        Raises:
            ArtefactError: a file is absent or damaged.
        """
        self._folder = folder
        self._local = threading.local()
        try:
            self.tokenizer: Any = self._load_tokenizer()
            self._session: Any = self._open_session()
        except Exception as error:  # both libraries raise their own bare exceptions
            raise ArtefactError(f"{folder}: no usable rewriter: {error}") from None

    def _load_tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._folder / TOKENIZER))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def _open_session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        path = str(self._folder / FILE)
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def generate(
        self, conversations: Sequence[Sequence[Message]], decoding: Decoding, deadline: float | None = None
    ) -> list[list[str]]:
        """Return one answer a conversation, the most likely tokens, see `Generator`."""
        if decoding.temperature or decoding.samples > 1:
            raise ValueError("this file answers greedily, once; sample from the model it was made of")
        return [[self._answer(conversation[-1]["content"], decoding, deadline)] for conversation in conversations]

    def _answer(self, prompt: str, decoding: Decoding, deadline: float | None) -> str:
        ids: list[int] = self.tokenizer.encode(prompt).ids
        if len(ids) + decoding.max_new_tokens > POSITIONS:
            return ""
        text: str = self.tokenizer.decode(self.continued(ids, decoding, deadline))
        return text

    def continued(
        self, ids: list[int], decoding: Decoding, deadline: float | None = None, ends: bool = True
    ) -> list[int]:
        """Return the most likely tokens behind a prompt; without `ends` as many as are allowed.

        Raises:
            DeadlineError: the deadline has passed.
        """
        repeats, lookup = Repeats(decoding.no_repeat), Lookup(ids)
        following = ids
        answer: list[int] = []
        guesses: list[int] = []
        while True:
            check_deadline(deadline)
            scores = self._step(following, len(ids) + len(answer) - 1 if answer else 0, 1 + len(guesses))
            for row, guess in zip(scores, [*guesses, None], strict=True):
                row[repeats.forbidden() if ends else [*repeats.forbidden(), _END]] = -np.inf
                token = int(row.argmax())
                if token == _END:
                    return answer
                answer.append(token)
                repeats.append(token)
                lookup.append(token)
                if len(answer) == decoding.max_new_tokens:
                    return answer
                if token != guess:
                    break
            guesses = lookup.guesses(min(_GUESSES, decoding.max_new_tokens - len(answer) - 1))
            following = [token, *guesses]

    def _step(self, ids: list[int], past: int, scored: int) -> NDArray[np.float32]:
        """Return the scores of what follows each of the last `scored` of the ids, which stand behind `past` others."""
        binding = self._session.io_binding()
        numbers = {"input_ids": [ids], "past": [past], "total": [past + len(ids)], "scored": [scored]}
        for name, value in numbers.items():
            binding.bind_cpu_input(name, np.array(value, np.int64))
        binding.bind_output("scores")
        for name, buffer in self._cache.items():
            binding.bind_ortvalue_input(name, buffer)
            binding.bind_ortvalue_output(f"{name}.out", buffer)
        self._session.run_with_iobinding(binding)
        scores: NDArray[np.float32] = binding.get_outputs()[0].numpy()[0]
        return scores

    @property
    def _cache(self) -> dict[str, Any]:
        """Keys and values of the calling thread: room for the longest text, written in place."""
        if not hasattr(self._local, "cache"):
            from onnxruntime import OrtValue

            names = [f"layer{layer}.{part}" for layer in range(_LAYERS) for part in ("keys", "values")]
            shape = [1, _HEADS, POSITIONS, _HEAD_SIZE]
            # Each its own memory: `ortvalue_from_numpy` would share that of the array.
            self._local.cache = {name: OrtValue.ortvalue_from_shape_and_type(shape, np.float32) for name in names}
        cache: dict[str, Any] = self._local.cache
        return cache


class Lookup:
    """Guess how a text goes on: as it did where its last two tokens stood before.

    A rewrite repeats words of the tools in its prompt. Scoring five tokens takes half as long again as scoring one, so
    guesses that are often right save time, and wrong ones change nothing (prompt lookup decoding, the speculative
    decoding of arXiv 2211.17192 without a second model).
    """

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        for token in tokens:
            self.append(token)

    def append(self, token: int) -> None:
        """Note a token."""
        self._after[tuple(self._tokens[-2:])] = len(self._tokens)
        self._tokens.append(token)

    def guesses(self, most: int) -> list[int]:
        """Return up to so many tokens that may come next."""
        start = self._after.get(tuple(self._tokens[-2:]), len(self._tokens))
        return self._tokens[start : start + most]


class Repeats:
    """Know which tokens would complete a sequence of so many tokens that was there before."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._tokens: list[int] = []
        self._followers: dict[tuple[int, ...], list[int]] = defaultdict(list)

    def append(self, token: int) -> None:
        """Note a token."""
        if self._length and len(self._tokens) >= self._length - 1:
            self._followers[self._tail()].append(token)
        self._tokens.append(token)

    def forbidden(self) -> list[int]:
        """Return the tokens that must not come next."""
        return self._followers.get(self._tail(), []) if self._length else []

    def _tail(self) -> tuple[int, ...]:
        return tuple(self._tokens[len(self._tokens) - self._length + 1 :])
