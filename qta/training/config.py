"""The settings of an alignment: one YAML file, every key of which is known."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mtrb.errors import InputError
from qta.rewriting.prompt import Prompt

Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]

DEFAULTS = Path(__file__).parent / "align.yaml"


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PromptSettings(_Settings):
    """What the rewriter is shown, see `Prompt`."""

    tools: Annotated[int, Field(ge=0)] = 10
    selection: Literal["nearest", "sampled"] = "nearest"
    words: Positive = 6

    def prompt(self, seed: int) -> Prompt:
        """Return the prompt; sampled tools depend on the seed."""
        return Prompt(self.tools, self.selection, self.words, seed if self.selection == "sampled" else 0)


class CandidateSettings(_Settings):
    """How rewrites are sampled."""

    samples: Positive = 64
    temperature: Rate = 1.4
    top_k: Annotated[int, Field(ge=0)] = 50
    max_new_tokens: Positive = 64
    no_repeat: Annotated[int, Field(ge=0)] = 6
    at_once: Positive = 256


class PairSettings(_Settings):
    """How candidates become pairs: at most so many a query and round, that differ by at least the margin."""

    ranking: Literal["golden-index", "log-rank", "sufficiency-first"] = "log-rank"
    most: Positive = 12
    margin: Annotated[float, Field(ge=0)] = 0.15


class LoraSettings(_Settings):
    """The adapter."""

    rank: Positive = 16
    alpha: Positive = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class DPOSettings(_Settings):
    """The optimisation of a round; `likelihood` weighs the chosen rewrites' log-likelihood beside the preference."""

    beta: Rate = 0.1
    learning_rate: Rate = 2e-4
    epochs: Positive = 1
    batch: Positive = 8
    accumulation: Positive = 1
    likelihood: Annotated[float, Field(ge=0)] = 0.1


class AlignSettings(_Settings):
    """Everything that an alignment depends on beside its data."""

    base: str = "default"
    prompt: PromptSettings = PromptSettings()
    candidates: CandidateSettings = CandidateSettings()
    pairs: PairSettings = PairSettings()
    rounds: Positive = 10
    lora: LoraSettings = LoraSettings()
    dpo: DPOSettings = DPOSettings()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0  # a round adds its number, and numpy takes 32 bits


def load_settings(path: Path | None = None, **overrides: Any) -> AlignSettings:
    """Read a YAML file over the defaults; overrides win unless None.

    Raises:
        InputError: the file cannot be read, a key is unknown or a value invalid.
    """
    source = path or DEFAULTS
    try:
        content = yaml.safe_load(source.read_text("utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{source}: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise InputError(f"{source}: expected settings by name, not {type(content).__name__}")
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return AlignSettings.model_validate(content | given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise InputError(f"{source}: unknown setting {where!r}; {DEFAULTS.name} lists all there are") from None
        raise InputError(f"{source}: {where} is {first['input']!r}: {first['msg']}") from None
