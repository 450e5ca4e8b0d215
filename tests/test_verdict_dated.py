"""Verdicts of dated receipts: the moment where it was asked for, else the present; dates, lists and hosts of then."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from ledger.authenticity.model import Authenticity, ListFinding
from ledger.badges import Badge, commitment, derive_salt
from ledger.dated import DatedReceipt
from ledger.receipt import with_salt
from ledger.verdict import Verdict
from ledger.verdict_dated import LISTS_NO_PAST, decide_dated
from ledger.verdict_findings import LISTS_NOT_ASKED
from tests.builders import START_MS, LogBuilder
from tests.past_builder import World
from tests.verdict_cases import SALT_KEY, SCHOOL, TRUST, badge

HOUR = 3_600_000
FOREIGN = {
    "id": "https://lists.example/9#5",
    "type": "BitstringStatusListEntry",
    "statusPurpose": "revocation",
    "statusListIndex": "5",
    "statusListCredential": "https://lists.example/9",
}


class Life:
    """A badge issued at 1 h, suspended at 3 h, reinstated at 5 h, revoked at 7 h; the head is of 9 h."""

    def __init__(self, given: Badge | None = None, *, upto: int = 9) -> None:
        self.badge = badge() if given is None else given
        self.salt = None if self.badge.signed else derive_salt(SALT_KEY, self.badge)
        log = LogBuilder()
        issuer = log.issuer(SCHOOL, binding=2, lists=1)
        slot = issuer.slot(7)
        events = {
            1: issuer.issue(slot, commitment(self.badge, self.salt)),
            3: issuer.suspend(slot),
            5: issuer.reinstate(slot),
            7: issuer.revoke(slot, 4),
        }
        for hour in range(upto + 1):
            log.time = START_MS + hour * HOUR
            if hour in events:
                log.submit(issuer, [events[hour]])
            log.seal()
        self.world = World(log)

    def dated(self, hours: float) -> DatedReceipt:
        world = self.world
        found = world.dated(world.issued()[0], START_MS + int(hours * HOUR), world.log.size)
        return replace(found, receipt=with_salt(found.receipt, self.salt))

    def decide(self, hours: float, *, asked: bool = True, **changes: Any) -> Verdict:
        dated = changes.pop("dated", None) or self.dated(hours)
        arguments: dict[str, Any] = {"policy": TRUST, "now_s": self.world.log.time // 1000, "max_age_s": 86_400}
        asked_ms = START_MS + int(hours * HOUR) if asked else None
        return decide_dated(self.badge, dated, **arguments | {"asked_ms": asked_ms} | changes)


@pytest.fixture(scope="module")
def life() -> Life:
    return Life()


@pytest.mark.parametrize(
    ("hours", "result", "state", "sentence"),
    [
        (0.5, "not_proven", "unissued", "not yet issued"),
        (1, "valid", "active", None),
        (2.9, "valid", "active", None),
        (3, "suspended", "suspended", "suspended, on 2025-06-15 18:06:40 UTC"),
        (4.999, "suspended", "suspended", "suspended, on"),
        (6, "valid", "active", None),
        (7, "revoked", "revoked", "revoked, on"),
        (8, "revoked", "revoked", "revoked, on"),
    ],
)
def test_the_moment_decides_where_it_was_asked_for(
    life: Life, hours: float, result: str, state: str, sentence: str | None
) -> None:
    """The status then, and beside it the present, which is revoked."""
    verdict = life.decide(hours)
    then = verdict.then
    assert then is not None
    assert (then.result, then.state) == (result, state)
    assert (sentence is None) == (then.reasons == ())
    assert sentence is None or sentence in then.reasons[0]
    assert verdict.answer is then
    assert verdict.result == "revoked"
    assert verdict.is_plain_valid == (result == "valid")
    first, *rest = verdict.lines()
    assert first == f"{result.replace('_', ' ').upper()} on {first[-23:]}"
    assert "now      REVOKED" in rest
    assert any(line.startswith("past     ") and line.endswith("by the ledger's time") for line in rest)


def test_the_present_decides_where_it_was_not(life: Life) -> None:
    """A holder's choice of file does not make a revoked badge valid: the past is only told."""
    verdict = life.decide(2, asked=False)
    assert verdict.answer is verdict
    assert verdict.then is not None
    assert (verdict.result, verdict.then.result) == ("revoked", "valid")
    assert not verdict.is_plain_valid
    first, *rest = verdict.lines()
    assert first == verdict.headline == "REVOKED"
    assert "then     VALID on 2025-06-15 17:06:40 UTC" in rest
    later = Life(upto=6).decide(4, asked=False)
    assert later.is_plain_valid
    assert later.then is not None
    assert later.then.result == "suspended"


