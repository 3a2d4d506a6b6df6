"""`GET /metrics`: what the service counts, for Prometheus."""

from flask import Blueprint, Response, current_app
from werkzeug.exceptions import Forbidden

from service.auth import caller, scope
from service.metrics import metrics
from service.openapi import operation

blueprint = Blueprint("metrics", __name__)


@blueprint.get("/metrics")
@operation(str, media_type="text/plain")
@scope("admin")
def counted() -> Response:
    """Return the metrics of all worker processes in Prometheus' text format.

    :raise 403: the key has another scope, or does not see all tools, of which the metrics tell.
    """
    if caller().granted is not None:
        raise Forbidden("the metrics tell of all namespaces; this takes a key that sees them all, without --namespace")
    from prometheus_client import CONTENT_TYPE_LATEST  # late, see service.metrics

    return Response(metrics().text(current_app.extensions["engine"]), content_type=CONTENT_TYPE_LATEST)
