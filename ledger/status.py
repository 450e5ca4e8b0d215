"""The status tree (docs/protocol.md, "Status"): two bits a slot, provable, and at once the W3C Bitstring Status Lists.

    slot          u64 = list x 131,072 + index in the list
    chunk         64 bytes for 256 slots: revoked[32] || suspended[32]; number = slot >> 8
    bit           byte (slot >> 3) & 31 of a half, mask 0x80 >> (slot & 7)
    status tree   RFC 6962 over 512 x lists chunks, leaf = SHA-256(0 || chunk); no list: SHA-256 of nothing
    node          (level, index): the complete subtree over chunks [index << level, (index + 1) << level)
    proof         the multiproof of docs/protocol.md with one target, the chunk's number

`StatusTree` is immutable: an update copies the paths it touches and shares the rest, so a value taken at one head goes
on answering for that head. Empty subtrees are one shared constant a level; only what holds a bit takes memory. It
checks no transition and knows no issuer (`replay` does both), and it stores nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from ledger import merkle
from ledger.entry import LIST_CHUNKS, LIST_SLOTS
from ledger.errors import MalformedInput, ProofInvalid

CHUNK_BYTES = 64
HALF_BYTES = 32
MAX_LISTS = 2**32
ZERO_CHUNK = bytes(CHUNK_BYTES)

_LIST_LEVEL = 9
_MAX_LEVEL = _LIST_LEVEL + 32

State = Literal["active", "revoked", "suspended"]
Purpose = Literal["revocation", "suspension"]
ChangedNode = tuple[int, int, bytes]

# A leaf is (hash, chunk, None), an inner node (hash, left, right). Tuples, because millions of them must stay cheap;
# whoever walks them knows the level, so nothing needs to tell a leaf from an inner node.
_Node = tuple[bytes, Any, Any]


def _empty_nodes() -> list[_Node]:
    nodes: list[_Node] = [(merkle.leaf_hash(ZERO_CHUNK), ZERO_CHUNK, None)]
    for _ in range(_MAX_LEVEL):
        below = nodes[-1]
        nodes.append((merkle.node_hash(below[0], below[0]), below, below))
    return nodes


_EMPTY = _empty_nodes()


def list_of(slot: int) -> int:
    """The number of the list that holds the slot."""
    return slot >> 17


def index_in_list(slot: int) -> int:
    """The slot's index in its list, 0 to 131,071."""
    return slot & (LIST_SLOTS - 1)


def chunk_number(slot: int) -> int:
    """The number of the chunk that holds the slot: its leaf in the status tree."""
    return slot >> 8


def bit(slot: int) -> tuple[int, int]:
    """The slot's (byte offset in a half chunk, 0 to 31; mask in that byte): W3C order, most significant bit first."""
    return (slot >> 3) & 31, 0x80 >> (slot & 7)


def slot_state(chunk: bytes, slot: int) -> State:
    """What its chunk says of an issued slot. Raises MalformedInput for a slot that is revoked and suspended at once."""
    if len(chunk) != CHUNK_BYTES:
        raise MalformedInput(f"a chunk has {CHUNK_BYTES} bytes, not {len(chunk)}")
    offset, mask = bit(slot)
    revoked, suspended = chunk[offset] & mask, chunk[HALF_BYTES + offset] & mask
    if revoked and suspended:
        raise MalformedInput(f"slot {slot} is revoked and suspended at once")
    return "revoked" if revoked else "suspended" if suspended else "active"


def empty_hash(level: int) -> bytes:
    """The hash of the complete subtree of that level, 0 to 41, without any bit: what a node never reported has."""
    return _EMPTY[level][0]


def plan_status(slot: int, lists: int) -> merkle.Plan:
    """The nodes that the proof of a slot needs. Raises ValueError for a slot outside the tree."""
    _check_lists(lists)
    if not 0 <= slot < LIST_SLOTS * lists:
        raise ValueError(f"slot {slot} is not in {lists} lists")
    return merkle.plan_multiproof([chunk_number(slot)], LIST_CHUNKS * lists)


def root_from_status_proof(slot: int, chunk: bytes, lists: int, proof: Sequence[bytes]) -> bytes:
    """The root (32 bytes) of the status tree in which `chunk` covers `slot`. Raises ProofInvalid."""
    if not 0 <= lists <= MAX_LISTS:
        raise ProofInvalid(f"a status tree has at most {MAX_LISTS} lists, not {lists}")
    if not 0 <= slot < LIST_SLOTS * lists:
        raise ProofInvalid(f"slot {slot} is in none of {lists} lists")
    if len(chunk) != CHUNK_BYTES:
        raise ProofInvalid(f"a chunk has {CHUNK_BYTES} bytes, not {len(chunk)}")
    return merkle.root_from_multiproof({chunk_number(slot): merkle.leaf_hash(chunk)}, LIST_CHUNKS * lists, proof)


