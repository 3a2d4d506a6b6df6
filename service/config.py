"""Settings of the service: `QTA_*` in the environment, overridden by options, frozen once read."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mtrb.errors import InputError

PREFIX = "QTA_"


class Settings(BaseModel):
    """Where the index is, where to listen, and what a request may ask for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: Path = Path("index")
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    workers: Annotated[int, Field(ge=1)] = os.cpu_count() or 1
    max_body_bytes: Annotated[int, Field(ge=1)] = 2_000_000

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ, **overrides: Any) -> Self:
        """Read `QTA_INDEX`, `QTA_HOST`, `QTA_PORT`, `QTA_WORKERS`, `QTA_MAX_BODY_BYTES`; overrides win unless None.

        Raises:
            InputError: a variable is unknown or no valid value.
        """
        given = {name: text for name, text in environment.items() if name.startswith(PREFIX)}
        values: dict[str, Any] = {name.removeprefix(PREFIX).lower(): text for name, text in given.items()}
        try:
            return cls.model_validate(values | {name: value for name, value in overrides.items() if value is not None})
        except ValidationError as error:
            first = error.errors()[0]
            variable = PREFIX + str(first["loc"][0]).upper()
            if first["type"] == "extra_forbidden":
                known = ", ".join(PREFIX + field.upper() for field in cls.model_fields)
                raise InputError(f"unknown setting {variable}; known: {known}") from None
            raise InputError(f"{variable} is {first['input']!r}: {first['msg']}") from None
