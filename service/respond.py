"""What every route does: take JSON, ask the engine, answer JSON."""

from dataclasses import replace
from typing import Any

import orjson
from flask import Response, current_app, request
from pydantic import BaseModel
from werkzeug.exceptions import ServiceUnavailable, UnsupportedMediaType

from qta.asking import Answer, Request
from qta.engine import Engine
from service.auth import caller
from service.logs import note
from service.opening import reopen


def require_json() -> None:
    """Refuse a body that is not sent as JSON.

    :raise 415: it is not.
    """
    if not request.is_json:
        sent = request.mimetype or "nothing"
        raise UnsupportedMediaType(f"send the body as Content-Type: application/json, not {sent}")


def engine() -> Engine:
    """Return the engine of this application.

    :raise 503: no index is loaded.
    """
    found: Engine | None = current_app.extensions["engine"] or reopen(current_app)
    if found is None:
        raise ServiceUnavailable("no index is loaded: it cannot be read; the log says why", retry_after=1)
    return found


def answer(asked: Request) -> Answer:
    """Answer a request out of what its caller may see, and note that for logs and metrics.

    :raise 503: no index is loaded.
    """
    found = engine().answer(replace(asked, granted=caller().granted))
    note(found)
    return found


def granted() -> frozenset[str] | None:
    """Return the namespaces whose tools the caller may see; None is all."""
    return caller().granted


def json_response(content: Any, status: int = 200) -> Response:
    """Return content as JSON."""
    body = content.model_dump_json() if isinstance(content, BaseModel) else orjson.dumps(content)
    return Response(body, status, content_type="application/json")