def verify_status(slot: int, chunk: bytes, lists: int, proof: Sequence[bytes], root: bytes) -> None:
    """That `chunk` is the one that covers `slot` in the status tree with this root. Raises ProofInvalid."""
    if root_from_status_proof(slot, chunk, lists, proof) != root:
        raise ProofInvalid(f"the status proof of slot {slot} does not lead to the status root")


class StatusTree:
    """The status tree over some lists: an immutable value. `lists` is their number, `root` the RFC 6962 root."""

    __slots__ = ("_peaks", "lists", "root")

    lists: int
    root: bytes
    # The complete subtrees, left to right, big to small: one for each bit of `lists`.
    _peaks: tuple[tuple[int, _Node], ...]

    def __init__(self, lists: int = 0, peaks: tuple[tuple[int, _Node], ...] = ()) -> None:
        self.lists = lists
        self._peaks = peaks
        self.root = merkle.fold([node[0] for _, node in peaks]) if peaks else merkle.EMPTY_ROOT

    @classmethod
    def empty(cls) -> StatusTree:
        """The tree without a list; its root is SHA-256 of nothing."""
        return cls()

    @classmethod
    def from_chunks(cls, lists: int, chunks: Mapping[int, bytes]) -> StatusTree:
        """The tree of `lists` lists in which every chunk not given is zeros."""
        return cls().with_lists(lists).update(chunks)[0]

    def with_lists(self, lists: int) -> StatusTree:
        """The same bits under `lists` lists, the new ones empty. Raises ValueError if that is fewer than now."""
        _check_lists(lists)
        if lists < self.lists:
            raise ValueError(f"a status tree of {self.lists} lists never shrinks to {lists}")
        peaks, size = list(self._peaks), self.lists
        while size < lists:
            # The largest empty subtree that may begin here; equal neighbours then join, as in a binary counter.
            height = (lists - size).bit_length() - 1
            if size:
                height = min(height, (size & -size).bit_length() - 1)
            level, node = _LIST_LEVEL + height, _EMPTY[_LIST_LEVEL + height]
            size += 1 << height
            while peaks and peaks[-1][0] == level:
                node = _join(level + 1, peaks.pop()[1], node)
                level += 1
            peaks.append((level, node))
        return StatusTree(lists, tuple(peaks))

    def update(self, chunks: Mapping[int, bytes]) -> tuple[StatusTree, list[ChangedNode]]:
        """The tree with these chunks (64 bytes each, by number), and the (level, index, hash) of each complete node
        that changed, chunks (level 0) included. Raises ValueError for a chunk of another length or outside the tree.
        """
        numbers = sorted(chunks)
        if not numbers:
            return self, []
        if numbers[0] < 0 or numbers[-1] >= LIST_CHUNKS * self.lists:
            raise ValueError(f"chunk {numbers[0] if numbers[0] < 0 else numbers[-1]} is in none of {self.lists} lists")
        if any(len(chunk) != CHUNK_BYTES for chunk in chunks.values()):
            raise ValueError(f"a chunk has {CHUNK_BYTES} bytes")
        changed: list[ChangedNode] = []
        peaks: list[tuple[int, _Node]] = []
        start = low = 0
        for level, node in self._peaks:
            high = bisect_left(numbers, start + (1 << level), low)
            if high > low:
                node = _replace(node, level, start >> level, numbers[low:high], chunks, changed)
            peaks.append((level, node))
            start, low = start + (1 << level), high
        if not changed:
            return self, []
        return StatusTree(self.lists, tuple(peaks)), changed

    def changes_since(self, older: StatusTree) -> list[ChangedNode]:
        """The complete nodes, level 0 included, that an older value of this tree lacked or had otherwise.

        New nodes without any bit are left out: a node never reported has `empty_hash(level)`.
        """
        changed: list[ChangedNode] = []
        start = 0
        for level, node in self._peaks:
            _differences(node, level, start >> level, older._find(level, start >> level), older, changed)
            start += 1 << level
        return changed

    def node(self, node: tuple[int, int]) -> bytes:
        """The hash of the complete subtree (level, index). Raises ValueError if this tree has no such subtree."""
        found = self._find(*node)
        if found is None:
            raise ValueError(f"{self.lists} lists have no complete subtree {node}")
        return found[0]

    def chunk(self, number: int) -> bytes:
        """The 64 bytes of a chunk. Raises ValueError if it is in none of the lists."""
        found = self._find(0, number)
        if found is None:
            raise ValueError(f"chunk {number} is in none of {self.lists} lists")
        chunk: bytes = found[1]
        return chunk

    def chunks(self) -> dict[int, bytes]:
        """Every chunk that holds a bit, by number, ascending: what `from_chunks` takes."""
        return self._collect(lambda chunk: chunk)

    def list_bits(self, number: int, purpose: Purpose) -> bytes:
        """The bit string of a W3C Bitstring Status List, uncompressed: 16,384 bytes. Raises ValueError."""
        found = self._find(_LIST_LEVEL, number)
        if found is None:
            raise ValueError(f"list {number} is none of {self.lists} lists")
        offset = 0 if purpose == "revocation" else HALF_BYTES
        bits = bytearray(LIST_SLOTS // 8)
        halves: dict[int, bytes] = {}
        _walk(found, _LIST_LEVEL, 0, halves, lambda chunk: chunk[offset : offset + HALF_BYTES])
        for position, half in halves.items():
            bits[position * HALF_BYTES : (position + 1) * HALF_BYTES] = half
        return bytes(bits)

    def proof(self, slot: int) -> tuple[bytes, list[bytes]]:
        """The slot's chunk and the hashes that `verify_status` takes. Raises ValueError for a slot outside."""
        number = chunk_number(slot)
        position = start = 0
        while position < len(self._peaks) and number >= start + (1 << self._peaks[position][0]):
            start += 1 << self._peaks[position][0]
            position += 1
        if slot < 0 or position == len(self._peaks):
            raise ValueError(f"slot {slot} is in none of {self.lists} lists")
        # The recursion of `merkle.plan_multiproof` for one target in one descent: what is left of the path comes top
        # down, before the target; what is right of it comes bottom up, behind it.
        left = [node[0] for _, node in self._peaks[:position]]
        right = (
            [merkle.fold([node[0] for _, node in self._peaks[position + 1 :]])] if self._peaks[position + 1 :] else []
        )
        level, node = self._peaks[position]
        for step in range(level - 1, -1, -1):
            if (number >> step) & 1:
                left.append(node[1][0])
                node = node[2]
            else:
                right.append(node[2][0])
                node = node[1]
        return node[1], left + right[::-1]

    def _find(self, level: int, index: int) -> _Node | None:
        if level < 0 or index < 0:
            return None
        first, start = index << level, 0
        for peak_level, peak in self._peaks:
            end = start + (1 << peak_level)
            if first < end:
                if level > peak_level:
                    return None
                node: _Node = peak
                for step in range(peak_level - 1, level - 1, -1):
                    node = node[2] if (first >> step) & 1 else node[1]
                return node
            start = end
        return None

    def _collect(self, take: Callable[[bytes], bytes]) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        start = 0
        for level, node in self._peaks:
            _walk(node, level, start >> level, found, take)
            start += 1 << level
        return found


def _check_lists(lists: int) -> None:
    if not 0 <= lists <= MAX_LISTS:
        raise ValueError(f"a status tree has at most {MAX_LISTS} lists, not {lists}")


def _join(level: int, left: _Node, right: _Node) -> _Node:
    empty = _EMPTY[level - 1]
    if left is empty and right is empty:
        return _EMPTY[level]
    return merkle.node_hash(left[0], right[0]), left, right


def _replace(
    node: _Node, level: int, index: int, numbers: list[int], chunks: Mapping[int, bytes], changed: list[ChangedNode]
) -> _Node:
    """The subtree with these chunks in place, itself if nothing differs; `numbers` are sorted and all inside it."""
    if level == 0:
        chunk = bytes(chunks[numbers[0]])
        if chunk == node[1]:
            return node
        new: _Node = _EMPTY[0] if chunk == ZERO_CHUNK else (merkle.leaf_hash(chunk), chunk, None)
    else:
        left, right = node[1], node[2]
        cut = bisect_left(numbers, (2 * index + 1) << (level - 1))
        if cut:
            left = _replace(left, level - 1, 2 * index, numbers[:cut], chunks, changed)
        if cut < len(numbers):
            right = _replace(right, level - 1, 2 * index + 1, numbers[cut:], chunks, changed)
        if left is node[1] and right is node[2]:
            return node
        new = _join(level, left, right)
    changed.append((level, index, new[0]))
    return new


def _differences(
    node: _Node, level: int, index: int, old: _Node | None, older: StatusTree, changed: list[ChangedNode]
) -> None:
    """`old` is the same subtree in the older tree; None if it was not complete there, while its children may be."""
    if old is None:
        if node is _EMPTY[level]:
            return
    elif node is old or node[0] == old[0]:
        return
    if level:
        left = old[1] if old else older._find(level - 1, 2 * index)
        right = old[2] if old else older._find(level - 1, 2 * index + 1)
        _differences(node[1], level - 1, 2 * index, left, older, changed)
        _differences(node[2], level - 1, 2 * index + 1, right, older, changed)
    changed.append((level, index, node[0]))


def _walk(node: _Node, level: int, index: int, found: dict[int, bytes], take: Callable[[bytes], bytes]) -> None:
    if node is _EMPTY[level]:
        return
    if level == 0:
        found[index] = take(node[1])
        return
    _walk(node[1], level - 1, 2 * index, found, take)
    _walk(node[2], level - 1, 2 * index + 1, found, take)
