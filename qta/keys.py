"""API keys of an index folder: who may do what, and whose tools they see.

A key is 256 random bits, shown once; the file holds its SHA-256, which for a secret of that entropy needs no salt and
no slow hash. The file is replaced whole and looked at before every request, so that all processes see a change at once.
"""

import hashlib
import hmac
import mmap
import re
import secrets
import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, get_args

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from mtrb.errors import ArtefactError, InputError
from mtrb.files import replace_text
from qta.selection import SHARED

FILE = "keys.json"

Scope = Literal["retrieve", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""What a key may do; each may also do what stands before it."""

_PREFIX = "qta_"  # by which scanners for leaked secrets know a key
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""What keys and namespaces may be called."""


class Key(BaseModel):
    """A key as it is stored.

    Attributes:
        namespaces: whose tools it writes and, with the shared ones where `shared` says so, sees; None for all.
        revoked: when it ceased to be valid.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    scope: Scope
    namespaces: tuple[str, ...] | None = None
    shared: bool = True
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    created: str
    revoked: str | None = None

    @property
    def granted(self) -> frozenset[str] | None:
        """Return the namespaces that the key sees; None for all."""
        if self.namespaces is None:
            return None
        return frozenset((*self.namespaces, SHARED) if self.shared else self.namespaces)


_KEYS = TypeAdapter(tuple[Key, ...])


class KeyStore:
    """Create, revoke and find the keys of an index folder; safe to share between threads and processes."""

    def __init__(self, folder: Path) -> None:
        """Take an index folder; it need not have any key.

        Processes that are forked from this one share what any of them has seen: that there are keys.
        """
        self._path = folder / FILE
        self._lock = threading.Lock()
        self._stamp: object = None
        self._keys: tuple[Key, ...] = ()
        self._seen = mmap.mmap(-1, 1)

    def known(self) -> Sequence[Key]:
        """Return all keys, the revoked ones too, in the order in which they were created.

        Raises:
            ArtefactError: the file is damaged, or was there and is gone.
        """
        with self._lock:
            stamp = self._find()
            if stamp != self._stamp:
                self._keys, self._stamp = self._read() if stamp else (), stamp
            return self._keys

    def find(self, token: str) -> Key | None:
        """Return the valid key of a token, if any.

        Raises:
            ArtefactError: the file is damaged, or was there and is gone.
        """
        digest = _hash(token)
        found = None
        for key in self.known():  # all of them, so that the time tells nothing
            if hmac.compare_digest(key.sha256, digest) and key.revoked is None:
                found = key
        return found

    def create(
        self, name: str, scope: Scope, namespaces: Iterable[str] | None = None, shared: bool = True
    ) -> tuple[Key, str]:
        """Create a key; return it and its token, which is stored nowhere.

        Raises:
            InputError: the name or a namespace is not well formed, or a valid key has that name.
        """
        for what, text in (("the name", name), *(("the namespace", one) for one in namespaces or ())):
            if not re.fullmatch(NAME, text):
                raise InputError(f"{what} {text!r} is not up to 64 letters, digits and . _ -")
        token = _PREFIX + secrets.token_urlsafe(32)
        key = Key(
            name=name,
            scope=scope,
            namespaces=None if namespaces is None else tuple(dict.fromkeys(namespaces)),
            shared=shared,
            sha256=_hash(token),
            created=_now(),
        )
        with self._changing():
            keys = self.known()
            if any(other.name == name and other.revoked is None for other in keys):
                raise InputError(f"there is a key {name!r} already; choose another name, or revoke it first")
            self._write([*keys, key])
        return key, token

    def revoke(self, name: str) -> None:
        """Revoke a key, at once and for good.

        Raises:
            InputError: no valid key has that name.
        """
        with self._changing():
            keys = self.known()
            valid = [key.name for key in keys if key.revoked is None]
            if name not in valid:
                raise InputError(f"there is no key {name!r} to revoke; there are: {', '.join(valid) or 'none'}")
            revoked = {"revoked": _now()}
            self._write([key.model_copy(update=revoked) if key.name == name else key for key in keys])

    def _changing(self) -> FileLock:
        return FileLock(self._path.with_name(".keys.lock"), timeout=10)

    def _find(self) -> object:
        """Return what changes when the file does; None where there is and was none."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            if self._seen[0]:
                raise ArtefactError(f"{self._path}: the keys were there and are gone; restore the file") from None
            return None
        except OSError as error:
            raise ArtefactError(f"{self._path}: the keys cannot be read: {error.strerror}") from None
        self._seen[0] = 1
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _read(self) -> tuple[Key, ...]:
        try:
            return _KEYS.validate_json(self._path.read_bytes())
        except (OSError, ValidationError) as error:
            reason = "it is no list of keys" if isinstance(error, ValidationError) else error.strerror
            raise ArtefactError(f"{self._path}: damaged: {reason}; restore the file from a copy") from None

    def _write(self, keys: Sequence[Key]) -> None:
        try:
            replace_text(self._path, _KEYS.dump_json(tuple(keys), indent=1).decode() + "\n")
        except OSError as error:
            raise ArtefactError(f"{self._path}: cannot be written: {error.strerror}; nothing was changed") from None


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
