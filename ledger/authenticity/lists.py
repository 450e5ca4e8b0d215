"""Status lists of others (W3C Bitstring Status List 1.0): what a badge's entries in them say, or that nobody can tell.

    clear, set    the list was fetched, is signed by somebody who may speak for the badge's issuer, is of the entry's
                  purpose, in date, long enough, and the bit is 0 or 1
    unknown       everything else, with the reason

A list speaks for the issuer if

    1. its own signature is verified, and its issuer is the badge's
    2. its own signature is verified, and its issuer's identifier is pinned, or is a did:web or an https address on the
       host that the badge's entry names: the badge itself sends its readers there
    3. badge and list name the same issuer, and the same key signed both, although nothing binds that key to the issuer:
       the list is then as good as the badge

A list under another `id` than the address that the badge names can be another list of the same issuer, in which the bit
means another badge. It proves nothing clear; a bit that is set in it counts as set.

Failing closed is the point: a list that is gone, unreachable, unsigned, or too old has been shown as *not revoked* by
verifiers that lost the difference. 404 and 410 are `unknown` too: that a host no longer has a list says nothing about
the badge.

What this module does not do: read other kinds of status (`unread_status` names them), or the ledger's own lists, whose
bits the receipt proves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from ledger.authenticity.check import check, check_document, check_jws
from ledger.authenticity.contexts import Contexts
from ledger.authenticity.keys import KeySource
from ledger.authenticity.model import Authenticity, ListFinding, NotChecked, shown
from ledger.badges import FORM_JWS, Badge, StatusEntry, strict_json
from ledger.badges.dates import parse_date_ms
from ledger.badges.jws import CompactJws, decode_compact, is_compact
from ledger.errors import MalformedBadge

#: Section 6.1: the fewest entries of a list.
MIN_ENTRIES: Final = 131_072
#: The most lists that one badge may ask for.
MAX_LISTS: Final = 8

_ENTRY: Final = "BitstringStatusListEntry"


@dataclass(frozen=True, slots=True)
class _List:
    """A list that speaks for the badge's issuer."""

    id: str | None
    purposes: tuple[str, ...]
    bits: bytes


def check_foreign_status(
    badge: Badge,
    entries: Sequence[StatusEntry],
    *,
    fetch: Callable[[str], bytes],
    keys: KeySource,
    contexts: Contexts,
    now_s: int,
    own: Authenticity | None = None,
    max_age_s: int | None = None,
) -> tuple[ListFinding, ...]:
    """What each of the badge's `entries` says, in their order.

    `fetch` gives the body at an address and raises NotChecked (`ledger.authenticity.online.guarded_fetch`); `own` is
    what `check` found about the badge, if that is known already; `max_age_s` is how long ago the `validFrom` of a list
    that names no end may be, None for any time. Raises nothing for what badge or lists hold.
    """
    if not entries:
        return ()
    if own is None:
        own = check(badge, keys=keys, contexts=contexts, now_s=now_s)
    read: dict[str, _List | NotChecked] = {}
    findings = []
    for entry in entries:
        address = entry.status_list_credential
        if address not in read:
            try:
                if len(read) >= MAX_LISTS:
                    raise NotChecked(f"the badge names more than {MAX_LISTS} status lists")
                read[address] = _read(badge, address, fetch(address), keys, contexts, now_s, own, max_age_s)
            except NotChecked as reason:
                read[address] = reason
            except MalformedBadge as error:
                read[address] = NotChecked(f"the status list is malformed: {error.detail}")
        findings.append(_judge(badge, entry, read[address]))
    return tuple(findings)


def unread_status(badge: Badge) -> tuple[str, ...]:
    """The kinds of status that the badge has and nobody here reads: its status is not known by them."""
    kinds = []
    for item in _entries(badge):
        named = _list(item.get("type")) if isinstance(item, dict) else []
        if _ENTRY not in named:
            kinds.append(" ".join(shown(name) for name in named[:4]) or "a status without a type")
    return tuple(dict.fromkeys(kinds))


def _judge(badge: Badge, entry: StatusEntry, found: _List | NotChecked) -> ListFinding:
    try:
        if isinstance(found, NotChecked):
            raise found
        if entry.status_purpose not in found.purposes:
            raise NotChecked("the status list is for another purpose than the badge's entry")
        if _is_message(badge, entry):
            raise NotChecked("the badge's status has more than one bit, which is not read")
        if entry.status_list_index >= len(found.bits) * 8:
            raise NotChecked("the badge's place is beyond the end of the status list")
        byte = found.bits[entry.status_list_index >> 3]
        if byte & (0x80 >> (entry.status_list_index & 7)):
            return ListFinding(entry, "set")
        if found.id != entry.status_list_credential:
            raise NotChecked("the status list has another id than the address that the badge names")
    except NotChecked as reason:
        return ListFinding(entry, "unknown", str(reason))
    return ListFinding(entry, "clear")


def _read(
    badge: Badge,
    address: str,
    data: bytes,
    keys: KeySource,
    contexts: Contexts,
    now_s: int,
    own: Authenticity,
    max_age_s: int | None,
) -> _List:
    """The list at an address. Raises NotChecked or MalformedBadge."""
    text = data.strip(b" \t\r\n")
    jws: CompactJws | None = None
    if is_compact(text):
        jws = decode_compact(text)
        document = jws.payload
    else:
        document = strict_json(data)
    credential = _credential(document, is_token=jws is not None)
    if "BitstringStatusListCredential" not in _list(credential.get("type")):
        raise NotChecked("what the badge names as its status list is none")
    issuer = _issuer(credential, document if jws is not None else {})
    if jws is not None:
        signature = check_jws(jws, issuer, keys=keys, now_s=now_s)
    else:
        signature = check_document(document, issuer, keys=keys, contexts=contexts, now_s=now_s)
    _require_authority(badge, address, issuer, signature, own, keys)
    _require_in_date(credential, document if jws is not None else {}, now_s, max_age_s)
    return _bits(credential)


