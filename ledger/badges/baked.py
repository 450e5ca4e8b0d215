"""Badges baked into PNG images (Open Badges 2.0 Baking, Open Badges 3.0 section 5.3): the text that the image carries.

    iTXt chunk = keyword 00 | compression flag | method | language 00 | translated keyword 00 | text

    keyword     openbadges            Open Badges 2.0, JSON or compact JWS
                openbadgecredential   Open Badges 3.0, JSON or compact JWS
                clrcredential         CLR 2.0

The unbaking and its bounded inflation are openbadgeslib's, which is imported only when an image is at hand. Before it
runs, a pass over the chunk headers alone settles that there is exactly one badge: of two, another reader might take
the other one.

What this does not do: decode the image (its pixels are nobody's business here), read SVG, or follow the URL that the
images of Open Badges 1 carry in a tEXt chunk.
"""

from __future__ import annotations

from typing import Final

from ledger.badges.strict_json import MAX_JSON_BYTES
from ledger.errors import MalformedBadge

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
#: The most bytes of an image that are read, 16 MiB.
MAX_IMAGE_BYTES: Final = 16 * 1024 * 1024
#: The most chunks of a PNG; encoders write 8 KiB and more into each.
MAX_CHUNKS: Final = 16_384

_KEYWORDS: Final = (b"openbadges", b"openbadgecredential", b"clrcredential")
_CHUNK_OVERHEAD = 12  # length[4], type[4], CRC[4]


def unbake_png(data: bytes) -> bytes:
    """The text baked into a PNG of at most MAX_IMAGE_BYTES, as UTF-8 bytes (at most MAX_JSON_BYTES).

    Raises MalformedBadge for an image that is no PNG, is damaged, carries no badge or more than one.
    """
    if len(data) > MAX_IMAGE_BYTES:
        raise MalformedBadge(f"the image is larger than {MAX_IMAGE_BYTES} bytes")
    keyword = _find_keyword(data)
    # Importing it takes 0.2 s and brings in much that reading a JSON badge never needs.
    from openbadgeslib import baking

    try:
        # One byte more than the limit: the library cuts silently where the input ends exactly at the limit.
        text = baking.extract_png(data, MAX_JSON_BYTES + 1, keyword=keyword)
    except Exception:
        # Third-party parsers on hostile bytes: whatever they raise, the image is what is wrong, and their messages
        # may quote it.
        raise MalformedBadge("the image is damaged or its badge cannot be unpacked") from None
    if text is None:
        raise MalformedBadge("the image's badge chunk is malformed")
    baked = text.encode("utf-8")
    if len(baked) > MAX_JSON_BYTES:
        raise MalformedBadge(f"the badge in the image is larger than {MAX_JSON_BYTES} bytes")
    return baked


def _find_keyword(data: bytes) -> bytes:
    """The iTXt keyword of the one badge in the image; reads chunk headers only."""
    if not data.startswith(PNG_SIGNATURE):
        raise MalformedBadge("the image is not a PNG")
    found: list[bytes] = []
    has_url = False
    position = len(PNG_SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if position + _CHUNK_OVERHEAD > len(data):
            raise MalformedBadge("the image is cut short")
        end = position + 8 + int.from_bytes(data[position : position + 4])
        chunk_type = data[position + 4 : position + 8]
        if end + 4 > len(data):
            raise MalformedBadge("the image is cut short")
        if chunk_type == b"IEND":
            break
        if chunk_type in (b"iTXt", b"tEXt"):
            # PNG: a keyword has at most 79 bytes.
            keyword, separator, _ = data[position + 8 : min(end, position + 8 + 80)].partition(b"\0")
            if separator and keyword in _KEYWORDS:
                if chunk_type == b"iTXt":
                    found.append(keyword)
                else:
                    has_url = True
        position = end + 4
    else:
        raise MalformedBadge(f"the image has more than {MAX_CHUNKS} chunks")
    if len(found) > 1:
        raise MalformedBadge("the image carries more than one badge")
    if not found:
        if has_url:
            raise MalformedBadge("the image carries only the address of an Open Badges 1 badge, not the badge")
        raise MalformedBadge("the image carries no badge")
    return found[0]
