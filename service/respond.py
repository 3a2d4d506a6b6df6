"""What every route does: take JSON, find the engine, answer JSON."""

from typing import Any

import orjson
from flask import Response, current_app, g, request
from pydantic import BaseModel
from werkzeug.exceptions import ServiceUnavailable, UnsupportedMediaType

from qta.engine import Engine


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
    found: Engine | None = current_app.extensions.get("engine")
    if found is None:
        raise ServiceUnavailable("no index is loaded yet")
    return found


def granted() -> frozenset[str] | None:
    """Return the namespaces whose tools the caller may see; None is all, also where nobody has said."""
    namespaces: frozenset[str] | None = g.get("granted")
    return namespaces


def json_response(content: Any, status: int = 200) -> Response:
    """Return content as JSON."""
    body = content.model_dump_json() if isinstance(content, BaseModel) else orjson.dumps(content)
    return Response(body, status, content_type="application/json")
