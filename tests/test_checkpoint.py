"""ledger.checkpoint: c2sp.org/tlog-checkpoint, three lines and nothing else."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.checkpoint import Checkpoint, format_checkpoint, open_checkpoint, parse_checkpoint
from ledger.errors import MalformedNote, SignatureInvalid
from ledger.note import Note, SignatureLine, VerifierKey, format_note, parse_note, sign_note
from ledger.signing import Ed25519Key

SPEC_TEXT = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
SPEC_NOTE = (
    SPEC_TEXT
    + """
— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhc\
yv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
"""
).encode()

KEY = Ed25519Key.from_seed(b"\x01" * 32)
LOG = VerifierKey("example.com/log", 1, KEY.public_key)
HEAD = Checkpoint(LOG.name, 1234, bytes(range(32)))
ROOT = base64.b64encode(HEAD.root).decode()
SIGNED = format_note(Note(format_checkpoint(HEAD), (sign_note(format_checkpoint(HEAD), LOG.name, KEY),)))


def signed(text: str, name: str = LOG.name) -> bytes:
    return format_note(Note(text, (sign_note(text, name, KEY),)))


def test_the_example_of_the_specification() -> None:
    """Its text reads to origin, size and root, and formats back."""
    head = parse_checkpoint(parse_note(SPEC_NOTE).text)
    assert (head.origin, head.size) == ("example.com/behind-the-sofa", 20852163)
    assert head.root.hex() == "0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62"
    assert format_checkpoint(head) == SPEC_TEXT


def test_open() -> None:
    """A checkpoint signed by the log's key opens to its head and its note."""
    head, note = open_checkpoint(SIGNED, LOG)
    assert head == HEAD
    assert format_note(note) == SIGNED


def test_other_signatures_are_ignored() -> None:
    """Witness lines, known to nobody here, neither help nor hurt."""
    stranger = SignatureLine("witness", b"abcd", bytes(72))
    line = parse_note(SIGNED).signatures[0]
    head, note = open_checkpoint(format_note(Note(format_checkpoint(HEAD), (stranger, line))), LOG)
    assert head == HEAD
    assert note.signatures[0] == stranger
    with pytest.raises(SignatureInvalid, match="not signed by"):
        open_checkpoint(format_note(Note(format_checkpoint(HEAD), (stranger,))), LOG)


def test_a_bad_second_signature_by_the_log_refuses_the_note() -> None:
    """Every line by the known key must verify."""
    line = parse_note(SIGNED).signatures[0]
    forged = SignatureLine(line.name, line.key_id, bytes(64))
    for lines in ((line, forged), (forged, line), (forged,)):
        with pytest.raises(SignatureInvalid):
            open_checkpoint(format_note(Note(format_checkpoint(HEAD), lines)), LOG)


def test_every_truncation_and_every_changed_byte_is_refused() -> None:
    """No prefix opens, nor anything with a bit flipped, a byte removed or made a newline."""
    for position in range(len(SIGNED)):
        variants = [SIGNED[:position], SIGNED[:position] + SIGNED[position + 1 :]]
        variants += [SIGNED[:position] + bytes([SIGNED[position] ^ 1 << b]) + SIGNED[position + 1 :] for b in range(8)]
        variants += [SIGNED[:position] + b"\n" + SIGNED[position:]]
        for data in variants:
            with pytest.raises((MalformedNote, SignatureInvalid)):
                open_checkpoint(data, LOG)


def test_the_origin_is_the_name_of_the_key() -> None:
    """A good signature by the log's key under a checkpoint of another origin proves nothing."""
    text = format_checkpoint(Checkpoint("example.com/other", 1, HEAD.root))
    with pytest.raises(SignatureInvalid, match=r"example\.com/other"):
        open_checkpoint(signed(text), LOG)
    with pytest.raises(SignatureInvalid):
        open_checkpoint(signed(text, "example.com/other"), LOG)


