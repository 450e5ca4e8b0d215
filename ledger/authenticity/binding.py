"""Which key a signature means, and whether that key is bound to the issuer that the badge names.

A key is bound to an issuer in one of these ways, and in no other:

    1. the issuer is a DID, and its document (or the DID itself) lists the key under `assertionMethod`
    2. whoever checks has pinned the key, or a document with it, to the issuer
    3. the key's document is pinned, and names the issuer as the key's owner
    4. the issuer is an https address that answers with no keys, and the key's document is served by the same host

A key that the badge itself carries (a `jwk` header, a Multikey in the name of the key, a did:key that is not the
issuer) proves nothing about the issuer; it is looked up among the issuer's keys. Where the issuer's keys are known and
it is none of them, the signature is invalid; where they are not known, it is self-asserted. A key that is only named,
and that the issuer's document does not hold, leaves the signature unchecked: issuers rotate keys, and what the key was
cannot be known.

A key that its document has revoked, or that has expired by it, is found all the same, with a `lapse`: a signature by it
holds, and says nothing, since it can have been made after the key was lost.

On a host that many issuers share, way 4 trusts the host to keep them apart; a finding by it carries a note. A pin
speaks for its own identifier only, whatever its host.

What this module does not do: check signatures.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from ledger.authenticity.keys import MAX_KEYS, KeyHolder, KeySource, Method, is_self_describing
from ledger.authenticity.model import Invalid, NotChecked, shown
from ledger.authenticity.publickey import PublicKey, parse_multikey
from ledger.errors import MalformedInput


@dataclass(frozen=True, slots=True)
class Candidate:
    """A key that the signature may be by. name: for people. doubt: why it is not bound to the issuer, None if it is.

    lapse: why it no longer counts (`Method.lapse`), None if it does.
    """

    key: PublicKey
    name: str
    doubt: str | None = None
    note: str | None = None
    lapse: str | None = None


def candidates(
    keys: KeySource, issuer: str | None, reference: str | None, carried: PublicKey | None = None, *, now_s: int
) -> tuple[Candidate, ...]:
    """The keys to try, at least one, at most MAX_KEYS.

    issuer: the badge's. reference: the name that the signature gives its key (`verificationMethod`, `kid`), absolute or
    a fragment of the issuer's identifier. carried: the key that the badge carries beside it. now_s: when the keys are
    to count, seconds; of several, those that do come first. Raises NotChecked or Invalid.
    """
    name = _absolute(issuer, reference)
    spelled = _spelled(keys, name, carried)
    try:
        if issuer is None:
            raise NotChecked("the badge does not name its issuer")
        holder = keys.holder(issuer)
    except NotChecked as reason:
        found = _by_reference(keys, issuer, name, spelled, str(reason), now_s, has_spoken=False)
    else:
        found = _by_issuer(keys, holder, name, spelled, now_s)
    return tuple(sorted(found, key=lambda candidate: candidate.lapse is not None))


def _by_issuer(
    keys: KeySource, holder: KeyHolder, name: str | None, spelled: PublicKey | None, now_s: int
) -> tuple[Candidate, ...]:
    """The keys of an issuer who is known."""
    method = holder.method(name) if name is not None else None
    if method is not None and name is not None:
        if not method.asserts:
            raise Invalid("the issuer's document does not list the key under assertionMethod")
        _agree(method, spelled)
        return (Candidate(method.key, name, lapse=method.lapse(now_s)),)
    asserting = holder.asserting()
    if spelled is not None:
        same = [method for method in asserting if method.key == spelled]
        if same:
            return tuple(Candidate(spelled, name or _fingerprint(spelled), lapse=one.lapse(now_s)) for one in same)
        raise Invalid("the key that the badge is signed with is none of its issuer's")
    if name in (None, holder.id) or all(method.id is None for method in asserting):
        if not asserting:
            raise NotChecked("the issuer's document lists no key under assertionMethod")
        return tuple(
            Candidate(method.key, method.id or _fingerprint(method.key), lapse=method.lapse(now_s))
            for method in asserting[:MAX_KEYS]
        )
    why = f"the issuer's document holds no key {shown(name)}"
    if not holder.id.startswith("did:"):
        # An https issuer may have keys at other addresses; since its own document was found, only a pin binds them.
        return _by_reference(keys, holder.id, name, None, why, now_s, has_spoken=True)
    if holder.origin == "identifier" or (name or "").partition("#")[0] != holder.id:
        raise Invalid("the badge is signed with the key of somebody else than its issuer")
    raise NotChecked(why)


def _by_reference(
    keys: KeySource,
    issuer: str | None,
    name: str | None,
    spelled: PublicKey | None,
    why: str,
    now_s: int,
    *,
    has_spoken: bool,
) -> tuple[Candidate, ...]:
    """The keys behind the name itself, of an issuer whose own document is not to be had, or lacks them."""
    if issuer is not None and is_self_describing(issuer):
        raise NotChecked(why)
    holder = _holder_of(keys, name) if name is not None else None
    if holder is not None and name is not None:
        found = holder.method(name)
        if found is not None and not found.asserts:
            raise Invalid("the document of the key does not list it under assertionMethod")
        methods = (found,) if found is not None else tuple(method for method in holder.methods if method.id is None)
        if spelled is not None and methods and all(method.key != spelled for method in methods):
            raise Invalid("the key that the badge carries is not the one that it names")
        if methods:
            tie = _tie(holder, issuer, has_spoken=has_spoken)
            doubt = None if tie else f"nothing ties the key {shown(name)} to the badge's issuer: {why}"
            note = "the key is one that the issuer's host serves, not one in the issuer's own document"
            return tuple(
                Candidate(method.key, name, doubt, note if tie == "host" else None, method.lapse(now_s))
                for method in methods[:MAX_KEYS]
            )
    if spelled is not None:
        return (Candidate(spelled, name or _fingerprint(spelled), f"the badge itself carries its key, and {why}"),)
    raise NotChecked(why if name is None else f"the key {shown(name)} is not at hand: {why}")


def _holder_of(keys: KeySource, name: str) -> KeyHolder | None:
    """What stands behind the whole name, else behind the name without its fragment."""
    for identifier in dict.fromkeys((name, name.partition("#")[0])):
        try:
            return keys.holder(identifier)
        except NotChecked:
            continue
    return None


def _tie(holder: KeyHolder, issuer: str | None, *, has_spoken: bool) -> Literal["pin", "host"] | None:
    """What makes the holder's keys the issuer's: a pin of a part of its identifier, way 3, or way 4."""
    if issuer is None:
        return None
    if holder.origin == "pin":
        return "pin" if issuer in (holder.owner, holder.id.partition("#")[0]) else None
    if has_spoken or holder.origin != "network" or holder.owner not in (None, issuer):
        return None
    host = _host(issuer)
    return "host" if host is not None and host == _host(holder.id) else None


def _agree(method: Method, spelled: PublicKey | None) -> None:
    if spelled is not None and spelled != method.key:
        raise Invalid("the key that the badge carries is not the one that it names")


def _spelled(keys: KeySource, name: str | None, carried: PublicKey | None) -> PublicKey | None:
    """The key in the badge: beside the name, or in it, as in `https://example.com/issuer#z6Mk...` or a did:key."""
    spelled: PublicKey | None = None
    base, _, fragment = (name or "").partition("#")
    try:
        if is_self_describing(base):
            spelled = _in_identifier(keys.holder(base), name or "")
        elif base.startswith("https://") and fragment.startswith("z"):
            spelled = parse_multikey(fragment)
    except (NotChecked, MalformedInput):
        spelled = None
    if spelled is not None and carried is not None and spelled != carried:
        raise Invalid("the key that the badge carries is not the one that it names")
    return spelled or carried


def _in_identifier(holder: KeyHolder, name: str) -> PublicKey | None:
    """The key in a did:key or did:jwk, None if another one is pinned to it."""
    if holder.origin != "identifier":
        return None
    method = holder.methods[0] if name == holder.id else holder.method(name)
    if method is None:
        raise Invalid("the badge names a key that the identifier in its name does not have")
    return method.key


def _absolute(issuer: str | None, reference: str | None) -> str | None:
    if reference is None or reference.startswith("did:") or "://" in reference:
        return reference
    # A bare kid names a key within the issuer's document.
    return f"{issuer or ''}#{reference.removeprefix('#')}"


def _fingerprint(key: PublicKey) -> str:
    return f"SHA-256 {hashlib.sha256(key.der).hexdigest()}"


def _host(identifier: str) -> str | None:
    """Host and port of an https address without user information, None for anything else."""
    if not identifier.isascii() or any(character in identifier for character in "\\@ \t\r\n"):
        return None
    try:
        parts = urlsplit(identifier)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme != "https" or not parts.hostname:
        return None
    return f"{parts.hostname}:{443 if port is None else port}"
