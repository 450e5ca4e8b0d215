"""The joined verdict: the badge is authentic, its issuer is the entry's, and every status that it names was asked."""

from __future__ import annotations

import json
from functools import cache
from itertools import product
from typing import Any, get_args

import pytest

from ledger.authenticity import Authenticity, ListFinding, OwnSignature
from ledger.badges import Badge, StatusEntry, read
from ledger.entry import BINDING_PUBLISHED, BINDING_VOUCHED, did_key
from ledger.errors import MalformedBadge
from ledger.receipt import with_signatures
from ledger.verdict import Verdict
from ledger.verdict_findings import (
    ANCHORED_UNNAMED,
    ANCHORED_VOUCHED,
    ANCHORED_WORD,
    LISTS_NOT_ASKED,
    OTHER_STATUS,
    HostedState,
    host_of,
    judge_hosted,
)
from tests.builders import ORIGIN, seeded_key
from tests.receipt_builder import policy
from tests.verdict_cases import DAY_S, SCHOOL, Case, badge

LIST = "https://www.credly.example/status/3"
KEY = seeded_key("a did:key issuer")
DID = did_key(KEY.public_key)


def entry(purpose: str = "revocation", *, address: str = LIST, index: int = 77) -> dict[str, Any]:
    return {
        "id": f"{address}#{index}",
        "type": "BitstringStatusListEntry",
        "statusListCredential": address,
        "statusListIndex": str(index),
        "statusPurpose": purpose,
    }


def said(purpose: str, state: Any, *, address: str = LIST) -> ListFinding:
    reason = "it cannot be reached" if state == "unknown" else None
    return ListFinding(StatusEntry(address, 77, purpose), state, reason)


def found(signature: OwnSignature) -> Authenticity:
    reason = None if signature in ("none", "verified") else f"that it is {signature} has this reason"
    scheme = None if signature == "none" else "eddsa-rdfc-2022"
    return Authenticity(signature, scheme, f"{DID}#key" if signature == "verified" else None, reason=reason)


# Every combination ---------------------------------------------------------------------------------------------------

BINDINGS: dict[str, dict[str, Any]] = {
    "self-certifying": {"identifier": None, "key": KEY},
    "published": {"binding": BINDING_PUBLISHED},
    "vouched": {"binding": BINDING_VOUCHED},
    "not shown": {"full": False},
}
THEN = {"active": "", "suspended": "suspend", "revoked": "revoke"}
#: The badge's entries in lists of somebody else, and what was found in them.
LISTS: dict[str, tuple[tuple[str, ...], tuple[ListFinding, ...]]] = {
    "none": ((), ()),
    "not asked": (("revocation",), ()),
    "clear": (("revocation", "suspension"), (said("revocation", "clear"), said("suspension", "clear"))),
    "half asked": (("revocation", "suspension"), (said("revocation", "clear"),)),
    "revoked": (("revocation",), (said("revocation", "set"),)),
    "suspended": (("suspension",), (said("suspension", "set"),)),
    "unknown": (("revocation",), (said("revocation", "unknown"),)),
    "revoked, unknown": (
        ("suspension", "revocation"),
        (said("suspension", "unknown"), said("revocation", "set")),
    ),
}
#: Result by the ledger's status (rows) and the lists of others, unless the badge's own signature is invalid.
RESULTS = """
             | none      | not asked | clear     | half asked | revoked | suspended | unknown    | revoked, unknown
    active    | valid     | valid     | valid     | valid      | revoked | suspended | not_proven | revoked
    suspended | suspended | suspended | suspended | suspended  | revoked | suspended | not_proven | revoked
    revoked   | revoked   | revoked   | revoked   | revoked    | revoked | revoked   | revoked    | revoked
"""
#: By whose word a valid one is, by the own signature (rows) and the binding.
WORDS = """
                   | self-certifying | published | vouched | not shown
    verified       |                 |           |         |
    none           |                 |           | vouched | word
    not-checked    |                 |           | vouched | word
    self-asserted  |                 |           | vouched | word
"""
QUALIFIERS = {"": "", "vouched": ANCHORED_VOUCHED, "word": ANCHORED_WORD}


