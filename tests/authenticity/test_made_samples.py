"""The project's own samples, signed by tools that are not its own: each is found to be what its maker says."""

from __future__ import annotations

import json

import pytest

from ledger.authenticity.check import check
from ledger.authenticity.keys import offline_keys, parse_pin
from ledger.badges import nested, read
from tests.authenticity.builders import CONTEXTS, NOW_S, find
from tests.made_samples import HTTPS_ISSUER, MADE, RSA_PUBLIC_PEM, enveloped, made, serialised


@pytest.mark.parametrize("name", [name for name, sample in MADE.items() if sample.signature != "pinned"])
def test_a_sample_of_our_own(name: str) -> None:
    """Offline."""
    assert find(made(name)).signature == MADE[name].signature


@pytest.mark.parametrize("name", [name for name, sample in MADE.items() if sample.kind.endswith("jwt")])
def test_other_envelopes_of_a_token(name: str) -> None:
    """EnvelopedVerifiableCredential and the JSON serialisations of JWS are the same badge."""
    token = made(name)
    expected = find(token)
    for wrapped in (enveloped(token), serialised(token), serialised(token, general=True)):
        assert find(wrapped) == expected


@pytest.mark.parametrize("name", ["clr2-eddsa-rdfc-2022", "clr2-jwt"])
def test_the_badges_in_a_transcript(name: str) -> None:
    """Each has a signature of its own."""
    inner = nested(read(made(name)))
    assert len(inner) > 1
    for badge in inner:
        assert check(badge, keys=offline_keys(), contexts=CONTEXTS, now_s=NOW_S).signature == "verified"


@pytest.mark.parametrize("name", [name for name, sample in MADE.items() if sample.signature == "pinned"])
def test_a_sample_whose_key_has_to_be_pinned(name: str) -> None:
    """Not verified before; verified with the key pinned to the issuer, or under its own name with its owner.

    A bare key under an address that is no part of the issuer's says nothing about whose it is.
    """
    key = MADE[name].key
    assert key is not None
    assert find(made(name)).signature == "not-checked"
    owned = {"id": key, "type": "CryptographicKey", "owner": HTTPS_ISSUER, "publicKeyPem": RSA_PUBLIC_PEM.decode()}
    for identifier, file in ((HTTPS_ISSUER, RSA_PUBLIC_PEM), (key, json.dumps(owned).encode())):
        found = find(made(name), keys=offline_keys([parse_pin(identifier, file)]))
        assert (found.signature, found.issuer) == ("verified", HTTPS_ISSUER)
    bare = find(made(name), keys=offline_keys([parse_pin(key, RSA_PUBLIC_PEM)]))
    assert bare.signature == ("verified" if key.startswith(f"{HTTPS_ISSUER}#") else "self-asserted")
