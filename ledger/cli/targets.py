"""What `revoke`, `suspend` and `reinstate` act on: slots, from badges, receipts, commitments, or the log itself.

1234                     a slot
64 hexadecimal digits    a commitment: every slot of this issuer in which it was issued
anything else            a file: a receipt, or a badge: every slot of it that can be told from the file

A badge that needs no salt can have been issued without one and with one, in two slots. So it is looked up by all
commitments that are known: unsalted, by the salt in each receipt that is baked into it or lies beside it, and salted by
the salt key at hand. One that was salted by another key is not found by its file.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ledger.block import Block
from ledger.cli.files import (
    PACKED_SUFFIX,
    RECEIPT_SUFFIX,
    is_for,
    open_file,
    read_badge,
    read_bounded,
    read_receipt,
    receipts_beside,
)
from ledger.cli.identity import Identity, load_salt
from ledger.entry import ISSUE, REVOKE
from ledger.errors import InputError, NotFound, SignatureInvalid
from ledger.keyfile import HEADER, load_issuer_key
from ledger.tiles import TILE_WIDTH
from ledger.units import UnitReader

if TYPE_CHECKING:
    from ledger.answers import KeyDocument
    from ledger.client import LedgerClient


async def slots_of(target: str, client: LedgerClient, identity: Identity, salt_key: Path | None) -> list[int]:
    """The slots that a target names, each once. `salt_key`: its file, None for no key. Raises NotFound, InputError."""
    if re.fullmatch(r"0|[1-9][0-9]{0,18}", target, re.ASCII):
        return [int(target)]
    if re.fullmatch(r"[0-9a-f]{64}", target, re.ASCII):
        return await _by_commitment(bytes.fromhex(target), client, identity)
    slots: dict[int, None] = {}
    for commitment in commitments_of(Path(target), salt_key):
        with suppress(NotFound):
            slots |= dict.fromkeys(await _by_commitment(commitment, client, identity))
    if not slots:
        tried = "none was at hand" if salt_key is None else f"{salt_key} was tried"
        raise NotFound(
            f"this issuer has issued no badge with a commitment of {target}, as far as the file tells; one that was "
            f"salted is found by its receipt, or by the salt key that it was issued with: --salt-key; {tried}"
        )
    return list(slots)


def commitment_of(path: Path, salt_key: Path | None) -> bytes:
    """The likeliest of `commitments_of`. Raises InputError."""
    return commitments_of(path, salt_key)[0]


def commitments_of(path: Path, salt_key: Path | None) -> list[bytes]:
    """The commitment that a receipt is for, or all that are known of a badge file, the likeliest first: of the receipt
    that is baked into it or lies beside it, unsalted where it needs no salt, salted with the salt key. Raises
    InputError where there is none."""
    from ledger import badges
    from ledger.cli.verifying import baked_in

    if not path.is_file():
        raise InputError(f"{path}: neither a slot, nor a commitment of 64 hexadecimal digits, nor a file")
    if path.name.endswith((RECEIPT_SUFFIX, PACKED_SUFFIX)):
        return [read_receipt(path).issue_entry().commitment]
    badge = read_badge(path)
    known = [baked_in(path, badge), *map(read_receipt, receipts_beside(path))]
    found = [each.issue_entry().commitment for each in known if each is not None and is_for(each, badge)]
    if not badges.needs_salt(badge):
        found.append(badges.commitment(badge))
    if salt_key is not None:
        found.append(badges.commitment(badge, badges.derive_salt(load_salt(salt_key), badge)))
    if not found:
        raise InputError(f"{path}: its salt is needed: give its receipt instead, or --salt-key")
    return list(dict.fromkeys(found))


async def _by_commitment(commitment: bytes, client: LedgerClient, identity: Identity) -> list[int]:
    from ledger.receipt_json import load

    entries = [load(data).issue_entry() for data in await client.receipts(commitment, "short")]
    slots = [e.slot for e in entries if e.issuer == identity.issuer and e.commitment == commitment]
    if not slots:
        raise NotFound(f"this issuer has issued no badge with the commitment {commitment.hex()}")
    return slots


async def signed_by(key: str, since: int, client: LedgerClient, identity: Identity) -> list[int]:
    """Every slot that a key of this issuer issued at or after log index `since` and that is not revoked.

    Each submission counts only if its signature by that key verifies: a server cannot talk an issuer into revoking
    badges that the key never signed. Raises NotFound for a key that is not the issuer's, SignatureInvalid, InputError.
    """
    document = await client.issuer(identity.issuer)
    wanted = _find_key(key, document.keys)
    public_key = bytes.fromhex(wanted.public_key)
    info = await client.log_info()
    if since >= info.head.size:
        raise InputError(f"--since {since}: the log has {info.head.size} entries")
    issued: dict[int, None] = {}
    async for block in _blocks(client, since, info.head.size):
        if block.submission.issuer != identity.issuer:
            continue
        mine = block.submission.key == wanted.index
        if mine:
            block.check_events_root()
            try:
                block.verify_signature(info.origin, public_key)
            except SignatureInvalid as error:
                raise SignatureInvalid(
                    f"the server shows a submission as signed by key {wanted.index} that is not; nothing was revoked"
                ) from error
        for slot, kind in zip(block.slots, block.kinds, strict=True):
            if kind == ISSUE and mine:
                issued[slot] = None
            elif kind == REVOKE:
                issued.pop(slot, None)
    return list(issued)


def _find_key(text: str, keys: list[KeyDocument]) -> KeyDocument:
    """A key of the issuer by log index, public key (hexadecimal) or key file, its public half included."""
    public = text
    path = Path(text)
    if path.is_file():
        public = load_issuer_key(path).public_key.hex() if _is_private(path) else _public_key(path)
    for key in keys:
        if public == key.public_key or public == str(key.index):
            return key
    raise NotFound(f"{text}: no key of this issuer; its keys are {', '.join(str(key.index) for key in keys)}")


def _public_key(path: Path) -> str:
    """What a file with a public key holds: its digits."""
    try:
        return read_bounded(path, 1024).decode("ascii").strip()
    except UnicodeDecodeError:
        raise InputError(f"{path}: neither a key file nor a public key in hexadecimal digits") from None


def _is_private(path: Path) -> bool:
    with open_file(path) as file:
        return file.read(len(HEADER)) == HEADER.encode()


async def _blocks(client: LedgerClient, since: int, size: int) -> AsyncIterator[Block]:
    """The submissions of the log from the one that holds index `since` on."""
    start = await _start_of_unit(client, since, size)
    reader = UnitReader(start)
    async for _, entries in client.bundles(start, size, size):
        for logged in reader.feed(entries):
            if logged.block is not None:
                yield logged.block


async def _start_of_unit(client: LedgerClient, index: int, size: int) -> int:
    """The index of the entry at or before `index` that is no event: where a reader may begin."""
    end = index + 1
    while end > 0:
        start = max(0, (end - 1) // TILE_WIDTH * TILE_WIDTH)
        async for first, entries in client.bundles(start, end, size):
            for k in reversed(range(len(entries))):
                if len(entries[k]) < 2 or not ISSUE <= entries[k][1] <= ISSUE + 3:
                    return first + k
        end = start
    return 0
