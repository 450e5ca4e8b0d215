"""Verdicts: what is permanent and what ages, by whose word, and never more than was proven."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import get_args

import pytest
from msgspec.structs import replace

from ledger.authenticity import Authenticity
from ledger.badges import Badge
from ledger.entry import BINDING_PUBLISHED, BINDING_VOUCHED, did_key
from ledger.errors import MalformedPolicy
from ledger.policy import parse_policy
from ledger.receipt import Receipt, with_salt, with_signatures
from ledger.status import index_in_list, list_of
from ledger.verdict import NOT_SHOWN, Verdict
from ledger.verdict_findings import (
    ANCHORED_AUDITED,
    ANCHORED_VOUCHED,
    ANCHORED_WORD,
    LISTS_NOT_ASKED,
    Result,
    format_ms,
)
from tests.builders import ORIGIN, seeded_key
from tests.receipt_builder import Anchored, policy, policy_text
from tests.verdict_cases import AUDITED, DAY_S, SCHOOL, TRUST, Case, badge

VERIFIED = Authenticity("verified", scheme="eddsa-rdfc-2022", key="did:key:z6Mk#z6Mk")
INVALID = Authenticity("invalid", scheme="eddsa-rdfc-2022", reason="it is of another document")


def slots(scene: Anchored) -> tuple[int, int]:
    return list_of(scene.slot), index_in_list(scene.slot)


# Results -------------------------------------------------------------------------------------------------------------


def test_a_published_key_makes_an_unsigned_badge_valid() -> None:
    """The identifier's own host spoke for the key: plain valid, with time, status, issuer and binding."""
    case = Case()
    verdict = case.decide()
    assert verdict.result == "valid"
    assert verdict.is_plain_valid
    assert verdict.reasons == ()
    assert verdict.issued_at_ms is not None
    assert verdict.issued_at_ms < case.scene.time_s * 1000
    assert verdict.issued_before_ms is None
    assert (verdict.state, verdict.status_as_of_s, verdict.status_by) == ("active", case.scene.time_s, "witnesses")
    assert (verdict.identifier, verdict.binding) == (SCHOOL, "published")
    assert (verdict.issuer, verdict.slot) == (case.scene.issuer.id.hex(), case.scene.slot)
    assert (verdict.origin, verdict.index, verdict.tree_size) == (ORIGIN, case.scene.index, case.scene.log.size)


@pytest.mark.parametrize(
    ("then", "result", "sentence"),
    [("revoke", "revoked", "revoked, as of 2025-06-15"), ("suspend", "suspended", "suspended, as of 2025-06-15")],
)
@pytest.mark.parametrize("full", [False, True])
def test_a_status_decides_over_valid(then: str, result: str, sentence: str, full: bool) -> None:
    """By both profiles alike; issuance stays proven."""
    verdict = Case(full=full, then=then).decide()
    assert verdict.result == result
    assert verdict.reasons[0].startswith(sentence)
    assert verdict.qualifier is None
    assert (verdict.issued_at_ms is not None) == full


def test_a_revocation_does_not_age() -> None:
    """Revoked is final, so an old proof of it is one; an old proof of anything else is stale."""
    revoked = Case(then="revoke").decide(age_s=10 * DAY_S)
    assert revoked.result == "revoked"
    assert any("too old" in reason for reason in revoked.reasons)
    for then, result in (("", "stale"), ("suspend", "stale")):
        verdict = Case(then=then).decide(age_s=10 * DAY_S)
        assert verdict.result == result
        assert verdict.error == "stale"
        # What is permanent is still told.
        assert verdict.issued_at_ms is not None


def test_the_age_that_is_accepted_is_the_callers() -> None:
    """Exactly at the limit it is fresh; without a limit it always is, and a note says so."""
    case = Case()
    assert case.decide(age_s=DAY_S).result == "valid"
    assert case.decide(age_s=DAY_S + 1).result == "stale"
    forever = case.decide(age_s=1_000 * DAY_S, max_age_s=None)
    assert forever.result == "valid"
    assert any("no limit" in note for note in forever.notes)


