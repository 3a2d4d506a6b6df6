"""Serve MCP over stdio: `qta mcp --index DIR`, or `python -m service.stdio --index DIR`."""

from pathlib import Path
from typing import Any

import click

from qta.commands.numbers import FiniteRange
from service.__main__ import run


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--index", type=click.Path(file_okay=False, path_type=Path), help="Folder that `qta index` made.")
@click.option("--rewriter", help="off, default, a folder of `qta train`, or an endpoint's URL.  [default: off]")
@click.option("--rewriter-model", help="The endpoint's model; its key is QTA_REWRITER_KEY.")
@click.option("--rewrite-timeout", type=FiniteRange(0, min_open=True), help="Seconds.  [default: 1.0]")
def main(**options: Any) -> None:
    """Let an MCP client that starts this command search an index; it speaks MCP on stdin and stdout.

    Options not given are read from the environment: QTA_INDEX, QTA_REWRITER and so on.
    """
    import anyio
    from mcp.server.stdio import stdio_server

    from qta.engine import Engine
    from service.config import Settings
    from service.mcp import build_server

    settings = Settings.from_environment(**options)
    engine = Engine.open(settings.index, settings.rewriter_choice())
    server = build_server(lambda: engine, engine.answer)

    async def serve() -> None:
        async with stdio_server() as (requests, answers):
            await server.run(requests, answers, server.create_initialization_options())

    anyio.run(serve)


if __name__ == "__main__":
    run(main, "qta mcp")
