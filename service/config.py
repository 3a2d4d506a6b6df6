"""Settings of the service: `QTA_*` in the environment, overridden by options, frozen once read."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from mtrb.errors import InputError

PREFIX = "QTA_"


@dataclass(frozen=True)
class Settings:
    """Where the index is, where to listen, and what a request may ask for."""

    index: Path = Path("index")
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = os.cpu_count() or 1
    max_body_bytes: int = 2_000_000

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ, **overrides: Any) -> Self:
        """Read `QTA_INDEX`, `QTA_HOST`, `QTA_PORT`, `QTA_WORKERS`, `QTA_MAX_BODY_BYTES`; overrides win unless None.

        Raises:
            InputError: a variable is unknown or no valid value.
        """
        values: dict[str, Any] = {}
        types = {field.name: field.type for field in fields(cls)}
        for variable, text in environment.items():
            if not variable.startswith(PREFIX):
                continue
            name = variable.removeprefix(PREFIX).lower()
            if name not in types:
                known = ", ".join(PREFIX + field.upper() for field in types)
                raise InputError(f"unknown setting {variable}; known: {known}")
            values[name] = (
                _number(variable, text, 0 if name == "port" else 1) if types[name] is int else types[name](text)
            )  # type: ignore[operator]
        return cls(**values | {name: value for name, value in overrides.items() if value is not None})


def _number(variable: str, text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise InputError(f"{variable} must be a whole number from {least} on, not {text!r}")
    return int(text)