def table(text: str) -> dict[tuple[str, str], str]:
    """(row, column) -> cell."""
    head, *rows = ([cell.strip() for cell in line.split("|")] for line in text.strip("\n").splitlines())
    return {(row[0], column): cell for row in rows for column, cell in zip(head[1:], row[1:], strict=True)}


@cache
def case(binding: str, state: str, purposes: tuple[str, ...]) -> Case:
    members: dict[str, Any] = {"credentialStatus": [entry(purpose) for purpose in purposes]} if purposes else {}
    given = badge(signed=True, issuer=DID if binding == "self-certifying" else SCHOOL, **members)
    return Case(given, then=THEN[state], **BINDINGS[binding])


@pytest.mark.parametrize("signature", get_args(OwnSignature))
@pytest.mark.parametrize("binding", BINDINGS)
def test_every_combination(signature: OwnSignature, binding: str) -> None:
    """Own signature, binding, the ledger's status, lists of others: result and qualifier are those stated above."""
    results, words = table(RESULTS), table(WORDS)
    for state, (lists, (purposes, findings)) in product(THEN, LISTS.items()):
        verdict = case(binding, state, purposes).decide(authenticity=found(signature), lists=findings)
        expected = "not_proven" if signature == "invalid" else results[state, lists]
        assert verdict.result == expected, (state, lists)
        parts = [QUALIFIERS[words.get((signature, binding), "")], LISTS_NOT_ASKED if "asked" in lists else ""]
        qualifier = "; ".join(part for part in parts if part) if expected == "valid" else ""
        assert (verdict.qualifier or "") == qualifier, (state, lists)
        assert (verdict.state, verdict.binding) == (state, binding)
        assert verdict.own_signature == signature
        assert any(LIST in reason for reason in verdict.reasons) == (
            lists not in ("none", "not asked", "clear", "half asked")
        )
        readable(verdict)


def readable(verdict: Verdict) -> None:
    """The text has no control characters and nothing of the recipient; the JSON form is plain."""
    text = "\n".join(verdict.lines())
    assert all(line.isprintable() for line in verdict.lines())
    assert "sha256$" not in text
    assert "@" not in text
    json.dumps(verdict.to_json())


# Own signature -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signature", "sentence"),
    [
        ("none", "badge    no signature of its own"),
        ("not-checked", "badge    its own signature was not checked (eddsa-rdfc-2022)"),
        (
            "self-asserted",
            "badge    its own signature holds under a key that only the badge ties to its issuer (eddsa-rdfc-2022)",
        ),
        ("verified", f"badge    its own signature verifies (eddsa-rdfc-2022, {DID}#key)"),
        ("invalid", "badge    its own signature does not verify (eddsa-rdfc-2022)"),
    ],
)
def test_the_badges_own_signature_is_always_told(signature: OwnSignature, sentence: str) -> None:
    """In the text and in the JSON form, with suite and key, and why it is no more; also where nothing is proven."""
    held = Case(badge(signed=True))
    bare = with_signatures(held.receipt, held.receipt.signatures[1:])
    for verdict in (
        held.decide(authenticity=found(signature)),
        held.decide(authenticity=found(signature), receipt=bare),
    ):
        assert sentence in verdict.lines()
        document = verdict.to_json()
        assert document["own_signature"] == signature
        assert document.get("signature_scheme") == found(signature).scheme
        assert document.get("signature_key") == found(signature).key
        assert document.get("signature_reason") == found(signature).reason
        if signature not in ("none", "verified"):
            assert any("has this reason" in line for line in verdict.lines()[1:])


def test_the_key_of_a_did_key_is_shown_once() -> None:
    """Its name repeats it; others are shown whole."""
    for key, shown in ((f"{DID}#{DID.removeprefix('did:key:')}", DID), ("did:web:a.example#1", "did:web:a.example#1")):
        verdict = Case(badge(signed=True)).decide(authenticity=Authenticity("verified", "suite", key))
        assert f"badge    its own signature verifies (suite, {shown})" in verdict.lines()
        assert verdict.signature_key == key


def test_what_the_caller_did_not_check_is_not_checked() -> None:
    """Without a finding: a badge with a proof was not checked, one without carries none."""
    assert Case(badge(signed=True)).decide().own_signature == "not-checked"
    assert Case(badge()).decide().own_signature == "none"


