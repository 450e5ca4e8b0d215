"""Status lists of others: clear only if everything is right, set if the bit is, unknown with the reason otherwise.

The complaints that this answers (platforms.md): a list that cannot be had shown as *not revoked*, gone and revoked
looking alike, verifiers that skip lists.
"""

from __future__ import annotations

import gzip
import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest

from ledger.authenticity.keys import KeySource, offline_keys, parse_pin
from ledger.authenticity.lists import MIN_ENTRIES, check_foreign_status, unread_status
from ledger.authenticity.model import ListFinding, NotChecked
from ledger.badges import StatusEntry, read
from tests.authenticity.builders import CONTEXTS, NOW_S, OTHER, SIGNER, V2, Json, badge, sign, token

ADDRESS = "https://status.example.com/lists/3"
INDEX = 94_567


def encoded(index: int | None = None, entries: int = MIN_ENTRIES) -> str:
    bits = bytearray(entries // 8)
    if index is not None:
        bits[index >> 3] |= 0x80 >> (index & 7)
    return "u" + urlsafe_b64encode(gzip.compress(bytes(bits))).rstrip(b"=").decode()


def listing(issuer: str = SIGNER.did, subject: Json | None = None, **members: Any) -> Json:
    return {
        "@context": [V2[0]],
        "id": ADDRESS,
        "type": ["VerifiableCredential", "BitstringStatusListCredential"],
        "issuer": issuer,
        "validFrom": "2024-01-01T00:00:00Z",
        "credentialSubject": {
            "id": f"{ADDRESS}#list",
            "type": "BitstringStatusList",
            "statusPurpose": "revocation",
            "encodedList": encoded(),
            **(subject or {}),
        },
        **members,
    }


def entry(**members: Any) -> Json:
    return {
        "id": f"{ADDRESS}#{INDEX}",
        "type": "BitstringStatusListEntry",
        "statusPurpose": "revocation",
        "statusListIndex": str(INDEX),
        "statusListCredential": ADDRESS,
        **members,
    }


def judge(answer: Json | bytes | None, document: Json | None = None, *, keys: KeySource | None = None) -> ListFinding:
    """The finding about a badge with one entry, whose list is answered so."""

    def fetch(address: str) -> bytes:
        if answer is None:
            raise NotChecked(f"`{address}` answers status 404")
        return answer if isinstance(answer, bytes) else json.dumps(answer).encode()

    made = read(json.dumps(document or sign(badge(credentialStatus=entry()))).encode())
    (found,) = check_foreign_status(
        made, made.status, fetch=fetch, keys=keys or offline_keys(), contexts=CONTEXTS, now_s=NOW_S
    )
    assert found.entry == StatusEntry(ADDRESS, INDEX, "revocation")
    return found


@pytest.mark.parametrize("suite", ["eddsa-rdfc-2022", "eddsa-jcs-2022"])
def test_a_list_of_the_issuer(suite: str) -> None:
    """Clear where the bit is 0, set where it is 1, whichever neighbours are set."""
    assert judge(sign(listing(), suite)) == ListFinding(StatusEntry(ADDRESS, INDEX, "revocation"), "clear")
    assert judge(sign(listing(subject={"encodedList": encoded(INDEX)}), suite)).state == "set"
    for neighbour in (INDEX - 1, INDEX + 1, INDEX ^ 7, 0, MIN_ENTRIES - 1):
        assert judge(sign(listing(subject={"encodedList": encoded(neighbour)}), suite)).state == "clear"


def test_a_list_as_token() -> None:
    """Both JWT forms."""
    assert judge(token({**listing(), "iss": SIGNER.did}, kid=SIGNER.method)).state == "clear"
    bit = listing(subject={"encodedList": encoded(INDEX)})
    assert judge(token({"iss": SIGNER.did, "vc": bit}, kid=SIGNER.method)).state == "set"
    assert judge(token({**listing(), "iss": OTHER.did}, kid=SIGNER.method)).state == "unknown"
    assert judge(token({**listing(), "iss": SIGNER.did, "exp": 1_700_000_000}, kid=SIGNER.method)).state == "unknown"
    assert judge(token({**listing(), "iss": SIGNER.did}, OTHER.private, kid=SIGNER.method)).state == "unknown"


def test_a_list_that_is_not_there_is_unknown() -> None:
    """404, 410, no connection: the reason is handed on (verifier-plus 138, openbadges-specification 87)."""
    assert judge(None) == ListFinding(
        StatusEntry(ADDRESS, INDEX, "revocation"), "unknown", f"`{ADDRESS}` answers status 404"
    )


def test_a_list_that_is_not_signed_is_unknown() -> None:
    """With either bit."""
    for bit in (None, INDEX):
        found = judge(listing(subject={"encodedList": encoded(bit)}))
        assert (found.state, found.reason) == ("unknown", "the status list is not signed")


UNKNOWN: dict[str, tuple[Any, str]] = {
    "altered": ({**sign(listing()), "validFrom": "2023-01-01T00:00:00Z"}, "own signature is invalid"),
    "by another key": (sign(listing(), signer=OTHER, method=SIGNER.method), "own signature is invalid"),
    "of a stranger": (sign(listing(OTHER.did), signer=OTHER), "who is not the badge's issuer"),
    "of another purpose": (sign(listing(subject={"statusPurpose": "suspension"})), "for another purpose"),
    "without a purpose": (sign(listing(subject={"statusPurpose": []})), "no encodedList, or no statusPurpose"),
    "expired": (sign(listing(validUntil="2024-02-01T00:00:00Z")), "has expired"),
    "from the future": (sign(listing(validFrom="2099-01-01T00:00:00Z")), "not valid yet"),
    "with a broken date": (sign(listing(validUntil="soon"), "eddsa-jcs-2022"), "malformed"),
    "short": (sign(listing(subject={"encodedList": encoded(entries=MIN_ENTRIES // 2)})), "fewer than 131072"),
    "one byte short": (sign(listing(subject={"encodedList": encoded(entries=MIN_ENTRIES - 8)})), "fewer than 131072"),
    "empty": (sign(listing(subject={"encodedList": "u"})), "fewer than 131072"),
    "no gzip": (sign(listing(subject={"encodedList": "uAAAA"})), "cannot be unpacked"),
    "no text": (sign(listing(subject={"encodedList": 7})), "no encodedList"),
    "a bomb": (sign(listing(subject={"encodedList": encoded(entries=2**28)})), "too large"),
    "of messages": (sign(listing(subject={"statusSize": 2}), "eddsa-jcs-2022"), "more than one bit"),
    "of another kind": (
        sign(listing(subject={"type": "StatusList2021"}), "eddsa-jcs-2022"),
        "has no list in it",
    ),
    "a StatusList2021": (
        sign(listing(type=["VerifiableCredential", "StatusList2021Credential"]), "eddsa-jcs-2022"),
        "is none",
    ),
    "a badge": (sign(badge()), "is none"),
    "no credential": ({"a": 1}, "is none"),
    "no JSON": (b"<html>not found</html>", "malformed"),
    "empty body": (b"", "malformed"),
    "two names": (b'{"a": 1, "a": 2}', "malformed"),
    "nameless": (sign({k: v for k, v in listing().items() if k != "issuer"}, "eddsa-jcs-2022"), "does not name"),
    "under another id": (sign(listing(id=f"{ADDRESS}4")), "another id than the address"),
    "needing a context": (
        {**sign(listing()), "@context": [V2[0], "https://w3id.org/vc/status-list/2021/v1"]},
        "own signature is not-checked",
    ),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_a_list_that_does_not_hold_is_unknown(case: str) -> None:
    """With the reason, and never clear."""
    answer, reason = UNKNOWN[case]
    found = judge(answer)
    assert found.state == "unknown"
    assert reason in str(found.reason)


def test_a_set_bit_counts_under_another_id() -> None:
    """In doubt about which list it is, a revocation is not passed over."""
    assert judge(sign(listing(id=f"{ADDRESS}4", subject={"encodedList": encoded(INDEX)}))).state == "set"


def test_a_place_beyond_the_end_is_unknown() -> None:
    """The last place of the list is in it."""
    for index, state in ((MIN_ENTRIES - 1, "clear"), (MIN_ENTRIES, "unknown"), (2**62, "unknown")):
        made = read(json.dumps(sign(badge(credentialStatus=entry(statusListIndex=str(index))))).encode())
        (found,) = check_foreign_status(
            made,
            made.status,
            fetch=lambda _: json.dumps(sign(listing())).encode(),
            keys=offline_keys(),
            contexts=CONTEXTS,
            now_s=NOW_S,
        )
        assert found.state == state


def test_a_stranger_may_be_pinned_or_be_the_lists_host() -> None:
    """The badge sends its readers to that host; whoever checks may know a list's issuer."""
    stranger = sign(listing(OTHER.did), signer=OTHER)
    pin = parse_pin(OTHER.did, OTHER.multikey.encode())
    assert judge(stranger, keys=offline_keys([pin])).state == "clear"
    for issuer, state in (
        ("https://status.example.com/issuer", "clear"),
        ("did:web:status.example.com", "clear"),
        ("did:web:example.com", "unknown"),
        ("https://status.example.com.evil.example/", "unknown"),
    ):
        document = sign(listing(issuer), signer=OTHER, method=f"{issuer}#{OTHER.multikey}")
        # Pinned as a key by its own name, which makes the list verified and its issuer no pinned identifier.
        found = judge(document, keys=offline_keys([parse_pin(f"{issuer}#{OTHER.multikey}", OTHER.multikey.encode())]))
        assert found.state == state, issuer


def test_a_self_asserted_list_is_as_good_as_its_badge() -> None:
    """The same issuer and the same key; another key of the same issuer is nobody's."""
    issuer = "https://example.com/issuers/1"

    def by(signer: Any, document: Json) -> Json:
        return sign(document, signer=signer, method=f"{issuer}#{signer.multikey}")

    made = by(SIGNER, badge(issuer, credentialStatus=entry()))
    assert judge(by(SIGNER, listing(issuer)), made).state == "clear"
    found = judge(by(OTHER, listing(issuer)), made)
    assert found.state == "unknown"
    assert "self-asserted" in str(found.reason)


def test_an_entry_of_several_bits_is_unknown() -> None:
    """Its index counts in other units."""
    document = sign(badge(credentialStatus=entry(statusSize=2)), "eddsa-jcs-2022")
    found = judge(sign(listing()), document)
    assert (found.state, found.reason) == ("unknown", "the badge's status has more than one bit, which is not read")


@pytest.mark.parametrize("subject", [{}, {"ttl": 1000}])
def test_a_list_without_an_end_has_the_age_that_whoever_checks_allows(subject: Json) -> None:
    """By its own date: its host may have served it for years. `ttl` is for caches; a list with an end has that."""
    made = read(json.dumps(sign(badge(credentialStatus=entry()))).encode())

    def state(max_age_s: int | None, **members: Any) -> str:
        listed = sign(listing(subject=subject, **members), "eddsa-jcs-2022")
        (found,) = check_foreign_status(
            made,
            made.status,
            fetch=lambda _: json.dumps(listed).encode(),
            keys=offline_keys(),
            contexts=CONTEXTS,
            now_s=NOW_S,
            max_age_s=max_age_s,
        )
        return found.state

    age_s = NOW_S - 1_704_067_200  # validFrom, 2024-01-01T00:00:00Z
    assert state(None) == state(age_s) == "clear"
    assert state(age_s - 1) == "unknown"
    assert state(0, validUntil="2028-01-01T00:00:00Z") == "clear"
    assert state(age_s, validFrom=None) == "unknown"


def test_a_list_has_no_decoy_beside_it() -> None:
    """`vc` is a token's claim: a document with one, or a token with two credentials, is no list."""
    bit = listing(subject={"encodedList": encoded(INDEX)})
    wrapped = {**badge(), "vc": listing()}
    for answer in (
        sign(wrapped, "eddsa-jcs-2022"),
        sign({**bit, "vc": listing()}, "eddsa-jcs-2022"),
        token({**bit, "iss": SIGNER.did, "vc": listing()}, kid=SIGNER.method),
        token({**listing(), "iss": SIGNER.did, "vc": "x"}, kid=SIGNER.method),
    ):
        found = judge(answer)
        assert (found.state, found.reason) == ("unknown", "the status list has a member `vc` where none belongs")


def test_an_entry_of_several_bits_is_not_hidden_by_a_decoy() -> None:
    """The size is that of the entry that is signed, and a size that is not the number one is not one."""
    for size in (2, True, "1", 0):
        made = sign(badge(credentialStatus=entry(statusSize=size), vc={"x": 1}), "eddsa-jcs-2022")
        found = judge(sign(listing()), made)
        assert (found.state, found.reason) == ("unknown", "the badge's status has more than one bit, which is not read")
    assert "more than one bit" in str(judge(sign(listing(subject={"statusSize": True}), "eddsa-jcs-2022")).reason)


def test_a_list_is_fetched_once_and_only_eight_are() -> None:
    """However many entries name it, and whatever a badge names."""
    entries = [entry(statusListCredential=f"{ADDRESS}{n // 2}") for n in range(20)]
    made = read(json.dumps(sign(badge(credentialStatus=entries), "eddsa-jcs-2022")).encode())
    asked = []

    def fetch(address: str) -> bytes:
        asked.append(address)
        raise NotChecked("gone")

    found = check_foreign_status(made, made.status, fetch=fetch, keys=offline_keys(), contexts=CONTEXTS, now_s=NOW_S)
    assert len(asked) == 8
    assert [finding.state for finding in found] == ["unknown"] * 20
    assert found[-1].reason == "the badge names more than 8 status lists"


def test_a_badge_without_entries_fetches_nothing() -> None:
    """And has no findings."""
    made = read(json.dumps(sign(badge())).encode())
    assert (
        check_foreign_status(
            made,
            made.status,
            fetch=lambda _: pytest.fail("fetched"),
            keys=offline_keys(),
            contexts=CONTEXTS,
            now_s=NOW_S,
        )
        == ()
    )


def test_status_of_other_kinds_is_named() -> None:
    """It is not passed over in silence."""
    old = {"id": f"{ADDRESS}#1", "type": "1EdTechRevocationList"}
    made = read(json.dumps(badge(credentialStatus=[entry(), old, {"id": "urn:x"}])).encode())
    assert unread_status(made) == ("`1EdTechRevocationList`", "a status without a type")
    assert unread_status(read(json.dumps(badge(credentialStatus=entry())).encode())) == ()
