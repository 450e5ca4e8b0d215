"""The log for everybody: C2SP tlog-tiles to the letter, proofs, entries, receipts, and how they are negotiated."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Awaitable

import pytest

from ledger.checkpoint import Checkpoint, open_checkpoint
from ledger.entry import ISSUE, SUBMISSION
from ledger.merkle import (
    EMPTY_ROOT,
    leaf_hash,
    leaf_hashes,
    root_from_inclusion,
    tree_hash,
    verify_consistency,
)
from ledger.note import format_vkey
from ledger.receipt import decode_packed
from ledger.receipt_json import parse_json
from ledger.signing import Ed25519Key
from ledger.text import parse_base64
from ledger.tiles import (
    TILE_WIDTH,
    Tile,
    bundles_for_range,
    decode_bundle,
    partial_width,
    split_hashes,
    tile_path,
    tiles_for_size,
)
from tests.service.conftest import Refuses
from tests.service.harness import ORIGIN, PACKED, Answer, Client, Party, Service, World, prove, seed, unique

IMMUTABLE = "public, max-age=31536000, immutable"


def hashes(document: list[str]) -> list[bytes]:
    return [parse_base64(item, what="hash", length=32) for item in document]


async def checkpoint(client: Client, service: Service) -> Checkpoint:
    answer = await client.get("/checkpoint")
    head, _ = open_checkpoint(answer.body, service.node.signer.verifier_keys[0])
    return head


async def tile(client: Client, wanted: Tile) -> bytes:
    answer = await client.get("/" + tile_path(wanted))
    assert answer.status == 200, wanted
    return answer.body


# Tiles ----------------------------------------------------------------------------------------------------------------


async def test_the_checkpoint_is_served_as_the_spec_says(client: Client, service: Service) -> None:
    answer = await client.get("/checkpoint")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Cache-Control"] == "public, max-age=1"
    lines = answer.body.decode().split("\n")
    assert lines[0] == ORIGIN
    head = await checkpoint(client, service)
    assert head.size == 2


async def test_a_client_rebuilds_the_log_from_its_tiles(client: Client, service: Service, party: Party) -> None:
    """Every tile and bundle of the head, and only they, from size and path alone; they hash to the signed root."""
    for count in (1, 100, 200, 700, 3):
        await client.submit(party.issues(count))
    head = await checkpoint(client, service)
    tiles = {wanted: await tile(client, wanted) for wanted in tiles_for_size(head.size)}
    entries = [
        entry
        for wanted in bundles_for_range(0, head.size, head.size)
        for entry in decode_bundle(await tile(client, wanted), wanted.width)
    ]
    leaves = leaf_hashes(entries)
    assert tree_hash(leaves) == head.root
    for wanted, data in tiles.items():
        span = 1 << 8 * wanted.level
        first = wanted.index * TILE_WIDTH
        expected = [tree_hash(leaves[i * span : (i + 1) * span]) for i in range(first, first + wanted.width)]
        assert split_hashes(data) == expected
    assert [entry[1] for entry in entries].count(ISSUE) == 1004


async def test_partial_tiles_of_every_checkpoint_stay(client: Client, service: Service, party: Party) -> None:
    """For each checkpoint ever produced its partial tiles are served, also when they have long been full."""
    for count in (1, 3, 120, 130, 5, 300):
        await client.submit(party.issues(count))
        await client.get("/checkpoint")
    seen = [open_checkpoint(note, service.node.signer.verifier_keys[0])[0] for note in client.recorder.notes]
    assert len({head.size for head in seen}) >= 6
    for head in seen:
        leaves: list[bytes] = []
        for wanted in bundles_for_range(0, head.size, head.size):
            leaves += leaf_hashes(decode_bundle(await tile(client, wanted), wanted.width))
        assert tree_hash(leaves) == head.root
        for level in range(3):
            width = partial_width(level, head.size)
            if width:
                data = await tile(client, Tile(level, head.size >> 8 * (level + 1), width))
                assert len(data) == 32 * width


async def test_tiles_are_immutable_bytes(client: Client, party: Party) -> None:
    await client.submit(party.issues(300))
    for path in ("/tile/0/000", "/tile/0/001.p/3", "/tile/1/000.p/1", "/tile/entries/000", "/tile/entries/001.p/7"):
        answer = await client.get(path)
        assert answer.status == 200, path
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Cache-Control"] == IMMUTABLE
        assert "Content-Encoding" not in answer.headers


async def test_what_is_no_tile_of_this_log(client: Client, service: Service, party: Party, refuses: Refuses) -> None:
    """Paths that are no tile paths, tiles beyond the head, empty ones: 404, each as a problem that nobody caches."""
    await client.submit(party.issues(300))
    size = (await checkpoint(client, service)).size
    width = size % 256
    for path in (
        "0/0",
        "0/00",
        "0/0000",
        "0/1000",
        "0/x000/000",
        "0/000.p/0",
        "0/000.p/256",
        "0/000.p/01",
        "0/000.p/",
        "0/000.p",
        "0/000/",
        "0/-01",
        "0/%30%30%31x",
        "00/000",
        "64/000",
        "-1/000",
        "entries",
        "entries/0",
        "data/000",
        "0/001",
        f"0/001.p/{width + 1}",
        f"entries/001.p/{width + 1}",
        "entries/001",
        "entries/002.p/1",
        "1/000.p/2",
        "1/000",
        "2/000.p/1",
        "7/000.p/1",
        "63/000.p/1",
        "0/x999/x999/x999/x999/x999/x999/999",
        "0/" + "x999/" * 300 + "999",
    ):
        answer = await client.get(f"/tile/{path}")
        assert answer.status == 404, path
        assert answer.type in ("not-found", "http"), path
    assert (await client.get(f"/tile/0/001.p/{width}")).status == 200


async def test_bundles_are_compressed_for_who_asks(client: Client, party: Party) -> None:
    """gzip where the client admits it, never against its word; hash tiles are not worth it."""
    await client.submit(party.issues(300))
    plain = (await client.get("/tile/entries/000")).body
    for accept in ("gzip", "gzip, deflate, br", "deflate, gzip;q=0.5", "*", "x-gzip", "br;q=1.0, GZIP;q=0.8"):
        answer = await client.get("/tile/entries/000", Accept_Encoding=accept)
        assert answer.headers["Content-Encoding"] == "gzip", accept
        assert gzip.decompress(answer.body) == plain
        assert answer.headers["Vary"] == "Accept-Encoding"
    for accept in ("", "identity", "deflate", "br", "gzip;q=0", "gzip; q=0.0", "*;q=0", "identity, gzip;q=0"):
        answer = await client.get("/tile/entries/000", Accept_Encoding=accept)
        assert "Content-Encoding" not in answer.headers, accept
        assert answer.body == plain
    answer = await client.get("/tile/0/000", Accept_Encoding="gzip")
    assert "Content-Encoding" not in answer.headers


# Proofs and entries ---------------------------------------------------------------------------------------------------


async def test_every_proof_between_published_sizes(client: Client, service: Service, party: Party) -> None:
    """Inclusion of random leaves and consistency of random pairs of sizes, up to the published head."""
    rng = random.Random(1)
    for count in (1, 60, 255, 300):
        await client.submit(party.issues(count))
    head = await checkpoint(client, service)
    leaves = leaf_hashes(await service.store.read_entries(0, head.size))
    roots = {0: EMPTY_ROOT}

    def root(size: int) -> bytes:
        return roots.setdefault(size, tree_hash(leaves[:size]))

    pairs = [(1, 1), (1, head.size), (256, 512), (255, 257), (head.size, head.size)]
    pairs += [tuple(sorted(rng.choices(range(1, head.size + 1), k=2))) for _ in range(60)]  # type: ignore[misc]
    for first, second in pairs:
        answer = await client.get_json(f"/v1/log/consistency?first={first}&second={second}")
        assert (answer["first"], answer["second"]) == (first, second)
        verify_consistency(first, second, root(first), root(second), hashes(answer["proof"]))
    assert (await client.get_json("/v1/log/consistency?first=3"))["second"] == head.size
    for _ in range(60):
        size = rng.randint(1, head.size)
        index = rng.randrange(size)
        answer = await client.get_json(f"/v1/log/inclusion?index={index}&tree_size={size}")
        (leaf,) = hashes([answer["leaf_hash"]])
        assert leaf == leaves[index]
        assert root_from_inclusion(leaf, index, size, hashes(answer["proof"])) == root(size)
    assert (await client.get_json("/v1/log/inclusion?index=0"))["tree_size"] == head.size


async def test_proofs_that_there_are_not(client: Client, service: Service, refuses: Refuses) -> None:
    size = (await checkpoint(client, service)).size
    cases: list[tuple[str, int, str]] = [
        ("inclusion", 400, "malformed"),
        ("inclusion?index=-1", 400, "malformed"),
        ("inclusion?index=0&index=0", 400, "malformed"),
        ("inclusion?index=%200", 400, "malformed"),
        (f"inclusion?index={2**63}", 400, "malformed"),
        (f"inclusion?index={size}", 404, "not-found"),
        ("inclusion?index=0&tree_size=0", 404, "not-found"),
        (f"inclusion?index=0&tree_size={size + 1}", 404, "not-found"),
        ("inclusion?index=1&tree_size=1", 404, "not-found"),
        ("consistency", 400, "malformed"),
        ("consistency?first=0", 400, "malformed"),
        ("consistency?first=2&second=1", 400, "malformed"),
        (f"consistency?first=1&second={size + 1}", 404, "not-found"),
        ("entries", 400, "malformed"),
        ("entries?start=1&end=1", 400, "malformed"),
        ("entries?start=1&end=0", 400, "malformed"),
        (f"entries?start={size}", 404, "not-found"),
    ]
    for path, status, type_ in cases:
        await refuses(client.get(f"/v1/log/{path}"), status, type_)


async def test_entries_are_decoded_for_people(client: Client, service: Service, party: Party, refuses: Refuses) -> None:
    """Types by name, bytes as hexadecimal, indexes; a thousand at a time."""
    commitment = unique()
    slot = party.slot()
    await client.submit(party.block([party.issue(slot, commitment)]))
    await client.submit(party.block([party.suspend(slot, 5)]))
    size = (await checkpoint(client, service)).size
    document = await client.get_json(f"/v1/log/entries?start=0&end={size + 50}")
    assert document["tree_size"] == size
    entries = document["entries"]
    assert [entry["index"] for entry in entries] == list(range(size))
    names = [entry["type"] for entry in entries]
    assert names[:2] == ["log_params", "status_root"]
    assert entries[0]["origin"] == ORIGIN
    issue = entries[names.index("issue")]
    assert (issue["commitment"], issue["slot"], issue["issuer"]) == (commitment.hex(), slot, party.issuer.hex())
    assert entries[names.index("suspend")]["reason"] == 5
    assert entries[names.index("issuer_key")]["action"] == "add"
    assert {"issuer_key", "status_list", "submission"} <= set(names)
    await client.submit(party.issues(1200))
    assert len((await client.get_json("/v1/log/entries?start=5"))["entries"]) == 1000
    await refuses(client.get("/v1/log/entries?start=5&end=1006"), 400, "malformed")


async def test_the_log_tells_who_it_is(client: Client, service: Service) -> None:
    document = await client.get_json("/v1/log")
    assert document["origin"] == ORIGIN
    assert document["verifier_keys"] == [format_vkey(key) for key in service.node.signer.verifier_keys]
    assert document["checkpoint"].encode() == (await client.get("/checkpoint")).body
    assert document["limits"]["max_events"] == 100_000
    assert document["software"]["name"] == "badge-ledger"


# Receipts -------------------------------------------------------------------------------------------------------------


async def test_receipts_in_both_forms_and_profiles(world: World, client: Client, party: Party) -> None:
    """JSON unless packed is asked for first; full unless short is; the log's ML-DSA line only on request."""
    commitment, slot = unique(), party.slot()
    answer = await client.submit(party.block([party.issue(), party.issue(slot, commitment), party.issue()]))
    index = answer["first_index"] + 2
    for profile in ("", "short", "full"):
        for signatures in ("", "log", "all"):
            query = "&".join(
                [*([f"profile={profile}"] if profile else []), *([f"signatures={signatures}"] if signatures else [])]
            )
            for path in (f"/v1/receipts/{index}", f"/v1/badges/{commitment.hex()}"):
                packed = await client.get(f"{path}?{query}", Accept=PACKED)
                assert packed.headers["Content-Type"] == PACKED
                assert packed.headers["Vary"] == "Accept"
                assert packed.headers["Cache-Control"] == "no-store"
                plain = await client.get(f"{path}?{query}")
                assert plain.headers["Content-Type"].startswith("application/json")
                assert plain.headers["Vary"] == "Accept"
                body = plain.body
                if "badges" in path:
                    assert plain.json["commitment"] == commitment.hex()
                    start, end = plain.body.index(b"[") + 1, plain.body.rindex(b"]")
                    body = plain.body[start:end]
                receipt = parse_json(body)
                assert decode_packed(packed.body) == receipt
                assert receipt.full == (profile != "short")
                assert len(receipt.signatures) == (2 if signatures == "all" else 1)
                assert receipt.issue_entry().commitment == commitment
                assert prove(receipt, world.policy).issue.slot == slot


