"""Settings of the service: `QTA_*` in the environment, overridden by options, frozen once read."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mtrb.errors import InputError
from qta.location import TOKEN
from qta.rewriting import RewriterChoice

PREFIX = "QTA_"


class Settings(BaseModel):
    """Where the index is, where to listen, what a request may ask for, and who rewrites it.

    Attributes:
        rewriter: `off`, or what `RewriterChoice.where` says; `rewriter_model` and `rewriter_key` are an endpoint's.
        rewrite_timeout: seconds that a request waits for its rewrite before it is ranked as it is.
        feedback: whether requests are kept so that there can be feedback on them, see `qta.feedback`.
        budget_tokenizer: a tokenizer.json that counts token budgets; the bundled one when not given.
        allow_open: serve others than this machine without any key.
        queue: requests that may wait in each worker when a burst comes; more are refused at once.
        deadline: seconds that a request may wait; one that has waited longer is refused rather than computed.
        log_requests: log a line for each request; `log_queries` puts what was asked into it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: Path = Path("index")
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    workers: Annotated[int, Field(ge=1)] = os.cpu_count() or 1
    max_body_bytes: Annotated[int, Field(ge=1)] = 2_000_000
    rewriter: str = "off"
    rewriter_model: str = ""
    rewriter_key: str | None = None
    rewrite_timeout: Annotated[float, Field(gt=0)] = 1.0
    feedback: bool = True
    budget_tokenizer: Path | None = None
    allow_open: bool = False
    queue: Annotated[int, Field(ge=1)] = 16
    deadline: Annotated[float, Field(gt=0)] = 10.0
    log_requests: bool = True
    log_queries: bool = False

    def rewriter_choice(self) -> RewriterChoice | None:
        """Return the rewriter that is wanted, if any."""
        if self.rewriter == "off":
            return None
        return RewriterChoice(self.rewriter, self.rewriter_model, self.rewriter_key, self.rewrite_timeout)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ, **overrides: Any) -> Self:
        """Read `QTA_INDEX`, `QTA_HOST` and so on, a variable a field; overrides win unless None.

        Raises:
            InputError: a variable is unknown or no valid value.
        """
        # The token is read where Milvus is opened, so that it is in nothing that is shown.
        given = {name: text for name, text in environment.items() if name.startswith(PREFIX) and name != TOKEN}
        values: dict[str, Any] = {name.removeprefix(PREFIX).lower(): text for name, text in given.items()}
        try:
            return cls.model_validate(values | {name: value for name, value in overrides.items() if value is not None})
        except ValidationError as error:
            first = error.errors()[0]
            variable = PREFIX + str(first["loc"][0]).upper()
            if first["type"] == "extra_forbidden":
                known = ", ".join([*(PREFIX + field.upper() for field in cls.model_fields), TOKEN])
                raise InputError(f"unknown setting {variable}; known: {known}") from None
            raise InputError(f"{variable} is {first['input']!r}: {first['msg']}") from None
