"""How a benchmark ends: its figures as JSON and Markdown in a folder, and on the screen."""

import json
from pathlib import Path
from typing import Any

import click


def publish(out: Path, name: str, figures: dict[str, Any], table: str) -> None:
    """Write `name.json` and `name.md` into a folder, and print the table."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    (out / f"{name}.md").write_text(table, "utf-8")
    click.echo(table)
