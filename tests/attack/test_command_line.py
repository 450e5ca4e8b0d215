"""Wrong inputs to the command line: one sentence, the right exit status, nothing lost, and never "this is a bug"."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger import errors
from ledger.block import Block
from ledger.cli import issuing
from ledger.cli.output import Output
from tests.cli.conftest import Badges, Cli, Ran
from tests.fakes import FakeLedger
from tests.receipt_builder import policy_text


def refused(ran: Ran, *words: str) -> None:
    assert ran.status == 2
    assert ran.err.count("\n") == 1
    assert "bug" not in ran.err
    for word in words:
        assert word in ran.err


@pytest.mark.parametrize(
    "toml",
    [
        "issue = {batch = [1]}",
        'policy = ["a", "b"]',
        'policy = "\\u0000"',
        'key = "~there-is-no-such-user/key"',
        "a = " + "[" * 5000,
    ],
)
def test_options_of_the_wrong_kind(cli: Cli, key: Path, badges: Badges, toml: str) -> None:
    """Lists where one value belongs, zero bytes, homes of nobody, nesting without end."""
    badges.signed("a.json", 1)
    (cli.folder / "odd.toml").write_text(toml + "\n")
    refused(cli("issue", "badges", "--out", "out", "--config", "odd.toml"), "odd.toml")


@pytest.mark.parametrize(
    "url",
    ["http://[::1", "http://" + "a" * 300 + "/", "http://..../", "http://127.0.0.1:99999/", "http://127.0.0.1:x/"],
)
def test_addresses_that_are_none(cli: Cli, url: str) -> None:
    refused(cli("log", "--url", url), "not the URL of a ledger")


def test_a_key_that_is_no_text(cli: Cli, key: Path) -> None:
    (cli.folder / "odd").write_bytes(b"\xff\xfe")
    refused(cli("revoke", "--signed-by", "odd", "--since", "0", "--key", key), "odd")


def test_a_key_without_a_name(cli: Cli) -> None:
    refused(cli("keygen", ""), "file name")


def test_a_folder_that_leads_to_itself(cli: Cli, key: Path, badges: Badges) -> None:
    badges.signed("a.json", 1)
    (cli.folder / "loop").symlink_to("loop")
    refused(cli("issue", "badges", "--out", "loop", "--key", key), "loop")


@pytest.mark.parametrize("option", ["--policy", "--config"])
def test_files_without_an_end(cli: Cli, key: Path, badges: Badges, option: str) -> None:
    """They used to be read until memory was full."""
    path = badges.signed("a.json", 1)
    cli.ok("issue", "badges", "--out", "out", "--key", key)
    arguments = [
        "verify",
        str(path),
        "--receipt",
        "out/a.receipt.json",
        "--policy",
        "trust.policy",
        option,
        "/dev/zero",
    ]
    program = [sys.executable, "-c", "from ledger.cli.app import main; main()", *arguments]

    def little_memory() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))

    ran = subprocess.run(
        program, cwd=cli.folder, capture_output=True, text=True, preexec_fn=little_memory, timeout=60, check=False
    )
    refused(Ran(ran.returncode, ran.stdout, ran.stderr), "/dev/zero", "not a regular file")


def test_names_that_are_no_unicode(cli: Cli, key: Path, badges: Badges) -> None:
    """A file name is bytes; --json shows those that are no UTF-8 as escapes."""
    path = badges.signed("a.json", 1)
    cli.ok("issue", "badges", "--out", "out", "--key", key)
    odd = cli.folder / os.fsdecode(b"\xff.json")
    path.rename(odd)
    shown = cli("verify", odd, "--receipt", "out/a.receipt.json", "--policy", "trust.policy", "--json")
    assert shown.status == 0
    assert shown.json["badge"].endswith("\\udcff.json")


def test_results_cannot_turn_the_terminal_around(capsys: pytest.CaptureFixture[str]) -> None:
    """An identifier may hold marks that reverse the text behind them; they are shown as escapes."""
    Output().lines("issuer   https://\u202eexample.org", "a\u2028b\x1b[31m")
    assert capsys.readouterr().out == "issuer   https://\\u202eexample.org\na\\u2028b\\x1b[31m\n"


def test_a_terminal_of_few_characters(cli: Cli) -> None:
    """What the terminal's encoding lacks is shown as an escape."""
    (cli.folder / "trust.policy").write_text(policy_text("b\u00fccher.example/log"))
    program = [sys.executable, "-c", "from ledger.cli.app import main; main()", "policy", "check", "trust.policy"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ran = subprocess.run(program, cwd=cli.folder, capture_output=True, text=True, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr


class Careful(FakeLedger):
    """A ledger that refuses badges that it has, and names few of them at a time."""

    named = 4

    def append(self, block: Block) -> tuple[int, int]:
        known = set(self.issued())
        again = [k for k, commitment in enumerate(block.commitments()) if commitment in known]
        if again:
            raise errors.RuleViolation("issued before", rule="duplicate-commitment", positions=again[: self.named])
        return super().append(block)


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> Iterator[FakeLedger]:
    """In place of the one of tests/cli."""
    monkeypatch.setattr(issuing, "_MAX_POSITIONS", Careful.named)
    with Careful() as running:
        monkeypatch.setenv("BADGE_LEDGER_URL", running.url)
        (cli.folder / "trust.policy").write_text(policy_text(running.origin))
        yield running


def test_many_badges_that_another_folder_has(cli: Cli, ledger: Careful, key: Path, badges: Badges) -> None:
    """A run without the first one's journal finds every badge in the log, however many a refusal names: with more than
    three refusals' worth, the rest was said to have failed because "its slot is taken"."""
    for number in range(30):
        badges.signed(f"{number}.json", number)
    cli.ok("issue", "badges", "--out", "first", "--key", key)
    badges.signed("new.json", 99)
    cli.ok("issue", "badges", "--out", "second", "--key", key)
    assert len(list((cli.folder / "second").glob("*.receipt.json"))) == 31
    assert len(ledger.issued()) == len(set(ledger.issued())) == 31
    assert len(ledger.bodies) == 3


def test_a_disk_that_is_full(
    cli: Cli, ledger: Careful, key: Path, badges: Badges, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence with the folder, what is done and what is open; the same command finishes it."""
    for number in range(5):
        badges.signed(f"{number}.json", number)

    real = os.write

    def full(file: int, data: bytes) -> int:
        if data.startswith(b'{"format"'):
            raise OSError(28, "No space left on device")
        return real(file, data)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        ran = cli("issue", "badges", "--out", "out", "--key", key)
    assert ran.status == 2
    assert "out: no space left on device; 5 badges are open: run the same command again" in ran.err
    cli.ok("issue", "badges", "--out", "out", "--key", key)
    assert len(ledger.issued()) == 5
