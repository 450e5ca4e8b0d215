"""Valid logs for tests: pure, deterministic, small. Nothing here does I/O, reads a clock or draws random numbers.

    log = LogBuilder()
    issuer = log.issuer("https://example.org/issuer")
    log.open_list(issuer)
    log.submit(issuer, [issuer.issue(5), issuer.revoke(5)])
    log.seal()
    log.entries, log.root(), log.replay

Every method that appends goes through `Replay.apply`, so a log that a builder yields is one that the rules admit; what
the methods `key_entry` and `block` return has not been appended, for tests that spoil it first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from ledger import merkle
from ledger.block import Block, sign_submission
from ledger.entry import (
    ADD,
    ALG_ED25519,
    BINDING_DELEGATED,
    BINDING_PUBLISHED,
    BINDING_SELF_CERTIFYING,
    BINDING_VOUCHED,
    LIST_SLOTS,
    NONE_INDEX,
    REINSTATE,
    RETIRE,
    REVOKE,
    SUSPEND,
    ZERO32,
    ZERO64,
    IssuerKey,
    LogParams,
    Predecessor,
    StatusList,
    StatusRoot,
    did_key,
    encode,
    encode_issue,
    encode_status_event,
    issuer_id,
)
from ledger.message import key_message
from ledger.replay import Replay, Unit
from ledger.signing import Ed25519Key

ORIGIN = "ledger.example/test"
START_MS = 1_750_000_000_000
HOUR_MS = 3_600_000
ALL_ROLES = 7


def seeded_key(name: str) -> Ed25519Key:
    """The Ed25519 key whose seed is the SHA-256 of the name."""
    return Ed25519Key.from_seed(hashlib.sha256(name.encode()).digest())


def commitment(slot: int, salt: str = "") -> bytes:
    """Some 32 bytes that differ by slot and salt."""
    return hashlib.sha256(f"commitment {slot} {salt}".encode()).digest()


@dataclass
class BuiltKey:
    """A key of an issuer: its private half and the log index of its add entry."""

    key: Ed25519Key
    index: int
    roles: int
    live: bool = True


@dataclass
class BuiltIssuer:
    """An issuer: `id` is the SHA-256 of its identifier; `keys` are in log order; `lists` are its list numbers."""

    identifier: str
    keys: list[BuiltKey] = field(default_factory=list)
    lists: list[int] = field(default_factory=list)

    @property
    def id(self) -> bytes:
        return issuer_id(self.identifier)

    def slot(self, index: int, nth_list: int = 0) -> int:
        """The slot at an index of one of its lists."""
        return self.lists[nth_list] * LIST_SLOTS + index

    def issue(self, slot: int, value: bytes | None = None) -> bytes:
        """An issue event."""
        return encode_issue(self.id, slot, commitment(slot) if value is None else value)

    def revoke(self, slot: int, reason: int = 0) -> bytes:
        """A revoke event."""
        return encode_status_event(REVOKE, self.id, slot, reason)

    def suspend(self, slot: int, reason: int = 0) -> bytes:
        """A suspend event."""
        return encode_status_event(SUSPEND, self.id, slot, reason)

    def reinstate(self, slot: int, reason: int = 0) -> bytes:
        """A reinstate event."""
        return encode_status_event(REINSTATE, self.id, slot, reason)

    def key_with(self, roles: int) -> BuiltKey:
        """Its first live key that has all of these roles."""
        return next(key for key in self.keys if key.live and key.roles & roles == roles)


class LogBuilder:
    """A log that grows by valid units, and what a test needs to know of it. Tests set `time`, in milliseconds."""

    def __init__(
        self, origin: str = ORIGIN, *, time: int = START_MS, predecessor: Predecessor | None = None, sealed: bool = True
    ) -> None:
        """A log with its log_params and, if `sealed`, its first status_root."""
        self.origin = origin
        self.time = time
        self.replay = Replay()
        #: Every entry, in order; leaf hashes of the same; and the units they came in.
        self.entries: list[bytes] = []
        self.leaves: list[bytes] = []
        self.units: list[tuple[int, Unit]] = []
        self.issuers: list[BuiltIssuer] = []
        self._nonces = 0
        self.append(LogParams(time=time, origin=origin, predecessor=predecessor))
        if sealed:
            self.seal()

    @property
    def size(self) -> int:
        """Number of entries."""
        return len(self.entries)

    def root(self, size: int | None = None) -> bytes:
        """The RFC 6962 root over the first `size` entries, all by default."""
        return merkle.tree_hash(self.leaves[:size])

    def append(self, unit: Unit) -> int:
        """Append one unit under the rules. Returns the index of its first entry."""
        index = self.replay.apply(unit)
        entries = [encode(unit.submission), *unit.entries()] if isinstance(unit, Block) else [encode(unit)]
        self.entries += entries
        self.leaves += merkle.leaf_hashes(entries)
        self.units.append((index, unit))
        return index

    def extend(self, units: Iterable[Unit]) -> None:
        """Append several units."""
        for unit in units:
            self.append(unit)

    def all_units(self) -> list[Unit]:
        """The units, without their indexes."""
        return [unit for _, unit in self.units]

    def seal(self) -> int:
        """Append the status_root that is due. Returns its index."""
        return self.append(self.replay.draft().status_root(self.time))

    def status_root(self) -> StatusRoot:
        """The newest status_root; only for a log that is sealed."""
        unit = self.units[-1][1]
        assert isinstance(unit, StatusRoot)
        return unit

    # Issuers ----------------------------------------------------------------------------------------------------------

    def issuer(
        self,
        identifier: str | None = None,
        *,
        roles: int = ALL_ROLES,
        binding: int = BINDING_VOUCHED,
        key: Ed25519Key | None = None,
        lists: int = 0,
    ) -> BuiltIssuer:
        """Append the first key entry of an issuer, and `lists` status lists. Without an identifier: a did:key."""
        key = key or seeded_key(identifier or f"did {self.size}")
        if identifier is None:
            identifier, binding = did_key(key.public_key), BINDING_SELF_CERTIFYING
        built = BuiltIssuer(identifier)
        index = self.append(self.key_entry(built, key, roles=roles, binding=binding))
        built.keys.append(BuiltKey(key, index, roles))
        self.issuers.append(built)
        for _ in range(lists):
            self.open_list(built)
        return built

    def add_key(
        self, issuer: BuiltIssuer, *, roles: int, key: Ed25519Key | None = None, signer: BuiltKey | None = None
    ) -> BuiltKey:
        """Append a later key, signed by `signer` or by the issuer's first live manage key."""
        key = key or seeded_key(f"{issuer.identifier} {self.size}")
        index = self.append(self.key_entry(issuer, key, roles=roles, signer=signer))
        built = BuiltKey(key, index, roles)
        issuer.keys.append(built)
        return built

    def retire_key(self, issuer: BuiltIssuer, retired: BuiltKey, *, signer: BuiltKey | None = None) -> int:
        """Append the retirement of a key, signed by `signer` or by the issuer's first live manage key."""
        index = self.append(self.key_entry(issuer, retired.key, roles=retired.roles, action=RETIRE, signer=signer))
        retired.live = False
        return index

    def key_entry(
        self,
        issuer: BuiltIssuer,
        key: Ed25519Key,
        *,
        roles: int = ALL_ROLES,
        action: int = ADD,
        binding: int | None = None,
        signer: BuiltKey | None = None,
        prev: bytes | None = None,
    ) -> IssuerKey:
        """A signed issuer_key entry that has not been appended: the issuer's first, or a later one if it has any."""
        state = self.replay.issuer(issuer.id)
        if prev is None:
            prev = state.last_leaf if state else ZERO32
        if state and signer is None:
            signer = issuer.key_with(4)
        if binding is None:
            binding = BINDING_DELEGATED if state else BINDING_VOUCHED
        message = key_message(self.origin, action, prev, issuer.identifier, roles, ALG_ED25519, key.public_key)
        evidence = ZERO32
        if binding in (BINDING_PUBLISHED, BINDING_VOUCHED):
            evidence = hashlib.sha256(issuer.identifier.encode()).digest()
        return IssuerKey(
            time=self.time,
            action=action,
            prev=prev,
            identifier=issuer.identifier,
            roles=roles,
            algorithm=ALG_ED25519,
            public_key=key.public_key,
            binding=binding,
            evidence=evidence,
            signer=signer.index if signer else NONE_INDEX,
            possession_sig=key.sign(message) if action == ADD else ZERO64,
            manage_sig=signer.key.sign(message) if signer else ZERO64,
        )

    def resigned(self, unit: IssuerKey, *keys: Ed25519Key | None, **changes: object) -> IssuerKey:
        """A key entry with fields changed and, if given, signed anew by (possession key, manage key)."""
        unit = msgspec.structs.replace(unit, **changes)
        message = key_message(
            self.origin, unit.action, unit.prev, unit.identifier, unit.roles, unit.algorithm, unit.public_key
        )
        for name, key in zip(("possession_sig", "manage_sig"), keys, strict=False):
            if key is not None:
                unit = msgspec.structs.replace(unit, **{name: key.sign(message)})
        return unit

    def open_list(self, issuer: BuiltIssuer) -> int:
        """Append a status list of the issuer. Returns its number."""
        number = len(self.replay.lists)
        self.append(StatusList(time=self.time, list=number, issuer=issuer.id))
        issuer.lists.append(number)
        return number

    # Submissions ------------------------------------------------------------------------------------------------------

    def block(
        self,
        issuer: BuiltIssuer,
        events: Sequence[bytes],
        *,
        key: BuiltKey | None = None,
        not_after: int | None = None,
        nonce: bytes | None = None,
        origin: str | None = None,
    ) -> Block:
        """A signed submission with the builder's time that has not been appended; the nonce is a new one by default."""
        if nonce is None:
            self._nonces += 1
            nonce = self._nonces.to_bytes(16, "big")
        key = key or next(key for key in issuer.keys if key.live)
        block = sign_submission(
            self.origin if origin is None else origin,
            key.key,
            issuer.id,
            key.index,
            b"".join(events),
            self.time + HOUR_MS if not_after is None else not_after,
            nonce,
        )
        return block.with_time(self.time)

    def submit(
        self,
        issuer: BuiltIssuer,
        events: Sequence[bytes],
        *,
        key: BuiltKey | None = None,
        not_after: int | None = None,
        nonce: bytes | None = None,
    ) -> int:
        """Append a submission. Returns its index; its k-th event stands at that + 1 + k."""
        return self.append(self.block(issuer, events, key=key, not_after=not_after, nonce=nonce))

    def issue(self, issuer: BuiltIssuer, slots: Iterable[int]) -> int:
        """Append a submission that issues these slots. Returns its index."""
        return self.submit(issuer, [issuer.issue(slot) for slot in slots])


def demo_log(time: int = START_MS) -> LogBuilder:
    """A small log with something of everything: two issuers (one did:key), three keys, a retirement, three lists, every
    kind of event, and a status_root after each step."""
    log = LogBuilder(time=time)
    school = log.issuer("https://school.example/badges", lists=2)
    log.seal()
    club = log.issuer(lists=1)
    log.time += 1_000
    log.seal()
    online = log.add_key(school, roles=3)
    log.submit(school, [school.issue(school.slot(k)) for k in range(300)], key=online)
    log.submit(school, [school.issue(school.slot(70_000 + k, 1)) for k in range(5)], key=online)
    log.issue(club, [club.slot(131_071)])
    log.time += 1_000
    log.seal()
    seven, eight, nine = school.slot(7), school.slot(8), school.slot(9)
    log.submit(school, [school.revoke(seven, 4), school.suspend(eight), school.suspend(nine)])
    log.submit(club, [club.suspend(club.slot(131_071))])
    log.time += 60_000
    log.seal()
    log.submit(school, [school.reinstate(nine), school.revoke(eight, 1)])
    log.retire_key(school, online)
    log.time += 60_000
    log.seal()
    return log
