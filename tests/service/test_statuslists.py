"""W3C status lists over HTTP: the log's bits at each published head, negotiated, cached, of the past, and proven."""

from __future__ import annotations

import asyncio
import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from openvc.proof.data_integrity import DataIntegrityProofSuite
from openvc.status.bitstring import decode_bitstring

from api import statuslists
from api.serve import load_list_key
from api.statuslists import (
    MEDIA,
    MEDIA_JWT,
    MEDIA_VC,
    STATUS_LISTS,
    choose_media,
    parse_public_url,
)
from ledger.client import LedgerClient
from ledger.entry import LIST_SLOTS, REINSTATE, REVOKE, SUSPEND, StatusRoot, decode, did_key
from ledger.errors import KeyFileError, MalformedInput, NotAcceptable, NotFound
from ledger.keyfile import save_issuer_key
from ledger.listproof import check_list, verify_list_proof
from ledger.moment import parse_timestamp
from ledger.signing import Ed25519Key
from ledger.statuslist import StatusList, credential, encode_list, format_time
from ledger.statuslist_reader import read_list
from tests.service.conftest import Refuses
from tests.service.gates import GateGuard
from tests.service.harness import Answer, Client, Party, Process, Recorder, Service, TurnedClock, World, now_ms, seed
from tests.store.conftest import RunSql

LIST_KEY = Ed25519Key.from_seed(seed("list"))
INDEXES = [0, 1, 7, 8, 254, 255, 256, 257, 65_535, 65_536, 94_567, LIST_SLOTS - 2, LIST_SLOTS - 1]


def naive(entries: list[bytes], number: int) -> dict[str, set[int]]:
    """The set indexes of a list, by reading the entries one after the other."""
    found: dict[str, set[int]] = {"revocation": set(), "suspension": set()}
    for entry in entries:
        if entry[1] in (REVOKE, SUSPEND, REINSTATE):
            at, index = divmod(int.from_bytes(entry[34:42], "big"), LIST_SLOTS)
            if at == number:
                found["suspension"].discard(index)
                if entry[1] != REINSTATE:
                    found["revocation" if entry[1] == REVOKE else "suspension"].add(index)
    return found


def indexes(bits: bytes) -> set[int]:
    text = f"{int.from_bytes(bits, 'big'):0{LIST_SLOTS}b}"
    return {index for index, bit in enumerate(text) if bit == "1"}


async def fetch(
    client: Client, number: int, purpose: str, query: str = "", **headers: str
) -> tuple[StatusList, Answer]:
    answer = await client.get(f"/status/{number}/{purpose}{query}", **headers)
    assert answer.status == 200, answer
    return read_list(answer.body)[0], answer


async def walk(client: Client, parties: list[Party], steps: int) -> None:
    """Issue, revoke, suspend and reinstate at random, a head each."""
    rng = random.Random(steps)
    states: dict[tuple[int, int], str] = {}
    for party in parties:
        slots = [party.list * LIST_SLOTS + index for index in INDEXES]
        await client.submit(party.block([party.issue(slot) for slot in slots]))
        states |= {(party.list, slot): "active" for slot in slots}
    for _ in range(steps):
        party = rng.choice(parties)
        events = []
        for (number, slot), state in states.items():
            if number == party.list and state != "revoked" and rng.random() < 0.3:
                new = rng.choice(["revoked", "suspended" if state == "active" else "active"])
                make = {"revoked": party.revoke, "suspended": party.suspend, "active": party.reinstate}[new]
                events.append(make(slot))
                states[number, slot] = new
        if events:
            await client.submit(party.block(events))


# The bits -------------------------------------------------------------------------------------------------------------


async def test_at_each_head_the_list_is_the_log(service: Service, client: Client) -> None:
    """After each event: both purposes, both forms, equal a naive reading of the entries; openvc verifies and agrees."""
    parties = [await Party(name).register(client) for name in ("alice", "bob")]
    suite = DataIntegrityProofSuite()
    for party in parties:
        slots = [party.list * LIST_SLOTS + index for index in INDEXES]
        for events in (
            [party.issue(slot) for slot in slots],
            [party.revoke(slot) for slot in slots[::4]],
            [party.suspend(slot) for slot in slots[1::4]],
            [party.reinstate(slots[1]), party.revoke(slots[5])],
        ):
            await client.submit(party.block(events))
            head = await service.node.published()
            expected = naive(await service.store.read_entries(0, head.size), party.list)
            for purpose in ("revocation", "suspension"):
                list_, answer = await fetch(client, party.list, purpose)
                document = answer.json
                assert document["credentialSubject"]["statusPurpose"] == purpose
                assert (list_.size, list_.valid_from_ms, list_.list) == (head.size, head.status_root.time, party.list)
                assert list_.issuer == suite.verify(document).issuer == did_key(LIST_KEY.public_key)
                assert indexes(decode_bitstring(list_.encoded)) == expected[purpose]
                jwt, _ = await fetch(client, party.list, purpose, Accept=MEDIA_JWT)
                assert jwt == list_