def test_keys_of_other_algorithms_are_a_callers_mistake() -> None:
    """Cosigner's keys are for ledger.policy."""
    key = VerifierKey(LOG.name, 4, KEY.public_key)
    line = SignatureLine(key.name, key.key_id, bytes(72))
    with pytest.raises(ValueError, match="algorithm 4"):
        open_checkpoint(format_note(Note(format_checkpoint(HEAD), (line,))), key)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "\n\n\n",
        "o\n1\n",
        f"o\n1\n{ROOT}",
        f"o\n1\n{ROOT}\n\n",
        f"\n1\n{ROOT}\n",
        f"o\n\n1\n{ROOT}\n",
        f"o\n01\n{ROOT}\n",
        f"o\n00\n{ROOT}\n",
        f"o\n-1\n{ROOT}\n",
        f"o\n+1\n{ROOT}\n",
        f"o\n 1\n{ROOT}\n",
        f"o\n1 \n{ROOT}\n",
        f"o\n1_0\n{ROOT}\n",
        f"o\n1.0\n{ROOT}\n",
        f"o\n0x1\n{ROOT}\n",
        f"o\n١\n{ROOT}\n",
        f"o\n²\n{ROOT}\n",
        f"o\n9223372036854775808\n{ROOT}\n",
        f"o\n99999999999999999999999\n{ROOT}\n",
        f"o\n1\n{ROOT} \n",
        f"o\n1\n {ROOT}\n",
        f"o\n1\n{ROOT[:-1]}\n",
        f"o\n1\n{ROOT[:-1]}-\n",
        f"o\n1\n{ROOT[:-2]}9=\n",
        f"o\n1\n{ROOT[4:]}\n",
        f"o\n1\nAAAA{ROOT}\n",
        f"o\r\n1\r\n{ROOT}\r\n",
        f"o\0\n1\n{ROOT}\n",
        f"o\t\n1\n{ROOT}\n",
        f"o\ud800\n1\n{ROOT}\n",
    ],
)
def test_malformed_texts(text: str) -> None:
    """Missing lines, numbers that only Python reads, other lengths, CR LF, control characters, empty origin."""
    with pytest.raises(MalformedNote):
        parse_checkpoint(text)


@pytest.mark.parametrize("extension", ["x\n", "x\ny\n", "extension line\n"])
def test_extension_lines_are_refused_by_name(extension: str) -> None:
    """Even signed: monitors cannot audit them."""
    text = format_checkpoint(HEAD) + extension
    with pytest.raises(MalformedNote, match="extension lines"):
        parse_checkpoint(text)
    with pytest.raises(MalformedNote, match="extension lines"):
        open_checkpoint(signed(text), LOG)


def test_what_the_specification_only_advises_against() -> None:
    """Spaces and pluses in origins, other line separators of Unicode within them: one line, so read."""
    for origin in ("a b", "a+b", "ü", "a\u2028b", "a\u0085b", "a\x7f"):
        head = Checkpoint(origin, 0, HEAD.root)
        assert parse_checkpoint(format_checkpoint(head)) == head


@pytest.mark.parametrize(
    ("origin", "size", "root"),
    [("", 1, bytes(32)), ("a\nb", 1, bytes(32)), ("a\r", 1, bytes(32)), ("o", -1, bytes(32)), ("o", 2**63, bytes(32))]
    + [("o", 1, bytes(length)) for length in (0, 31, 33)],
)
def test_impossible_heads(origin: str, size: int, root: bytes) -> None:
    """No such object can be made."""
    with pytest.raises(MalformedNote):
        Checkpoint(origin, size, root)


@given(
    st.text(st.characters(exclude_categories=["Cs"], min_codepoint=0x20), min_size=1),
    st.integers(0, 2**63 - 1),
    st.binary(min_size=32, max_size=32),
)
def test_round_trip(origin: str, size: int, root: bytes) -> None:
    """Every head reads back from its text."""
    head = Checkpoint(origin, size, root)
    assert parse_checkpoint(format_checkpoint(head)) == head


@given(st.text() | st.builds("{}\n{}\n{}\n".format, st.text(), st.integers(), st.just(ROOT)))
def test_whatever_parses_formats_back(text: str) -> None:
    """Two texts never read as the same head."""
    try:
        head = parse_checkpoint(text)
    except MalformedNote:
        return
    assert format_checkpoint(head) == text
