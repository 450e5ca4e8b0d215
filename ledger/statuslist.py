"""W3C Bitstring Status Lists as a ledger serves them (docs/protocol.md, "W3C status lists"): made and signed.

    encodedList   "u" ‖ base64url without padding of GZIP(16,384 bytes); index 0 is the most significant bit of byte 0
    id            <base>status/<list>/<purpose>, purpose revocation or suspension; base is an address that ends in /
    evidence      <base>v1/lists/<list>?size=<size>: the proof of these bits under that head (`ledger.listproof`)
    JSON-LD       with a Data Integrity proof of the cryptosuite eddsa-rdfc-2022 (W3C vc-di-eddsa, section 3.2)
    JWT           header {alg EdDSA, kid, typ vc+jwt}, payload the credential and iss (W3C vc-jose-cose, section 3.1)

Every list has the same members, each identified by an absolute address, so its canonical RDF (RDFC-1.0) has no blank
node but the proof's own, and is the sorted lines of a template: twelve for the list and five for the proof. Nothing
here expands JSON-LD. The same list makes the same bytes: Ed25519 is deterministic, and `created` is the head's time.

Pure: no key is kept and no clock is read here. Lists are read by `ledger.statuslist_reader`.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final

import msgspec

from ledger.base58 import format_base58
from ledger.entry import LIST_SLOTS, did_key
from ledger.errors import MalformedInput
from ledger.signing import Ed25519Key
from ledger.status import Purpose

LIST_BYTES: Final = LIST_SLOTS // 8
#: Bits that do not compress take 22 kB of encodedList; a JWT takes that a third longer.
MAX_LIST_BYTES: Final = 64 * 1024
PURPOSES: Final[tuple[Purpose, ...]] = ("revocation", "suspension")
CONTEXT: Final = "https://www.w3.org/ns/credentials/v2"
PROOF_TYPE: Final = "urn:badge-ledger:status-list-proof"
JWT_TYPE: Final = "vc+jwt"

#: Scheme, host, perhaps a port, and a path (RFC 3986) that ends in a slash: nothing that RDF or JSON would escape.
_BASE: Final = (
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?/(?:[A-Za-z0-9._~!$&'()*+,;=:@%-]+/)*"
)
LIST_BASE: Final = re.compile(_BASE, re.ASCII)
LIST_ID: Final = re.compile(
    rf"(?P<base>{_BASE})status/(?P<list>[0-9]{{1,10}})/(?P<purpose>revocation|suspension)", re.ASCII
)
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_GZIP: Final = 31  # zlib's number for the largest window in a gzip wrapper

_RDF_TYPE: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
_XSD: Final = "http://www.w3.org/2001/XMLSchema#"
_VC: Final = "https://www.w3.org/2018/credentials#"
_STATUS: Final = "https://www.w3.org/ns/credentials/status#"
_SECURITY: Final = "https://w3id.org/security#"


class StatusList(msgspec.Struct, frozen=True):
    """What a list says. `size`: the head, as a tree size of the log. Times in milliseconds since the Unix epoch.

    `base` ends in a slash. `encoded` is the encodedList. `ttl_ms`: how long a copy may be used before it is asked for
    again. `issuer` is the did:key of the key that signs.
    """

    base: str
    list: int
    purpose: Purpose
    size: int
    issuer: str
    valid_from_ms: int
    valid_until_ms: int
    ttl_ms: int
    encoded: str

    @property
    def id(self) -> str:
        """The address of the list, and its identifier."""
        return f"{self.base}status/{self.list}/{self.purpose}"

    @property
    def proof_address(self) -> str:
        """Where the ledger proves the bits."""
        return f"{self.base}v1/lists/{self.list}?size={self.size}"

    @property
    def verification_method(self) -> str:
        """The address of the key."""
        return f"{self.issuer}#{self.issuer.removeprefix('did:key:')}"


# The bits ------------------------------------------------------------------------------------------------------------


def encode_list(bits: bytes) -> str:
    """The encodedList of 16,384 bytes. Raises ValueError on another length."""
    if len(bits) != LIST_BYTES:
        raise ValueError(f"the bits of a list have {LIST_BYTES} bytes, not {len(bits)}")
    packer = zlib.compressobj(9, zlib.DEFLATED, _GZIP)
    return "u" + _format_base64url(packer.compress(bits) + packer.flush())


def decode_list(text: str) -> bytes:
    """The 16,384 bytes of an encodedList; never more are inflated. Raises MalformedInput."""
    if len(text) > MAX_LIST_BYTES:
        raise MalformedInput(f"the encodedList has more than {MAX_LIST_BYTES} characters")
    if not text.startswith("u"):
        raise MalformedInput('the encodedList does not begin with "u", the multibase prefix of base64url')
    packed = parse_base64url(text[1:], "the encodedList")
    unpacker = zlib.decompressobj(_GZIP)
    try:
        bits = unpacker.decompress(packed, LIST_BYTES + 1)
    except zlib.error:
        raise MalformedInput("the encodedList is not gzip") from None
    if len(bits) > LIST_BYTES:
        raise MalformedInput(f"the list has more than {LIST_SLOTS} entries")
    if not unpacker.eof or unpacker.unused_data:
        raise MalformedInput("the encodedList is cut short, or has bytes to spare")
    if len(bits) != LIST_BYTES:
        raise MalformedInput(f"the list has {8 * len(bits)} entries, not {LIST_SLOTS}")
    return bits


def is_set(bits: bytes, index: int) -> bool:
    """The bit of an index, 0 to 131,071."""
    return bool(bits[index >> 3] & (0x80 >> (index & 7)))


# Making --------------------------------------------------------------------------------------------------------------


def sign_json_ld(list_: StatusList, key: Ed25519Key) -> bytes:
    """The list as JSON-LD, signed by the key that its issuer is. Raises ValueError for another key."""
    _check_key(list_, key)
    signature = key.sign(hash_data(list_))
    proof = {**proof_options(list_), "proofValue": "z" + format_base58(signature)}
    return msgspec.json.encode({**credential(list_), "proof": proof})


def sign_jwt(list_: StatusList, key: Ed25519Key) -> bytes:
    """The list as a compact JWT, signed by the key that its issuer is. Raises ValueError for another key."""
    _check_key(list_, key)
    signing_input = _signing_input(list_)
    return signing_input + b"." + _format_base64url(key.sign(signing_input)).encode()


def credential(list_: StatusList) -> dict[str, Any]:
    """The list as a credential without a proof."""
    return {
        "@context": [CONTEXT],
        "id": list_.id,
        "type": ["VerifiableCredential", "BitstringStatusListCredential"],
        "issuer": list_.issuer,
        "validFrom": format_time(list_.valid_from_ms),
        "validUntil": format_time(list_.valid_until_ms),
        "credentialSubject": {
            "id": f"{list_.id}#list",
            "type": "BitstringStatusList",
            "statusPurpose": list_.purpose,
            "encodedList": list_.encoded,
            "ttl": list_.ttl_ms,
        },
        "evidence": {"id": list_.proof_address, "type": PROOF_TYPE},
    }


def canonical(list_: StatusList) -> bytes:
    """The canonical N-Quads of the credential (RDFC-1.0): twelve lines, sorted."""
    subject, bits = f"<{list_.id}>", f"<{list_.id}#list>"
    lines = [
        f"{subject} <{_RDF_TYPE}> <{_VC}VerifiableCredential>",
        f"{subject} <{_RDF_TYPE}> <{_STATUS}BitstringStatusListCredential>",
        f"{subject} <{_VC}credentialSubject> {bits}",
        f"{subject} <{_VC}evidence> <{list_.proof_address}>",
        f"{subject} <{_VC}issuer> <{list_.issuer}>",
        f'{subject} <{_VC}validFrom> "{format_time(list_.valid_from_ms)}"^^<{_XSD}dateTime>',
        f'{subject} <{_VC}validUntil> "{format_time(list_.valid_until_ms)}"^^<{_XSD}dateTime>',
        f"{bits} <{_RDF_TYPE}> <{_STATUS}BitstringStatusList>",
        f'{bits} <{_STATUS}encodedList> "{list_.encoded}"^^<{_SECURITY}multibase>',
        f'{bits} <{_STATUS}statusPurpose> "{list_.purpose}"',
        f'{bits} <{_STATUS}ttl> "{list_.ttl_ms}"^^<{_XSD}integer>',
        f"<{list_.proof_address}> <{_RDF_TYPE}> <{PROOF_TYPE}>",
    ]
    return "".join(f"{line} .\n" for line in sorted(lines)).encode()


def canonical_proof(list_: StatusList) -> bytes:
    """The canonical N-Quads of the proof's options, under the credential's @context: five lines, sorted."""
    lines = [
        f'_:c14n0 <http://purl.org/dc/terms/created> "{_created(list_)}"^^<{_XSD}dateTime>',
        f"_:c14n0 <{_RDF_TYPE}> <{_SECURITY}DataIntegrityProof>",
        f'_:c14n0 <{_SECURITY}cryptosuite> "eddsa-rdfc-2022"^^<{_SECURITY}cryptosuiteString>',
        f"_:c14n0 <{_SECURITY}proofPurpose> <{_SECURITY}assertionMethod>",
        f"_:c14n0 <{_SECURITY}verificationMethod> <{list_.verification_method}>",
    ]
    return "".join(f"{line} .\n" for line in lines).encode()


def proof_options(list_: StatusList) -> dict[str, Any]:
    """The JSON-LD form's proof without its value."""
    return {
        "type": "DataIntegrityProof",
        "cryptosuite": "eddsa-rdfc-2022",
        "created": _created(list_),
        "verificationMethod": list_.verification_method,
        "proofPurpose": "assertionMethod",
    }


