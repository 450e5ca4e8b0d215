"""Small tricks with requests."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest

from api.fetch import is_public
from ledger.documents import document_urls
from tests.service.conftest import Refuses
from tests.service.harness import Client, Party, json_document


@pytest.mark.parametrize("member", ["nonce", "issuer", "events_root", "commitment"])
async def test_hexadecimal_ends_where_it_ends(client: Client, party: Party, refuses: Refuses, member: str) -> None:
    """A line end behind the digits used to pass: to Python's expressions, $ stands before it."""
    document = json_document(party.issues(1))
    holder = document["events"][0] if member == "commitment" else document
    holder[member] += "\n"
    headers = {"Content-Type": "application/json"}
    sending = client.request("POST", "/v1/submissions", data=json.dumps(document).encode(), headers=headers)
    await refuses(sending, 400, "malformed-body")


async def test_one_registration_sent_many_times_at_once(client: Client) -> None:
    """One entry, and every caller gets the issuer: all but the first used to be refused (key-prev)."""
    party = Party("bob")
    answers = await asyncio.gather(
        *(client.post("/v1/issuers", party.registration(), token=client.token) for _ in range(10))
    )
    assert Counter(answer.status for answer in answers) == {201: 1, 200: 9}
    assert len({answer.body for answer in answers}) == 1


async def test_two_keys_for_one_identifier_at_once(client: Client) -> None:
    """One wins; the other is refused however often it asks."""
    parties = [Party(name, "https://school.example/") for name in ("one", "two")]
    answers = await asyncio.gather(
        *(client.post("/v1/issuers", party.registration(), token=client.token) for party in parties * 5)
    )
    assert Counter(answer.status for answer in answers) == {201: 1, 200: 4, 409: 5}


def test_identifiers_that_are_no_url_have_no_documents() -> None:
    """They used to be an internal error."""
    for identifier in ("http://[x", "https://[", "http://a]/"):
        assert document_urls(identifier) == []


@pytest.mark.parametrize("address", ["2002:7f00:1::1", "2002:a00:1::1", "fec0::1", "::ffff:10.0.0.1", "2002:c0a8:1::"])
def test_private_addresses_in_ipv6_clothes(address: str) -> None:
    """6to4 leads to the IPv4 address in it."""
    assert not is_public(address)


def test_public_addresses_stay_public() -> None:
    assert is_public("2606:4700::1111")
    assert is_public("2002:808:808::1")
