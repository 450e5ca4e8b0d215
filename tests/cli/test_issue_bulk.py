"""`issue` for whole classes: every kind of source, every moment of dying, every lie, and what it says at the end."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ledger.badges import read
from ledger.cli import workers, writing
from ledger.cli.files import is_for, read_receipt
from ledger.cli.journal import Journal
from ledger.cli.report import DEFAULT_NAME
from ledger.cli.workers import Workers
from ledger.client import LedgerClient
from ledger.errors import InputError, OperationError
from ledger.keyfile import load_issuer_key, load_key
from ledger.listproof import ListProof, parse_list_proof
from ledger.receipt import with_salt
from ledger.receipt_json import format_json
from ledger.tiles import Tile, decode_bundle, encode_bundle
from tests.cli.conftest import Badges, Cli, Ran
from tests.fakes import FakeLedger
from tests.samples import BadgeIssuer, ob2_hosted, ob3_json, ob3_jwt, ob3_png


def issue(cli: Cli, key: Path, *arguments: str | Path, out: str = "out") -> Ran:
    return cli("issue", *arguments, "--out", out, "--key", key)


def receipts_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.receipt.json") if ".badge-ledger" not in str(path))


@pytest.fixture
def issuer(key: Path) -> BadgeIssuer:
    """The issuer behind the key, as badge tools know it."""
    return BadgeIssuer(load_issuer_key(key).seed)


class TestSources:
    def test_every_source_ends_in_receipts_that_verify(
        self, cli: Cli, ledger: FakeLedger, key: Path, issuer: BadgeIssuer
    ) -> None:
        """A folder, a ZIP, CSV and NDJSON with badges and with names of files, in one run: one submission."""
        documents: dict[str, bytes] = {}

        def made(name: str, badge: bytes | str) -> bytes:
            documents[name] = badge if isinstance(badge, bytes) else badge.encode()
            return documents[name]

        (cli.folder / "dir").mkdir()
        (cli.folder / "dir" / "one.json").write_bytes(made("one", ob3_json(issuer, 1)))
        with zipfile.ZipFile("export.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x/two.png", made("x/two", ob3_png(issuer, 2)))
            archive.writestr("../three.jwt", made("three", ob3_jwt(issuer, 3)))
        with open("class.csv", "w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["receipt", "credential"])
            table.writerow(["ann", made("ann", ob2_hosted(issuer, 4)).decode()])
            table.writerow(["", made("class-3", ob3_jwt(issuer, 5)).decode()])
        (cli.folder / "six.json").write_bytes(made("six", ob3_json(issuer, 6)))
        lines = [json.dumps(made("more-1", ob3_jwt(issuer, 7)).decode()), made("more-2", ob3_json(issuer, 8)).decode()]
        Path("more.ndjson").write_text("\n".join([*lines, '{"file": "six.json"}']))
        ran = issue(cli, key, "dir", "export.zip", "class.csv", "more.ndjson")
        assert ran.status == 0, ran.err
        assert "8 issued" in ran.out
        assert len(ledger.bodies) == 1
        assert {str(p.relative_to("out")) for p in receipts_in(Path("out"))} == {
            f"{name}.receipt.json" for name in documents
        }
        for name, data in documents.items():
            file_ = cli.folder / "check.bin"
            file_.write_bytes(data)
            cli.ok("verify", file_, "--receipt", f"out/{name}.receipt.json", "--policy", "trust.policy")
        assert "0 issued, 8 issued before" in issue(cli, key, "dir", "export.zip", "class.csv", "more.ndjson").out

    def test_receipts_are_what_the_ledger_answers(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges
    ) -> None:
        """To the byte, in both profiles, with the salt put in."""
        for number in range(5):
            badges.signed(f"s{number}.json", number)
            badges.hosted(f"h{number}.json", number)
        for profile in ("full", "short"):
            assert issue(cli, key, "badges", "--profile", profile, out=profile).status == 0
            for path in receipts_in(Path(profile)):
                receipt = read_receipt(path)
                expected = with_salt(ledger.receipt(receipt.index, profile), receipt.salt)
                assert path.read_bytes() == format_json(expected)

    def test_a_bad_row_is_told_with_its_place(self, cli: Cli, key: Path, issuer: BadgeIssuer) -> None:
        """And the others are issued."""
        Path("c.ndjson").write_text("\n".join(["{}", json.dumps(ob3_jwt(issuer, 1).decode()), '{"file": "gone.json"}']))
        ran = issue(cli, key, "c.ndjson")
        assert ran.status == 1
        assert "c.ndjson, row 1: the JSON is neither" in ran.err
        assert "c.ndjson, row 3 (gone.json): no such file" in ran.err
        assert "1 issued, 2 failed" in ran.out

    def test_an_input_that_is_none_issues_nothing(self, cli: Cli, ledger: FakeLedger, key: Path) -> None:
        """One sentence, exit status 2."""
        Path("c.csv").write_text("name\nx\n")
        ran = issue(cli, key, "c.csv")
        assert ran.status == 2
        assert "the header needs one column" in ran.err
        assert not ledger.bodies


class TestTranscripts:
    @pytest.fixture
    def transcript(self, cli: Cli, issuer: BadgeIssuer) -> Path:
        """A CLR with two badges of its issuer, one of another, and a transcript with one more in it."""
        inner = [
            json.loads(ob3_json(issuer, 1)),
            ob3_jwt(issuer, 2).decode(),
            json.loads(ob3_json(BadgeIssuer(bytes(32)), 3)),
        ]
        deeper = self.clr(json.loads(ob3_json(issuer, 5))["issuer"], [ob3_jwt(issuer, 4).decode()])
        path = cli.folder / "clr.json"
        path.write_text(json.dumps(self.clr(json.loads(ob3_json(issuer, 5))["issuer"], [*inner, deeper])))
        return path

    @staticmethod
    def clr(issuer: Any, inner: list[Any]) -> dict[str, Any]:
        return {
            "@context": ["https://www.w3.org/ns/credentials/v2"],
            "type": ["VerifiableCredential", "ClrCredential"],
            "issuer": issuer,
            "name": "Transcript",
            "validFrom": "2026-01-01T00:00:00Z",
            "credentialSubject": {"type": ["ClrSubject"], "verifiableCredential": inner},
        }

    def test_only_the_whole_by_default(self, cli: Cli, ledger: FakeLedger, key: Path, transcript: Path) -> None:
        """With a note that there is more inside."""
        ran = issue(cli, key, transcript)
        assert ran.status == 0, ran.err
        assert len(ledger.issued()) == 1
        assert "not anchored by themselves (--nested does that): 4 badges\n" in ran.err
        assert "of other issuers and theirs to anchor: 1 badge\n" in ran.err

    def test_each_by_itself_on_demand(self, cli: Cli, ledger: FakeLedger, key: Path, transcript: Path) -> None:
        """Those of this issuer, at any depth; the receipt is for the inner badge as if it had been handed in alone."""
        ran = issue(cli, key, transcript, "--nested")
        assert ran.status == 0, ran.err
        assert len(ledger.issued()) == 5
        names = {path.name for path in receipts_in(Path("out"))}
        assert names == {f"clr{number}.receipt.json" for number in ("", ".1", ".2", ".4", ".4.1")}
        inner = json.loads(transcript.read_text())["credentialSubject"]["verifiableCredential"]
        assert is_for(read_receipt(Path("out/clr.1.receipt.json")), read(json.dumps(inner[0]).encode()))
        assert is_for(read_receipt(Path("out/clr.2.receipt.json")), read(inner[1].encode()))

    def test_what_is_inside_and_broken_fails_alone(self, cli: Cli, key: Path, issuer: BadgeIssuer) -> None:
        """The transcript itself is issued, with --nested the rest is told."""
        document = self.clr(json.loads(ob3_json(issuer, 5))["issuer"], ["no.token"])
        Path("clr.json").write_text(json.dumps(document))
        assert issue(cli, key, "clr.json").status == 0
        ran = issue(cli, key, "clr.json", "--nested")
        assert ran.status == 1
        assert "1 issued before, 1 failed" in ran.out
        assert "what is inside cannot be read" in ran.err


class TestCounts:
    def test_only_what_this_run_issued_counts_as_issued(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges
    ) -> None:
        """Copies of a badge, and badges that another run logged, were issued before."""
        badges.signed("a.json", 1)
        badges.signed("copy.json", 1)
        badges.signed("b.json", 2)
        assert "2 issued, 1 issued before" in issue(cli, key, "badges").out
        (cli.folder / "out" / "b.receipt.json").unlink()
        assert "0 issued, 3 issued before" in issue(cli, key, "badges").out
        assert len(receipts_in(Path("out"))) == 3
        assert len(ledger.issued()) == 2

    def test_a_badge_that_says_it_is_revoked_is_refused(self, cli: Cli, key: Path, badges: Badges) -> None:
        """Open Badges 2.0 say so in the hosted document: nothing to anchor."""
        path = badges.hosted("a.json", 1)
        path.write_text(json.dumps(json.loads(path.read_text()) | {"revoked": True}))
        ran = issue(cli, key, "badges")
        assert ran.status == 1
        assert "says of itself that it is revoked" in ran.err

    def test_an_expired_badge_is_issued_with_a_note(self, cli: Cli, key: Path, badges: Badges) -> None:
        """Old badges are worth proving too."""
        path = badges.hosted("a.json", 1)
        path.write_text(json.dumps(json.loads(path.read_text()) | {"expires": "2020-01-01T00:00:00Z"}))
        ran = issue(cli, key, "badges")
        assert ran.status == 0
        assert "past the end of validity already: 1 badge\n" in ran.err


class TestReport:
    @pytest.fixture
    def spoilt(self, badges: Badges) -> list[Path]:
        """Three files with one fault, one with another, one good one."""
        paths = [badges.folder / f"bad{number}.json" for number in range(3)]
        badges.signed("good.json", 1)
        for path in paths:
            path.write_text('{"x": 1}')
        (badges.folder / "=cmd.txt").write_text("")
        return [*paths, badges.folder / "=cmd.txt"]

    def test_one_beside_the_receipts(self, cli: Cli, key: Path, spoilt: list[Path]) -> None:
        """Every file that failed with its reason; gone when nothing fails any more. The terminal groups reasons."""
        ran = issue(cli, key, "badges")
        assert ran.status == 1
        assert "3 badges: the JSON is neither" in ran.err
        assert f"report: out/{DEFAULT_NAME}" in ran.err
        report = cli.folder / "out" / DEFAULT_NAME
        rows = [json.loads(line) for line in report.read_text().splitlines()]
        assert {row["badge"] for row in rows} == {f"badges/{path.name}" for path in spoilt}
        assert {row["result"] for row in rows} == {"failed"}
        assert all(row["reason"] for row in rows)
        for path in spoilt:
            path.unlink()
        assert issue(cli, key, "badges").status == 0
        assert not report.exists()

    def test_as_csv_where_one_asks_for_it(self, cli: Cli, key: Path, spoilt: list[Path]) -> None:
        """With a header, also when nothing failed; no cell begins a formula."""
        os.chdir("badges")
        ran = cli("issue", *(p.name for p in spoilt), "--out", "../out", "--key", key, "--report", "../r.csv")
        assert ran.status == 1
        with (cli.folder / "r.csv").open(newline="") as file:
            rows = list(csv.reader(file))
        assert rows[0] == ["badge", "result", "reason"]
        assert len(rows) == 5
        assert "'=cmd.txt" in {row[0] for row in rows}
        assert cli("issue", "good.json", "--out", "../out", "--key", key, "--report", "../r.csv").status == 0
        assert (cli.folder / "r.csv").read_text() == "badge,result,reason\n"

    def test_with_strict_it_tells_why_nothing_was_issued(
        self, cli: Cli, ledger: FakeLedger, key: Path, spoilt: list[Path]
    ) -> None:
        """All of the faults, not only the first."""
        ran = issue(cli, key, "badges", "--strict", "--report", "r.ndjson")
        assert ran.status == 2
        assert "4 of 5 badges cannot be used" in ran.err
        assert len((cli.folder / "r.ndjson").read_text().splitlines()) == 4
        assert not ledger.bodies

    def test_its_form_is_known_before_anything_is_done(self, cli: Cli, ledger: FakeLedger, key: Path) -> None:
        """Another ending is refused."""
        ran = issue(cli, key, key, "--report", "r.txt")
        assert ran.status == 2
        assert "a report ends in" in ran.err


class TestPrivacy:
    def test_nothing_of_a_badge_reaches_the_service(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges
    ) -> None:
        """Of all bytes sent, in paths, headers and bodies: no salt, no key, no piece of a badge, no file name."""
        paths = [badges.hosted("secret-name.json", 1), badges.signed("other-name.json", 2)]
        ledger.received.clear()  # registering told the identifier
        assert issue(cli, key, "badges", "--salt").status == 0
        sent = b"\n".join(ledger.received)
        assert len(sent) > 200
        salts = [read_receipt(path).salt or b"" for path in receipts_in(Path("out"))]
        secrets = [*salts, load_key(f"{key}.salt").seed, load_issuer_key(key).seed]
        for secret in secrets:
            assert len(secret) == 32
            assert secret not in sent
            assert secret.hex().encode() not in sent
        assert b"-name" not in sent

        def strings(value: Any) -> list[str]:
            if isinstance(value, dict):
                return [text for each in value.values() for text in strings(each)]
            if isinstance(value, list):
                return [text for each in value for text in strings(each)]
            return [value] if isinstance(value, str) else []

        for path in paths:
            texts = [text for text in strings(json.loads(path.read_text())) if len(text) > 3]
            assert len(texts) > 5
            assert [text for text in texts if text.encode() in sent] == []

    def test_without_the_salt_key_the_commitment_cannot_be_found_again(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges
    ) -> None:
        """Erasure: salt key and receipt destroyed, the entry is about nothing any more, for its issuer too."""
        path = badges.hosted("a.json", 1)
        assert issue(cli, key, "badges").status == 0
        (commitment,) = ledger.issued()
        (cli.folder / "acme.key.salt").unlink()
        (cli.folder / "out" / "a.receipt.json").unlink()
        cli.ok("keygen", "--kind", "salt", "acme.key.salt")
        issue(cli, key, path, out="again")
        assert read_receipt(cli.folder / "again" / "a.receipt.json").issue_entry().commitment != commitment


KILLS = {
    "before the journal": "journal.Journal.send",
    "after the journal, before sending": "issuing.Issuance._send",
    "after the answer": "journal.Journal.logged",
    "while receipts are made": "writing.ReceiptWriter._prove",
    "while receipts are written": "writing.Template.format",
    "before the sync": "writing.sync_folder",
    "before they are moved": "writing.move",
    "while they are moved": "writing.os.replace",
}
START = """
import os, signal, sys
from ledger.cli import issuing, journal, writing
def die(real, after):
    calls = []
    def function(*arguments, **named):
        calls.append(1)
        if len(calls) > after:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)
    return function
