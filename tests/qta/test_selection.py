"""Filters: what is allowed is what is granted, alive and wanted, whoever asks in whatever way."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mtrb.types import Tool, Toolset
from qta.encoder import Encoder
from qta.index import build_index
from qta.live import LiveCatalogue
from qta.selection import SHARED, Facets, Filter, Selector, namespace_of

TOOLS = [
    Tool("mail/send", "send", "Send mail.", {}, ("mail", "write"), "mail"),
    Tool("mail/read", "read", "Read mail.", {}, ("mail",), "mail"),
    Tool("@a/crm/find", "find", "Find a customer.", {}, ("crm",), "crm"),
    Tool("@b/crm/find", "find", "Find a customer.", {}, ("crm", "write"), "crm"),
]
NEW = Tool("@a/pay/charge", "charge", "Charge a card.", {}, ("write",), "pay")


@pytest.fixture
def selector(tmp_path: Path, encoder: Encoder) -> Selector:
    build_index(Toolset(TOOLS), tmp_path / "i", encoder)
    catalogue = LiveCatalogue(tmp_path / "i", encoder)
    catalogue.put([NEW, replace(TOOLS[1], description="Read all mail.")])
    catalogue.remove(["mail/send"])
    return Selector(catalogue.now, Facets.of(catalogue.now.base.columns))


ALL = {"mail/read", "@a/crm/find", "@b/crm/find", "@a/pay/charge"}
CASES: list[tuple[Filter, frozenset[str] | None, set[str]]] = [
    (Filter(), None, ALL),
    (Filter(tags=("write",)), None, {"@b/crm/find", "@a/pay/charge"}),
    (Filter(tags=("crm", "write")), None, {"@b/crm/find"}),
    (Filter(tags=("nothing",)), None, set()),
    (Filter(sources=("mail", "pay")), None, {"mail/read", "@a/pay/charge"}),
    (Filter(), frozenset({"a"}), {"@a/crm/find", "@a/pay/charge"}),
    (Filter(), frozenset({"a", SHARED}), ALL - {"@b/crm/find"}),
    (Filter(), frozenset(), set()),
    (Filter(namespaces=("b",)), None, {"@b/crm/find"}),
    (Filter(namespaces=("b",)), frozenset({"a"}), set()),
    (Filter(include=("@b/crm/find", "mail/send", "x")), None, {"@b/crm/find"}),
    (Filter(include=("@b/crm/find",)), frozenset({"a"}), set()),
    (Filter(include=()), None, set()),
    (Filter(exclude=("mail/read",)), None, ALL - {"mail/read"}),
    (Filter(sources=("crm",), exclude=("@a/crm/find",)), frozenset({"a", "b"}), {"@b/crm/find"}),
]


@pytest.mark.parametrize(("wanted", "granted", "expected"), CASES)
def test_what_is_allowed(
    wanted: Filter, granted: frozenset[str] | None, expected: set[str], selector: Selector
) -> None:
    mask = selector.allowed(wanted, granted)
    assert {selector.now.ids[int(at)] for at in np.flatnonzero(mask)} == expected
    assert selector.allowed(wanted, granted) is mask


def test_namespaces_are_read_off_ids() -> None:
    assert [namespace_of(tool_id) for tool_id in ("@a/x/y", "x/y", "x/@a/y", "@", "@a")] == ["a", "", "", "", "a"]
