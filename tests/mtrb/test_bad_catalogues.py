"""What people really pass: each of these is refused in two lines that name the file and the record."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtrb.formats import records

LAUGH = "x0: &x0 [a, b]\n" + "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]\n" for n in range(1, 12))
DEEP = "[" * 100_000
GOOD = {"name": "good", "description": "fine"}
API: dict[str, Any] = {"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": {}}


def lines(*records: object) -> str:
    return "\n".join(record if isinstance(record, str) else json.dumps(record) for record in records)


def operation(**fields: object) -> dict[str, Any]:
    return {**API, "paths": {"/x": {"get": {"operationId": "getX", **fields}}}}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"x": schema}}
    return schema


# name: (file name, content, what the error must say)
CASES: dict[str, tuple[str, object, list[str]]] = {
    "empty file": ("t.json", b"", ["t.json", "empty"]),
    "empty json lines": ("t.jsonl", b"", ["t.jsonl", "no tools"]),
    "only blanks": ("t.json", b" \n\n ", ["empty"]),
    "empty list": ("t.json", [], ["no"]),
    "no tools in the object": ("t.json", {"hello": "world"}, ["t.json", "holds no tools"]),
    "a number": ("t.json", b"42", ["holds no tools"]),
    "a string": ("t.json", b'"tools"', ["holds no tools"]),
    "null": ("t.json", b"null", ["holds no tools"]),
    "list of numbers": ("t.json", [1, 2, 3], ["known formats"]),
    "list of lists": ("t.json", [[GOOD]], ["known formats"]),
    "unknown records": ("t.json", [{"title": "x"}], ["known formats", "--format"]),
    "truncated json": ("t.json", b'[{"name": "a"}, {"na', ["t.json", "truncated"]),
    "truncated json lines": ("t.jsonl", lines(GOOD, '{"name": "b", "desc'), ["line 2", "not valid JSON"]),
    "truncated gzip": ("t.jsonl.gz", gzip.compress(lines(*({"name": f"t{n}"} for n in range(500))).encode())[:-20], ["truncated"]),
    "damaged gzip": ("t.jsonl.gz", b"\x1f\x8b\x08\x00garbage garbage", ["truncated or damaged"]),
    "latin-1": ("t.jsonl", '{"name": "caf\xe9"}'.encode("latin-1"), ["line 1", "not UTF-8", "0xe9"]),
    "utf-16": ("t.json", json.dumps([GOOD]).encode("utf-16"), ["not UTF-8"]),
    "binary": ("t.json", bytes(range(256)) * 10, ["not UTF-8"]),
    "deeply nested json": ("t.json", DEEP, ["nested too deeply"]),
    "deeply nested line": ("t.jsonl", DEEP, ["nested too deeply"]),
    "deeply nested yaml": ("t.yaml", "{a: " * 3000, ["t.yaml"]),
    "broken yaml": ("t.yaml", "a: [1\nb: }", ["YAML", "line 2"]),
    "yaml with code": ("t.yaml", "!!python/object/apply:os.system ['true']", ["YAML"]),
    "yaml that is a text": ("t.yaml", "just words", ["holds no tools"]),
    "markdown": ("t.md", "# Tools\n\n- one\n", ["t.md"]),
    "html": ("t.html", "<html><body>404</body></html>", ["t.html"]),
    "csv": ("t.csv", "name,description\na,b\n", ["t.csv"]),
    "no name": ("t.jsonl", lines(GOOD, {"description": "x"}), ["line 2", "name is missing"]),
    "empty name": ("t.jsonl", lines({"name": "  "}), ["line 1", "name is missing"]),
    "name is a number": ("t.jsonl", lines({"name": 5}), ["line 1", "name must be a text"]),
    "name too long": ("t.jsonl", lines({"name": "x" * 600}), ["600 characters"]),
    "description is a list": ("t.jsonl", lines({"name": "x", "description": ["y"]}), ["description must be a text"]),
    "id is empty": ("t.jsonl", lines({"name": "x", "id": ""}), ["id must be a text"]),
    "id is an object": ("t.jsonl", lines({"name": "x", "id": {}}), ["id must be a text"]),
    "tags are a text": ("t.jsonl", lines({"name": "x", "tags": "a,b"}), ["tags must be a list"]),
    "duplicate id": ("t.jsonl", lines({"name": "x", "id": "7"}, GOOD, {"name": "y", "id": "7"}), ["line 3", "'7'", "line 1"]),
    "duplicate name": ("t.json", [GOOD, GOOD], ["record 2", "already taken", "record 1"]),
    "half a surrogate": ("t.jsonl", b'{"name": "x", "description": "\\ud800"}', ["line 1", "surrogate"]),
    "unknown type": ("t.jsonl", lines({"name": "x", "parameters": {"y": {"type": "banana"}}}), ["line 1", "banana"]),
    "parameters are a number": ("t.jsonl", lines({"name": "x", "parameters": 3}), ["must be a JSON Schema object"]),
    "parameters are words": ("t.jsonl", lines({"name": "x", "parameters": "city, day"}), ["not JSON"]),
    "parameter list without names": ("t.jsonl", lines({"name": "x", "parameters": [{"type": "string"}]}), ["objects with a name"]),
    "parameter is a number": ("t.jsonl", lines({"name": "x", "parameters": {"y": 1}}), ["'y' must be"]),
    "required is a text": ("t.jsonl", lines({"name": "x", "parameters": {"type": "object", "properties": {}, "required": "y"}}), ["required"]),
    "openai invalid schema": ("t.json", [{"type": "function", "function": {"name": "f", "parameters": {"type": "strin"}}}], ["record 1", "strin"]),
    "openai hosted tool": ("t.json", [{"type": "function", "name": "f"}, {"type": "web_search"}], ["record 2", "web_search"]),
    "openai function is a text": ("t.json", [{"type": "function", "function": "f"}], ["record 1", "'function' must be an object"]),
    "anthropic hosted tool": ("t.json", [{"name": "a", "input_schema": {}}, {"type": "bash_20250124", "name": "bash"}], ["record 2", "bash_20250124"]),
    "anthropic schema is a list": ("t.json", [{"name": "a", "input_schema": []}], ["record 1", "JSON Schema object"]),
    "mcp without schema": ("t.json", {"tools": [{"name": "a", "inputSchema": {}}, {"name": "b"}]}, ["record 2", "inputSchema"]),
    "mcp tool is a text": ("t.json", {"tools": [{"name": "a", "inputSchema": {}}, "b"]}, ["record 2", "must be an object"]),
    "schema nested too deeply": ("t.json", [{"name": "a", "input_schema": nested(150)}], ["record 1", "more than 100 deep"]),
    "hand-written and nested too deeply": ("t.jsonl", lines({"name": "a", "parameters": nested(450)}), ["line 1", "deep"]),
    "openapi without paths": ("t.json", {"openapi": "3.1.0", "info": {}}, ["'paths'"]),
    "openapi with no operation": ("t.json", API, ["holds no tools"]),
    "openapi 1": ("t.json", {"swagger": "1.2", "paths": {}}, ["'1.2' is not supported"]),
    "openapi path is a text": ("t.json", {**API, "paths": {"/x": "y"}}, ["path /x"]),
    "openapi operation is a list": ("t.json", {**API, "paths": {"/x": {"get": []}}}, ["GET /x", "must be an object"]),
    "openapi parameters are a map": ("t.json", operation(parameters={"a": 1}), ["GET /x", "list of objects"]),
    "openapi parameter without name": ("t.json", operation(parameters=[{"in": "query"}]), ["no name"]),
    "openapi dangling reference": ("t.json", operation(parameters=[{"$ref": "#/components/parameters/None"}]), ["GET /x", "cannot resolve"]),
    "openapi remote reference": ("t.json", operation(requestBody={"$ref": "https://example.com/x.json"}), ["GET /x", "within the document"]),
    "openapi file reference": ("t.json", operation(requestBody={"$ref": "file:///etc/passwd"}), ["GET /x", "within the document"]),
    "openapi reference to itself": ("t.json", {**operation(parameters=[{"$ref": "#/components/parameters/A"}]), "components": {"parameters": {"A": {"$ref": "#/components/parameters/A"}}}}, ["GET /x"]),
    "openapi operationId twice": ("t.json", {**API, "paths": {"/x": {"get": {"operationId": "a"}, "put": {"operationId": "a"}}}}, ["PUT /x", "already taken", "GET /x"]),
    "openapi in several files": ("t.json", {**API, "paths": {"/x": {"$ref": "./x.yaml"}}}, ["path /x", "within the document"]),
    "openapi operation in another file": ("t.json", {**API, "paths": {"/x": {"get": {"$ref": "./x.yaml"}}}}, ["GET /x", "within the document"]),
    "openapi path is itself": ("t.json", {**API, "paths": {"/x": {"$ref": "#/paths/~1x"}}}, ["path /x", "cannot resolve"]),
    "openapi tags are a text": ("t.json", operation(tags="pets"), ["GET /x", "tags must be a list"]),
    "openapi tags are a number": ("t.json", operation(tags=5), ["GET /x", "tags must be a list"]),
    "yaml anchor that holds itself": ("t.yaml", "openapi: 3.0.0\ninfo: {}\npaths: &a\n  /x: *a\n", ["t.yaml", "an anchor holds itself"]),
    "yaml aliases without end": ("t.yaml", LAUGH, ["t.yaml", "aliases make more than"]),
    "yaml bytes": ("t.yaml", "- name: x\n  parameters: {type: object, default: !!binary aGk=}\n", ["record 1", "bytes"]),
    "truncated json.gz": ("t.json.gz", gzip.compress(json.dumps([GOOD] * 500).encode())[:-20], ["truncated"]),
    "anthropic list that begins with a hosted tool": ("t.json", [{"type": "bash_20250124", "name": "bash"}, {"name": "a", "input_schema": {}}], ["record 1", "hosted"]),
    "openapi bad type": ("t.json", operation(parameters=[{"name": "a", "in": "query", "schema": {"type": "whole"}}]), ["GET /x", "whole"]),
    "openapi unknown method": ("t.json", {**API, "paths": {"/x": {"fetch": {}}}}, ["path /x", "'fetch' is no HTTP method"]),
    "openapi body is a list": ("t.json", operation(requestBody=[1]), ["GET /x", "requestBody must be an object"]),
    "openapi content is a list": ("t.json", operation(requestBody={"content": [1]}), ["GET /x", "content must be an object"]),
    "openapi media type is a number": ("t.json", operation(requestBody={"content": {"application/json": 5}}), ["GET /x", "media type"]),
    "openapi further operations are a list": ("t.json", {**API, "paths": {"/x": {"additionalOperations": [1]}}}, ["/x", "an operation must be an object"]),
    "openapi nested too deeply": ("t.json", operation(requestBody={"content": {"application/json": {"schema": nested(300)}}}), ["t.json", "nested too deeply"]),
    "json key twice": ("t.json", b'{"openapi": "3.1.0", "paths": {"/a": {}, "/a": {}}}', ["t.json", "'/a' stands twice"]),
    "json lines key twice": ("t.jsonl", b'{"name": "a", "name": "b"}', ["line 1", "'name' stands twice"]),
    "yaml key twice": ("t.yaml", "openapi: 3.1.0\npaths:\n  /a: {}\n  /a: {}\n", ["t.yaml", "'/a' stands twice"]),
    "unknown dialect": ("t.json", [{"name": "f", "inputSchema": {"$schema": "https://example.com/s", "type": "object"}}], ["record 1", "'https://example.com/s'", "not known"]),
    "one page of a list": ("t.json", {"tools": [{**GOOD, "inputSchema": {"type": "object"}}], "nextCursor": "2"}, ["end of the list", "'nextCursor'", "qta sync"]),
    "an empty page of a list": ("t.json", {"result": {"tools": [], "nextCursor": "2"}}, ["end of the list", "'nextCursor'"]),
    "a page of one server": ("t.json", {"north": {"tools": [{**GOOD, "inputSchema": {"type": "object"}}], "nextCursor": "2"}}, ["server 'north', end of the list"]),
    "parameters are of another type": ("t.json", [{"type": "function", "function": {"name": "f", "parameters": {"type": "string"}}}], ["record 1", "must describe an object"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_is_refused_and_named(case: str, tmp_path: Path, cli: Callable[..., Any]) -> None:
    name, content, expected = CASES[case]
    data = (
        content
        if isinstance(content, bytes)
        else content.encode()
        if isinstance(content, str)
        else json.dumps(content).encode()
    )
    (tmp_path / name).write_bytes(data)
    done = cli("index", tmp_path / name, "--out", tmp_path / "index")
    assert done.status == 2
    assert "Traceback" not in done.err
    assert 1 <= len(done.err.strip().splitlines()) <= 2
    assert name in done.err
    for part in expected:
        assert part in done.err
    assert not (tmp_path / "index" / "manifest.json").exists()


def test_a_document_over_the_limit_is_refused_and_json_lines_are_not(
    tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = json.dumps([{"name": f"t{n}", "description": "x" * 100} for n in range(20)])
    (tmp_path / "t.json").write_text(content)
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(record) for record in json.loads(content)))
    monkeypatch.setattr(records, "MAX_DOCUMENT_BYTES", 2000)
    done = cli("index", tmp_path / "t.json", "--out", tmp_path / "index")
    assert done.status == 2
    assert "convert it to JSON Lines" in done.err
    assert cli("index", tmp_path / "t.jsonl", "--out", tmp_path / "index").status == 0


def test_lines_that_are_no_text_or_too_long_can_be_left_out(tmp_path: Path, cli: Callable[..., Any]) -> None:
    long = json.dumps({"name": "x" * 5_000_000}).encode()
    lines = [
        json.dumps(GOOD).encode(),
        '{"name": "caf\xe9"}'.encode("latin-1"),
        long,
        json.dumps({"name": "last"}).encode(),
    ]
    (tmp_path / "t.jsonl").write_bytes(b"\n".join(lines))
    done = cli("index", tmp_path / "t.jsonl", "--out", tmp_path / "i", "--skip-invalid")
    assert "line 2: not UTF-8" in done.err
    assert "line 3: longer than" in done.err
    assert "indexed 2 tools" in done.out
    assert "2 records left out" in done.out


def test_200_mb_in_one_line_are_refused_without_reading_them_all(tmp_path: Path, cli: Callable[..., Any]) -> None:
    with (tmp_path / "t.jsonl").open("wb") as file:
        file.write(b'{"name": "x", "description": "')
        file.truncate(200_000_000)
    done = cli("index", tmp_path / "t.jsonl", "--out", tmp_path / "index")
    assert done.status == 2
    assert "line 1: longer than" in done.err


def test_a_document_of_200_mb_is_refused(tmp_path: Path, cli: Callable[..., Any]) -> None:
    with (tmp_path / "t.json").open("wb") as file:
        file.write(b"[\n")
        file.truncate(200_000_000)
    done = cli("index", tmp_path / "t.json", "--out", tmp_path / "index")
    assert done.status == 2
    assert "larger than 100 MB" in done.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["index", "missing.json", "--out", "i"], "missing.json: no such file"),
        (["index", ".", "--out", "i"], "is a folder"),
        (["index", "aws:", "--out", "i"], "botocore:"),
        (["index", "--out", "i"], "Missing argument"),
        (["index", "sample:"], "Missing option '--out'"),
        (["index", "sample:", "--out", "i", "--format", "soap"], "soap"),
        (["retrieve", "x", "--index", "nowhere"], "no index"),
        (["retrieve", "", "--index", "nowhere"], "empty"),
        (["retrieve", "x", "--index", "nowhere", "-k", "0"], "0"),
        (["retrieve", "x", "--index", "nowhere", "-k", "101"], "101"),
        (["retrieve", "x", "--index", "nowhere", "-k", "many"], "many"),
        (["retrieve"], "TEXT"),
        (["eval"], "name datasets"),
        (["eval", "mtrb/nope"], "unknown dataset"),
        (["eval", "sample", "--system", "magic"], "unknown system 'magic'"),
        (["eval", "sample", "--system", "hybrid:x"], "must be a number"),
        (["eval", "sample", "--split", "dev"], "has no split 'dev'"),
        (["eval", "sample", "--baseline", "bm25"], "not among the systems"),
        (["eval", "sample", "--fail-under", "Luck@5=1"], "unknown measure"),
        (["eval", "sample", "--fail-under", "Recall@5=2"], "between 0 and 1"),
        (["eval", "sample", "--fail-under", "Recall@5"], "expected e.g."),
        (["eval", "--tools", "t.json"], "go together"),
        (["eval", "sample", "--tools", "t.json", "--queries", "q.jsonl"], "name datasets"),
        (["fly"], "fly"),
        (["index", "sample:", "--out", "i", "--speed", "9"], "--speed"),
    ],
)
def test_wrong_commands_are_refused_in_two_lines(
    arguments: list[str], expected: str, tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli(*arguments)
    assert done.status == 2
    assert expected in done.err
    assert 1 <= len(done.err.strip().splitlines()) <= 2
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("queries", "expected"),
    [
        ("", "no queries"),
        ('{"query": "x"}', "'tools' must be a list"),
        ('{"query": "x", "tools": []}', "'tools' must be a list"),
        ('{"query": " ", "tools": ["good"]}', "'query' must be a text"),
        ('{"tools": ["good"]}', "'query' must be a text"),
        ('{"query": "x", "tools": ["absent"]}', "'absent' is not in the catalogue of 1 tools"),
        (
            '{"id": "1", "query": "x", "tools": ["good"]}\n{"id": "1", "query": "y", "tools": ["good"]}',
            "'1' occurs twice",
        ),
        ("[1]", "must be an object"),
        ("{", "not valid JSON"),
    ],
)
def test_wrong_annotations_are_refused(queries: str, expected: str, tmp_path: Path, cli: Callable[..., Any]) -> None:
    (tmp_path / "t.jsonl").write_text('{"id": "good", "name": "good"}')
    (tmp_path / "q.jsonl").write_text(queries)
    done = cli("eval", "--tools", tmp_path / "t.jsonl", "--queries", tmp_path / "q.jsonl")
    assert done.status == 2
    assert expected in done.err
    assert "Traceback" not in done.err
