"""Whose a key is: what stands behind an identifier, read from the identifier itself, from a pin, or from a document.

    did:key:z...          the key in it; its one method is <did>#z...            (offline)
    did:jwk:...           the JWK in it; its one method is <did>#0               (offline)
    a pin ID=FILE         what the person who checks says stands behind ID; wins over the network
    a document            what the address behind ID answered (`ledger.authenticity.online`)

A document, and so a pin's FILE, is one of

    DID document, controlled identifier document    verificationMethod[], assertionMethod[]; `id` is ID
    JWK, JWK Set                                    keys with or without `kid`
    CryptographicKey (Open Badges 2.0)              id, owner, publicKeyPem
    Profile (Open Badges)                           publicKey: CryptographicKeys embedded in it; `id` is ID
    BadgeClass (Open Badges 2.0)                    issuer: whose badges these are
    PEM public key, Multikey                        one key, nothing else

A method that the document gives to another controller, or does not list under `assertionMethod`, asserts nothing. One
that its document ends (`revoked`, `expires`; of a JWK `revoked.revoked_at`, `exp`) is read with these ends, and whoever
uses it asks whether one of them has come: Controlled Identifiers section 2.2, OpenID Federation section 8.7.

What this module does not do: fetch, or decide whether a badge may be signed by a key (`ledger.authenticity.binding`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Protocol

from ledger.authenticity.model import NotChecked, shown
from ledger.authenticity.publickey import PublicKey, decode_base64url, parse_jwk, parse_multikey, parse_pem
from ledger.badges import strict_json
from ledger.badges.dates import parse_date_ms
from ledger.errors import InputError, MalformedBadge, MalformedInput

#: The most keys of one document that are looked at.
MAX_KEYS: Final = 64
#: The longest identifier; a did:jwk of an RSA key of 8192 bits has 2,000 characters.
MAX_IDENTIFIER_CHARS: Final = 4096
#: The largest document, 1 MiB.
MAX_DOCUMENT_BYTES: Final = 1024 * 1024

Origin = Literal["identifier", "pin", "network"]


class End(NamedTuple):
    """When a key ceases to count, Unix milliseconds, and why: what follows "the key"."""

    at_ms: int
    why: str


@dataclass(frozen=True, slots=True)
class Method:
    """A key under its name. id: absolute, None for a key without one. asserts: whether it may sign credentials."""

    id: str | None
    key: PublicKey
    asserts: bool = True
    ends: tuple[End, ...] = ()

    def lapse(self, now_s: int) -> str | None:
        """Why the key no longer counts at `now_s`, seconds; None if it does.

        The signature's own date cannot rescue it: whoever holds a stolen key writes any date.
        """
        return next((end.why for end in self.ends if end.at_ms <= now_s * 1000), None)


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """What stands behind an identifier. owner: whose key it is by the document's own word (CryptographicKey)."""

    id: str
    origin: Origin
    methods: tuple[Method, ...]
    owner: str | None = None

    def method(self, name: str) -> Method | None:
        """The method of that absolute name, None if there is none, or more than one."""
        found = [method for method in self.methods if method.id == name]
        return found[0] if len(found) == 1 else None

    def asserting(self) -> tuple[Method, ...]:
        """The methods that may sign credentials."""
        return tuple(method for method in self.methods if method.asserts)


class KeySource(Protocol):
    """Where keys come from. Both methods raise NotChecked if what they are asked for is not to be had."""

    def holder(self, identifier: str) -> KeyHolder:
        """What stands behind an absolute identifier: a DID, or the address of an issuer or of a key."""

    def class_issuer(self, address: str) -> str:
        """The identifier of the issuer that the badge class at this address names (Open Badges 2.0)."""


@dataclass(frozen=True, slots=True)
class Pin:
    """What whoever checks holds for the truth about an identifier: its keys, or, for a badge class, its issuer."""

    identifier: str
    holder: KeyHolder | None
    issuer: str | None = None


class OfflineKeys:
    """did:key, did:jwk, and pins. The first pin of an identifier counts, and overrides even what a did:key says."""

    def __init__(self, pins: Sequence[Pin] = ()) -> None:
        self._pins = {pin.identifier: pin for pin in reversed(pins)}

    def holder(self, identifier: str) -> KeyHolder:
        pin = self._pins.get(identifier)
        if pin is not None:
            if pin.holder is None:
                raise NotChecked(f"what is pinned for {shown(identifier)} holds no key")
            return pin.holder
        if len(identifier) > MAX_IDENTIFIER_CHARS:
            raise NotChecked(f"the identifier {shown(identifier)} is too long")
        try:
            return self._elsewhere(identifier) if not is_self_describing(identifier) else _read_identifier(identifier)
        except MalformedInput as error:
            raise NotChecked(f"no key can be read from {shown(identifier)}: {error.detail}") from None

    def class_issuer(self, address: str) -> str:
        pin = self._pins.get(address)
        if pin is None:
            return self._class_elsewhere(address)
        if pin.issuer is None:
            raise NotChecked(f"what is pinned for {shown(address)} is no badge class")
        return pin.issuer

    def _elsewhere(self, identifier: str) -> KeyHolder:
        raise NotChecked(f"the key of {shown(identifier)} is not at hand: pin it, or allow the network")

    def _class_elsewhere(self, address: str) -> str:
        raise NotChecked(f"the badge class {shown(address)} is not at hand: pin it, or allow the network")


