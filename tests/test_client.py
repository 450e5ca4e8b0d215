"""The HTTP client: what it repeats, what it never does, and how answers become errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest
from aiohttp import web

from ledger import errors
from ledger.answers import error_of_problem
from ledger.block import Block, encode_body
from ledger.client import LedgerClient, Unreachable
from ledger.errors import (
    InputError,
    LedgerError,
    MalformedInput,
    NotFound,
    OperationError,
    OutcomeUnknown,
    Overloaded,
    Pending,
    RuleViolation,
    Unavailable,
)
from ledger.merkle import leaf_hashes
from ledger.receipt_json import load
from ledger.tiles import Tile, decode_bundle
from tests.builders import HOUR_MS, BuiltIssuer
from tests.fakes import FakeClock, FakeLedger, Fault


@pytest.fixture
def ledger() -> Iterator[FakeLedger]:
    with FakeLedger() as running:
        yield running


@pytest.fixture
def issuer(ledger: FakeLedger) -> BuiltIssuer:
    built = ledger.log.issuer("https://school.example/", lists=1)
    ledger.log.seal()
    return built


def block_of(ledger: FakeLedger, issuer: BuiltIssuer, *slots: int) -> Block:
    ledger.tick()
    return ledger.log.block(issuer, [issuer.issue(slot) for slot in slots])


class Turned:
    """A server that redirects everything to `location`, but for paths below /there/."""

    def __init__(self) -> None:
        self.location = self.sent = self.url = ""
        self.asked: list[str] = []
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None)

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://localhost:{self.port}/"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        if request.path.startswith("/there/"):
            return web.Response(body=b"here")
        self.sent = self.location.replace("{own}", self.url.rstrip("/")).replace("{port}", str(self.port))
        return web.Response(status=307, headers={"Location": self.sent})


class TestSubmit:
    @pytest.mark.parametrize(
        "faults",
        [
            ["pending"],
            ["overloaded", "overloaded"],
            ["outcome-unknown"],
            ["cut-before"],
            ["cut-after"],
            ["proxy"],
            ["overloaded", "cut-before", "pending", "outcome-unknown", "cut-after", "proxy"],
        ],
    )
    async def test_an_open_outcome_is_settled_by_the_identical_bytes(
        self, ledger: FakeLedger, issuer: BuiltIssuer, faults: list[Fault]
    ) -> None:
        """Whatever goes wrong on the way, the same bytes go out again and the log holds one submission."""
        block = block_of(ledger, issuer, 5)
        ledger.faults = list(faults)
        clock = FakeClock(ledger.log.time)
        told: list[str] = []
        async with LedgerClient(ledger.url, clock=clock) as client:
            answer = await client.submit(
                encode_body(block),
                not_after_ms=block.submission.not_after,
                on_retry=lambda error, _: told.append(error.slug),
            )
        assert ledger.bodies == [encode_body(block)] * (len(faults) + 1)
        assert len(told) == len(clock.slept) == len(faults)
        assert ledger.log.entries[answer.first_index + 1] == block.entry(0)
        assert len(ledger.issued()) == 1

    async def test_repeating_ends_with_the_window_of_the_submission(
        self, ledger: FakeLedger, issuer: BuiltIssuer
    ) -> None:
        """No repetition is begun that would arrive after not_after."""
        block = block_of(ledger, issuer, 5)
        ledger.faults = ["overloaded"] * 100
        not_after_ms = block.submission.not_after
        clock = FakeClock(not_after_ms - 10_000)
        async with LedgerClient(ledger.url, clock=clock) as client:
            with pytest.raises(Overloaded):
                await client.submit(encode_body(block), not_after_ms=not_after_ms, patience_s=1e9)
        assert not_after_ms - 10_000 < clock.wall_ms <= not_after_ms
        assert len(ledger.bodies) == len(clock.slept) + 1 > 2

    async def test_repeating_ends_with_the_callers_patience(self, ledger: FakeLedger, issuer: BuiltIssuer) -> None:
        """The last error says what the state is: here, that the submission is logged."""
        block = block_of(ledger, issuer, 5)
        ledger.faults = ["pending"] * 100
        clock = FakeClock(ledger.log.time)
        async with LedgerClient(ledger.url, clock=clock) as client:
            with pytest.raises(Pending) as caught:
                await client.submit(encode_body(block), not_after_ms=block.submission.not_after, patience_s=20)
        assert sum(clock.slept) <= 20
        assert caught.value.members["first_index"] == ledger.log.size - 3

    async def test_retry_after_is_kept_within_reason(self, ledger: FakeLedger, issuer: BuiltIssuer) -> None:
        """The server's pause is taken, but no server can send a client to sleep for an hour."""
        block = block_of(ledger, issuer, 5)
        clock = FakeClock(ledger.log.time)
        async with LedgerClient(ledger.url, clock=clock) as client:
            for said in ("3", "3600", "soon"):
                ledger.faults, ledger.retry_after = ["overloaded"], said
                await client.submit(encode_body(block), not_after_ms=block.submission.not_after)
        assert clock.slept == [3, 15, 0.25]

    async def test_a_refusal_is_not_repeated(self, ledger: FakeLedger, issuer: BuiltIssuer) -> None:
        """A broken rule comes back with its name and the positions at fault."""
        ledger.append(block_of(ledger, issuer, 6))
        block = block_of(ledger, issuer, 5, 6, 7)
        async with LedgerClient(ledger.url, clock=FakeClock()) as client:
            with pytest.raises(RuleViolation) as caught:
                await client.submit(encode_body(block), not_after_ms=block.submission.not_after)
        assert (caught.value.rule, caught.value.positions) == ("slot-issued", (1,))
        assert len(ledger.bodies) == 1

    async def test_a_ledger_that_never_answered_is_unreachable_at_once(self) -> None:
        """A wrong address is told without repeating."""
        clock = FakeClock()
        async with LedgerClient("http://127.0.0.1:9/", clock=clock) as client:
            with pytest.raises(Unreachable, match=r"cannot reach http://127\.0\.0\.1:9/"):
                await client.submit(b"BLS1", not_after_ms=HOUR_MS)
        assert clock.slept == []


