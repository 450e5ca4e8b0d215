"""`receipt` and `refresh`: receipts in every form, and newer ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from ledger.cli.files import read_receipt
from ledger.errors import LedgerError
from ledger.merkle import leaf_hash
from ledger.policy import parse_policy
from ledger.receipt import Receipt, encode_packed
from ledger.receipt_json import format_json
from ledger.tlogproof import parse_tlog_proof, verify_tlog_proof
from tests.cli.conftest import Badges, Cli
from tests.fakes import FakeLedger


@pytest.fixture
def issued(cli: Cli, key: Path, badges: Badges) -> Path:
    """Folder `out` with the receipts of a (signed) and b (salted); the salt key's file is known."""
    badges.signed("a.json", 1)
    badges.hosted("b.json", 2)
    cli.ok("issue", "badges", "--out", "out", "--key", key)
    return cli.folder / "out"


#: What a ledger may show falsely: under a head that it did sign, a status that is not the log's (zeros are active) or
#: a submission without the event; a head that it did not sign.
LIES: list[Callable[[Receipt], Receipt]] = [
    lambda receipt: replace(receipt, chunk=bytes(len(receipt.chunk))),
    lambda receipt: replace(receipt, events_proof=(bytes(32), *receipt.events_proof[1:])),
    lambda receipt: replace(receipt, log_proof=(bytes(32), *receipt.log_proof[1:])),
]


class Liar:
    """Makes the ledger hand out receipts that were tampered with."""

    def __init__(self, ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch, lie: Callable[[Receipt], Receipt]) -> None:
        real = ledger.receipt
        monkeypatch.setattr(ledger, "receipt", lambda *arguments: lie(real(*arguments)))


