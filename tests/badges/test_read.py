"""ledger.badges.read on badges of each form: what is claimed, what counts as proof, and what is refused."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import Any

import pytest
from openbadgeslib.keys import KeyRSA
from openbadgeslib.ob2.signer import OB2Signer
from openbadgeslib.ob3 import OB3LdpVerifier

from ledger.badges import FORM_JSON, FORM_JWS, MAX_JSON_BYTES, StatusEntry, needs_salt, read
from ledger.errors import MalformedBadge
from ops.demo_badges import EPOCH, LIFETIME
from tests.samples import BadgeIssuer, bake, ob2_hosted, ob3_json, ob3_jwt, samples, status_entry

ISSUER = BadgeIssuer(bytes(range(32)))
EPOCH_MS = int(EPOCH.timestamp()) * 1000
LIFETIME_MS = int(LIFETIME.total_seconds()) * 1000
SECRET = "zz-personal-data-zz"


def part(value: Any) -> bytes:
    """A part of a compact JWS."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def token(payload: Any, header: Any = None, signature: bytes = bytes(64)) -> bytes:
    """A compact JWS of any content, with a signature that nobody made."""
    return b".".join((part({"alg": "EdDSA"} if header is None else header), part(payload), part(signature)))


def credential(**changes: Any) -> dict[str, Any]:
    """A minimal Open Badges 3.0 credential; a member set to None is left out."""
    document: dict[str, Any] = {
        "@context": ["https://www.w3.org/ns/credentials/v2"],
        "type": ["VerifiableCredential", "OpenBadgeCredential"],
        "issuer": {"id": "https://a.example/issuer"},
        "credentialSubject": {"id": "did:key:zX", "achievement": {"name": "Welding"}},
        "validFrom": "2026-01-01T00:00:00Z",
    }
    document.update(changes)
    return {name: value for name, value in document.items() if value is not None}


def assertion(**changes: Any) -> dict[str, Any]:
    """A minimal Open Badges 2.0 hosted assertion; a member set to None is left out."""
    document: dict[str, Any] = {
        "@context": "https://w3id.org/openbadges/v2",
        "type": "Assertion",
        "id": "https://host.example/a/1",
        "recipient": {"type": "email", "hashed": True, "identity": "sha256$00"},
        "badge": "https://host.example/b/1",
        "verification": {"type": "HostedBadge"},
        "issuedOn": "2026-01-01T00:00:00Z",
    }
    document.update(changes)
    return {name: value for name, value in document.items() if value is not None}


def dumps(document: Any) -> bytes:
    return json.dumps(document).encode()


def test_reads_each_generated_form() -> None:
    """Kind, form, wrapping, proof, issuer, recipient and validity of a badge of each form."""
    badges = {name: read(data) for name, data in samples(ISSUER).items()}
    assert {
        name: (
            badge.kind,
            badge.form,
            badge.wrapping,
            badge.signed,
            badge.issuer,
            badge.hosted_at,
            badge.recipient_kind,
        )
        for name, badge in badges.items()
    } == {
        "ob3-json": ("ob3-json", FORM_JSON, "plain", True, ISSUER.did, None, "hashed"),
        "ob3-jwt": ("ob3-jwt", FORM_JWS, "plain", True, ISSUER.did, None, "plain"),
        "ob3-png": ("ob3-jwt", FORM_JWS, "png", True, ISSUER.did, None, "plain"),
        "ob2-hosted": ("ob2-hosted", FORM_JSON, "plain", False, None, "badges.example.org", "hashed"),
        "ob2-jws": ("ob2-signed", FORM_JWS, "plain", True, None, None, "hashed"),
    }
    for place, badge in enumerate(badges.values()):
        assert badge.valid_from == EPOCH_MS + place * 1000
        assert badge.valid_until == badge.valid_from + LIFETIME_MS
    assert badges["ob3-json"].name == "Merkle Trees"


