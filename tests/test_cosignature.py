"""ledger.cosignature: c2sp.org/tlog-cosignature, Ed25519 and ML-DSA-44."""

from __future__ import annotations

import struct

import pytest

from ledger.checkpoint import Checkpoint, format_checkpoint
from ledger.cosignature import cosign, ed25519_message, mldsa_message, verify_cosignature
from ledger.errors import MalformedNote, SignatureInvalid
from ledger.note import SignatureLine, VerifierKey, parse_note
from ledger.signing import Ed25519Key, MLDSA44Key, verify_ed25519, verify_mldsa44

NAME = "witness.example/w1"
HEAD = Checkpoint("example.com/behind-the-sofa", 20852163, bytes(range(32)))
ED = Ed25519Key.from_seed(b"\x01" * 32)
PQ = MLDSA44Key.from_seed(b"\x02" * 32)
ED_KEY = VerifierKey(NAME, 4, ED.public_key)
PQ_KEY = VerifierKey(NAME, 6, PQ.public_key)
BOTH = pytest.mark.parametrize(("key", "verifier"), [(ED, ED_KEY), (PQ, PQ_KEY)], ids=["Ed25519", "ML-DSA-44"])


def test_the_ed25519_message_of_the_specification() -> None:
    """Its example, byte for byte."""
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    assert ed25519_message(1679315147, text) == b"cosignature/v1\ntime 1679315147\n" + text.encode()


def test_the_mldsa_message_of_the_specification() -> None:
    """Label, name, timestamp, origin, start, end, hash; lengths in one byte, numbers big-endian."""
    message = mldsa_message("wü", 7, "log", 0, 2**63 - 1, b"r" * 32)
    assert message == (
        b"subtree/v1\n\0" + b"\x03w\xc3\xbc" + struct.pack(">Q", 7) + b"\x03log" + struct.pack(">QQ", 0, 2**63 - 1)
    ) + (b"r" * 32)
    assert len(message) == 12 + 4 + 8 + 4 + 16 + 32


def test_the_example_of_the_specification_has_the_layout() -> None:
    """The cosignature line in the document: 8 bytes of time, 64 of signature."""
    note = parse_note(
        """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhc\
yv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX\
3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
""".encode()
    )
    line = note.signatures[1]
    assert (line.name, len(line.signature)) == ("witness.example.com/w1", 72)
    assert int.from_bytes(line.signature[:8], "big") == 1679315147


@BOTH
@pytest.mark.parametrize("timestamp_s", [0, 1, 1679315147, 2**63 - 1])
def test_cosign_and_verify(key: Ed25519Key | MLDSA44Key, verifier: VerifierKey, timestamp_s: int) -> None:
    """A cosignature verifies to its time, from the smallest to the largest."""
    line = cosign(HEAD, NAME, key, timestamp_s)
    assert (line.name, line.key_id) == (NAME, verifier.key_id)
    assert verify_cosignature(HEAD, verifier, line) == timestamp_s


def test_the_signature_is_over_the_message_and_nothing_else() -> None:
    """The bare primitives verify what cosign made."""
    line = cosign(HEAD, NAME, ED, 5)
    verify_ed25519(ED.public_key, b"cosignature/v1\ntime 5\n" + format_checkpoint(HEAD).encode(), line.signature[8:])
    line = cosign(HEAD, NAME, PQ, 5)
    message = mldsa_message(NAME, 5, HEAD.origin, 0, HEAD.size, HEAD.root)
    verify_mldsa44(PQ.public_key, message, line.signature[8:])


@BOTH
def test_timestamps_beyond_the_range_are_refused(key: Ed25519Key | MLDSA44Key, verifier: VerifierKey) -> None:
    """2^63 and above: not made, and refused where somebody signed it all the same."""
    for timestamp_s in (-1, 2**63, 2**64):
        with pytest.raises(ValueError, match="timestamp"):
            cosign(HEAD, NAME, key, timestamp_s)
    for timestamp_s in (2**63, 2**64 - 1):
        message = (
            ed25519_message(timestamp_s, format_checkpoint(HEAD))
            if isinstance(key, Ed25519Key)
            else mldsa_message(NAME, timestamp_s, HEAD.origin, 0, HEAD.size, HEAD.root)
        )
        line = SignatureLine(NAME, verifier.key_id, struct.pack(">Q", timestamp_s) + key.sign(message))
        with pytest.raises(SignatureInvalid, match=r"2\^63"):
            verify_cosignature(HEAD, verifier, line)


