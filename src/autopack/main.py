"""The app for `uvicorn autopack.main:app`. Importing this opens nothing; starting the app does."""

from autopack.bootstrap.local import make_app

app = make_app()
