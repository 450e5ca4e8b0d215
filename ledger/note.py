"""Signed notes and verifier keys: c2sp.org/signed-note.

    note    text, ending in a newline
            <empty line>
            — <key name> base64(key id[4] ‖ signature)          one line per signature, each ending in a newline

    vkey    <key name>+<key id, 8 lowercase hex digits>+base64(algorithm[1] ‖ public key)
    key id  SHA-256(key name ‖ 0x0A ‖ algorithm ‖ public key)[:4]

The text may hold empty lines: the last one of the note separates. UTF-8, no control characters below U+0020 except
the newline. Names are not empty and hold no Unicode space and no plus. Algorithms known here: 1 Ed25519 over the text,
4 and 6 timestamped cosignatures (ledger/cosignature.py). Readers are strict: base64 in its canonical form only, so
a note that parses is byte for byte what `format_note` writes from it.

What this module does not do: decide which keys to trust, or read what the text says (ledger/checkpoint.py). An Ed25519
line is verified here; lines of algorithms 4 and 6 sign another message than the text, in ledger/cosignature.py.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Final

import msgspec

from ledger.errors import MalformedInput, MalformedNote, SignatureInvalid
from ledger.signing import ED25519_KEY_BYTES, MLDSA44_KEY_BYTES, Ed25519Key, verify_ed25519
from ledger.text import format_base64, parse_base64, parse_hex

ED25519: Final = 1
ED25519_COSIGNATURE: Final = 4
MLDSA44_COSIGNATURE: Final = 6

MAX_SIGNATURES: Final = 64
MAX_NOTE_BYTES: Final = 1 << 20
KEY_ID_BYTES: Final = 4

#: A cosigner's name is written behind one length byte into what ML-DSA-44 signs.
MAX_MLDSA44_NAME_BYTES: Final = 255

_KEY_BYTES: Final = {
    ED25519: ED25519_KEY_BYTES,
    ED25519_COSIGNATURE: ED25519_KEY_BYTES,
    MLDSA44_COSIGNATURE: MLDSA44_KEY_BYTES,
}
_SIGNATURE_START: Final = "— "
#: Unicode's White_Space property. str.isspace() also takes U+001C to U+001F, which are no spaces to other readers.
_SPACES: Final = frozenset(
    "\t\n\v\f\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
_UNCLEAN: Final = re.compile("[\x00-\x09\x0b-\x1f\ud800-\udfff]")


def check_name(name: str) -> None:
    """A key name: valid Unicode, not empty, no spaces, no plus, no control characters. Raises MalformedNote."""
    if not name:
        raise MalformedNote("a key name is empty")
    if "+" in name or not _SPACES.isdisjoint(name):
        raise MalformedNote(f"a key name holds a space or a plus: {name[:80]!r}")
    if not is_clean(name):
        raise MalformedNote(f"a key name holds a control character or is not Unicode text: {name[:80]!r}")


def is_clean(text: str) -> bool:
    """Whether `text` can stand in a note: no control characters below U+0020 but newlines, no lone surrogates."""
    return _UNCLEAN.search(text) is None


class VerifierKey(msgspec.Struct, frozen=True):
    """A public key as others know it: name, algorithm (1, 4 or 6) and 32 or 1312 bytes. Raises MalformedNote."""

    name: str
    algorithm: int
    public_key: bytes

    def __post_init__(self) -> None:
        check_name(self.name)
        length = _KEY_BYTES.get(self.algorithm)
        if length is None:
            raise MalformedNote(f"signature algorithm {self.algorithm} is not one of 1, 4 and 6")
        if len(self.public_key) != length:
            raise MalformedNote(f"a key of algorithm {self.algorithm} has {len(self.public_key)} bytes, not {length}")
        if self.algorithm == MLDSA44_COSIGNATURE and len(self.name.encode()) > MAX_MLDSA44_NAME_BYTES:
            raise MalformedNote(f"the name of an ML-DSA-44 key has more than {MAX_MLDSA44_NAME_BYTES} bytes")

    @property
    def key_id(self) -> bytes:
        """The 4 bytes that a signature line carries."""
        named = self.name.encode() + b"\n" + bytes([self.algorithm]) + self.public_key
        return hashlib.sha256(named).digest()[:KEY_ID_BYTES]


class SignatureLine(msgspec.Struct, frozen=True):
    """One signature line: name, key id (4 bytes) and signature (1 byte or more). Raises MalformedNote."""

    name: str
    key_id: bytes
    signature: bytes

    def __post_init__(self) -> None:
        check_name(self.name)
        if len(self.key_id) != KEY_ID_BYTES or not self.signature:
            raise MalformedNote("a signature line holds no key id of 4 bytes followed by a signature")

    def is_by(self, key: VerifierKey) -> bool:
        """Whether the line claims to be by `key`: name and key id are the same. It proves nothing."""
        return self.name == key.name and self.key_id == key.key_id


class Note(msgspec.Struct, frozen=True):
    """A text, with its final newline, and 1 to 64 signature lines in their order."""

    text: str
    signatures: tuple[SignatureLine, ...]


def parse_vkey(text: str) -> VerifierKey:
    """A vkey of algorithm 1, 4 or 6 whose key id is that of its name and key. Raises MalformedNote."""
    parts = text.split("+", 2)  # base64 may hold pluses, names and hex may not
    if len(parts) != 3:
        raise MalformedNote("a verifier key is not of the form name+id+key")
    try:
        key_id = parse_hex(parts[1], length=KEY_ID_BYTES, what="the id of a verifier key")
        material = parse_base64(parts[2], what="the key of a verifier key")
    except MalformedInput as error:
        raise MalformedNote(error.detail) from error
    if not material:
        raise MalformedNote("a verifier key holds no key")
    key = VerifierKey(parts[0], material[0], material[1:])
    if key.key_id != key_id:
        raise MalformedNote(f"the verifier key of {key.name!r} has the id {key_id.hex()}, not {key.key_id.hex()}")
    return key


def format_vkey(key: VerifierKey) -> str:
    """The vkey text of a key."""
    return f"{key.name}+{key.key_id.hex()}+{format_base64(bytes([key.algorithm]) + key.public_key)}"


def parse_note(data: bytes, *, max_bytes: int = MAX_NOTE_BYTES) -> Note:
    """Read a note of at most `max_bytes` bytes and 64 signatures; nothing is verified. Raises MalformedNote."""
    if len(data) > max_bytes:
        raise MalformedNote(f"the note is longer than {max_bytes} bytes")
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedNote(f"the note is not UTF-8 (byte {error.start})") from error
    if not is_clean(whole):
        raise MalformedNote("the note holds a control character")
    split = whole.rfind("\n\n")
    if split < 0:
        raise MalformedNote("no empty line separates the text of the note from its signatures")
    text, block = whole[: split + 1], whole[split + 2 :]
    if not block.endswith("\n"):
        raise MalformedNote("the note holds no signature, or its last line does not end in a newline")
    lines = block[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise MalformedNote(f"the note holds more than {MAX_SIGNATURES} signatures")
    return Note(text, tuple(parse_line(line) for line in lines))


def parse_line(line: str) -> SignatureLine:
    """One signature line, without its newline. Raises MalformedNote."""
    if not line.startswith(_SIGNATURE_START):
        raise MalformedNote(f"a signature line does not begin with an em dash and a space: {line[:40]!r}")
    name, space, encoded = line[len(_SIGNATURE_START) :].partition(" ")
    if not space:
        raise MalformedNote(f"a signature line holds no signature: {line[:40]!r}")
    try:
        signed = parse_base64(encoded, what=f"the signature by {name[:80]!r}")
    except MalformedInput as error:
        raise MalformedNote(error.detail) from error
    return SignatureLine(name, signed[:KEY_ID_BYTES], signed[KEY_ID_BYTES:])


def format_line(line: SignatureLine) -> str:
    """One signature line, without its newline."""
    return f"{_SIGNATURE_START}{line.name} {format_base64(line.key_id + line.signature)}"


def format_note(note: Note) -> bytes:
    """The bytes of a note. Raises MalformedNote on a text or a number of lines that a reader would refuse."""
    if not note.text.endswith("\n") or not is_clean(note.text):
        raise MalformedNote("the text of a note ends in a newline and holds no control characters")
    if not 1 <= len(note.signatures) <= MAX_SIGNATURES:
        raise MalformedNote(f"a note has 1 to {MAX_SIGNATURES} signatures, not {len(note.signatures)}")
    return (note.text + "\n" + "".join(format_line(line) + "\n" for line in note.signatures)).encode()


def sign_note(text: str, name: str, key: Ed25519Key) -> SignatureLine:
    """The Ed25519 (algorithm 1) line over `text`, which ends in a newline. Raises MalformedNote."""
    if not text.endswith("\n") or not is_clean(text):
        raise MalformedNote("the text of a note ends in a newline and holds no control characters")
    verifier = VerifierKey(name, ED25519, key.public_key)
    return SignatureLine(name, verifier.key_id, key.sign(text.encode()))


def verify_line(text: str, key: VerifierKey, line: SignatureLine) -> None:
    """Verify a line by a key of algorithm 1; raises SignatureInvalid. ValueError if the key is of another algorithm."""
    if key.algorithm != ED25519:
        raise ValueError(f"a key of algorithm {key.algorithm} does not sign the text of a note")
    if not line.is_by(key):
        raise SignatureInvalid(f"the signature line is by another key than {key.name!r}")
    try:
        verify_ed25519(key.public_key, text.encode(), line.signature)
    except SignatureInvalid as error:
        raise SignatureInvalid(f"the signature by {key.name!r} does not verify") from error


def find_lines(note: Note, keys: Iterable[VerifierKey]) -> list[tuple[VerifierKey, SignatureLine]]:
    """The lines of known keys, in the order of the note, each with its key; lines by unknown keys are ignored.

    The caller must verify every one of them and reject the note if one fails. A line that occurs twice is returned
    once. Raises MalformedNote if two different keys share name and key id: which of them signed cannot be told.
    """
    known: dict[tuple[str, bytes], VerifierKey] = {}
    for key in keys:
        if known.setdefault((key.name, key.key_id), key) != key:
            raise MalformedNote(f"two keys named {key.name!r} have the id {key.key_id.hex()}")
    found: dict[SignatureLine, VerifierKey] = {}
    for line in note.signatures:
        match = known.get((line.name, line.key_id))
        if match is not None:
            found.setdefault(line, match)
    return [(key, line) for line, key in found.items()]
