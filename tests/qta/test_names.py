"""Names in a request: what marks a word as one, and what does not."""

import pytest

from qta.names import NameIndex

NAMES = NameIndex(["mail/email", "mail/send_message"], ["email", "send_message"])


@pytest.mark.parametrize(
    ("request_", "found"),
    [
        ("send my boss an email (subject: holiday)", []),
        ("email(to=Ann) please", [[0]]),
        ("use the tool email", [[0]]),
        ("please `email` her", [[0]]),
        ("show it (as send_message does)", [[1]]),
    ],
)
def test_a_bracket_marks_a_name_only_where_it_is_called(request_: str, found: list[list[int]]) -> None:
    assert NAMES.find(request_) == found