async def test_every_past_list_is_had_and_proven(world: World, service: Service, client: Client) -> None:
    """By the time of each head, and between heads; the proof of each is checked and its bits are those of then. After a
    restart the same bytes come, from the store alone."""
    parties = [await Party(name).register(client) for name in ("alice", "bob", "carol")]
    await walk(client, parties, 12)
    head = await service.node.published()
    entries = await service.store.read_entries(0, head.size)
    sizes = [k + 1 for k, entry in enumerate(entries) if isinstance(decode(entry), StatusRoot)]
    times = {size: decode(entries[size - 1]).time for size in sizes}  # type: ignore[union-attr]
    assert len(sizes) > 10
    seen: dict[str, bytes] = {}
    async with LedgerClient(client.url) as reader:
        for size, following in zip(sizes, [*sizes[1:], None], strict=True):
            last_ms = times[following] - 1 if following else times[size]
            if last_ms < times[size]:
                continue  # two heads of one millisecond: the later one is the list of that time
            for time_ms in {times[size], last_ms}:
                query = f"?timestamp={format_time(time_ms)}"
                for number in range(len(parties)):
                    root = decode(entries[size - 1])
                    assert isinstance(root, StatusRoot)
                    if number >= root.lists:
                        answer = await client.get(f"/status/{number}/revocation{query}")
                        assert (answer.status, answer.type) == (404, "not-found")
                        continue
                    proof = await reader.list_proof(number, size)
                    proven = verify_list_proof(proof, policy=world.policy, now_s=now_ms() // 1000)
                    assert proof.issuer == parties[number].issuer
                    expected = naive(entries[:size], number)
                    for purpose in ("revocation", "suspension"):
                        list_, answer = await fetch(client, number, purpose, query)
                        assert list_.size == size
                        assert indexes(decode_bitstring(list_.encoded)) == expected[purpose]
                        check_list(list_, proven)
                        seen[f"/status/{number}/{purpose}{query}"] = answer.body
    await world.stop(service)
    again = (await world.start()).client
    for path, body in seen.items():
        answer = await again.get(path)
        assert answer.body == body, path


async def test_an_event_that_is_not_published_is_in_no_list(world: World, gate: GateGuard) -> None:
    """While the guard is closed the log grows and the lists do not; then they do."""
    service = await world.start(guard=gate, answer_timeout_s=0.3)
    client = service.client
    party = await Party("alice").register(client)
    await client.submit(party.block([party.issue()]))
    before = (await fetch(client, party.list, "revocation"))[1].body
    gate.gate.clear()
    block = party.block([party.revoke(party.list * LIST_SLOTS)])
    assert (await client.send(block)).type == "pending"
    assert (await fetch(client, party.list, "revocation"))[1].body == before
    assert (await fetch(client, party.list, "revocation", f"?timestamp={format_time(now_ms() - 1)}"))[1].body == before
    integrated = (await service.store.head()).size
    assert (await client.get(f"/v1/lists/{party.list}?size={integrated}")).type == "not-found"
    gate.gate.set()
    await client.submit(block)
    assert indexes(decode_bitstring((await fetch(client, party.list, "revocation"))[0].encoded)) == {0}


async def test_every_node_has_the_same_bytes(world: World) -> None:
    """And the same validators, so that caches in front of them agree."""
    first, second = await world.start(), await world.start()
    party = await Party("alice").register(first.client)
    await first.client.submit(party.block([party.issue(), party.issue()]))
    size = await first.client.head_size()
    await second.node.publication.wait_for(size, 20)
    for media in MEDIA:
        path = f"/status/{party.list}/suspension"
        one, two = [await node.client.get(path, Accept=media) for node in (first, second)]
        assert (one.status, one.body, one.headers["ETag"]) == (200, two.body, two.headers["ETag"])


async def test_it_says_where_its_lists_are(world: World) -> None:
    """/v1/log: the address and the key; the lists and their proofs stand below the same address."""
    service = await world.start(public_url="http://127.0.0.1:8080/ledger/")
    party = await Party("alice").register(service.client)
    info = await service.client.get_json("/v1/log")
    assert info["status_lists"] == "http://127.0.0.1:8080/ledger/status/"
    assert info["status_list_issuer"] == did_key(LIST_KEY.public_key)
    list_, answer = await fetch(service.client, party.list, "revocation")
    assert answer.json["id"] == f"{info['status_lists']}{party.list}/revocation"
    assert answer.json["evidence"]["id"] == f"http://127.0.0.1:8080/ledger/v1/lists/{party.list}?size={list_.size}"
    other = await world.start()
    assert (await other.client.get_json("/v1/log"))["status_lists"] == "https://ledger.example/service/status/"


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/status/1/revocation",
        "/status/4294967295/revocation",
        "/status/4294967296/revocation",
        "/status/00/revocation",
        "/status/-1/revocation",
        "/status/x/revocation",
        "/status/0/message",
        "/status/0/Revocation",
        "/v1/lists/1",
        "/v1/lists/x",
        "/v1/lists/0?size=1000000",
        "/v1/lists/0?size=0",
        "/v1/lists/0?size=2",
        "/status/0/revocation?timestamp=1969-12-31T23:59:59Z",
        "/status/0/revocation?timestamp=2020-01-01T00:00:00Z",
    ],
)
async def test_what_there_is_not(party: Party, client: Client, refuses: Refuses, path: str) -> None:
    """Lists that are not open, sizes that are no heads, purposes that are none, times before the log."""
    assert party.list == 0
    await refuses(client.get(path), 404, "not-found")


