"""Reading the status lists of a ledger: JSON-LD or JWT, the signature verified (docs/protocol.md, "W3C status lists").

Only what `ledger.statuslist` makes is read, whoever signed it: the document must be exactly that of the values read
from it. What says more or less is refused, because what the template does not hold would be under no signature.

Pure. Nothing is proven of the bits: `ledger.listproof` does that. Whether the issuer is the ledger's key is for the
caller to ask; bits that are proven need no trust in who signed the list.
"""

from __future__ import annotations

from typing import Any, Literal

from ledger.badges.strict_json import strict_json
from ledger.base58 import parse_base58
from ledger.errors import InputError, MalformedInput, SignatureInvalid, TooLarge
from ledger.merkle import MAX_SIZE
from ledger.signing import ED25519_KEY_BYTES, ED25519_SIG_BYTES, verify_ed25519
from ledger.status import MAX_LISTS
from ledger.statuslist import (
    LIST_ID,
    MAX_LIST_BYTES,
    StatusList,
    credential,
    decode_list,
    hash_data,
    jwt_header,
    parse_base64url,
    parse_time,
    proof_options,
)
from ledger.text import parse_decimal

Form = Literal["json-ld", "jwt"]


def read_list(data: bytes) -> tuple[StatusList, Form]:
    """The list that `data` is, JSON-LD or JWT, its signature verified under the did:key that issues it.

    Raises TooLarge, MalformedInput for what is no list of a ledger, SignatureInvalid.
    """
    if len(data) > MAX_LIST_BYTES:
        raise TooLarge(f"a status list has at most {MAX_LIST_BYTES} bytes")
    return _read_json_ld(data) if data.lstrip()[:1] == b"{" else _read_jwt(data)


def _read_json_ld(data: bytes) -> tuple[StatusList, Form]:
    document = _parse_json(data)
    proof = document.pop("proof", None)
    list_ = _parse_credential(document)
    value = proof.pop("proofValue", None) if isinstance(proof, dict) else None
    if not isinstance(value, str) or proof != proof_options(list_):
        raise MalformedInput("the list's proof is not an eddsa-rdfc-2022 proof of its issuer, made at its time")
    signature = parse_base58(value[1:], what="the list's proofValue", length=ED25519_SIG_BYTES)
    if not value.startswith("z"):
        raise MalformedInput('the list\'s proofValue does not begin with "z", the multibase prefix of base58btc')
    _verify(list_, hash_data(list_), signature)
    return list_, "json-ld"


def _read_jwt(data: bytes) -> tuple[StatusList, Form]:
    parts = data.strip().split(b".")
    if len(parts) != 3:
        raise MalformedInput("neither JSON nor a compact JWT: no status list")
    try:
        header, payload, signature = (parse_base64url(part.decode("ascii"), "a part of the JWT") for part in parts)
    except UnicodeDecodeError:
        raise MalformedInput("neither JSON nor a compact JWT: no status list") from None
    document = _parse_json(payload)
    issuer = document.pop("iss", None)
    list_ = _parse_credential(document)
    if issuer != list_.issuer or _parse_json(header) != jwt_header(list_):
        raise MalformedInput("the JWT's header or iss does not name the list's issuer and its key")
    _verify(list_, parts[0] + b"." + parts[1], signature)
    return list_, "jwt"


def _verify(list_: StatusList, message: bytes, signature: bytes) -> None:
    try:
        verify_ed25519(_public_key(list_.issuer), message, signature)
    except SignatureInvalid as error:
        raise SignatureInvalid("the signature of the list does not verify") from error


def _parse_credential(document: dict[str, Any]) -> StatusList:
    """The list of a credential without proof. Raises MalformedInput if it is not exactly what `credential` makes."""
    try:
        subject, evidence = document["credentialSubject"], document["evidence"]
        found = LIST_ID.fullmatch(document["id"])
        if found is None:
            raise MalformedInput("the list's id is no address of a ledger's status list")
        list_ = StatusList(
            base=found["base"],
            list=parse_decimal(found["list"], what="the number of the list", max_value=MAX_LISTS - 1),
            purpose="revocation" if found["purpose"] == "revocation" else "suspension",
            size=parse_decimal(evidence["id"].rpartition("?size=")[2], what="the list's head", max_value=MAX_SIZE),
            issuer=document["issuer"],
            valid_from_ms=parse_time(document["validFrom"]),
            valid_until_ms=parse_time(document["validUntil"]),
            ttl_ms=subject["ttl"],
            encoded=subject["encodedList"],
        )
        _public_key(list_.issuer)
        decode_list(list_.encoded)
        same = credential(list_) == document and type(list_.ttl_ms) is int
    except (KeyError, TypeError, AttributeError):
        raise MalformedInput("the document has not the members of a ledger's status list") from None
    if not same:
        raise MalformedInput("the document has other members or values than a ledger's status list")
    return list_


def _public_key(issuer: str) -> bytes:
    """The Ed25519 key (32 bytes) of a did:key. Raises MalformedInput."""
    if issuer.startswith("did:key:z"):
        data = parse_base58(issuer[9:], what="the list's issuer", length=2 + ED25519_KEY_BYTES)
        if data[:2] == b"\xed\x01":
            return data[2:]
    raise MalformedInput("the list's issuer is not the did:key of an Ed25519 key")


def _parse_json(data: bytes) -> dict[str, Any]:
    try:
        document = strict_json(data)
    except InputError as error:
        raise MalformedInput(f"the list is not JSON that can be read: {error.detail}") from error
    if not isinstance(document, dict):
        raise MalformedInput("the list is not a JSON object")
    return document
