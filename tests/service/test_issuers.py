"""Issuers: registration and its bindings, the operator's token, keys, slots."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import pytest

from ledger.base58 import format_base58
from ledger.documents import document_urls
from ledger.entry import ADD, LIST_SLOTS, RETIRE, IssuerKey, decode, did_key
from ledger.errors import NotFound
from ledger.message import key_message
from ledger.signing import Ed25519Key
from ledger.slots import SlotPermutation
from ledger.text import format_base64
from tests.service.conftest import Refuses
from tests.service.harness import (
    HOUR_MS,
    ORIGIN,
    TOKEN,
    Client,
    Party,
    Service,
    TurnedClock,
    World,
    now_ms,
    seed,
    unique,
)

WEB = "did:web:school.example:badges"
HTTPS = "https://school.example/issuers/1"


async def key_entry(service: Service, index: int) -> IssuerKey:
    entry = decode((await service.store.read_entries(index, index + 1))[0])
    assert isinstance(entry, IssuerKey)
    return entry


# Registration ---------------------------------------------------------------------------------------------------------


async def test_a_did_key_is_self_certifying(service: Service, client: Client) -> None:
    """201 the first time, 200 with the same answer afterwards; the identifier is the key, evidence is zeros."""
    party = Party("alice")
    body = party.registration(evidence="11" * 32)
    answer = await client.post("/v1/issuers", body, token=TOKEN)
    assert answer.status == 201
    document = answer.json
    assert document["issuer"] == party.issuer.hex()
    assert document["identifier"] == party.identifier
    (key,) = document["keys"]
    assert (key["binding"], key["live"], key["roles"], key["signer"]) == (
        "self-certifying",
        True,
        ["issue", "status", "manage"],
        None,
    )
    entry = await key_entry(service, key["index"])
    assert (entry.binding, entry.evidence) == (1, bytes(32))
    again = await client.post("/v1/issuers", body, token=TOKEN)
    assert (again.status, again.json) == (200, document)
    assert await client.get_json(f"/v1/issuers/{party.issuer.hex()}") == document


async def test_only_the_operator_registers(client: Client, refuses: Refuses) -> None:
    body = Party("alice").registration()
    answer = await refuses(client.post("/v1/issuers", body), 401, "unauthorized")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    for token in ("wrong", TOKEN + "x", TOKEN[:-1], "\u00e9"):
        await refuses(client.post("/v1/issuers", body, token=token), 403, "forbidden")
    basic = client.request(
        "POST",
        "/v1/issuers",
        data=b"{}",
        headers={"Authorization": f"Basic {TOKEN}", "Content-Type": "application/json"},
    )
    await refuses(basic, 401, "unauthorized")


async def test_registrations_that_break_a_rule(client: Client, refuses: Refuses) -> None:
    party, other = Party("alice"), Party("bob")

    async def refused(body: dict[str, Any], status: int, type_: str) -> None:
        await refuses(client.post("/v1/issuers", body, token=TOKEN), status, type_)

    foreign = Party("alice", identifier=other.identifier)
    await refused(foreign.registration(), 422, "rule:binding")
    await refused(party.registration(possession_sig=format_base64(bytes(64))), 403, "rule:signature")
    elsewhere = Party("alice", origin="other.example/log")
    await refused(elsewhere.registration(), 403, "rule:signature")
    await refused(party.registration(roles=3), 403, "rule:key-role")
    for roles in (0, 8, -1):
        await refused(party.registration() | {"roles": roles}, 400, "malformed-body")
    await refused(party.registration(identifier="line\nbreak"), 400, "malformed-entry")
    await refused(party.registration(identifier="\u00e9" * 1025), 400, "malformed-entry")
    await refused(party.registration(identifier=""), 400, "malformed-body")
    await refused(party.registration(identifier="x" * 2049), 400, "malformed-body")
    await refused(party.registration(evidence="11"), 400, "malformed-body")
    await refused(party.registration(more=1), 400, "malformed-body")
    assert (await client.get_json("/v1/issuers"))["issuers"] == []


@pytest.mark.parametrize("unseen", ["\u200b", "\u202e", "\u2066", "\u00ad", "\ufeff", "\u2028", "\U000e0041"])
async def test_an_identifier_that_does_not_read_as_what_it_is(client: Client, refuses: Refuses, unseen: str) -> None:
    """Two issuers that look the same, or one that reads backwards: refused at the door, the character named."""
    body = Party("alice", f"https://a.example/{unseen}x").registration()
    answer = await refuses(client.post("/v1/issuers", body, token=TOKEN), 400, "malformed")
    assert f"U+{ord(unseen):04X}" in answer.json["detail"]
    assert (await client.get_json("/v1/issuers"))["issuers"] == []
    visible = Party("bob", "https://b.example/Académie/学校").registration()
    assert (await client.post("/v1/issuers", visible, token=TOKEN)).status == 201


async def test_an_identifier_has_one_first_key(client: Client, refuses: Refuses) -> None:
    """The operator cannot put another key beside the first: only a manage key of the issuer can."""
    first = Party("alice", identifier=HTTPS)
    await first.register(client, with_list=False)
    second = Party("mallory", identifier=HTTPS)
    await refuses(client.post("/v1/issuers", second.registration(), token=TOKEN), 409, "rule:key-prev")


def did_document(identifier: str, key: bytes, *, jwk: bool = False) -> bytes:
    """A DID document that names the key."""
    method: dict[str, Any] = {"id": f"{identifier}#1", "controller": identifier}
    if jwk:
        import base64

        x = base64.urlsafe_b64encode(key).decode().rstrip("=")
        method |= {"type": "JsonWebKey", "publicKeyJwk": {"kty": "OKP", "crv": "Ed25519", "x": x}}
    else:
        method |= {"type": "Multikey", "publicKeyMultibase": "z" + format_base58(b"\xed\x01" + key)}
    return json.dumps({"id": identifier, "verificationMethod": [{"type": "other"}, method]}).encode()


class FakeWeb:
    """A fetcher with documents by URL."""

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}
        self.asked: list[str] = []

    async def __call__(self, url: str) -> bytes:
        self.asked.append(url)
        if url not in self.documents:
            raise NotFound("the document answers 404")
        return self.documents[url]


@pytest.mark.parametrize("form", ["multikey", "jwk", "badge-ledger.json", "https"])
async def test_a_published_key_is_found_and_its_document_logged(world: World, form: str) -> None:
    """The key is found at the identifier's host, and the hash of what was read logged, whatever the operator says."""
    web = FakeWeb()
    service = await world.start(fetch=web)
    party = Party("school", identifier=HTTPS if form == "https" else WEB)
    key = party.key.public_key
    listed = json.dumps({"keys": [{"identifier": party.identifier, "public_key": key.hex()}]}).encode()
    url, document = {
        "multikey": ("https://school.example/badges/did.json", did_document(WEB, key)),
        "jwk": ("https://school.example/badges/did.json", did_document(WEB, key, jwk=True)),
        "badge-ledger.json": ("https://school.example/.well-known/badge-ledger.json", listed),
        "https": ("https://school.example/.well-known/badge-ledger.json", listed),
    }[form]
    web.documents[url] = document
    answer = await service.client.post("/v1/issuers", party.registration(evidence="22" * 32), token=TOKEN)
    assert answer.status == 201
    (found,) = answer.json["keys"]
    assert found["binding"] == "published"
    entry = await key_entry(service, found["index"])
    assert (entry.binding, entry.evidence) == (2, hashlib.sha256(document).digest())


