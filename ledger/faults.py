"""Fault points: named lines between the steps of commit, publication and cosigning where a test may kill or stop us.

`reach("publisher.after-guard")` does nothing unless `install` armed that point; `badge-ledger serve` and `witness`
install what `BADGE_LEDGER_FAULT` says ("POINT" or "POINT:N", the N-th time it is reached), so that crash tests run the
very binary that operators run. The process dies by SIGKILL: no handler, no flush, no goodbye, as in a power cut. With
"stop@" before the point it stops by SIGSTOP instead, once, and goes on at that line when it is continued, as a
suspended machine does.
"""

from __future__ import annotations

import os
import signal

from ledger.errors import MalformedInput
from ledger.text import parse_decimal

#: Every fault point of the code, in the order in which an entry meets them.
POINTS = (
    "sequencer.locked",
    "sequencer.before-commit",
    "sequencer.after-commit",
    "publisher.before-mark",
    "publisher.after-mark",
    "publisher.after-proof",
    "publisher.after-guard",
    "publisher.after-sign",
    "publisher.after-gather",
    "publisher.after-publish",
)

#: The same of a witness, in the order in which a checkpoint meets them.
WITNESS_POINTS = (
    "witness.judged",
    "witness.signed",
    "witness.before-commit",
    "witness.after-commit",
    "witness.swapped",
)

_armed: dict[str, int] = {}
_signal = signal.SIGKILL


def install(plan: str) -> None:
    """Arm one point: "[stop@]POINT[:N]" (N from 1). An empty plan disarms all. Raises MalformedInput."""
    global _signal
    _armed.clear()
    if not plan:
        return
    _signal = signal.SIGSTOP if plan.startswith("stop@") else signal.SIGKILL
    plan = plan.removeprefix("stop@")
    point, _, count = plan.partition(":")
    if point not in POINTS + WITNESS_POINTS:
        raise MalformedInput(f"unknown fault point {point!r}; known: {', '.join(POINTS + WITNESS_POINTS)}")
    _armed[point] = parse_decimal(count, what="fault count") if count else 1


def reach(point: str) -> None:
    """Die or stop here if this point is armed and this is its time."""
    if not _armed or point not in _armed:
        return
    _armed[point] -= 1
    if _armed[point] <= 0:
        _armed.clear()
        os.kill(os.getpid(), _signal)
