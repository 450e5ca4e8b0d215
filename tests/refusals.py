"""How tests show that the rules refuse a unit: the rule, where an auditor stops, and that nothing changed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest

from ledger.errors import RuleViolation
from ledger.replay import Draft, Replay, Unit
from tests.builders import LogBuilder


def trace(draft: Draft) -> dict[str, Any]:
    """Everything a draft holds, one level deep; its base is another matter."""
    root = draft.status.root
    held = {name: value for name, value in vars(draft).items() if name != "_base"}
    for name, value in held.items():
        if isinstance(value, (dict, list, set)):
            held[name] = copy.copy(value)
    return held | {"status": root}


def refused(
    log: LogBuilder, unit: Unit, rule: str, *, event: int | None = None, positions: Sequence[int] = ()
) -> RuleViolation:
    """`unit` breaks `rule` at the unit's own index, or at that of its k-th event, and changes neither draft nor state:
    the draft goes on as if nothing had been tried."""
    before = log.replay.snapshot()
    draft = log.replay.draft()
    seen = trace(draft)
    with pytest.raises(RuleViolation) as caught:
        draft.append(unit)
    violation = caught.value
    assert violation.rule == rule
    assert violation.index == (log.size if event is None else log.size + 1 + event)
    if event is not None:
        assert list(violation.positions) == list(positions or [event])
        assert violation.members["positions"] == list(violation.positions)
    assert trace(draft) == seen
    with pytest.raises(RuleViolation):
        log.replay.apply(unit)
    assert log.replay.snapshot() == before
    if log.size > 1:
        assert draft.append(draft.status_root(draft.time)) == log.size
        log.replay.merge(draft)
        log.replay = Replay.from_snapshot(before)
    return violation
