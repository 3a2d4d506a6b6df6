"""`GET /openapi.json`: the service described for programs."""

from typing import Any

from flask import Blueprint, Response, current_app

from service.auth import scope
from service.openapi import openapi, operation
from service.respond import json_response

blueprint = Blueprint("documents", __name__)


@blueprint.get("/openapi.json")
@operation(dict[str, Any])
@scope("open")
def openapi_json() -> Response:
    """Return this document, OpenAPI 3.1."""
    return json_response(openapi(current_app))