async def test_the_accept_header_decides_the_form(client: Client, party: Party) -> None:
    commitment = unique()
    answer = await client.submit(party.block([party.issue(commitment=commitment)]))
    path = f"/v1/receipts/{answer['first_index'] + 1}"
    for accept, packed in (
        ("*/*", False),
        ("application/json", False),
        (PACKED, True),
        (f"{PACKED}, application/json", True),
        (f"application/json, {PACKED}", False),
        (f"text/html, {PACKED};q=0.9", True),
        ("text/html", False),
    ):
        found = await client.get(path, Accept=accept)
        assert (found.headers["Content-Type"] == PACKED) == packed, accept


async def test_a_badge_in_several_slots(world: World, client: Client, party: Party) -> None:
    """By several issuers, since each issues a badge once. All receipts as JSON, oldest first; packed the last one."""
    commitment = unique()
    parties = [party, *[await Party(name).register(client) for name in ("bob", "carol")]]
    slots = [each.slot() for each in parties]
    for each, slot in zip(parties, slots, strict=True):
        await client.submit(each.block([each.issue(slot, commitment)]))
    await client.submit(parties[1].block([parties[1].revoke(slots[1])]))
    document = await client.get_json(f"/v1/badges/{commitment.hex()}?profile=short")
    receipts = [parse_json(json.dumps(receipt).encode()) for receipt in document["receipts"]]
    assert [receipt.issue_entry().slot for receipt in receipts] == slots
    assert [prove(receipt, world.policy).state for receipt in receipts] == ["active", "revoked", "active"]
    packed = await client.get(f"/v1/badges/{commitment.hex()}", Accept=PACKED)
    assert decode_packed(packed.body).issue_entry().slot == slots[2]