def hash_data(list_: StatusList) -> bytes:
    """What the proof signs: 64 bytes (vc-di-eddsa, section 3.2.4)."""
    return sha256(canonical_proof(list_)).digest() + sha256(canonical(list_)).digest()


def _created(list_: StatusList) -> str:
    return format_time(list_.valid_from_ms)[:-5] + "Z"


def jwt_header(list_: StatusList) -> dict[str, Any]:
    """The JWT form's header."""
    return {"alg": "EdDSA", "kid": list_.verification_method, "typ": JWT_TYPE}


def _signing_input(list_: StatusList) -> bytes:
    parts = (jwt_header(list_), {**credential(list_), "iss": list_.issuer})
    return ".".join(_format_base64url(msgspec.json.encode(part)) for part in parts).encode()


def _check_key(list_: StatusList, key: Ed25519Key) -> None:
    if list_.issuer != did_key(key.public_key):
        raise ValueError(f"the list is issued by {list_.issuer}, which is another key")


# Texts ---------------------------------------------------------------------------------------------------------------


def format_time(ms: int) -> str:
    """Milliseconds since the epoch as an xsd:dateTime: 2026-11-28T17:00:00.123Z. Raises ValueError past the year 9999.

    Always with milliseconds: the log's times have them, and no other text stands for the same time.
    """
    try:
        moment = _EPOCH + timedelta(milliseconds=ms)
    except OverflowError:
        raise ValueError(f"{ms} ms is past the year 9999") from None
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03}Z"


def parse_time(text: str) -> int:
    """The milliseconds of what `format_time` gives, and of nothing else. Raises MalformedInput."""
    try:
        ms = (datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC) - _EPOCH) // timedelta(
            milliseconds=1
        )
        if ms >= 0 and format_time(ms) == text:
            return ms
    except ValueError:
        pass
    raise MalformedInput("a time of the list is not of the form 2026-11-28T17:00:00.123Z")


def _format_base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def parse_base64url(text: str, what: str) -> bytes:
    """Canonical base64url without padding (RFC 4648 section 5). Raises MalformedInput."""
    try:
        if _BASE64URL.fullmatch(text) is None:
            raise binascii.Error
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise MalformedInput(f"{what} is not base64url without padding") from None
    if _format_base64url(data) != text:
        raise MalformedInput(f"{what} is not canonical base64url")
    return data
