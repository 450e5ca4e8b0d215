"""Slots of an issuer's own lists, asked of the ledger under the issuer's signature (`POST /v1/issuers/{id}/slots`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ledger.cli.identity import WINDOW_MS, Identity, Log, new_nonce
from ledger.cli.output import counted
from ledger.errors import OperationError
from ledger.message import slots_message

if TYPE_CHECKING:
    from ledger.client import LedgerClient

#: The most slots that one request asks for.
MAX_SLOTS_REQUEST: Final = 100_000


async def reserve(client: LedgerClient, log: Log, identity: Identity, count: int) -> list[int]:
    """1 to `count` unused slots, each once; a reserved slot that is never used costs nothing.

    Raises OperationError if the ledger hands out none, too many, or one twice.
    """
    not_after_ms, nonce = client.clock.now_ms() + WINDOW_MS, new_nonce()
    count = min(count, MAX_SLOTS_REQUEST)
    message = slots_message(log.origin, identity.issuer, identity.index, not_after_ms, nonce, count)
    slots = await client.reserve_slots(
        identity.issuer,
        key=identity.index,
        not_after_ms=not_after_ms,
        nonce=nonce,
        count=count,
        signature=identity.key.sign(message),
    )
    if not slots or len(slots) > count or len(set(slots)) != len(slots):
        raise OperationError(f"the ledger handed out {counted(len(slots), 'slot')} where {count} were asked for")
    return slots