async def test_before_a_list_was_opened(client: Client) -> None:
    """It did not exist: 404, and its proof likewise."""
    first = await Party("alice").register(client)
    list_, _ = await fetch(client, first.list, "revocation")
    await asyncio.sleep(0.002)
    second = await Party("bob").register(client)
    query = f"?timestamp={format_time(list_.valid_from_ms)}"
    assert (await fetch(client, first.list, "revocation", query))[0] == list_
    answer = await client.get(f"/status/{second.list}/revocation{query}")
    assert (answer.status, answer.type) == (404, "not-found")
    answer = await client.get(f"/v1/lists/{second.list}?size={list_.size}")
    assert (answer.status, answer.type) == (404, "not-found")


@pytest.mark.parametrize(
    "query", ["timestmap=2026-11-28T17:00:00Z", "Timestamp=2026-11-28T17:00:00Z", "size=3&x", "v=1"]
)
async def test_parameters_that_nobody_knows(party: Party, client: Client, refuses: Refuses, query: str) -> None:
    """A misspelt one is never answered as if it was absent: with the present for the past that was asked for."""
    await refuses(client.get(f"/status/{party.list}/revocation?{query}"), 400, "malformed")
    await refuses(client.get(f"/v1/lists/{party.list}?{query}"), 400, "malformed")


async def test_browsers_are_shown_refusals(party: Party, client: Client, refuses: Refuses) -> None:
    """With the header that answers have: 400, 404, 406, and 304 too."""
    path = f"/status/{party.list}/revocation"
    answers = [
        await refuses(client.get(f"{path}?timestamp=now"), 400, "malformed"),
        await refuses(client.get("/status/9/revocation"), 404, "not-found"),
        await refuses(client.get("/status/0/other"), 404, "not-found"),
        await refuses(client.get(path, Accept="text/html"), 406, "not-acceptable"),
        await client.get(path, **{"If-None-Match": "*"}),
    ]
    assert answers[-1].status == 304
    assert [answer.headers["Access-Control-Allow-Origin"] for answer in answers] == ["*"] * 5


