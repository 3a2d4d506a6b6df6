"""How a command ends: what it refuses is one or two lines on stderr and exit status 2, never a traceback."""

import sys
from typing import NoReturn

import click

from mtrb.errors import QTAError


def run_command(command: click.Command, name: str | None = None) -> NoReturn:
    """Run a command with the arguments of this process, and end the process."""
    try:
        sys.exit(command.main(prog_name=name, standalone_mode=False) or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(0)
    except click.ClickException as error:
        hint = f"\ntry: {error.ctx.command_path} --help" if isinstance(error, click.UsageError) and error.ctx else ""
        _refuse(" ".join(error.format_message().split()) + hint)
    except (QTAError, OSError) as error:
        _refuse(str(error))
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)


def _refuse(message: str) -> NoReturn:
    click.echo(f"error: {message}", err=True)
    sys.exit(2)