def test_the_badges_own_dates_count() -> None:
    """Expired by its own date, however fresh the proof; not yet valid is not proven valid."""
    expired = Case(badge(validUntil="2025-06-15T15:06:42Z")).decide()
    assert expired.result == "expired"
    assert "2025-06-15 15:06:42 UTC" in expired.reasons[0]
    early = Case(badge(validFrom="2025-06-16T00:00:00Z")).decide()
    assert early.result == "not_proven"
    assert "not valid before 2025-06-16 00:00:00 UTC" in early.reasons[0]


def test_an_expiry_at_this_very_moment_is_not_over() -> None:
    """valid_until is included."""
    case = Case(badge(validUntil="2026-01-01T00:00:00Z"))
    assert case.decide(now_s=1_767_225_600, max_age_s=None).result == "valid"
    assert case.decide(now_s=1_767_225_601, max_age_s=None).result == "expired"


def test_the_strongest_finding_is_the_result_and_all_are_told() -> None:
    """Revoked before expired before stale before suspended."""
    verdict = Case(badge(validUntil="2025-07-01T00:00:00Z"), then="revoke").decide(age_s=100 * DAY_S)
    assert verdict.result == "revoked"
    assert [reason.split()[0] for reason in verdict.reasons] == ["revoked,", "expired", "the"]
    suspended = Case(badge(validUntil="2025-07-01T00:00:00Z"), then="suspend").decide(age_s=100 * DAY_S)
    assert suspended.result == "expired"
    assert len(suspended.reasons) == 3
    assert Case(badge(), then="suspend").decide(age_s=100 * DAY_S).result == "stale"


# Not proven ----------------------------------------------------------------------------------------------------------


def test_another_badge_is_not_proven() -> None:
    """One letter more is another commitment."""
    case = Case()
    verdict = case.decide(badge=badge(name="Sailing!"))
    assert (verdict.result, verdict.error) == ("not_proven", "not-issued")
    assert "another badge" in verdict.reasons[0]
    # Nothing of the receipt is told as if it were proven of this badge.
    assert verdict.issued_at_ms is None
    assert verdict.state is None
    assert verdict.binding == NOT_SHOWN


def test_the_salt_is_needed_and_must_be_right() -> None:
    """From the receipt or from beside it; the one given wins."""
    case = Case()
    bare = with_salt(case.receipt, None)
    assert case.decide(receipt=bare, salt=case.salt).result == "valid"
    missing = case.decide(receipt=bare)
    assert missing.result == "not_proven"
    assert "needs a salt" in missing.reasons[0]
    assert case.decide(receipt=bare, salt=bytes(32)).error == "not-issued"
    assert case.decide(salt=bytes(32)).error == "not-issued"
    assert case.decide(salt=bytes(31)).error == "not-issued"


def test_a_badge_that_somebody_else_anchored_is_not_proven() -> None:
    """Whoever holds a badge can hash it; only the issuer that it names can anchor it."""
    for given in (badge(), badge(signed=True)):
        verdict = Case(given, identifier="https://impostor.example").decide()
        assert (verdict.result, verdict.error) == ("not_proven", "not-issued")
        assert "another issuer" in verdict.reasons[0]
    verdict = Case(badge(issuer="https://school.example/" + "x" * 2048)).decide()
    assert (verdict.result, verdict.error) == ("not_proven", "not-issued")


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda r: with_signatures(r, r.signatures[:2]), "quorum-not-met"),
        (lambda r: with_signatures(r, r.signatures[1:]), "signature-invalid"),
        (lambda r: replace(r, log_proof=r.log_proof[:-1]), "proof-invalid"),
        (lambda r: replace(r, status_proof=r.status_proof[:-1]), "proof-invalid"),
        (lambda r: replace(r, origin=""), "malformed-receipt"),
    ],
)
def test_a_proof_that_does_not_hold_is_a_verdict(spoil: Callable[[Receipt], Receipt], error: str) -> None:
    """Not an exception: the reason is the sentence of what was refused, the slug is for machines."""
    case = Case()
    verdict = case.decide(receipt=spoil(case.receipt))
    assert (verdict.result, verdict.error) == ("not_proven", error)
    assert verdict.reasons[0]


