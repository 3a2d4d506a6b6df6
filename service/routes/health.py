"""Tell whether the service is alive and ready."""

from flask import Blueprint, Response, current_app

from service.answers import Health, Ready
from service.auth import caller, scope
from service.openapi import operation
from service.respond import engine, json_response

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
@operation(Health)
@scope("open")
def healthz() -> Response:
    """Tell that the process answers."""
    return json_response({"status": "ok"})


@blueprint.get("/readyz")
@operation(Ready)
@scope("open")
def readyz() -> Response:
    """Tell that requests can be answered; to a caller who sees all tools, from which index, and what is amiss with it.

    :raise 503: no index is loaded.
    """
    found = engine()
    about, troubles = found.about, dict(current_app.extensions["troubles"])
    if found.catalogue.trouble:
        troubles["index_outdated"] = found.catalogue.trouble
    state: dict[str, object] = {"status": "degraded" if troubles else "ready", "degraded": sorted(troubles)}
    if caller().granted is None:
        state |= {"index": about, "troubles": troubles}
    return json_response(state)
