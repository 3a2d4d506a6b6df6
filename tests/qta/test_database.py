"""The files of an index folder are begun by several processes at once, as workers start together."""

from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from qta.changes import ChangeLog
from qta.feedback import FeedbackStore

PROCESSES = 6


def begin(folder: Path, together: Barrier) -> None:
    together.wait()
    ChangeLog(folder).remove(["s/t0"])
    FeedbackStore(folder).record("send mail")


@pytest.mark.parametrize("attempt", range(15))
def test_processes_that_begin_a_file_at_once_all_write_to_it(attempt: int, tmp_path: Path) -> None:
    context = get_context("fork")
    together = context.Barrier(PROCESSES)
    processes = [context.Process(target=begin, args=(tmp_path, together)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    assert ChangeLog(tmp_path).revision == PROCESSES