def test_notes_on_the_signature_are_handed_on() -> None:
    """Such as that one proof of two holds."""
    authenticity = Authenticity("verified", "eddsa-rdfc-2022", "did:key:z#z", notes=("one of two proofs holds",))
    assert "one of two proofs holds" in Case(badge(signed=True)).decide(authenticity=authenticity).notes


# The same issuer -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("identifier", "host"),
    [
        ("https://school.example/badges", "school.example"),
        ("http://School.Example", "school.example"),
        ("https://school.example:8443/badges", "school.example:8443"),
        ("https://school.example?x", "school.example"),
        ("did:web:school.example", "school.example"),
        ("did:web:School.example:issuers:7", "school.example"),
        ("did:web:school.example%3A8443:issuers", "school.example:8443"),
        ("did:web:school.example%3a8443", "school.example:8443"),
        ("https://someone@school.example/", None),
        ("https://school.example\\@elsewhere.example/", None),
        ("https://[::1]/", None),
        ("did:web:school.example%2Fbadges", None),
        ("did:key:z6MkehRgf7yJbgaGfYsdoAsKdBPE3dj2CYhowQdcjqSJgvVd", None),
        ("urn:uuid:7", None),
        ("school.example", None),
    ],
)
def test_the_host_of_an_identifier(identifier: str, host: str | None) -> None:
    """Of URLs and did:web; nothing that two readers could take for two hosts."""
    assert host_of(identifier) == host


@pytest.mark.parametrize(
    ("identifier", "qualifier"),
    [
        (SCHOOL, None),
        ("did:web:school.example", None),
        ("did:web:school.example:issuers:7", None),
        ("https://school.example:8443/", ANCHORED_UNNAMED),
        ("https://school.example.elsewhere.example/", ANCHORED_UNNAMED),
        ("https://elsewhere.example/school.example", ANCHORED_UNNAMED),
        (None, ANCHORED_UNNAMED),
    ],
)
def test_a_hosted_badge_without_an_issuer_is_tied_by_its_host(identifier: str | None, qualifier: str | None) -> None:
    """Host and port of its id are those of the issuer that anchored it: as good as an identifier, and it is said."""
    held = Case(badge(issuer=None), identifier=identifier, key=KEY if identifier is None else None)
    verdict = held.decide()
    assert (verdict.result, verdict.qualifier) == ("valid", qualifier)
    assert verdict.issuer_by == ("host" if qualifier is None else None)
    tied = [line for line in verdict.lines() if line.startswith("issuer")]
    assert tied[0].endswith(", by the host of the badge") == (qualifier is None)
    assert any("the badge lies on school.example, the issuer" in note for note in verdict.notes) == (
        qualifier is not None and identifier is not None
    )


def test_a_word_and_a_missing_issuer_are_both_said() -> None:
    """A hosted badge of another host under a vouched key: the operator's word does not hide that it names nobody."""
    held = Case(badge(issuer=None), identifier="https://elsewhere.example/", binding=BINDING_VOUCHED)
    verdict = held.decide()
    assert (verdict.result, verdict.qualifier) == ("valid", f"{ANCHORED_VOUCHED}; the badge does not name its issuer")


ELSEWHERE = "https://university.example"
CLASS: dict[str, Any] = {"type": "BadgeClass", "name": "PhD"}


def hosted_with(members: dict[str, Any]) -> Badge:
    """The hosted assertion with other members."""
    return read(json.dumps(badge(issuer=None).document | members).encode())


@pytest.mark.parametrize(
    "members",
    [
        {"badge": ELSEWHERE + "/classes/phd"},
        {"badge": "http://school.example:8080/classes/1"},
        {"badge": "urn:uuid:7"},
        {"badge": {**CLASS, "id": ELSEWHERE + "/classes/phd", "issuer": {"name": "University"}}},
        {"badge": {**CLASS, "id": "urn:uuid:7"}},
        {"badge": {**CLASS, "issuer": {"type": "Issuer", "name": "University", "url": ELSEWHERE}}},
        {"badge": {**CLASS, "issuer": {"origin": ELSEWHERE, "name": "University"}}},
        {"badge": {**CLASS, "issuer": {"id": {"@value": ELSEWHERE}, "name": "University"}}},
        {"verification": {"type": "HostedBadge", "url": ELSEWHERE + "/assertions/1"}},
        {"issuer": ELSEWHERE},
        {"issuer": {"id": ELSEWHERE, "name": "University"}},
        {"verify": {"type": "hosted", "url": ELSEWHERE + "/assertions/1"}},
    ],
)
def test_a_host_does_not_stand_for_what_lies_elsewhere(members: dict[str, Any]) -> None:
    """Else whoever has a host could anchor a badge of somebody else's class there, as its issuer."""
    verdict = Case(hosted_with(members)).decide()
    assert (verdict.result, verdict.qualifier, verdict.issuer_by) == ("valid", ANCHORED_UNNAMED, None)
    assert any("not on its own host" in note for note in verdict.notes)


