"""The routes, a module for each thing that people do with the service."""

from flask import Flask

from service.routes import health, metrics, retrieve


def register_routes(app: Flask) -> None:
    """Add all routes to the application."""
    for module in (retrieve, metrics, health):
        app.register_blueprint(module.blueprint)
