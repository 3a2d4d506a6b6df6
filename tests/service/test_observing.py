"""What can be seen of a running service: metrics summed over its workers, a line for each request, request ids."""

import shutil
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from qta.keys import KeyStore
from tests.conftest import Server, serving


def scrape(server: Server, headers: dict[str, str] | None = None) -> dict[tuple[str, ...], float]:
    reply = server.ask("/metrics", headers=headers)
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/plain")
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(reply.body.decode())
        for sample in family.samples
    }


def test_one_scrape_sums_over_all_workers(sample_folder: Path) -> None:
    with serving(sample_folder, "--workers", "2") as server:
        for _ in range(30):
            assert server.ask("/retrieve", {"query": "refund"}).status == 200
        server.ask("/retrieve", {"queries": ["a tool", "another"], "rewrite": "always"})
        server.ask("/retrieve", {"query": ""})
        server.ask("/nothing/to/see/@team-b/secret")
        scrapes = [scrape(server) for _ in range(6)]  # by one worker or the other
        for found in scrapes:
            assert found["qta_requests_total", "200", "/retrieve"] == 31
            assert found["qta_requests_total", "422", "/retrieve"] == 1
            assert found["qta_requests_total", "404", "none"] == 1
            assert found["qta_request_duration_seconds_count", "/retrieve"] == 32
            assert found["qta_stage_duration_seconds_count", "encode"] == 32
            assert found["qta_rewrite_fallback_total", "no_rewriter"] == 2
            assert found["qta_batch_size_sum",] == 32
            assert found["qta_index_tools",] == 258
            assert found["qta_index_age_seconds",] >= 0
            assert ("qta_queue_size",) in found
            assert not any("secret" in part for labels in found for part in labels)


def test_a_search_by_mcp_is_counted_and_logged_as_a_request_is(sample_folder: Path) -> None:
    params = {"name": "search_tools", "arguments": {"query": "refund", "k": 3}}
    with serving(sample_folder, "--workers", "1") as server:
        assert server.ask("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).status == 200
        found = scrape(server)
        assert found["qta_requests_total", "200", "/mcp"] == 1
        assert found["qta_stage_duration_seconds_count", "search"] == found["qta_batch_size_sum",] == 1
        line = next(line for line in lines(server) if line["route"] == "/mcp")
        assert (line["k"], line["answers"], line["status"]) == (3, 1, 200)


def test_metrics_need_admin_where_there_are_keys(sample_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sample_folder, tmp_path / "index"))
    store = KeyStore(folder)
    tokens = {scope: store.create(scope, scope)[1] for scope in ("retrieve", "admin")}  # type: ignore[arg-type]
    tokens["of a team"] = store.create("team", "admin", ["team-a"])[1]
    with serving(folder, "--workers", "1") as server:
        assert server.ask("/metrics").status == 401
        of_a_team = server.ask("/metrics", headers={"Authorization": f"Bearer {tokens['of a team']}"})
        assert (of_a_team.status, b"qta_index_tools" in of_a_team.body) == (403, False)
        assert server.ask("/metrics", headers={"Authorization": f"Bearer {tokens['retrieve']}"}).status == 403
        assert scrape(server, {"Authorization": f"Bearer {tokens['admin']}"})


def lines(server: Server) -> list[dict[str, object]]:
    time.sleep(0.3)
    return [line for line in server.log if line["logger"] == "service.requests"]


def test_a_line_for_each_request_without_what_was_asked(sample_folder: Path) -> None:
    with serving(sample_folder, "--workers", "1") as server:
        server.ask("/retrieve", {"query": "a confidential wish " * 200, "k": 3}, headers={"X-Request-Id": "abc-1"})
        server.ask("/tools/secret-name")
        server.ask("/nothing/secret-name")
        server.ask("/retrieve", {"query": "", "confidential": 1})
        first, tool, second, third = lines(server)
        assert (first["request_id"], first["route"], first["status"], first["k"]) == ("abc-1", "/retrieve", 200, 3)
        assert first["degraded"] == ["query_truncated"]
        assert isinstance(first["ms"], float)
        assert str(first["time"]).startswith("20")
        assert (tool["route"], tool["status"]) == ("/tools/<tool_id:tool_id>", 404)
        assert (second["route"], second["status"]) == ("none", 404)
        assert third["status"] == 422
        assert not any("confidential" in str(line) or "secret" in str(line) for line in server.log)


def test_what_was_asked_is_logged_on_demand_and_nothing_on_request(
    sample_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QTA_LOG_QUERIES", "1")
    with serving(sample_folder, "--workers", "1") as server:
        server.ask("/retrieve", {"query": "a wish"})
        assert [line.get("queries") for line in lines(server)] == [["a wish"]]
    monkeypatch.setenv("QTA_LOG_REQUESTS", "0")
    with serving(sample_folder, "--workers", "1") as server:
        server.ask("/retrieve", {"query": "a wish"})
        assert lines(server) == []


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/healthz", None, 200),
        ("/retrieve", {"query": "a"}, 200),
        ("/retrieve", {}, 422),
        ("/retrieve", b"no json", 400),
        ("/no", None, 404),
        ("/retrieve", None, 405),
        ("/retrieve", {"query": "x" * 3_000_000}, 413),
    ],
)
def test_every_answer_has_a_request_id(server: Server, path: str, body: object, status: int) -> None:
    replies = [server.ask(path, body) for _ in range(2)]
    assert {reply.status for reply in replies} == {status}
    assert len({reply.headers["X-Request-Id"] for reply in replies}) == 2
    if status >= 400:
        assert replies[0].json["request_id"] == replies[0].headers["X-Request-Id"]


@pytest.mark.parametrize("given", ["a b", "x" * 129, '"', "é"])
def test_a_request_id_that_could_break_a_log_is_replaced(server: Server, given: str) -> None:
    assert server.ask("/healthz", headers={"X-Request-Id": given}).headers["X-Request-Id"] != given