@pytest.mark.parametrize(
    "members",
    [
        {"badge": {**CLASS, "id": "https://School.example/classes/1"}},
        {"badge": {**CLASS, "issuer": {"name": "School", "url": "http://school.example/"}}},
        {"badge": {**CLASS, "issuer": {"origin": "https://school.example", "name": "School"}}},
        {"badge": {**CLASS, "issuer": {"name": "School"}}},
        {"verification": {"type": "HostedBadge", "url": "https://school.example/assertions/1"}, "id": "urn:uuid:1"},
    ],
)
def test_a_host_stands_for_what_lies_on_it(members: dict[str, Any]) -> None:
    """An id of the assertion that is no address is no place elsewhere."""
    assert Case(hosted_with(members)).decide().issuer_by == "host"


@pytest.mark.parametrize(
    "members",
    [
        {"badge": [CLASS]},
        {"badge": [{**CLASS, "name": "x"}, ELSEWHERE]},
        {"badge": {**CLASS, "issuer": [{"id": ELSEWHERE}]}},
        {"issuer": [ELSEWHERE]},
        {"issuer": {"@id": ELSEWHERE}},
        {"badge": {**CLASS, "issuer": {"@id": ELSEWHERE, "name": "University"}}},
        {"badge": {**CLASS, "@id": ELSEWHERE}},
        {"@id": ELSEWHERE},
        {"verification": {"type": "HostedBadge", "@id": ELSEWHERE}},
    ],
)
def test_classes_and_issuers_in_other_spellings_are_refused(members: dict[str, Any]) -> None:
    """Another reader would find an issuer there that this one passes over."""
    with pytest.raises(MalformedBadge, match=r"several badge classes or issuers|keyword @id"):
        hosted_with(members)


def test_a_host_is_no_tie_where_the_identifier_is_not_shown() -> None:
    """A short receipt shows only the hash of the identifier."""
    verdict = Case(badge(issuer=None), full=False).decide(authenticity=found("verified"))
    assert (verdict.result, verdict.qualifier, verdict.issuer_by) == ("valid", ANCHORED_UNNAMED, None)


def test_a_signature_ties_where_the_badge_does_not_name_its_issuer() -> None:
    """Open Badges 2.0 names it in the badge class, which may lie elsewhere; the key is bound to it all the same."""
    given = badge(signed=True, issuer=None, verification={"type": "SignedBadge"})
    held = Case(given, binding=BINDING_VOUCHED)
    own = Authenticity("verified", "JWS RS256", "https://school.example/key", issuer=SCHOOL)
    verdict = held.decide(authenticity=own)
    assert (verdict.result, verdict.qualifier, verdict.issuer_by) == ("valid", None, "signature")
    assert f"issuer   {SCHOOL}, by the badge's signature" in verdict.lines()
    assert held.decide(authenticity=found("verified")).qualifier == ANCHORED_UNNAMED


@pytest.mark.parametrize("signer", ["https://elsewhere.example", "https://elsewhere.example/" + "x" * 3000])
def test_a_signer_that_is_not_the_entrys_issuer_is_a_contradiction(signer: str) -> None:
    """The badge is authentic, and somebody else anchored it."""
    given = badge(signed=True, issuer=None, verification={"type": "SignedBadge"})
    verdict = Case(given).decide(authenticity=Authenticity("verified", issuer=signer))
    assert (verdict.result, verdict.issuer_by) == ("not_proven", None)
    assert "signed by another issuer" in verdict.reasons[0]