class TestReceipt:
    def test_by_badge_and_by_commitment(self, cli: Cli, ledger: FakeLedger, issued: Path) -> None:
        """The same receipt, beside the badge or in this folder."""
        cli.ok("receipt", "badges/a.json")
        here = read_receipt(cli.folder / "badges" / "a.receipt.json")
        assert here == read_receipt(issued / "a.receipt.json")
        commitment = here.issue_entry().commitment.hex()
        cli.ok("receipt", commitment)
        assert read_receipt(cli.folder / f"{commitment[:16]}.receipt.json") == here
        assert cli("receipt", "badges/a.json").status == 2  # it exists
        cli.ok("receipt", "badges/a.json", "--force")

    def test_the_salt_comes_from_the_receipt_or_the_salt_key(self, cli: Cli, key: Path, issued: Path) -> None:
        """And goes into the fetched receipt, so that it verifies alone."""
        ran = cli("receipt", "badges/b.json")
        assert ran.status == 2
        assert "its salt is needed" in ran.err
        for arguments in (("badges/b.json", "--key", key), (issued / "b.receipt.json",)):
            cli.ok("receipt", *arguments, "--out", "fetched.receipt.json", "--force")
            assert read_receipt(cli.folder / "fetched.receipt.json") == read_receipt(issued / "b.receipt.json")

    def test_packed(self, cli: Cli, issued: Path) -> None:
        """The same receipt in the packed form; `verify` takes it."""
        cli.ok("receipt", "badges/a.json", "--packed", "--out", issued)
        assert (issued / "a.receipt").read_bytes() == encode_packed(read_receipt(issued / "a.receipt.json"))
        cli.ok("verify", "badges/a.json", "--receipt", issued / "a.receipt", "--policy", "trust.policy")

    def test_tlog_proof(self, cli: Cli, ledger: FakeLedger, issued: Path) -> None:
        """A C2SP proof of the issue entry under the newest checkpoint."""
        cli.ok("receipt", "badges/a.json", "--tlog-proof")
        proof = parse_tlog_proof((cli.folder / "badges" / "a.tlog-proof").read_bytes())
        policy = parse_policy((cli.folder / "trust.policy").read_bytes())
        entry = ledger.log.entries[proof.index]
        found = verify_tlog_proof(leaf_hash(entry), proof, policy, now_s=cli.clock.now_ms() // 1000 + 1)
        assert set(found.witnesses) == {"north", "south"}
        assert cli("receipt", "badges/a.json", "--tlog-proof", "--packed").status == 2

    def test_to_standard_output(self, cli: Cli, issued: Path) -> None:
        """With --out -, and nothing else there."""
        assert cli.ok("receipt", "badges/a.json", "--out", "-").out.startswith('{"format":"badge-ledger/v1 receipt"')

    def test_one_of_several_slots(self, cli: Cli, ledger: FakeLedger, key: Path, issued: Path) -> None:
        """The last by default, another one on request."""
        cli.ok("issue", "badges/a.json", "--out", "again", "--key", key)
        first, last = (read_receipt(folder / "a.receipt.json").issue_entry().slot for folder in (issued, Path("again")))
        assert cli.ok("receipt", "badges/a.json", "--force", "--json").json["slot"] == last
        assert cli.ok("receipt", "badges/a.json", "--force", "--json", "--slot", str(first)).json["slot"] == first
        assert cli("receipt", "badges/a.json", "--force", "--slot", "77").status == 2

    def test_a_receipt_of_another_head_than_the_logs_is_not_written(
        self, cli: Cli, ledger: FakeLedger, issued: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The head that its proof leads to has to be signed by the log."""
        with FakeLedger("other.example/log") as other:
            other.log.issuer("https://x.example/", lists=1)
            built = other.log.issuers[0]
            commitment = read_receipt(issued / "a.receipt.json").issue_entry().commitment
            index = other.log.submit(built, [built.issue(1, commitment)]) + 1
            other.log.seal()
            wrong = other.receipt(index)
        monkeypatch.setattr(ledger, "receipt", lambda *_: wrong)
        ran = cli("receipt", "badges/a.json")
        assert ran.status == 1
        assert "is of the log 'other.example/log'" in ran.err
        assert not (cli.folder / "badges" / "a.receipt.json").exists()

    @pytest.mark.parametrize("lie", LIES)
    def test_a_receipt_that_does_not_prove_is_not_written(
        self,
        cli: Cli,
        ledger: FakeLedger,
        key: Path,
        issued: Path,
        monkeypatch: pytest.MonkeyPatch,
        lie: Callable[[Receipt], Receipt],
    ) -> None:
        """That its head is the log's is not enough: neither with a policy nor without."""
        cli.ok("revoke", "badges/a.json", "--key", key)
        Liar(ledger, monkeypatch, lie)
        for policy in ((), ("--policy", "trust.policy")):
            assert cli("receipt", "badges/a.json", *policy).status == 1
            assert not (cli.folder / "badges" / "a.receipt.json").exists()

    def test_a_tlog_proof_under_a_head_that_nobody_signed_is_not_written(
        self, cli: Cli, ledger: FakeLedger, issued: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its checkpoint has to be the log's, as that of a receipt."""
        note = ledger.note().decode()

        async def unsigned(_: object) -> bytes:
            return note.replace(f"\u2014 {ledger.origin} ", "\u2014 someone.example ").encode()

        monkeypatch.setattr("ledger.client.LedgerClient.checkpoint", unsigned)
        ran = cli("receipt", "badges/a.json", "--tlog-proof")
        assert ran.status == 1
        assert "no acceptable signature by the log" in ran.err
        assert not (cli.folder / "badges" / "a.tlog-proof").exists()

    def test_an_unknown_badge(self, cli: Cli, ledger: FakeLedger) -> None:
        """The ledger's own sentence."""
        ran = cli("receipt", "00" * 32)
        assert (ran.status, ran.err) == (2, "badge-ledger: no badge with this commitment\n")


class TestRefresh:
    def test_newer_receipts_keep_their_salts_and_tell_the_state(
        self, cli: Cli, ledger: FakeLedger, key: Path, issued: Path
    ) -> None:
        """Both forms are refreshed; what is of the newest head already is kept; revoked badges are named."""
        cli.ok("receipt", "badges/b.json", "--key", key, "--packed", "--out", issued)
        kept = cli.ok("refresh", "out", "--json").json
        assert kept["totals"] == {"fresh": 0, "kept": 3, "failed": 0}
        before = {path: read_receipt(path) for path in sorted(issued.glob("*.receipt*"))}
        cli.ok("revoke", "badges/b.json", "--key", key)
        ran = cli.ok("refresh", "out")
        assert "3 refreshed" in ran.out
        assert "revoked: out/b.receipt\n" in ran.out
        for path, old in before.items():
            new = read_receipt(path)
            assert new.tree_size == ledger.log.size > old.tree_size
            assert (new.salt, new.issue, new.full) == (old.salt, old.issue, old.full)
        assert cli("verify", "badges/b.json", "--receipt", issued / "b.receipt", "--policy", "trust.policy").status == 1

    def test_one_that_cannot_be_read_does_not_stop_the_others(
        self, cli: Cli, ledger: FakeLedger, key: Path, issued: Path
    ) -> None:
        """It is named, left as it is, and the exit status is 1."""
        (issued / "x.receipt.json").write_text("{}")
        cli.ok("suspend", "badges/a.json", "--key", key)
        ran = cli("refresh", "out")
        assert ran.status == 1
        assert "out/x.receipt.json: " in ran.err
        assert "2 refreshed, 1 failed" in ran.out
        assert (issued / "x.receipt.json").read_text() == "{}"

    def test_a_rewritten_log_replaces_nothing(
        self, cli: Cli, ledger: FakeLedger, key: Path, issued: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another entry in the place of the receipt's is an accusation, so the receipt stays."""
        before = (issued / "a.receipt.json").read_bytes()
        other = ledger.receipt(read_receipt(issued / "b.receipt.json").index)
        cli.ok("suspend", "badges/a.json", "--key", key)
        monkeypatch.setattr(ledger, "receipt", lambda *_: other)
        ran = cli("refresh", "out")
        assert ran.status == 1
        assert "out/a.receipt.json: the ledger has another entry" in ran.err
        assert (issued / "a.receipt.json").read_bytes() == before

    @pytest.mark.parametrize("lie", LIES)
    def test_a_receipt_that_does_not_prove_replaces_nothing(
        self,
        cli: Cli,
        ledger: FakeLedger,
        key: Path,
        issued: Path,
        monkeypatch: pytest.MonkeyPatch,
        lie: Callable[[Receipt], Receipt],
    ) -> None:
        """A ledger that shows a revoked badge as active is told, and the state that it shows is not."""
        before = {path: path.read_bytes() for path in issued.glob("*.receipt.json")}
        for name in ("a", "b"):
            cli.ok("revoke", issued / f"{name}.receipt.json", "--key", key)
        Liar(ledger, monkeypatch, lie)
        ran = cli("refresh", "out", "--policy", "trust.policy")
        assert ran.status == 1
        assert ran.out == "2 failed\n"
        assert {path: path.read_bytes() for path in before} == before

    @pytest.mark.parametrize("lie", LIES)
    def test_one_that_does_not_verify_is_replaced(
        self, cli: Cli, ledger: FakeLedger, key: Path, issued: Path, lie: Callable[[Receipt], Receipt]
    ) -> None:
        """It is not `already of the newest head`: the ledger's takes its place, and its state is the one told."""
        cli.ok("revoke", "badges/a.json", "--key", key)
        path = issued / "a.receipt.json"
        true = ledger.receipt(read_receipt(path).index)
        path.write_bytes(format_json(lie(true)))
        ran = cli.ok("refresh", "out", "--policy", "trust.policy")
        assert "out/a.receipt.json: replaced: the receipt that was here does not verify: " in ran.err
        assert "revoked: out/a.receipt.json" in ran.out
        assert read_receipt(path) == true

    def test_neither_verifies(
        self, cli: Cli, ledger: FakeLedger, issued: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The file stays, and is told as failed; so where the ledger has another entry in its place."""
        path = issued / "a.receipt.json"
        other = ledger.receipt(read_receipt(issued / "b.receipt.json").index)
        spoilt = format_json(LIES[2](read_receipt(path)))
        path.write_bytes(spoilt)
        with monkeypatch.context() as patched:
            Liar(ledger, patched, LIES[2])
            assert cli("refresh", "out").out == "2 failed\n"
        monkeypatch.setattr(ledger, "receipt", lambda *_: other)
        assert "does not verify: " in cli("refresh", "out").err
        assert path.read_bytes() == spoilt

    def test_a_full_disk_leaves_the_old_receipt(
        self, cli: Cli, ledger: FakeLedger, key: Path, issued: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Renaming is the last step: until it succeeds the old file stands, and no half of the new one is left."""
        before = sorted((path.name, path.read_bytes()) for path in issued.iterdir())
        cli.ok("suspend", "badges/a.json", "--key", key)

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", full)
        ran = cli("refresh", "out")
        assert ran.status == 1
        assert "No space left on device" in ran.err
        assert sorted((path.name, path.read_bytes()) for path in issued.iterdir()) == before

    def test_an_empty_folder(self, cli: Cli, ledger: FakeLedger) -> None:
        """Nothing to refresh is a mistake, most likely in the folder's name."""
        (cli.folder / "empty").mkdir()
        assert cli("refresh", "empty").status == 2


def test_every_failure_names_its_file(cli: Cli, tmp_path: Path) -> None:
    """Reading a receipt that is none says which file it was, once."""
    path = tmp_path / "x.receipt.json"
    path.write_text("{}")
    with pytest.raises(LedgerError) as caught:
        read_receipt(path)
    assert caught.value.detail.count(str(path)) == 1