async def test_else_the_operator_vouches(world: World) -> None:
    """No document, one that cannot be read, one of another identifier or of another key: vouched, with the evidence."""
    key = Party("school").key.public_key
    url = "https://school.example/.well-known/badge-ledger.json"
    documents = [
        None,
        b"",
        b"[]",
        b"\xff",
        b"[" * 60_000,
        b'{"keys": 1}',
        b'{"keys": [1, {"identifier": null}]}',
        json.dumps({"keys": [{"identifier": "https://other.example/", "public_key": key.hex()}]}).encode(),
        json.dumps({"keys": [{"identifier": HTTPS, "public_key": "00" * 32}]}).encode(),
        did_document("did:web:other.example", key),
        json.dumps({"id": HTTPS, "verificationMethod": [{"publicKeyMultibase": "z0OIl"}]}).encode(),
        json.dumps(
            {"id": HTTPS, "verificationMethod": [{"publicKeyJwk": {"kty": "OKP", "crv": "Ed25519", "x": "?"}}]}
        ).encode(),
    ]
    web = FakeWeb()
    service = await world.start(fetch=web)
    for number, document in enumerate(documents):
        identifier = f"{HTTPS}/{number}"
        web.documents = {} if document is None else {url: document.replace(HTTPS.encode(), identifier.encode())}
        party = Party("school", identifier=identifier)
        answer = await service.client.post("/v1/issuers", party.registration(evidence="33" * 32), token=TOKEN)
        assert answer.status == 201, (document, answer)
        (found,) = answer.json["keys"]
        assert found["binding"] == "vouched"
        entry = await key_entry(service, found["index"])
        assert (entry.binding, entry.evidence) == (3, b"\x33" * 32)