@pytest.mark.parametrize(
    "query",
    [
        "timestamp=",
        "timestamp=now",
        "timestamp=1795885200",
        "timestamp=2026-11-28",
        "timestamp=2026-11-28T17:00:00",
        "timestamp=2026-11-28T17:00:00+01:00",
        "timestamp=2026-11-28T17:00:00.Z",
        "timestamp=2026-11-28T17:00:00z",
        "timestamp=2026-02-30T17:00:00Z",
        "timestamp=2026-11-28T24:00:01Z",
        "timestamp=2026-11-28T17:00:00%2B14:01",
        "timestamp=2026-11-28T17:00:00%2B01:60",
        "timestamp=%D9%A2026-11-28T17:00:00Z",
        "timestamp=9999-12-31T24:00:00Z",
        "timestamp=9999-12-31T23:59:59Z",
        "timestamp=2026-11-28T17:00:00Z&timestamp=2026-11-28T17:00:00Z",
    ],
)
async def test_timestamps_that_are_none(party: Party, client: Client, refuses: Refuses, query: str) -> None:
    """No zone, a plus that came as a space, days that are not in the calendar, the future, two at once."""
    await refuses(client.get(f"/status/{party.list}/revocation?{query}"), 400, "malformed")


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-11-28T17:00:00Z", "2026-11-28T17:00:00.000+00:00"),
        ("2026-11-28T17:00:00+01:30", "2026-11-28T15:30:00+00:00"),
        ("2026-11-28T17:00:00-14:00", "2026-11-29T07:00:00+00:00"),
        ("2026-11-28T24:00:00Z", "2026-11-29T00:00:00+00:00"),
        ("2026-11-28T17:00:00.5Z", "2026-11-28T17:00:00.500+00:00"),
        ("2026-11-28T17:00:00.123999Z", "2026-11-28T17:00:00.123+00:00"),
        ("2028-02-29T00:00:00Z", "2028-02-29T00:00:00+00:00"),
    ],
)
def test_timestamps(text: str, same: str) -> None:
    """As Python reads them; rounded down to the millisecond."""
    assert parse_timestamp(text) == round(datetime.fromisoformat(same).timestamp() * 1000)


async def test_a_store_that_contradicts_the_log_signs_nothing(
    world: World, service: Service, client: Client, party: Party, run_sql: RunSql
) -> None:
    """A past list is checked against the logged status_root before it is signed: changed chunks and lost nodes show."""
    other = await Party("bob").register(client)
    slot = party.list * LIST_SLOTS
    await client.submit(party.block([party.issue(slot), party.revoke(slot)]))
    past = (await service.node.published()).size
    await client.submit(other.block([other.issue()]))
    path = f"/v1/lists/{party.list}?size={past}"
    assert (await client.get(path)).status == 200
    (before,) = await run_sql("SELECT chunk, version, data FROM status_chunks ORDER BY version DESC LIMIT 1")
    await run_sql("UPDATE status_chunks SET data = $1 WHERE version = $2", bytes(64), before["version"])
    for spoilt in (path, f"/status/{party.list}/revocation?timestamp={format_time(await time_of(service, past))}"):
        answer = await client.get(spoilt)
        assert (answer.status, answer.type) == (500, "fork"), answer.body
        world.recorder.statuses.discard(("GET", spoilt.partition("?")[0], 500))
    await run_sql("UPDATE status_chunks SET data = $1 WHERE version = $2", before["data"], before["version"])
    assert (await client.get(path)).status == 200


async def time_of(service: Service, size: int) -> int:
    entry = decode((await service.store.read_entries(size - 1, size))[0])
    assert isinstance(entry, StatusRoot)
    return entry.time