def _require_authority(
    badge: Badge, address: str, issuer: str, signature: Authenticity, own: Authenticity, keys: KeySource
) -> None:
    if signature.signature == "none":
        raise NotChecked("the status list is not signed")
    same_issuer = issuer in (badge.issuer, own.issuer)
    if signature.signature == "verified":
        if same_issuer or _is_pinned(issuer, keys) or _host_of(issuer) == _host_of(address) is not None:
            return
        raise NotChecked(f"the status list is signed by {shown(issuer)}, who is not the badge's issuer")
    same_key = signature.key is not None and signature.key == own.key
    if signature.signature == own.signature == "self-asserted" and same_issuer and same_key:
        return
    raise NotChecked(f"the status list's own signature is {signature.signature}: {signature.reason}")


def _is_pinned(issuer: str, keys: KeySource) -> bool:
    try:
        return keys.holder(issuer).origin == "pin"
    except NotChecked:
        return False


def _host_of(identifier: str) -> str | None:
    """The host, with a port that is not 443, of an https address or a did:web; None for anything else."""
    if identifier.startswith("did:web:"):
        identifier = "https://" + unquote(identifier[len("did:web:") :].partition(":")[0])
    try:
        parts = urlsplit(identifier)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme != "https" or not parts.hostname or "@" in parts.netloc:
        return None
    return parts.hostname if port in (None, 443) else f"{parts.hostname}:{port}"


def _require_in_date(credential: dict[str, Any], claims: dict[str, Any], now_s: int, max_age_s: int | None) -> None:
    begins = [(credential, "validFrom"), (credential, "issuanceDate"), (claims, "nbf")]
    ends = [(credential, "validUntil"), (credential, "expirationDate"), (claims, "exp")]
    from_ms = _dates(begins)
    until_ms = _dates(ends)
    if any(moment > now_s * 1000 for moment in from_ms):
        raise NotChecked("the status list is not valid yet")
    if any(moment <= now_s * 1000 for moment in until_ms):
        raise NotChecked("the status list has expired")
    # Without an end, its host may serve an old list for ever: `ttl` is for those who keep it, and bounds no replay.
    if max_age_s is not None and not until_ms and max(from_ms, default=0) < (now_s - max_age_s) * 1000:
        raise NotChecked("the status list names no end and is dated before what the limit of age allows, or not at all")


def _dates(members: list[tuple[dict[str, Any], str]]) -> list[int]:
    """Those that are there, Unix milliseconds. Raises MalformedBadge."""
    found = [parse_date_ms(document.get(name), name) for document, name in members]
    return [moment for moment in found if moment is not None]


def _bits(credential: dict[str, Any]) -> _List:
    from openvc.status.bitstring import StatusListError, decode_bitstring

    subject = credential.get("credentialSubject")
    if not isinstance(subject, dict) or "BitstringStatusList" not in _list(subject.get("type")):
        raise NotChecked("the status list has no list in it")
    encoded = subject.get("encodedList")
    purposes = _list(subject.get("statusPurpose"))
    if not isinstance(encoded, str) or not purposes or not all(isinstance(purpose, str) for purpose in purposes):
        raise NotChecked("the status list has no encodedList, or no statusPurpose")
    if not _is_one(subject.get("statusSize", 1)):
        raise NotChecked("the status list has more than one bit an entry, which is not read")
    try:
        bits = decode_bitstring(encoded)
    except StatusListError:
        raise NotChecked("the status list's encodedList cannot be unpacked, or is too large") from None
    if len(bits) * 8 < MIN_ENTRIES:
        raise NotChecked(f"the status list has fewer than {MIN_ENTRIES} entries")
    name = credential.get("id")
    return _List(name if isinstance(name, str) else None, tuple(purposes), bits)


def _issuer(credential: dict[str, Any], claims: dict[str, Any]) -> str:
    named = credential.get("issuer")
    named = named.get("id") if isinstance(named, dict) else named
    candidates = {value for value in (named, claims.get("iss")) if value is not None}
    if len(candidates) != 1 or not isinstance(issuer := candidates.pop(), str):
        raise NotChecked("the status list does not name its issuer, or names two")
    return issuer


def _is_message(badge: Badge, entry: StatusEntry) -> bool:
    """Whether the entry is for messages of several bits (section 2.1, statusSize), which StatusEntry does not say."""
    return any(
        isinstance(item, dict)
        and item.get("statusListCredential") == entry.status_list_credential
        and item.get("statusPurpose") == entry.status_purpose
        and not _is_one(item.get("statusSize", 1))
        for item in _entries(badge)
    )


def _credential(document: dict[str, Any], *, is_token: bool) -> dict[str, Any]:
    """The credential that is signed: the document itself, or the `vc` claim of a token, and never a choice of two.

    Raises NotChecked for a `vc` beside a credential, or where none belongs.
    """
    if "vc" not in document:
        return document
    claim = document["vc"]
    if not is_token or not isinstance(claim, dict) or document.keys() & {"@context", "type", "credentialSubject"}:
        raise NotChecked("the status list has a member `vc` where none belongs")
    return claim


def _entries(badge: Badge) -> list[Any]:
    """The status entries of the credential that a badge is, as `ledger.badges` finds it: `vc` only in a token."""
    claim = badge.document.get("vc") if badge.form == FORM_JWS else None
    return _list((claim if isinstance(claim, dict) else badge.document).get("credentialStatus"))


def _is_one(value: Any) -> bool:
    return value == 1 and type(value) is int


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
