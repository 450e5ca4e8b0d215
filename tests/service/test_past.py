"""Dated receipts and histories over HTTP: every moment of every badge is what the entries say, and is proven."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise

import pytest

from api.context import CONTEXT
from ledger import badge_history, history_prover
from ledger.badge_history import ProvenHistory, parse_history, verify_history
from ledger.client import LedgerClient
from ledger.dated import DatedReceipt, ProvenPast, parse_dated, verify_dated
from ledger.entry import ISSUE, REINSTATE, REVOKE, STATUS_ROOT, SUSPEND, Issue, StatusRoot, decode
from ledger.errors import ForkDetected, LedgerError, NotFound, ProofInvalid, TooLarge
from ledger.moment import format_timestamp
from ledger.verify import Proven
from tests.service.conftest import Refuses
from tests.service.harness import PACKED, Client, Party, Service, World, now_ms, unique
from tests.store.conftest import RunSql

INDEXES = [0, 1, 7, 255, 256, 94_567]
STATES = {SUSPEND: "suspended", REINSTATE: "active", REVOKE: "revoked"}


class Told:
    """The log as its entries tell it, read from the store."""

    def __init__(self, entries: list[bytes]) -> None:
        self.entries = entries
        self.roots: dict[int, StatusRoot] = {}
        for index, data in enumerate(entries):
            if data[1] == STATUS_ROOT:
                root = decode(data)
                assert isinstance(root, StatusRoot)
                self.roots[index] = root

    @classmethod
    async def of(cls, service: Service) -> Told:
        head = await service.node.published()
        return cls(await service.store.read_entries(0, head.size))

    def issued(self) -> list[int]:
        return [index for index, data in enumerate(self.entries) if data[1] == ISSUE]

    def events(self, issue: int, below: int | None = None) -> list[tuple[int, int]]:
        """(index, type) of the badge's events among the first `below` entries."""
        slot = self.entries[issue][34:42]
        return [
            (index, data[1])
            for index, data in enumerate(self.entries[:below])
            if ISSUE <= data[1] <= REINSTATE and data[34:42] == slot
        ]

    def state(self, issue: int, below: int) -> str:
        if issue >= below:
            return "unissued"
        return STATES.get(self.events(issue, below)[-1][1], "active")


async def walk(client: Client, party: Party, steps: int) -> None:
    """Issue, then suspend, reinstate and revoke at random; pairs in one submission and in one commit among them."""
    rng = random.Random(steps)
    slots = [party.list * 131_072 + index for index in INDEXES]
    await client.submit(party.block([party.issue(slot) for slot in slots[:4]]))
    await client.submit(party.block([party.issue(slot) for slot in slots[4:]]))
    states = dict.fromkeys(slots, "active")
    for _ in range(steps):
        events = []
        for slot, state in states.items():
            if state == "active" and rng.random() < 0.2:
                events += [party.suspend(slot, 5), party.reinstate(slot)]  # leaves no trace in the chunk
            if state != "revoked" and rng.random() < 0.3:
                new = rng.choice(["revoked", *["suspended" if state == "active" else "active"] * 3])
                make = {"revoked": party.revoke, "suspended": party.suspend, "active": party.reinstate}[new]
                events.append(make(slot, rng.randrange(7)))
                states[slot] = new
        if events:
            await client.submit(party.block(events))


