"""`verify`: offline, and by its exit status."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from ledger.note import format_vkey
from tests.cli.conftest import Badges, Cli
from tests.fakes import FakeLedger
from tests.receipt_builder import log_key

DAY_MS = 86_400_000


@pytest.fixture
def badge(cli: Cli, ledger: FakeLedger, key: Path, badges: Badges) -> Path:
    """A badge with its receipt in `out`; the ledger may go away now."""
    file = badges.hosted("a.json", 1)
    cli.ok("issue", "badges", "--out", "out", "--key", key)
    return file


class TestVerify:
    def test_no_network_is_needed(self, cli: Cli, badge: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """No socket is opened."""

        def no_socket(*_: object, **__: object) -> None:
            raise AssertionError("a socket was opened")

        monkeypatch.setattr(socket, "socket", no_socket)
        ran = cli.ok("verify", badge, "--receipt", "out/a.receipt.json", "--policy", "trust.policy", "--max-age", "24h")
        assert ran.out.startswith("VALID")
        assert "not revoked as of" in ran.out

    def test_every_reason_why_a_badge_is_not_valid_is_exit_status_1(
        self, cli: Cli, key: Path, badge: Path, badges: Badges
    ) -> None:
        """Stale, suspended, revoked, expired, not proven: each by its name."""
        arguments = ("verify", badge, "--receipt", "out/a.receipt.json", "--policy", "trust.policy", "--json")

        def result(*more: str) -> str:
            ran = cli(*arguments, *more)
            assert ran.status == (0 if ran.json["verdict"]["result"] == "valid" else 1)
            return str(ran.json["verdict"]["result"])

        assert result("--max-age", "1h") == "valid"
        cli.clock.wall_ms += DAY_MS
        assert result("--max-age", "1h") == "stale"
        assert result("--max-age", "7d") == "valid"
        cli.clock.wall_ms += 5000 * DAY_MS
        assert result() == "expired"
        cli.clock.wall_ms -= 5001 * DAY_MS
        for verb, name in (("suspend", "suspended"), ("revoke", "revoked")):
            cli.ok(verb, badge, "--key", key)
            cli.ok("refresh", "out")
            assert result() == name
        badges.hosted("a.json", 2)
        assert result() == "not_proven"

    def test_the_receipt_is_found_beside_the_badge(self, cli: Cli, badge: Path) -> None:
        """By NAME.receipt.json, or as whatever receipt in the folder is for this very badge."""
        arguments = ("verify", badge, "--policy", "trust.policy")
        ran = cli(*arguments)
        assert ran.status == 2
        assert "no receipt beside" in ran.err
        beside = badge.with_name("a.receipt.json")
        beside.write_bytes((cli.folder / "out" / "a.receipt.json").read_bytes())
        assert cli(*arguments).status == 0
        beside.rename(badge.with_name("whatever.receipt.json"))
        badge.with_name("broken.receipt.json").write_text("{}")
        assert cli(*arguments).status == 0

    def test_a_log_key_is_a_policy_without_witnesses(self, cli: Cli, ledger: FakeLedger, badge: Path) -> None:
        """--log-key trusts one log; another log's key proves nothing."""
        arguments = ("verify", badge, "--receipt", "out/a.receipt.json", "--log-key")
        assert "by the log's own word" in cli.ok(*arguments, format_vkey(log_key(ledger.origin))).out
        assert cli(*arguments, format_vkey(log_key("other.example/log"))).status == 1

    def test_unusable_input_is_exit_status_2(self, cli: Cli, badge: Path) -> None:
        """No trust, no receipt, no badge, no policy: none of them is a verdict."""
        receipt = ("--receipt", "out/a.receipt.json")
        (cli.folder / "garbage").write_bytes(b"\x00\x01")
        for arguments in (
            (badge, *receipt),
            (badge, "--receipt", "missing", "--policy", "trust.policy"),
            (badge, "--receipt", "garbage", "--policy", "trust.policy"),
            ("garbage", *receipt, "--policy", "trust.policy"),
            (badge, *receipt, "--policy", "garbage"),
            (badge, *receipt, "--log-key", "x"),
            (badge, *receipt, "--policy", "trust.policy", "--max-age", "soon"),
        ):
            ran = cli("verify", *arguments)
            assert (ran.status, ran.out) == (2, "")

    def test_disjoint_quorums_are_refused(self, cli: Cli, badge: Path) -> None:
        """A policy that can be shown two heads is no policy."""
        text = (cli.folder / "trust.policy").read_text().replace("both all", "both any")
        (cli.folder / "any.policy").write_text(text)
        ran = cli("verify", badge, "--receipt", "out/a.receipt.json", "--policy", "any.policy")
        assert ran.status == 2
        assert "two quorums need not intersect" in ran.err
