"""`verify-list` against a list server that lies in each way; and offline, with the proof in a file."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from aiohttp import web
from msgspec.structs import replace

from ledger.entry import LIST_SLOTS, did_key
from ledger.signing import Ed25519Key
from ledger.status import Purpose
from ledger.statuslist import StatusList, decode_list, encode_list, sign_json_ld, sign_jwt
from tests.cli.conftest import Badges, Cli
from tests.fakes import FakeLedger
from tests.receipt_builder import policy_text

KEY = Ed25519Key.from_seed(bytes(range(32)))
Lie = Callable[[StatusList], StatusList]


class ListServer(FakeLedger):
    """A ledger whose lists say what `lie` makes of the true ones, signed as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.lie: Lie = lambda list_: list_
        self.spoil: Callable[[bytes], bytes] = lambda data: data
        self.sign: Callable[[StatusList, Ed25519Key], bytes] = sign_json_ld

    def true_list(self, number: int, purpose: Purpose) -> StatusList:
        root = self.log.status_root()
        return StatusList(
            base=self.url.rstrip("/") + "/",
            list=number,
            purpose=purpose,
            size=self.log.size,
            issuer=did_key(KEY.public_key),
            valid_from_ms=root.time,
            valid_until_ms=root.time + 720_000,
            ttl_ms=60_000,
            encoded=encode_list(self.log.replay.status.list_bits(number, purpose)),
        )

    def _app(self) -> web.Application:
        app = super()._app()
        app.router.add_get("/status/{list}/{purpose}", self._get_status_list)
        return app

    async def _get_status_list(self, request: web.Request) -> web.Response:
        (purpose,) = [known for known in get_args(Purpose) if known == request.match_info["purpose"]]
        list_ = self.lie(self.true_list(int(request.match_info["list"]), purpose))
        return web.Response(body=self.spoil(self.sign(list_, KEY)), content_type="application/vc")


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> Iterator[ListServer]:
    """In place of the usual one; without its address in the environment, so that the list's own address counts."""
    with ListServer() as running:
        monkeypatch.setenv("BADGE_LEDGER_ISSUE_URL", running.url)
        monkeypatch.setenv("BADGE_LEDGER_ISSUER_ADD_URL", running.url)
        monkeypatch.setenv("BADGE_LEDGER_REVOKE_URL", running.url)
        monkeypatch.setenv("BADGE_LEDGER_SUSPEND_URL", running.url)
        (cli.folder / "trust.policy").write_text(policy_text(running.origin))
        yield running


@pytest.fixture
def revoked(cli: Cli, ledger: ListServer, key: Path, badges: Badges) -> int:
    """The index of a revoked badge in list 0; another is suspended, a third is neither."""
    for number, name in enumerate(("a", "b", "c")):
        badges.signed(f"{name}.json", number)
    cli.ok("issue", "badges", "--out", "out", "--key", key)
    cli.ok("revoke", "badges/a.json", "--key", key)
    cli.ok("suspend", "badges/b.json", "--key", key)
    bits = ledger.log.replay.status.list_bits(0, "revocation")
    (index,) = [n for n in range(LIST_SLOTS) if bits[n >> 3] & (0x80 >> (n & 7))]
    return index


def address(ledger: ListServer, purpose: str = "revocation") -> str:
    return f"{ledger.url.rstrip('/')}/status/0/{purpose}"


def check(cli: Cli, what: str, *more: str) -> Any:
    """Its JSON and its exit status."""
    ran = cli("verify-list", what, "--policy", "trust.policy", "--json", *more)
    return ran.json | {"exit": ran.status}


def flipped(*indexes: int) -> Lie:
    def lie(list_: StatusList) -> StatusList:
        bits = bytearray(decode_list(list_.encoded))
        for index in indexes:
            bits[index >> 3] ^= 0x80 >> (index & 7)
        return replace(list_, encoded=encode_list(bytes(bits)))

    return lie