def test_a_vouched_key_comes_before_the_host() -> None:
    """That the key is this host's is the operator's word, whatever the badge lies on."""
    assert Case(badge(issuer=None), binding=BINDING_VOUCHED).decide().qualifier == ANCHORED_VOUCHED


def test_the_identifier_in_the_badge_is_told_as_what_ties_it() -> None:
    """By short receipts as well: its hash is the entry's issuer."""
    for full in (True, False):
        assert Case(badge(), full=full).decide().issuer_by == "identifier"


def test_a_slot_that_the_badge_names_is_told() -> None:
    """An entry in this ledger's lists says the same as the log."""
    own = badge(credentialStatus=entry(address=f"https://{ORIGIN}/status/1", index=1004))
    verdict = Case(own).decide()
    assert (verdict.result, verdict.slot_named, verdict.lists) == ("valid", True, ())
    assert any(line.startswith("log") and line.endswith(", as the badge says") for line in verdict.lines())


# Complaints about other verifiers (../shared/platforms.md) -----------------------------------------------------------


def revoked_document() -> Badge:
    """What Badgr's address answers after a revocation."""
    return badge(issuer=None, revoked=True, revocationReason="Issued in error")


def test_a_revoked_hosted_badge_is_not_shown_as_valid() -> None:
    """openbadges-validator-core 236, 212: the document says so itself; anchored or not, that is its result."""
    anchored = Case(revoked_document()).decide()
    assert (anchored.result, anchored.state) == ("revoked", "active")
    assert anchored.reasons == ("revoked, by the badge document's own word",)
    before = Case(badge(issuer=None))
    verdict = before.decide(badge=revoked_document())
    assert (verdict.result, verdict.error) == ("revoked", "not-issued")
    assert verdict.reasons[0] == "revoked, by the badge document's own word"
    assert "another badge" in verdict.reasons[1]
    # Nothing of the receipt is told as if it were proven of this document.
    assert verdict.state is None


def test_a_badge_that_its_host_revoked_is_not_shown_as_valid() -> None:
    """The same complaint, where the badge at hand is the old document and only its address knows."""
    held = Case(badge(issuer=None))
    bare = with_signatures(held.receipt, held.receipt.signatures[1:])
    for verdict in (held.decide(hosted="revoked"), held.decide(hosted="revoked", receipt=bare)):
        assert verdict.result == "revoked"
        assert verdict.reasons[0] == "revoked, by what the badge's own address answers"


@pytest.mark.parametrize(
    ("status", "body", "state"),
    [
        (200, "same", "same"),
        (200, "revoked", "revoked"),
        (200, '{"id": "https://school.example/assertions/1", "revoked": true}', "revoked"),
        (200, '{"id": "https://school.example/assertions/1", "revoked": false}', "changed"),
        (200, "<html>", "unknown"),
        (200, "", "unknown"),
        (410, "", "revoked"),
        (410, "same", "revoked"),
        (404, "", "gone"),
        (404, "revoked", "gone"),
        (500, "revoked", "unknown"),
        (302, "", "unknown"),
    ],
)
def test_what_an_address_answers(status: int, body: str, state: str) -> None:
    """Status and document together; white space is no change."""
    hosted = badge(issuer=None)
    bodies = {
        "same": json.dumps(hosted.document, indent=4),
        "revoked": json.dumps(hosted.document | {"revoked": True}),
    }
    assert judge_hosted(hosted, status, bodies.get(body, body).encode()) == state


def test_a_forged_document_is_not_even_revoked() -> None:
    """Its own signature is wrong: what it says of itself counts for nothing."""
    forged = badge(signed=True, revoked=True)
    assert Case(forged).decide(authenticity=found("invalid")).result == "not_proven"


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("signature", ["verified", "none"])
def test_an_unreachable_list_is_never_green(signature: OwnSignature, binding: str) -> None:
    """verifier-plus 138: no answer that counts is not "has not been revoked", however good all the rest is."""
    held = case(binding, "active", ("revocation",))
    verdict = held.decide(authenticity=found(signature), lists=(said("revocation", "unknown"),))
    assert (verdict.result, verdict.qualifier) == ("not_proven", None)
    assert verdict.reasons == (f"revocation is not known: the status list {LIST}: it cannot be reached",)
    assert not any("revocation clear" in line for line in verdict.lines())
    assert f"list     revocation unknown, {LIST}, number 77" in verdict.lines()


