"""Baking: the badge and its receipt come back from the image as they were, for this reader and for others."""

from __future__ import annotations

import json
import struct
import zlib
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openbadgeslib import baking

from ledger.badges import Badge, read
from ledger.badges.bake import MAX_BAKED_SVG_BYTES, MAX_RECEIPT_BYTES, bake, baked_receipt
from ledger.errors import InputError, LedgerError, MalformedBadge
from tests.samples import BadgeIssuer, ob2_hosted, ob3_json, ob3_jwt, png, samples

ISSUER = BadgeIssuer(bytes(32))
RECEIPT = '{"origin":"ledger.example/ü","index":7,"text":"]]><&\\""}'.encode()
PUBLIC_DTD = '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">'
SVG = (
    f'<?xml version="1.0"?>{PUBLIC_DTD}'
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10"><circle cx="5" cy="5" r="5"/></svg>'
).encode()
BADGES = {name: read(data) for name, data in samples(ISSUER).items() if name != "ob3-png"}
BADGES["clr2"] = read(
    b'{"@context":["https://www.w3.org/ns/credentials/v2"],"type":["VerifiableCredential","ClrCredential"],'
    b'"issuer":"did:example:i","credentialSubject":{"id":"did:example:s"}}'
)
IMAGES = {"png": png(), "svg": SVG}
BAKED = {kind: bake(image, BADGES["ob3-json"], RECEIPT) for kind, image in IMAGES.items()}


def same(one: Badge, other: Badge) -> bool:
    return (one.form, one.canonical, one.kind) == (other.form, other.canonical, other.kind)


def text_chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG with one more chunk before IEND."""
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return png()[:-12] + chunk + png()[-12:]


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("name", BADGES)
class TestRoundTrip:
    def test_badge_and_receipt_come_back(self, name: str, image: str) -> None:
        """The same badge, so the same commitment; the receipt to the byte."""
        baked = bake(IMAGES[image], BADGES[name], RECEIPT)
        again = read(baked)
        assert same(again, BADGES[name])
        assert again.wrapping == image
        assert baked_receipt(baked) == RECEIPT

    def test_a_badge_goes_without_a_receipt(self, name: str, image: str) -> None:
        """There is none to be found then."""
        baked = bake(IMAGES[image], BADGES[name], None)
        assert same(read(baked), BADGES[name])
        assert baked_receipt(baked) is None

    def test_what_is_in_the_image_is_not_replaced_by_accident(self, name: str, image: str) -> None:
        """Two badges in one image are two answers. With `replace` nothing is left of the first."""
        first = bake(IMAGES[image], BADGES[name], RECEIPT)
        other = read(ob3_jwt(ISSUER, 77))
        with pytest.raises(InputError, match="carries a badge already"):
            bake(first, other, None)
        replaced = bake(first, other, None, replace=True)
        assert same(read(replaced), other)
        assert baked_receipt(replaced) is None
        assert RECEIPT[:12] not in replaced


class TestOthers:
    def test_openbadgeslib_unbakes_open_badges_3(self) -> None:
        """Out of both images; its readers pass over the receipt."""
        badge = read(ob3_jwt(ISSUER, 1))
        token = badge.canonical.decode()
        assert baking.extract_png(bake(png(), badge, RECEIPT), keyword=baking.ITXT_KEYWORD_OB3) == token
        assert baking.extract_svg(bake(SVG, badge, RECEIPT), element=baking.SVG_ELEMENT_OB3) == token
        document = read(ob3_json(ISSUER, 2))
        found = baking.extract_svg(bake(SVG, document, RECEIPT), element=baking.SVG_ELEMENT_OB3, text_fallback=True)
        assert found is not None
        assert same(read(found.encode()), document)

    def test_openbadgeslib_unbakes_open_badges_2(self) -> None:
        """Out of both images."""
        badge = read(ob2_hosted(ISSUER, 1))
        text = badge.canonical.decode()
        assert baking.extract_png(bake(png(), badge, RECEIPT)) == text
        assert baking.extract_svg(bake(SVG, badge, RECEIPT), text_fallback=True) == text

    def test_the_picture_is_the_same(self) -> None:
        """Every chunk of the PNG is there, in its order; the SVG keeps its shapes."""
        baked = bake(png(), BADGES["ob3-json"], RECEIPT)
        assert baked.startswith(png()[:-12])
        assert baked.endswith(png()[-12:])
        svg = bake(SVG, BADGES["ob3-json"], RECEIPT)
        assert b'<circle cx="5" cy="5" r="5"/>' in svg
        assert b"DOCTYPE" not in svg


class TestSvg:
    @pytest.mark.parametrize("name", BADGES)
    def test_a_decoy_is_a_badge(self, name: str) -> None:
        """Readers that go by prefix would take it; --force takes it out, whatever its namespace."""
        for namespace in ("urn:x", "http://www.w3.org/2000/svg", "https://purl.imsglobal.org/ob/v3p0/"):
            decoy = f'<openbadges:credential xmlns:openbadges="{namespace}">DECOY</openbadges:credential></svg>'
            image = SVG.replace(b"</svg>", decoy.encode())
            with pytest.raises(InputError, match="carries a badge already"):
                bake(image, BADGES[name], RECEIPT)
            baked = bake(image, BADGES[name], RECEIPT, replace=True)
            assert b"DECOY" not in baked
            assert same(read(baked), BADGES[name])

    @pytest.mark.parametrize(
        "image",
        [
            b'<!DOCTYPE svg [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><svg xmlns="http://www.w3.org/2000/svg">&b;</svg>',
            b'<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg xmlns="http://www.w3.org/2000/svg">&a;</svg>',
            SVG[:-3],
            b"<html/>",
            b"<svg",
            b"<svg>\xff</svg>",
            b"<svg>" + b"<g>" * 5_000 + b"</g>" * 5_000 + b"</svg>",
        ],
        ids=["entities", "external entity", "cut short", "html", "no element", "not UTF-8", "deep"],
    )
    def test_what_is_no_plain_svg_is_refused(self, image: bytes) -> None:
        """In one sentence, whatever the parser says."""
        with pytest.raises(MalformedBadge, match="SVG"):
            bake(image, BADGES["ob3-json"], RECEIPT)
        with pytest.raises(MalformedBadge, match="SVG"):
            baked_receipt(image + b"<!-- urn:badge-ledger:receipt -->")

    def test_a_huge_svg_is_refused_unread(self) -> None:
        """Its tree would fill the memory."""
        with pytest.raises(MalformedBadge, match="larger than"):
            bake(b"<svg>" + b" " * MAX_BAKED_SVG_BYTES, BADGES["ob3-json"], None)

    def test_what_json_admits_and_xml_does_not_is_escaped(self) -> None:
        """Noncharacters in a badge's text do not make the image unreadable, nor another badge of it."""
        document = json.loads(ob3_json(ISSUER, 1)) | {"name": "\ufffe\uffff\x7f\x85\u2028"}
        badge = read(json.dumps(document).encode())
        baked = bake(SVG, badge, '{"x":"\uffff"}'.encode())
        assert same(read(baked), badge)
        assert json.loads(baked_receipt(baked) or b"") == {"x": "\uffff"}