def test_a_policy_that_two_quorums_can_satisfy_is_refused() -> None:
    """Two heads could be shown under it: no verdict is given at all."""
    case = Case()
    with pytest.raises(MalformedPolicy, match="north"):
        case.decide(parse_policy(policy_text(ORIGIN).replace("both all", "both any")))


# By whose word -------------------------------------------------------------------------------------------------------


def test_an_unsigned_badge_with_a_vouched_key_is_never_plain_valid() -> None:
    """Whoever audits: that the key is the issuer's is the operator's word."""
    case = Case(binding=BINDING_VOUCHED)
    for trust in (TRUST, AUDITED):
        verdict = case.decide(trust)
        assert (verdict.result, verdict.qualifier, verdict.binding) == ("valid", ANCHORED_VOUCHED, "vouched")
        assert not verdict.is_plain_valid
        assert any("word of the ledger's operator" in note for note in verdict.notes)
        assert verdict.lines()[0] == "VALID: anchored, vouched by the operator"


def test_a_short_receipt_of_an_unsigned_badge_is_at_most_anchored() -> None:
    """Audited, or by the operator's word; the binding is not shown, whatever it is."""
    for binding in (BINDING_VOUCHED, BINDING_PUBLISHED):
        case = Case(full=False, binding=binding)
        plain, audited = case.decide(), case.decide(AUDITED)
        assert (plain.result, plain.qualifier, plain.audited_by) == ("valid", ANCHORED_WORD, ())
        assert (audited.result, audited.qualifier, audited.audited_by) == ("valid", ANCHORED_AUDITED, ("south",))
        for verdict in (plain, audited):
            assert verdict.binding == NOT_SHOWN
            assert any("short receipt" in note for note in verdict.notes)
            assert verdict.identifier is None
            assert verdict.issued_at_ms is None
            assert verdict.issued_before_ms == case.scene.time_s * 1000
            assert not verdict.is_plain_valid


def test_a_proof_in_the_badge_counts_only_when_it_was_checked() -> None:
    """A signature that nobody checked may be anything, so it lifts no qualifier."""
    for full, qualifier in ((True, ANCHORED_VOUCHED), (False, ANCHORED_WORD)):
        case = Case(badge(signed=True), full=full, binding=BINDING_VOUCHED)
        unchecked = case.decide()
        assert unchecked.qualifier == qualifier
        assert any("not checked" in note for note in unchecked.notes)
        checked = case.decide(authenticity=VERIFIED)
        assert checked.is_plain_valid
        broken = case.decide(authenticity=INVALID)
        assert broken.result == "not_proven"
        assert "own signature does not verify" in broken.reasons[0]


def test_a_did_key_is_plain_valid_without_anybody_elses_word() -> None:
    """The identifier is the key."""
    key = seeded_key("a did:key issuer")
    case = Case(badge(issuer=did_key(key.public_key)), identifier=None, key=key)
    verdict = case.decide()
    assert verdict.is_plain_valid
    assert verdict.binding == "self-certifying"


def test_unaudited_is_said() -> None:
    """In a note and in the line on the status; an auditor's name takes its place."""
    case = Case()
    plain, audited = case.decide(), case.decide(AUDITED)
    assert any("no auditor" in note for note in plain.notes)
    assert plain.lines()[2].endswith("not revoked as of 2025-06-15 15:06:44 UTC, unaudited")
    assert not any("no auditor" in note for note in audited.notes)
    assert audited.lines()[2].endswith("not revoked as of 2025-06-15 15:06:44 UTC, audited by south")


def test_without_witnesses_the_verdict_says_whose_time_it_is() -> None:
    """`quorum none`: the log's own time and word."""
    verdict = Case().decide(policy(ORIGIN, quorum="none"))
    assert (verdict.result, verdict.status_by) == ("valid", "log")
    assert any("no witness" in note for note in verdict.notes)
    assert "by the log's own word" in verdict.lines()[2]


def test_delegation_is_named() -> None:
    """A key that an earlier key added is bound no better than that one."""
    assert any("earlier key" in note for note in Case().decide().notes)
    assert not any("earlier key" in note for note in Case(delegated=False).decide().notes)


