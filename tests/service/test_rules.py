"""Every refusal of `POST /v1/submissions`: problem type, status, failing events, and that nothing changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ledger.block import encode_body
from ledger.entry import LIST_SLOTS
from ledger.signing import Ed25519Key
from tests.service.conftest import Refuses
from tests.service.harness import (
    BINARY,
    HOUR_MS,
    Answer,
    Client,
    Party,
    Service,
    json_document,
    now_ms,
    seed,
)

Spoil = Callable[[dict[str, Any]], None]


async def raw(client: Client, body: bytes, content_type: str = BINARY) -> Answer:
    return await client.request("POST", "/v1/submissions", data=body, headers={"Content-Type": content_type})


# Who signs ------------------------------------------------------------------------------------------------------------


async def test_only_the_issuers_key_signs(client: Client, party: Party, refuses: Refuses) -> None:
    """Another key's signature, a signature for another log, or one over other fields is none."""
    stranger = Ed25519Key.from_seed(seed("stranger"))
    await refuses(client.send(party.block([party.issue()], key=stranger)), 403, "rule:signature")
    await refuses(client.send(party.block([party.issue()], origin="other.example/log")), 403, "rule:signature")
    body = bytearray(encode_body(party.issues(2)))
    for position in (4 + 32 + 8 + 4 + 7, 4 + 32 + 8 + 4 + 8, 4 + 32 + 8 + 4 + 8 + 16 + 32 + 1):  # not_after, nonce, sig
        spoilt = bytearray(body)
        spoilt[position] ^= 1
        await refuses(raw(client, bytes(spoilt)), 403, "rule:signature")


async def test_unknown_issuers_and_keys(client: Client, party: Party, refuses: Refuses) -> None:
    nobody = Party("nobody")
    await refuses(client.send(nobody.block([nobody.issue(0)], index=2)), 404, "rule:unknown-issuer")
    for index in (0, 1, party.index + 1, 2**63 - 1):
        await refuses(client.send(party.block([party.issue()], index=index)), 403, "rule:unknown-key")
    other = await Party("bob").register(client)
    await refuses(client.send(party.block([party.issue()], index=other.index)), 403, "rule:unknown-key")


async def test_a_key_does_what_its_roles_say(client: Client, party: Party, refuses: Refuses) -> None:
    """Roles: 1 issue, 2 status, 4 manage. One event outside them refuses the whole submission."""
    slot, late = party.slot(), party.slot()
    await client.submit(party.block([party.issue(slot), party.issue(late)]))
    keys = {}
    for roles in (1, 2, 4):
        key = Ed25519Key.from_seed(seed(f"roles {roles}"))
        keys[roles] = (key, await party.add_key(client, key, roles=roles))
    events = {1: [party.issue()], 2: [party.revoke(slot)], 4: []}
    for roles, (key, index) in keys.items():
        for needed in (1, 2):
            block = party.block(events[needed], key=key, index=index)
            if roles == needed:
                await client.submit(block)
            else:
                await refuses(client.send(block), 403, "rule:key-role")
    key, index = keys[1]
    mixed = party.block([party.issue(), party.suspend(late)], key=key, index=index)
    await refuses(client.send(mixed), 403, "rule:key-role")


async def test_a_retired_key_signs_no_more(client: Client, party: Party, refuses: Refuses) -> None:
    key = Ed25519Key.from_seed(seed("retiring"))
    index = await party.add_key(client, key, roles=3)
    await client.submit(party.block([party.issue()], key=key, index=index))
    await party.retire_key(client, key, roles=3)
    await refuses(client.send(party.block([party.issue()], key=key, index=index)), 403, "rule:key-retired")


# When, and how often --------------------------------------------------------------------------------------------------


