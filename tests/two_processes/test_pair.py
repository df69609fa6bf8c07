"""The pair of workers itself: trouble must end in a message, not in a test run that stands still."""

from __future__ import annotations

import pytest
from two_processes.pair import WorkerError


@pytest.mark.last  # kills the shared pair, which would have to start again for others
def test_a_failure_is_reported_and_the_hanging_other_process_killed(workers):
    with pytest.raises(WorkerError, match=r"fail.* in 2 processes: process 1: (.|\n)*as asked"):
        workers.run("fail", rank=1)
    assert workers.processes == []
