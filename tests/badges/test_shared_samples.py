"""Real badges of other issuers and tools, from the folder beside the repository, are read for what they are."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import NamedTuple

import pytest

from ledger.badges import Kind, RecipientKind, StatusEntry, Wrapping, commitment, needs_salt, nested, read
from ledger.errors import BadgeElsewhere, MalformedBadge
from tests.samples import SHARED_SAMPLES, bake, shared_sample


class Expected(NamedTuple):
    """What a file is. holder: the issuer that it names, else the host of a hosted badge."""

    kind: Kind
    wrapping: Wrapping
    signed: bool
    holder: str | None
    recipient: RecipientKind
    name: str | None
    valid_from: str
    valid_until: str | None = None


CORP = "https://example.com/issuers/876543"
EDU = "https://example.edu/issuers/565049"
EDTECH = "https://1edtech.edu/issuers/565049"
DIDKEY = "did:key:z6MknNQD1WHLGGraFi6zcbGevuAgkVfdyCdtZnQTGWVVvR5Q"
BLOCKCERTS = "https://www.blockcerts.org/samples/3.0/issuer-blockcerts.json"
ALUMNI = "https://vc.example/issuers/5678"
TAMPERED = "A tampered credential"
DEGREE = "Example University Degree"
EMBEDDED = "Embedded badgeclass"

BADGES = {
    "blockcerts-v3.json": Expected(
        "blockcerts3-json", "plain", False, BLOCKCERTS, "did", None, "2022-07-13", "2039-07-13"
    ),
    "clr2-simple.json": Expected("clr2-json", "plain", True, EDU, "did", "Sample Transcript", "2010-01-01"),
    "ob2-badgr-embedded.json": Expected("ob2-hosted", "plain", False, "a.com", "plain", EMBEDDED, "2017-06-29"),
    # Has neither @context nor type, but a uid: Open Badges 1.0.
    "ob2-baked-heart.png": Expected("ob1-hosted", "png", False, "example.org", "plain", None, "2015-04-01"),
    "ob2-hosted-baked.png": Expected("ob2-hosted", "png", False, "example.org", "hashed", None, "2016-12-31"),
    "ob2-signed.jws": Expected("ob2-signed", "plain", True, None, "hashed", None, "2016-12-31"),
    "ob3-bad-proof-value.json": Expected("ob3-json", "plain", True, CORP, "did", "Teamwork", "2010-01-01"),
    "ob3-baked-json.png": Expected("ob3-json", "png", True, CORP, "did", "Teamwork", "2010-01-01"),
    "ob3-baked-jwt-rs256.png": Expected("ob3-jwt", "png", True, EDTECH, "did", "Teamwork", "2010-01-01"),
    "ob3-baked-jwt-vc11.svg": Expected("ob3-jwt", "svg", True, EDU, "did", "Teamwork", "2010-01-01"),
    "ob3-didkey.json": Expected("ob3-json", "plain", True, DIDKEY, "did", "Teamwork", "2025-01-09"),
    "ob3-ed25519signature2020.json": Expected("ob3-json", "plain", True, CORP, "did", "Teamwork", "2010-01-01"),
    "ob3-eddsa-rdfc-2022.json": Expected("ob3-json", "plain", True, CORP, "did", "Teamwork", "2010-01-01"),
    "ob3-expired.json": Expected("ob3-json", "plain", True, CORP, "did", "Teamwork", "2010-01-01", "2010-01-01"),
    "ob3-noproof.json": Expected("ob3-json", "plain", False, EDU, "did", DEGREE, "2010-01-01"),
    "ob3-status-revoked.json": Expected("ob3-json", "plain", True, EDTECH, "did", "Achievement 1", "2023-05-23"),
    "vc2-eddsa-jcs-2022.json": Expected("vc-json", "plain", True, ALUMNI, "did", "Alumni Credential", "2023-01-01"),
    "vc2-tampered.json": Expected("ob3-json", "plain", True, DIDKEY, "did", TAMPERED, "2010-01-01"),
    "vc2-two-proofs.json": Expected("ob3-json", "plain", True, DIDKEY, "did", "Teamwork", "2010-01-01"),
}
ELSEWHERE = {
    "ob1-baked-text-url.png": "https://example.org/assertion",
    # Its text says no more than its attribute: where the assertion is.
    "ob1-baked.svg": "http://example.org",
}
NO_BADGES = {
    "README.md": "neither JSON, nor a token",
    "ob2-signed.key.json": "neither an Open Badges assertion nor",
    "ob3-status-revoked.list.json": "status list, not a badge",
}


def day(milliseconds: int | None) -> str | None:
    """The day in UTC."""
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d")


def test_every_file_is_accounted_for() -> None:
    """A file that is added to the folder is added here."""
    shared_sample("README.md")  # skips or fails where there is no folder
    names = {path.name for path in SHARED_SAMPLES.iterdir()}
    assert names == BADGES.keys() | ELSEWHERE.keys() | NO_BADGES.keys()


@pytest.mark.parametrize("name", BADGES)
def test_is_read(name: str) -> None:
    """Kind, wrapping, proof, issuer or host, recipient, name and validity; one commitment in an image, too."""
    data, expected = shared_sample(name), BADGES[name]
    badge = read(data)
    assert expected == Expected(
        badge.kind,
        badge.wrapping,
        badge.signed,
        badge.issuer or badge.hosted_at,
        badge.recipient_kind or "plain",
        badge.name,
        day(badge.valid_from) or "",
        day(badge.valid_until),
    )
    assert badge.recipient_kind is not None
    assert badge.id is not None
    assert not badge.revoked
    assert badge.other_status == ()
    assert bool(badge.status) == (name == "ob3-status-revoked.json")
    assert needs_salt(badge) is not expected.signed
    if expected.wrapping == "plain":
        assert commitment(read(bake(data)), bytes(32)) == commitment(badge, bytes(32))


@pytest.mark.parametrize("name", ELSEWHERE)
def test_is_elsewhere(name: str) -> None:
    """The image holds the address of the badge only."""
    with pytest.raises(BadgeElsewhere) as caught:
        read(shared_sample(name))
    assert caught.value.url == ELSEWHERE[name]


@pytest.mark.parametrize("name", NO_BADGES)
def test_is_refused(name: str) -> None:
    """What is no badge is refused with that reason."""
    with pytest.raises(MalformedBadge, match=NO_BADGES[name]):
        read(shared_sample(name))


def test_baked_and_plain_copy_are_one_badge() -> None:
    """The JSON cut out of a real baked image by hand has the image's commitment."""
    data = shared_sample("ob3-baked-json.png")
    start = data.index(b"openbadgecredential\0\0\0\0\0") + len(b"openbadgecredential\0\0\0\0\0")
    text = data[start : data.index(b"IEND", start) - 8]
    assert json.loads(text)
    assert commitment(read(text)) == commitment(read(data))


def test_svg_and_its_token_are_one_badge() -> None:
    """The token cut out of a real SVG by hand has the image's commitment."""
    data = shared_sample("ob3-baked-jwt-vc11.svg")
    token = data.split(b'verify="')[1].split(b'"')[0]
    assert commitment(read(token)) == commitment(read(data))


def test_status_is_read() -> None:
    """An index that is a number is read."""
    (entry,) = read(shared_sample("ob3-status-revoked.json")).status
    assert entry == StatusEntry(entry.status_list_credential, 23, "revocation")
    assert entry.status_list_credential.endswith("/testlist")


def test_record_holds_its_badge() -> None:
    """With an issuer, a proof and a commitment of its own."""
    record = read(shared_sample("clr2-simple.json"))
    (badge,) = nested(record)
    assert (badge.kind, badge.issuer, badge.name, badge.signed) == ("ob3-json", CORP, "Teamwork", True)
    alone = json.dumps(json.loads(shared_sample("clr2-simple.json"))["credentialSubject"]["verifiableCredential"][0])
    assert commitment(read(alone.encode())) == commitment(badge) != commitment(record)