def test_where_keys_may_be_published() -> None:
    """Only the identifier's own host is asked, and nothing in a did:web leaves its place in the URL."""
    assert document_urls("did:web:a.example") == [
        "https://a.example/.well-known/did.json",
        "https://a.example/.well-known/badge-ledger.json",
    ]
    assert document_urls("did:web:a.example%3A8443:u:1")[0] == "https://a.example:8443/u/1/did.json"
    assert document_urls("https://user:pw@a.example:8443/x?y#z") == [
        "https://a.example:8443/.well-known/badge-ledger.json"
    ]
    for identifier in (
        "did:key:z6Mk",
        "urn:uuid:1",
        "mailto:a@b.example",
        "did:web:",
        "did:web:a.example:",
        "did:web:a.example:%2e%2e%2fx",
        "did:web:user%40127.0.0.1",
        "did:web:a.example%2f%2e%2e",
        "did:web:a.example%3fx",
        "did:web:a.example:x%23y",
        "did:web:a%5cb",
        "did:web:a%0ab",
        "https://",
    ):
        assert document_urls(identifier) == [], identifier


# Keys -----------------------------------------------------------------------------------------------------------------


async def test_keys_are_added_and_retired(service: Service, client: Client, party: Party) -> None:
    """A delegated key shows its signer; `last_key_leaf` moves with every key entry, retirements included."""
    path = f"/v1/issuers/{party.issuer.hex()}"
    first = await client.get_json(path)
    key = Ed25519Key.from_seed(seed("helper"))
    index = await party.add_key(client, key, roles=1)
    document = await client.get_json(path)
    added = document["keys"][1]
    assert (added["index"], added["roles"], added["live"], added["signer"]) == (index, ["issue"], True, party.index)
    assert document["last_key_leaf"] != first["last_key_leaf"]
    await party.retire_key(client, key, roles=1)
    retired = await client.get_json(path)
    assert [k["live"] for k in retired["keys"]] == [True, False]
    assert len({d["last_key_leaf"] for d in (first, document, retired)}) == 3
    assert (await key_entry(service, index)).signer == party.index


async def test_a_manage_key_hands_over(client: Client, party: Party, refuses: Refuses) -> None:
    """The first key may go once another one manages; the last one stays."""
    path = f"/v1/issuers/{party.issuer.hex()}/keys"
    await refuses(client.post(path, party.key_change(RETIRE, party.key)), 409, "rule:last-manage")
    heir = Ed25519Key.from_seed(seed("heir"))
    index = await party.add_key(client, heir, roles=4)
    await party.retire_key(client, party.key, roles=7)
    another = Ed25519Key.from_seed(seed("another"))
    await refuses(client.post(path, party.key_change(ADD, another)), 403, "rule:key-retired")
    by_heir = party.key_change(ADD, another, roles=3, signer=heir, signer_index=index)
    assert (await client.post(path, by_heir)).status == 200


async def test_key_changes_that_break_a_rule(client: Client, party: Party, refuses: Refuses) -> None:
    path = f"/v1/issuers/{party.issuer.hex()}/keys"
    key, weak = Ed25519Key.from_seed(seed("new")), Ed25519Key.from_seed(seed("weak"))
    weak_index = await party.add_key(client, weak, roles=3)

    async def refused(body: dict[str, Any], status: int, type_: str) -> None:
        await refuses(client.post(path, body), status, type_)

    good = party.key_change(ADD, key, roles=3)
    await refused(good | {"manage_sig": format_base64(bytes(64))}, 403, "rule:signature")
    await refused(good | {"possession_sig": format_base64(bytes(64))}, 403, "rule:signature")
    await refused(good | {"roles": 1}, 403, "rule:signature")
    await refused(party.key_change(ADD, key, signer=weak, signer_index=weak_index), 403, "rule:key-role")
    await refused(party.key_change(ADD, key, signer_index=0), 403, "rule:unknown-key")
    await refused(party.key_change(ADD, key, prev=bytes(32)), 409, "rule:key-prev")
    await refused(party.key_change(ADD, weak, roles=1), 409, "rule:key-duplicate")
    await refused(party.key_change(ADD, party.key), 409, "rule:key-duplicate")
    await refused(party.key_change(RETIRE, key, roles=3), 403, "rule:unknown-key")
    await refused(party.key_change(RETIRE, weak, roles=1), 403, "rule:key-role")
    without = dict(good)
    del without["possession_sig"]
    await refused(without, 400, "malformed")
    with_one = party.key_change(RETIRE, weak, roles=3, possession_sig=format_base64(bytes(64)))
    await refused(with_one, 400, "malformed")
    await refused(good | {"action": "replace"}, 400, "malformed-body")
    nobody = f"/v1/issuers/{'00' * 32}/keys"
    await refuses(client.post(nobody, good), 404, "not-found")
    await refuses(client.post("/v1/issuers/xyz/keys", good), 400, "malformed")


