"""Records from files: JSON Lines, JSON and YAML, plain or gzip-compressed, streamed where the form allows it."""

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from mtrb.errors import InputError

MAX_DOCUMENT_BYTES = 100_000_000
"""A JSON or YAML document is held in memory as a whole, so it has a limit; JSON Lines has none."""

MAX_LINE_BYTES = 4_000_000

_LINE_SUFFIXES = {".jsonl", ".ndjson"}
_YAML_SUFFIXES = {".yaml", ".yml"}


def is_json_lines(path: Path) -> bool:
    """Tell JSON Lines from one document: by suffix, else by whether the first two lines are objects."""
    suffix = _suffix(path)
    if suffix in _LINE_SUFFIXES or suffix in _YAML_SUFFIXES:
        return suffix in _LINE_SUFFIXES
    with _open(path) as file:
        lines = [_checked(path, lambda: file.readline(MAX_LINE_BYTES)).strip() for _ in range(2)]
    lines[0] = lines[0].removeprefix(codecs.BOM_UTF8)
    return all(line.startswith(b"{") and line.endswith(b"}") for line in lines if line) and bool(lines[1])


def read_lines(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield (location, value) for each line of a JSON Lines file, one line in memory at a time.

    A value that is an exception stands for a line that cannot be parsed.

    Raises:
        InputError: the file cannot be opened or is truncated.
    """
    with _open(path) as file:
        number = 0
        while line := _checked(path, lambda: file.readline(MAX_LINE_BYTES + 1)):
            number += 1
            location = f"{path}, line {number}"
            if len(line) > MAX_LINE_BYTES:
                too_long = f"longer than {MAX_LINE_BYTES:,} bytes; is this JSON Lines, one tool a line?"
                yield location, ValueError(too_long)
                while line and not line.endswith(b"\n"):  # the rest of it, for those who leave it out
                    line = _checked(path, lambda: file.readline(MAX_LINE_BYTES))
            elif isinstance(text := _decoded(line), Exception):
                yield location, text
            elif text.strip():
                yield location, _parse_json(text.strip())


def read_document(path: Path) -> Any:
    """Return the content of one JSON or YAML document.

    Raises:
        InputError: it cannot be opened or parsed, or is larger than `MAX_DOCUMENT_BYTES`.
    """
    with _open(path) as file:
        data = _checked(path, lambda: file.read(MAX_DOCUMENT_BYTES + 1))
    if len(data) > MAX_DOCUMENT_BYTES:
        raise InputError(
            f"{path}: larger than {MAX_DOCUMENT_BYTES // 1_000_000} MB, too large for one document; "
            "convert it to JSON Lines (one tool a line), which is streamed"
        )
    text = _decoded(data)
    if isinstance(text, Exception):
        raise InputError(f"{path}: {text}")
    if not text.strip():
        raise InputError(f"{path}: the file is empty; expected tools in one of the formats of `qta index --help`")
    yaml_likely = _suffix(path) in _YAML_SUFFIXES or text.lstrip()[0] not in "[{"
    value = _parse_yaml(text) if yaml_likely else _parse_json(text)
    if isinstance(value, Exception):
        raise InputError(f"{path}: {value}")
    return value


def _suffix(path: Path) -> str:
    name = path.name.removesuffix(".gz")
    return Path(name).suffix.lower()


def _open(path: Path) -> IO[bytes]:
    try:
        if path.is_dir():
            raise InputError(f"{path}: is a folder; name the files in it")
        file: IO[bytes] = path.open("rb")
        if file.read(2) == b"\x1f\x8b":
            file.close()
            return cast("IO[bytes]", gzip.open(path))
        file.seek(0)
        return file
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def _checked(path: Path, read: Any) -> bytes:
    try:
        data: bytes = read()
        return data
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: truncated or damaged: {error}") from None


def _decoded(data: bytes) -> str | ValueError:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"byte {error.start} is 0x{data[error.start]:02x}"
        return ValueError(f"not UTF-8 ({found}); convert it, e.g. with iconv")


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_distinct)
    except json.JSONDecodeError as error:
        ended = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
        place = "at the end: is the file truncated?" if ended else f"at line {error.lineno}, column {error.colno}"
        return ValueError(f"not valid JSON: {error.msg.removesuffix(' at')}, {place}")
    except (RecursionError, ValueError) as error:
        return ValueError("not valid JSON: nested too deeply" if isinstance(error, RecursionError) else str(error))


def _distinct(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return pairs as an object; a key that stands twice would drop the first value in silence."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object; rename one or leave it out")
    return found


def _parse_yaml(text: str) -> Any:
    import yaml

    class Loader(yaml.CSafeLoader):
        """Read plain words as JSON would (YAML 1.2): dates and `no` and `on` are texts."""

        yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (as the base class)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            _distinct([(key.value, None) for key, _ in node.value if isinstance(key.value, str) and key.value != "<<"])
            mapping: dict[Any, Any] = super().construct_mapping(node, deep)
            return mapping

    for tag, pattern, first in _YAML_WORDS:
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), list(first))
    try:
        return _as_json(yaml.load(text, Loader), {})  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        return ValueError(f"neither valid JSON nor valid YAML: {getattr(error, 'problem', error)}{place}")
    except (RecursionError, ValueError) as error:
        return ValueError("nested too deeply" if isinstance(error, RecursionError) else f"not valid YAML: {error}")


_YAML_WORDS = [
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("merge", "<<", "<"),
]

_MAX_VALUES = 5_000_000


def _as_json(node: Any, sizes: dict[int, tuple[Any, int]]) -> Any:
    """Return a YAML value as JSON has it, keys as texts; anchors must not multiply it beyond measure.

    Args:
        node: what the parser made; a node with several aliases is one object.
        sizes: by identity of a node, its copy and how many values that is; 0 while it is being made.

    Raises:
        ValueError: a node holds itself, or all aliases together make too many values.
    """
    if not isinstance(node, dict | list):
        return node
    if id(node) in sizes:
        if not sizes[id(node)][1]:
            raise ValueError("an anchor holds itself")
        return sizes[id(node)][0]
    sizes[id(node)] = (node, 0)
    children = node.values() if isinstance(node, dict) else node
    copies = [_as_json(child, sizes) for child in children]
    size = 1 + sum(sizes[id(child)][1] if id(child) in sizes else 1 for child in children)
    if size > _MAX_VALUES:
        raise ValueError(f"its aliases make more than {_MAX_VALUES:,} values")
    copy = dict(zip(map(_key, node), copies, strict=True)) if isinstance(node, dict) else copies
    sizes[id(node)] = (copy, size)
    return copy


def _key(key: Any) -> str:
    return key if isinstance(key, str) else json.dumps(key)