async def test_the_window_is_a_day(client: Client, party: Party, refuses: Refuses) -> None:
    for not_after in (0, now_ms() - 1000, now_ms() + 24 * HOUR_MS + 60_000, 2**63 - 1, 2**64 - 1):
        await refuses(client.send(party.block([party.issue()], not_after=not_after)), 422, "rule:window")
    await client.submit(party.block([party.issue()], not_after=now_ms() + 24 * HOUR_MS - 1000))


async def test_a_nonce_counts_once_for_what_could_be_replayed(client: Client, party: Party, refuses: Refuses) -> None:
    """suspend and reinstate could be admissible again; issue and revoke fail on the slot's state."""
    slot, nonce = party.slot(), bytes(range(16))
    await client.submit(party.block([party.issue(slot)], nonce=nonce))
    await client.submit(party.block([party.issue()], nonce=nonce))
    await client.submit(party.block([party.suspend(slot)], nonce=nonce))
    await client.submit(party.block([party.reinstate(slot)], nonce=b"other nonce 16 b"))
    await refuses(client.send(party.block([party.suspend(slot)], nonce=nonce)), 409, "rule:nonce")
    later = party.block([party.suspend(slot)], nonce=nonce, not_after=now_ms() + 2 * HOUR_MS)
    await refuses(client.send(later), 409, "rule:nonce")
    other = await Party("bob").register(client)
    theirs = other.slot()
    await client.submit(other.block([other.issue(theirs)]))
    await client.submit(other.block([other.suspend(theirs)], nonce=nonce))


# The events -----------------------------------------------------------------------------------------------------------


async def test_the_events_are_those_that_were_signed(client: Client, party: Party, refuses: Refuses) -> None:
    """A commitment, a slot or the order changed on the way: events-root."""
    body = encode_body(party.issues(2))
    spoilt = bytearray(body)
    spoilt[-1] ^= 1
    await refuses(raw(client, bytes(spoilt)), 422, "rule:events-root")
    await refuses(raw(client, body[:-148] + body[-74:] + body[-148:-74]), 422, "rule:events-root")
    document = json_document(party.issues(2))
    document["events"][0]["slot"] += 1
    await refuses(raw(client, json.dumps(document).encode(), "application/json"), 422, "rule:events-root")


async def test_the_count_is_that_of_the_events(client: Client, party: Party, refuses: Refuses) -> None:
    body = encode_body(party.issues(3))
    answer = await refuses(raw(client, body[:-74]), 400, "malformed-entry")
    assert answer.json["positions"] == [2]
    await refuses(raw(client, body + body[-74:]), 400, "malformed-entry")
    document = json_document(party.issues(3))
    document["events"].pop()
    await refuses(raw(client, json.dumps(document).encode(), "application/json"), 422, "rule:events-root")


async def test_events_of_another_issuer(client: Client, party: Party, refuses: Refuses) -> None:
    other = await Party("bob").register(client)
    block = party.block([party.issue(), other.issue(), party.issue(), other.issue()])
    answer = await refuses(client.send(block), 422, "rule:foreign-issuer")
    assert answer.json["positions"] == [1, 3]


async def test_slots_of_another_issuers_list_or_of_none(client: Client, party: Party, refuses: Refuses) -> None:
    other = await Party("bob").register(client)
    theirs = other.slot()
    await client.submit(other.block([other.issue(theirs)]))
    block = party.block([party.issue(), party.issue(theirs + 1), party.issue(7 * LIST_SLOTS)])
    answer = await refuses(client.send(block), 403, "rule:not-owner")
    assert answer.json["positions"] == [1, 2]
    for event in (party.revoke(theirs), party.suspend(theirs)):
        await refuses(client.send(party.block([event])), 403, "rule:not-owner")
    last = party.block([party.issue(2**64 - 1)])
    await refuses(client.send(last), 403, "rule:not-owner")


