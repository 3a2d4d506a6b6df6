"""Errors as problem details (RFC 9457): every failure of the service is JSON of one shape."""

import json
import logging
from collections.abc import Sequence
from typing import NamedTuple

from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import HTTPException, InternalServerError, ServiceUnavailable, UnprocessableEntity

from mtrb.errors import BusyError, InputError, QTAError, StorageError, UnavailableError

logger = logging.getLogger(__name__)


class InvalidField(NamedTuple):
    """Name a field of a request and what is wrong with it."""

    field: str
    message: str


class UnprocessableRequest(UnprocessableEntity):
    """422 with the fields that are wrong."""

    def __init__(self, fields: Sequence[InvalidField]) -> None:
        super().__init__("; ".join(f"{entry.field}: {entry.message}" for entry in fields))
        self.fields = fields


class InsufficientStorage(HTTPException):
    """507: the disk did not take the change."""

    code = 507
    description = (
        "the change could not be written: the disk is full or read-only, or the folder is gone; nothing was changed"
    )


def register_problems(app: Flask) -> None:
    """Answer every HTTP error and every bug with problem details."""

    @app.errorhandler(HTTPException)
    def _http_error(error: HTTPException) -> Response:
        return problem(error)

    @app.errorhandler(QTAError)
    def _refusal(error: QTAError) -> Response:
        text = str(error).replace(str(current_app.extensions["folder"]), "index")
        if isinstance(error, InputError):
            return problem(UnprocessableEntity(text))
        logger.error("%s %s: %s", request.method, request.path, error)
        if isinstance(error, StorageError):
            return problem(InsufficientStorage())
        if isinstance(error, BusyError):
            return problem(
                ServiceUnavailable("another process is writing; nothing was changed, try again", retry_after=1)
            )
        if isinstance(error, UnavailableError):
            return problem(
                ServiceUnavailable(
                    "the store of the tools does not answer; whether anything was changed is not known, send it again",
                    retry_after=5,
                )
            )
        return problem(ServiceUnavailable(text, retry_after=5))

    @app.errorhandler(Exception)
    def _bug(error: Exception) -> Response:
        logger.error("unexpected error at %s %s", request.method, request.path, exc_info=error)
        return problem(InternalServerError("an unexpected error; it was logged"))


def problem(error: HTTPException) -> Response:
    """Return an error as problem details, with the headers the error asks for (such as Allow)."""
    status = error.code or 500
    body = {
        "type": "about:blank",
        "title": error.name,
        "status": status,
        "detail": error.description,
        "instance": request.path,
        "request_id": g.get("request_id"),
    }
    if isinstance(error, UnprocessableRequest):
        body["errors"] = [entry._asdict() for entry in error.fields]
    response = Response(json.dumps(body, ensure_ascii=False), status, content_type="application/problem+json")
    for name, value in error.get_headers(request.environ):
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response
