"""ledger.badges.baked: PNG images, whole, compressed, damaged and hostile."""

from __future__ import annotations

import struct
import time
import tracemalloc
import zlib

import pytest

from ledger.badges import MAX_IMAGE_BYTES, MAX_JSON_BYTES, read
from ledger.badges.baked import MAX_CHUNKS, PNG_SIGNATURE, unbake_png
from ledger.errors import MalformedBadge
from tests.samples import BadgeIssuer, bake, ob2_hosted, ob3_jwt, png

ISSUER = BadgeIssuer(bytes(range(32)))
TOKEN = ob3_jwt(ISSUER, 1)


def chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG chunk with its CRC."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def image(*chunks: bytes) -> bytes:
    """The plain image with further chunks before its IEND."""
    plain = png(4)
    return plain[:-12] + b"".join(chunks) + plain[-12:]


def itxt(
    text: bytes, keyword: bytes = b"openbadgecredential", flags: bytes = b"\0\0", tail: bytes = b"en\0key\0"
) -> bytes:
    """An iTXt chunk."""
    return chunk(b"iTXt", keyword + b"\0" + flags + tail + text)


def test_reads_plain_and_compressed_text_under_each_keyword() -> None:
    """The text comes out exactly, whatever the keyword, language tag, translated keyword and compression."""
    for keyword in (b"openbadges", b"openbadgecredential", b"clrcredential"):
        assert unbake_png(image(itxt(TOKEN, keyword))) == TOKEN
        assert unbake_png(image(itxt(zlib.compress(TOKEN), keyword, b"\1\0"))) == TOKEN
    assert unbake_png(bake("é😀".encode())) == "é😀".encode()


def test_other_text_chunks_do_not_matter() -> None:
    """Comments and texts under other keywords stay unread, even where they are broken."""
    noise = [
        itxt(b"\xff", b"Comment"),
        chunk(b"tEXt", b"openbadgesX\0x"),
        chunk(b"iTXt", b""),
        chunk(b"iTXt", b"a" * 200),
    ]
    assert unbake_png(image(*noise, itxt(TOKEN))) == TOKEN
    assert unbake_png(image(itxt(TOKEN)) + b"after the end") == TOKEN


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (png(), "carries no badge"),
        (image(itxt(TOKEN), itxt(TOKEN)), "more than one"),
        (image(itxt(TOKEN), itxt(TOKEN, b"openbadges")), "more than one"),
        (image(itxt(TOKEN), chunk(b"tEXt", b"openbadges\0https://example.org/1")), "more than one"),
        (image(chunk(b"tEXt", b"openbadges\0" + TOKEN)[:-1] + b"~"), "damaged"),
        (image(chunk(b"zTXt", b"openbadges\0\0" + zlib.compress(TOKEN)[:-1])), "damaged"),
        (image(chunk(b"zTXt", b"openbadges\0\0no zlib stream")), "damaged"),
        (image(chunk(b"zTXt", b"openbadges\0\1" + zlib.compress(TOKEN))), "malformed"),
        (image(chunk(b"zTXt", b"openbadges\0\0" + zlib.compress(bytes(MAX_JSON_BYTES + 1)))), "larger than"),
        (image(chunk(b"tEXt", b"openbadges\0" + bytes(MAX_JSON_BYTES + 1))), "larger than"),
        (image(itxt(b"\xff\xfe")), "damaged"),
        (image(itxt(b"no zlib stream", flags=b"\1\0")), "damaged"),
        (image(itxt(TOKEN, tail=b"")), "malformed"),
        (image(chunk(b"iTXt", b"openbadges\0")), "malformed"),
        (image(itxt(TOKEN)).replace(TOKEN[:9], TOKEN[:8] + b"~"), "damaged"),
        (PNG_SIGNATURE, "cut short"),
        (PNG_SIGNATURE + b"\xff" * 64, "cut short"),
        (image(*[chunk(b"abCd", b"")] * MAX_CHUNKS), "chunks"),
        (image(*[chunk(b"abCd", b"")] * 1_000_000), "chunks"),
        (image(*[chunk(b"tEXt", b"openbadges\0x")] * 10_000), "more than one"),
        (PNG_SIGNATURE + bytes(MAX_IMAGE_BYTES), "image is larger"),
        (image(itxt(zlib.compress(b"A" * (MAX_JSON_BYTES + 1)), flags=b"\1\0")), "larger than"),
        (image(itxt(b"A" * (MAX_JSON_BYTES + 1))), "larger than"),
        (image(chunk(b"\xff\xff\xff\xff", b""), itxt(TOKEN)[:-1] + b"~"), "damaged"),
    ],
)
def test_refuses_with_its_reason(data: bytes, reason: str) -> None:
    """Images without one readable badge are refused, with the reason."""
    with pytest.raises(MalformedBadge, match=reason):
        unbake_png(data)


def test_the_limit_itself_passes() -> None:
    """A badge of exactly 2 MiB unpacks; nothing is cut off silently at the limit."""
    text = b"A" * MAX_JSON_BYTES
    assert unbake_png(image(itxt(zlib.compress(text), flags=b"\1\0"))) == text


def test_a_bomb_costs_neither_time_nor_memory() -> None:
    """A chunk of 1 MB that inflates to 1 GB is refused within bounds."""
    bomb = zlib.compressobj(9)
    packed = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(1024)) + bomb.flush()
    data = image(itxt(packed, flags=b"\1\0"))
    read_once = image(itxt(TOKEN))
    read(read_once)  # the import of the baking library is not what is measured
    tracemalloc.start()
    try:
        started = time.process_time()
        with pytest.raises(MalformedBadge):
            read(data)
        assert time.process_time() - started < 2
        assert tracemalloc.get_traced_memory()[1] < 32 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_every_truncation_is_refused() -> None:
    """An image cut off anywhere is refused, and never half a badge read."""
    data = bake(ob2_hosted(ISSUER, 1))
    for length in range(len(data)):
        with pytest.raises(MalformedBadge):
            read(data[:length])


def test_every_damaged_byte_of_the_badge_is_noticed() -> None:
    """The chunk's CRC is checked: a flipped byte anywhere in the baked badge is refused, not another badge."""
    data = bake(TOKEN)
    start = data.index(b"iTXt")
    for place in range(start, start + 4 + len(b"openbadgecredential") + 5 + len(TOKEN) + 4, 7):
        damaged = data[:place] + bytes((data[place] ^ 1,)) + data[place + 1 :]
        with pytest.raises(MalformedBadge):
            read(damaged)