def offline_keys(pins: Sequence[Pin] = ()) -> KeySource:
    """The keys that need no network: those in did:key and did:jwk identifiers, and what is pinned."""
    return OfflineKeys(pins)


def parse_pin(identifier: str, data: bytes) -> Pin:
    """The pin of a document (at most MAX_DOCUMENT_BYTES) to an identifier. Raises MalformedInput, naming neither."""
    if not 0 < len(identifier) <= MAX_IDENTIFIER_CHARS:
        raise MalformedInput(f"an identifier to pin has 1 to {MAX_IDENTIFIER_CHARS} characters")
    document = parse_json(data) if data.lstrip()[:1] == b"{" else None
    if document is not None and "BadgeClass" in _list(document.get("type")):
        return Pin(identifier, None, read_class(identifier, document))
    return Pin(identifier, read_holder(identifier, data, "pin"))


def parse_json(data: bytes) -> dict[str, Any]:
    """The object in a document, read as strictly as a badge. Raises MalformedInput."""
    if len(data) > MAX_DOCUMENT_BYTES:
        raise MalformedInput(f"the document is larger than {MAX_DOCUMENT_BYTES} bytes")
    try:
        return strict_json(data)
    except InputError as error:
        raise MalformedInput(error.detail.replace("the badge's JSON", "the document's JSON")) from None


def read_holder(identifier: str, data: bytes, origin: Origin) -> KeyHolder:
    """The keys in a document that stands behind an identifier. Raises MalformedInput if it holds none."""
    if len(data) > MAX_DOCUMENT_BYTES:
        raise MalformedInput(f"the document is larger than {MAX_DOCUMENT_BYTES} bytes")
    text = data.strip(b" \t\r\n")
    owner: str | None = None
    methods: list[Method]
    if text.startswith(b"{"):
        document = parse_json(text)
        owner = _owner(document)
        methods = _read_document(identifier, document)
    else:
        try:
            line = text.decode("ascii")
        except UnicodeDecodeError:
            raise MalformedInput("the document is neither JSON nor PEM nor a Multikey") from None
        methods = [Method(None, parse_pem(line) if line.startswith("-----BEGIN ") else parse_multikey(line))]
    if not methods:
        raise MalformedInput("the document holds no key of a known kind")
    return KeyHolder(identifier, origin, tuple(methods), owner)


def read_did_document(did: str, document: dict[str, Any]) -> KeyHolder:
    """The keys in the DID document that was resolved for `did`. Raises MalformedInput if it holds none."""
    methods = _read_controlled(did, document)
    if not methods:
        raise MalformedInput("the DID document holds no key of a known kind")
    return KeyHolder(did, "network", tuple(methods))


def read_class(address: str, document: dict[str, Any]) -> str:
    """The identifier of the issuer in an Open Badges 2.0 BadgeClass. Raises MalformedInput."""
    if document.get("id", address) != address:
        raise MalformedInput("the badge class has another id")
    issuer = document.get("issuer")
    identifier = issuer.get("id") if isinstance(issuer, dict) else issuer
    if not isinstance(identifier, str) or not identifier:
        raise MalformedInput("the badge class names no issuer")
    return identifier


def is_self_describing(identifier: str) -> bool:
    """Whether the identifier is a DID that holds its key."""
    return identifier.startswith(("did:key:", "did:jwk:"))


def _read_identifier(did: str) -> KeyHolder:
    text = did[len("did:key:") :]
    if did.startswith("did:key:"):
        return KeyHolder(did, "identifier", (Method(f"{did}#{text}", parse_multikey(text)),))
    jwk = parse_json(decode_base64url(text, "the did:jwk"))
    return KeyHolder(did, "identifier", (Method(f"{did}#0", parse_jwk(jwk), ends=_jwk_ends(jwk)),))


