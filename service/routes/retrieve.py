"""`POST /retrieve`: rank tools for a request, or for several."""

from flask import Blueprint, Response, current_app, request

from qta.asking import Form, Request
from qta.budget import Budget
from qta.conversation import request_of
from service.answers import RetrieveAnswer, RetrieveAnswers
from service.auth import scope
from service.openapi import operation
from service.problems import InvalidField, UnprocessableRequest
from service.respond import answer, json_response, require_json
from service.schemas import RetrieveRequest

blueprint = Blueprint("retrieve", __name__)


@blueprint.post("/retrieve")
@operation(RetrieveAnswer | RetrieveAnswers, body=RetrieveRequest)
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
    if asked.queries is not None:
        return json_response({"results": [answer(_request(query, asked)).to_json() for query in asked.queries]})
    return json_response(answer(_request(asked.query or _said(asked), asked)).to_json())


def _said(asked: RetrieveRequest) -> str:
    said = request_of([message.model_dump() for message in asked.messages or ()])
    if said is None:
        raise UnprocessableRequest([InvalidField("messages", "no message of the role 'user' has a text")])
    return said


def _request(query: str, asked: RetrieveRequest) -> Request:
    budget = asked.token_budget
    return Request(
        query=query,
        k=asked.size,
        rewrite=asked.rewrite,
        wanted=asked.filter.filter(),
        always=tuple(asked.always),
        explain=asked.explain,
        form=Form(asked.format, asked.detail, asked.call_id),
        budget=None if budget is None else Budget(budget, current_app.extensions["token_counter"]),
        keep=current_app.extensions["feedback"],
    )
