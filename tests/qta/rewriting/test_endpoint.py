"""The endpoint back end against a real local server that speaks the chat completions protocol, well and badly."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from qta.rewriting.endpoint import EndpointGenerator
from qta.rewriting.generator import DeadlineError, Decoding, GenerationError

ASKED = [[{"role": "system", "content": "s"}, {"role": "user", "content": "cancel the order"}]]


class Elsewhere(str):
    """Where an answer sends whoever asks."""


class Endpoint:
    """A server whose next answers are listed: a text, a status, or what to do."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.keys: list[str | None] = []
        self.answers: list[Any] = []
        self.trickle: float | None = None  # seconds between the bytes of an answer
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.bodies.append(body)
                endpoint.keys.append(self.headers.get("Authorization"))
                answer = endpoint.answers.pop(0) if endpoint.answers else f"steps for {body['messages'][-1]['content']}"
                if callable(answer):
                    answer = answer()
                if isinstance(answer, int):
                    self.send_error(answer)
                    return
                if isinstance(answer, Elsewhere):
                    self.send_response(307)
                    self.send_header("Location", answer)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                choices = [{"message": {"role": "assistant", "content": answer}}] * body.get("n", 1)
                content = answer if isinstance(answer, bytes) else json.dumps({"choices": choices}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with suppress(ConnectionError):  # whoever asked has given up
                    for part in [content] if endpoint.trickle is None else [bytes([byte]) for byte in content]:
                        self.wfile.write(part)
                        time.sleep(endpoint.trickle or 0)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    running = Endpoint()
    yield running
    running.server.shutdown()
    running.server.server_close()


def ask(endpoint: Endpoint, **decoding: Any) -> list[list[str]]:
    return EndpointGenerator(endpoint.url, "tiny").generate(ASKED, Decoding(**decoding))


def test_the_request_is_a_chat_completion(endpoint: Endpoint) -> None:
    generator = EndpointGenerator(endpoint.url + "/", "tiny", key="secret")
    assert generator.generate(ASKED, Decoding(max_new_tokens=40)) == [["steps for cancel the order"]]
    [body] = endpoint.bodies
    assert (body["model"], body["messages"], body["max_tokens"], body["temperature"]) == ("tiny", ASKED[0], 40, 0.0)
    assert endpoint.keys == ["Bearer secret"]


def test_several_conversations_and_samples_keep_their_order(endpoint: Endpoint) -> None:
    conversations = [[{"role": "user", "content": f"request {n}"}] for n in range(20)]
    answers = EndpointGenerator(endpoint.url, "tiny").generate(conversations, Decoding(samples=2, temperature=1.0))
    assert answers == [[f"steps for request {n}"] * 2 for n in range(20)]
    assert EndpointGenerator(endpoint.url, "tiny").generate([], Decoding()) == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_endpoint_is_asked_again(endpoint: Endpoint, status: int) -> None:
    endpoint.answers = [status, status, "done"]
    assert ask(endpoint) == [["done"]]
    assert len(endpoint.bodies) == 3


@pytest.mark.parametrize(
    ("answers", "reason", "asked"),
    [
        ([500, 500, 500], "status 500", 3),
        ([401], "status 401", 1),
        ([b"<html>"], "not the answer of a chat completion", 1),
        ([b'{"choices": [{"text": "x"}]}'], "not the answer of a chat completion", 1),
        ([b"[]"], "not the answer of a chat completion", 1),
        ([b'{"choices": []}'], "no text in", 1),
        ([b'{"choices": [{"message": {"content": [{"type": "text", "text": "x"}]}}]}'], "no text in", 1),
        ([b'{"choices": [{"message": {"content": "half of a pair: \\ud83d"}}]}'], "no text in", 1),
        ([b"[" * 60_000], "not the answer of a chat completion", 1),
        ([b" " * 70_000], "an answer of more than 65,536 bytes", 1),
    ],
)
def test_a_failure_says_what_came(endpoint: Endpoint, answers: list[Any], reason: str, asked: int) -> None:
    endpoint.answers = answers
    with pytest.raises(GenerationError, match=reason):
        ask(endpoint)
    assert len(endpoint.bodies) == asked


def test_no_content_is_an_empty_answer(endpoint: Endpoint) -> None:
    endpoint.answers = [b'{"choices": [{"message": {"content": null}}]}']
    assert ask(endpoint) == [[""]]


def slow(seconds: float) -> Callable[[], str]:
    def answer() -> str:
        time.sleep(seconds)
        return "late"

    return answer


def test_a_deadline_holds(endpoint: Endpoint) -> None:
    endpoint.answers = [slow(5)]
    start = time.monotonic()
    with pytest.raises(DeadlineError):
        EndpointGenerator(endpoint.url, "tiny").generate(ASKED, Decoding(), deadline=start + 0.3)
    assert time.monotonic() - start < 2


def test_a_deadline_holds_for_an_answer_that_trickles_in(endpoint: Endpoint) -> None:
    endpoint.trickle = 0.05
    start = time.monotonic()
    with pytest.raises(DeadlineError):
        EndpointGenerator(endpoint.url, "tiny").generate(ASKED, Decoding(), deadline=start + 0.3)
    assert time.monotonic() - start < 1


def test_a_redirection_is_named_and_not_followed(endpoint: Endpoint) -> None:
    endpoint.answers = [Elsewhere("http://127.0.0.1:9/v2/chat/completions")]
    with pytest.raises(GenerationError, match=r"status 307: it is at 'http://127\.0\.0\.1:9/v2/chat/completions' now"):
        ask(endpoint)
    assert len(endpoint.bodies) == 1


def test_callers_do_not_wait_for_each_other(endpoint: Endpoint) -> None:
    endpoint.answers = [slow(0.5)] * 6
    start = time.monotonic()
    answers = EndpointGenerator(endpoint.url, "tiny").generate(ASKED * 6, Decoding())
    assert answers == [["late"]] * 6
    assert time.monotonic() - start < 1.5, "one after the other takes three seconds"


def test_a_dead_endpoint_is_soon_left_alone_and_asked_again_later(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = EndpointGenerator(endpoint.url, "tiny")
    endpoint.answers = [401] * 5
    for _ in range(5):
        with pytest.raises(GenerationError, match="status 401"):
            generator.generate(ASKED, Decoding())
    with pytest.raises(GenerationError, match="left alone for a while"):
        generator.generate(ASKED, Decoding())
    assert len(endpoint.bodies) == 5
    monkeypatch.setattr("qta.rewriting.endpoint._PAUSE", 0)
    assert generator.generate(ASKED, Decoding()) == [["steps for cancel the order"]]


def test_an_endpoint_that_is_always_late_is_left_alone_too(endpoint: Endpoint) -> None:
    generator = EndpointGenerator(endpoint.url, "tiny")
    with pytest.raises(DeadlineError):
        generator.generate(ASKED, Decoding(), deadline=time.monotonic() - 1)
    assert endpoint.bodies == [], "a deadline that had passed says nothing of the endpoint"
    endpoint.answers = [slow(1)] * 5
    for _ in range(5):
        with pytest.raises(DeadlineError):
            generator.generate(ASKED, Decoding(), deadline=time.monotonic() + 0.1)
    with pytest.raises(GenerationError, match="left alone for a while"):
        generator.generate(ASKED, Decoding(), deadline=time.monotonic() + 0.1)


def test_an_absent_endpoint_is_named() -> None:
    with pytest.raises(GenerationError, match=r"http://127\.0\.0\.1:9/v1/chat/completions"):
        EndpointGenerator("http://127.0.0.1:9/v1", "tiny").generate(ASKED, Decoding())