def test_a_dropped_cosignature_is_noted() -> None:
    """It may be why the head looks older than it is."""
    case = Case()
    verdict = case.decide(policy(ORIGIN, quorum="north"), age_s=-61, max_age_s=None)
    assert verdict.result == "not_proven"
    assert "in the future" in verdict.reasons[0]


# The slot in the badge -----------------------------------------------------------------------------------------------


def _with_status(address: str, index: int, purpose: str = "revocation") -> Badge:
    entry = {
        "type": "BitstringStatusListEntry",
        "statusListCredential": address,
        "statusListIndex": str(index),
        "statusPurpose": purpose,
    }
    return badge(credentialStatus=[entry])


@pytest.mark.parametrize(
    ("address", "index", "purpose", "agrees"),
    [
        ("https://ledger.example/test/status/1", 1004, "revocation", True),
        ("https://ledger.example/test/status/1", 1004, "suspension", True),
        ("https://ledger.example/test/status/1/suspension", 1004, "suspension", True),
        ("https://elsewhere.example/status/3", 77, "revocation", True),
        ("https://ledger.example/test/status/1", 1003, "revocation", False),
        ("https://ledger.example/test/status/0", 1004, "revocation", False),
        ("https://ledger.example/test/status/01", 1004, "revocation", False),
        ("https://ledger.example/test/status/1/suspension", 1004, "revocation", False),
        ("https://ledger.example/test/status/", 1004, "revocation", False),
        ("https://ledger.example/test/status/1?x", 1004, "revocation", False),
    ],
)
def test_a_status_entry_in_the_badge_is_matched_with_the_slot(
    address: str, index: int, purpose: str, agrees: bool
) -> None:
    """One that points into this ledger's lists is the slot of the log entry; a list of others was not asked."""
    case = Case(_with_status(address, index, purpose))
    assert slots(case.scene) == (1, 1004)
    verdict = case.decide()
    is_ours = address.startswith("https://ledger.example/")
    assert verdict.result == ("valid" if agrees else "not_proven")
    assert verdict.qualifier == (None if is_ours else LISTS_NOT_ASKED)
    assert verdict.slot_named == (True if is_ours and agrees else None)
    if not agrees:
        assert "another place in the status lists" in verdict.reasons[0]


def test_the_address_of_the_lists_can_be_told() -> None:
    """Where they are not served under the origin."""
    case = Case(_with_status("https://cdn.example/l/1", 5))
    assert case.decide().qualifier == LISTS_NOT_ASKED
    assert case.decide(status_base="cdn.example/l/").result == "not_proven"


# Forms ---------------------------------------------------------------------------------------------------------------


def _verdicts() -> list[Verdict]:
    case, short = Case(), Case(full=False)
    return [
        case.decide(),
        case.decide(AUDITED),
        case.decide(age_s=10 * DAY_S),
        short.decide(),
        Case(then="revoke").decide(),
        Case(then="suspend").decide(),
        Case(badge(validUntil="2025-01-01T00:00:00Z")).decide(),
        case.decide(badge=badge(name="other")),
    ]


def test_every_result_has_a_case_here() -> None:
    """The list above leaves none out."""
    assert {verdict.result for verdict in _verdicts()} == set(get_args(Result))


def test_verdicts_are_json() -> None:
    """Plain values only, members without one left out, and `audited` always there."""
    for verdict in _verdicts():
        document = json.loads(json.dumps(verdict.to_json()))
        assert document["result"] == verdict.result
        assert document["audited"] == bool(verdict.audited_by)
        assert None not in document.values()
        assert ("state" in document) == (verdict.state is not None)


def test_verdicts_are_lines() -> None:
    """The result first; what was not proven has no lines on issuance; no control characters."""
    for verdict in _verdicts():
        lines = verdict.lines()
        assert lines[0].startswith(verdict.result.replace("_", " ").upper())
        assert all(line.isprintable() for line in lines)
        assert any(line.startswith("issued") for line in lines) == (verdict.state is not None)
    assert "before" in Case(full=False).decide().lines()[1]


def test_times_past_the_calendar_are_shown_as_numbers() -> None:
    """A log can state any 64-bit time."""
    assert format_ms(0) == "1970-01-01 00:00:00 UTC"
    assert format_ms(2**64 - 1) == "18446744073709551615 ms"
