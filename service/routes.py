"""The routes: retrieve tools, and tell whether the service is alive and ready."""

from typing import Any

import orjson
from flask import Blueprint, Response, current_app, request
from werkzeug.exceptions import ServiceUnavailable, UnsupportedMediaType

from qta.engine import Engine
from service.schemas import RetrieveRequest

blueprint = Blueprint("service", __name__)


@blueprint.post("/retrieve")
def retrieve() -> Response:
    """Rank tools for a request, or for several.

    :raise 400: the body is no JSON.
    :raise 415: the body is not sent as JSON.
    :raise 422: a field is invalid.
    :raise 503: no index is loaded.
    """
    if not request.is_json:
        sent = request.mimetype or "nothing"
        raise UnsupportedMediaType(f"send the body as Content-Type: application/json, not {sent}")
    asked = RetrieveRequest.parse(request.get_data())
    engine = _engine()
    if asked.query is not None:
        return _json(engine.retrieve(asked.query, asked.k, asked.rewrite).to_json())
    answers = [engine.retrieve(query, asked.k, asked.rewrite).to_json() for query in asked.queries or ()]
    return _json({"results": answers})


@blueprint.get("/healthz")
def healthz() -> Response:
    """Tell that the process answers."""
    return _json({"status": "ok"})


@blueprint.get("/readyz")
def readyz() -> Response:
    """Tell that requests can be answered, and from which index.

    :raise 503: no index is loaded.
    """
    return _json({"status": "ready", "index": _engine().about})


def _engine() -> Engine:
    engine: Engine | None = current_app.extensions.get("engine")
    if engine is None:
        raise ServiceUnavailable("no index is loaded yet")
    return engine


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content), content_type="application/json")