async def test_a_slot_is_issued_once(client: Client, party: Party, refuses: Refuses) -> None:
    slot, free = party.slot(), party.slot()
    await client.submit(party.block([party.issue(slot)]))
    answer = await refuses(client.send(party.block([party.issue(free), party.issue(slot)])), 409, "rule:slot-issued")
    assert answer.json["positions"] == [1]
    twice = party.block([party.issue(free), party.issue(free)])
    answer = await refuses(client.send(twice), 409, "rule:slot-issued")
    assert answer.json["positions"] == [1]
    await client.submit(party.block([party.revoke(slot)]))
    await refuses(client.send(party.block([party.issue(slot)])), 409, "rule:slot-issued")
    await client.submit(party.block([party.issue(free)]))


NO_TRANSITIONS = {
    "unissued": ("revoke", "suspend", "reinstate"),
    "active": ("reinstate",),
    "suspended": ("suspend",),
    "revoked": ("revoke", "suspend", "reinstate"),
}


@pytest.mark.parametrize("state", list(NO_TRANSITIONS))
async def test_transitions_that_are_none(client: Client, party: Party, refuses: Refuses, state: str) -> None:
    slot = party.slot()
    if state != "unissued":
        await client.submit(party.block([party.issue(slot)]))
    if state in ("suspended", "revoked"):
        await client.submit(party.block([party.suspend(slot) if state == "suspended" else party.revoke(slot)]))
    for event in NO_TRANSITIONS[state]:
        block = party.block([party.issue(), getattr(party, event)(slot)])
        answer = await refuses(client.send(block), 409, "rule:illegal-transition")
        assert answer.json["positions"] == [1]
    document = await client.get_json(f"/v1/slots/{slot}")
    assert document["state"] == state


async def test_a_whole_life_in_one_submission(client: Client, party: Party) -> None:
    """Effects apply in order: everything that is a transition is admitted, together."""
    a, b = party.slot(), party.slot()
    events = [party.issue(a), party.issue(b), party.suspend(a), party.reinstate(a), party.suspend(a), party.revoke(a)]
    await client.submit(party.block(events))
    assert (await client.get_json(f"/v1/slots/{a}"))["state"] == "revoked"
    assert (await client.get_json(f"/v1/slots/{b}"))["state"] == "active"


async def test_every_failing_event_is_named_up_to_a_hundred(client: Client, party: Party, refuses: Refuses) -> None:
    slots = [party.slot() for _ in range(150)]
    await client.submit(party.block([party.issue(slot) for slot in slots]))
    again = party.block([party.issue(), *(party.issue(slot) for slot in slots)])
    answer = await refuses(client.send(again), 409, "rule:slot-issued")
    assert answer.json["positions"] == list(range(1, 101))
    assert len(answer.json["rules"]) == 100


# The form -------------------------------------------------------------------------------------------------------------


def _set(name: str, value: Any) -> Spoil:
    def spoil(document: dict[str, Any]) -> None:
        document[name] = value

    return spoil


def _event(name: str, value: Any) -> Spoil:
    def spoil(document: dict[str, Any]) -> None:
        document["events"][0][name] = value

    return spoil


def _drop(name: str) -> Spoil:
    def spoil(document: dict[str, Any]) -> None:
        del document[name]

    return spoil


SPOILS: list[Spoil] = [
    *[_drop(name) for name in ("issuer", "key", "not_after", "nonce", "events_root", "signature", "events")],
    _set("more", 1),
    _set("issuer", "A" * 64),
    _set("issuer", "a" * 63),
    _set("issuer", 1),
    _set("key", -1),
    _set("key", "1"),
    _set("key", True),
    _set("key", 2**64),
    _set("key", 1.5),
    _set("not_after", None),
    _set("nonce", "00" * 15),
    _set("events_root", "g" * 64),
    _set("signature", "A" * 88),
    _set("signature", "A" * 86),
    _set("events", []),
    _set("events", {}),
    _event("type", "reissue"),
    _event("type", 5),
    _event("slot", -1),
    _event("slot", 2**49),
    _event("commitment", "00"),
    _event("reason", 1),
]


