"""Read the tools of a running MCP server, once or whenever it says that they changed; through the official SDK."""

import asyncio
import logging
import os
import shlex
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx2
import mcp_types as types
from anyio.abc import TaskStatus
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.client import Transport
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import SubscriptionLost
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from mtrb.errors import InputError, QTAError
from mtrb.formats import Skipped, parse_records
from mtrb.identifiers import slug
from mtrb.types import Tool
from qta.sync import Listing, without_secrets

POLL = 60.0
"""Seconds after which a server is asked again though it has said nothing."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds between attempts to reach a server that is gone
_MAX_TOOLS = 100_000

logging.getLogger("mcp").setLevel(logging.CRITICAL)  # what it logs is in our errors, in one line


class UnreachableError(InputError):
    """Say that a server does not answer as an MCP server; it may do so later."""


@dataclass(frozen=True)
class McpServer:
    """An MCP server, by its address or by the command that starts it.

    Attributes:
        where: the address, or the command as one text.
        command: program and arguments, for a server that speaks over stdio.
        name: what its tools go by; the server's own name when not given.
        headers: of each HTTP request.
        timeout: seconds to wait for an answer.
        skip_invalid: leave out tools that are invalid.
    """

    where: str
    command: tuple[str, ...] = ()
    name: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 60.0
    skip_invalid: bool = False

    def read(self) -> Listing:
        """Return the tools that the server has now.

        Raises:
            UnreachableError: there is no MCP server, or it does not answer.
            InputError: a tool is invalid and not to be left out.
        """
        return anyio.run(self._read_once)

    def follow(self, take: Callable[[Listing], object], note: Callable[[str], object]) -> None:
        """Hand over the server's tools now and whenever they change, until interrupted.

        A server that goes away is asked for again; what is wrong with a list is noted, and the next one awaited.

        Args:
            take: is handed each list.
            note: is told what went wrong, in a line or two.

        Raises:
            UnreachableError: it did not answer the first time.
        """
        anyio.run(self._follow, take, note)

    async def _read_once(self) -> Listing:
        async with self._connected(lambda: None) as client:
            return await self._list(client)

    async def _follow(self, take: Callable[[Listing], object], note: Callable[[str], object]) -> None:
        reached, pause = False, _FIRST_PAUSE
        while True:
            bell = _Bell()
            try:
                async with self._connected(bell.ring) as client:
                    reached, pause = True, _FIRST_PAUSE
                    await self._watch(client, bell, take, note)
            except UnreachableError as error:
                if not reached:
                    raise
                if (task := asyncio.current_task()) and task.cancelling():
                    # interrupted while the connection broke, which the transport reports in place of the interruption
                    raise asyncio.CancelledError from None
                note(f"{error}; asked again in {pause:.0f} s")
                await anyio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def _watch(
        self, client: Client, bell: "_Bell", take: Callable[[Listing], object], note: Callable[[str], object]
    ) -> None:
        """List the tools whenever the bell rings; without a ring, after a while all the same."""
        async with anyio.create_task_group() as tasks:
            if client.protocol_version in MODERN_PROTOCOL_VERSIONS:
                await tasks.start(_listen, client, bell)
            while True:
                bell.reset()  # before the list is read, so that a change meanwhile is not missed
                try:
                    listing = await self._list(client)
                    await anyio.to_thread.run_sync(take, listing)
                except UnreachableError:
                    raise
                except QTAError as error:
                    note(str(error))
                with anyio.move_on_after(POLL):
                    await bell.wait()

    @asynccontextmanager
    async def _connected(self, changed: Callable[[], object]) -> AsyncIterator[Client]:
        """Connect; whatever the transport makes of a failure becomes one error of ours."""

        async def on_message(message: object) -> None:
            if isinstance(message, types.ToolListChangedNotification):
                changed()

        try:
            async with AsyncExitStack() as stack:
                transport = await self._transport(stack)
                # without a cache, which would answer instead of the server
                client = Client(transport, cache=None, read_timeout_seconds=self.timeout, message_handler=on_message)
                yield await stack.enter_async_context(client)
        except Exception as error:
            cause: BaseException = error
            while isinstance(cause, BaseExceptionGroup):
                cause = cause.exceptions[0]
            if isinstance(cause, (MCPError, OSError, httpx2.HTTPError, SubscriptionLost)):
                reason = str(cause) or f"no answer within {self.timeout:g} s"
                raise UnreachableError(f"{self.where}: no MCP server answers there: {reason}") from None
            raise cause from None

    async def _transport(self, stack: AsyncExitStack) -> Transport:
        if self.command:
            program, *arguments = self.command
            started = StdioServerParameters(command=program, args=arguments, env=dict(os.environ))
            return stdio_client(started, errlog=sys.__stderr__ or sys.stderr)  # the process's, whatever stands for it
        timeout = httpx2.Timeout(self.timeout, read=None)  # a stream of changes may be silent for long
        http = await stack.enter_async_context(httpx2.AsyncClient(headers=dict(self.headers), timeout=timeout))
        return streamable_http_client(self.where, http_client=http)

    async def _list(self, client: Client) -> Listing:
        """Return all pages of the server's list."""
        records: list[dict[str, object]] = []
        cursors: set[str] = set()
        cursor: str | None = None
        while True:
            page = await client.list_tools(cursor=cursor)
            records += [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in page.tools]
            cursor = page.next_cursor
            if not cursor:
                return self._listing(records, client)
            if cursor in cursors or len(records) > _MAX_TOOLS:
                raise InputError(f"{self.where}: its list of tools does not end; nothing was changed")
            cursors.add(cursor)

    def _listing(self, records: list[dict[str, object]], client: Client) -> Listing:
        source = self.name or self._own_name(client)
        tools: dict[str, Tool] = {}
        skipped: list[Skipped] = []
        for place, tool in parse_records(records, source):
            location = f"{self.where}, tool {records[place].get('name')!r}"
            if isinstance(tool, Exception):
                skipped.append(Skipped(location, str(tool)))
            elif tool.tool_id in tools:
                skipped.append(Skipped(location, "occurs twice"))
            else:
                tools[tool.tool_id] = tool
        if skipped and not self.skip_invalid:
            raise InputError(
                f"{skipped[0].location}: {skipped[0].reason}\n"
                "nothing was changed; mend it, or leave such tools out with --skip-invalid"
            )
        origin = shlex.join(self.command) if self.command else without_secrets(self.where)
        return Listing(source, origin, list(tools.values()), skipped)

    def _own_name(self, client: Client) -> str:
        named = client.server_info and slug(client.server_info.name)
        return named or slug(Path(self.command[0]).name if self.command else urlsplit(self.where).hostname or "mcp")


class _Bell:
    """Wake who waits, also when it rang before the waiting began."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def ring(self) -> None:
        self._event.set()

    def reset(self) -> None:
        self._event = anyio.Event()

    async def wait(self) -> None:
        await self._event.wait()


async def _listen(client: Client, bell: _Bell, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
    """Ring for each change that a server of 2026 announces; one that announces none is asked now and then.

    Raises:
        SubscriptionLost: the server is gone, or has ended the subscription.
    """
    try:
        async with client.listen(tools_list_changed=True) as events:
            task_status.started()
            async for _ in events:
                bell.ring()
    except MCPError as error:
        if error.code != types.METHOD_NOT_FOUND:
            raise
        task_status.started()
        return
    raise SubscriptionLost("the server has ended the connection")
