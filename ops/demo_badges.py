"""Badges for the demo, the benchmarks and the tests, made by an independent issuer: the library openbadgeslib.

    issuer = BadgeIssuer(bytes(32))                   # identifier did:key:z..., or any that is given
    ob3_json(issuer, 7)    Open Badges 3.0, JSON with a Data Integrity proof, eddsa-rdfc-2022
    ob3_jwt(issuer, 7)     Open Badges 3.0, VC-JWT, EdDSA
    ob3_png(issuer, 7)     the VC-JWT baked into a PNG; bake(...) takes any other
    ob2_hosted(issuer, 7)  Open Badges 2.0, hosted: JSON without a proof
    ob2_jws(issuer, 7)     Open Badges 2.0, compact JWS, EdDSA
    samples(issuer)        one of each

    python ops/demo_badges.py acme.key badges/    writes FOUR, signed by the key in a key file of this project

Badge number n goes to a recipient of its own, made up. The same issuer and number give the same bytes: Ed25519 is
deterministic, times and ids are computed from the number.

This lives in ops/, so that the demo needs nothing of tests/; tests/samples.py hands it to the tests.
"""

from __future__ import annotations

import base64
import json
import struct
import sys
import uuid
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from openbadgeslib import baking
from openbadgeslib.ob2.models import Assertion, Verification
from openbadgeslib.ob2.models import IdentityObject as OB2Identity
from openbadgeslib.ob2.signer import OB2Signer
from openbadgeslib.ob3 import Achievement, IdentityObject, Issuer, OB3LdpSigner, OB3Signer, OpenBadgeCredential

from ledger.keyfile import load_issuer_key

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
LIFETIME = timedelta(days=3 * 365)

# RFC 8410: the PKCS #8 wrapping of an Ed25519 seed is a constant in front of it.
_PKCS8_ED25519 = bytes.fromhex("302e020100300506032b657004220420")


class BadgeIssuer:
    """Someone who issues badges under one Ed25519 key, from its 32-byte seed."""

    def __init__(self, seed: bytes, *, identifier: str | None = None, name: str = "Example Academy") -> None:
        if len(seed) != 32:
            raise ValueError("an Ed25519 seed has 32 bytes")
        encoded = base64.b64encode(_PKCS8_ED25519 + seed).decode("ascii")
        self.private_pem = f"-----BEGIN PRIVATE KEY-----\n{encoded}\n-----END PRIVATE KEY-----\n".encode("ascii")
        #: The did:key of the public key; the ledger knows the issuer by it without asking anyone.
        self.did: str = OB3LdpSigner(self.private_pem).verification_method.partition("#")[0]
        self.identifier = identifier or self.did
        self.name = name

    def verification_method(self) -> str:
        fragment = self.did.removeprefix("did:key:")
        return f"{self.identifier}#{fragment}"


def status_entry(status_list: str, index: int, purpose: str = "revocation") -> dict[str, Any]:
    """A BitstringStatusListEntry for `status=`: position `index` in the list at the address `status_list`."""
    return {
        "id": f"{status_list}#{index}",
        "type": "BitstringStatusListEntry",
        "statusPurpose": purpose,
        "statusListIndex": str(index),
        "statusListCredential": status_list,
    }


def ob3_json(issuer: BadgeIssuer, number: int, *, status: Sequence[dict[str, Any]] = ()) -> bytes:
    """Open Badges 3.0 as JSON with a Data Integrity proof. The recipient is a salted hash."""
    credential = _credential(issuer, number, "ob3-json", status)
    credential.recipient_id = None
    credential.identifiers = [IdentityObject.create(_email(number), salt=f"salt-{number}")]
    signer = OB3LdpSigner(issuer.private_pem, verification_method=issuer.verification_method())
    return str(signer.sign_to_json(credential, created=EPOCH + timedelta(seconds=number))).encode("utf-8")


def ob3_jwt(issuer: BadgeIssuer, number: int, *, status: Sequence[dict[str, Any]] = ()) -> bytes:
    """Open Badges 3.0 as a VC-JWT signed with EdDSA. The recipient is a mailto: address."""
    signer = OB3Signer(issuer.private_pem, algorithm="EdDSA")
    return str(signer.sign(_credential(issuer, number, "ob3-jwt", status))).encode("ascii")


def ob3_png(issuer: BadgeIssuer, number: int, *, status: Sequence[dict[str, Any]] = ()) -> bytes:
    """The VC-JWT of that number baked into a PNG."""
    return bake(ob3_jwt(issuer, number, status=status))


