"""`audit` and `verify-evidence`: exit statuses, what is told, and where the next run goes on."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ledger.note import format_vkey
from tests.auditor.liar import Liar, signer
from tests.builders import LogBuilder, demo_log
from tests.cli.conftest import Badges, Cli
from tests.fakes import FakeLedger


@pytest.fixture
def policy(cli: Cli) -> Path:
    """The policy of the liar's log."""
    path = cli.folder / "liar.policy"
    path.write_text("".join(f"log {format_vkey(key)}\n" for key in signer().verifier_keys) + "quorum none\n")
    return path


def grown(log: LogBuilder) -> LogBuilder:
    """The log with one badge more."""
    issuer = log.issuers[1]
    log.issue(issuer, [issuer.slot(9)])
    log.seal()
    return log


class TestAudit:
    def test_a_ledger_over_http(self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges) -> None:
        """Passes, goes on where it stopped, and tells of the entries of an issuer that is watched."""
        badges.signed("a.json", 1)
        ran = cli.ok("audit", ledger.url, "--policy", "trust.policy", "--json").json
        assert (ran["size"], ran["new_entries"]) == (ledger.log.size, ledger.log.size)
        cli.ok("issue", "badges", "--out", "out", "--key", key)
        identifier = ledger.log.issuers[0].identifier if ledger.log.issuers else _identifier(key)
        ran = cli.ok("audit", ledger.url, "--policy", "trust.policy", "--notify", identifier, "--json").json
        assert 0 < ran["new_entries"] < ran["size"] == ledger.log.size
        assert [notice["what"] for notice in ran["notices"]][-1].endswith("1 issue")
        assert ran["cosigned_by"] == ["north", "south"]

    def test_for_people(self, cli: Cli, policy: Path) -> None:
        """The head, the totals, who cosigned."""
        liar = Liar(demo_log())
        liar.publish(cli.folder / "log")
        out = cli.ok("audit", "log", "--policy", policy).out
        assert out.startswith(f"AUDITED: {liar.log.origin}, {liar.size} entries, {liar.size} of them new\n")
        assert "306 issued, 2 revoked, 1 suspended" in out
        assert "nobody that the policy names" in out

    def test_a_lie(self, cli: Cli, policy: Path) -> None:
        """Exit status 1, the rule and the file; `verify-evidence` reads it without the log, and says why."""
        liar = Liar(demo_log())
        index = liar.seal(root=bytes(32))
        liar.publish(cli.folder / "log")
        ran = cli("audit", "log", "--policy", policy, "--evidence", "proof", "--json")
        assert ran.status == 1
        error = ran.json["error"]
        assert (error["rule"], error["index"], error["kind"]) == ("status-root", index, "prefix")
        (file,) = (cli.folder / "proof").iterdir()
        assert error["evidence"] == f"proof/{file.name}"
        assert file.name == f"ledger.example-test-status-root-{index}.evidence"
        shown = cli.ok("verify-evidence", file, "--policy", policy, "--json").json
        assert (shown["rule"], shown["origin"]) == ("status-root", liar.log.origin)
        assert "CONVICTED" in cli.ok("verify-evidence", file, "--policy", policy).out

    def test_evidence_that_proves_nothing(self, cli: Cli, policy: Path) -> None:
        """Changed, of another log, no evidence at all: each its exit status and sentence."""
        liar = Liar(demo_log())
        liar.seal(root=bytes(32))
        liar.publish(cli.folder / "log")
        assert cli("audit", "log", "--policy", policy).status == 1
        (file,) = cli.folder.glob("*.evidence")
        whole = file.read_bytes()
        file.write_bytes(whole[:-1])
        assert cli("verify-evidence", file, "--policy", policy).status == 2
        file.write_bytes(whole.replace(b'"rule":"status-root"', b'"rule":"window"'))
        assert cli("verify-evidence", file, "--policy", policy).status == 1
        file.write_bytes(whole)
        other = format_vkey(msgspec.structs.replace(signer().verifier_keys[0], public_key=bytes(31) + b"\1"))
        assert cli("verify-evidence", file, "--log-key", other).status == 1
        file.write_bytes(b"nothing\n")
        assert cli("verify-evidence", file, "--policy", policy).status == 2
        assert cli("verify-evidence", "absent", "--policy", policy).status == 2
        assert cli("verify-evidence", file).status == 2

    def test_a_mismatch_leaves_the_record_as_it_was(self, cli: Cli, policy: Path) -> None:
        """What nobody signed convicts nobody; once the server is mended the audit goes on from the head before."""
        log = demo_log()
        before = Liar(log)
        folder = before.publish(cli.folder / "log")
        cli.ok("audit", "log", "--policy", policy)
        after = Liar(grown(log))
        after.publish(folder)
        bundle = next((folder / "tile" / "entries").rglob(str(after.size % 256)))
        whole = bundle.read_bytes()
        bundle.write_bytes(whole[:-1] + bytes((whole[-1] ^ 1,)))
        ran = cli("audit", "log", "--policy", policy, "--json")
        assert ran.status == 1
        assert "evidence" not in ran.json["error"]
        bundle.write_bytes(whole)
        ran = cli("audit", "log", "--policy", policy, "--json")
        assert ran.json["new_entries"] == after.size - before.size

    def test_alarms(self, cli: Cli, policy: Path) -> None:
        """Exit status 1 and a line each: an old head where an age is asked for, a quorum that is not met."""
        liar = Liar(demo_log())
        liar.publish(cli.folder / "log")
        ran = cli("audit", "log", "--policy", policy, "--max-age", "1h")
        assert (ran.status, ran.err.startswith("alarm (stale): ")) == (1, True)
        witness = format_vkey(msgspec.structs.replace(signer("w.example/w").verifier_keys[1]))
        policy.write_text(policy.read_text().replace("quorum none", f"witness w {witness}\nquorum w"))
        ran = cli("audit", "log", "--policy", policy)
        assert ran.status == 1
        assert "alarm (quorum)" in ran.err
        assert "witness w" in ran.err

    @pytest.mark.parametrize(
        "arguments",
        [
            ["log"],
            ["absent", "--policy", "liar.policy"],
            ["http://127.0.0.1:1/", "--policy", "liar.policy"],
            ["empty", "--policy", "liar.policy"],
            ["log", "--policy", "liar.policy", "--listen", "127.0.0.1:0"],
            ["log", "--policy", "two.policy"],
            ["log", "--policy", "liar.policy", "--notify", ""],
            ["log", "--policy", "liar.policy", "--notify", "acme"],
        ],
    )
    def test_unusable_input(self, arguments: list[str], cli: Cli, policy: Path) -> None:
        """One sentence, exit status 2, and no record."""
        Liar(demo_log()).publish(cli.folder / "log")
        (cli.folder / "empty").mkdir()
        two = f"log {format_vkey(signer('other.example').verifier_keys[0])}\n"
        (cli.folder / "two.policy").write_text(two + policy.read_text())
        ran = cli("audit", *arguments)
        assert (ran.status, ran.out) == (2, "")
        assert ran.err.count("\n") == 1
        assert not list(cli.folder.glob("*.audit*"))

    def test_a_damaged_record_is_refused(self, cli: Cli, policy: Path) -> None:
        """Never read as another; the message says what deleting it costs."""
        Liar(demo_log()).publish(cli.folder / "log")
        cli.ok("audit", "log", "--policy", policy, "--state", "record")
        record = cli.folder / "record"
        whole = record.read_bytes()
        for position in range(0, len(whole), 101):
            record.write_bytes(whole[:position] + bytes((whole[position] ^ 1,)) + whole[position + 1 :])
            ran = cli("audit", "log", "--policy", policy, "--state", "record")
            assert ran.status == 2
            assert "begins at entry 0" in ran.err


def _identifier(key: Path) -> str:
    from ledger.entry import did_key
    from ledger.keyfile import load_issuer_key

    return did_key(load_issuer_key(key).public_key)