class TestReading:
    async def test_receipts_by_commitment_and_by_index(self, ledger: FakeLedger, issuer: BuiltIssuer) -> None:
        """Both profiles arrive as receipts that can be read."""
        block = block_of(ledger, issuer, 5)
        index = ledger.append(block)[0] + 1
        async with LedgerClient(ledger.url) as client:
            for profile in ("short", "full"):
                (data,) = await client.receipts(block.commitments()[0], profile)
                assert load(data) == load(await client.receipt_at(index, profile)) == ledger.receipt(index, profile)
            with pytest.raises(NotFound):
                await client.receipts(bytes(32))
            assert (await client.slot(5)).state == "active"

    @pytest.mark.parametrize("forget", [False, True])
    async def test_bundles_give_exactly_the_range(self, ledger: FakeLedger, issuer: BuiltIssuer, forget: bool) -> None:
        """Every cut of the range is exact; at an older size too, when its partial bundle is gone."""
        ledger.append(block_of(ledger, issuer, *range(700)))
        ledger.forget_partials = forget
        size = 512 + 100 if not forget else 256 + 100
        async with LedgerClient(ledger.url) as client:
            for start, end in ((0, size), (255, 257), (256, 300), (300, 301), (10, 10)):
                got = [(at + k, e) async for at, es in client.bundles(start, end, size) for k, e in enumerate(es)]
                assert got == [(k, ledger.log.entries[k]) for k in range(start, end)]

    async def test_a_partial_tile_is_cut_from_the_full_one(self, ledger: FakeLedger, issuer: BuiltIssuer) -> None:
        """Where the server has forgotten the partial tile, what it would have held is the full one's beginning."""
        ledger.append(block_of(ledger, issuer, *range(300)))
        ledger.forget_partials = True
        async with LedgerClient(ledger.url) as client:
            assert await client.tile(Tile(0, 0, 7)) == b"".join(ledger.log.leaves[:7])
            bundle = decode_bundle(await client.tile(Tile(-1, 0, 7)), 7)
            assert leaf_hashes(bundle) == ledger.log.leaves[:7]
            with pytest.raises(NotFound):
                await client.tile(Tile(0, 1, 7))

    async def test_issuers_come_in_pages(self, ledger: FakeLedger, issuer: BuiltIssuer) -> None:
        """The next page begins behind the last issuer of this one."""
        second = ledger.log.issuer("https://other.example/")
        ledger.log.seal()
        async with LedgerClient(ledger.url) as client:
            first_page = await client.issuers()
            assert [each.identifier for each in first_page.issuers] == [issuer.identifier]
            assert (await client.issuers(first_page.next)).issuers[0].issuer == second.id.hex()

    async def test_an_answer_of_another_kind_of_server_is_refused(self, ledger: FakeLedger) -> None:
        """JSON that is not the expected document is an error in one sentence, no KeyError."""
        async with LedgerClient(f"{ledger.url}v1/issuers/") as client:
            with pytest.raises(LedgerError):
                await client.log_info()
        async with LedgerClient(ledger.url) as client:
            client.url += "checkpoint?"
            with pytest.raises(OperationError, match="not v1/log of a ledger"):
                await client.log_info()