async def test_json_that_is_no_submission(client: Client, party: Party, refuses: Refuses) -> None:
    for spoil in SPOILS:
        document = json_document(party.issues(1))
        spoil(document)
        await refuses(raw(client, json.dumps(document).encode(), "application/json"), 400, "malformed-body")


NO_JSON = [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"issuer":"\xed\xa0\x80"}', b"\xef\xbb\xbf{}"]


async def test_bodies_that_are_no_json(client: Client, refuses: Refuses) -> None:
    for body in NO_JSON:
        await refuses(raw(client, body, "application/json"), 400, "malformed-body")


async def test_json_values_that_only_the_codec_refuses(client: Client, party: Party, refuses: Refuses) -> None:
    document = json_document(party.issues(1))
    document["signature"] = "A" * 85 + "B=="  # bits behind the last byte
    await refuses(raw(client, json.dumps(document).encode(), "application/json"), 400, "malformed")
    slot = party.slot()
    await client.submit(party.block([party.issue(slot)]))
    revoke = json_document(party.block([party.revoke(slot)]))
    revoke["events"][0]["reason"] = 7
    await refuses(raw(client, json.dumps(revoke).encode(), "application/json"), 400, "malformed-body")


async def test_bodies_that_are_no_bulk_body(client: Client, party: Party, refuses: Refuses) -> None:
    body = encode_body(party.issues(2))
    head = 4 + 32 + 8 + 4 + 8 + 16 + 32 + 1 + 64
    assert len(body) == head + 2 * 74
    for spoilt in (b"", b"BLS", b"BLS2" + body[4:], body[: head - 1]):
        await refuses(raw(client, spoilt), 400, "malformed-body")
    algorithm = head - 65
    for spoilt in (
        body[:head],
        body[:-1],
        body + b"\x01",
        body[:algorithm] + b"\x02" + body[algorithm + 1 :],
        body[:44] + bytes(4) + body[48:],
        body[: head + 1] + b"\x03" + body[head + 2 :],
    ):
        answer = await refuses_any(client, spoilt, refuses)
        assert answer.type in ("malformed-entry", "unknown-entry")
    newer = body[:head] + b"\x02" + body[head + 1 :]
    answer = await refuses(raw(client, newer), 400, "unknown-entry")
    assert answer.json["positions"] == [0]


async def refuses_any(client: Client, body: bytes, refuses: Refuses) -> Answer:
    async def send() -> Answer:
        answer = await raw(client, body)
        assert answer.status == 400
        return answer

    answer = await send()
    return await refuses(raw(client, body), 400, answer.type)


async def test_a_reason_above_six(client: Client, party: Party, refuses: Refuses) -> None:
    slots = [party.slot() for _ in range(3)]
    await client.submit(party.block([party.issue(slot) for slot in slots]))
    body = encode_body(party.block([party.revoke(slot) for slot in slots]))
    answer = await refuses(raw(client, body[:-44] + b"\x07" + body[-43:]), 400, "malformed-entry")
    assert answer.json["positions"] == [1]


async def test_other_media_types(client: Client, party: Party, refuses: Refuses) -> None:
    body = encode_body(party.issues(1))
    for media in ("text/plain", "application/octet-stream", "application/xml", "application/jsonp"):
        await refuses(raw(client, body, media), 415, "unsupported-media")
    sending = client.request("POST", "/v1/submissions", data=body)
    await refuses(sending, 415, "unsupported-media")


async def test_refused_bytes_are_not_remembered(service: Service, client: Client, party: Party) -> None:
    """A refusal is no answer to keep: the same bytes are judged anew, and logged once they are admissible."""
    slot = party.slot()
    block = party.block([party.revoke(slot)])
    assert (await client.send(block)).type == "rule:illegal-transition"
    await client.submit(party.block([party.issue(slot)]))
    await client.submit(block)