def test_revoked_and_no_longer_hosted_do_not_look_alike() -> None:
    """openbadges-specification 87: the ledger tells a revocation apart from a host that is gone."""
    hosted = badge(issuer=None)
    gone = Case(hosted).decide()
    revoked = Case(hosted, then="revoke").decide()
    assert (gone.result, gone.state) == ("valid", "active")
    assert (revoked.result, revoked.state) == ("revoked", "revoked")
    answers = {state: Case(hosted).decide(hosted=state) for state in get_args(HostedState)}
    assert {state for state, verdict in answers.items() if verdict.result == "revoked"} == {"revoked"}
    assert {state for state, verdict in answers.items() if verdict.is_plain_valid} == {
        "same",
        "changed",
        "gone",
        "unknown",
    }
    assert any("that is no revocation" in note for note in answers["gone"].notes)
    assert all(verdict.to_json()["hosted"] == state for state, verdict in answers.items())
    listed = case("published", "active", ("revocation",))
    assert listed.decide(lists=(said("revocation", "set"),)).result == "revoked"
    assert listed.decide(lists=(said("revocation", "unknown"),)).result == "not_proven"


def test_verification_outlives_the_provider() -> None:
    """badgefed 33, cert-schema 24: years after issuer and host are gone, badge and receipt tell what was proven."""
    hosted = Case(badge(issuer=None))
    years = 10 * 365 * DAY_S
    assert hosted.decide(age_s=years, max_age_s=None).is_plain_valid
    aged = hosted.decide(age_s=years)
    assert aged.result == "stale"
    assert aged.issued_at_ms is not None
    assert Case(badge(issuer=None), then="revoke").decide(age_s=years).result == "revoked"


def test_a_list_that_was_skipped_is_said() -> None:
    """cert-verifier-js 308: who did not ask the issuer's own list must not say valid and no more."""
    verdict = case("self-certifying", "active", ("revocation",)).decide(authenticity=found("verified"))
    assert (verdict.result, verdict.qualifier) == ("valid", LISTS_NOT_ASKED)
    assert not verdict.is_plain_valid
    assert any("which were not asked" in note for note in verdict.notes)
    assert f"list     revocation not asked, {LIST}, number 77" in verdict.lines()


# Lists and kinds of status -------------------------------------------------------------------------------------------


def test_lists_are_told_in_the_json_form() -> None:
    """One object for each entry in a list of somebody else; the index as W3C writes it."""
    held = case("published", "active", ("revocation", "suspension"))
    assert held.decide(lists=(said("revocation", "clear"),)).to_json()["lists"] == [
        {"address": LIST, "index": "77", "purpose": "revocation", "state": "clear"},
        {"address": LIST, "index": "77", "purpose": "suspension", "state": "not-asked"},
    ]


def test_a_transcript_says_that_its_badges_are_not_judged() -> None:
    """How many there are, and that each has a commitment and a status of its own."""
    inside = badge(signed=True).document
    subject = {"type": "ClrSubject", "verifiableCredential": [inside, inside | {"name": "another"}]}
    given = badge(signed=True, type=["VerifiableCredential", "ClrCredential"], credentialSubject=subject)
    notes = Case(given).decide().notes
    assert any(note.startswith("this is a transcript with 2 badges inside: ") for note in notes)
    broken = badge(
        signed=True,
        type=["VerifiableCredential", "ClrCredential"],
        credentialSubject={"type": "ClrSubject", "verifiableCredential": [7]},
    )
    assert any("badges inside the transcript cannot be read" in note for note in Case(broken).decide().notes)
    assert not any("transcript" in note for note in Case(badge()).decide().notes)


def test_an_answer_for_another_entry_is_no_answer() -> None:
    """Another list, number or purpose: the badge's own was still not asked."""
    held = case("published", "active", ("revocation",))
    for other in (said("suspension", "set"), said("revocation", "set", address=LIST + "0")):
        assert held.decide(lists=(other,)).qualifier == LISTS_NOT_ASKED


