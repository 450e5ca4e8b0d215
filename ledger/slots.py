"""Random-looking slots without storage: a keyed permutation of a counter, one per status list.

W3C Bitstring Status List 1.0 asks for indexes allocated at random, so that a slot does not tell when its badge was
issued. The n-th slot that the ledger hands out from a list is P(n), where P is a six-round Feistel network over 17
bits (9 and 8) whose round functions are tables cut from HMAC-SHA256(key, list, round). It hides order from readers of
the log; it is no secret that protects money, and an issuer may choose any other unused slot of its own lists.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from ledger.entry import LIST_SLOTS

_ROUNDS = 6


def _table(key: bytes, list_number: int, round_number: int, entries: int, bits: int) -> list[int]:
    prefix = list_number.to_bytes(4, "big") + bytes([round_number])
    blocks = (
        hmac.digest(key, prefix + block.to_bytes(2, "big"), hashlib.sha256) for block in range((entries * 2 + 31) // 32)
    )
    stream = b"".join(blocks)
    mask = (1 << bits) - 1
    return [int.from_bytes(stream[2 * i : 2 * i + 2], "big") & mask for i in range(entries)]


class SlotPermutation:
    """The permutation of one list: `slots(counters)` maps counters 0 to 131,071 to slot numbers of that list."""

    def __init__(self, key: bytes, list_number: int) -> None:
        self._base = list_number * LIST_SLOTS
        # Even rounds change the 9-bit half by a table over the 8-bit half, odd rounds the other way round, so that
        # the halves never move and every round is its own inverse: a permutation whatever the tables hold.
        self._tables = [
            _table(key, list_number, r, 256, 9) if r % 2 == 0 else _table(key, list_number, r, 512, 8)
            for r in range(_ROUNDS)
        ]

    def slots(self, counters: Iterable[int]) -> list[int]:
        """The slots for these counters, in order."""
        a, b, c, d, e, f = self._tables
        base = self._base
        result = []
        for counter in counters:
            left, right = counter >> 8, counter & 0xFF
            left ^= a[right]
            right ^= b[left]
            left ^= c[right]
            right ^= d[left]
            left ^= e[right]
            right ^= f[left]
            result.append(base + (left << 8 | right))
        return result