@BOTH
def test_every_field_is_covered(key: Ed25519Key | MLDSA44Key, verifier: VerifierKey) -> None:
    """Another origin, size, root or time does not verify."""
    line = cosign(HEAD, NAME, key, 1000)
    for other in (
        Checkpoint(HEAD.origin + "x", HEAD.size, HEAD.root),
        Checkpoint(HEAD.origin, HEAD.size + 1, HEAD.root),
        Checkpoint(HEAD.origin, HEAD.size, HEAD.root[::-1]),
    ):
        with pytest.raises(SignatureInvalid, match="does not verify"):
            verify_cosignature(other, verifier, line)
    later = SignatureLine(NAME, line.key_id, struct.pack(">Q", 1001) + line.signature[8:])
    with pytest.raises(SignatureInvalid, match="does not verify"):
        verify_cosignature(HEAD, verifier, later)


def test_mldsa_covers_the_name_and_ed25519_does_not() -> None:
    """As the specification says: an Ed25519 cosigner needs a key per name, an ML-DSA-44 one does not."""
    for key, algorithm, covered in ((ED, 4, False), (PQ, 6, True)):
        line = cosign(HEAD, NAME, key, 9)
        other = VerifierKey("other", algorithm, key.public_key)
        moved = SignatureLine("other", other.key_id, line.signature)
        if covered:
            with pytest.raises(SignatureInvalid):
                verify_cosignature(HEAD, other, moved)
        else:
            assert verify_cosignature(HEAD, other, moved) == 9


def test_flips_are_refused() -> None:
    """Every bit of an Ed25519 cosignature; of an ML-DSA-44 one the timestamp and a sample of the signature."""
    line = cosign(HEAD, NAME, ED, 1000)
    for bit in range(8 * 72):
        with pytest.raises(SignatureInvalid):
            verify_cosignature(HEAD, ED_KEY, SignatureLine(NAME, line.key_id, flip(line.signature, bit)))
    line = cosign(HEAD, NAME, PQ, 1000)
    for bit in [*range(64), *range(64, 8 * 2428, 331), 8 * 2428 - 1]:
        with pytest.raises(SignatureInvalid):
            verify_cosignature(HEAD, PQ_KEY, SignatureLine(NAME, line.key_id, flip(line.signature, bit)))


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@BOTH
def test_lengths_names_and_ids(key: Ed25519Key | MLDSA44Key, verifier: VerifierKey) -> None:
    """A line that is shorter, longer or by another name or id is refused."""
    line = cosign(HEAD, NAME, key, 1000)
    for signature in (line.signature[:-1], line.signature + b"\0", line.signature[8:], b"x"):
        with pytest.raises(SignatureInvalid, match="bytes"):
            verify_cosignature(HEAD, verifier, SignatureLine(NAME, line.key_id, signature))
    for other in (SignatureLine("other", line.key_id, line.signature), SignatureLine(NAME, bytes(4), line.signature)):
        with pytest.raises(SignatureInvalid, match="another key"):
            verify_cosignature(HEAD, verifier, other)


def test_a_note_signature_is_no_cosignature() -> None:
    """Algorithm 1 has no timestamps, and its key is refused."""
    key = VerifierKey(NAME, 1, ED.public_key)
    with pytest.raises(ValueError, match="algorithm 1"):
        verify_cosignature(HEAD, key, SignatureLine(NAME, key.key_id, bytes(72)))


def test_mldsa_limits() -> None:
    """Names and origins of 1 to 255 bytes; a subtree that starts later has no timestamp."""
    for name, origin in (("", "o"), ("n", ""), ("n" * 256, "o"), ("n", "o" * 256), ("ü" * 128, "o")):
        with pytest.raises(MalformedNote, match="bytes"):
            mldsa_message(name, 0, origin, 0, 1, bytes(32))
    mldsa_message("n" * 255, 0, "o" * 255, 256, 512, bytes(32))
    with pytest.raises(MalformedNote, match="timestamp"):
        mldsa_message("n", 1, "o", 256, 512, bytes(32))
    long = Checkpoint("o" * 256, 1, bytes(32))
    assert verify_cosignature(long, ED_KEY, cosign(long, NAME, ED, 1)) == 1
    with pytest.raises(MalformedNote, match="origin"):
        cosign(long, NAME, PQ, 1)
