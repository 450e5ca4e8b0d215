"""ledger.note: c2sp.org/signed-note, read strictly."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import MalformedNote, SignatureInvalid
from ledger.note import (
    MAX_SIGNATURES,
    Note,
    SignatureLine,
    VerifierKey,
    find_lines,
    format_note,
    format_vkey,
    parse_line,
    parse_note,
    parse_vkey,
    sign_note,
    verify_line,
)
from ledger.signing import Ed25519Key, MLDSA44Key

SPEC_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_NOTE = """This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
""".encode()
SPEC_POEM = """Ognuno sta solo sul cuor della terra
trafitto da un raggio di sole:

ed è subito sera.

— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMou\
FSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=
""".encode()

KEY = Ed25519Key.from_seed(b"\x01" * 32)
VKEY = VerifierKey("example.com/log", 1, KEY.public_key)
TEXT = "first\n\nsecond ünd\n"
LINE = sign_note(TEXT, VKEY.name, KEY)
NOTE = format_note(Note(TEXT, (LINE,)))


def open_note(data: bytes, key: VerifierKey) -> Note:
    """What a client does: read, take the lines of the key it knows, verify every one, refuse if there is none."""
    note = parse_note(data)
    lines = find_lines(note, [key])
    if not lines:
        raise SignatureInvalid("not signed")
    for known, line in lines:
        verify_line(note.text, known, line)
    return note


def refused(data: bytes) -> str:
    with pytest.raises(MalformedNote) as caught:
        parse_note(data)
    return caught.value.detail


def line_of(encoded: str, name: str = "n") -> bytes:
    return f"text\n\n— {name} {encoded}\n".encode()


def test_the_examples_of_the_specification() -> None:
    """The signed example verifies with its vkey; the poem splits at its last empty line; both format back."""
    key = parse_vkey(SPEC_VKEY)
    assert (key.name, key.algorithm, key.key_id.hex()) == ("example.com/foo", 1, "530d903a")
    assert format_vkey(key) == SPEC_VKEY
    assert open_note(SPEC_NOTE, key).text == "This is an example message.\n"
    poem = parse_note(SPEC_POEM)
    assert poem.text.endswith("sole:\n\ned è subito sera.\n")
    assert poem.signatures[0].name == "quasimodo.example/salvatore"
    for data in (SPEC_NOTE, SPEC_POEM):
        assert format_note(parse_note(data)) == data


def test_sign_and_open() -> None:
    """A signed note opens to what was signed."""
    assert open_note(NOTE, VKEY) == Note(TEXT, (LINE,))
    encoded = base64.b64encode(LINE.key_id + LINE.signature)
    assert TEXT.encode() + b"\n\xe2\x80\x94 example.com/log " + encoded + b"\n" == NOTE


@pytest.mark.parametrize("data", [NOTE, SPEC_NOTE, SPEC_POEM], ids=["ours", "example", "poem"])
def test_every_truncation_is_refused(data: bytes) -> None:
    """No proper prefix of a note with one signature is a note."""
    for length in range(len(data)):
        refused(data[:length])


def test_truncations_of_a_note_with_several_signatures_lose_signatures() -> None:
    """A prefix is refused, or ends at a line and has fewer signatures: it never reads as the same note."""
    note = Note(TEXT, tuple(SignatureLine(f"w{k}", bytes([k] * 4), b"s" * 64) for k in range(4)))
    data = format_note(note)
    lengths = []
    for length in range(len(data)):
        try:
            lengths.append(len(parse_note(data[:length]).signatures))
        except MalformedNote:
            continue
    assert lengths == [1, 2, 3]


@pytest.mark.parametrize(("data", "key"), [(NOTE, VKEY), (SPEC_NOTE, parse_vkey(SPEC_VKEY))], ids=["ours", "example"])
def test_every_changed_byte_is_refused(data: bytes, key: VerifierKey) -> None:
    """With one signature, every bit of the note matters: flipped, set to newline or removed, it does not open."""
    for position in range(len(data)):
        for changed in {data[position] ^ 1 << bit for bit in range(8)} | {0x0A, 0x0D, 0x20} - {data[position]}:
            with pytest.raises((MalformedNote, SignatureInvalid)):
                open_note(data[:position] + bytes([changed]) + data[position + 1 :], key)
        with pytest.raises((MalformedNote, SignatureInvalid)):
            open_note(data[:position] + data[position + 1 :], key)


def test_flips_in_lines_of_unknown_keys_never_read_as_the_same_note() -> None:
    """Lines of unknown keys are ignored, yet the note that is read differs whenever its bytes do."""
    note = Note(TEXT, (SignatureLine("other", b"1234", b"sig" * 5), LINE))
    data = format_note(note)
    for position in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            try:
                found = open_note(bytes(changed), VKEY)
            except (MalformedNote, SignatureInvalid):
                continue
            assert found != note
            assert found.text == TEXT


@pytest.mark.parametrize("character", [*range(0x0A), *range(0x0B, 0x20)])
def test_control_characters_are_refused_anywhere(character: int) -> None:
    """Below U+0020 only the newline stands in a note; CR LF line ends are refused with the rest."""
    for data in (
        b"te%cxt\n\n" % character + NOTE.split(b"\n\n")[-1],
        NOTE.replace(b"example.com", b"exam%cple.com" % character),
        NOTE[:-1] + b"%c\n" % character,
    ):
        assert "control character" in refused(data)
    refused(NOTE.replace(b"\n", b"\r\n"))


def test_other_controls_are_text() -> None:
    """DEL and the C1 controls are allowed by the specification, in Go and here."""
    text = "a\x7fb\u0080c\ufffdd\ufeff\n"
    data = format_note(Note(text, (sign_note(text, VKEY.name, KEY),)))
    assert open_note(data, VKEY).text == text


@pytest.mark.parametrize("junk", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80"])
def test_invalid_utf8_is_refused(junk: bytes) -> None:
    """Stray, cut, surrogate, overlong and too large sequences."""
    assert "UTF-8" in refused(b"text" + junk + b"\n\n" + NOTE.split(b"\n\n")[-1])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\n\n",
        b"text\n",
        b"text\n\n",
        b"text\n\n\n",
        b"text",
        "— n AAAAAAA=\n".encode(),
        "\n— n AAAAAAA=\n".encode(),
        "text\n— n AAAAAAA=\n".encode(),
        "text\n\n— n AAAAAAA=".encode(),
        "text\n\n— n AAAAAAA=\n\n".encode(),
        "text\n\n— n AAAAAAA=\nmore\n".encode(),
        b"text\n\n-- n AAAAAAA=\n",
        "text\n\n– n AAAAAAA=\n".encode(),
        "text\n\n—n AAAAAAA=\n".encode(),
        "text\n\n—  n AAAAAAA=\n".encode(),
        "text\n\n— n  AAAAAAA=\n".encode(),
        "text\n\n— n AAAAAAA= \n".encode(),
        "text\n\n— nAAAAAAA=\n".encode(),
        "text\n\n— n\n".encode(),
        "text\n\n— n \n".encode(),
        "text\n\n—  AAAAAAA=\n".encode(),
        "text\n\n — n AAAAAAA=\n".encode(),
    ],
)
def test_malformed_notes(data: bytes) -> None:
    """What is not exactly text, empty line and signature lines is refused."""
    refused(data)


def test_an_empty_text_is_a_newline() -> None:
    """Like Go: a note may begin with its separator, and then its text is one newline."""
    assert parse_note("\n\n— n AAAAAAA=\n".encode()).text == "\n"
    assert parse_note("a\n\n\n— n AAAAAAA=\n".encode()).text == "a\n\n"


@pytest.mark.parametrize(
    "encoded",
    [
        "AAAAAAB=",  # a bit after the last byte
        "AAAAAAA",  # padding missing
        "AAAAAAA==",
        "AAAA AAA=",
        "AAAAA-_=",
        "AAAA",  # a key id and a signature of no bytes or less
        "AAAAAA==",
        "====",
        "AAAAAAA=AAAA",
        "ÄAAAAAA=",
    ],
)
def test_base64_is_canonical(encoded: str) -> None:
    """One encoding per signature, of five bytes or more."""
    refused(line_of(encoded))
    assert parse_note(line_of("AAAAAAA=")).signatures == (SignatureLine("n", bytes(4), b"\0"),)


SPACES = [c for c in map(chr, range(0x110000)) if c.isspace() and not "\x1c" <= c <= "\x1f"]


def test_names_hold_no_space_and_no_plus() -> None:
    """Every Unicode space, and the plus, is refused in names of lines and of keys; other characters are not."""
    assert len(SPACES) == 25
    for space in [*SPACES, "+"]:
        with pytest.raises(MalformedNote):
            VerifierKey(f"a{space}b", 1, KEY.public_key)
        with pytest.raises(MalformedNote):
            SignatureLine(f"a{space}b", bytes(4), b"s")
        refused(line_of("AAAAAAA=", f"a{space}b"))
    for name in ("", "a\nb", "a\0b", "\ud800"):
        with pytest.raises(MalformedNote):
            VerifierKey(name, 1, KEY.public_key)
    for name in ("ü", "a\u200bb", "\u180e", "—", "\U0001f600", "\ufeff"):
        assert parse_note(line_of("AAAAAAA=", name)).signatures[0].name == name


@pytest.mark.parametrize("count", [1, 16, MAX_SIGNATURES])
def test_as_many_signatures_as_allowed(count: int) -> None:
    """At least the 16 that the specification demands, of post-quantum size, up to 64."""
    note = Note(TEXT, tuple(SignatureLine(f"w{k}", bytes(4), bytes(4627)) for k in range(count)))
    assert parse_note(format_note(note)) == note


def test_more_than_64_signatures_are_refused() -> None:
    """By the reader and by the writer."""
    line = SignatureLine("n", bytes(4), b"s")
    with pytest.raises(MalformedNote, match="64"):
        format_note(Note(TEXT, (line,) * 65))
    data = format_note(Note(TEXT, (line,) * 64))
    assert "64" in refused(data + data.rsplit(b"\n", 2)[-2] + b"\n")


def test_size_limit() -> None:
    """A note of exactly max_bytes is read, one byte less is not enough."""
    assert parse_note(NOTE, max_bytes=len(NOTE)).text == TEXT
    with pytest.raises(MalformedNote, match="longer"):
        parse_note(NOTE, max_bytes=len(NOTE) - 1)


@pytest.mark.parametrize("text", ["", "no newline", "a\rb\n", "a\x00\n", "\ud800\n"])
def test_texts_that_cannot_be_signed(text: str) -> None:
    """Signing and formatting refuse what a reader would."""
    with pytest.raises(MalformedNote):
        sign_note(text, "n", KEY)
    with pytest.raises(MalformedNote):
        format_note(Note(text, (LINE,)))
    with pytest.raises(MalformedNote):
        format_note(Note(TEXT, ()))


def test_find_lines_matches_name_and_id() -> None:
    """A line counts for a key only if name and id agree; the rest is ignored, even with the key's name or its id."""
    other_name = SignatureLine("other", LINE.key_id, LINE.signature)
    other_id = SignatureLine(LINE.name, bytes(4), LINE.signature)
    note = Note(TEXT, (other_name, other_id, LINE, LINE))
    assert find_lines(note, [VKEY]) == [(VKEY, LINE)]
    assert find_lines(note, []) == []


