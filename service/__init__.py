"""The HTTP service."""

from flask import Flask

from qta.engine import Engine
from service.config import Settings
from service.problems import register_problems
from service.routes import register_routes

__all__ = ["Settings", "create_app"]


def create_app(settings: Settings, engine: Engine | None = None) -> Flask:
    """Return the application; without an engine it opens the settings' index.

    Raises:
        ArtefactError: the index or the rewriter is absent or damaged.
    """
    app = Flask("service", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.extensions["engine"] = engine or Engine.open(settings.index, settings.rewriter_choice())
    register_routes(app)
    register_problems(app)
    return app
