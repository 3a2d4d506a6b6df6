"""The routes, a module for each thing that people do with the service."""

from flask import Flask

from service.routes import documents, feedback, health, mcp, metrics, page, retrieve, tools


def register_routes(app: Flask) -> None:
    """Add all routes to the application."""
    for module in (retrieve, tools, feedback, metrics, health, documents, mcp, page):
        app.register_blueprint(module.blueprint)