class TestRedirects:
    """A server that answers every request by a redirect; `{own}` stands for its own address."""

    @pytest.fixture
    async def turned(self) -> AsyncIterator[Turned]:
        turned = Turned()
        await turned.start()
        yield turned
        await turned.stop()

    @pytest.mark.parametrize(
        "location",
        ["/there/checkpoint", "there/checkpoint", "{own}/there/checkpoint", "http://LOCALHOST:{port}/there/checkpoint"],
    )
    async def test_within_the_origin_they_are_followed(self, turned: Turned, location: str) -> None:
        """However the address is written."""
        turned.location = location
        async with LedgerClient(turned.url) as client:
            assert await client.checkpoint() == b"here"
        assert turned.asked == ["/checkpoint", "/there/checkpoint"]

    @pytest.mark.parametrize(
        "location",
        [
            "http://127.0.0.1:{other}/there/checkpoint",
            "//127.0.0.1:{other}/there/checkpoint",
            "https://localhost:{port}/there/checkpoint",
            "http://localhost:{port}@127.0.0.1:{other}/there/checkpoint",
            "http://localhost:{port}\\\\@127.0.0.1:{other}/there/checkpoint",
            "http://[localhost/",
            "file:///etc/passwd",
        ],
    )
    async def test_to_another_origin_they_are_not(self, turned: Turned, ledger: FakeLedger, location: str) -> None:
        """Another port is another origin: nothing is asked there, and the error names both addresses."""
        turned.location = location.replace("{other}", ledger.url.rpartition(":")[2].rstrip("/"))
        before = list(ledger.requests)
        async with LedgerClient(turned.url) as client:
            with pytest.raises(OperationError, match="redirects to") as caught:
                await client.checkpoint()
        assert f"{turned.url}checkpoint" in caught.value.detail
        assert turned.sent in caught.value.detail
        assert (turned.asked, ledger.requests) == (["/checkpoint"], before)

    async def test_no_more_than_three_are(self, turned: Turned) -> None:
        """A server that turns in circles is told so."""
        turned.location = "/checkpoint"
        async with LedgerClient(turned.url) as client:
            with pytest.raises(OperationError, match="more than 3 times"):
                await client.checkpoint()
        assert len(turned.asked) == 4

    async def test_what_is_sent_follows_none(self, turned: Turned, issuer: BuiltIssuer, ledger: FakeLedger) -> None:
        """Not even within the origin: a signed body goes where it was meant to go."""
        turned.location = "/there/submissions"
        block = block_of(ledger, issuer, 3)
        async with LedgerClient(turned.url, clock=FakeClock()) as client:
            with pytest.raises(OperationError, match="redirects to"):
                await client.submit(encode_body(block), not_after_ms=block.submission.not_after)
        assert turned.asked == ["/v1/submissions"]


class TestOwnMistakes:
    @pytest.mark.parametrize("url", ["", "ledger.example", "ftp://x/", "http://", "http://h/?q=1", "http://h/#f"])
    def test_a_url_is_checked_before_anything_is_sent(self, url: str) -> None:
        """What is no address of a ledger is refused by name."""
        with pytest.raises(MalformedInput, match="not the URL of a ledger"):
            LedgerClient(url)

    def test_a_url_holds_no_password(self) -> None:
        """It is refused, and not repeated."""
        with pytest.raises(MalformedInput, match="no user or password") as caught:
            LedgerClient("https://user:secret@ledger.example/")
        assert "secret" not in caught.value.detail

    async def test_registering_needs_a_token(self, ledger: FakeLedger) -> None:
        """Without one, nothing is sent."""
        async with LedgerClient(ledger.url) as client:
            with pytest.raises(InputError, match="token"):
                await client.register_issuer("https://a.example/", bytes(32), 7, bytes(64))
        assert ledger.requests == []


def _answers() -> list[type[LedgerError]]:
    found = [LedgerError]
    for kind in found:
        found += [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]
    return [kind for kind in found if kind is not RuleViolation]


class TestProblems:
    @pytest.mark.parametrize("kind", _answers())
    def test_every_error_comes_back_as_itself(self, kind: type[LedgerError]) -> None:
        """The client raises what the service raised: type, sentence, members."""
        sent = kind("a sentence", extra=7)
        body = msgspec.json.encode({"type": sent.type, "title": sent.title, "detail": sent.detail, **sent.members})
        got = error_of_problem(sent.status, body, "4")
        assert (type(got), got.detail, got.members, got.status) == (kind, "a sentence", {"extra": 7}, sent.status)
        assert got.retry_after_s == 4

    def test_a_broken_rule_comes_back_with_its_positions(self) -> None:
        """RuleViolation is built from the URN's last part."""
        sent = RuleViolation("no", rule="slot-issued", positions=[3, 4])
        got = error_of_problem(409, msgspec.json.encode({"type": sent.type, "detail": "no", "positions": [3, 4, "x"]}))
        assert isinstance(got, RuleViolation)
        assert (got.rule, got.positions) == ("slot-issued", (3, 4))

    @pytest.mark.parametrize(
        "status, kind", [(401, errors.Unauthorized), (404, NotFound), (418, InputError), (500, OperationError)]
    )
    def test_without_a_problem_document_the_status_decides(self, status: int, kind: type[LedgerError]) -> None:
        """HTML from something in between is read for its status alone."""
        assert type(error_of_problem(status, b"<html>")) is kind

    @pytest.mark.parametrize("status", [502, 503, 504])
    def test_a_proxy_does_not_know_the_outcome(self, status: int) -> None:
        """Which is why the identical bytes are sent again."""
        got = error_of_problem(status, b"")
        assert isinstance(got, OutcomeUnknown)
        assert isinstance(got, Unavailable)
