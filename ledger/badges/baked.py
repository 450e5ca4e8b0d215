"""Badges baked into PNG images (Open Badges 2.0 Baking, Open Badges 3.0 section 5.3): the text that the image carries.

    iTXt = keyword 00 | compression flag | method | language 00 | translated keyword 00 | text
    tEXt = keyword 00 | text                  Open Badges 1 and some makers since: the badge's address, or the badge
    zTXt = keyword 00 | method 00 | zlib(text)

    keyword     openbadges            Open Badges 1 and 2.0: JSON, compact JWS or an address
                openbadgecredential   Open Badges 3.0: JSON or compact JWS
                clrcredential         CLR 2.0

Unpacking iTXt and its bounded inflation are openbadgeslib's, which is imported only when such an image is at hand; the
two old chunks it does not know. Before anything is unpacked, a pass over the chunk headers settles that there is
exactly one badge: of two, another reader might take the other one.

What this does not do: decode the image (its pixels are nobody's business here), read SVG (`ledger.badges.svg`), or
follow an address.
"""

from __future__ import annotations

import zlib
from typing import Final, NamedTuple

from ledger.badges.strict_json import MAX_JSON_BYTES
from ledger.errors import MalformedBadge

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
#: The most bytes of an image that are read, 16 MiB.
MAX_IMAGE_BYTES: Final = 16 * 1024 * 1024
#: The most chunks of a PNG; encoders write 8 KiB and more into each.
MAX_CHUNKS: Final = 16_384

_KEYWORDS: Final = (b"openbadges", b"openbadgecredential", b"clrcredential")
_TEXT_CHUNKS: Final = (b"iTXt", b"tEXt", b"zTXt")
_CHUNK_OVERHEAD = 12  # length[4], type[4], CRC[4]


class _Carrier(NamedTuple):
    """The chunk with the badge: its type, its keyword, and where its data begin and end in the image."""

    chunk_type: bytes
    keyword: bytes
    start: int
    end: int


def unbake_png(data: bytes) -> bytes:
    """The text baked into a PNG of at most MAX_IMAGE_BYTES (at most MAX_JSON_BYTES, UTF-8 if it came in an iTXt).

    Raises MalformedBadge for an image that is no PNG, is damaged, carries no badge or more than one.
    """
    if len(data) > MAX_IMAGE_BYTES:
        raise MalformedBadge(f"the image is larger than {MAX_IMAGE_BYTES} bytes")
    carrier = _find_carrier(data)
    baked = _international(data, carrier.keyword) if carrier.chunk_type == b"iTXt" else _plain(data, carrier)
    if len(baked) > MAX_JSON_BYTES:
        raise MalformedBadge(f"the badge in the image is larger than {MAX_JSON_BYTES} bytes")
    return baked


def _international(data: bytes, keyword: bytes) -> bytes:
    # Importing it takes 0.2 s and brings in much that reading a JSON badge never needs.
    from openbadgeslib import baking

    try:
        # One byte more than the limit: the library cuts silently where the input ends exactly at the limit.
        text = baking.extract_png(data, MAX_JSON_BYTES + 1, keyword=keyword)
    except Exception:
        # Third-party parsers on hostile bytes: whatever they raise, the image is what is wrong, and their messages
        # may quote it.
        raise _damaged() from None
    if text is None:
        raise MalformedBadge("the image's badge chunk is malformed")
    return str(text).encode("utf-8")


def _plain(data: bytes, carrier: _Carrier) -> bytes:
    """The text of a tEXt or zTXt chunk, at most one byte more than MAX_JSON_BYTES of a compressed one."""
    body = data[carrier.start : carrier.end]
    if zlib.crc32(carrier.chunk_type + body) != int.from_bytes(data[carrier.end : carrier.end + 4]):
        raise _damaged()
    text = body[len(carrier.keyword) + 1 :]
    if carrier.chunk_type == b"tEXt":
        return text
    if not text.startswith(b"\0"):
        raise MalformedBadge("the image's badge chunk is malformed")
    inflater = zlib.decompressobj()
    try:
        inflated = inflater.decompress(text[1:], MAX_JSON_BYTES + 1)
    except zlib.error:
        raise _damaged() from None
    if not inflater.eof and len(inflated) <= MAX_JSON_BYTES:
        raise _damaged()
    return inflated


def _find_carrier(data: bytes) -> _Carrier:
    """The chunk of the one badge in the image; reads chunk headers only."""
    if not data.startswith(PNG_SIGNATURE):
        raise MalformedBadge("the image is not a PNG")
    found: list[_Carrier] = []
    position = len(PNG_SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if position + _CHUNK_OVERHEAD > len(data):
            raise MalformedBadge("the image is cut short")
        start = position + 8
        end = start + int.from_bytes(data[position : position + 4])
        chunk_type = data[position + 4 : start]
        if end + 4 > len(data):
            raise MalformedBadge("the image is cut short")
        if chunk_type == b"IEND":
            break
        if chunk_type in _TEXT_CHUNKS:
            # PNG: a keyword has at most 79 bytes.
            keyword, separator, _ = data[start : min(end, start + 80)].partition(b"\0")
            if separator and keyword in _KEYWORDS:
                found.append(_Carrier(chunk_type, keyword, start, end))
        position = end + 4
    else:
        raise MalformedBadge(f"the image has more than {MAX_CHUNKS} chunks")
    if len(found) > 1:
        raise MalformedBadge("the image carries more than one badge")
    if not found:
        raise MalformedBadge("the image carries no badge")
    return found[0]


def _damaged() -> MalformedBadge:
    return MalformedBadge("the image is damaged or its badge cannot be unpacked")