def test_one_document_answers_for_every_moment_between_its_heads(life: Life) -> None:
    """And for none outside: then nothing is proven of the past, and the present stands."""
    dated = life.dated(2)
    assert life.decide(2.5, dated=dated).headline.startswith("VALID on 2025-06-15 17:36")
    for hours in (1.999, 3, 8):
        verdict = life.decide(hours, dated=dated)
        assert verdict.then is not None
        assert (verdict.then.result, verdict.then.state, verdict.result) == ("not_proven", None, "revoked")
        assert "do not enclose the moment" in verdict.then.reasons[0]


def test_the_badges_own_dates_are_those_of_then() -> None:
    """Expired now, valid then; and not yet valid then, valid now."""
    iso = {hour: f"2025-06-15T{15 + hour:02d}:06:40Z" for hour in range(9)}
    life = Life(badge(validFrom=iso[2], validUntil=iso[5]), upto=6)
    expected = {1.5: "not_proven", 2: "valid", 2.9: "valid", 5: "valid", 5.5: "expired"}
    for hours, result in expected.items():
        verdict = life.decide(hours)
        assert verdict.then is not None
        assert (verdict.then.result, verdict.result) == (result, "expired"), hours


def test_the_age_of_the_head_does_not_matter_to_the_past(life: Life) -> None:
    """Stale now, valid then."""
    young = Life(upto=6)
    verdict = young.decide(2, max_age_s=10, now_s=young.world.log.time // 1000 + 100)
    assert verdict.then is not None
    assert (verdict.result, verdict.then.result) == ("stale", "valid")


def test_what_others_say_has_no_past() -> None:
    """A list that was not asked, that is clear, that is set now, that gave no answer; and the badge's own address."""
    life = Life(badge(credentialStatus=[FOREIGN]), upto=6)
    (entry,) = life.badge.status

    def then(state: Any = None, **changes: Any) -> Any:
        lists = () if state is None else (ListFinding(entry, state, "it is silent" if state == "unknown" else None),)
        return life.decide(2, lists=lists, **changes).then

    assert (then().result, then().qualifier) == ("valid", LISTS_NOT_ASKED)
    assert (then("clear").result, then("clear").qualifier) == ("valid", LISTS_NO_PAST)
    assert then("set").result == "not_proven"
    assert "it says so now, and not since when" in then("set").reasons[0]
    assert life.decide(2, lists=(ListFinding(entry, "set"),)).result == "revoked"
    assert (then("unknown").result, then("unknown").reasons[0].endswith("it is silent")) == ("not_proven", True)
    gone = then("clear", hosted="revoked")
    assert gone.result == "not_proven"
    assert "by what the badge's own address answers" in gone.reasons[0]
    assert then("clear", hosted="gone").result == "valid"


def test_the_badge_itself_is_judged_as_ever(life: Life) -> None:
    """A signature that does not hold, a short receipt's qualifier, another badge."""
    forged = life.decide(2, authenticity=Authenticity("invalid", reason="it is forged"))
    assert forged.then is not None
    assert (forged.then.result, forged.result) == ("not_proven", "not_proven")
    world = life.world
    short = world.dated(world.issued()[0], START_MS + 2 * HOUR, world.log.size, full=False)
    verdict = life.decide(2, dated=replace(short, receipt=with_salt(short.receipt, life.salt)))
    assert verdict.then is not None
    assert verdict.then.qualifier == "anchored by the operator's word"
    wrong = life.decide(2, salt=bytes(32))
    assert wrong.then is not None
    assert (wrong.result, wrong.then.result, wrong.then.state) == ("not_proven", "not_proven", None)


def test_a_past_that_does_not_hold_spoils_the_whole(life: Life) -> None:
    """Not asked, a document with a false past is refused; a revocation that is proven stays one."""
    young = Life(upto=6)
    for case, result in ((young, "not_proven"), (life, "revoked")):
        dated = case.dated(2)
        spoilt = replace(dated, past=replace(dated.past, log_proof=(bytes(32), *dated.past.log_proof[1:])))
        verdict = case.decide(2, asked=False, dated=spoilt)
        assert verdict.result == result
        assert verdict.then is not None
        assert verdict.then.result == "not_proven"
        assert "does not lead to the receipt's head" in " ".join((*verdict.reasons, *verdict.then.reasons))
    assert young.decide(2, asked=False).result == "valid"


def test_the_json_has_the_moment(life: Life) -> None:
    """Under `then`; members without a value are left out."""
    document = life.decide(2).to_json()
    at_ms = START_MS + 2 * HOUR
    assert document["result"] == "revoked"
    assert document["then"] == {
        "at_ms": at_ms,
        "asked": True,
        "result": "valid",
        "reasons": [],
        "state": "active",
        "head_size": document["then"]["head_size"],
        "head_time_ms": at_ms,
        "until_ms": at_ms + HOUR,
    }
