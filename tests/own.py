"""A catalogue and annotated requests of one's own, as a user has them in files."""

import json
from pathlib import Path
from typing import Any

TOOLS = [
    {"name": "get_weather", "description": "Weather forecast for a city.", "parameters": {"city": {"type": "string"}}},
    {"name": "send_mail", "description": "Send an email to someone."},
    {"name": "find_contact", "description": "Look up somebody's mail address by name."},
    {"name": "convert_currency", "description": "Convert an amount from one currency into another."},
]
QUERIES = [
    {"id": "a", "query": "will it rain in Oslo", "tools": ["own/get_weather"], "split": "test"},
    {"id": "b", "query": "mail Ann the report", "tools": ["own/find_contact", "own/send_mail"], "split": "test"},
    {"id": "c", "query": "what are 5 euro in yen", "tools": ["own/convert_currency"], "split": "validation"},
]


def write_lines(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path