def test_a_revocation_in_a_list_counts_though_the_receipt_does_not_hold() -> None:
    """Revoked by either is revoked; the receipt's failure is told as well."""
    held = case("published", "active", ("revocation",))
    spoilt = with_signatures(held.receipt, held.receipt.signatures[1:])
    verdict = held.decide(receipt=spoilt, lists=(said("revocation", "set"),))
    assert (verdict.result, verdict.error) == ("revoked", "signature-invalid")
    assert len(verdict.reasons) == 2
    for state in ("clear", "unknown"):
        assert held.decide(receipt=spoilt, lists=(said("revocation", state),)).result == "not_proven"


def test_findings_are_told_in_their_order() -> None:
    """Stale before unknown before suspended; expired before both."""
    members: dict[str, Any] = {"credentialStatus": [entry(), entry("suspension")], "validUntil": "2025-07-01T00:00:00Z"}
    answers = (said("revocation", "unknown"), said("suspension", "set"))
    verdict = Case(badge(**members)).decide(age_s=30 * DAY_S, lists=answers)
    assert verdict.result == "expired"
    assert [reason.split()[0] for reason in verdict.reasons] == ["expired", "the", "revocation", "suspended,"]
    del members["validUntil"]
    assert Case(badge(**members)).decide(age_s=30 * DAY_S, lists=answers).result == "stale"
    assert Case(badge(**members)).decide(lists=answers).result == "not_proven"


def test_a_status_of_an_unknown_kind_is_said() -> None:
    """It may say revoked in words that nobody here reads: never plain valid."""
    status = {"type": "1EdTechRevocationList", "id": "https://school.example/revoked"}
    verdict = Case(badge(credentialStatus=status)).decide()
    assert (verdict.result, verdict.qualifier) == ("valid", OTHER_STATUS)
    assert any("1EdTechRevocationList" in note for note in verdict.notes)


@pytest.mark.parametrize(("state", "qualifier"), [("clear", None), ("set", OTHER_STATUS)])
def test_a_purpose_that_is_no_revocation(state: str, qualifier: str | None) -> None:
    """Such as `message`: a bit that is set is said, and what it means is not guessed."""
    held = case("published", "active", ("message",))
    verdict = held.decide(lists=(said("message", state),))
    assert (verdict.result, verdict.qualifier) == ("valid", qualifier)
    assert held.decide(lists=(said("message", "unknown"),)).result == "not_proven"


def test_qualifiers_are_joined() -> None:
    """By whose word, what was not asked, what is not understood."""
    status = [entry(), {"type": "1EdTechRevocationList", "id": "https://school.example/revoked"}]
    verdict = Case(badge(credentialStatus=status), binding=BINDING_VOUCHED).decide()
    assert verdict.qualifier == f"{ANCHORED_VOUCHED}; {LISTS_NOT_ASKED}; {OTHER_STATUS}"


# What is shown -------------------------------------------------------------------------------------------------------


def test_what_cannot_be_printed_is_shown_as_an_escape() -> None:
    """Addresses, purposes and reasons come from badges and servers."""
    nasty = "https://x.example/\u202e\x1b[31m"
    held = Case(badge(credentialStatus=entry("revo\u2028cation", address=nasty)))
    answer = ListFinding(StatusEntry(nasty, 77, "revo\u2028cation"), "unknown", "it said \x07")
    for verdict in (held.decide(), held.decide(lists=(answer,))):
        assert all(line.isprintable() for line in verdict.lines())
        assert any("\\u202e\\x1b" in line for line in verdict.lines())


def test_personal_data_in_an_address_is_not_shown() -> None:
    """Badgr writes the recipient's address into its URLs."""
    address = "https://api.badgr.example/status/3?identity__email=ada%40example.org"
    held = Case(badge(credentialStatus=entry(address=address)))
    answer = ListFinding(StatusEntry(address, 77, "revocation"), "unknown", "it cannot be reached")
    for verdict in (held.decide(), held.decide(lists=(answer,))):
        assert "ada" not in json.dumps(verdict.to_json())
        assert "ada" not in "".join(verdict.lines())


def test_an_issuer_that_is_not_the_entrys_is_not_proven_however_authentic_the_badge() -> None:
    """Two true statements of two issuers prove nothing together."""
    held = Case(badge(signed=True), identifier="https://impostor.example")
    verdict = held.decide(policy(ORIGIN), authenticity=found("verified"))
    assert (verdict.result, verdict.error, verdict.own_signature) == ("not_proven", "not-issued", "verified")
