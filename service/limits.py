"""How many requests may wait, and how long; the rest is told so at once, before it costs anything.

Waitress' loop reads requests and queues them for the worker's thread. Here the queue has an end: a request that finds
it full is answered 429 by the loop itself. One whose time has passed when its turn comes is answered 503, and one whose
client has gone away leaves the queue.

A burst finds many places. Once it has filled them, requests come faster than they are answered, and a long queue would
only make all of them late: then there are few places, until nothing has been refused for a while.
"""

import math
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from typing import Any, NamedTuple

import orjson
from waitress.task import Task, ThreadedTaskDispatcher, WSGITask

from service.logs import HEADER, log_request, request_id_of
from service.metrics import Metrics

_PROBES = frozenset(("/healthz", "/readyz", "/metrics"))
_PLACES_UNDER_LOAD = 2  # chosen with benchmarks/overload.py: the thread always has a next one, and no one waits long
_LOAD_SECONDS = 2.0
_PLACES_FOR_PROBES = 4  # so that a worker under load is not taken for a dead one


class Refusal(NamedTuple):
    """Why a request is not computed."""

    status: HTTPStatus
    detail: str
    retry_after: int | None = None


class WaitingRoom(ThreadedTaskDispatcher):  # type: ignore[misc]
    """The requests of a worker that wait for its thread: so many, and each so long, at most."""

    def __init__(self, places: int, seconds: float, metrics: Metrics) -> None:
        """Take how many requests may wait, and how many seconds each."""
        super().__init__()
        self.metrics = metrics
        self._places = places
        self._seconds = seconds
        self._under_load_until = 0.0

    def add_task(self, channel: Any) -> None:
        """Queue a connection's next request, or mark it as refused; the loop then answers it, see `_Channel`.

        The worker's thread, which goes on with a connection that has sent several requests, has just left the queue,
        and is never refused.
        """
        waiting = channel.requests[0]
        waiting.since = now = time.monotonic()
        is_probe = getattr(waiting, "path", "") in _PROBES
        places = self._places if now >= self._under_load_until else min(self._places, _PLACES_UNDER_LOAD)
        places += _PLACES_FOR_PROBES * is_probe
        if threading.current_thread() is threading.main_thread() and len(self.queue) >= places:
            self._under_load_until = now + _LOAD_SECONDS
            waiting.refusal = Refusal(
                HTTPStatus.TOO_MANY_REQUESTS, "more requests come than can be answered; try again later", 1
            )
            channel.refused = True
            return
        super().add_task(channel)
        self.metrics.queue.set(len(self.queue))

    def leave(self, channel: Any) -> None:
        """Take a connection out of the queue."""
        with self.lock, suppress(ValueError):
            self.queue.remove(channel)

    def task(self, channel: Any, request: Any) -> Task:
        """Return what is done for a request whose turn has come."""
        refusal = getattr(request, "refusal", None)
        if refusal is None:
            waited = time.monotonic() - request.since
            self.metrics.queue.set(len(self.queue))
            self.metrics.waited.observe(waited)
            refusal = self._judge(request, waited)
        return _RefusalTask(channel, request, refusal) if refusal else WSGITask(channel, request)

    def _judge(self, request: Any, waited: float) -> Refusal | None:
        """Return why a request that has waited is not computed, if it is not."""
        given = request.headers.get("X_REQUEST_TIMEOUT")
        seconds = _seconds(given)
        if given is not None and seconds is None:
            return Refusal(
                HTTPStatus.BAD_REQUEST, f"X-Request-Timeout is {given[:50]!r}, not a number of seconds above 0"
            )
        limit = self._seconds if seconds is None else min(seconds, self._seconds)
        if waited <= limit:
            return None
        return Refusal(
            HTTPStatus.SERVICE_UNAVAILABLE, f"waited {waited:.1f} s, longer than {limit:g} s, and was not computed", 1
        )


class _RefusalTask(Task):  # type: ignore[misc]
    """Answer a request with problem details, and leave its connection open."""

    complete = True

    def __init__(self, channel: Any, request: Any, refusal: Refusal) -> None:
        super().__init__(channel, request)
        self.refusal = refusal

    def execute(self) -> None:
        """Write the answer, and count and log it as the application does."""
        status, detail, retry_after = self.refusal
        request_id = request_id_of(self.request.headers.get("X_REQUEST_ID"))
        content, headers = problem_details(status, detail, request_id, self.request.path)
        self.status = f"{status.value} {status.phrase}"
        self.response_headers += headers
        if retry_after is not None:
            self.response_headers.append(("Retry-After", str(retry_after)))
        self.content_length = len(content)
        self.write(b"" if self.request.command == "HEAD" else content)
        room: WaitingRoom = self.channel.server.task_dispatcher
        room.metrics.refused("refused", status.value)
        seconds = time.monotonic() - self.request.since
        log_request(request_id, self.request.command, "refused", status.value, seconds, reason=detail)


def problem_details(
    status: HTTPStatus, detail: str, request_id: str, path: str | None = None
) -> tuple[bytes, list[tuple[str, str]]]:
    """Return the body and the headers of an answer that the application has no part in."""
    body = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    if path is not None:
        body["instance"] = path
    body["request_id"] = request_id
    return orjson.dumps(body), [("Content-Type", "application/problem+json"), (HEADER, request_id)]


def _seconds(text: str | None) -> float | None:
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds > 0 else None