def test_duplicate_lines_count_once_and_differing_ones_are_all_verified() -> None:
    """An identical second line is one statement; another one by the same key must verify too, unlike in Go."""
    forged = SignatureLine(LINE.name, LINE.key_id, bytes(64))
    open_note(format_note(Note(TEXT, (LINE, LINE))), VKEY)
    for lines in ((LINE, forged), (forged, LINE)):
        with pytest.raises(SignatureInvalid):
            open_note(format_note(Note(TEXT, lines)), VKEY)


def test_two_keys_with_one_name_and_id_are_ambiguous(monkeypatch: pytest.MonkeyPatch) -> None:
    """Key ids have 32 bits; where two keys collide nothing is verified at all."""
    other = VerifierKey(VKEY.name, 1, Ed25519Key.from_seed(b"\x02" * 32).public_key)
    monkeypatch.setattr(VerifierKey, "key_id", property(lambda key: LINE.key_id))
    with pytest.raises(MalformedNote, match="have the id"):
        find_lines(Note(TEXT, (LINE,)), [VKEY, other])
    assert find_lines(Note(TEXT, (LINE,)), [VKEY, VKEY]) == [(VKEY, LINE)]


def test_verify_line_refuses_what_is_not_by_the_key() -> None:
    """Another key, another name, another text; a cosigner's key is the caller's mistake."""
    other = VerifierKey(VKEY.name, 1, Ed25519Key.from_seed(b"\x02" * 32).public_key)
    for text, key in ((TEXT, other), (TEXT + "\n", VKEY), (TEXT, VerifierKey("other", 1, KEY.public_key))):
        with pytest.raises(SignatureInvalid):
            verify_line(text, key, LINE)
    with pytest.raises(ValueError, match="algorithm 4"):
        verify_line(TEXT, VerifierKey(VKEY.name, 4, KEY.public_key), LINE)