def test_generator_is_deterministic_and_makes_valid_badges() -> None:
    """The same issuer and number give the same bytes, and another implementation verifies what is made."""
    assert samples(ISSUER, 5) == samples(BadgeIssuer(bytes(range(32))), 5)
    verified = OB3LdpVerifier.for_issuer_did(ISSUER.did).verify(ob3_json(ISSUER, 5), check_status=False)
    assert verified.issuer.id == ISSUER.did


def test_rsa_tokens_are_proof() -> None:
    """A JWS signed with RS256, the usual one, needs no salt."""
    private_pem, _ = KeyRSA(2048).generate_keypair()
    from openbadgeslib.ob2.models import Assertion

    signed = OB2Signer(private_pem, algorithm="RS256").sign(Assertion.from_dict(assertion()))
    badge = read(signed.encode())
    assert (badge.kind, badge.signed, badge.hosted_at) == ("ob2-signed", True, "host.example")


def test_status_entries_are_read() -> None:
    """One entry or several, with the index as text or number; other kinds of entry are passed over."""
    entry = status_entry("https://l.example/3", 94567)
    assert read(ob3_json(ISSUER, 1, status=[entry])).status == (
        StatusEntry("https://l.example/3", 94567, "revocation"),
    )
    assert read(ob3_jwt(ISSUER, 1, status=[entry])).status == (StatusEntry("https://l.example/3", 94567, "revocation"),)
    several = [{**entry, "statusListIndex": 7, "statusPurpose": "suspension"}, {"type": "1EdTechRevocationList"}, entry]
    assert read(dumps(credential(credentialStatus=several))).status == (
        StatusEntry("https://l.example/3", 7, "suspension"),
        StatusEntry("https://l.example/3", 94567, "revocation"),
    )


BAD_INDEXES: list[Any] = ["", "-1", "+1", "01", " 1", "1_0", "١", "1.0", -1, 1.5, True, None, [], str(2**63)]


@pytest.mark.parametrize(
    "change",
    [
        *({"statusListIndex": index} for index in BAD_INDEXES),
        *({"statusListCredential": address} for address in (None, 7, "")),
        *({"statusPurpose": purpose} for purpose in (None, 7, "")),
    ],
)
def test_refuses_a_status_entry_that_it_cannot_read(change: dict[str, Any]) -> None:
    """An entry that cannot be read is not passed over: that could pass over a revocation."""
    entry = {**status_entry("https://l.example/3", 1), **change}
    with pytest.raises(MalformedBadge, match="status list entry"):
        read(dumps(credential(credentialStatus=entry)))


def test_vc_1_1_shapes() -> None:
    """VC 1.1: issuanceDate and expirationDate, and in a JWT the credential under `vc` with iss, nbf, exp and sub."""
    vc = credential(
        **{"@context": ["https://www.w3.org/2018/credentials/v1"]},
        validFrom=None,
        issuanceDate="2026-01-01T00:00:00Z",
        expirationDate="2026-01-03T00:00:00Z",
    )
    plain = read(dumps(vc))
    assert (plain.kind, plain.valid_from, plain.valid_until) == ("ob3-json", EPOCH_MS, EPOCH_MS + 2 * 86_400_000)
    claims = {
        "iss": "https://a.example/issuer",
        "nbf": EPOCH_MS // 1000 + 1,
        "exp": EPOCH_MS / 1000 + 2.5,
        "sub": "did:x:y",
    }
    vc["credentialSubject"] = {"achievement": {"name": "Welding"}}
    badge = read(token({**claims, "vc": vc}))
    assert (badge.kind, badge.issuer, badge.name, badge.recipient_kind) == ("ob3-jwt", claims["iss"], "Welding", "did")
    # Where a time stands twice, the narrower one counts.
    assert (badge.valid_from, badge.valid_until) == (EPOCH_MS + 1000, EPOCH_MS + 2500)
    assert badge.document == {**claims, "vc": vc}


