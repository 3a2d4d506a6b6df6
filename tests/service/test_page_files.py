"""The files of the page as HTTP gives them: kept by browsers and closed to other hosts."""

from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.conftest import Server
from tests.service.test_retrieve import problem

FILES = {"/": "text/html", "/style.css": "text/css", "/page.js": "text/javascript", "/sufficiency.png": "image/png"}


@pytest.mark.parametrize("path", FILES)
def test_files_are_kept_by_browsers_until_they_change(server: Server, path: str) -> None:
    reply = server.ask(path)
    assert reply.status == 200
    assert reply.headers["Content-Type"].partition(";")[0] == FILES[path]
    assert reply.headers["Cache-Control"] == "no-cache"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    policy = reply.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    with pytest.raises(HTTPError) as unchanged:
        urlopen(Request(server.url + path, headers={"If-None-Match": reply.headers["ETag"]}))
    with unchanged.value as answer:
        assert answer.code == 304
    problem(server.ask(path, {}), 405)