@pytest.mark.parametrize("sign", [sign_json_ld, sign_jwt])
def test_a_true_list_is_proven(
    cli: Cli, ledger: ListServer, revoked: int, sign: Callable[[StatusList, Ed25519Key], bytes]
) -> None:
    """Both forms and purposes, and says how many are set, as of when, by whose word, and who signed."""
    ledger.sign = sign
    for purpose in get_args(Purpose):
        found = check(cli, address(ledger, purpose), "--max-age", "1h")
        assert (found["exit"], found["result"], found["set"], found["purpose"]) == (0, "proven", 1, purpose)
        assert (found["size"], found["tree_size"], found["own_time"]) == (ledger.log.size, ledger.log.size, False)
        assert found["as_of_ms"] == ledger.log.status_root().time // 1000 * 1000
        assert found["signed_by"] == did_key(KEY.public_key)
        assert found["issuer"] == ledger.log.replay.lists[0].hex()
    shown = cli.ok("verify-list", address(ledger), "--policy", "trust.policy").out
    assert shown.startswith("PROVEN\n")
    assert "  revoked      1\n" in shown
    assert "its witnesses' word" in shown


def test_a_hidden_revocation_shows(cli: Cli, ledger: ListServer, revoked: int) -> None:
    """It is named, by index."""
    ledger.lie = flipped(revoked)
    found = check(cli, address(ledger))
    assert found["exit"] == 1
    assert found["error"]["type"] == "urn:badge-ledger:problem:not-proven"
    assert {name: found["error"][name] for name in ("differing", "first", "hidden", "added")} == {
        "differing": 1,
        "first": revoked,
        "hidden": 1,
        "added": 0,
    }
    assert f"the first is index {revoked}, which is set in the log" in found["error"]["detail"]


