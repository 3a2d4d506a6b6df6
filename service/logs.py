"""Logs of the service: a line of JSON each on stderr, one for each request, and its id in every answer."""

import logging
import re
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from flask import Flask, Response, g, request

from qta.engine import Answer
from service.config import Settings

HEADER = "X-Request-Id"

requests = logging.getLogger("service.requests")

_GIVEN = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class JsonFormatter(logging.Formatter):
    """Write a record, and the fields that it was given, as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(fields, default=str).decode()


def log_to_stderr(settings: Settings) -> None:
    """Send all logs of this process to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    requests.setLevel(logging.INFO if settings.log_requests else logging.WARNING)


def request_id_of(given: str | None) -> str:
    """Return the id that a client gave its request, where it is one, and else a new one."""
    return given if given and _GIVEN.fullmatch(given) else uuid.uuid4().hex


def log_request(request_id: str, method: str, route: str, status: int, seconds: float, **more: Any) -> None:
    """Log a line for a request."""
    if requests.isEnabledFor(logging.INFO):
        fields = {"request_id": request_id, "method": method, "route": route, "status": status}
        fields |= {"ms": round(1000 * seconds, 3), **more}
        requests.info("request", extra={"fields": fields})


def note(answer: Answer) -> None:
    """Note an answer of the engine for the logs and metrics of the request that it belongs to."""
    if "answers" in g:
        g.answers.append(answer)


def register_logs(app: Flask, settings: Settings) -> None:
    """Give each request an id and a line in the log; what was asked is in it only where the settings say so."""

    @app.before_request
    def _begin() -> None:
        g.begun = time.perf_counter()
        g.request_id = request_id_of(request.headers.get(HEADER))
        g.answers = []

    @app.after_request
    def _end(response: Response) -> Response:
        if "begun" not in g:
            _begin()
        response.headers[HEADER] = g.request_id
        seconds = time.perf_counter() - g.begun
        more = {**_of_answers(g.answers), **({"key": g.caller.name} if g.get("caller") and g.caller.name else {})}
        if settings.log_queries and g.answers:
            more["queries"] = [answer.query for answer in g.answers]
        log_request(g.request_id, request.method, route(), response.status_code, seconds, **more)
        return response


def route() -> str:
    """Return the rule that the request was matched by: of the URL, no more than that may be in logs and metrics."""
    return request.url_rule.rule if request.url_rule else "none"


def _of_answers(answers: list[Answer]) -> Mapping[str, Any]:
    if not answers:
        return {}
    reasons = sorted({entry["reason"] for answer in answers for entry in answer.degraded})
    return {"k": answers[0].k, "answers": len(answers), "degraded": reasons}
