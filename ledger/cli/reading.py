"""From sources to commitments: what of a badge goes into the log, or why it cannot.

`prepare` runs in a process of its own where there are many badges: rules and sources go in, a few dozen bytes a badge
come out, and the badge itself stays there. Nothing is sent from here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

import msgspec

from ledger import badges
from ledger.cli.archive import Archive
from ledger.cli.files import MAX_BADGE_FILE_BYTES, read_file
from ledger.cli.sources import Source
from ledger.entry import LIST_SLOTS
from ledger.errors import InputError, LedgerError

if TYPE_CHECKING:
    from ledger.badges import Badge

_LIST_ADDRESS: Final = re.compile(r"([0-9]{1,10})(?:/(?:revocation|suspension))?", re.ASCII)


class Rules(msgspec.Struct, frozen=True):
    """What holds for all badges of a run. `salt`: all, none, or (None) where a badge needs it; `check_signatures`: fail
    those whose own signature is invalid, at some milliseconds each; `now_ms`: milliseconds since the epoch."""

    identifier: str
    other_issuer: bool
    salt: bool | None
    salt_key: bytes | None
    status_base: str
    nested: bool
    check_signatures: bool
    now_ms: int


class Found(msgspec.Struct, gc=False):
    """One badge of a source: the one in it (`number` ""), or one inside that ("2", "2.1")."""

    number: str = ""
    commitment: bytes = b""
    salt: bytes | None = None
    slot: int | None = None
    error: str | None = None
    needs_salt_key: bool = False
    expired: bool = False
    #: Badges inside that are not anchored with it: this issuer's, and those of others.
    own_inside: int = 0
    foreign_inside: int = 0


class Item(msgspec.Struct):
    """One badge on its way. `result` is issued, present (it was issued before, or is another file's badge) or failed,
    None while open. `folder`, `name`, `receipt`: see `ledger.cli.naming`; `path`: the file that it is, "" for what
    is in an archive, a manifest or another badge."""

    label: str
    folder: str
    name: str
    commitment: bytes = b""
    salt: bytes | None = None
    slot: int | None = None
    path: str = ""
    receipt: str = ""
    index: int | None = None
    result: str | None = None
    detail: str | None = None

    def fail(self, detail: str) -> None:
        self.result, self.detail = "failed", detail


def prepare(sources: Sequence[Source], rules: Rules) -> list[list[Found]]:
    """What each source comes to."""
    archives: dict[str, Archive] = {}
    try:
        return [_prepare(source, rules, archives) for source in sources]
    finally:
        for archive in archives.values():
            archive.__exit__()


def items_of(source: Source, found: Sequence[Found]) -> Iterable[Item]:
    """The items of a source; a badge inside another is called after it, with its number."""
    for each in found:
        name, label = source.name, source.label
        if each.number:
            whole = PurePosixPath(name)
            name, label = f"{whole.stem}.{each.number}{whole.suffix}", f"{label} (badge {each.number} in it)"
        path = "" if each.number or source.member is not None else source.path
        item = Item(label, source.folder, name, each.commitment, each.salt, each.slot, path)
        if each.error is not None:
            item.fail(each.error)
        yield item


def embedded_slot(badge: Badge, status_base: str) -> int | None:
    """The slot that the badge names in this ledger's status lists (`status_base`: host and path, without scheme).

    Raises InputError if its entries name two.
    """
    slots = set()
    for entry in badge.status:
        address = entry.status_list_credential.partition("://")[2]
        match = _LIST_ADDRESS.fullmatch(address.removeprefix(status_base))
        if address.startswith(status_base) and match is not None and entry.status_list_index < LIST_SLOTS:
            slots.add(int(match[1]) * LIST_SLOTS + entry.status_list_index)
    if len(slots) > 1:
        raise InputError("the badge names two places in the ledger's status lists")
    return next(iter(slots), None)


def _prepare(source: Source, rules: Rules, archives: dict[str, Archive]) -> list[Found]:
    try:
        badge = badges.read(_bytes(source, archives))
    except LedgerError as error:
        return [Found(error=error.detail)]
    whole = _commit(badge, rules)
    found = [whole]
    for number, inner in _inside(badge):
        if isinstance(inner, LedgerError):
            if rules.nested:
                found.append(Found(number, error=f"what is inside cannot be read: {inner.detail}"))
        elif inner.issuer not in (None, rules.identifier) and not rules.other_issuer:
            whole.foreign_inside += 1
        elif rules.nested:
            found.append(_commit(inner, rules, number))
        else:
            whole.own_inside += 1
    return found


def _inside(badge: Badge, number: str = "") -> Iterator[tuple[str, Badge | LedgerError]]:
    """(number, badge) for all badges inside a transcript, and inside those; numbers as of chapters: 1, 2, 2.1."""
    try:
        inner = badges.nested(badge)
    except LedgerError as error:
        yield number, error
        return
    for position, each in enumerate(inner, 1):
        own = f"{number}.{position}" if number else str(position)
        yield own, each
        yield from _inside(each, own)


def _bytes(source: Source, archives: dict[str, Archive]) -> bytes:
    if source.error is not None:
        raise InputError(source.error)
    if source.data is not None:
        return source.data
    if source.member is None:
        return read_file(source.path, MAX_BADGE_FILE_BYTES)
    if source.path not in archives:
        archives[source.path] = Archive(Path(source.path))
    return archives[source.path].read(source.member, MAX_BADGE_FILE_BYTES)


def _commit(badge: Badge, rules: Rules, number: str = "") -> Found:
    found = Found(number)
    try:
        if badge.revoked:
            raise InputError("the badge says of itself that it is revoked")
        if badge.issuer not in (None, rules.identifier) and not rules.other_issuer:
            raise InputError(
                f"the badge names the issuer {badge.issuer}, the key signs for {rules.identifier}: "
                "no verifier would accept the receipt (--other-issuer anchors it)"
            )
        if rules.check_signatures and (badge.form == badges.FORM_JWS or "proof" in badge.document):
            _check_signature(badge, rules.now_ms)
        if badges.needs_salt(badge) if rules.salt is None else rules.salt:
            if rules.salt_key is None:
                found.needs_salt_key = True
                return found
            found.salt = badges.derive_salt(rules.salt_key, badge)
        found.commitment = badges.commitment(badge, found.salt)
        if badge.status:
            found.slot = embedded_slot(badge, rules.status_base)
        found.expired = badge.valid_until is not None and badge.valid_until < rules.now_ms
    except LedgerError as error:
        found.error = error.detail
    return found


def _check_signature(badge: Badge, now_ms: int) -> None:
    """Raises InputError for a badge whose own signature is invalid. One that cannot be checked without the network, or
    whose key is tied to nobody, passes: that is for verifiers to judge."""
    from ledger.authenticity.check import check
    from ledger.authenticity.contexts import bundled_contexts
    from ledger.authenticity.keys import offline_keys

    finding = check(badge, keys=offline_keys(), contexts=bundled_contexts(), now_s=now_ms // 1000)
    if finding.signature == "invalid":
        raise InputError(f"its own signature does not verify: {finding.reason}; no verifier will accept it")
