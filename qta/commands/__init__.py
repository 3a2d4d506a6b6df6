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


def given(option: str) -> bool:
    """Tell whether an option of the command that runs was given, rather than left at its default."""
    source = click.get_current_context().get_parameter_source(option)
    return source is not None and source != click.core.ParameterSource.DEFAULT
