"""`POST /retrieve`: rank tools for a request, or for several."""

from flask import Blueprint, Response, request

from qta.engine import Request
from service.auth import scope
from service.respond import answer, json_response, require_json
from service.schemas import RetrieveRequest

blueprint = Blueprint("retrieve", __name__)


@blueprint.post("/retrieve")
@scope("retrieve")
def retrieve() -> Response:
    """Rank tools for a request, or for several.

    :raise 400: the body is no JSON.
    :raise 415: the body is not sent as JSON.
    :raise 422: a field is invalid.
    :raise 503: no index is loaded.
    """
    require_json()
    asked = RetrieveRequest.parse(request.get_data())
    if asked.query is not None:
        return json_response(answer(Request(asked.query, asked.k, asked.rewrite)).to_json())
    answers = [answer(Request(query, asked.k, asked.rewrite)).to_json() for query in asked.queries or ()]
    return json_response({"results": answers})