def test_other_credentials() -> None:
    """CLR 2.0 and other credentials are read under kinds of their own; the issuer may be a string."""
    clr = read(dumps(credential(type=["VerifiableCredential", "ClrCredential"], name="Transcript", issuer="did:web:a")))
    assert (clr.kind, clr.issuer, clr.name) == ("clr2-json", "did:web:a", "Transcript")
    assert read(token(credential(type=["VerifiableCredential"]))).kind == "vc-jwt"
    assert read(dumps(credential(credentialSubject=[7, {"identifier": [{"hashed": True}]}]))).recipient_kind == "hashed"
    assert read(dumps(credential(credentialSubject={}))).recipient_kind is None
    assert read(dumps(credential(credentialSubject={"id": "mailto:a@b"}))).recipient_kind == "plain"
    assert read(dumps(credential(credentialSubject={"id": "https://a.example/me"}))).recipient_kind == "url"


@pytest.mark.parametrize("verification", [{"type": "hosted"}, {"type": "HostedBadge"}, {"type": ["Hosted"]}])
@pytest.mark.parametrize("member", ["verification", "verify"])
def test_ob2_aliases(member: str, verification: dict[str, Any]) -> None:
    """`verify` for `verification` and both spellings of the type are the same thing."""
    badge = read(dumps(assertion(verification=None) | {member: verification}))
    assert (badge.kind, badge.hosted_at, badge.valid_from) == ("ob2-hosted", "host.example", EPOCH_MS)


def test_ob2_shapes_of_exporters() -> None:
    """An embedded class, an address in verify.url, the answer for a revoked badge, a signed one without its JWS."""
    embedded = {"name": "Welding", "issuer": {"id": "https://i.example/"}}
    badge = read(
        dumps(
            assertion(
                badge=embedded,
                id="urn:uuid:1",
                verification=None,
                verify={"type": "hosted", "url": "http://H.example:8080/x"},
            )
        )
    )
    assert (badge.name, badge.issuer, badge.hosted_at) == ("Welding", "https://i.example/", "h.example:8080")
    revoked = {
        "@context": "https://w3id.org/openbadges/v2",
        "type": "Assertion",
        "id": "https://host.example/a/1",
        "revoked": True,
    }
    assert (read(dumps(revoked)).kind, read(dumps(revoked)).recipient_kind) == ("ob2-hosted", None)
    unsigned = read(dumps(assertion(verification={"type": "SignedBadge"})))
    assert (unsigned.kind, unsigned.signed, unsigned.hosted_at) == ("ob2-json", False, None)
    old = {
        "uid": "1",
        "recipient": {"hashed": False, "identity": "a@b"},
        "badge": "https://b.example",
        "issuedOn": 1767225600,
        "verify": {"type": "hosted", "url": "https://h.example/1"},
    }
    assert (read(dumps(old)).valid_from, read(dumps(old)).recipient_kind) == (EPOCH_MS, "plain")


@pytest.mark.parametrize(
    "address",
    [
        "https://a.example@b.example/",
        "https://a.example\\@b.example/",
        "https://[::1/",
        "https://a:x/",
        "https://",
        "ftp://a.example/",
        "https://a.exa\tmple/",
        "https://münchen.example/",
        7,
    ],
)
def test_a_doubtful_address_names_no_host(address: Any) -> None:
    """An address that two parsers may take for two hosts is taken for none."""
    assert read(dumps(assertion(id=address))).hosted_at is None


PROOF_VALUE = "z" + "3" * 87