@pytest.mark.parametrize("algorithm", [1, 4, 6])
def test_vkeys_of_every_algorithm(algorithm: int) -> None:
    """A vkey formats and parses back; the same key has another id per algorithm."""
    public = MLDSA44Key.from_seed(bytes(32)).public_key if algorithm == 6 else KEY.public_key
    key = VerifierKey("example.com/ü", algorithm, public)
    assert parse_vkey(format_vkey(key)) == key
    assert VerifierKey(key.name, 4 if algorithm == 1 else 1, KEY.public_key).key_id != key.key_id


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "+",
        "++",
        "example.com/foo",
        "example.com/foo+530d903a",
        SPEC_VKEY.replace("530d903a", "530D903A"),
        SPEC_VKEY.replace("530d903a", "530d903b"),
        SPEC_VKEY.replace("530d903a", "0530d903a"),
        SPEC_VKEY.replace("530d903a", "30d903a"),
        SPEC_VKEY.replace("530d903a", "530d 903a"),
        SPEC_VKEY.replace("foo", "bar"),
        SPEC_VKEY.replace("foo", "f oo"),
        SPEC_VKEY + "=",
        SPEC_VKEY + "\n",
        " " + SPEC_VKEY,
        SPEC_VKEY[:-1],
        SPEC_VKEY[:-4],
        SPEC_VKEY.replace("+Aeky", "+Beky"),
        "n+00000000+",
        "\udcff+00000000+AA==",
    ],
)
def test_malformed_vkeys(vkey: str) -> None:
    """Wrong ids, uppercase, missing parts, junk, other lengths."""
    with pytest.raises(MalformedNote):
        parse_vkey(vkey)