async def test_a_key_entry_is_not_replayed(client: Client, party: Party, refuses: Refuses) -> None:
    """Each names the one before: sent again, in whatever order, none takes hold a second time."""
    path = f"/v1/issuers/{party.issuer.hex()}/keys"
    key = Ed25519Key.from_seed(seed("helper"))
    add = party.key_change(ADD, key, roles=1)
    answer = await client.post(path, add)
    party.learn(answer.json)
    retire = party.key_change(RETIRE, key, roles=1)
    await refuses(client.post(path, add), 409, "rule:key-prev")
    assert (await client.post(path, retire)).status == 200
    for body in (add, retire, add):
        await refuses(client.post(path, body), 409, "rule:key-prev")


async def test_a_retired_key_never_comes_back(client: Client, party: Party, refuses: Refuses) -> None:
    key = Ed25519Key.from_seed(seed("helper"))
    await party.add_key(client, key, roles=1)
    await party.retire_key(client, key, roles=1)
    again = party.key_change(ADD, key, roles=1)
    await refuses(client.post(f"/v1/issuers/{party.issuer.hex()}/keys", again), 409, "rule:key-duplicate")


async def test_the_issuers_are_listed_in_pages(client: Client, refuses: Refuses) -> None:
    parties = [await Party(f"issuer {n}").register(client, with_list=False) for n in range(7)]
    ids = [party.issuer.hex() for party in parties]
    seen: list[str] = []
    path = "/v1/issuers?limit=3"
    while True:
        page = await client.get_json(path)
        seen += [document["issuer"] for document in page["issuers"]]
        if page["next"] is None:
            break
        path = f"/v1/issuers?limit=3&after={page['next']}"
    assert seen == ids
    assert len((await client.get_json("/v1/issuers"))["issuers"]) == 7
    assert len((await client.get_json("/v1/issuers?limit=0"))["issuers"]) == 1
    await refuses(client.get("/v1/issuers?limit=1001"), 400, "malformed")
    await refuses(client.get("/v1/issuers?limit=+1"), 400, "malformed")
    await refuses(client.get("/v1/issuers?after=xyz"), 400, "malformed")
    await refuses(client.get(f"/v1/issuers?after={'00' * 32}"), 404, "not-found")
    await refuses(client.get(f"/v1/issuers/{'00' * 32}"), 404, "not-found")
    await refuses(client.get(f"/v1/issuers/{ids[0].upper()}"), 400, "malformed")


# Slots ----------------------------------------------------------------------------------------------------------------


