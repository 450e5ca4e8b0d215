"""Real badges of other issuers and tools, from the folder beside the repository, are read for what they are."""

from __future__ import annotations

import json
import re

import pytest

from ledger.badges import StatusEntry, commitment, needs_salt, read
from ledger.errors import MalformedBadge
from tests.samples import bake, shared_sample

EXAMPLE = "https://example.com/issuers/876543"
DIDKEY = "did:key:z6MknNQD1WHLGGraFi6zcbGevuAgkVfdyCdtZnQTGWVVvR5Q"


@pytest.mark.parametrize(
    ("name", "kind", "wrapping", "signed", "issuer", "hosted_at", "title"),
    [
        ("ob3-eddsa-rdfc-2022.json", "ob3-json", "plain", True, EXAMPLE, None, "Teamwork"),
        ("ob3-ed25519signature2020.json", "ob3-json", "plain", True, EXAMPLE, None, "Teamwork"),
        ("ob3-baked-json.png", "ob3-json", "png", True, EXAMPLE, None, "Teamwork"),
        ("ob3-baked-jwt-rs256.png", "ob3-jwt", "png", True, "https://1edtech.edu/issuers/565049", None, None),
        ("ob3-noproof.json", "ob3-json", "plain", False, "https://example.edu/issuers/565049", None, None),
        ("ob3-bad-proof-value.json", "ob3-json", "plain", True, EXAMPLE, None, "Teamwork"),
        ("ob3-expired.json", "ob3-json", "plain", True, EXAMPLE, None, "Teamwork"),
        ("ob3-status-revoked.json", "ob3-json", "plain", True, "https://1edtech.edu/issuers/565049", None, None),
        ("ob3-didkey.json", "ob3-json", "plain", True, DIDKEY, None, "Teamwork"),
        ("ob2-hosted-baked.png", "ob2-hosted", "png", False, None, "example.org", None),
        ("ob2-baked-heart.png", "ob2-hosted", "png", False, None, "example.org", None),
        ("ob2-badgr-embedded.json", "ob2-hosted", "plain", False, None, "a.com", "Embedded badgeclass"),
        ("ob2-signed.jws", "ob2-signed", "plain", True, None, None, None),
        (
            "clr2-simple.json",
            "clr2-json",
            "plain",
            True,
            "https://example.edu/issuers/565049",
            None,
            "Sample Transcript",
        ),
        ("vc2-two-proofs.json", "ob3-json", "plain", True, DIDKEY, None, "Teamwork"),
        ("vc2-tampered.json", "ob3-json", "plain", True, DIDKEY, None, "A tampered credential"),
        (
            "vc2-eddsa-jcs-2022.json",
            "vc-json",
            "plain",
            True,
            "https://vc.example/issuers/5678",
            None,
            "Alumni Credential",
        ),
        (
            "blockcerts-v3.json",
            "vc-json",
            "plain",
            False,
            "https://www.blockcerts.org/samples/3.0/issuer-blockcerts.json",
            None,
            None,
        ),
    ],
)
def test_is_read(
    name: str, kind: str, wrapping: str, signed: bool, issuer: str | None, hosted_at: str | None, title: str | None
) -> None:
    """Kind, wrapping, proof, issuer, host and (where given) name are what the file holds."""
    data = shared_sample(name)
    badge = read(data)
    assert (badge.kind, badge.wrapping, badge.signed, badge.issuer, badge.hosted_at) == (
        kind,
        wrapping,
        signed,
        issuer,
        hosted_at,
    )
    assert needs_salt(badge) is not signed
    if title is not None:
        assert badge.name == title
    assert badge.valid_from is not None
    if wrapping == "plain":
        assert commitment(read(bake(data)), bytes(32)) == commitment(badge, bytes(32))


def test_baked_and_plain_copy_are_one_badge() -> None:
    """The JSON cut out of a real baked image by hand has the image's commitment."""
    data = shared_sample("ob3-baked-json.png")
    start = data.index(b"openbadgecredential\0\0\0\0\0") + len(b"openbadgecredential\0\0\0\0\0")
    text = data[start : data.index(b"IEND", start) - 8]
    assert json.loads(text)
    assert commitment(read(text)) == commitment(read(data))


def test_status_and_expiry() -> None:
    """An index that is a number is read, and so is an expiry."""
    (entry,) = read(shared_sample("ob3-status-revoked.json")).status
    assert entry == StatusEntry(entry.status_list_credential, 23, "revocation")
    assert re.match("https://.*/testlist$", entry.status_list_credential)
    expired = read(shared_sample("ob3-expired.json"))
    assert expired.valid_until == expired.valid_from == 1262304000000


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ob3-status-revoked.list.json", "status list"),
        ("ob2-signed.key.json", "neither"),
        ("ob1-baked-text-url.png", "only the address"),
        ("ob1-baked.svg", "SVG"),
        ("ob3-baked-jwt-vc11.svg", "SVG"),
    ],
)
def test_is_refused(name: str, reason: str) -> None:
    """What is no badge, or is in a form that this version does not read, is refused with that reason."""
    with pytest.raises(MalformedBadge, match=reason):
        read(shared_sample(name))