# Forms and caches -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ([], MEDIA_VC),
        ([""], MEDIA_VC),
        (["*/*"], MEDIA_VC),
        (["application/*"], MEDIA_VC),
        (["application/vc"], MEDIA_VC),
        (["APPLICATION/VC"], MEDIA_VC),
        (["application/json"], "application/json"),
        (["application/ld+json"], "application/ld+json"),
        (["application/ld+json, application/json"], "application/ld+json"),
        (["application/json, text/plain, */*"], MEDIA_VC),
        (["application/vc+jwt"], MEDIA_JWT),
        (["application/vc+jwt, application/vc"], MEDIA_VC),
        (["application/vc+jwt, application/vc;q=0.9"], MEDIA_JWT),
        (["application/vc+jwt;q=0.5, */*;q=0.1"], MEDIA_JWT),
        (["*/*;q=0.1", "application/vc+jwt ; q=1.000"], MEDIA_JWT),
        (["application/vc;q=0, */*"], "application/ld+json"),
        (["application/vc;q=0, application/*"], "application/ld+json"),
        (["text/html, application/xhtml+xml, */*;q=0.8"], MEDIA_VC),
        (['application/ld+json;profile="a,b;q=0;c"'], "application/ld+json"),
        (['application/ld+json;profile="\\"";q=0.2, application/vc+jwt;q=0.1'], "application/ld+json"),
        (["text/html;q=2, application/vc+jwt"], MEDIA_JWT),
        (["garbage"], MEDIA_VC),
        (["application/vc+jwt;q=x"], MEDIA_VC),
        (["*/json"], None),
        (["text/html"], None),
        (["text/*"], None),
        (["application/jwt"], None),
        (["*/*;q=0"], None),
        (["application/vc;q=0, application/json;q=0.000"], None),
        (["application/vc+jwt;q=0, text/html"], None),
    ],
)
def test_negotiation(accept: list[str], media: str | None) -> None:
    """The most specific range decides, weights order, ours breaks ties; None is refused."""
    if media is None:
        with pytest.raises(NotAcceptable) as caught:
            choose_media(accept)
        assert caught.value.members["offered"] == list(MEDIA)
    else:
        assert choose_media(accept) == media


def test_a_long_accept_header_is_not_searched() -> None:
    with pytest.raises(MalformedInput, match="Accept"):
        choose_media(['"\\' * 2000])


async def test_forms(party: Party, client: Client, refuses: Refuses) -> None:
    """Each media type is answered as it was asked for; the first three have the same text. Another is refused."""
    path = f"/status/{party.list}/revocation"
    answers = {media: await client.get(path, Accept=media) for media in MEDIA}
    for media, answer in answers.items():
        assert (answer.status, answer.headers["Content-Type"], answer.headers["Vary"]) == (200, media, "Accept")
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert len({answer.body for answer in answers.values()}) == 2
    assert len({answer.headers["ETag"] for answer in answers.values()}) == len(MEDIA)
    assert answers[MEDIA_JWT].body.count(b".") == 2
    refused = await refuses(client.get(path, Accept="text/html"), 406, "not-acceptable")
    assert refused.json["offered"] == list(MEDIA)


async def test_conditional_requests(party: Party, client: Client) -> None:
    """304 without a body while the head stands; a new head, another form or another purpose is sent."""
    path = f"/status/{party.list}/revocation"
    full = await client.get(path)
    tag = full.headers["ETag"]
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        answer = await client.get(path, If_None_Match=known)
        assert (answer.status, answer.body) == (304, b"")
        for name in ("ETag", "Cache-Control", "Vary"):
            assert answer.headers[name] == full.headers[name]
    for other_path, headers in (
        (path, {"If_None_Match": '"x"'}),
        (path, {"If_None_Match": tag, "Accept": MEDIA_JWT}),
        (f"/status/{party.list}/suspension", {"If_None_Match": tag}),
    ):
        assert (await client.get(other_path, **headers)).status == 200
    head = await client.request("HEAD", path)
    assert (head.status, head.body, head.headers["ETag"]) == (200, b"", tag)
    assert head.headers["Content-Length"] == str(len(full.body))
    assert (await client.request("HEAD", path, headers={"If-None-Match": tag})).status == 304
    await client.submit(party.block([party.issue()]))
    assert (await client.get(path, If_None_Match=tag)).status == 200


async def test_a_copy_ends_when_it_says(world: World) -> None:
    """ttl is max-age. A list whose end is nearer than that is not kept by anybody, but is still given."""
    clock = TurnedClock()
    service = await world.start(clock=clock, heartbeat_s=100_000)
    party = await Party("alice").register(service.client)
    list_, answer = await fetch(service.client, party.list, "revocation")
    assert answer.headers["Cache-Control"] == f"public, max-age={list_.ttl_ms // 1000}"
    assert list_.valid_until_ms - list_.valid_from_ms == 1000 * (2 * 100_000 + 2 * 60)
    clock.turn(2 * 100_000 + 65)
    list_, answer = await fetch(service.client, party.list, "revocation")
    assert answer.headers["Cache-Control"] == "no-cache"