@pytest.mark.parametrize(
    ("proof", "signed"),
    [
        ({"type": "DataIntegrityProof", "cryptosuite": "eddsa-rdfc-2022", "proofValue": PROOF_VALUE}, True),
        ([None, {"type": "Ed25519Signature2020", "proofValue": PROOF_VALUE}], True),
        ({"type": "JsonWebSignature2020", "jws": "e30.." + "A" * 86}, True),
        ({"type": "DataIntegrityProof", "cryptosuite": "merkle-proof-2019", "proofValue": PROOF_VALUE}, False),
        ({"type": "MerkleProof2019", "proofValue": PROOF_VALUE}, False),
        ({"type": "DataIntegrityProof", "cryptosuite": "eddsa-rdfc-2022", "proofValue": "z3"}, False),
        ({"type": "DataIntegrityProof", "cryptosuite": "eddsa-rdfc-2022", "proofValue": ["z"] * 100}, False),
        ({"type": "DataIntegrityProof", "cryptosuite": ["eddsa-rdfc-2022"], "proofValue": PROOF_VALUE}, False),
        ({"type": ["Ed25519Signature2020"], "proofValue": PROOF_VALUE}, False),
        ({"type": "FunnyProof", "proofValue": PROOF_VALUE}, False),
        (PROOF_VALUE, False),
        ([], False),
        (None, False),
    ],
)
def test_what_counts_as_proof_in_json(proof: Any, signed: bool) -> None:
    """Only a signature counts: what can be guessed or recomputed from the badge needs a salt."""
    badge = read(dumps(credential(proof=proof)))
    assert badge.signed is signed
    assert needs_salt(badge) is not signed


@pytest.mark.parametrize(
    ("algorithm", "length", "signed"),
    [
        ("EdDSA", 64, True),
        ("ES256", 64, True),
        ("RS256", 256, True),
        ("EdDSA", 63, False),
        ("HS256", 64, False),
        ("X", 64, False),
    ],
)
def test_what_counts_as_proof_in_a_jws(algorithm: str, length: int, signed: bool) -> None:
    """A MAC under a shared secret, an unknown algorithm or a short signature is no proof."""
    assert read(token(credential(), {"alg": algorithm}, bytes(length))).signed is signed


def test_refuses_jws_that_are_not_canonical() -> None:
    """Padding, the other alphabet, stray bits, missing and further parts, `none`: no second spelling of a token."""
    good = token(credential())
    read(good)
    header, payload, signature = good.split(b".")
    assert signature.endswith(b"A")
    for bad in (
        header + b"." + payload + b"." + signature[:-1] + b"B",
        good + b"==",
        good[:-1] + b"+",
        header + b"." + payload + b".",
        header + b"." + payload,
        good + b".",
        good + b"." + signature,
        header + b"." + payload + b"." + signature[:-1],
        header + b".\n" + payload + b"." + signature,
        good + b"\x0c",
        good + b"\x00",
        "\u00a0".encode() + good,
        token(credential(), {"alg": "none"}),
        token(credential(), {"alg": "NONE"}),
        token(credential(), {"typ": "JWT"}),
        token(credential(), {"alg": ["EdDSA"]}),
        token(credential(), [1]),
        token([1]),
        token(b'{"type":"Assertion","type":"Assertion"}'),
        token(credential(), b'{"alg":"EdDSA","alg":"ES256"}'),
        token(b"\xff" + dumps(credential())),
    ):
        with pytest.raises(MalformedBadge):
            read(bad)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"https://example.org/assertions/1?identity__email=" + SECRET.encode(), "only the address of a badge"),
        (b"http://", "neither a badge nor"),
        (b"# A heading", "neither JSON, nor a token"),
        (b"GIF89a", "nor a PNG or SVG image"),
        (b"\xff\xfe{\x00", "not UTF-8"),
        (b"[1]", "not an object"),
        (b"https://example.org/ and more", "neither a badge nor"),
        (b"<svg/>", "carries no badge"),
        (b"<html/>", "not an SVG"),
        (b"{}", "neither"),
        (dumps({"type": "CryptographicKey"}), "neither"),
        (token({"iss": "a"}), "neither"),
        (dumps(credential(issuer=None)), "issuer"),
        (dumps(credential(issuer={"name": "x"})), "issuer"),
        (dumps(credential(issuer="")), "issuer"),
        (dumps(credential(issuer=[])), "issuer"),
        (token(credential(iss="https://b.example/issuer")), "two issuers"),
        (token(credential(vc=credential())), "two credentials"),
        (dumps(credential(credentialSubject=None)), "credentialSubject"),
        (dumps(credential(type=["VerifiableCredential", "BitstringStatusListCredential"])), "status list, not a badge"),
        (dumps(credential(validUntil="soon")), "validUntil"),
        (dumps(credential(validUntil="2026-02-30T00:00:00Z")), "validUntil"),
        (dumps(credential(validUntil="2026-01-01T00:00:00+24:00")), "validUntil"),
        (dumps(credential(validUntil="２026-01-01T00:00:00Z")), "validUntil"),
        (dumps(credential(validUntil=["2026-01-01T00:00:00Z"])), "validUntil"),
        (token(credential(exp="2026")), "exp"),
        (token(credential(exp=True)), "exp"),
        (token(credential(exp=-1)), "exp"),
        (token(credential(exp=1e300)), "exp"),
        (dumps(assertion(expires={})), "expires"),
        (b"{" + b" " * MAX_JSON_BYTES + b"}", "larger"),
        (token({"x": "y" * MAX_JSON_BYTES}), "larger"),
    ],
)
def test_refuses_with_its_reason(data: bytes, reason: str) -> None:
    """What cannot be read is refused in one sentence that names the reason."""
    with pytest.raises(MalformedBadge, match=reason) as caught:
        read(data)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 120
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2026-01-01T01:30:00.1239+01:30", EPOCH_MS + 123),
        ("2025-12-31T22:00:00-0200", EPOCH_MS),
        ("2026-01-01", EPOCH_MS),
        ("2026-01-01T00:00", EPOCH_MS),
        ("2026-01-01 00:00:00", EPOCH_MS),
        ("0001-01-01T00:00:00+14:00", -62135596800000 - 14 * 3_600_000),
    ],
)
def test_dates(text: str, expected_ms: int) -> None:
    """Offsets, fractions, dates alone and times before 1970 give the right millisecond."""
    assert read(dumps(credential(validFrom=text))).valid_from == expected_ms


