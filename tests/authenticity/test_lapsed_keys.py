"""A key that its own document has ended signs nothing any more, whatever the signature says of its date."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ledger.authenticity.keys import OfflineKeys, parse_pin
from ledger.authenticity.model import Authenticity
from tests.authenticity.builders import NOW_S, OTHER, RSA, SIGNER, Json, Signer, badge, find, sign, token
from tests.authenticity.test_jwt import CLASS, assertion, claims, did_jwk, key_document, pinned
from tests.authenticity.test_jwt import ISSUER as OWNER
from tests.authenticity.test_jwt import KEY as OWNED

DID = "did:web:example.com"
PAST, NEXT_YEAR = "2020-01-01T00:00:00Z", "2028-01-01T00:00:00Z"


def method(name: str = "k", signer: Signer = SIGNER, **members: Any) -> Json:
    return {
        "id": f"{DID}#{name}",
        "type": "Multikey",
        "controller": DID,
        "publicKeyMultibase": signer.multikey,
        **members,
    }


def document(*methods: Json) -> Json:
    return {"id": DID, "verificationMethod": list(methods), "assertionMethod": [item["id"] for item in methods]}


def by_key(holder: Json, name: str | None = "k", signer: Signer = SIGNER) -> Authenticity:
    """What a badge is worth that is signed with a key of this document."""
    return find(
        sign(badge(DID), method=DID if name is None else f"{DID}#{name}", signer=signer), keys=pinned(DID, holder)
    )


def at(offset_s: int) -> str:
    return (datetime.fromtimestamp(NOW_S, UTC) + timedelta(seconds=offset_s)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize("name", ["revoked", "expires"])
@pytest.mark.parametrize("moment", [PAST, at(-1), at(0), PAST[:10], 1_500_000_000])
def test_a_key_that_has_ended_asserts_nothing(name: str, moment: Any) -> None:
    """At the very second and after it; the proof's own `created`, before the end, is the signer's word."""
    found = by_key(document(method(**{name: moment})))
    what = "was revoked" if name == "revoked" else "expired"
    assert found.signature == "not-checked"
    assert str(found.reason).startswith(f"the signature holds, but the key {what} on `{moment}`")
    assert (found.key, found.issuer) == (f"{DID}#k", None)


@pytest.mark.parametrize("name", ["revoked", "expires"])
@pytest.mark.parametrize("moment", ["soon", "", True, False, {}, [PAST], -1, 10**15, "2020-13-01T00:00:00Z"])
def test_a_key_whose_end_cannot_be_read_asserts_nothing(name: str, moment: Any) -> None:
    """Nobody can tell whether it has come."""
    found = by_key(document(method(**{name: moment})))
    assert found.signature == "not-checked"
    assert f"has a date `{name}` that cannot be read" in str(found.reason)


@pytest.mark.parametrize("ends", [{"revoked": at(1)}, {"expires": NEXT_YEAR}, {"revoked": None, "expires": None}])
def test_an_end_that_is_to_come_changes_nothing(ends: Json) -> None:
    """Until then."""
    assert by_key(document(method(**ends))).signature == "verified"


def test_a_wrong_signature_by_a_key_that_has_ended_is_invalid() -> None:
    """The end excuses nothing."""
    assert by_key(document(method(revoked=PAST)), signer=OTHER).signature == "invalid"


def test_the_end_is_the_methods_own() -> None:
    """The issuer's other keys count, and the same key under a name that goes on; a badge that names none finds it."""
    both = document(method("old", expires=PAST), method("new"))
    assert by_key(both, "old").signature == "not-checked"
    assert by_key(both, "new").signature == "verified"
    assert by_key(both, None).signature == "verified"
    assert by_key(document(method(revoked=PAST), method("x", OTHER)), None).signature == "not-checked"


def test_a_key_that_the_badge_spells_out_has_the_end_that_its_issuer_gave_it() -> None:
    """Its name in the badge is not the document's."""
    found = by_key(document(method(revoked=PAST)), SIGNER.multikey)
    assert found.signature == "not-checked"
    named = find(token(claims(DID), jwk=SIGNER.jwk()), keys=pinned(DID, document(method(revoked=PAST))))
    assert "was revoked on" in str(named.reason)


def test_jwks_end_by_their_own_members() -> None:
    """`exp` and `revoked.revoked_at`, alone, in a set, in a method, in a did:jwk."""
    endings: list[Json] = [{"exp": NOW_S}, {"revoked": {"revoked_at": 1_500_000_000}}, {"revoked": {}}, {"exp": "x"}]
    for ends in endings:
        jwk = {**SIGNER.jwk(), **ends}
        inside = {key: value for key, value in method(publicKeyJwk=jwk).items() if key != "publicKeyMultibase"}
        for held in (jwk, {"keys": [{**jwk, "kid": "k"}]}, document(inside)):
            assert find(token(claims(DID), kid=f"{DID}#k"), keys=pinned(DID, held)).signature == "not-checked"
        did = did_jwk(jwk)
        assert find(token(claims(did), kid=f"{did}#0")).signature == "not-checked"
    going_on = {**SIGNER.jwk(), "exp": NOW_S + 1}
    assert find(token(claims(DID), kid=f"{DID}#k"), keys=pinned(DID, going_on)).signature == "verified"


def test_keys_of_open_badges_2_end_too() -> None:
    """A CryptographicKey by itself, by its owner's profile, and under a class that is not at hand."""
    made = token(assertion(), RSA, "RS256")
    badge_class = json.dumps({"type": "BadgeClass", "id": CLASS, "issuer": OWNER})
    for ends in ({"revoked": PAST}, {"expires": PAST}, {"revoked": True}):
        for more in ({CLASS: badge_class}, {}):
            keys = pinned_many({OWNED: json.dumps(key_document(**ends)), **more})
            assert find(made, keys=keys).signature == "not-checked"
        profile = {"type": "Profile", "id": OWNER, "publicKey": key_document(**ends)}
        keys = pinned_many({OWNER: json.dumps(profile), CLASS: badge_class})
        assert find(made, keys=keys).signature == "not-checked"


def pinned_many(pins: dict[str, str]) -> OfflineKeys:
    return OfflineKeys([parse_pin(identifier, text.encode()) for identifier, text in pins.items()])
