"""Start the service: `qta serve --index DIR`, or `python -m service --index DIR`."""

import sys
from pathlib import Path
from typing import Any

import click

from mtrb.errors import QTAError
from qta.commands.numbers import FiniteRange


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--index", type=click.Path(file_okay=False, path_type=Path), help="Folder that `qta index` made.")
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on, 0 for any free one.  [default: 8000]")
@click.option("--workers", type=click.IntRange(1), help="Worker processes.  [default: one a core]")
@click.option("--rewriter", help="off, default, a folder of `qta train`, or an endpoint's URL.  [default: off]")
@click.option("--rewriter-model", help="The endpoint's model; its key is QTA_REWRITER_KEY.")
@click.option("--rewrite-timeout", type=FiniteRange(0, min_open=True), help="Seconds.  [default: 1.0]")
@click.option("--queue", type=click.IntRange(1), help="Requests that may wait in each worker.  [default: 16]")
@click.option("--deadline", type=FiniteRange(0, min_open=True), help="Seconds they may wait.  [default: 10]")
@click.option(
    "--allow-open", is_flag=True, default=None, help="Serve other machines without any key: behind a gateway."
)
def main(**options: Any) -> None:
    """Serve an index over HTTP.

    Options not given are read from the environment: QTA_INDEX, QTA_HOST, QTA_PORT, QTA_WORKERS, QTA_REWRITER and so on.
    """
    from qta.budget import TokenCounter
    from service.auth import refuse_to_be_open
    from service.config import Settings
    from service.opening import check_rewriter, count_tools
    from service.server import Application, listen

    settings = Settings.from_environment(**options)
    check_rewriter(settings)
    TokenCounter(settings.budget_tokenizer)
    tools = count_tools(settings)
    listener = listen(settings)
    refuse_to_be_open(listener.getsockname()[0], settings)
    name, number = listener.getsockname()[:2]
    url = f"http://[{name}]:{number}" if ":" in name else f"http://{name}:{number}"
    ready = (
        f"serving {tools:,} tools on {url}; try\n"
        f"  curl -s {url}/retrieve -H 'Content-Type: application/json' "
        """-d '{"query": "refund order 8841", "k": 3}'"""
    )
    Application(settings, listener, ready).run()


def run(command: click.Command, name: str) -> None:
    """Start, or say in one or two lines on stderr why not, with exit status 2."""
    try:
        command.main(prog_name=name, standalone_mode=False)
    except click.exceptions.Exit as status:
        sys.exit(status.exit_code)
    except click.ClickException as error:
        click.echo(f"error: {error.format_message()}\ntry: {name} --help", err=True)
        sys.exit(2)
    except (QTAError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)


if __name__ == "__main__":
    run(main, "qta serve")
