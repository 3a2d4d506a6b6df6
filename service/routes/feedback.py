"""`POST /feedback`: learn which tools of an answer were used."""

from flask import Blueprint, Response, current_app, request
from werkzeug.exceptions import NotFound

from mtrb.identifiers import clean_tool_id
from qta.feedback import tenant_of
from service.answers import FeedbackAnswer
from service.auth import caller, scope
from service.openapi import operation
from service.problems import InvalidField, UnprocessableRequest
from service.respond import engine, json_response, require_json
from service.schemas import FeedbackRequest

blueprint = Blueprint("feedback", __name__)


@blueprint.post("/feedback")
@operation(FeedbackAnswer, body=FeedbackRequest)
@scope("retrieve")
def feedback() -> Response:
    """Keep which tools were used for a request; they rank higher from now on, for keys of the same namespaces.

    Feedback on the same request replaces what was said before; an empty list says that none was of use.

    :raise 400: the body is no JSON.
    :raise 404: no request of that id, by a key of the same namespaces, was answered in the last day, or feedback is
        switched off.
    :raise 415: the body is not sent as JSON.
    :raise 422: a field is invalid, or a tool is not in the catalogue.
    :raise 503: no index is loaded, or the feedback cannot be written.
    """
    require_json()
    given = FeedbackRequest.parse(request.get_data())
    if not current_app.extensions["feedback"]:
        raise NotFound("feedback is switched off; it is taken where QTA_FEEDBACK is on")
    used = [clean_tool_id(tool_id) for tool_id in given.used]  # as their owner wrote them
    known = set(engine().permitted(used, caller().granted))
    unknown = [at for at, tool_id in enumerate(used) if tool_id not in known]
    if unknown:
        raise UnprocessableRequest(
            [InvalidField(f"used.{at}", "no tool of this id is in the catalogue") for at in unknown]
        )
    if not engine().feedback.add(given.request_id, used, tenant_of(caller().granted)):
        raise NotFound("no request of this request_id, by a key of the same namespaces, was answered in the last day")
    return json_response({"request_id": given.request_id, "used": list(dict.fromkeys(used))})
