"""The HTTP service."""

from flask import Flask

from qta.budget import TokenCounter
from qta.engine import Engine
from qta.keys import KeyStore
from service.auth import register_auth
from service.config import Settings
from service.logs import register_logs
from service.metrics import register_metrics
from service.opening import register_engine
from service.problems import register_problems
from service.routes import register_routes

__all__ = ["Settings", "create_app"]


def create_app(settings: Settings, engine: Engine | None = None, keys: KeyStore | None = None) -> Flask:
    """Return the application; without an engine it opens the settings' index.

    An index that cannot be opened is tried again while serving; until then, requests get 503. Workers are handed the
    keys of the process that they are forked from, so that one which starts anew knows that there were some.

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
    register_auth(app, settings, keys or KeyStore(settings.index))
    register_routes(app)
    register_problems(app)
    return app
