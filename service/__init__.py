"""The HTTP service."""

from flask import Flask

from qta.budget import TokenCounter
from qta.engine import Engine
from service.auth import register_auth
from service.config import Settings
from service.logs import register_logs
from service.metrics import register_metrics
from service.opening import register_engine
from service.problems import register_problems
from service.routes import register_routes

__all__ = ["Settings", "create_app"]


def create_app(settings: Settings, engine: Engine | None = None) -> Flask:
    """Return the application; without an engine it opens the settings' index.

    An index that cannot be opened is tried again while serving; until then, requests get 503.

    Raises:
        ArtefactError: the tokenizer is absent or damaged.
    """
    app = Flask("service", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.extensions["token_counter"] = TokenCounter(settings.budget_tokenizer)
    app.extensions["feedback"] = settings.feedback
    register_engine(app, settings, engine)
    register_metrics(app)
    register_logs(app, settings)
    register_auth(app, settings)
    register_routes(app)
    register_problems(app)
    return app