owner, _, name = sys.argv[1].rpartition(".")
target = eval(owner)
setattr(target, name, die(getattr(target, name), int(sys.argv[2])))
from ledger.cli import main
del sys.argv[1:3]
main()
"""


@pytest.mark.parametrize("stage", KILLS)
def test_killed_at_any_moment_a_rerun_finishes(
    cli: Cli, ledger: FakeLedger, key: Path, badges: Badges, stage: str
) -> None:
    """SIGKILL, a real one: no badge twice, no receipt missing or half, nothing left behind."""
    files = [badges.hosted(f"{number}.json", number) for number in range(6)]
    after = 3 if KILLS[stage].endswith(("replace", "format")) else 1
    arguments = ["issue", "badges", "--out", "out", "--key", str(key), "--batch", "2"]
    done = subprocess.run(
        [sys.executable, "-c", START, KILLS[stage], str(after), *arguments],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    for path in receipts_in(Path("out")):
        read_receipt(path)
    ran = issue(cli, key, "badges", "--batch", "2")
    assert ran.status == 0, ran.err
    assert len(ledger.issued()) == len(set(ledger.issued())) == 6
    for file in files:
        receipt = f"out/{file.stem}.receipt.json"
        cli.ok("verify", file, "--receipt", receipt, "--policy", "trust.policy")
    assert sorted(
        path.name for path in Path("out").iterdir() if path.name not in {f"{n}.receipt.json" for n in range(6)}
    ) == [".badge-ledger-journal"]


def _lie_tile(ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    real = LedgerClient.tile

    async def lie(self: LedgerClient, tile: Tile) -> bytes:
        data = await real(self, tile)
        return data if tile.level < 0 else bytes([data[0] ^ 1]) + data[1:]

    monkeypatch.setattr(LedgerClient, "tile", lie)


def _lie_entries(ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    real = LedgerClient.tile

    async def lie(self: LedgerClient, tile: Tile) -> bytes:
        data = await real(self, tile)
        return encode_bundle(decode_bundle(data, tile.width)[::-1]) if tile.level < 0 else data

    monkeypatch.setattr(LedgerClient, "tile", lie)


def _lie_bits(ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    real = parse_list_proof

    def lie(data: bytes) -> ListProof:
        return msgspec.structs.replace(real(data), revocation=bytes(16_383) + b"\1")

    monkeypatch.setattr("ledger.client.parse_list_proof", lie)


def _lie_list(ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    real = parse_list_proof

    def lie(data: bytes) -> ListProof:
        return msgspec.structs.replace(real(data), list=1)

    monkeypatch.setattr("ledger.client.parse_list_proof", lie)


def _lie_count(ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ledger.append
    monkeypatch.setattr(ledger, "append", lambda block: (real(block)[0], 17))


def _lie_place(ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ledger.append
    monkeypatch.setattr(ledger, "append", lambda block: (real(block)[0] - 1, block.count))


def _lie_far_away(ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ledger.append
    monkeypatch.setattr(ledger, "append", lambda block: (real(block)[0] + 10**6, block.count))


@pytest.mark.parametrize("lie", [_lie_tile, _lie_entries, _lie_bits, _lie_list, _lie_count, _lie_place, _lie_far_away])
def test_no_receipt_is_written_that_does_not_prove(
    cli: Cli, ledger: FakeLedger, key: Path, badges: Badges, monkeypatch: pytest.MonkeyPatch, lie: Callable[..., None]
) -> None:
    """A ledger that shows something false: one sentence, no receipt, and the honest answer later finishes it."""
    for number in range(3):
        badges.signed(f"{number}.json", number)
    with monkeypatch.context() as patched:
        lie(ledger, patched)
        ran = issue(cli, key, "badges")
    assert ran.status in (1, 2)
    assert "3 open" in ran.out
    assert not receipts_in(Path("out"))


class TestWorkers:
    def test_many_badges_are_read_and_written_by_processes(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The same results as without, errors of single badges included."""
        monkeypatch.setattr(workers, "POOL_FROM", 3)
        started: list[int] = []
        real = Workers.start

        def start(self: Workers, processes: int) -> None:
            started.append(processes)
            real(self, processes)

        monkeypatch.setattr(Workers, "start", start)
        for number in range(7):
            badges.hosted(f"{number}.json", number)
        (badges.folder / "bad.json").write_text("{}")
        ran = issue(cli, key, "badges")
        assert started
        assert started[0] > 0
        assert "7 issued, 1 failed" in ran.out
        for path in receipts_in(Path("out")):
            receipt = read_receipt(path)
            assert path.read_bytes() == format_json(with_salt(ledger.receipt(receipt.index), receipt.salt))

    async def test_a_process_that_dies_is_told(self) -> None:
        """One sentence, not a traceback."""
        with Workers() as some:
            some.start(1)
            with pytest.raises(OperationError, match="a process of this run has ended"):
                await some.run(os._exit, 3)

    async def test_errors_come_back(self) -> None:
        """As they are raised there."""
        with Workers() as some:
            some.start(1)
            with pytest.raises(InputError, match="not the name"):
                await some.run(_raise)
            with pytest.raises(OSError, match="x"):
                await some.run(writing.move, "/nowhere/x", "/nowhere", [(0, "y")])

    def test_processes_end_with_their_parent(self) -> None:
        """However it ends: no orphans after kill -9."""
        code = (
            "import asyncio, os\nfrom ledger.cli.workers import Workers\n"
            "if __name__ == '__main__':\n"
            "    with Workers() as some:\n"
            "        some.start(1)\n"
            "        print(asyncio.run(some.run(os.getpid)), flush=True)\n"
            "        os.kill(os.getpid(), 9)\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == -9
        child = int(done.stdout)
        deadline = time.monotonic() + 20
        while Path(f"/proc/{child}").exists() and "\nState:\tZ" not in Path(f"/proc/{child}/status").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _raise() -> None:
    raise InputError("not the name of a file")


def test_a_full_disk_leaves_nothing_half(
    cli: Cli, ledger: FakeLedger, key: Path, badges: Badges, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence; what was logged is finished by the next run."""
    badges.signed("a.json", 1)
    real = os.write

    def full(file: int, data: bytes) -> int:
        return real(file, data[: len(data) // 2]) if data.startswith(b'{"format"') else real(file, data)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        ran = issue(cli, key, "badges")
    assert ran.status == 2
    assert "no space left" in ran.err
    assert not receipts_in(Path("out"))
    assert "1 issued before" in issue(cli, key, "badges").out
    assert len(ledger.issued()) == 1


def test_a_journal_without_receipts_is_finished_from_the_log(
    cli: Cli, ledger: FakeLedger, key: Path, badges: Badges
) -> None:
    """All receipts lost, the journal kept: they come back from public tiles, and nothing is sent again."""
    for number in range(4):
        badges.hosted(f"{number}.json", number)
    assert issue(cli, key, "badges").status == 0
    before = {path.name: path.read_bytes() for path in receipts_in(Path("out"))}
    for path in receipts_in(Path("out")):
        path.unlink()
    assert "0 issued, 4 issued before" in issue(cli, key, "badges").out
    assert {path.name: path.read_bytes() for path in receipts_in(Path("out"))} == before
    assert len(ledger.bodies) == 1
    with Journal(Path("out"), ledger.origin, next(iter(ledger.log.replay.issuers))) as journal:
        assert [sent.open for sent in journal.sent] == [False]
