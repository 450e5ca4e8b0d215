"""`log` and `policy`: what a ledger says of itself, and whom to trust."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ledger.note import VerifierKey, format_vkey
from ledger.policy import parse_policy
from tests.cli.conftest import Badges, Cli
from tests.fakes import FakeLedger
from tests.receipt_builder import log_key


class TestLog:
    def test_the_head(self, cli: Cli, ledger: FakeLedger) -> None:
        """Origin, size, time, and every signature line."""
        out = cli.ok("log").out
        assert out.startswith(f"{ledger.origin}\n")
        for name in (ledger.origin, "north.example/w", "south.example/w"):
            assert name in out
        shown = cli.ok("log", "--json").json
        assert shown["head"]["size"] == ledger.log.size
        assert [line["timestamp_s"] is None for line in shown["signatures"]] == [True, False, False]

    def test_entries(self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges) -> None:
        """Every type of entry has a line for people and its fields for machines."""
        badges.signed("a.json", 1)
        cli.ok("issue", "badges", "--out", "out", "--key", key)
        cli.ok("revoke", "badges/a.json", "--reason", "fraud", "--key", key)
        out = cli.ok("log", "--start", "0").out
        for text in ("log_params", "issuer_key", "status_list", "submission", "issue ", "revoke", "fraud", "1 revoked"):
            assert text in out
        entries = cli.ok("log", "--start", "0", "--json").json["entries"]
        assert [entry["index"] for entry in entries] == list(range(ledger.log.size))
        assert entries[0]["origin"] == ledger.origin
        assert [e["index"] for e in cli.ok("log", "--last", "2", "--json").json["entries"]] == [
            ledger.log.size - 2,
            ledger.log.size - 1,
        ]
        issue = next(entry for entry in entries if entry["type"] == "issue")
        assert issue["commitment"] == ledger.issued()[0].hex()
        counted = cli.ok("log", "--start", "1", "--count", "2", "--json").json["entries"]
        assert [entry["index"] for entry in counted] == [1, 2]

    def test_a_head_that_the_log_did_not_sign_is_not_shown(
        self, cli: Cli, ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The signature is checked by the policy's key, or by the key that the server states."""
        note = ledger.note()
        monkeypatch.setattr(ledger, "note", lambda: note.replace(b"\n2\n", b"\n3\n"))
        for arguments in ([], ["--policy", "trust.policy"]):
            ran = cli("log", *arguments)
            assert (ran.status, ran.out) == (1, "")

    @pytest.mark.parametrize("arguments", [["--last", "1", "--start", "1"], ["--start", "1000"]])
    def test_impossible_ranges(self, cli: Cli, ledger: FakeLedger, arguments: list[str]) -> None:
        """Refused in a sentence."""
        assert cli("log", *arguments).status == 2


class TestPolicy:
    def test_first_trust(self, cli: Cli, ledger: FakeLedger) -> None:
        """The log's key, its fingerprint shown and written down, no witnesses."""
        ran = cli.ok("policy", "init", ledger.url, "--out", "first.policy")
        key = log_key(ledger.origin)
        fingerprint = hashlib.sha256(key.public_key).hexdigest()
        assert fingerprint in ran.out
        assert "compare the fingerprint" in ran.err
        data = (cli.folder / "first.policy").read_bytes()
        policy = parse_policy(data)
        assert fingerprint in data.decode()
        assert [rule.vkey for rule in policy.logs] == [key]
        assert (policy.quorum, policy.logs[0].url) == ("none", ledger.url)

    def test_a_policy_is_not_overwritten(self, cli: Cli, ledger: FakeLedger) -> None:
        """Trust that was given once is changed only by force."""
        before = (cli.folder / "trust.policy").read_bytes()
        assert cli("policy", "init", ledger.url).status == 2
        assert (cli.folder / "trust.policy").read_bytes() == before
        cli.ok("policy", "init", ledger.url, "--force")

    def test_a_key_that_is_not_the_logs_is_not_trusted(
        self, cli: Cli, ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The key has to be on the checkpoint, and a post-quantum key has to exist."""
        note = ledger.note()
        monkeypatch.setattr(ledger, "note", lambda: note.replace(b"\n2\n", b"\n3\n"))
        assert cli("policy", "init", ledger.url, "--out", "x.policy").status == 1
        assert cli("policy", "init", ledger.url, "--out", "x.policy", "--post-quantum").status == 2
        assert not (cli.folder / "x.policy").exists()

    def test_check(self, cli: Cli, ledger: FakeLedger) -> None:
        """The policy's soundness, and whether the newest head meets it."""
        shown = cli.ok("policy", "check", "trust.policy", "--url", ledger.url, "--json").json
        assert (shown["quorum"], shown["post_quantum"]) == ("both", False)
        assert shown["logs"][0]["verifier_key"] == format_vkey(log_key(ledger.origin))
        assert set(shown["head"]["witnesses"]) == {"north", "south"}
        out = cli.ok("policy", "check", "trust.policy", "--url", ledger.url).out
        assert "any two quorums share a witness" in out
        assert "  both  all: north, south\n" in out
        assert "no: an Ed25519 key of the log is enough" in out

    def test_a_head_that_does_not_meet_it_is_exit_status_1(self, cli: Cli, ledger: FakeLedger) -> None:
        """Too old, here."""
        cli.clock.wall_ms += 7_200_000
        ran = cli("policy", "check", "trust.policy", "--url", ledger.url, "--max-age", "1h")
        assert ran.status == 1
        assert "the quorum is not met" in ran.err

    def test_a_log_is_not_its_own_witness(self, cli: Cli, ledger: FakeLedger) -> None:
        """Its own key under another name and algorithm is nobody else's word."""
        key = log_key(ledger.origin)
        witness = format_vkey(VerifierKey("other.example", 4, key.public_key))
        (cli.folder / "self.policy").write_text(f"log {format_vkey(key)}\nwitness w {witness}\nquorum w\n")
        ran = cli("policy", "check", "self.policy")
        assert ran.status == 2
        assert "the log itself" in ran.err

    @pytest.mark.parametrize("text", ["quorum none\n", "nonsense\n", "", "log x\nquorum none\n"])
    def test_an_unsound_policy_is_exit_status_2(self, cli: Cli, text: str) -> None:
        """Also one that no log can meet."""
        (cli.folder / "bad.policy").write_text(text)
        ran = cli("policy", "check", "bad.policy")
        assert ran.status == 2
        assert "bad.policy: " in ran.err
