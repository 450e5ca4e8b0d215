"""From what an audit found wrong to a file that proves it offline (`ledger.evidence`).

    fork, rollback   two signed heads, and where their sizes differ the hashes that show two pasts
    entries          the few entries that break a rule by themselves, if that can be; else the log up to the breach

Every file is read back and has to convict before anybody is told. What a source hands out that is not under its own
signed head convicts nobody; then there is no file.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

from ledger.auditor.source import Source, read_ahead, read_entry, read_nodes
from ledger.checkpoint import Checkpoint
from ledger.entry import (
    ADD,
    ISSUE,
    REINSTATE,
    RETIRE,
    REVOKE,
    SUSPEND,
    Issue,
    IssuerKey,
    StatusEvent,
    StatusList,
    StatusRoot,
    Submission,
    decode,
)
from ledger.errors import InputError, LedgerError, MalformedEntry, OperationError, RuleViolation, VerificationError
from ledger.evidence import (
    MAX_DOCUMENT_BYTES,
    Conviction,
    MalformedEvidence,
    excerpt_evidence,
    heads_evidence,
    prefix_evidence,
    read_entries,
    verify_evidence,
    violation_of,
)
from ledger.merkle import nodes_for_range, plan_consistency, plan_multiproof, roots_from_consistency
from ledger.note import VerifierKey
from ledger.tiles import TILE_WIDTH, Tile, bundles_for_range, decode_bundle

#: A head: the checkpoint and its signed note.
Head = tuple[Checkpoint, bytes]

_CHUNK: Final = 1 << 20
_DEPTH: Final = 16


class Convicted(VerificationError):
    """The log has signed what cannot be true. `path` is the file that proves it."""

    slug, title = "convicted", "The log contradicts what it signed"

    def __init__(self, conviction: Conviction, path: Path) -> None:
        where = "" if conviction.index is None else f" at entry {conviction.index}"
        super().__init__(
            f"{conviction.origin} is convicted{where}: {conviction.sentence} (rule {conviction.rule}); "
            f"{path} proves it",
            rule=conviction.rule,
            index=conviction.index,
            evidence=str(path),
            kind=conviction.kind,
        )
        self.conviction = conviction
        self.path = path


async def convict_heads(folder: Path, rule: str, first: bytes, second: bytes, keys: Sequence[VerifierKey]) -> Convicted:
    """Two signed notes that contradict each other as they are: of one size (fork), or a rollback, smaller first."""
    return _write(folder, heads_evidence(rule, "", first, second), keys)


async def convict_fork(
    folder: Path, source: Source, small: Head, large: Head, keys: Sequence[VerifierKey]
) -> Convicted | None:
    """Proof that the larger head has another past than the smaller one states; None if the source's tiles show none."""
    first, second = small[0].size, large[0].size
    try:
        proof = await read_nodes(source, plan_consistency(first, second), second)
        if first & (first - 1) == 0:
            # The proof leaves out the first tree where it is one complete subtree; here it is what is in question.
            proof = [*await read_nodes(source, [nodes_for_range(0, first)], second), *proof]
        roots = roots_from_consistency(first, second, proof[0], proof[1:])
    except LedgerError:
        return None
    if roots[1] != large[0].root or roots[0] == small[0].root:
        return None
    return _write(folder, heads_evidence("fork", "", small[1], large[1], proof), keys)


async def convict_entries(
    folder: Path,
    source: Source,
    head: Head,
    error: RuleViolation | MalformedEntry,
    fed: int,
    keys: Sequence[VerifierKey],
) -> Convicted | None:
    """Proof that entries under the head break a rule; `fed` is the index behind the last entry that was read.

    None if what the source hands out is not under the head.
    """
    rule, index = violation_of(error)
    with suppress(LedgerError, ValueError):
        return await _excerpt(folder, source, head, (rule, index, error.detail), keys)
    try:
        return await _prefix(folder, source, head, (rule, index, error.detail), fed, keys)
    except (VerificationError, InputError):
        return None


async def _excerpt(
    folder: Path, source: Source, head: Head, found: tuple[str, int, str], keys: Sequence[VerifierKey]
) -> Convicted:
    """Raises LedgerError where an excerpt does not do."""
    rule, index, detail = found
    size = head[0].size
    wanted = await _relevant(source, rule, index, size)
    entries = {at: data async for at, data in _read_entries(source, sorted(wanted), size)}
    proof = await read_nodes(source, plan_multiproof(wanted, size), size)
    return _write(folder, excerpt_evidence(rule, detail, head[1], index, entries, proof), keys)


