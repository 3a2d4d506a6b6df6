"""`GET /metrics`: what the service counts, for Prometheus."""

from flask import Blueprint, Response, current_app

from service.auth import scope
from service.metrics import metrics
from service.openapi import operation

blueprint = Blueprint("metrics", __name__)


@blueprint.get("/metrics")
@operation(str, media_type="text/plain")
@scope("admin")
def counted() -> Response:
    """Return the metrics of all worker processes in Prometheus' text format."""
    from prometheus_client import CONTENT_TYPE_LATEST  # late, see service.metrics

    return Response(metrics().text(current_app.extensions["engine"]), content_type=CONTENT_TYPE_LATEST)
