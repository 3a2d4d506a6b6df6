"""Any OpenAI-compatible endpoint (vLLM, Ollama, llama.cpp, a vendor): deadline, retries and a circuit breaker."""

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pybreaker
import requests
import tenacity
import urllib3

from mtrb.identifiers import is_unicode
from qta.rewriting.generator import DeadlineError, Decoding, GenerationError, check_deadline
from qta.rewriting.prompt import Message

_PATIENCE = 30.0  # seconds, where there is no deadline
_ATTEMPTS = 3
_FAILURES, _PAUSE = 5, 30  # so many failures in a row and nothing is asked for so many seconds
_PARALLEL = 8
_RETRIED = (429, 500, 502, 503, 504)
_LARGEST = 1 << 16  # bytes of an answer; a rewrite is a few lines
_AT_ONCE = 1 << 14


class _BusyError(Exception):
    """The endpoint may answer when it is asked again."""


class EndpointGenerator:
    """Ask `POST URL/chat/completions`; safe to share between threads."""

    def __init__(self, url: str, model: str, key: str | None = None) -> None:
        """Take the endpoint's base, e.g. http://127.0.0.1:11434/v1, and the name of its model."""
        self.url = f"{url.rstrip('/')}/chat/completions"
        self.model = model
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._failures = pybreaker.CircuitMemoryStorage(pybreaker.STATE_CLOSED)

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
        check_deadline(deadline)  # here, as a deadline that passed before anything was asked is no failure
        # One for each call, over the same counts: a breaker lets one call at a time through.
        breaker = pybreaker.CircuitBreaker(
            fail_max=_FAILURES, reset_timeout=_PAUSE, state_storage=self._failures, throw_new_error_on_trip=False
        )
        try:
            answers: list[str] = breaker.call(self._asked, body, deadline)
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
        until = time.monotonic() + _PATIENCE if deadline is None else deadline
        patience = max(until - time.monotonic(), 1e-3)
        late = DeadlineError(f"{self.url} did not answer in {patience:.1f} s")
        try:
            with requests.post(
                self.url, json=body, headers=self._headers, timeout=patience, stream=True, allow_redirects=False
            ) as response:
                if response.is_redirect:
                    raise GenerationError(
                        f"{self.url}: status {response.status_code}: it is at {response.headers['location']!r} now; "
                        "give the URL of that"
                    )
                content = self._read(response, until, late)
        except (requests.Timeout, urllib3.exceptions.TimeoutError):
            raise late from None
        except urllib3.exceptions.HTTPError as error:
            raise _BusyError(f"the answer broke off: {error}") from None
        if response.status_code in _RETRIED:
            raise _BusyError(f"status {response.status_code}")
        if not response.ok:
            said = content[:200].decode("utf-8", "replace")
            raise GenerationError(f"{self.url}: status {response.status_code}: {said}")
        return self._texts(content)

    def _read(self, response: requests.Response, until: float, late: DeadlineError) -> bytes:
        """Return the body, read as it arrives: one that trickles in, or has no end, is given up."""
        content = b""
        while part := response.raw.read1(_AT_ONCE, decode_content=True):
            content += part
            if time.monotonic() > until:
                raise late
            if len(content) > _LARGEST:
                raise GenerationError(f"{self.url}: an answer of more than {_LARGEST:,} bytes")
        return content

    def _texts(self, content: bytes) -> list[str]:
        try:
            texts = [choice["message"]["content"] or "" for choice in json.loads(content)["choices"]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise GenerationError(f"{self.url}: not the answer of a chat completion: {error!r}") from None
        if not texts or not all(isinstance(text, str) and is_unicode(text) for text in texts):
            raise GenerationError(f"{self.url}: not the answer of a chat completion: no text in {content[:200]!r}")
        return texts