@pytest.mark.parametrize("algorithm", [0, 2, 3, 5, 7, 255])
def test_unknown_algorithms_are_refused(algorithm: int) -> None:
    """Also where the id is right."""
    with pytest.raises(MalformedNote, match=f"algorithm {algorithm} "):
        VerifierKey("n", algorithm, KEY.public_key)


def test_key_lengths() -> None:
    """32 bytes for Ed25519, 1312 for ML-DSA-44, whose cosigner's name has at most 255 bytes."""
    for algorithm, length in ((1, 31), (1, 33), (4, 0), (6, 32), (6, 1311)):
        with pytest.raises(MalformedNote, match="bytes"):
            VerifierKey("n", algorithm, bytes(length))
    VerifierKey("n" * 255, 6, bytes(1312))
    for name in ("n" * 256, "ü" * 128):
        with pytest.raises(MalformedNote, match="255"):
            VerifierKey(name, 6, bytes(1312))


def test_line_parsing_alone() -> None:
    """A witness answers with bare lines: one reads back to itself, with a newline in it it does not."""
    assert parse_line(f"— {LINE.name} {base64.b64encode(LINE.key_id + LINE.signature).decode()}") == LINE
    with pytest.raises(MalformedNote):
        parse_line(f"— {LINE.name} {base64.b64encode(LINE.key_id + LINE.signature).decode()}\n")
    with pytest.raises(MalformedNote):
        SignatureLine("n", b"123", b"s")
    with pytest.raises(MalformedNote):
        SignatureLine("n", b"1234", b"")


names = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], exclude_characters="+"), min_size=1)
texts = st.text(st.one_of(st.just("\n"), st.characters(exclude_categories=["Cs"], min_codepoint=0x20))).map(
    lambda text: text + "\n"
)


@given(texts, st.lists(st.tuples(names, st.binary(min_size=4, max_size=4), st.binary(min_size=1)), min_size=1))
def test_notes_round_trip(text: str, lines: list[tuple[str, bytes, bytes]]) -> None:
    """Any text that may be signed, empty lines and all, is what the reader gives back."""
    note = Note(text, tuple(SignatureLine(*line) for line in lines[:MAX_SIGNATURES]))
    assert parse_note(format_note(note)) == note


@given(st.binary() | st.text().map(str.encode) | st.binary().map(lambda junk: NOTE[:40] + junk + NOTE[40:]))
def test_whatever_parses_formats_back(data: bytes) -> None:
    """Two byte strings never read as the same note."""
    try:
        note = parse_note(data)
    except MalformedNote:
        return
    assert format_note(note) == data