async def test_a_list_is_made_once_for_all_who_ask(
    service: Service, client: Client, party: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixty at once, of each purpose and form; and again when the head is another."""
    made: list[bytes] = []

    def count(data: bytes) -> str:
        made.append(data)
        return encode_list(data)

    monkeypatch.setattr(statuslists, "encode_list", count)
    for round_ in (1, 2):
        paths = [
            (f"/status/{party.list}/{purpose}", media) for purpose in ("revocation", "suspension") for media in MEDIA
        ]
        answers = await asyncio.gather(*[client.get(path, Accept=media) for path, media in paths * 8])
        assert {answer.status for answer in answers} == {200}
        assert len({answer.body for answer in answers}) == 4
        assert len(made) == 2 * round_
        await client.submit(party.block([party.issue()]))


async def test_what_is_kept_has_a_bound(
    service: Service, client: Client, party: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old lists go first; too many in the making are refused, and nothing that failed is kept."""
    monkeypatch.setattr(statuslists, "MAX_KEPT", 3)
    lists = service.app[STATUS_LISTS]
    for _ in range(5):
        await client.submit(party.block([party.issue()]))
        await fetch(client, party.list, "revocation")
    assert len(lists._kept) == 3
    sizes = [size for _, _, size in lists._kept]
    assert sizes == sorted(sizes)
    monkeypatch.setattr(statuslists, "MAX_MAKING", 0)
    assert (await client.get(f"/status/{party.list}/suspension")).type == "overloaded"
    assert (await client.get(f"/status/{party.list}/revocation")).status == 200  # made before
    monkeypatch.setattr(statuslists, "MAX_MAKING", 1)

    def fail(_: bytes) -> str:
        raise NotFound("gone")

    monkeypatch.setattr(statuslists, "encode_list", fail)
    assert (await client.get(f"/status/{party.list}/suspension")).type == "not-found"
    monkeypatch.setattr(statuslists, "encode_list", encode_list)
    assert (await client.get(f"/status/{party.list}/suspension")).status == 200
    assert lists._making == 0


async def test_nobody_learns_who_asks(client: Client, party: Party) -> None:
    """No log line at all, and metrics that name the route only."""
    with structlog.testing.capture_logs() as logs:
        for purpose in ("revocation", "suspension"):
            await fetch(client, party.list, purpose, f"?timestamp={format_time(now_ms() - 1)}")
        await client.get(f"/v1/lists/{party.list}")
    assert logs == []
    metrics = (await client.get("/metrics")).body.decode()
    about = [line for line in metrics.splitlines() if "/status/" in line or "/v1/lists/" in line]
    assert about
    assert all(("{list}/{purpose}" in line) or ("/v1/lists/{list}" in line) for line in about)
    assert f"/status/{party.list}" not in metrics


async def test_the_head_of_a_time_is_found(client: Client, service: Service) -> None:
    """Every time at, before and behind each commit, below two bounds: what a search through all of them finds."""
    party = await Party("alice").register(client)
    await asyncio.gather(*[client.submit(party.block([party.issue()])) for _ in range(40)])
    head = await service.node.published()
    commits = await service.store.commits(0, 10_000)
    for time_ms in {commit.time_ms + delta for commit in commits for delta in (-1, 0, 1)}:
        for bound in (head.size, commits[len(commits) // 2].tree_size):
            earlier = [c.tree_size for c in commits if c.time_ms <= time_ms and c.tree_size <= bound]
            assert await service.store.size_at(time_ms, bound) == max(earlier, default=0)


# What an operator sets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://ledger.example", "https://ledger.example/"),
        ("https://ledger.example/", "https://ledger.example/"),
        ("https://ledger.example:8443/a/b", "https://ledger.example:8443/a/b/"),
        ("https://192.0.2.1/x", "https://192.0.2.1/x/"),
        ("https://[2001:db8::1]:1/", "https://[2001:db8::1]:1/"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
        ("http://localhost:1/", "http://localhost:1/"),
        ("http://[::1]:8080", "http://[::1]:8080/"),
    ],
)
def test_public_addresses(text: str, url: str) -> None:
    assert parse_public_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "ledger.example",
        "ftp://ledger.example",
        "http://ledger.example",
        "http://127.0.0.1.example/",
        "http://10.0.0.1/",
        "https://",
        "https:///x",
        "https://user@ledger.example/",
        "https://ledger.example/?x",
        "https://ledger.example/#x",
        "https://ledger.example:0/",
        "https://ledger.example:65536/",
        "https://ledger.example:/",
        "https://ledger.example//x",
        "https://ledger.example/a b",
        'https://ledger.example/"',
        "https://ledger.example/<x>",
        "https://l\u00f6we.example/",
        "https://-.example/",
        "HTTPS://ledger.example/",
        "https://ledger.example/\n",
    ],
)
def test_addresses_that_are_none(text: str) -> None:
    """Nothing else would stand in badges for good."""
    with pytest.raises(MalformedInput):
        parse_public_url(text)


