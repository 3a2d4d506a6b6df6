"""How a benchmark ends: its figures as JSON and Markdown in a folder, and on the screen, with what they are of."""

import json
import os
import platform
from pathlib import Path
from typing import Any

import click


def describe_machine() -> str:
    """Return what figures were measured on."""
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


def publish(out: Path, name: str, figures: dict[str, Any], table: str) -> None:
    """Write `name.json` and `name.md` into a folder, and print the table."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    (out / f"{name}.md").write_text(table, "utf-8")
    click.echo(table)
