"""`issue`: every badge anchored once, whatever happens on the way."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ledger.badges import commitment, read
from ledger.block import Block
from ledger.cli.files import is_for, read_receipt
from ledger.cli.journal import NAME, Journal
from ledger.cli.output import Output, Progress
from ledger.cli.reading import embedded_slot
from ledger.entry import LIST_SLOTS
from ledger.errors import InputError, RuleViolation
from ledger.keyfile import load_issuer_key, load_key
from ledger.merkle import leaf_hash
from ledger.receipt_json import format_json
from tests.builders import LogBuilder
from tests.cli.conftest import Badges, Cli, Ran
from tests.fakes import FakeLedger, Fault
from tests.samples import BadgeIssuer, ob3_json, ob3_jwt, status_entry


def issue(cli: Cli, key: Path, *arguments: str | Path) -> Ran:
    return cli("issue", "badges", "--out", "out", "--key", key, *arguments)


class TestIssue:
    def test_each_badge_gets_a_receipt_that_verifies(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges
    ) -> None:
        """Signed badges unsalted, others salted; folders keep their form; `verify` finds all of them valid."""
        files = [badges.signed("a.json", 1), badges.hosted("sub/b.json", 2)]
        assert issue(cli, key).status == 0
        assert issue(cli, key).status == 0
        assert len(ledger.bodies) == 1
        for file in files:
            receipt = cli.folder / "out" / file.relative_to(badges.folder).with_suffix(".receipt.json")
            assert is_for(read_receipt(receipt), read(file.read_bytes()))
            assert cli.ok("verify", file, "--receipt", receipt, "--policy", "trust.policy").status == 0
        assert read_receipt(cli.folder / "out" / "a.receipt.json").salt is None
        assert read_receipt(cli.folder / "out" / "sub" / "b.receipt.json").salt is not None

    def test_salts_stay_here(self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges) -> None:
        """Neither the salt nor the salt key goes over the wire or into the journal."""
        badges.hosted("b.json", 2)
        issue(cli, key)
        salt = read_receipt(cli.folder / "out" / "b.receipt.json").salt
        assert salt is not None
        journal = (cli.folder / "out" / NAME).read_bytes()
        for secret in (salt, load_key(f"{key}.salt").seed):
            assert all(secret not in body and secret.hex().encode() not in body for body in ledger.bodies)
            assert secret.hex().encode() not in journal

    def test_a_badge_without_proof_needs_the_salt_key(self, cli: Cli, key: Path, badges: Badges) -> None:
        """A lost salt key stops the run, since a new one would give every badge another commitment."""
        badges.hosted("b.json", 2)
        (cli.folder / "acme.key.salt").rename(cli.folder / "kept.salt")
        ran = issue(cli, key)
        assert ran.status == 2
        assert "--salt-key" in ran.err
        assert issue(cli, key, "--salt-key", "kept.salt").status == 0

    def test_salts_can_be_demanded_and_never_left_out_where_they_protect(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges
    ) -> None:
        """--salt also for badges with a proof; --no-salt fails those without one."""
        file = badges.signed("a.json", 1)
        badges.hosted("b.json", 2)
        ran = issue(cli, key, "--no-salt", "--json")
        assert [row["result"] for row in ran.json["badges"]] == ["issued", "failed"]
        (cli.folder / "out" / "a.receipt.json").unlink()
        assert issue(cli, key, "--salt").status == 0
        receipt = read_receipt(cli.folder / "out" / "a.receipt.json")
        assert receipt.issue_entry().commitment == commitment(read(file.read_bytes()), receipt.salt)
        assert receipt.salt is not None

    def test_the_same_badge_twice_is_one_issuance_with_two_receipts(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges
    ) -> None:
        """Both files get a receipt of the one entry."""
        badges.signed("a.json", 1)
        badges.signed("copy.json", 1)
        assert issue(cli, key).status == 0
        first, second = (read_receipt(cli.folder / "out" / f"{name}.receipt.json") for name in ("a", "copy"))
        assert first == second
        assert len(ledger.issued()) == 1

    def test_a_bad_file_is_told_and_does_not_stop_the_others(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges
    ) -> None:
        """Exit status 1, the reason on stderr; with --strict nothing is issued at all."""
        badges.signed("a.json", 1)
        (badges.folder / "bad.json").write_text('{"x": 1}')
        (badges.folder / "README").write_text("not taken for a badge")
        strict = issue(cli, key, "--strict")
        assert strict.status == 2
        assert not ledger.bodies
        ran = issue(cli, key)
        assert ran.status == 1
        assert "bad.json: the JSON is neither" in ran.err
        assert "1 issued, 1 failed" in ran.out
        assert "README" not in ran.out + ran.err

    def test_a_badge_of_another_issuer_is_not_anchored_by_accident(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges
    ) -> None:
        """No verifier would accept it: so it fails, unless that is what is wanted."""
        (badges.folder).mkdir()
        (badges.folder / "x.json").write_bytes(ob3_json(BadgeIssuer(bytes(32)), 1))
        ran = issue(cli, key)
        assert ran.status == 1
        assert "no verifier would accept" in ran.err
        assert issue(cli, key, "--other-issuer").status == 0

    def test_a_badge_whose_own_signature_is_invalid_is_told(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Proof and token alike, before anything of it is sent; signatures that cannot be checked offline pass."""
        tampered = badges.signed("a.json", 1)
        tampered.write_bytes(tampered.read_bytes().replace(b"Example Academy", b"Another Academy"))
        made = BadgeIssuer(load_issuer_key(key).seed)
        signed, other = (ob3_jwt(made, number).rpartition(b".") for number in (2, 3))
        (badges.folder / "b.jwt").write_bytes(signed[0] + b"." + other[2])
        badges.signed("c.json", 3)
        badges.hosted("d.json", 4)
        ran = issue(cli, key, "--json")
        assert [row["result"] for row in ran.json["badges"]] == ["failed", "failed", "issued", "issued"]
        for row in ran.json["badges"][:2]:
            assert row["detail"].startswith("its own signature does not verify: ")
            assert row["detail"].endswith("; no verifier will accept it")
        monkeypatch.setattr("ledger.cli.issue._CHECKED", 3)
        assert issue(cli, key, "--check-signatures").status == 1
        assert len(ledger.issued()) == 2
        assert issue(cli, key).status == 0, "a run of more badges than are checked"
        assert len(ledger.issued()) == 4

    def test_signatures_that_nobody_can_check_offline_pass(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges
    ) -> None:
        """Of an issuer whose key is in its DID document: not-checked is not invalid."""
        made = BadgeIssuer(bytes(32), identifier="did:web:academy.example")
        badges.folder.mkdir()
        (badges.folder / "a.json").write_bytes(ob3_json(made, 1))
        assert issue(cli, key, "--other-issuer").status == 0

    def test_submissions_have_the_size_that_was_asked_for(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges
    ) -> None:
        """--batch, and never more than the ledger takes."""
        for number in range(5):
            badges.signed(f"{number}.json", number)
        assert issue(cli, key, "--batch", "2").status == 0
        assert len(ledger.bodies) == 3
        ledger.max_events = 3
        badges.folder = badges.folder / "more"
        for number in range(10, 14):
            badges.signed(f"{number}.json", number)
        assert issue(cli, key).status == 0
        assert len(ledger.bodies) == 5

    def test_where_there_is_no_badge_nothing_is_issued(self, cli: Cli, key: Path, badges: Badges) -> None:
        """An empty folder, or one of other files, is a mistake and not a success."""
        badges.folder.mkdir()
        (badges.folder / "notes.md").write_text("no badge")
        ran = issue(cli, key)
        assert ran.status == 2
        assert ran.err.startswith("badge-ledger: there is nothing to issue in badges: ")
        assert not (cli.folder / "out").exists()

    def test_the_bar_counts_badges(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each once, although it goes two steps: into the log, and to its receipt; in a rerun too."""
        counts: dict[str, list[float | None]] = {}

        @contextmanager
        def progress(_: Output, what: str, total: int | None) -> Iterator[Progress]:
            counts[what] = [total, 0]

            class Bar:
                def advance(self, task: str, steps: float) -> None:
                    counts[task][1] = (counts[task][1] or 0) + steps

            yield Progress(Bar(), what)

        monkeypatch.setattr(Output, "progress", progress)
        for number in range(3):
            badges.signed(f"{number}.json", number)
        for _ in range(2):
            assert issue(cli, key).status == 0
            assert counts["issuing"] == [3, 3]

    def test_names_that_clash_keep_their_endings(self, cli: Cli, key: Path, badges: Badges) -> None:
        """Two badges never share a receipt's file, and `verify` finds each one's own."""
        one = badges.signed("a.json", 1)
        two = badges.signed("a.txt", 2)
        assert issue(cli, key).status == 0
        for file in (one, two):
            receipt = cli.folder / "out" / f"{file.name}.receipt.json"
            assert is_for(read_receipt(receipt), read(file.read_bytes()))

    def test_the_receipt_of_another_badge_is_not_overwritten(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges
    ) -> None:
        """A changed badge under an old name fails: its old receipt, with its salt, may be the only one."""
        badges.hosted("a.json", 1)
        assert issue(cli, key).status == 0
        before = (cli.folder / "out" / "a.receipt.json").read_bytes()
        badges.hosted("a.json", 2)
        ran = issue(cli, key)
        assert ran.status == 1
        assert "receipt of another badge" in ran.err
        assert (cli.folder / "out" / "a.receipt.json").read_bytes() == before
        assert len(ledger.issued()) == 1

    def test_a_receipt_of_the_same_badge_with_another_salt_is_called_that(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges
    ) -> None:
        """It is no other badge's: the sentence tells how this one was issued, and nothing is issued again."""
        badges.signed("a.json", 1)
        assert issue(cli, key).status == 0
        ran = issue(cli, key, "--salt")
        assert ran.status == 1
        assert "out/a.receipt.json is the receipt of this badge, issued without a salt: without --salt" in ran.err
        (cli.folder / "out" / "a.receipt.json").unlink()
        assert issue(cli, key, "--salt").status == 0
        assert "issued with a salt: with --salt it is found" in issue(cli, key).err
        cli.ok("keygen", "--kind", "salt", "other.salt")
        assert "with another salt key" in issue(cli, key, "--salt", "--salt-key", "other.salt").err
        assert len(ledger.issued()) == 2

    def test_slots_that_are_taken_are_drawn_again(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges
    ) -> None:
        """A refusal for the slots' sake voids the submission; the next one has new slots."""
        badges.signed("a.json", 1)
        issue(cli, key)
        taken = read_receipt(cli.folder / "out" / "a.receipt.json").issue_entry().slot
        badges.signed("b.json", 2)
        ledger.stale_slots = [taken]
        assert issue(cli, key).status == 0
        assert len(ledger.issued()) == 2
        assert len(ledger.bodies) == 3

    def test_a_badge_keeps_the_slot_that_it_names(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges
    ) -> None:
        """A status entry in this ledger's lists is the slot of its log entry."""
        badges.signed("first.json", 1)
        issue(cli, key)  # opens list 0
        address = f"https://{ledger.origin}/status/0"
        badge = ob3_json(BadgeIssuer(load_issuer_key(key).seed), 2, status=[status_entry(address, 4711)])
        (badges.folder / "own.json").write_bytes(badge)
        assert issue(cli, key).status == 0
        assert read_receipt(cli.folder / "out" / "own.receipt.json").issue_entry().slot == 4711
        cli.ok("verify", "badges/own.json", "--receipt", "out/own.receipt.json", "--policy", "trust.policy")

    def test_a_short_profile_is_smaller(self, cli: Cli, key: Path, badges: Badges) -> None:
        """--profile short leaves the issuer's signature out."""
        badges.signed("a.json", 1)
        assert issue(cli, key, "--profile", "short").status == 0
        assert not read_receipt(cli.folder / "out" / "a.receipt.json").full

    def test_a_policy_keeps_only_the_signatures_that_it_knows(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges
    ) -> None:
        """Both witnesses without a policy; with one that names none, the log's line alone."""
        badges.signed("a.json", 1)
        assert issue(cli, key).status == 0
        assert len(read_receipt(cli.folder / "out" / "a.receipt.json").signatures) == 3
        (cli.folder / "out" / "a.receipt.json").unlink()
        cli.ok("policy", "init", ledger.url, "--out", "log-only.policy")
        assert issue(cli, key, "--policy", "log-only.policy").status == 0
        assert len(read_receipt(cli.folder / "out" / "a.receipt.json").signatures) == 1

    def test_a_log_with_other_events_is_not_taken(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A ledger that logged something else, and signed that, is caught before anything is written."""
        badges.signed("a.json", 1)
        badges.signed("b.json", 2)
        real = ledger.append

        def other(block: Block) -> tuple[int, int]:
            index, count = real(block)
            entry = ledger.log.entries[index + 2]
            ledger.log.entries[index + 2] = entry[:-1] + bytes([entry[-1] ^ 1])
            ledger.log.leaves[index + 2] = leaf_hash(ledger.log.entries[index + 2])
            return index, count

        monkeypatch.setattr(ledger, "append", other)
        ran = issue(cli, key)
        assert ran.status == 1
        assert "other events than those that were signed" in ran.err
        assert "2 open" in ran.out
        assert not list((cli.folder / "out").glob("*.receipt.json"))


class TestReceiptsOfOthers:
    """Receipts that this run did not make: the ledger's, of badges that it has already, and those in the folder."""

    @pytest.fixture
    def lost(self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The receipt of a badge that was issued and revoked, the journal gone; the ledger refuses it as known."""
        badges.signed("a.json", 1)
        assert issue(cli, key).status == 0
        cli.ok("revoke", "badges/a.json", "--key", key)
        (cli.folder / "out" / NAME).unlink()

        def known(_: Block) -> tuple[int, int]:
            raise RuleViolation("issued before", rule="duplicate", positions=[0])

        monkeypatch.setattr(ledger, "append", known)
        return cli.folder / "out" / "a.receipt.json"

    def test_one_of_a_badge_that_the_ledger_has_is_verified(
        self, cli: Cli, ledger: FakeLedger, key: Path, lost: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A ledger that shows a revoked badge as active ends the run; an honest one finishes it."""
        lost.unlink()
        with monkeypatch.context() as patched:
            real = ledger.receipt
            patched.setattr(ledger, "receipt", lambda *a: replace(real(*a), chunk=bytes(64)))
            ran = issue(cli, key)
            assert ran.status == 1
            assert not lost.exists()
        assert "1 issued before" in issue(cli, key).out
        cli.ok("refresh", "out", "--policy", "trust.policy")

    def test_one_in_the_folder_that_does_not_verify_is_fetched_anew(
        self, cli: Cli, ledger: FakeLedger, key: Path, lost: Path
    ) -> None:
        """It is not taken for present, and nothing is sent."""
        true = ledger.receipt(read_receipt(lost).index)
        lost.write_bytes(format_json(replace(true, chunk=bytes(64))))
        assert "1 issued before" in issue(cli, key).out
        assert read_receipt(lost) == true
        assert len(ledger.bodies) == 2  # the issuance and the revocation

    def test_one_that_does_not_verify_stays_where_the_ledger_has_no_other(
        self, cli: Cli, ledger: FakeLedger, key: Path, lost: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It fails: the badge might be in the log after all, and would be issued twice."""
        spoilt = format_json(replace(read_receipt(lost), log_proof=(bytes(32), *read_receipt(lost).log_proof[1:])))
        lost.write_bytes(spoilt)
        monkeypatch.setattr(ledger.log, "entries", [])
        ran = issue(cli, key)
        assert "does not verify, and the ledger has no other" in ran.err
        assert (lost.read_bytes(), len(ledger.bodies)) == (spoilt, 2)

    def test_one_of_another_log_stays(self, cli: Cli, key: Path, lost: Path) -> None:
        """It may be right, and this ledger is not the one to ask."""
        other = format_json(replace(read_receipt(lost), origin="other.example/log"))
        lost.write_bytes(other)
        assert "the receipt of this badge in the log 'other.example/log'" in issue(cli, key).err
        assert lost.read_bytes() == other


class TestInterruption:
    @pytest.mark.parametrize("offset", [-1, 1, -100, 10**6])
    def test_a_place_that_does_not_prove_is_not_written_down(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges, monkeypatch: pytest.MonkeyPatch, offset: int
    ) -> None:
        """The submission stays open, and an honest ledger finishes it by the identical bytes."""
        badges.signed("a.json", 1)
        with monkeypatch.context() as patched:
            real = ledger.append
            patched.setattr(ledger, "append", lambda block: (real(block)[0] + offset, block.count))
            assert issue(cli, key).status == 1
        with Journal(cli.folder / "out", ledger.origin, next(iter(ledger.log.replay.issuers))) as journal:
            assert [sent.open for sent in journal.sent] == [True]
        assert "1 issued" in issue(cli, key).out
        assert len(set(ledger.bodies)) == len(ledger.issued()) == 1

    def test_a_wrong_place_in_an_old_journal_is_overridden(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges
    ) -> None:
        """Earlier versions wrote down what the ledger said. The run that finds it out asks the next one to repeat."""
        badges.signed("a.json", 1)
        assert issue(cli, key).status == 0
        (cli.folder / "out" / "a.receipt.json").unlink()
        with Journal(cli.folder / "out", ledger.origin, next(iter(ledger.log.replay.issuers))) as journal:
            journal.sent[0].first_index = 0
            journal.logged(journal.sent[0])
        assert issue(cli, key).status == 1
        assert issue(cli, key).status == 0
        assert len(set(ledger.bodies)) == len(ledger.issued()) == 1
        assert read_receipt(cli.folder / "out" / "a.receipt.json").issue_entry().commitment == ledger.issued()[0]

    @pytest.mark.parametrize("fault", ["pending", "outcome-unknown", "cut-after", "cut-before", "overloaded"])
    def test_a_rerun_repeats_the_identical_bytes(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges, fault: Fault
    ) -> None:
        """When patience ends with the outcome open, the next run sends what the journal holds, and no badge twice."""
        for number in range(3):
            badges.signed(f"{number}.json", number)
        ledger.faults = [fault] * 4
        first = issue(cli, key, "--patience", "1", "--json")
        assert first.status == 2
        assert first.json["totals"] == {"issued": 0, "present": 0, "failed": 0, "open": 3}
        ledger.faults = []
        assert "3 issued" in issue(cli, key).out
        assert len(set(ledger.bodies)) == 1
        assert len(ledger.issued()) == 3

    def test_a_process_that_dies_after_sending_issues_nothing_twice(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Killed between the ledger's answer and the journal's line: the rerun finds the submission by its bytes."""
        badges.signed("a.json", 1)

        def dies(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(Journal, "logged", dies)
            ran = issue(cli, key)
        assert ran.status == 130
        assert "no badge is issued twice: run the same command again" in ran.err
        assert issue(cli, key).status == 0
        assert ledger.bodies[0] == ledger.bodies[1]
        assert len(ledger.issued()) == 1

    def test_ctrl_c_while_the_ledger_is_silent(self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges) -> None:
        """The real process, a real signal: one sentence, exit status 130, and the rerun finds what was logged."""
        badges.signed("a.json", 1)
        ledger.faults = ["stall"]
        # A suite that runs in the background of a script hands down SIGINT as ignored, which is not what is tested.
        start = "import signal; signal.signal(2, signal.default_int_handler); from ledger.cli import main; main()"
        arguments = [sys.executable, "-c", start, "issue", "badges", "--out", "out"]
        with subprocess.Popen([*arguments, "--key", str(key)], stderr=subprocess.PIPE, text=True) as process:
            assert ledger.stalled.wait(30)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert err.strip().splitlines() == [
            "badge-ledger: interrupted; no badge is issued twice: run the same command again to finish"
        ]
        assert issue(cli, key).status == 0
        assert len(ledger.issued()) == 1

    def test_receipts_that_were_not_written_are_fetched(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges
    ) -> None:
        """What is logged is not sent again; a lost receipt comes back, with its salt."""
        badges.hosted("a.json", 1)
        issue(cli, key)
        receipt = cli.folder / "out" / "a.receipt.json"
        before = receipt.read_bytes()
        receipt.unlink()
        assert issue(cli, key).status == 0
        assert receipt.read_bytes() == before
        assert len(ledger.bodies) == 1

    def test_a_refusal_that_stays_is_not_to_be_repeated(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges
    ) -> None:
        """A key without the role, which the sentence names, and a retired one: another run would end the same way."""
        badges.signed("a.json", 1)
        for name in ("status", "old"):
            cli.ok("keygen", f"{name}.key", "--no-salt-key")
            roles = "issue" if name == "old" else "status"
            cli.ok("issuer", "keys", "--key", key, "--add", f"{name}.key", "--roles", roles)
        cli.ok("issuer", "keys", "--key", key, "--retire", str(load_key("old.key").key_index))
        for name, reason in (("status", "it has not the role issue"), ("old", "no such live key")):
            ran = cli("issue", "badges", "--out", "out", "--key", f"{name}.key", "--other-issuer")
            assert ran.status == 2
            assert f"{reason}; 1 badge is open: that has to be mended before the next run" in ran.err
            assert "run the same command again" not in ran.err
        ledger.faults = ["overloaded"] * 4
        assert "1 badge is open: run the same command again" in issue(cli, key, "--patience", "1").err

    @pytest.mark.parametrize("logged", [True, False])
    def test_a_rerun_after_days_asks_the_slot(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges, logged: bool
    ) -> None:
        """When window and idempotency are over, the slot's state tells whether the submission is in the log."""
        badges.signed("a.json", 1)
        ledger.faults = ["pending" if logged else "cut-before"] * 4
        assert issue(cli, key, "--patience", "1").status == 2
        ledger.faults, ledger.forget_submissions = [], True
        days = 3 * 86_400_000
        cli.clock.wall_ms += days
        ledger.log.time += days
        assert issue(cli, key).status == 0
        assert len(ledger.issued()) == 1
        assert len(set(ledger.bodies)) == (1 if logged else 2)

    def test_a_torn_last_line_is_what_a_crash_leaves(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges
    ) -> None:
        """It is dropped: what it announced was never sent. Every other damage is refused."""
        badges.signed("a.json", 1)
        issue(cli, key)
        journal = cli.folder / "out" / NAME
        whole = journal.read_bytes()
        assert stat.S_IMODE(journal.stat().st_mode) == 0o600
        with journal.open("ab") as file:
            file.write(whole.splitlines()[1][:100])
        badges.signed("b.json", 2)
        assert issue(cli, key).status == 0
        assert journal.read_bytes().startswith(whole)
        assert len(ledger.issued()) == 2
        for at in (10, len(whole) // 2, len(whole) - 30):
            journal.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            assert issue(cli, key).status == 2

    def test_a_folder_belongs_to_one_issuance(self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges) -> None:
        """Another log's journal is not continued, and two runs at once do not share one."""
        badges.signed("a.json", 1)
        issue(cli, key)
        out = cli.folder / "out"
        with pytest.raises(InputError, match="take another --out"), Journal(out, "other.example/log", bytes(32)):
            pass
        with Journal(cli.folder / "new", "other.example/log", bytes(32)):
            pass  # a run that sent nothing binds nobody
        with Journal(cli.folder / "new", "log.example", bytes(range(32))):
            pass
        issuer = next(iter(ledger.log.replay.issuers))
        with Journal(out, ledger.origin, issuer):
            ran = issue(cli, key)
        assert ran.status == 2
        assert "another run" in ran.err


class TestJournal:
    def test_what_is_sent_is_on_the_disk_before(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """`send` returns after fsync of the line."""
        log = LogBuilder()
        issuer = log.issuer("https://a.example/", lists=1)
        block = log.block(issuer, [issuer.issue(1), issuer.issue(2)])
        synced: list[int] = []
        real = os.fsync

        def fsync(fd: int) -> None:
            synced.append(os.fstat(fd).st_size)
            real(fd)

        monkeypatch.setattr(os, "fsync", fsync)
        with Journal(tmp_path, log.origin, issuer.id) as journal:
            sent = journal.send(block)
            assert synced[-1] == (tmp_path / NAME).stat().st_size
            sent.first_index = 7
            journal.logged(sent)
            other = journal.send(log.block(issuer, [issuer.issue(3)]))
            journal.void(other, "window")
        with Journal(tmp_path, log.origin, issuer.id) as journal:
            (again, gone) = journal.sent
            assert (again.body, again.first_index, again.open, gone.void) == (sent.body, 7, False, True)
            assert set(journal.standing()) == set(block.commitments())


def test_slots_in_badges() -> None:
    """Only this ledger's addresses count, in all their spellings, and two of them contradict each other."""
    issuer = BadgeIssuer(bytes(32))

    def slot(*entries: dict[str, Any]) -> int | None:
        return embedded_slot(read(ob3_json(issuer, 1, status=list(entries))), "l.example/status/")

    assert slot() is None
    assert slot(status_entry("https://l.example/status/3", 9)) == 3 * LIST_SLOTS + 9
    assert slot(status_entry("https://l.example/status/3/revocation", 9)) == 3 * LIST_SLOTS + 9
    assert slot(status_entry("https://m.example/status/3", 9)) is None
    both = [status_entry("https://l.example/status/3", 9, purpose) for purpose in ("revocation", "suspension")]
    assert slot(*both) == 3 * LIST_SLOTS + 9
    with pytest.raises(InputError):
        slot(*both, status_entry("https://l.example/status/4", 9))
