"""What a node or an auditor remembers of a log in order to judge its next entry: keys, issued slots, nonces.

    KeyState, IssuerState    immutable values; a change makes a new one, so whoever holds one is never surprised
    IssuedBits               one bit a slot, by list: a dict of chunks while sparse, a bytearray of 16,384 once dense
    Nonces                   nonces of submissions with suspend or reinstate, forgotten once they cannot collide

Nothing here refuses an entry: the rules are in `replay`, `replay_keys` and `replay_block`. How it becomes bytes is in
`replay_snapshot`.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from ledger.entry import CHUNK_SLOTS, LIST_SLOTS, ROLE_MANAGE

_LIST_BYTES = LIST_SLOTS // 8
_BITS_BYTES = CHUNK_SLOTS // 8
#: A list with issued slots in more chunks than this is kept as one bytearray: 64 dict items cost about as much.
_DENSE_CHUNKS = 64
_MASK = bytes(0x80 >> k for k in range(8))


@dataclass(frozen=True, slots=True)
class KeyState:
    """A public key of an issuer, named by the log index of the entry that added it.

    `binding` is the effective one, 1 to 3: what binds the first key of its chain of signers, since a delegated key is
    at most as strong as its signer. `time` is its entry's, in milliseconds; `entry` the add entry's bytes.
    """

    index: int
    issuer: bytes
    roles: int
    public_key: bytes
    live: bool
    binding: int
    time: int
    entry: bytes
    # The signer as it stood then, for `chain` alone: a long chain must not cost each of its keys a copy.
    parent: KeyState | None = field(default=None, repr=False, compare=False)

    @property
    def delegated(self) -> bool:
        """Whether an earlier key signed for it: every key of an issuer but the first."""
        return self.parent is not None

    @property
    def chain(self) -> tuple[int, ...]:
        """The add entries from this key over each one's signer to the issuer's first key: log indexes, falling."""
        indexes, key = [self.index], self.parent
        while key is not None:
            indexes.append(key.index)
            key = key.parent
        return tuple(indexes)


@dataclass(frozen=True, slots=True)
class IssuerState:
    """An issuer: `issuer` is the SHA-256 of `identifier`, `last_leaf` the leaf hash of its newest key entry."""

    issuer: bytes
    identifier: str
    last_leaf: bytes
    keys: Mapping[int, KeyState]
    #: Every public key ever added, live or retired, and the index of its add entry.
    added: Mapping[bytes, int]
    #: Numbers of its status lists, rising.
    lists: tuple[int, ...] = ()

    @property
    def managers(self) -> int:
        """How many live keys have the role *manage*."""
        return sum(key.live and bool(key.roles & ROLE_MANAGE) for key in self.keys.values())


class IssuedBits:
    """Which slots are issued. Slots are absolute (64 bits)."""

    __slots__ = ("_lists",)

    def __init__(self) -> None:
        self._lists: dict[int, dict[int, int] | bytearray] = {}

    def __contains__(self, slot: int) -> bool:
        bits = self._lists.get(slot >> 17)
        if bits is None:
            return False
        if isinstance(bits, dict):
            return bool(bits.get(slot >> 8, 0) >> (255 - (slot & 255)) & 1)
        return bool(bits[slot >> 3 & 16383] & _MASK[slot & 7])

    def clashes(self, slots: Collection[int], numbers: Collection[int]) -> bool:
        """Whether any of these slots is issued; `numbers` are the lists that hold them."""
        held = {number: self._lists[number] for number in numbers if number in self._lists}
        if not held:
            return False
        tables = {number: bits for number, bits in held.items() if isinstance(bits, bytearray)}
        mask = _MASK
        # Lists of bits rather than generators: half the price in the common case, in which nothing clashes.
        if len(tables) == len(numbers):
            if len(tables) == 1:
                (table,) = tables.values()
                return bool([1 for slot in slots if table[slot >> 3 & 16383] & mask[slot & 7]])
            return bool([1 for slot in slots if tables[slot >> 17][slot >> 3 & 16383] & mask[slot & 7]])
        if not tables:
            chunks = {slot >> 8 for slot in slots}
            if all(chunks.isdisjoint(bits) for bits in held.values()):
                return False
        return bool([1 for slot in slots if slot in self])

    def add(self, slots: Collection[int], numbers: Collection[int]) -> None:
        """Set the bits of these slots; `numbers` are the lists that hold them."""
        if len(numbers) == 1:
            for number in numbers:
                self._add_to_list(number, slots)
            return
        tables = {number: self._lists.get(number) for number in numbers}
        dense = {number: bits for number, bits in tables.items() if isinstance(bits, bytearray)}
        if len(dense) == len(numbers):
            mask = _MASK
            for slot in slots:
                dense[slot >> 17][slot >> 3 & 16383] |= mask[slot & 7]
            return
        groups: dict[int, list[int]] = {number: [] for number in numbers}
        for slot in slots:
            groups[slot >> 17].append(slot)
        for number, group in groups.items():
            self._add_to_list(number, group)

    def _add_to_list(self, number: int, slots: Collection[int]) -> None:
        bits = self._lists.get(number)
        if bits is None:
            bits = self._lists[number] = {}
        if isinstance(bits, dict) and len(bits) + len(slots) > _DENSE_CHUNKS:
            bits = self._promoted(number, bits, len(bits.keys() | {slot >> 8 for slot in slots}))
        if isinstance(bits, dict):
            for slot in slots:
                bits[slot >> 8] = bits.get(slot >> 8, 0) | 1 << (255 - (slot & 255))
        else:
            mask = _MASK
            for slot in slots:
                bits[slot >> 3 & 16383] |= mask[slot & 7]

    def _promoted(self, number: int, bits: dict[int, int], chunks: int) -> dict[int, int] | bytearray:
        if chunks <= _DENSE_CHUNKS:
            return bits
        dense = bytearray(_LIST_BYTES)
        for chunk, value in bits.items():
            start = (chunk & 511) * _BITS_BYTES
            dense[start : start + _BITS_BYTES] = value.to_bytes(_BITS_BYTES, "big")
        self._lists[number] = dense
        return dense

    def rows(self) -> Iterator[tuple[int, list[int], bytes]]:
        """For each list with an issued slot, by number: its chunks that have one, rising, and their 32 bytes joined."""
        for number in sorted(self._lists):
            bits = self._lists[number]
            if isinstance(bits, dict):
                chunks = sorted(bits)
                yield number, chunks, b"".join([bits[chunk].to_bytes(_BITS_BYTES, "big") for chunk in chunks])
            else:
                pieces = [bytes(bits[start : start + _BITS_BYTES]) for start in range(0, _LIST_BYTES, _BITS_BYTES)]
                held = [k for k, piece in enumerate(pieces) if any(piece)]
                yield number, [(number << 9) + k for k in held], b"".join([pieces[k] for k in held])

    def load_row(self, number: int, chunks: list[int], data: bytes) -> None:
        """Take one row of `rows` into a list that has no bit yet. Raises ValueError if it is no such row."""
        if not chunks or len(data) != _BITS_BYTES * len(chunks) or any(chunk >> 9 != number for chunk in chunks):
            raise ValueError(f"the issued bits of list {number} do not add up")
        values = {
            chunk: int.from_bytes(data[k * _BITS_BYTES : (k + 1) * _BITS_BYTES], "big")
            for k, chunk in enumerate(chunks)
        }
        self._lists[number] = values
        self._promoted(number, values, len(values))


class Nonces:
    """Nonces that must not come again before their not_after, keyed by issuer || nonce (48 bytes)."""

    __slots__ = ("_order", "_until")

    def __init__(self) -> None:
        self._until: dict[bytes, int] = {}
        self._order: list[tuple[int, bytes]] = []

    def __len__(self) -> int:
        return len(self._until)

    def until(self, key: bytes) -> int:
        """The latest not_after of a submission with this nonce, milliseconds; -1 if none is remembered."""
        return self._until.get(key, -1)

    def remember(self, key: bytes, not_after: int) -> None:
        """Remember a nonce, past any earlier not_after of the same one."""
        self._until[key] = not_after
        heapq.heappush(self._order, (not_after, key))

    def expire(self, time: int) -> None:
        """Forget what no submission at `time` (milliseconds) or later can collide with."""
        while self._order and self._order[0][0] < time:
            not_after, key = heapq.heappop(self._order)
            if self._until.get(key) == not_after:
                del self._until[key]

    def rows(self) -> list[tuple[bytes, int]]:
        """All of them, sorted."""
        return sorted(self._until.items())