async def dated(world: World, reader: LedgerClient, commitment: bytes, at_ms: int) -> tuple[Proven, ProvenPast]:
    (data,) = await reader.receipts(commitment, at_ms=at_ms)
    found = parse_dated(data)
    assert found.at_ms == at_ms
    return verify_dated(found, policy=world.policy, now_s=now_ms() // 1000 + 3600, commitment=commitment)


async def history(world: World, reader: LedgerClient, commitment: bytes) -> ProvenHistory:
    (data,) = await reader.histories(commitment)
    return verify_history(
        parse_history(data), policy=world.policy, now_s=now_ms() // 1000 + 3600, commitment=commitment
    )


async def test_every_moment_of_every_badge(world: World) -> None:
    """At and between all heads, under two later heads, on two nodes and after a restart: what the entries say."""
    first, second = await world.start(), await world.start()
    parties = [await Party(name).register(first.client) for name in ("alice", "bob")]
    for service, party in zip((first, second), parties, strict=True):
        await walk(service.client, party, 6)
    seen: set[str] = set()
    answers: list[bytes] = []
    for service in (first, second):
        await service.node.sequencer.refresh()
        told = await Told.of(service)
        async with LedgerClient(service.client.url) as reader:
            for issue in told.issued()[:: 1 if service is first else 5]:
                for at_ms, below in moments(told):
                    proven, past = await dated(world, reader, told.entries[issue][-32:], at_ms)
                    assert (past.state, past.size) == (told.state(issue, below), below)
                    assert proven.state == told.state(issue, len(told.entries))
                    seen.add(past.state)
            answers.append((await reader.receipts(told.entries[told.issued()[0]][-32:], at_ms=at_ms))[0])
    assert seen == {"unissued", "active", "suspended", "revoked"}
    assert answers[0] == answers[1]
    await world.stop(first)
    await world.stop(second)
    third = await world.start()
    told = await Told.of(third)
    async with LedgerClient(third.client.url) as reader:
        for at_ms, below in moments(told):
            _, past = await dated(world, reader, told.entries[told.issued()[2]][-32:], at_ms)
            assert past.state == told.state(told.issued()[2], below)


def moments(told: Told) -> list[tuple[int, int]]:
    """(time, number of entries below the head that was the newest then), at and before the ends of each head."""
    found = []
    heads = list(told.roots.items())
    for (index, root), (_, following) in pairwise(heads):
        if following.time > root.time:
            found += [(at_ms, index + 1) for at_ms in sorted({root.time, following.time - 1})]
    return found


async def test_moments_that_no_head_covers(service: Service, client: Client, party: Party, refuses: Refuses) -> None:
    """At or after the newest head, in the future, before the log: 404, each with its reason."""
    commitment = unique()
    await client.submit(party.block([party.issue(commitment=commitment)]))
    told = await Told.of(service)
    base = f"/v1/badges/{commitment.hex()}?at="
    newest, oldest = told.roots[len(told.entries) - 1].time, told.roots[1].time
    for at_ms in (newest, newest + 10_000_000_000):
        answer = await refuses(client.get(base + format_timestamp(at_ms)), 404, "not-found")
        assert answer.json["detail"] == "no head covers that moment yet: ask again after the next heartbeat"
    for text in (format_timestamp(oldest - 1), "1970-01-01T00:00:00Z"):
        answer = await refuses(client.get(base + text), 404, "not-found")
        assert answer.json["detail"] == "the log began later than that moment"
    await refuses(client.get(base + "1969-12-31T23:59:59Z"), 404, "not-found")
    assert (await client.get(base + format_timestamp(oldest))).json["receipts"][0]["past"].keys() == {
        "status_root",
        "successor",
        "log_proof",
    }


async def test_what_is_no_moment_is_malformed(client: Client, party: Party, refuses: Refuses) -> None:
    """No zone, no time, twice, packed: refused. An offset and any fraction are understood."""
    commitment = unique()
    issued = await client.submit(party.block([party.issue(commitment=commitment)]))
    at = format_timestamp(issued["time_ms"])
    await client.submit(party.block([party.issue()]))
    index = issued["first_index"] + 1
    for path in (f"/v1/badges/{commitment.hex()}", f"/v1/receipts/{index}"):
        for text in (
            "",
            "now",
            "2026-05-03",
            "2026-05-03T12:00Z",
            "2026-05-03T12:00:00",
            "1777809600000",
            f"{at}&at={at}",
        ):
            await refuses(client.get(f"{path}?at={text}"), 400, "malformed")
        await refuses(client.get(f"{path}?at={at}", Accept=PACKED), 406, "not-acceptable")
        answer = await client.get(f"{path}?at={at}&profile=short", Accept=f"application/json, {PACKED}")
        document = answer.json["receipts"][0] if "receipts" in answer.json else answer.json
        assert document["format"] == "badge-ledger/v1 dated receipt"
        assert document["receipt"]["profile"] == "short"
        assert len(document["receipt"]["signatures"]) == 1
    shifted = at.replace("Z", "999%2B00:00")
    assert (await client.get(f"/v1/receipts/{index}?at={shifted}")).json == (
        await client.get(f"/v1/receipts/{index}?at={at}")
    ).json
    await refuses(client.get(f"/v1/receipts/{index - 1}?at={at}"), 404, "not-found")
    await refuses(client.get(f"/v1/badges/{unique().hex()}?at={at}"), 404, "not-found")


async def test_while_the_log_grows(world: World, service: Service, client: Client, party: Party) -> None:
    """Dated receipts and histories that are asked for during commits hold, each under one head."""
    commitment = unique()
    slot = party.slot()
    issued = await client.submit(party.block([party.issue(slot, commitment)]))
    done = asyncio.Event()

    async def grow() -> None:
        for _ in range(12):
            await client.submit(party.block([party.suspend(slot), *[party.issue() for _ in range(40)]]))
            await client.submit(party.block([party.reinstate(slot)]))
        done.set()

    async def ask(reader: LedgerClient) -> int:
        asked = 0
        while not done.is_set():
            proven = await history(world, reader, commitment)
            assert len(proven.events) % 2 == (proven.state == "active")
            try:
                assert (await dated(world, reader, commitment, issued["time_ms"]))[1].state == "active"
                asked += 1
            except NotFound:
                continue  # no head had followed
        return asked

    async with LedgerClient(client.url) as reader:
        growing = asyncio.create_task(grow())
        asked = await asyncio.gather(*(ask(reader) for _ in range(4)))
        await growing
        assert sum(asked) > 3
        assert len((await history(world, reader, commitment)).events) == 25


async def test_a_spoilt_past_is_not_handed_out(
    world: World, service: Service, client: Client, party: Party, run_sql: RunSql
) -> None:
    """A chunk of a past head that was edited in the database leads to no root: an error, never a false proof."""
    commitment = unique()
    slot = party.slot()
    await client.submit(party.block([party.issue(slot, commitment)]))
    revoked = await client.submit(party.block([party.revoke(slot)]))
    await client.submit(party.block([party.issue()]))
    prover, head = service.app[CONTEXT].dated, await service.node.published()
    (index,) = await service.node.prover.find(commitment, head)
    heads = await prover.heads(revoked["time_ms"], head)
    assert (await prover.dated(index, revoked["time_ms"], heads, head, full=True)).past.chunk
    size = revoked["head"]["size"]
    await run_sql("UPDATE status_chunks SET data = decode(repeat('00', 64), 'hex') WHERE version = $1", size)
    with pytest.raises(ForkDetected, match="is not the logged one"):
        await prover.dated(index, revoked["time_ms"], heads, head, full=True)
    await run_sql("UPDATE commits SET time_ms = 0 WHERE tree_size = $1", size)
    with pytest.raises(ForkDetected, match="not the one that its entries tell"):
        await prover.heads(revoked["time_ms"] - 1, head)
    world.broken = "commit"


# Histories ------------------------------------------------------------------------------------------------------------


async def test_every_history_is_every_event(world: World) -> None:
    """Of each badge: all of its events in order, with times, reasons and keys; on two nodes and after a restart."""
    first, second = await world.start(), await world.start()
    party = await Party("alice").register(first.client)
    await walk(first.client, party, 10)
    await walk(second.client, await Party("bob").register(second.client), 6)
    await first.node.sequencer.refresh()
    await check_histories(world, first)
    await world.stop(first)
    await world.stop(second)
    await check_histories(world, await world.start())


async def check_histories(world: World, service: Service) -> None:
    told = await Told.of(service)
    kinds: set[int] = set()
    lengths = set()
    async with LedgerClient(service.client.url) as reader:
        for issue in told.issued():
            proven = await history(world, reader, told.entries[issue][-32:])
            events = told.events(issue)
            assert [event.index for event in proven.events] == [index for index, _ in events]
            for event, (index, kind) in zip(proven.events, events, strict=True):
                assert event.reason == (None if kind == ISSUE else told.entries[index][42])
                assert event.state == STATES.get(kind, "active")
                assert decode(told.entries[event.submission]).time == event.time_ms  # type: ignore[union-attr]
            assert proven.state == told.state(issue, len(told.entries))
            kinds |= {kind for _, kind in events}
            lengths.add(len(events))
    assert kinds == {ISSUE, REVOKE, SUSPEND, REINSTATE}
    assert max(lengths) > 4


async def test_keys_and_large_submissions(world: World, service: Service, client: Client, party: Party) -> None:
    """Another key revokes than issued, both in submissions of many bundles with neighbours of the slot in them."""
    commitment, slot = unique(), party.slot()
    events = [party.issue() for _ in range(700)]
    events[500] = party.issue(slot, commitment)
    await client.submit(party.block(events))
    online = Party("online").key
    index = await party.add_key(client, online, roles=2)
    slots = [party.list * 131_072 + party._next_slot - 700 + k for k in range(600)]
    await client.submit(party.block([party.suspend(s) for s in [*slots[1:400], slot]], key=online, index=index))
    async with LedgerClient(client.url) as reader:
        proven = await history(world, reader, commitment)
    assert [event.type for event in proven.events] == ["issue", "suspend"]
    assert [event.key for event in proven.events] == [party.index, index]
    assert proven.identifier == party.identifier
    assert proven.events[1].public_key == online.public_key


async def test_a_badge_issued_again_has_two_histories(world: World, service: Service, client: Client) -> None:
    """Each slot its own, the slot issued first first."""
    alice, bob = [await Party(name).register(client) for name in ("alice", "bob")]
    commitment = unique()
    for party in (alice, bob):
        await client.submit(party.block([party.issue(party.list * 131_072, commitment)]))
    await client.submit(bob.block([bob.revoke(bob.list * 131_072, 3)]))
    async with LedgerClient(client.url) as reader:
        found = [parse_history(data) for data in await reader.histories(commitment)]
        proven = [verify_history(each, policy=world.policy, now_s=now_ms() // 1000 + 60) for each in found]
        assert [each.state for each in proven] == ["active", "revoked"]
        assert [each.identifier for each in proven] == [alice.identifier, bob.identifier]
        receipts = [parse_dated(data) for data in await reader.receipts(commitment, at_ms=proven[1].events[0].time_ms)]
        assert [each.receipt.index for each in receipts] == [each.events[0].index for each in proven]


async def test_a_history_without_one_event_is_refused(world: World, service: Service, client: Client) -> None:
    """The state under the head gives away that the last event is missing, or one that made another legal."""
    party = await Party("alice").register(client)
    commitment, slot = unique(), party.slot()
    for event in (party.issue(slot, commitment), party.suspend(slot), party.reinstate(slot), party.revoke(slot)):
        await client.submit(party.block([event]))
    head = await service.node.published()
    whole = history_prover.HistoryProver(service.store, service.node.prover)
    (index,) = await service.node.prover.find(commitment, head)
    issue = decode(await service.node.prover.entries.entry(index, head.size))
    assert isinstance(issue, Issue)
    found = await whole._status_events(index, issue, head.size)

    async def omit(*left_out: int) -> badge_history.History:
        class Omitting(history_prover.HistoryProver):
            async def _status_events(self, *_: object) -> list[tuple[int, bytes]]:
                return [event for k, event in enumerate(found) if k not in left_out]

        return await Omitting(service.store, service.node.prover).history(index, head)

    def prove(shown: badge_history.History) -> ProvenHistory:
        return verify_history(shown, policy=world.policy, now_s=now_ms() // 1000 + 60)

    assert len(prove(await omit()).events) == 4
    for left_out in ((2,), (0,), (0, 2), (1, 2), (0, 1, 2)):
        with pytest.raises(LedgerError) as refused:
            prove(await omit(*left_out))
        assert refused.value.members["step"] == 8
    # As the documents say: only auditors see that these were left out.
    assert [event.type for event in prove(await omit(0, 1)).events] == ["issue", "revoke"]
    assert [event.type for event in prove(await omit(1)).events] == ["issue", "suspend", "revoke"]


async def test_a_history_that_is_too_long(
    client: Client, party: Party, refuses: Refuses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many events, commits or bundles: 413 in a sentence."""
    commitment, slot = unique(), party.slot()
    await client.submit(party.block([party.issue(slot, commitment)]))
    for _ in range(3):
        await client.submit(party.block([party.suspend(slot), party.reinstate(slot)]))
    path = f"/v1/badges/{commitment.hex()}/history"
    assert len((await client.get_json(path))["histories"][0]["submissions"]) == 4
    for name in ("MAX_HISTORY_EVENTS", "MAX_COMMITS", "MAX_BUNDLES"):
        with monkeypatch.context() as patch:
            patch.setattr(history_prover, name, 6 if name == "MAX_HISTORY_EVENTS" else 0)
            await refuses(client.get(path), 413, "too-large")
    async with LedgerClient(client.url) as reader:
        with monkeypatch.context() as patch:
            patch.setattr(history_prover, "MAX_COMMITS", 2)
            with pytest.raises(TooLarge, match="too long for one answer"):
                await reader.histories(commitment)


async def test_the_longest_history(world: World, service: Service, client: Client, party: Party) -> None:
    """1,000 events are one answer, which holds; one more is too many."""
    commitment, slot = unique(), party.slot()
    toggles = [party.suspend(slot), party.reinstate(slot)]
    await client.submit(party.block([party.issue(slot, commitment), *toggles * 400]))
    for _ in range(49):
        await client.submit(party.block(toggles * 2))
    await client.submit(party.block([*toggles, party.suspend(slot)]))
    async with LedgerClient(client.url) as reader:
        proven = await history(world, reader, commitment)
        assert (len(proven.events), proven.state) == (1_000, "suspended")
        await client.submit(party.block([party.revoke(slot)]))
        with pytest.raises(TooLarge):
            await reader.histories(commitment)


async def test_histories_of_nothing(client: Client, party: Party, refuses: Refuses) -> None:
    """A commitment that nobody anchored, and what is none."""
    await refuses(client.get(f"/v1/badges/{unique().hex()}/history"), 404, "not-found")
    await refuses(client.get("/v1/badges/abc/history"), 400, "malformed")
    commitment = unique()
    await client.submit(party.block([party.issue(commitment=commitment)]))
    await refuses(client.get(f"/v1/badges/{commitment.hex()}/history?signatures=some"), 400, "malformed")
    both = [
        len(
            (await client.get_json(f"/v1/badges/{commitment.hex()}/history?signatures={which}"))["histories"][0][
                "signatures"
            ]
        )
        for which in ("log", "all")
    ]
    assert both == [1, 2]


async def test_a_past_of_one_badge_serves_no_other(
    world: World, service: Service, client: Client, party: Party
) -> None:
    """The past of a neighbour in another chunk is refused under the receipt of the first."""
    one, other = unique(), unique()
    base = party.list * 131_072
    issued = await client.submit(party.block([party.issue(base, one), party.issue(base + 300, other)]))
    revoked = await client.submit(party.block([party.revoke(base)]))
    await client.submit(party.block([party.issue(base + 1)]))
    assert issued["time_ms"] <= revoked["time_ms"]
    async with LedgerClient(client.url) as reader:
        found = [parse_dated((await reader.receipts(each, at_ms=revoked["time_ms"]))[0]) for each in (one, other)]
    swapped = DatedReceipt(found[0].at_ms, found[0].receipt, found[1].past)
    with pytest.raises(ProofInvalid, match="status proof"):
        verify_dated(swapped, policy=world.policy, now_s=now_ms() // 1000 + 60)
