"""Who asks, and what they may: every route says which scope it needs, and one that says nothing needs admin.

    @blueprint.put("/tools")
    @scope("write")
    def put_tools() -> Response: ...

As long as the index folder has no key, whoever reaches the service from this machine, by a name that can only mean this
machine, may do everything; a web page, whose owner can let its name point here, may not. What a caller may see is
`caller().granted`; `service.respond.answer` hands it to the engine.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from flask import Flask, current_app, g, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, Unauthorized

from mtrb.errors import ArtefactError, InputError
from qta.keys import SCOPES, Key, KeyStore, Scope
from qta.selection import namespace_of
from service.config import Settings

Needed = Scope | Literal["open"]
View = TypeVar("View", bound=Callable[..., object])

_NEEDED = "needed_scope"
_CHALLENGE = WWWAuthenticate("bearer", {"realm": "qta"})


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        name: of the key; None where there is none.
        scope: what the caller may do; None for nothing.
        granted: the namespaces whose tools the caller sees; None for all.
        owned: the namespaces whose tools the caller may write, given the scope; None for all.
    """

    name: str | None = None
    scope: Scope | None = None
    granted: frozenset[str] | None = frozenset()
    owned: frozenset[str] | None = frozenset()

    @classmethod
    def of(cls, key: Key) -> "Caller":
        """Return the caller that a key is."""
        owned = None if key.namespaces is None else frozenset(key.namespaces)
        return cls(key.name, key.scope, key.granted, owned)

    def may(self, needed: Needed) -> bool:
        """Tell whether the caller has a scope, or one above it."""
        if needed == "open":
            return True
        return self.scope is not None and SCOPES.index(self.scope) >= SCOPES.index(needed)

    def sees(self, tool_id: str) -> bool:
        """Tell whether the caller may know of a tool."""
        return self.granted is None or namespace_of(tool_id) in self.granted

    def owns(self, tool_id: str) -> bool:
        """Tell whether a caller who may write may write this tool: no shared one, where the key names namespaces."""
        return self.owned is None or namespace_of(tool_id) in self.owned


OWNER = Caller(None, "admin", None, None)
"""Whoever asks where no key is needed."""

NOBODY = Caller()


def scope(needed: Needed) -> Callable[[View], View]:
    """Declare which scope a route needs; `open` for none."""

    def declare(view: View) -> View:
        setattr(view, _NEEDED, needed)
        return view

    return declare


def scope_of(view: Callable[..., object]) -> Needed:
    """Return the scope that a route needs."""
    needed: Needed = getattr(view, _NEEDED, "admin")
    return needed


def caller() -> Caller:
    """Return who asks."""
    found: Caller = g.caller
    return found


def register_auth(app: Flask, settings: Settings, keys: KeyStore) -> None:
    """Let a request through to its route only if its caller has the scope that the route needs."""
    app.extensions["keys"] = keys
    app.extensions["allow_open"] = settings.allow_open

    @app.before_request
    def _admit() -> None:
        g.caller = NOBODY
        if request.endpoint is None:
            return  # no route: the answer says so
        needed = scope_of(current_app.view_functions[request.endpoint])
        if needed == "open" and "Authorization" not in request.headers:
            with suppress(ArtefactError):
                g.caller = OWNER if _is_open() else NOBODY
            return
        g.caller = identify(request.headers.get("Authorization"))
        if not g.caller.may(needed):
            raise Forbidden(
                f"this needs the scope {needed!r}, and the key {g.caller.name!r} has {g.caller.scope!r}; "
                "`qta keys create NAME --scope ...` makes another"
            )


def identify(authorization: str | None) -> Caller:
    """Return the caller that an Authorization header stands for.

    Raises:
        Unauthorized: a key is needed and the header has none, or none that is valid.
        ArtefactError: the keys cannot be read.
    """
    if _is_open():
        return OWNER
    kind, _, token = (authorization or "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise Unauthorized(
            "send a key as `Authorization: Bearer KEY`; `qta keys create NAME --index DIR` makes one (while there is "
            "none, this machine is answered without, under the name localhost or 127.0.0.1)",
            www_authenticate=_CHALLENGE,
        )
    keys: KeyStore = current_app.extensions["keys"]
    key = keys.find(token.strip())
    if key is None:
        raise Unauthorized(
            "the key is unknown or revoked; `qta keys list --index DIR` lists them", www_authenticate=_CHALLENGE
        )
    return Caller.of(key)


def _is_open() -> bool:
    keys: KeyStore = current_app.extensions["keys"]
    allowed: bool = current_app.extensions["allow_open"]
    return not keys.known() and (allowed or (_is_loopback(request.remote_addr or "") and _means_this_machine()))


def refuse_to_be_open(address: str, settings: Settings) -> None:
    """Refuse to serve without keys where others than this machine could ask.

    Raises:
        InputError: the address is no loopback address, there is no key, and nobody said that this is meant.
        ArtefactError: the keys cannot be read.
    """
    if not (settings.allow_open or _is_loopback(address) or KeyStore(settings.index).known()):
        raise InputError(
            f"{settings.host} can be reached from other machines, and {settings.index} has no key: anybody could ask; "
            f"make one with `qta keys create NAME --index {settings.index}`, or, behind a gateway that lets in "
            "only who may, give --allow-open"
        )


def _means_this_machine() -> bool:
    """Tell whether a request names a host that can only be this machine; a program may name none, a browser does."""
    host = request.environ.get("HTTP_HOST", "")
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return not host or name == "localhost" or name.endswith(".localhost") or _is_loopback(name)


def _is_loopback(address: str) -> bool:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback
