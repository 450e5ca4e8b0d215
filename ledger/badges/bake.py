"""Bakes a badge and its receipt into a PNG or SVG image, and takes the receipt out again.

    PNG iTXt keyword       openbadges | openbadgecredential | clrcredential     the badge, before IEND, uncompressed
                           badgeledgerreceipt                                   the receipt as JSON
    SVG, last in the root  <openbadges:assertion | openbadges:credential | clr:credential>, verify="JWS" or the JSON
                           <ledger:receipt xmlns:ledger="urn:badge-ledger:receipt">JSON</ledger:receipt>

The badge goes where Open Badges 2.0 Baking, Open Badges 3.0 section 5.3 and CLR 2.0 put it, into a PNG by
openbadgeslib, so that every reader finds it; readers that know no receipts pass over theirs. JSON is baked in its
canonical form: the same badge, with the same commitment. A badge is opened in browsers, so an SVG has to be a still
picture (`ledger.badges.svg_still`), and what only looks like a badge in it (`ledger.badges.svg`) counts as one.

What this does not do: draw images, change pixels, or look into the receipt. Reading badges is `ledger.badges.read`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any, Final

from ledger.badges.baked import MAX_CHUNKS, MAX_IMAGE_BYTES, PNG_SIGNATURE
from ledger.badges.model import FORM_JWS, Badge
from ledger.badges.svg import is_carrier, is_svg, scan_svg
from ledger.badges.svg_still import still_svg
from ledger.errors import InputError, MalformedBadge

RECEIPT_KEYWORD: Final = b"badgeledgerreceipt"
RECEIPT_NAMESPACE: Final = "urn:badge-ledger:receipt"
#: The largest receipt that is taken out of an image, 64 KiB: no receipt is larger.
MAX_RECEIPT_BYTES: Final = 64 * 1024
#: The largest SVG that is baked, 4 MiB: it is changed as a tree, which takes some hundred times that.
MAX_BAKED_SVG_BYTES: Final = 4 * 1024 * 1024

_OB2, _OB3, _CLR = "ob2", "ob3", "clr"
_KEYWORDS: Final = {_OB2: b"openbadges", _OB3: b"openbadgecredential", _CLR: b"clrcredential"}
#: Prefix and local name, namespace.
_ELEMENTS: Final = {
    _OB2: ("openbadges:assertion", "http://openbadges.org"),
    _OB3: ("openbadges:credential", "https://purl.imsglobal.org/ob/v3p0"),
    _CLR: ("clr:credential", "https://purl.imsglobal.org/clr/v2p0"),
}
_TEXT_CHUNKS: Final = (b"iTXt", b"tEXt", b"zTXt")


def bake(image: bytes, badge: Badge, receipt: bytes | None, *, replace: bool = False) -> bytes:
    """The image (PNG or SVG) with the badge in it and, if given, its receipt (JSON).

    `replace`: a badge and a receipt that are in the image go. Raises InputError for an image that carries one
    otherwise, and for an SVG that is no still picture; MalformedBadge for one that is damaged, no PNG or SVG, or too
    large.
    """
    token = badge.canonical.decode("utf-8")
    if receipt is not None and len(receipt) > MAX_RECEIPT_BYTES:
        raise InputError(f"the receipt is larger than {MAX_RECEIPT_BYTES} bytes")
    family = _OB2 if badge.kind.startswith(("ob1", "ob2")) else _CLR if badge.kind.startswith("clr") else _OB3
    if image.startswith(PNG_SIGNATURE):
        return _bake_png(image, _KEYWORDS[family], token, receipt, replace=replace)
    if is_svg(image):
        return _bake_svg(image, family, token, receipt, is_jws=badge.form == FORM_JWS, replace=replace)
    raise MalformedBadge("the image is neither a PNG nor an SVG")


def baked_receipt(image: bytes) -> bytes | None:
    """The receipt that was baked into an image, None if there is none or `image` is no PNG or SVG.

    Raises MalformedBadge for an image that is damaged or carries two of them.
    """
    found: list[bytes]
    if image.startswith(PNG_SIGNATURE):
        if RECEIPT_KEYWORD not in image:
            return None
        found = [text for keyword, text in map(_text_of, _chunks(image)) if keyword == RECEIPT_KEYWORD]
    elif is_svg(image) and RECEIPT_NAMESPACE.encode() in image:
        found = [carrier.text.encode("utf-8") for carrier in scan_svg(image, _is_receipt)]
    else:
        return None
    if len(found) > 1:
        raise MalformedBadge("the image carries more than one receipt")
    return found[0] if found else None


# PNG (W3C PNG third edition, sections 5.3 and 11.3.3) ---------------------------------------------------------------


def _bake_png(image: bytes, keyword: bytes, token: str, receipt: bytes | None, *, replace: bool) -> bytes:
    chunks = list(_chunks(image))
    plain = [chunk for chunk in chunks if not _is_carrier(chunk)]
    if len(plain) < len(chunks):
        if not replace:
            raise _carries()
        image = PNG_SIGNATURE + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in plain
        )
    from openbadgeslib import baking  # late: it brings much along

    baked = baking.bake_png(image, token, keyword=keyword)
    if receipt is not None:
        baked = baking.bake_png(baked, receipt.decode("utf-8"), keyword=RECEIPT_KEYWORD)
    return bytes(baked)


def _chunks(image: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and data of each chunk up to IEND. Raises MalformedBadge."""
    if len(image) > MAX_IMAGE_BYTES:
        raise MalformedBadge(f"the image is larger than {MAX_IMAGE_BYTES} bytes")
    position = len(PNG_SIGNATURE)
    for _ in range(MAX_CHUNKS):
        start = position + 8
        end = start + int.from_bytes(image[position : position + 4])
        if start > len(image) or end + 4 > len(image):
            raise MalformedBadge("the image is cut short")
        kind, data = image[position + 4 : start], image[start:end]
        if zlib.crc32(kind + data) != int.from_bytes(image[end : end + 4]):
            raise MalformedBadge("the image is damaged: the checksum of a chunk is wrong")
        yield kind, data
        if kind == b"IEND":
            return
        position = end + 4
    raise MalformedBadge(f"the image has more than {MAX_CHUNKS} chunks")


def _is_carrier(chunk: tuple[bytes, bytes]) -> bool:
    kind, data = chunk
    return kind in _TEXT_CHUNKS and data.partition(b"\0")[0] in (*_KEYWORDS.values(), RECEIPT_KEYWORD)


def _text_of(chunk: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """Keyword and text of an uncompressed iTXt chunk, nothing for other chunks. Raises MalformedBadge for a receipt
    that this program did not write: compressed, or too large."""
    kind, data = chunk
    keyword, separator, rest = data.partition(b"\0")
    if kind != b"iTXt" or not separator or keyword != RECEIPT_KEYWORD:
        return b"", b""
    _, language, after = rest[2:].partition(b"\0")
    _, translated, text = after.partition(b"\0")
    if rest[:2] != b"\0\0" or not language or not translated or len(text) > MAX_RECEIPT_BYTES:
        raise MalformedBadge("the receipt in the image is compressed, malformed or too large")
    return keyword, text


# SVG ------------------------------------------------------------------------------------------------------------------


def _bake_svg(image: bytes, family: str, token: str, receipt: bytes | None, *, is_jws: bool, replace: bool) -> bytes:
    if len(image) > MAX_BAKED_SVG_BYTES:
        raise MalformedBadge(f"the SVG is larger than {MAX_BAKED_SVG_BYTES} bytes")
    if scan_svg(image, _is_carrier_element) and not replace:
        raise _carries()
    tree = still_svg(image, _is_carrier_element)
    element, namespace = _ELEMENTS[family]
    _append(tree, element, namespace, token, is_jws=is_jws)
    if receipt is not None:
        _append(tree, "ledger:receipt", RECEIPT_NAMESPACE, receipt.decode("utf-8"), is_jws=False)
    try:
        written: bytes = tree.toxml().encode("utf-8")
    except RecursionError:
        raise MalformedBadge("the SVG is nested too deep to be changed") from None
    return written


def _is_carrier_element(namespace: str | None, name: str) -> bool:
    return is_carrier(namespace, name) or _is_receipt(namespace, name)


def _is_receipt(namespace: str | None, name: str) -> bool:
    return (namespace, name) == (RECEIPT_NAMESPACE, "receipt")


def _append(tree: Any, element: str, namespace: str, json_or_jws: str, *, is_jws: bool) -> None:
    """An element at the end of the root. Its text is the same JSON without the two characters that JSON admits as they
    are and XML 1.0 does not (section 2.2)."""
    text = json_or_jws.replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")
    node = tree.createElementNS(namespace, element)
    node.setAttribute("xmlns:" + element.partition(":")[0], namespace)
    if is_jws:
        node.setAttribute("verify", text)
    else:
        node.appendChild(tree.createTextNode(text))
    tree.documentElement.appendChild(node)


def _carries() -> InputError:
    return InputError("the image carries a badge already, which two readers might tell apart: --force replaces it")
