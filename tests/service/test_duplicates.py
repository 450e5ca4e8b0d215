"""A badge is issued once: its issuer's second issuance of the same commitment is refused wherever it can be found."""

from __future__ import annotations

import asyncio
import hashlib

from tests.service.conftest import Refuses
from tests.service.harness import Client, Party, Service

DUPLICATE = "rule:duplicate-commitment"


def commitments(count: int, label: str = "badge") -> list[bytes]:
    return [hashlib.sha256(f"{label} {k}".encode()).digest() for k in range(count)]


async def test_again_in_another_slot(client: Client, party: Party, refuses: Refuses) -> None:
    """Found among the recent entries; the answer names the failing events, in a mixed submission too."""
    one, two, three = commitments(3)
    slot = party.slot()
    await client.submit(party.block([party.issue(slot, one), party.issue(commitment=two)]))
    document = await refuses(client.send(party.block([party.issue(commitment=two)])), 409, DUPLICATE)
    assert document.json["positions"] == [0]
    events = [party.suspend(slot), party.issue(commitment=three), party.issue(commitment=one)]
    assert (await refuses(client.send(party.block(events)), 409, DUPLICATE)).json["positions"] == [2]


async def test_twice_in_one_submission(client: Client, party: Party, refuses: Refuses) -> None:
    one, two = commitments(2)
    events = [party.issue(commitment=c) for c in (one, two, one, one)]
    assert (await refuses(client.send(party.block(events)), 409, DUPLICATE)).json["positions"] == [2, 3]


async def test_twice_in_one_group(client: Client, party: Party) -> None:
    """Of submissions that arrive together one is logged, whichever it is."""
    (one,) = commitments(1)
    answers = await asyncio.gather(*[client.send(party.block([party.issue(commitment=one)])) for _ in range(8)])
    assert sorted(answer.status for answer in answers) == [200] + [409] * 7


async def test_in_the_stored_index(service: Service, client: Client, party: Party, refuses: Refuses) -> None:
    """What has left memory is still found, for submissions of at most the limit."""
    (one,) = commitments(1)
    await client.submit(party.block([party.issue(commitment=one)]))
    head = await service.node.published()
    await service.node.lookup.fill(head.size)
    assert len(service.node.lookup) == 0
    answer = await refuses(client.send(party.block([party.issue(commitment=one)])), 409, DUPLICATE)
    assert answer.json["positions"] == [0]


async def test_other_issuers_and_revoked_badges(client: Client, party: Party, refuses: Refuses) -> None:
    """Another issuer may issue the same commitment; the same issuer may not, even after revoking it."""
    (one,) = commitments(1)
    slot = party.slot()
    await client.submit(party.block([party.issue(slot, one)]))
    await client.submit(party.block([party.revoke(slot)]))
    await refuses(client.send(party.block([party.issue(commitment=one)])), 409, DUPLICATE)
    other = await Party("another").register(client)
    await client.submit(other.block([other.issue(commitment=one)]))
    found = await client.get_json(f"/v1/badges/{one.hex()}")
    assert len(found["receipts"]) == 2


async def test_the_same_prefix_is_no_duplicate(client: Client, party: Party) -> None:
    """The index knows 8 bytes of a commitment; the entry decides."""
    (one,) = commitments(1)
    twin = one[:8] + bytes(24)
    await client.submit(party.block([party.issue(commitment=one)]))
    await client.submit(party.block([party.issue(commitment=twin)]))
    for commitment in (one, twin):
        assert len((await client.get_json(f"/v1/badges/{commitment.hex()}"))["receipts"]) == 1
