"""Any OpenAI-compatible endpoint (vLLM, Ollama, llama.cpp, a vendor): deadline, retries and a circuit breaker."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pybreaker
import requests
import tenacity

from qta.rewriting.generator import DeadlineError, Decoding, GenerationError, check_deadline
from qta.rewriting.prompt import Message

_PATIENCE = 30.0  # seconds, where there is no deadline
_ATTEMPTS = 3
_FAILURES, _PAUSE = 5, 30  # so many failures in a row and nothing is asked for so many seconds
_PARALLEL = 8
_RETRIED = (429, 500, 502, 503, 504)


class _BusyError(Exception):
    """The endpoint may answer when it is asked again."""


class EndpointGenerator:
    """Ask `POST URL/chat/completions`; safe to share between threads."""

    def __init__(self, url: str, model: str, key: str | None = None) -> None:
        """Take the endpoint's base, e.g. http://127.0.0.1:11434/v1, and the name of its model."""
        self.url = f"{url.rstrip('/')}/chat/completions"
        self.model = model
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=_FAILURES, reset_timeout=_PAUSE, exclude=[DeadlineError], throw_new_error_on_trip=False
        )

    def generate(
        self, conversations: Sequence[Sequence[Message]], decoding: Decoding, deadline: float | None = None
    ) -> list[list[str]]:
        """Return `decoding.samples` answers a conversation, see `Generator`."""
        with ThreadPoolExecutor(_PARALLEL) as pool:
            return list(pool.map(lambda one: self._answers(one, decoding, deadline), conversations))

    def _answers(self, conversation: Sequence[Message], decoding: Decoding, deadline: float | None) -> list[str]:
        body = {
            "model": self.model,
            "messages": list(conversation),
            "max_tokens": decoding.max_new_tokens,
            "temperature": decoding.temperature,
            "seed": decoding.seed,
            **({"n": decoding.samples} if decoding.samples > 1 else {}),
        }
        try:
            answers: list[str] = self._breaker.call(self._asked, body, deadline)
            return answers
        except pybreaker.CircuitBreakerError:
            raise GenerationError(
                f"{self.url} failed {_FAILURES} times in a row and is left alone for a while"
            ) from None
        except (_BusyError, requests.RequestException) as error:
            check_deadline(deadline)
            raise GenerationError(f"{self.url}: {error}") from None

    def _asked(self, body: dict[str, Any], deadline: float | None) -> list[str]:
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((_BusyError, requests.ConnectionError)),
            stop=tenacity.stop_after_attempt(_ATTEMPTS),
            wait=tenacity.wait_random_exponential(multiplier=0.05, max=1),
            reraise=True,
        )
        answers: list[str] = attempts(self._ask, body, deadline)
        return answers

    def _ask(self, body: dict[str, Any], deadline: float | None) -> list[str]:
        check_deadline(deadline)
        patience = _PATIENCE if deadline is None else deadline - time.monotonic()
        try:
            response = requests.post(self.url, json=body, headers=self._headers, timeout=patience)
        except requests.Timeout:
            raise DeadlineError(f"{self.url} did not answer in {patience:.1f} s") from None
        if response.status_code in _RETRIED:
            raise _BusyError(f"status {response.status_code}")
        if not response.ok:
            raise GenerationError(f"{self.url}: status {response.status_code}: {response.text[:200]}")
        try:
            return [str(choice["message"]["content"] or "") for choice in response.json()["choices"]]
        except (ValueError, KeyError, TypeError) as error:
            raise GenerationError(f"{self.url}: not the answer of a chat completion: {error!r}") from None
