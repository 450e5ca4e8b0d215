"""The project's own samples, signed by tools that are not its own: each is found to be what its maker says."""

from __future__ import annotations

import json

import pytest

from ledger.authenticity.keys import offline_keys, parse_pin
from tests.authenticity.builders import find
from tests.made_samples import HTTPS_ISSUER, MADE, RSA_PUBLIC_PEM, made

PEM = RSA_PUBLIC_PEM.encode() if isinstance(RSA_PUBLIC_PEM, str) else RSA_PUBLIC_PEM


@pytest.mark.parametrize("name", [name for name, sample in MADE.items() if sample.signature != "pinned"])
def test_a_sample_of_our_own(name: str) -> None:
    """Offline."""
    assert find(made(name)).signature == MADE[name].signature


@pytest.mark.parametrize("name", [name for name, sample in MADE.items() if sample.signature == "pinned"])
def test_a_sample_whose_key_has_to_be_pinned(name: str) -> None:
    """Not verified before; verified with the key pinned to the issuer, or under its own name with its owner.

    A bare key under an address that is no part of the issuer's says nothing about whose it is.
    """
    key = MADE[name].key
    assert key is not None
    assert find(made(name)).signature == "not-checked"
    owned = {"id": key, "type": "CryptographicKey", "owner": HTTPS_ISSUER, "publicKeyPem": PEM.decode()}
    for identifier, file in ((HTTPS_ISSUER, PEM), (key, json.dumps(owned).encode())):
        found = find(made(name), keys=offline_keys([parse_pin(identifier, file)]))
        assert (found.signature, found.issuer) == ("verified", HTTPS_ISSUER)
    bare = find(made(name), keys=offline_keys([parse_pin(key, PEM)]))
    assert bare.signature == ("verified" if key.startswith(f"{HTTPS_ISSUER}#") else "self-asserted")
