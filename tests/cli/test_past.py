"""`receipt --at`, `verify --at` and `history`, against a ledger in memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ledger.badge_history import parse_history
from ledger.cli.files import read_receipt
from ledger.dated import parse_dated
from ledger.moment import format_timestamp
from tests.cli.conftest import Badges, Cli
from tests.fakes import FakeLedger
from tests.past_builder import World


class Times:
    """When the badges were issued, and when a was revoked, milliseconds."""

    def __init__(self, issued: int, revoked: int) -> None:
        self.before = format_timestamp(issued + 1_000)
        self.after = format_timestamp(revoked + 1_000)
        self.never = format_timestamp(issued - 100_000)


@pytest.fixture
def times(cli: Cli, ledger: FakeLedger, key: Path, badges: Badges) -> Times:
    """a (signed) and b (salted) were issued, a suspended and reinstated, then revoked 5 s later; receipts in `out`."""
    badges.signed("a.json", 1)
    badges.hosted("b.json", 2)
    cli.ok("issue", "badges", "--out", "out", "--key", key)
    issued = ledger.log.time
    for command in ("suspend", "reinstate"):
        ledger.log.time += 5_000
        cli.ok(command, "badges/a.json", "--key", key)
    ledger.log.time += 5_000
    cli.ok("revoke", "badges/a.json", "--key", key, "--reason", "fraud")
    revoked = ledger.log.time
    ledger.log.time += 5_000
    ledger.log.seal()
    return Times(issued, revoked)


TRUST = ("--policy", "trust.policy")


class TestDated:
    def test_valid_then_and_revoked_now(self, cli: Cli, times: Times) -> None:
        """With --at the moment answers, and exits 0; without, the present does, and exits 1."""
        ran = cli.ok("receipt", "badges/a.json", "--at", times.before)
        (path,) = (cli.folder / "badges").glob("a.*Z.receipt.json")
        assert str(path.name) in ran.out
        then = cli.ok("verify", "badges/a.json", "--at", times.before, *TRUST)
        assert then.out.startswith(f"VALID on {times.before[:10]} {times.before[11:19]} UTC\n")
        assert "now      REVOKED" in then.out
        now = cli("verify", "badges/a.json", "--receipt", path, *TRUST)
        assert now.status == 1
        assert now.out.startswith("REVOKED\n")
        assert f"then     VALID on {times.before[:10]}" in now.out
        document = cli.ok("verify", "badges/a.json", "--at", times.before, *TRUST, "--json").json
        assert document["verdict"]["result"] == "revoked"
        assert document["verdict"]["then"]["result"] == "valid"

    def test_revoked_then_and_before_the_log(self, cli: Cli, times: Times) -> None:
        """The state of the moment; moments that nothing is known of are exit status 2."""
        cli.ok("receipt", "badges/a.json", "--at", times.after, "--out", "late.receipt.json")
        ran = cli("verify", "badges/a.json", "--receipt", "late.receipt.json", "--at", times.after, *TRUST)
        assert ran.status == 1
        assert ran.out.startswith("REVOKED on ")
        for moment in ("2001-01-01", "2999-01-01T00:00Z"):
            ran = cli("receipt", "badges/a.json", "--at", moment)
            assert ran.status == 2

    def test_a_salted_badge(self, cli: Cli, times: Times) -> None:
        """Its salt goes into the dated receipt, which verifies alone."""
        cli.ok("receipt", "out/b.receipt.json", "--at", times.before, "--out", "b.receipt.json")
        dated = parse_dated((cli.folder / "b.receipt.json").read_bytes())
        assert dated.receipt.salt == read_receipt(cli.folder / "out" / "b.receipt.json").salt is not None
        ran = cli.ok("verify", "badges/b.json", "--receipt", "b.receipt.json", *TRUST)
        assert "then     VALID on" in ran.out

    def test_a_table(self, cli: Cli, times: Times) -> None:
        """Several at once, their dated receipts found by name in a folder; the date stands in the table."""
        (cli.folder / "dated").mkdir()
        for name in ("badges/a.json", "out/b.receipt.json"):
            cli.ok("receipt", name, "--at", times.before, "--out", "dated")
        ran = cli.ok("verify", "badges", "--receipts", "dated", "--at", times.before, *TRUST)
        assert ran.out.count(f"VALID on {times.before[:10]}") == 2
        assert "2 valid" in ran.out
        ran = cli("verify", "badges", "--receipts", "dated", "--at", times.after, *TRUST, "--json")
        assert ran.status == 1
        assert [each["error"]["type"].rpartition(":")[2] for each in ran.json] == ["not-found"] * 2

    def test_what_cannot_be_asked(self, cli: Cli, times: Times) -> None:
        """Forms that there are not, moments without a zone, receipts of no moment, heads that do not enclose it."""
        for arguments in (
            ("receipt", "badges/a.json", "--at", "2026-05-03T12:00"),
            ("receipt", "badges/a.json", "--at", "yesterday"),
            ("receipt", "badges/a.json", "--at", times.before, "--packed"),
            ("receipt", "badges/a.json", "--at", times.before, "--tlog-proof"),
            ("receipt", "badges/a.json", "--at", times.before, "--slot", "99"),
            ("verify", "badges/a.json", "--receipt", "out/a.receipt.json", "--at", times.before, *TRUST),
        ):
            ran = cli(*arguments)
            assert ran.status == 2, arguments
            assert ran.err.count("\n") == 1
        cli.ok("receipt", "badges/a.json", "--at", times.before, "--out", "a.dated.receipt.json")
        ran = cli("verify", "badges/a.json", "--receipt", "a.dated.receipt.json", "--at", times.after, *TRUST)
        assert ran.status == 1
        assert "do not enclose the moment" in ran.out

    def test_a_false_answer_is_refused(
        self, cli: Cli, ledger: FakeLedger, times: Times, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A service that answers for another moment, or with a past that does not hold."""
        real = World.dated
        monkeypatch.setattr(World, "dated", lambda self, k, at, size, full: real(self, k, at + 1, size, full=full))
        ran = cli("receipt", "badges/a.json", "--at", times.before)
        assert ran.status == 1
        assert "of another moment" in ran.err

    def test_refresh_leaves_it_alone(self, cli: Cli, times: Times) -> None:
        """A newer head would not be of that moment; the receipts beside it are refreshed."""
        cli.ok("receipt", "badges/a.json", "--at", times.before, "--out", "out")
        (path,) = (cli.folder / "out").glob("a.*Z.receipt.json")
        before = path.read_bytes()
        ran = cli.ok("refresh", "out")
        assert "1 dated, left alone" in ran.out
        assert "2 refreshed" in ran.out
        assert path.read_bytes() == before


