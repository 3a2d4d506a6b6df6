"""The server: gunicorn keeps the worker processes alive, waitress does each worker's HTTP.

Measured with `make bench-servers`, see results/servers.md: granian and gunicorn's own workers are about as fast, but a
handful of clients that send their body slowly block every thread of theirs. Waitress reads a request whole before a
thread sees it.
"""

import gc
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.workers.base import Worker
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, Task
from waitress.wasyncore import loop

from mtrb.errors import InputError
from qta.keys import KeyStore
from service import create_app
from service.config import Settings
from service.limits import WaitingRoom, problem_details
from service.logs import log_request, log_to_stderr
from service.metrics import forget_process, share_between_processes, stop_sharing

_THREADS = 1  # for each worker; the work is computation, and a second thread would only compete for the same core
_HEAD_BYTES = 1000  # more than the head of an answer: it waits for the body, and both are sent at once
_DRAIN_SECONDS = 25.0
_NOTIFY_SECONDS = 1.0
_BUSY_PAUSE = 0.0005
_NO_INDEX_PAUSE = 0.05


class _Problem(ErrorTask):
    """Answer what is no proper HTTP request with problem details, like every other error."""

    def execute(self) -> None:
        error = self.request.error
        request_id = uuid.uuid4().hex
        content, headers = problem_details(HTTPStatus(error.code), str(error.body), request_id)
        self.status = f"{error.code} {error.reason}"
        self.response_headers += headers
        self.set_close_on_finish()
        self.channel.lingers = True
        self.content_length = len(content)
        self.write(content)
        self.channel.server.task_dispatcher.metrics.refused("malformed", error.code)
        log_request(request_id, "", "malformed", error.code, 0.0, reason=error.reason)


class _Parser(HTTPRequestParser):
    def parse_header(self, header_plus: bytes) -> None:
        """Read the request line and headers; an address that is none (`http://[x`) is an error of the client."""
        try:
            super().parse_header(header_plus)
        except ParsingError:
            raise
        except ValueError as error:
            raise ParsingError(str(error)) from None


class _Channel(HTTPChannel):
    """A connection; where a request was refused before it was read whole, the rest is read and dropped.

    Closed with bytes unread, a socket resets the connection, and the client would lose the answer that says why. The
    server's maintenance ends the wait after the timeout of the channel.
    """

    error_task_class = _Problem
    parser_class = _Parser
    close_when_flushed: bool
    last_activity: float
    lingers = False
    refused = False

    def task_class(self, channel: "_Channel", request: HTTPRequestParser) -> Task:
        """Return what is done for a request whose turn has come; a server that stops closes the connection after."""
        task = self.server.task_dispatcher.task(channel, request)
        if not self.server.accepting:
            task.set_close_on_finish()
        return task

    def handle_close(self) -> None:
        """Close, and do not compute what nobody waits for."""
        self.server.task_dispatcher.leave(self)
        super().handle_close()

    def handle_write(self) -> None:
        """Send what there is to send; then close, or stop sending and go on reading."""
        if not (self.lingers and self.close_when_flushed):
            super().handle_write()
            return
        self._flush_exception(self._flush_some)
        if not self.total_outbufs_len:
            self.close_when_flushed = False
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)

    def received(self, data: bytes) -> bool:
        """Take bytes of a request, or drop them behind a refusal; answer at once what the queue has no place for."""
        taken = False if self.lingers else super().received(data)
        while self.refused:
            self.refused = False
            self.service()
        return bool(taken)

    def handle_read(self) -> None:
        """Read; only what is not dropped counts as activity."""
        last = self.last_activity
        super().handle_read()
        if self.lingers:
            self.last_activity = last


class _Server(TcpWSGIServer):
    channel_class = _Channel
    has_index: Callable[[], bool]

    def handle_accept(self) -> None:
        """Accept a connection, leaving idler workers a moment to take it first, and those that have an index."""
        time.sleep(_BUSY_PAUSE * min(len(self.active_channels), 4) if self.has_index() else _NO_INDEX_PAUSE)
        super().handle_accept()

    @property
    def unanswered(self) -> bool:
        """Tell whether a request is being answered or an answer being sent."""
        return any(channel.requests or channel.total_outbufs_len for channel in self.active_channels.values())


