"""`GET /`: the page for people, and what it is made of: static files, no build step, no other host."""

from pathlib import Path

from flask import Blueprint, Response, send_from_directory

from service.auth import scope
from service.openapi import operation

_FOLDER = Path(__file__).parents[1] / "page"

_HEADERS = {
    "Content-Security-Policy": "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            "connect-src 'self'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "require-trusted-types-for 'script'",  # no text becomes HTML, not even by mistake
            "trusted-types 'none'",
        ]
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

blueprint = Blueprint("page", __name__)


@blueprint.after_request
def _protect(response: Response) -> Response:
    response.headers.update(_HEADERS)
    return response


@blueprint.get("/")
@scope("open")
@operation(str, media_type="text/html")
def page() -> Response:
    """Return the page for people: ask, see why, browse the catalogue."""
    return _file("index.html", "text/html")


@blueprint.get("/style.css")
@scope("open")
@operation(str, media_type="text/css")
def page_style() -> Response:
    """Return the page's style sheet."""
    return _file("style.css", "text/css")


@blueprint.get("/page.js")
@scope("open")
@operation(str, media_type="text/javascript")
def page_script() -> Response:
    """Return the page's script."""
    return _file("page.js", "text/javascript")


@blueprint.get("/sufficiency.png")
@scope("open")
@operation(bytes, media_type="image/png")
def page_plot() -> Response:
    """Return the evaluation plot.

    :raise 404: this package was made without it.
    """
    return _file("sufficiency.png", "image/png")


def _file(name: str, media_type: str) -> Response:
    """Return a file with an ETag; browsers may keep it and ask each time whether it is still the same."""
    return send_from_directory(_FOLDER, name, mimetype=media_type)
