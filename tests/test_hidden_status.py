"""What speaks against a badge at a place where only some verifiers look never leaves it plainly valid."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from ledger.authenticity import Authenticity
from ledger.badges import Badge, read
from ledger.errors import MalformedBadge
from ledger.verdict_findings import OTHER_STATUS, judge_hosted
from tests.verdict_cases import SCHOOL, Case, badge

CREDENTIALS = "https://www.w3.org/2018/credentials#"
V2 = "https://www.w3.org/ns/credentials/v2"
VC: dict[str, Any] = dict(badge().document)
ENTRY = {
    "type": "BitstringStatusListEntry",
    "statusListCredential": "https://lists.example/1",
    "statusListIndex": "1",
    "statusPurpose": "revocation",
}
GOOD = Authenticity("verified", issuer=SCHOOL)


def token(payload: dict[str, Any]) -> Badge:
    """A VC-JWT with a signature that nobody made."""
    parts = (json.dumps({"alg": "EdDSA"}).encode(), json.dumps(payload).encode(), bytes(64))
    return read(b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts))


def document(members: dict[str, Any]) -> Badge:
    """A credential in JSON."""
    return badge(**members)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (token({"vc": VC, "status": {"status_list": {"idx": 3, "uri": "https://l.example"}}}), "JWT claim status_list"),
        (token(VC | {"status": {"status_list": {}, "other": {}}}), "JWT claim other status_list"),
        (token(VC | {"status": "revoked"}), "JWT claim status"),
        (document({CREDENTIALS + "validUntil": "2020-01-01T00:00:00Z"}), "JSON-LD under other names"),
        (document({CREDENTIALS + "credentialStatus": {"id": "x"}}), "JSON-LD under other names"),
        (document({"cred:validUntil": "2020-01-01"}), "JSON-LD under other names"),
        (document({"@type": ["BitstringStatusListCredential"]}), "JSON-LD under other names"),
        (document({"@included": [{"credentialStatus": ENTRY}]}), "JSON-LD under other names"),
        (
            document({"@context": [V2, {"ends": CREDENTIALS + "validUntil"}], "ends": "2020"}),
            "JSON-LD under other names",
        ),
        (token(VC | {"@context": [V2, {"ends": CREDENTIALS + "validUntil"}]}), "JSON-LD under other names"),
        (token({"vc": VC | {CREDENTIALS + "validUntil": "2020"}}), "JSON-LD under other names"),
        (document({"credentialStatus": {"@type": "BitstringStatusListEntry"}}), "without a type"),
    ],
)
def test_a_status_elsewhere_is_told(given: Badge, kind: str) -> None:
    """Its signature may be as good as can be: what it says there is not known."""
    verdict = Case(given).decide(authenticity=GOOD)
    assert (verdict.result, verdict.qualifier, verdict.is_plain_valid) == ("valid", OTHER_STATUS, False)
    assert any(f"a status of the kind {kind}, which" in note for note in verdict.notes)


def test_plain_credentials_have_no_status_elsewhere() -> None:
    """As JSON, as a token's payload, and under `vc` with the claims that belong beside it."""
    claims = {"iss": SCHOOL, "nbf": 1, "sub": "did:x:y", "jti": "urn:uuid:7", "iat": 1, "status": None}
    for given in (badge(), token(VC), token(VC | claims), token({"vc": VC} | claims)):
        assert given.other_status == ()
        assert Case(given).decide(authenticity=GOOD).is_plain_valid


@pytest.mark.parametrize(
    "member",
    [
        {"credentialStatus": ENTRY},
        {"validUntil": "2020-01-01T00:00:00Z"},
        {"expirationDate": "2020-01-01T00:00:00Z"},
        {"validFrom": "2020-01-01T00:00:00Z"},
        {"issuanceDate": "2020-01-01T00:00:00Z"},
        {"issuer": "https://university.example"},
        {"credentialSubject": {"id": "did:x:z"}},
        {"credentialSchema": {"id": "x"}},
        {"type": ["OpenBadgeCredential"]},
        {"@context": "https://purl.imsglobal.org/spec/ob/v3p0/context-3.0.3.json"},
        {"proof": {}},
        {"revoked": True},
    ],
    ids=lambda member: next(iter(member)),
)
def test_members_of_a_credential_beside_vc_are_refused(member: dict[str, Any]) -> None:
    """One reader takes them, another the credential inside."""
    with pytest.raises(MalformedBadge, match="members of a credential beside"):
        token({"iss": SCHOOL, "vc": VC} | member)


def test_a_credential_that_says_that_it_is_revoked_is() -> None:
    """No term of credentials, and still what its own document says."""
    for given in (badge(revoked=True), token(VC | {"revoked": True}), token({"vc": VC | {"revoked": True}})):
        verdict = Case(given).decide(authenticity=GOOD)
        assert (verdict.result, verdict.reasons[0]) == ("revoked", "revoked, by the badge document's own word")
    assert Case(badge(revoked=False)).decide(authenticity=GOOD).is_plain_valid
    neither: tuple[object, ...] = ("true", 1, 0, "", [], {})
    for value in neither:
        with pytest.raises(MalformedBadge, match="neither true nor false"):
            badge(revoked=value)


@pytest.mark.parametrize(
    ("revoked", "state"),
    [
        (True, "revoked"),
        (1, "revoked"),
        ("true", "revoked"),
        ("TRUE", "revoked"),
        ("1", "revoked"),
        ("yes", "revoked"),
        ("2026-01-01", "unknown"),
        ("false", "unknown"),
        (2, "unknown"),
        ([True], "unknown"),
        ({"@value": True}, "unknown"),
        ([], "unknown"),
        (False, "changed"),
        (0, "changed"),
    ],
)
def test_what_a_host_may_mean_by_revoked(revoked: object, state: str) -> None:
    """Its answer is asked for just this: what is as good as true counts, and what is neither tells nothing."""
    given = badge(issuer=None)
    assert judge_hosted(given, 200, json.dumps(given.document | {"revoked": revoked}).encode()) == state
