"""An MCP server of 2025 over stdio, by hand: it shakes hands, pages, and pushes `list_changed` without being asked.

python tests/old_mcp_server.py TOOLS.json
"""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

FILE = Path(sys.argv[1])
lock = threading.Lock()


def send(**message: Any) -> None:
    with lock:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def watch() -> None:
    before = FILE.read_bytes()
    while True:
        time.sleep(0.05)
        now = FILE.read_bytes()
        if now != before:
            before = now
            send(method="notifications/tools/list_changed")


def answer(request: dict[str, Any]) -> None:
    if request["method"] == "initialize":
        about = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {"listChanged": True}}}
        send(id=request["id"], result={**about, "serverInfo": {"name": "Old Zoo", "version": "1"}})
    elif request["method"] == "notifications/initialized":
        threading.Thread(target=watch, daemon=True).start()
    elif request["method"] == "tools/list":
        tools = json.loads(FILE.read_text("utf-8"))
        at = int((request.get("params") or {}).get("cursor") or 0)
        more = {"nextCursor": str(at + 1)} if at + 1 < len(tools) else {}
        send(id=request["id"], result={"tools": tools[at : at + 1], **more})
    elif "id" in request:
        send(id=request["id"], error={"code": -32601, "message": "Method not found"})


for line in sys.stdin:
    answer(json.loads(line))