def _read_document(identifier: str, document: dict[str, Any]) -> list[Method]:
    if "publicKeyPem" in document:
        if document.get("id", identifier) != identifier:
            raise MalformedInput("the CryptographicKey has another id")
        return [Method(identifier, _pem_of(document), ends=_ends(document))]
    if "kty" in document:
        return [_jwk_method(identifier, document)]
    if isinstance(document.get("keys"), list):
        return [found for jwk in document["keys"][:MAX_KEYS] if (found := _tried(_jwk_method, identifier, jwk))]
    if document.get("id") != identifier:
        raise MalformedInput("the document is about another id")
    methods = _read_controlled(identifier, document)
    # Open Badges 2.0, Profile: `publicKey` is an address or a CryptographicKey; only what is here is a key.
    for item in _list(document.get("publicKey"))[:MAX_KEYS]:
        if found := _tried(_profile_method, identifier, item):
            methods.append(found)
    return methods


def _read_controlled(identifier: str, document: dict[str, Any]) -> list[Method]:
    """DID Core section 5.2, Controlled Identifiers section 2.2: methods, and which of them assert."""
    asserting = _list(document.get("assertionMethod"))
    embedded = [item for item in asserting if isinstance(item, dict)]
    granted = {_absolute(identifier, item.get("id") if isinstance(item, dict) else item) for item in asserting}
    methods = []
    for item in [*_list(document.get("verificationMethod")), *embedded][:MAX_KEYS]:
        name = _absolute(identifier, item.get("id")) if isinstance(item, dict) else None
        if name is None or item.get("controller", identifier) != identifier:
            continue
        key = _tried(_method_key, item)
        if key is not None:
            jwk = item.get("publicKeyJwk")
            ends = _ends(item) + (_jwk_ends(jwk) if isinstance(jwk, dict) else ())
            methods.append(Method(name, key, name in granted, ends))
    return methods


def _method_key(method: dict[str, Any]) -> PublicKey:
    if isinstance(method.get("publicKeyMultibase"), str):
        return parse_multikey(method["publicKeyMultibase"])
    if isinstance(method.get("publicKeyJwk"), dict):
        return parse_jwk(method["publicKeyJwk"])
    return _pem_of(method)


def _profile_method(identifier: str, item: Any) -> Method:
    if not isinstance(item, dict) or item.get("owner") != identifier or not isinstance(item.get("id"), str):
        raise MalformedInput("this is no CryptographicKey of the profile")
    return Method(item["id"], _pem_of(item), ends=_ends(item))


def _jwk_method(identifier: str, jwk: Any) -> Method:
    key = parse_jwk(jwk)
    kid = jwk.get("kid")
    ends = _jwk_ends(jwk)
    if not isinstance(kid, str) or not kid:
        return Method(None, key, ends=ends)
    # An absolute kid is its own name, any other is a fragment of the document's address.
    absolute = kid.startswith("did:") or "://" in kid
    return Method(kid if absolute else f"{identifier}#{kid.removeprefix('#')}", key, ends=ends)


def _jwk_ends(jwk: dict[str, Any]) -> tuple[End, ...]:
    revoked = jwk.get("revoked")
    return _ends(
        {
            "revoked": revoked.get("revoked_at", revoked) if isinstance(revoked, dict) else revoked,
            "expires": jwk.get("exp"),
        }
    )


def _ends(document: dict[str, Any]) -> tuple[End, ...]:
    """The ends that a key's document sets. One that cannot be read has always come."""
    ends = []
    for name, what in (("revoked", "was revoked"), ("expires", "expired")):
        value = document.get(name)
        try:
            at_ms = parse_date_ms(value, name)
        except MalformedBadge:
            ends.append(End(0, f"has a date `{name}` that cannot be read"))
        else:
            if at_ms is not None:
                ends.append(End(at_ms, f"{what} on {shown(str(value))}, by the document that it stands in"))
    return tuple(ends)


def _pem_of(document: dict[str, Any]) -> PublicKey:
    pem = document.get("publicKeyPem")
    if not isinstance(pem, str):
        raise MalformedInput("the key is in a form that is not known")
    return parse_pem(pem)


def _owner(document: dict[str, Any]) -> str | None:
    owner = document.get("owner")
    return owner if "publicKeyPem" in document and isinstance(owner, str) else None


def _absolute(identifier: str, name: Any) -> str | None:
    """A method's name by DID Core section 3.2.2; None for what does not lead into the document."""
    if not isinstance(name, str):
        return None
    absolute = identifier + name if name.startswith("#") else name
    return absolute if absolute.startswith(f"{identifier}#") else None


def _tried(read: Any, *arguments: Any) -> Any:
    """What `read` makes of its arguments, None for a key that is malformed or unknown: one spoils no other."""
    try:
        return read(*arguments)
    except MalformedInput:
        return None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