class TestHistory:
    def test_a_table_of_events(self, cli: Cli, times: Times) -> None:
        """In order, with reasons; and what it does not show is said."""
        ran = cli.ok("history", "badges/a.json", *TRUST)
        events = [line.split()[3] for line in ran.out.splitlines() if " UTC " in line and line[:2] == "20"]
        assert events == ["issue", "suspend", "reinstate", "revoke"]
        assert "fraud" in ran.out
        assert "revoked as of" in ran.out
        assert "auditors check" in ran.out

    def test_json_and_a_kept_proof(self, cli: Cli, times: Times, monkeypatch: pytest.MonkeyPatch) -> None:
        """The proof that is kept verifies without the ledger, under the policy."""
        document = cli.ok("history", "badges/a.json", *TRUST, "--json", "--out", "a.history.json").json
        assert [event["type"] for event in document[0]["events"]] == ["issue", "suspend", "reinstate", "revoke"]
        assert document[0]["events"][3]["reason"] == 4
        assert document[0]["state"] == "revoked"
        assert len(parse_history((cli.folder / "a.history.json").read_bytes()).submissions) == 4
        monkeypatch.delenv("BADGE_LEDGER_URL")
        assert cli.ok("history", "a.history.json", *TRUST, "--json").json == document
        assert cli("history", "badges/a.json", *TRUST).status == 2
        assert cli("history", "a.history.json").status == 2
        spoilt = json.loads((cli.folder / "a.history.json").read_bytes())
        spoilt["submissions"].pop(1)
        (cli.folder / "b.history.json").write_text(json.dumps(spoilt))
        ran = cli("history", "b.history.json", *TRUST)
        assert ran.status == 1
        assert ran.err.startswith("badge-ledger: b.history.json: ")

    def test_by_commitment_and_by_receipt(self, cli: Cli, times: Times) -> None:
        """Of a salted badge too; without a policy the log's own key is trusted, and said."""
        receipt = read_receipt(cli.folder / "out" / "b.receipt.json").issue_entry()
        for name in (receipt.commitment.hex(), "out/b.receipt.json"):
            ran = cli.ok("history", name)
            assert "not revoked as of" in ran.out
            assert "by the log's own word" in ran.out
        assert cli("history", "badges/b.json").status == 2  # its salt is needed
        assert cli("history", "00" * 32).status == 2
        assert cli("history", receipt.commitment.hex(), "--slot", "5").status == 2
        assert cli("history", receipt.commitment.hex(), "--out", "b.json").status == 2

    def test_an_old_head_is_stale(self, cli: Cli, times: Times) -> None:
        """As with receipts."""
        cli.clock.wall_ms += 40 * 86_400_000
        ran = cli("history", "badges/a.json", *TRUST, "--max-age", "30d")
        assert ran.status == 1
        assert "stale" in cli("history", "badges/a.json", *TRUST, "--max-age", "30d", "--json").json["error"]["type"]
