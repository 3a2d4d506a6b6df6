"""`POST /retrieve`: rank tools for a request, or for several."""

from flask import Blueprint, Response, current_app, request

from qta.asking import Form, Request
from qta.budget import Budget
from service.answers import RetrieveAnswer, RetrieveAnswers
from service.auth import scope
from service.openapi import operation
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
    answers = [answer(_request(text, asked)).to_json() for text in asked.texts]
    return json_response(answers[0] if asked.queries is None else {"results": answers})


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
