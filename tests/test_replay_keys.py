"""The rules for issuer_key entries: what breaks each, the index where an auditor stops, and that nothing changes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ledger import entry as codec
from ledger.entry import (
    ADD,
    BINDING_DELEGATED,
    BINDING_PUBLISHED,
    BINDING_SELF_CERTIFYING,
    BINDING_VOUCHED,
    NONE_INDEX,
    RETIRE,
    ROLE_ISSUE,
    ROLE_MANAGE,
    ROLE_STATUS,
    ZERO32,
    IssuerKey,
    StatusList,
    did_key,
)
from ledger.errors import MalformedEntry
from ledger.message import key_message
from tests.builders import ORIGIN, BuiltIssuer, LogBuilder, seeded_key
from tests.refusals import refused

NAME = "https://school.example/badges"


@pytest.fixture
def log() -> LogBuilder:
    return LogBuilder()


@pytest.fixture
def school(log: LogBuilder) -> BuiltIssuer:
    return log.issuer(NAME, lists=2)


@pytest.fixture
def club(log: LogBuilder, school: BuiltIssuer) -> BuiltIssuer:
    return log.issuer("https://club.example", lists=1)


def first_key(log: LogBuilder, name: str = "https://new.example", **changes: Any) -> IssuerKey:
    key = seeded_key(name)
    unit = log.key_entry(BuiltIssuer(name), key)
    return log.resigned(unit, key, **changes)


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("unknown-issuer", {"action": RETIRE}),
        ("key-prev", {"prev": b"\1" * 32}),
        ("unknown-key", {"signer": 0}),
        ("unknown-key", {"signer": 2}),
        ("signature", {"manage_sig": b"\1" * 64}),
        ("key-role", {"roles": ROLE_ISSUE | ROLE_STATUS}),
        ("key-role", {"roles": ROLE_ISSUE}),
        ("binding", {"binding": BINDING_DELEGATED}),
        ("binding", {"binding": BINDING_SELF_CERTIFYING, "evidence": ZERO32}),
        ("binding", {"identifier": did_key(seeded_key("https://new.example").public_key)}),
    ],
)
def test_a_first_key(log: LogBuilder, school: BuiltIssuer, rule: str, changes: dict[str, Any]) -> None:
    """Add, prev zeros, no signer, no manage signature, the role manage, bound by itself and by nothing weaker than is
    true: self-certifying exactly for a did:key."""
    refused(log, first_key(log, **changes), rule)
    log.append(first_key(log))


@pytest.mark.parametrize("binding", [BINDING_PUBLISHED, BINDING_VOUCHED])
def test_first_keys_are_published_or_vouched(log: LogBuilder, binding: int) -> None:
    """Both are admitted with any evidence, and shown as they are."""
    index = log.append(first_key(log, binding=binding))
    key = log.replay.key(index)
    assert key is not None
    assert key.binding == binding
    assert key.chain == (index,)
    assert not key.delegated


def test_a_did_key_is_its_own_proof(log: LogBuilder) -> None:
    """The identifier is did:key of the very key; another key, spelling, or any evidence is refused."""
    key, other = seeded_key("a"), seeded_key("b")

    def unit(identifier: str, **changes: Any) -> IssuerKey:
        made = log.key_entry(BuiltIssuer(identifier), key, binding=BINDING_SELF_CERTIFYING)
        return log.resigned(made, key, **changes)

    good = did_key(key.public_key)
    for identifier in (did_key(other.public_key), good + "x", good[:-1], "did:key:", good + "#" + good[8:]):
        refused(log, unit(identifier), "binding")
    refused(log, unit(good, evidence=b"\1" * 32), "binding")
    refused(log, unit(good, binding=BINDING_VOUCHED), "binding")
    refused(log, unit("DID:KEY:" + good[8:]), "binding")
    index = log.append(unit(good))
    state = log.replay.key(index)
    assert state is not None
    assert state.binding == BINDING_SELF_CERTIFYING


def test_possession_is_proven(log: LogBuilder) -> None:
    """possession_sig is the new key's, over this log's origin and these very fields."""
    name = "https://new.example"
    key, other = seeded_key(name), seeded_key("other")
    unit = log.key_entry(BuiltIssuer(name), key)
    refused(log, msgspec.structs.replace(unit, possession_sig=bytes(64)), "signature")
    refused(log, log.resigned(unit, other), "signature")
    for changes in ({"roles": 5}, {"identifier": name + "/"}, {"public_key": other.public_key}):
        refused(log, msgspec.structs.replace(unit, **changes), "signature")
    elsewhere = LogBuilder("elsewhere.example").key_entry(BuiltIssuer(name), key)
    refused(log, elsewhere, "signature")
    # The ledger's own statements are not signed by the issuer.
    log.append(msgspec.structs.replace(unit, time=log.time + 5, evidence=b"\2" * 32))


def later_key(log: LogBuilder, issuer: BuiltIssuer, **changes: Any) -> IssuerKey:
    key = seeded_key("later")
    unit = log.key_entry(issuer, key, roles=3)
    return log.resigned(unit, key if unit.action == ADD else None, issuer.keys[0].key, **changes)


def test_a_later_key(log: LogBuilder, school: BuiltIssuer, club: BuiltIssuer) -> None:
    """prev is the issuer's newest key entry, the binding delegated without evidence, the signer a live manage key of
    this issuer, and the public key a new one."""
    plain = log.add_key(school, roles=ROLE_ISSUE | ROLE_STATUS)
    second = log.add_key(school, roles=ROLE_MANAGE)
    retire_index = log.retire_key(school, second)
    for prev in (ZERO32, log.leaves[school.keys[0].index], log.leaves[club.keys[0].index], b"\1" * 32):
        refused(log, later_key(log, school, prev=prev), "key-prev")
    refused(log, later_key(log, school, binding=BINDING_VOUCHED), "binding")
    refused(log, later_key(log, school, binding=BINDING_SELF_CERTIFYING), "binding")
    refused(log, later_key(log, school, evidence=b"\1" * 32), "binding")
    for signer in (NONE_INDEX, 0, club.keys[0].index, retire_index, log.size, log.size + 1):
        refused(log, later_key(log, school, signer=signer), "unknown-key")
    refused(log, later_key(log, school, signer=second.index), "key-retired")
    refused(log, later_key(log, school, signer=plain.index), "key-role")
    for public_key in (school.keys[0].key, plain.key, second.key):
        unit = log.resigned(later_key(log, school), public_key, school.keys[0].key, public_key=public_key.public_key)
        refused(log, unit, "key-duplicate")
    # The same public key may serve another issuer.
    log.add_key(club, roles=1, key=plain.key)
    log.append(later_key(log, school))


def test_later_keys_are_signed_twice(log: LogBuilder, school: BuiltIssuer) -> None:
    """By the new key and by the manage key, over the same bytes: neither signature serves for the other, nor again."""
    manager = school.keys[0].key
    unit = later_key(log, school)
    refused(log, msgspec.structs.replace(unit, manage_sig=unit.possession_sig), "signature")
    refused(log, msgspec.structs.replace(unit, possession_sig=unit.manage_sig), "signature")
    refused(log, msgspec.structs.replace(unit, manage_sig=bytes(64)), "signature")
    refused(log, msgspec.structs.replace(unit, roles=7), "signature")
    refused(log, log.resigned(unit, seeded_key("later"), seeded_key("thief")), "signature")
    log.append(unit)
    replayed = msgspec.structs.replace(unit, time=log.time + 1)
    refused(log, replayed, "key-prev")
    refused(log, log.resigned(replayed, seeded_key("later"), manager, prev=log.leaves[-1]), "key-duplicate")


def retire(log: LogBuilder, issuer: BuiltIssuer, nth: int, signer: int = 0, **changes: Any) -> IssuerKey:
    key = issuer.keys[nth]
    unit = log.key_entry(issuer, key.key, roles=key.roles, action=RETIRE, signer=issuer.keys[signer])
    return log.resigned(unit, None, issuer.keys[signer].key, **changes)


def test_retiring_a_key(log: LogBuilder, school: BuiltIssuer, club: BuiltIssuer) -> None:
    """It names a live key of the issuer and repeats its roles; nothing of it is left over from adding."""
    log.add_key(school, roles=3)
    log.add_key(school, roles=ROLE_MANAGE)
    refused(log, retire(log, school, 1, public_key=club.keys[0].key.public_key), "unknown-key")
    for roles in (1, 2, 7):
        refused(log, retire(log, school, 1, roles=roles), "key-role")
    refused(log, retire(log, school, 1, possession_sig=b"\1" * 64), "signature")
    refused(log, retire(log, school, 1, evidence=b"\1" * 32), "binding")
    refused(log, retire(log, school, 1, binding=BINDING_VOUCHED), "binding")
    refused(log, retire(log, school, 1, prev=ZERO32), "key-prev")
    refused(log, retire(log, school, 2, signer=1), "key-role")
    refused(log, msgspec.structs.replace(retire(log, school, 1), manage_sig=bytes(64)), "signature")
    index = log.append(retire(log, school, 1))
    assert log.replay.key(index) is None
    retired = log.replay.key(school.keys[1].index)
    assert retired is not None
    assert not retired.live
    refused(log, retire(log, school, 1), "key-retired")
    refused(log, retire(log, school, 2, signer=1), "key-retired")
    # What was added once is never added again.
    again = log.key_entry(school, school.keys[1].key, roles=3)
    refused(log, again, "key-duplicate")


def test_the_last_manage_key_stays(log: LogBuilder, school: BuiltIssuer) -> None:
    """A manage key may retire itself or another, unless none would be left; keys without that role do not count."""
    log.add_key(school, roles=3)
    refused(log, retire(log, school, 0), "last-manage")
    log.add_key(school, roles=ROLE_MANAGE)
    log.append(retire(log, school, 0))
    refused(log, retire(log, school, 2, signer=2), "last-manage")
    log.append(retire(log, school, 1, signer=2))


def test_a_key_entry_that_no_bytes_can_hold_is_refused(log: LogBuilder, school: BuiltIssuer) -> None:
    """The codec's ranges hold for values made in memory too, and leave no trace either."""
    before = log.replay.snapshot()
    good = first_key(log)
    for changes in ({"roles": 0}, {"roles": 8}, {"binding": 5}, {"algorithm": 2}, {"action": 3}, {"evidence": b""}):
        with pytest.raises(MalformedEntry):
            log.replay.apply(msgspec.structs.replace(good, **changes))
    for unit in (StatusList(log.time, -1, school.id), StatusList(log.time, 2**32, school.id)):
        with pytest.raises(MalformedEntry):
            log.replay.apply(unit)
    assert log.replay.snapshot() == before


def test_the_builders_messages_are_the_wire_format(log: LogBuilder, school: BuiltIssuer) -> None:
    """The bytes that the tests sign are spelled out here once, so that a slip in `message` cannot hide in both."""
    key = school.keys[0].key
    origin = bytes([len(ORIGIN)]) + ORIGIN.encode()
    expected = b"badge-ledger/v1 key\n" + origin + b"\x01" + bytes(32) + len(NAME).to_bytes(2, "big") + NAME.encode()
    expected += bytes([7, 1]) + key.public_key
    assert key_message(ORIGIN, ADD, ZERO32, NAME, 7, 1, key.public_key) == expected
    added = codec.decode(log.entries[school.keys[0].index])
    assert isinstance(added, IssuerKey)
    assert added.possession_sig == key.sign(expected)