def ob2_hosted(issuer: BadgeIssuer, number: int) -> bytes:
    """Open Badges 2.0, hosted: JSON that its address answers, with no proof in it."""
    return json.dumps(_assertion(issuer, number, "HostedBadge").to_dict(), indent=2).encode("utf-8")


def ob2_jws(issuer: BadgeIssuer, number: int) -> bytes:
    """Open Badges 2.0 as a compact JWS signed with EdDSA."""
    signer = OB2Signer(issuer.private_pem, algorithm="EdDSA")
    return str(signer.sign(_assertion(issuer, number, "SignedBadge"))).encode("ascii")


def samples(issuer: BadgeIssuer, first: int = 0) -> dict[str, bytes]:
    """One badge of each form, numbered from `first`, by name."""
    makers = {
        "ob3-json": ob3_json,
        "ob3-jwt": ob3_jwt,
        "ob3-png": ob3_png,
        "ob2-hosted": ob2_hosted,
        "ob2-jws": ob2_jws,
    }
    return {name: make(issuer, first + place) for place, (name, make) in enumerate(makers.items())}


def bake(badge: bytes, *, keyword: bytes = baking.ITXT_KEYWORD_OB3) -> bytes:
    """A PNG that carries the badge (JSON or compact JWS). `keyword` is `openbadges` for Open Badges 2.0."""
    return bytes(baking.bake_png(png(), badge.decode("utf-8"), keyword=keyword))


def png(side: int = 32) -> bytes:
    """A PNG image of `side` x `side` pixels: a disc on white."""
    rows = []
    for y in range(side):
        pixels = (
            b"\x1f\x6f\xb2" if (2 * x - side) ** 2 + (2 * y - side) ** 2 < side**2 else b"\xff\xff\xff"
            for x in range(side)
        )
        rows.append(b"\0" + b"".join(pixels))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    # Stored, not compressed: the same bytes under every build of zlib.
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"".join(rows), 0))
        + chunk(b"IEND", b"")
    )


def _email(number: int) -> str:
    return f"learner-{number}@example.org"


def _credential(issuer: BadgeIssuer, number: int, kind: str, status: Sequence[dict[str, Any]]) -> OpenBadgeCredential:
    issued = EPOCH + timedelta(seconds=number)
    return OpenBadgeCredential(
        issuer=Issuer(id=issuer.identifier, name=issuer.name),
        recipient_id=f"mailto:{_email(number)}",
        achievement=Achievement(
            id="https://badges.example.org/achievements/merkle-trees",
            name="Merkle Trees",
            description="Can check an inclusion proof by hand.",
            criteria_narrative="Recomputed a root hash from a leaf and its audit path.",
        ),
        id=f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{issuer.identifier} {kind} {number}')}",
        issuance_date=issued,
        expiration_date=issued + LIFETIME,
        credential_status=list(status),
    )


def _assertion(issuer: BadgeIssuer, number: int, verification: str) -> Assertion:
    issued = EPOCH + timedelta(seconds=number)
    name = uuid.uuid5(uuid.NAMESPACE_URL, f"{issuer.identifier} {verification} {number}")
    is_hosted = verification == "HostedBadge"
    return Assertion(
        recipient=OB2Identity.create(_email(number), salt=f"salt-{number}"),
        badge="https://badges.example.org/classes/merkle-trees",
        verification=Verification(
            type=verification, creator=None if is_hosted else "https://badges.example.org/keys/1"
        ),
        id=f"https://badges.example.org/assertions/{name}" if is_hosted else f"urn:uuid:{name}",
        issued_on=issued,
        expires=issued + LIFETIME,
    )


#: What the command line writes: file name, what it is, maker.
FOUR = (
    ("alice.json", "Open Badges 3.0, JSON with a proof in it", ob3_json),
    ("bob.jwt", "Open Badges 3.0, a signed JWT", ob3_jwt),
    ("carol.png", "Open Badges 3.0, a JWT baked into a PNG", ob3_png),
    ("dave.json", "Open Badges 2.0, hosted JSON without a proof", ob2_hosted),
)


def main(arguments: Sequence[str]) -> int:
    """Write FOUR into a folder, each for a recipient of its own."""
    if len(arguments) != 2:
        print("usage: python ops/demo_badges.py KEY_FILE FOLDER", file=sys.stderr)
        return 2
    issuer = BadgeIssuer(load_issuer_key(arguments[0]).seed)
    folder = Path(arguments[1])
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, what, make) in enumerate(FOUR, 1):
        (folder / name).write_bytes(make(issuer, number))
        print(f"{folder / name}  {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
