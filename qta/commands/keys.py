"""`qta keys`: create, list and revoke the keys that a service over an index asks for."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qta.commands import index_option

if TYPE_CHECKING:
    from qta.keys import KeyStore, Scope

_folder = click.Path(file_okay=False, path_type=Path)


@click.group()
def keys() -> None:
    """Create, list and revoke API keys of a service.

    As soon as an index folder has a key, the service asks for one: Authorization: Bearer KEY. Running services see a
    change at once.
    """


@keys.command()
@click.argument("name")
@index_option
@click.option(
    "--scope",
    type=click.Choice(["retrieve", "write", "admin"]),
    default="retrieve",
    show_default=True,
    help="What it may do; each may also do what stands before it.",
)
@click.option("--namespace", "namespaces", multiple=True, help="See and write only tools @NAMESPACE/...; repeatable.")
@click.option("--no-shared", is_flag=True, help="With --namespace: do not see the tools of no namespace either.")
def create(name: str, folder: Path, scope: "Scope", namespaces: tuple[str, ...], no_shared: bool) -> None:
    """Create the key NAME, and print it this once."""
    if no_shared and not namespaces:
        raise click.UsageError("--no-shared needs --namespace: a key of no namespace sees all tools")
    _, token = _store(folder).create(name, scope, namespaces or None, shared=not no_shared)
    click.echo(f"this is the only time that the key {name!r} is shown:", err=True)
    click.echo(token)


@keys.command("list")
@index_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(folder: Path, as_json: bool) -> None:
    """List the keys; what they are is not stored."""
    found = _store(folder).known()
    if as_json:
        click.echo(json.dumps([key.model_dump(exclude={"sha256"}) for key in found], ensure_ascii=False, indent=1))
        return
    for key in found:
        sees = "all tools" if key.namespaces is None else ", ".join(key.namespaces) + " and shared" * key.shared
        state = f"revoked {key.revoked}" if key.revoked else f"created {key.created}"
        click.echo(f"{key.name}  {key.scope}  {sees}  {state}")


@keys.command()
@click.argument("name")
@index_option
def revoke(name: str, folder: Path) -> None:
    """Revoke the key NAME at once."""
    _store(folder).revoke(name)
    click.echo(f"revoked {name}")


def _store(folder: Path) -> "KeyStore":
    from qta.index import read_manifest
    from qta.keys import KeyStore
    from qta.location import read_location

    if read_location(folder) is None:
        read_manifest(folder)  # which refuses a folder that is no index
    return KeyStore(folder)