async def test_the_list_key(service: Service, tmp_path: Path) -> None:
    """Made once, for its owner only; recorded in the database, so that a node without it or with another one stops."""
    file = tmp_path / "keys" / "list.key"
    file.parent.mkdir()
    made = await load_list_key(file, service.store)
    assert file.stat().st_mode & 0o777 == 0o600
    assert (await load_list_key(file, service.store)).public_key == made.public_key
    kept = file.read_bytes()
    file.unlink()
    with pytest.raises(KeyFileError, match="copy it from another node"):
        await load_list_key(file, service.store)
    assert not file.exists()
    other = tmp_path / "other"
    other.mkdir()
    save_issuer_key(other / "list.key", Ed25519Key.from_seed(seed("other")))
    with pytest.raises(KeyFileError, match="is not the key"):
        await load_list_key(other / "list.key", service.store)
    file.write_bytes(kept)
    file.chmod(0o600)
    assert (await load_list_key(file, service.store)).public_key == made.public_key


def test_the_document_has_the_members_of_the_specification() -> None:
    """Kept here as text, so that a change of what all verifiers read is seen."""
    list_ = StatusList(
        base="https://ledger.example/",
        list=3,
        purpose="revocation",
        size=9,
        issuer="did:key:z6Mk",
        valid_from_ms=round(datetime(2026, 11, 28, 17, tzinfo=UTC).timestamp() * 1000),
        valid_until_ms=round(datetime(2026, 11, 28, 18, tzinfo=UTC).timestamp() * 1000),
        ttl_ms=60_000,
        encoded="uX",
    )
    expected: dict[str, Any] = json.loads(
        """{"@context": ["https://www.w3.org/ns/credentials/v2"], "id": "https://ledger.example/status/3/revocation",
        "type": ["VerifiableCredential", "BitstringStatusListCredential"], "issuer": "did:key:z6Mk",
        "validFrom": "2026-11-28T17:00:00.000Z", "validUntil": "2026-11-28T18:00:00.000Z",
        "credentialSubject": {"id": "https://ledger.example/status/3/revocation#list", "type": "BitstringStatusList",
        "statusPurpose": "revocation", "encodedList": "uX", "ttl": 60000},
        "evidence": {"id": "https://ledger.example/v1/lists/3?size=9", "type": "urn:badge-ledger:status-list-proof"}}"""
    )
    assert credential(list_) == expected


@pytest.mark.slow
async def test_a_killed_process_comes_back_with_the_same_lists(service_dir: Path) -> None:
    """`serve` from an empty folder makes the list key, for its owner only; after kill -9 it signs the same bytes with
    it, under the address that it is given. Without the key file it does not start."""
    recorder = Recorder()
    process = Process(service_dir / "lists", public_url="https://lists.example/")
    await process.start()
    party = Party("alice")
    key_file = process.data / "keys" / "list.key"
    assert key_file.stat().st_mode & 0o777 == 0o600
    async with process.client(recorder) as client:
        await party.register(client)
        slot = party.slot()
        await client.submit(party.block([party.issue(slot), party.revoke(slot)]))
        list_, answer = await fetch(client, party.list, "revocation")
        assert list_.base == "https://lists.example/"
        path = f"/status/{party.list}/revocation?timestamp={format_time(list_.valid_from_ms)}"
        before = {media: await client.get(path, Accept=media) for media in MEDIA}
        assert before[MEDIA_VC].body == answer.body
        last = party.block([party.issue()])
        sending = asyncio.create_task(client.send(last))
        await process.kill()
        await asyncio.gather(sending, return_exceptions=True)
    await process.start()
    async with process.client(recorder) as client:
        for media, known in before.items():
            again = await client.get(path, Accept=media)
            assert (again.body, again.headers["ETag"]) == (known.body, known.headers["ETag"])
        await client.submit(last)
    assert f"/status/{party.list}" not in process.log()
    await process.stop()
    key_file.rename(key_file.with_name("lost"))
    with pytest.raises(AssertionError, match=r"copy it from another node"):
        await process.start()