class WaitressWorker(Worker):
    """Run waitress in a worker process of gunicorn."""

    notify_again = 0.0

    def run(self) -> None:
        """Serve until told to stop, then answer what has been asked."""
        settings: Settings = self.app.settings
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns of every request that waits
        adjustments = Adjustments(
            ident=None,
            threads=_THREADS,
            max_request_body_size=settings.max_body_bytes,
            channel_timeout=30,
            send_bytes=_HEAD_BYTES,
            connection_limit=1000,
            channel_request_lookahead=1,  # reading on is how a client that went away is noticed
            clear_untrusted_proxy_headers=True,
        )
        app: Flask = self.wsgi
        dispatcher = WaitingRoom(settings.queue, settings.deadline, app.extensions["metrics"])
        dispatcher.set_thread_count(adjustments.threads)
        connections: dict[int, Any] = {}
        servers = [
            _Server(self.wsgi, connections, True, listener.sock, dispatcher, adjustments, _info(listener.sock), False)
            for listener in self.sockets
        ]
        for server in servers:
            server.has_index = lambda: app.extensions["engine"] is not None
        while self.alive:
            self._turn(connections)
        for server in servers:
            server.accepting = False
        deadline = time.monotonic() + _DRAIN_SECONDS
        while any(server.unanswered for server in servers) and time.monotonic() < deadline:
            self._turn(connections)
        dispatcher.shutdown()

    def _turn(self, connections: dict[int, Any]) -> None:
        now = time.monotonic()
        if now >= self.notify_again:  # it touches a file, and a request takes several turns
            self.notify_again = now + _NOTIFY_SECONDS
            self.notify()
            if os.getppid() != self.ppid:  # nobody looks after this worker any more, and it keeps the port
                self.alive = False
        loop(timeout=0.5, map=connections, use_poll=True, count=1)


class Application(BaseApplication):
    """Serve an application built from settings, in as many worker processes as they say."""

    def __init__(self, settings: Settings, listener: socket.socket, ready: str) -> None:
        """Take a bound socket, and a line to print once requests are accepted."""
        self.settings = settings
        self._listener = listener
        self._ready = ready
        self._keys = KeyStore(settings.index)
        share_between_processes()
        super().__init__()

    def load_config(self) -> None:
        """Configure gunicorn."""
        self.cfg.set("bind", f"fd://{self._listener.fileno()}")
        self.cfg.set("workers", self.settings.workers)
        self.cfg.set("worker_class", WaitressWorker)
        self.cfg.set("graceful_timeout", int(_DRAIN_SECONDS) + 5)
        self.cfg.set("loglevel", "warning")
        self.cfg.set("control_socket_disable", True)
        self.cfg.set("post_worker_init", self._say_ready)
        self.cfg.set("child_exit", lambda _, worker: forget_process(worker.pid))
        self.cfg.set("on_exit", lambda _: stop_sharing())

    def _say_ready(self, worker: Worker) -> None:
        """Tell the user once that requests are answered, when the first worker has its index open."""
        if worker.age == 1:
            print(self._ready, flush=True)  # noqa: T201 (the one line for the user)

    def load(self) -> Flask:
        """Open the index in a worker."""
        log_to_stderr(self.settings)
        app = create_app(self.settings, keys=self._keys)
        gc.collect()
        gc.freeze()  # so that no later collection walks through the index, which would hold up a request
        return app


def listen(settings: Settings) -> socket.socket:
    """Bind the address of the settings.

    Raises:
        InputError: it cannot be bound.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot listen on {settings.host} port {settings.port}: {reason}; choose another with --host and --port"
        ) from None
    listener.set_inheritable(True)
    return listener


def _info(sock: socket.socket) -> tuple[Any, ...]:
    return sock.family, sock.type, sock.proto, sock.getsockname()