async def test_a_receipt_shows_every_state(world: World, client: Client, party: Party) -> None:
    slot = party.slot()
    answer = await client.submit(party.block([party.issue(slot)]))
    index = answer["first_index"] + 1
    for event, state in (
        (None, "active"),
        (party.suspend, "suspended"),
        (party.reinstate, "active"),
        (party.revoke, "revoked"),
    ):
        if event is not None:
            await client.submit(party.block([event(slot)]))
        receipt = parse_json((await client.get(f"/v1/receipts/{index}")).body)
        assert prove(receipt, world.policy).state == state


async def test_receipts_by_a_delegated_key_show_the_chain(world: World, client: Client, party: Party) -> None:
    """A full receipt carries every key entry from the signing key to the issuer's first."""
    manager, helper = Ed25519Key.from_seed(seed("manager")), Ed25519Key.from_seed(seed("helper"))
    manager_index = await party.add_key(client, manager, roles=4)
    change = party.key_change(1, helper, roles=1, signer=manager, signer_index=manager_index)
    document = (await client.post(f"/v1/issuers/{party.issuer.hex()}/keys", change)).json
    index = document["keys"][2]["index"]
    for count in (1, 255, 256, 257, 600):
        answer = await client.submit(party.block([party.issue() for _ in range(count)], key=helper, index=index))
        for k in {0, count // 2, count - 1}:
            receipt = parse_json((await client.get(f"/v1/receipts/{answer['first_index'] + 1 + k}")).body)
            assert [at for at, _ in receipt.keys] == [index, manager_index, party.index]
            proven = prove(receipt, world.policy)
            assert proven.identifier == party.identifier


async def test_receipts_that_there_are_not(client: Client, service: Service, party: Party, refuses: Refuses) -> None:
    slot = party.slot()
    await client.submit(party.block([party.issue(slot)]))
    answer = await client.submit(party.block([party.suspend(slot)]))
    size = (await checkpoint(client, service)).size
    entries = await service.store.read_entries(0, size)
    for index in [0, 1, answer["first_index"], answer["first_index"] + 1, size - 1, size, 2**63 - 1]:
        assert index >= size or entries[index][1] != ISSUE
        await refuses(client.get(f"/v1/receipts/{index}"), 404, "not-found")
    for index_ in ("x", "-1", "+1", "01", str(2**64)):
        await refuses(client.get(f"/v1/receipts/{index_}"), 400, "malformed")
    await refuses(client.get(f"/v1/badges/{unique().hex()}"), 404, "not-found")
    for commitment in ("00", "x" * 64, "A" * 64, "0" * 65):
        await refuses(client.get(f"/v1/badges/{commitment}"), 400, "malformed")
    for query in ("profile=tiny", "signatures=none", "profile="):
        await refuses(client.get(f"/v1/badges/{'00' * 32}?{query}"), 400, "malformed")
    first = next(k for k, entry in enumerate(entries) if entry[1] == SUBMISSION)
    assert leaf_hash(entries[first]) == leaf_hashes(entries)[first]


# Everything else ------------------------------------------------------------------------------------------------------


async def test_health(client: Client, service: Service) -> None:
    assert (await client.get_json("/healthz")) == {"status": "ok"}
    await client.get("/checkpoint")
    ready = await client.get_json("/readyz")
    assert ready == {"status": "ready", "tree_size": 2}


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/nothing", "/checkpoint/", "/tile/", "/%00", "/\u00e9"])
async def test_unknown_paths_are_problems(client: Client, path: str) -> None:
    answer = await client.get(path)
    assert (answer.status, answer.type) == (404, "http")


async def test_other_methods_are_problems(client: Client) -> None:
    requests: list[tuple[Awaitable[Answer], str]] = [
        (client.request("DELETE", "/v1/submissions"), "POST"),
        (client.request("POST", "/checkpoint"), "GET"),
        (client.request("PUT", "/v1/issuers"), "GET"),
    ]
    for request, allowed in requests:
        answer = await request
        assert (answer.status, answer.type) == (405, "http")
        assert allowed in answer.headers["Allow"]