async def _read_entries(source: Source, wanted: Sequence[int], size: int) -> AsyncIterator[tuple[int, bytes]]:
    """The entries at these indexes, ascending; each bundle is read once."""
    bundles: dict[Tile, list[int]] = {}
    for index in wanted:
        bundles.setdefault(next(bundles_for_range(index, index + 1, size)), []).append(index % TILE_WIDTH)
    async for (tile,), (data,) in read_ahead(source, ((tile,) for tile in bundles), _DEPTH):
        entries = decode_bundle(data, tile.width)
        for place in bundles[tile]:
            yield tile.index * TILE_WIDTH + place, entries[place]


async def _prefix(
    folder: Path, source: Source, head: Head, found: tuple[str, int, str], fed: int, keys: Sequence[VerifierKey]
) -> Convicted:
    rule, index, detail = found
    size = head[0].size
    proof = await read_nodes(source, plan_consistency(fed, size), size)
    document = prefix_evidence(rule, detail, head[1], index, proof)
    tiles = ((tile,) for tile in bundles_for_range(0, fed, size))
    temporary = _temporary(folder)
    try:
        with temporary.open("wb") as file:
            file.write(document)
            left = fed
            async for (tile,), (data,) in read_ahead(source, tiles, _DEPTH):
                if left < tile.width:
                    kept = decode_bundle(data, tile.width)[:left]
                    data = b"".join(len(entry).to_bytes(2, "big") + entry for entry in kept)
                file.write(data)
                left -= tile.width
        return _keep(folder, temporary, keys)
    except OSError as error:
        raise OperationError(f"{temporary}: {(error.strerror or str(error)).lower()}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


# Which entries show a breach ------------------------------------------------------------------------------------------


async def _relevant(source: Source, rule: str, index: int, size: int) -> set[int]:
    """The indexes of the entries that `evidence_rules` wants for this breach. Raises LedgerError."""
    raw = await read_entry(source, index, size)
    wanted = {index}
    if rule == "malformed-entry":
        return wanted
    entry = decode(raw)
    if isinstance(entry, Submission):
        if entry.key < index:
            wanted.add(entry.key)
        if rule == "events-root":
            wanted |= set(range(index + 1, index + 1 + entry.count))
    elif isinstance(entry, IssuerKey) and entry.signer < index:
        wanted.add(entry.signer)
    if rule in ("key-role", "nonce") and isinstance(entry, Submission):
        wanted |= await _first_event(source, index, entry, size, _wanted_event(rule))
    if rule in ("foreign-issuer", "count"):
        before = await _find(source, 0, index, size, lambda at, data: _is_submission_over(at, data, index))
        wanted |= {before} if before is not None else set()
    earlier = _earlier(rule, entry)
    if earlier is not None:
        found = await _find(source, 0, index, size, earlier)
        if found is not None:
            wanted.add(found)
            if rule == "nonce":
                other = decode(await read_entry(source, found, size))
                assert isinstance(other, Submission)  # noqa: S101 - `earlier` found it by its type
                wanted |= await _first_event(source, found, other, size, _wanted_event(rule))
    return wanted


def _wanted_event(rule: str) -> Callable[[int], bool]:
    """Of the entry types of events: those that count for the rule. Both kinds, where a role decides."""
    if rule == "nonce":
        return lambda kind: kind in (SUSPEND, REINSTATE)
    return lambda kind: True


async def _first_event(
    source: Source, index: int, submission: Submission, size: int, is_wanted: Callable[[int], bool]
) -> set[int]:
    """The first event of each wanted kind."""
    found: dict[bool, int] = {}
    end = min(size, index + 1 + submission.count)
    async for at, data in _entries(source, index + 1, end, size):
        if len(data) > 1 and is_wanted(data[1]):
            found.setdefault(data[1] == ISSUE, at)
    return set(found.values())


def _earlier(rule: str, entry: object) -> Callable[[int, bytes], bool] | None:
    """What has to be found before the breach, as a test of an entry; None if nothing."""
    match rule, entry:
        case "time-decreases", IssuerKey() | StatusList() | Submission() | StatusRoot():
            time = entry.time
            return lambda at, data: _time_of(data) > time
        case "slot-issued", Issue():
            slot = entry.slot.to_bytes(8, "big")
            return lambda at, data: data[1:2] == b"\x05" and data[34:42] == slot
        case "illegal-transition", StatusEvent():
            slot = entry.slot.to_bytes(8, "big")
            return lambda at, data: data[1:2] == bytes((REVOKE,)) and data[34:42] == slot
        case "nonce", Submission():
            return lambda at, data: _same_nonce(data, entry)
        case "key-retired", Submission():
            return lambda at, data: _is_key(data, lambda key: key.action == RETIRE)
        case "key-retired", IssuerKey():
            return lambda at, data: _is_key(
                data, lambda key: key.action == RETIRE and key.identifier == entry.identifier
            )
        case "key-prev", IssuerKey():
            return lambda at, data: _is_key(
                data, lambda key: (key.identifier, key.prev) == (entry.identifier, entry.prev)
            )
        case "key-duplicate", IssuerKey():
            wanted = (ADD, entry.identifier, entry.public_key)
            return lambda at, data: _is_key(data, lambda key: (key.action, key.identifier, key.public_key) == wanted)
        case "list-number", StatusList():
            return lambda at, data: _is_list(data, entry.list)
    return None


def _decoded(data: bytes) -> object:
    try:
        return decode(data)
    except MalformedEntry:
        return None


def _time_of(data: bytes) -> int:
    return getattr(_decoded(data), "time", -1) if data[1:2] not in (b"\x05", b"\x06", b"\x07", b"\x08") else -1


def _same_nonce(data: bytes, entry: Submission) -> bool:
    other = _decoded(data) if data[1:2] == b"\x04" else None
    return isinstance(other, Submission) and (other.issuer, other.nonce) == (entry.issuer, entry.nonce)


def _is_key(data: bytes, holds: Callable[[IssuerKey], bool]) -> bool:
    other = _decoded(data) if data[1:2] == b"\x02" else None
    return isinstance(other, IssuerKey) and holds(other)


def _is_list(data: bytes, number: int) -> bool:
    other = _decoded(data) if data[1:2] == b"\x03" else None
    return isinstance(other, StatusList) and other.list == number


def _is_submission_over(at: int, data: bytes, index: int) -> bool:
    other = _decoded(data) if data[1:2] == b"\x04" else None
    return isinstance(other, Submission) and at < index <= at + other.count


async def _entries(source: Source, start: int, end: int, size: int) -> AsyncIterator[tuple[int, bytes]]:
    tiles = ((tile,) for tile in bundles_for_range(start, end, size))
    async for (tile,), (data,) in read_ahead(source, tiles, _DEPTH):
        first = tile.index * TILE_WIDTH
        for k, entry in enumerate(decode_bundle(data, tile.width)):
            if start <= first + k < end:
                yield first + k, entry


async def _find(source: Source, start: int, end: int, size: int, is_wanted: Callable[[int, bytes], bool]) -> int | None:
    """The last index in [start, end) whose entry is wanted."""
    found = None
    async for at, data in _entries(source, start, end, size):
        if is_wanted(at, data):
            found = at
    return found


# The file -------------------------------------------------------------------------------------------------------------


def check_file(path: Path, keys: Sequence[VerifierKey]) -> Conviction:
    """What a file of evidence proves. Raises as `verify_evidence`, and InputError where it cannot be read."""
    try:
        with path.open("rb") as file:
            document = file.readline(MAX_DOCUMENT_BYTES + 1)
            if not document.endswith(b"\n"):
                raise MalformedEvidence(f"{path}: the first line is no document of evidence")

            def chunks() -> Iterator[bytes]:
                while chunk := file.read(_CHUNK):
                    yield chunk

            return verify_evidence(document, read_entries(chunks()), keys)
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from error


def _write(folder: Path, document: bytes, keys: Sequence[VerifierKey]) -> Convicted:
    temporary = _temporary(folder)
    try:
        temporary.write_bytes(document)
        return _keep(folder, temporary, keys)
    except OSError as error:
        raise OperationError(f"{temporary}: {(error.strerror or str(error)).lower()}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _temporary(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OperationError(f"{folder}: {(error.strerror or str(error)).lower()}") from error
    return folder / f".evidence.{os.getpid()}.tmp"


def file_name(origin: str) -> str:
    """An origin as part of a file's name: ASCII letters and digits, of a long one its beginning and a hash."""
    name = "".join(c if c.isascii() and (c.isalnum() or c in "-.") else "-" for c in origin).lstrip(".")
    return name if len(name) <= 64 else f"{name[:48]}-{sha256(origin.encode()).hexdigest()[:12]}"


def _keep(folder: Path, temporary: Path, keys: Sequence[VerifierKey]) -> Convicted:
    """Give the file its name if it convicts. Raises VerificationError if it does not."""
    conviction = check_file(temporary, keys)
    where = "" if conviction.index is None else f"-{conviction.index}"
    path = folder / f"{file_name(conviction.origin)}-{conviction.rule}{where}.evidence"
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    return Convicted(conviction, path)
