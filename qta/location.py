"""Where the tools of an index folder are when they are not in it: in Milvus, as `DIR/milvus.json` says.

The folder then holds what belongs to this machine: keys, feedback and a calibration.
"""

import os
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from mtrb.errors import ArtefactError, InputError
from mtrb.files import replace_text

FILE = "milvus.json"
TOKEN = "QTA_MILVUS_TOKEN"  # noqa: S105 (the variable's name)
COLLECTION = "qta_tools"

_LITE = ".db"


class Location(BaseModel):
    """A collection of a Milvus server, or of a file of Milvus Lite.

    Attributes:
        uri: `http://host:19530`, with a path for a database; or a path that ends in .db.
        collection: its name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str
    collection: str = COLLECTION

    @classmethod
    def of(cls, uri: str) -> Self:
        """Take what a user says.

        Raises:
            InputError: it is neither an address nor a file of Milvus Lite, or has a password in it.
        """
        if uri.endswith(_LITE) and "://" not in uri:
            return cls(uri=str(Path(uri).resolve()))
        if "@" in uri:  # it would be kept in a file, and shown
            raise InputError(f"the address of Milvus has a password in it; put it into {TOKEN} as user:password")
        try:
            parts = urlsplit(uri)
            valid = parts.scheme in ("http", "https") and parts.hostname and parts.port is not None
        except ValueError:
            valid = False
        if not valid:
            raise InputError(f"{uri!r} is no Milvus: expected e.g. http://host:19530, or a file that ends in {_LITE}")
        return cls(uri=uri)

    def __str__(self) -> str:
        return f"{self.uri} ({self.collection})"

    @property
    def is_file(self) -> bool:
        """Tell whether it is a file of Milvus Lite, which one process at a time may open."""
        return self.uri.endswith(_LITE)

    @property
    def token(self) -> str:
        """Return `user:password` or an API key of the server, empty where it asks for none."""
        return os.environ.get(TOKEN, "")

    def write(self, folder: Path) -> None:
        """Let an index folder say that its tools are here."""
        folder.mkdir(parents=True, exist_ok=True)
        replace_text(folder / FILE, self.model_dump_json(indent=1) + "\n")


def read_location(folder: Path) -> Location | None:
    """Return where the tools of an index folder are; None for in the folder itself.

    Raises:
        ArtefactError: the file that says so is damaged.
    """
    path = folder / FILE
    try:
        return Location.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else 'expected {"uri": "http://host:19530"}'
        raise ArtefactError(f"{path}: cannot be read: {reason}; write it again") from None
