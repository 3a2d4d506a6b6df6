"""The HTTP service."""

from flask import Flask

from qta.budget import TokenCounter
from qta.engine import Engine
from service.config import Settings
from service.problems import register_problems
from service.routes import register_routes

__all__ = ["Settings", "create_app"]


def create_app(settings: Settings, engine: Engine | None = None) -> Flask:
    """Return the application; without an engine it opens the settings' index.

    Raises:
        ArtefactError: the index, the rewriter or the tokenizer is absent or damaged.
    """
    app = Flask("service", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.extensions["engine"] = engine or Engine.open(settings.index, settings.rewriter_choice())
    app.extensions["token_counter"] = TokenCounter(settings.budget_tokenizer)
    app.extensions["feedback"] = settings.feedback
    register_routes(app)
    register_problems(app)
    return app