def test_stray_bits_show(cli: Cli, ledger: ListServer, revoked: int) -> None:
    """Two badges that nobody revoked, in places that nobody was given perhaps."""
    strays = [index for index in range(LIST_SLOTS) if index != revoked][-2:]
    ledger.lie = flipped(*strays)
    error = check(cli, address(ledger))["error"]
    assert (error["differing"], error["first"], error["hidden"], error["added"]) == (2, strays[0], 0, 2)


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        (lambda list_: replace(list_, list=1), "the address is that of list 0, revocation; what came is list 1"),
        (lambda list_: replace(list_, purpose="suspension"), "what came is list 0, suspension"),
        (lambda list_: replace(list_, size=list_.size + 1000), "knows nothing"),
        (lambda list_: replace(list_, valid_from_ms=list_.valid_from_ms + 1000), "states another time"),
        (lambda list_: replace(list_, encoded=encode_list(bytes(LIST_SLOTS // 8))), "hides 1 that are set"),
    ],
)
def test_another_list_than_it_should_be(cli: Cli, ledger: ListServer, revoked: int, lie: Lie, says: str) -> None:
    """Signed as it is, and yet not what the log says: exit status 1, in a sentence."""
    ledger.lie = lie
    found = check(cli, address(ledger))
    assert (found["exit"], says in found["error"]["detail"]) == (1, True), found


def test_suspensions_passed_off_as_revocations(cli: Cli, ledger: ListServer, revoked: int) -> None:
    """The bits of the other purpose under this one's name."""
    true = ledger.true_list(0, "suspension").encoded
    ledger.lie = lambda list_: replace(list_, encoded=true)
    error = check(cli, address(ledger))["error"]
    assert (error["hidden"], error["added"]) == (1, 1)


def test_a_spoilt_signature_shows(cli: Cli, ledger: ListServer, revoked: int) -> None:
    """Though the bits are true: others would refuse it."""
    other = sign_json_ld(ledger.true_list(0, "suspension"), KEY)
    value = other.partition(b'"proofValue":"')[2]
    ledger.spoil = lambda data: data.partition(b'"proofValue":"')[0] + b'"proofValue":"' + value
    found = check(cli, address(ledger))
    assert (found["exit"], found["error"]["type"]) == (1, "urn:badge-ledger:problem:signature-invalid")


@pytest.mark.parametrize("data", [b"", b"{}", b"<html>", b"x" * 70_000])
def test_what_is_no_list_cannot_be_used(cli: Cli, ledger: ListServer, revoked: int, data: bytes) -> None:
    ledger.spoil = lambda _: data
    assert check(cli, address(ledger))["exit"] == 2


def test_an_old_list_is_true_of_its_time_and_too_old(cli: Cli, ledger: ListServer, revoked: int) -> None:
    """Kept, with its proof, from before a revocation: proven, of then; only --max-age gives it away."""
    (cli.folder / "old.json").write_bytes(sign_json_ld(ledger.true_list(0, "revocation"), KEY))
    (cli.folder / "proof.json").write_bytes(proof_of(ledger))
    offline = ("--proof", "proof.json")
    cli.ok("revoke", "badges/c.json", "--key", "acme.key")
    assert check(cli, "old.json", *offline, "--max-age", "1h")["exit"] == 0
    cli.clock.wall_ms += 2 * 3_600_000
    old = check(cli, "old.json", *offline)
    assert (old["exit"], 7_100 < old["age_s"] < 7_300) == (0, True)
    found = check(cli, "old.json", *offline, "--max-age", "1h")
    assert (found["exit"], found["error"]["type"]) == (1, "urn:badge-ledger:problem:stale")


def test_offline(cli: Cli, ledger: ListServer, revoked: int) -> None:
    """List and proof from files: no request is made. A proof of another list or head, or a changed one, is refused."""
    (cli.folder / "list.jwt").write_bytes(sign_jwt(ledger.true_list(0, "revocation"), KEY))
    good = proof_of(ledger)
    (cli.folder / "proof.json").write_bytes(good)
    before = len(ledger.requests)
    assert check(cli, "list.jwt", "--proof", "proof.json")["form"] == "jwt"
    assert len(ledger.requests) == before
    ledger.log.seal()
    (cli.folder / "later.json").write_bytes(proof_of(ledger))
    found = check(cli, "list.jwt", "--proof", "later.json")
    assert (found["exit"], "the proof of that of size" in found["error"]["detail"]) == (1, True)
    (cli.folder / "changed.json").write_bytes(good.replace(b'"list":0', b'"list":1'))
    assert check(cli, "list.jwt", "--proof", "changed.json")["error"]["type"].endswith("proof-invalid")
    (cli.folder / "none.json").write_bytes(b"[]")
    assert check(cli, "list.jwt", "--proof", "none.json")["exit"] == 2
    assert check(cli, "list.jwt", "--proof", "absent.json")["exit"] == 2


def test_the_proof_comes_from_the_ledger_that_is_named(cli: Cli, ledger: ListServer, revoked: int) -> None:
    """--url wins over the address in the list; a list whose address leads nowhere is proven all the same."""
    ledger.lie = lambda list_: replace(list_, base="https://lists.invalid/")
    list_ = ledger.lie(ledger.true_list(0, "revocation"))
    (cli.folder / "list.json").write_bytes(sign_json_ld(list_, KEY))
    assert check(cli, "list.json", "--url", ledger.url)["exit"] == 0
    assert check(cli, address(ledger))["exit"] == 0


def test_a_log_that_the_policy_does_not_name(cli: Cli, ledger: ListServer, revoked: int) -> None:
    """Whoever signs another log's heads proves nothing; without a policy nothing is proven to anybody."""
    (cli.folder / "other.policy").write_text(policy_text("other.example"))
    ran = cli("verify-list", address(ledger), "--policy", "other.policy")
    assert (ran.status, "is not in the policy" in ran.err) == (1, True)
    ran = cli("verify-list", address(ledger))
    assert (ran.status, "whom do you trust?" in ran.err) == (2, True)


@pytest.mark.parametrize(
    "what",
    [
        "https://ledger.example/",
        "http://127.0.0.1:1/status/0/message",
        "http://127.0.0.1:1/status/x/revocation",
        "nothing",
    ],
)
def test_what_leads_to_no_list(cli: Cli, ledger: ListServer, what: str) -> None:
    """Addresses of something else, and files that are not there."""
    assert check(cli, what)["exit"] == 2


def proof_of(ledger: ListServer) -> bytes:
    """The proof as the ledger answers it."""
    with urllib.request.urlopen(f"{ledger.url.rstrip('/')}/v1/lists/0") as response:  # noqa: S310 - our own loopback
        data: bytes = response.read()
    return data
