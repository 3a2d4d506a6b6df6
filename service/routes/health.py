"""Tell whether the service is alive and ready."""

from flask import Blueprint, Response

from service.answers import Health, Ready
from service.openapi import operation
from service.respond import engine, json_response

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
@operation(Health)
def healthz() -> Response:
    """Tell that the process answers."""
    return json_response({"status": "ok"})


@blueprint.get("/readyz")
@operation(Ready)
def readyz() -> Response:
    """Tell that requests can be answered, and from which index.

    :raise 503: no index is loaded.
    """
    return json_response({"status": "ready", "index": engine().about})
