"""The longer commands of `qta`, a module each."""

from pathlib import Path

import click

index_option = click.option(
    "--index",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder that `qta index` made.",
)
"""`--index DIR`, which commands take as `folder`."""