def test_errors_and_repr_hold_nothing_of_the_badge() -> None:
    """Whatever is wrong with it, no error repeats the badge's text; nor does the repr of one that is read."""
    document = credential(name=SECRET, credentialSubject={"id": f"mailto:{SECRET}", SECRET: SECRET})
    good = dumps(document)
    read(good)
    assert SECRET not in repr(read(good))
    broken = [good[:cut] for cut in range(1, len(good))]
    broken += [
        good.replace(b'"name"', b'"type"'),
        good + SECRET.encode(),
        good.replace(b'"mailto', b'"\xff'),
        SECRET.encode(),
    ]
    broken += [dumps(credential(**{member: {SECRET: SECRET}})) for member in ("issuer", "validFrom", "validUntil")]
    broken += [dumps(credential(credentialStatus={"type": "BitstringStatusListEntry", "statusListIndex": SECRET}))]
    broken += [dumps(credential(**{member: SECRET})) for member in ("validFrom", "credentialSubject")]
    broken += [bake(text) for text in broken[-6:]] + [bake(good)[:-30], bake(good).replace(b'"mailto', b'"Mailto')]
    for data in broken:
        with pytest.raises(MalformedBadge) as caught:
            read(data)
        assert SECRET not in str(caught.value)
        assert caught.value.__cause__ is None
        assert not caught.value.members


def test_importing_is_cheap_and_reading_json_stays_so() -> None:
    """Neither the import nor reading JSON brings in the service, the database, or the baking library; PNG does, without
    a warning."""
    program = """
import sys
from ledger.badges import read
json_badge, png_badge = sys.stdin.buffer.read().split(b"--8<--")
read(json_badge)
heavy = {"aiohttp", "asyncpg", "openbadgeslib", "cryptography", "nacl", "png", "jwt"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
read(png_badge)
assert not {"aiohttp", "asyncpg", "requests"} & set(sys.modules)
"""
    data = ob2_hosted(ISSUER, 1) + b"--8<--" + bake(ob3_jwt(ISSUER, 1))
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], input=data, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