async def test_a_slot_is_handed_out_once(world: World, client: Client, party: Party) -> None:
    """By one node or two, at once or in turn: no slot twice, all in the issuer's own lists."""
    other = await world.start()
    taken = await asyncio.gather(
        *[party.reserve(c, n) for c in (client, other.client) for n in (1, 10, 300, 50_000, 40_000)]
    )
    slots = [slot for batch in taken for slot in batch]
    assert len(set(slots)) == len(slots)
    document = await client.get_json(f"/v1/issuers/{party.issuer.hex()}")
    assert {slot // LIST_SLOTS for slot in slots} <= set(document["lists"])
    assert slots != sorted(slots)


async def test_slots_that_the_issuer_took_by_itself_are_not_handed_out(
    service: Service, client: Client, party: Party
) -> None:
    """The very slots that come next are issued by choice first; what is handed out then is unissued."""
    upcoming = SlotPermutation(service.node.slot_key, party.list).slots(range(1, 40))
    await client.submit(party.block([party.issue(slot) for slot in upcoming]))
    slots = await party.reserve(client, 100)
    assert not set(slots) & set(upcoming)
    await client.submit(party.block([party.issue(slot) for slot in slots]))


async def test_the_permutation_visits_every_slot_once() -> None:
    for number in (0, 1, 2**32 - 1):
        slots = SlotPermutation(seed("slot key"), number).slots(range(LIST_SLOTS))
        assert sorted(slots) == list(range(number * LIST_SLOTS, (number + 1) * LIST_SLOTS))


async def test_lists_are_capped(world: World) -> None:
    client = (await world.start(max_lists_per_issuer=1)).client
    party = await Party("alice").register(client)
    await party.reserve(client, 100_000)
    path = f"/v1/issuers/{party.issuer.hex()}/slots"
    refused = await client.post(path, party.slots_request(100_000))
    assert (refused.status, refused.type) == (409, "rule:list-cap")
    other = await Party("bob").register(client)
    await other.reserve(client, 1)


async def test_slots_requests_that_are_refused(client: Client, party: Party, refuses: Refuses) -> None:
    path = f"/v1/issuers/{party.issuer.hex()}/slots"
    helper, manager = Ed25519Key.from_seed(seed("helper")), Ed25519Key.from_seed(seed("manager"))
    helper_index = await party.add_key(client, helper, roles=1)
    manager_index = await party.add_key(client, manager, roles=6)
    good = party.slots_request(5)

    async def refused(body: dict[str, Any], status: int, type_: str) -> None:
        await refuses(client.post(path, body), status, type_)

    await refused(good | {"count": 6}, 403, "rule:signature")
    await refused(good | {"key": helper_index}, 403, "rule:signature")
    await refused(good | {"key": manager_index}, 403, "rule:key-role")
    await refused(good | {"key": 0}, 403, "rule:unknown-key")
    for count in (0, 100_001, "5"):
        await refused(good | {"count": count}, 400, "malformed-body")
    for not_after in (now_ms() - 1000, now_ms() + 25 * HOUR_MS):
        await refused(party.slots_request(1, not_after=not_after), 422, "rule:window")
    assert (await client.post(path, good)).status == 200
    await refused(good, 409, "rule:nonce")
    await party.retire_key(client, helper, roles=1)
    await refused(good | {"key": helper_index}, 403, "rule:key-retired")
    await refuses(client.post(f"/v1/issuers/{'00' * 32}/slots", good), 404, "not-found")
    stranger = Party("alice", origin="other.example/log")
    stranger.index = party.index
    await refused(stranger.slots_request(1), 403, "rule:signature")


async def test_the_nonces_of_slots_requests_are_forgotten_when_they_are_past(world: World) -> None:
    clock = TurnedClock()
    service = await world.start(clock=clock)
    party = await Party("alice").register(service.client)
    nonce = unique()[:16]
    path = f"/v1/issuers/{party.issuer.hex()}/slots"
    assert (await service.client.post(path, party.slots_request(1, clock=clock, nonce=nonce))).status == 200
    assert (await service.client.post(path, party.slots_request(2, clock=clock, nonce=nonce))).type == "rule:nonce"
    clock.turn(3601)
    assert (await service.client.post(path, party.slots_request(2, clock=clock, nonce=nonce))).status == 200


async def test_what_is_said_of_a_slot(client: Client, party: Party, refuses: Refuses) -> None:
    a, b = party.slot(), party.slot()
    answer = await client.submit(party.block([party.issue(a)]))
    document = await client.get_json(f"/v1/slots/{a}")
    assert document == {
        "slot": a,
        "list": party.list,
        "index_in_list": a % LIST_SLOTS,
        "issuer": party.issuer.hex(),
        "state": "active",
        "tree_size": answer["head"]["size"],
    }
    assert (await client.get_json(f"/v1/slots/{b}"))["state"] == "unissued"
    for event, state in ((party.suspend, "suspended"), (party.reinstate, "active"), (party.revoke, "revoked")):
        await client.submit(party.block([event(a)]))
        assert (await client.get_json(f"/v1/slots/{a}"))["state"] == state
    await refuses(client.get(f"/v1/slots/{LIST_SLOTS}"), 404, "not-found")
    for slot in ("-1", "+1", "01", "1_0", str(2**49), "x"):
        await refuses(client.get(f"/v1/slots/{slot}"), 400, "malformed")


async def test_what_a_key_signs_names_the_log(party: Party) -> None:
    """The harness itself: the bytes that it signs are those of the protocol, for this origin."""
    body = party.registration()
    message = key_message(ORIGIN, ADD, bytes(32), did_key(party.key.public_key), 7, 1, party.key.public_key)
    assert body["possession_sig"] == format_base64(party.key.sign(message))