class TestPng:
    @pytest.mark.parametrize(
        "image",
        [png()[:-20], png()[:40], png().replace(b"IDAT", b"IDAX"), png()[:8] + b"\xff" * 64],
        ids=["no end", "cut short", "checksum", "noise"],
    )
    def test_what_is_damaged_is_refused(self, image: bytes) -> None:
        """In one sentence."""
        with pytest.raises(MalformedBadge, match="the image is"):
            bake(image, BADGES["ob3-json"], None)

    def test_the_address_in_an_old_text_chunk_counts_as_a_badge(self) -> None:
        """Open Badges 1 kept it there, and old readers look there first."""
        old = text_chunk(b"tEXt", b"openbadges\0https://a.example/1")
        with pytest.raises(InputError, match="carries a badge already"):
            bake(old, BADGES["ob3-json"], None)
        assert bake(old, BADGES["ob3-json"], None, replace=True) == bake(png(), BADGES["ob3-json"], None)

    def test_another_picture_is_refused(self) -> None:
        """Open Badges bakes PNG and SVG."""
        with pytest.raises(MalformedBadge, match="neither a PNG nor an SVG"):
            bake(b"GIF89a", BADGES["ob3-json"], None)


class TestHostile:
    @settings(deadline=None)
    @given(st.sampled_from(sorted(IMAGES)), st.data())
    def test_whatever_is_changed_in_a_baked_image_ends_in_a_sentence(self, kind: str, data: st.DataObject) -> None:
        """Bytes changed, left out and put in: a receipt, none, or a refusal; never another exception."""
        image = bytearray(BAKED[kind])
        for _ in range(data.draw(st.integers(1, 4))):
            start = data.draw(st.integers(0, len(image)))
            end = data.draw(st.integers(start, min(len(image), start + 40)))
            image[start:end] = data.draw(st.binary(max_size=12))
        for ask in (baked_receipt, lambda changed: bake(changed, BADGES["ob3-jwt"], RECEIPT, replace=True)):
            with suppress(LedgerError):
                ask(bytes(image))


class TestBakedReceipt:
    @pytest.mark.parametrize("data", [b"", b"{}", b"BLR1", ob3_jwt(ISSUER, 1), png(), SVG])
    def test_there_is_none_in_what_is_no_baked_image(self, data: bytes) -> None:
        """None, not an error."""
        assert baked_receipt(data) is None

    @pytest.mark.parametrize(
        "body",
        [b"\1\0\0\0" + zlib.compress(b"{}"), b"\0\0", b"\0\0en", b"\0\0\0\0" + b"x" * (MAX_RECEIPT_BYTES + 1)],
        ids=["compressed", "no language", "no end of the language", "large"],
    )
    def test_a_chunk_that_bake_does_not_write_is_refused(self, body: bytes) -> None:
        """Whoever wrote it, a verifier must not guess."""
        with pytest.raises(MalformedBadge, match="compressed, malformed or too large"):
            baked_receipt(text_chunk(b"iTXt", b"badgeledgerreceipt\0" + body))

    def test_two_receipts_are_refused(self) -> None:
        """One of them might be the older."""
        chunk = b"badgeledgerreceipt\0\0\0\0\0{}"
        twice = text_chunk(b"iTXt", chunk)
        two = twice[:-12] + twice[len(png()) - 12 : -12] + twice[-12:]
        with pytest.raises(MalformedBadge, match="more than one receipt"):
            baked_receipt(two)
        node = b'<r:receipt xmlns:r="urn:badge-ledger:receipt">{}</r:receipt>'
        with pytest.raises(MalformedBadge, match="more than one receipt"):
            baked_receipt(b"<svg>" + node + node + b"</svg>")

    def test_a_receipt_that_is_too_large_is_not_baked(self) -> None:
        """Nor could it be taken out again."""
        with pytest.raises(InputError, match="larger than"):
            bake(png(), BADGES["ob3-json"], b"x" * (MAX_RECEIPT_BYTES + 1))
