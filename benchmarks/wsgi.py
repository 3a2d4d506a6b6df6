"""The application for servers that take a module: the index comes from QTA_INDEX."""

from service import Settings, create_app

app = create_app(Settings.from_environment())
