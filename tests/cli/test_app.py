"""The frame of the command line: help, configuration, errors, streams."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from ledger.cli import app
from ledger.cli.app import COMMANDS, all_commands
from ledger.cli.output import format_age, format_time, plain
from tests.cli.conftest import Cli
from tests.fakes import FakeLedger

LEAVES = sorted(name for name, found in all_commands().items() if not isinstance(found, click.Group))


class TestHelp:
    @pytest.mark.parametrize("name", LEAVES)
    def test_every_command_explains_itself_with_an_example(self, cli: Cli, name: str) -> None:
        """--help and -h: what it does, an example that begins with the command's own name, every option explained."""
        out = cli.ok(*name.split(" "), "--help").out
        assert f"Example:\n    badge-ledger {name}" in out
        assert cli.ok(*name.split(" "), "-h").out == out
        for parameter in all_commands()[name].params:
            if isinstance(parameter, click.Option):
                assert parameter.help, parameter.name

    @pytest.mark.parametrize("name", LEAVES)
    def test_every_command_takes_json_and_config(self, name: str) -> None:
        """A script can rely on both."""
        assert {"json", "config"} <= {parameter.name for parameter in all_commands()[name].params}

    def test_the_root_lists_every_command(self, cli: Cli) -> None:
        """With a line on each."""
        out = cli.ok("--help").out
        for name in COMMANDS:
            assert re.search(rf"^  {name} +\S", out, re.MULTILINE)

    def test_version(self, cli: Cli) -> None:
        """One line."""
        assert re.fullmatch(r"badge-ledger \d+\.\d+\.\d+\n", cli.ok("--version").out)

    def test_verify_starts_fast_and_loads_neither_client_nor_server(self) -> None:
        """What a start costs is what it imports: click, msgspec, and fewer than 60 modules beside those of click;
        no client, no server, no cryptography."""
        code = (
            "import sys, click; beside = set(sys.modules); from ledger.cli.app import run; run(['verify', '--help']);"
            "loaded = sys.modules.keys() - beside; assert len(loaded) < 60, sorted(loaded);"
            "assert not {'aiohttp', 'asyncpg', 'asyncio', 'nacl', 'structlog', 'pyld'} & sys.modules.keys()"
        )
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr


class TestErrors:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["frobnicate"],
            ["verify"],
            ["verify", "--no-such-option"],
            ["log"],
            ["log", "--url", "http://127.0.0.1:9"],
            ["log", "--url", "nonsense"],
            ["log", "--url", "http://127.0.0.1:9", "--policy", "missing.policy"],
            ["revoke", "1", "--key", "missing.key", "--url", "http://127.0.0.1:9"],
            ["revoke", "1", "--reason", "boredom", "--key", "k", "--url", "http://127.0.0.1:9"],
            ["verify", "missing.json", "--policy", "missing.policy"],
            ["verify", "missing.json", "--log-key", "x", "--policy", "missing.policy"],
            ["policy", "check", "missing.policy"],
            ["keygen", "no/such/folder/k.key"],
            ["check", "--data", "missing"],
            ["log", "--url", "http://127.0.0.1:9", "--config", "missing.toml"],
        ],
    )
    def test_what_goes_wrong_ends_in_one_sentence(self, cli: Cli, arguments: list[str]) -> None:
        """One line on stderr that begins with the program's name, nothing on stdout, exit status 2."""
        ran = cli(*arguments)
        assert (ran.status, ran.out) == (2, "")
        assert re.fullmatch(r"badge-ledger: [^\n]+\n", ran.err)

    def test_with_json_an_error_is_a_document_too(self, cli: Cli) -> None:
        """Type and sentence, for whoever reads only stdout."""
        ran = cli("log", "--url", "http://127.0.0.1:9", "--json")
        assert ran.json["error"]["type"] == "urn:badge-ledger:problem:unavailable"
        assert "cannot reach" in ran.json["error"]["detail"]

    def test_a_bug_is_told_without_a_traceback(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """Unless the variable that asks for one is set."""

        def broken(*_: object) -> None:
            raise ZeroDivisionError("oops")

        monkeypatch.setattr("ledger.cli.options.load_policy", broken)
        monkeypatch.setattr("ledger.cli.verify.load_policy", broken)
        ran = cli("verify", "x.json", "--policy", "y")
        assert (ran.status, ran.out) == (2, "")
        assert ran.err == ("badge-ledger: this is a bug: ZeroDivisionError: oops (BADGE_LEDGER_DEBUG=1 shows where)\n")
        monkeypatch.setenv("BADGE_LEDGER_DEBUG", "1")
        with pytest.raises(ZeroDivisionError):
            cli("verify", "x.json", "--policy", "y")

    def test_an_interrupt_says_what_is_safe(
        self, cli: Cli, ledger: FakeLedger, key: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Exit status 130 and a sentence about this very command."""

        def interrupted(coroutine: object) -> None:
            coroutine.close()  # type: ignore[attr-defined]
            raise KeyboardInterrupt

        monkeypatch.setattr(asyncio, "run", interrupted)
        ran = cli("revoke", "1", "--key", key)
        assert ran.status == 130
        assert "badge-ledger: interrupted; what was sent may be logged: run the same command again" in ran.err

    def test_a_server_cannot_write_to_the_terminal(self, cli: Cli, ledger: FakeLedger) -> None:
        """Control characters in what a server says come out as escapes."""
        ledger.log.issuer("https://\u202eevil.example/")
        ledger.log.seal()
        assert "\\u202eevil" in cli.ok("issuer", "list").out
        assert plain("a\x1b[31mb\nc\u200b") == "a\\x1b[31mb\\nc\\u200b"


class TestConfiguration:
    def test_every_option_has_its_variables(
        self, cli: Cli, ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """BADGE_LEDGER_<OPTION> for all commands, BADGE_LEDGER_<COMMAND>_<OPTION> before it, the option before both."""
        assert cli.ok("log", "--json").json["origin"] == ledger.origin
        monkeypatch.setenv("BADGE_LEDGER_LOG_URL", "http://127.0.0.1:9")
        assert cli("log").status == 2
        assert cli("log", "--url", ledger.url).status == 0
        monkeypatch.setenv("BADGE_LEDGER_JSON", "1")
        assert cli("log", "--url", ledger.url).json["origin"] == ledger.origin

    def test_a_file_is_found_and_every_other_place_wins(
        self, cli: Cli, ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """./badge-ledger.toml, then the user's own; a command's table wins over the general options."""
        monkeypatch.delenv("BADGE_LEDGER_URL")
        user = cli.folder / "no-config" / "badge-ledger" / "config.toml"
        user.parent.mkdir(parents=True)
        user.write_text(f'url = "{ledger.url}"\njson = true\n')
        assert cli.ok("log").json["origin"] == ledger.origin
        (cli.folder / "badge-ledger.toml").write_text('url = "http://127.0.0.1:9"\n')
        assert cli("log").status == 2
        (cli.folder / "badge-ledger.toml").write_text(f'url = "http://127.0.0.1:9"\n[log]\nurl = "{ledger.url}"\n')
        assert cli("log").status == 0
        assert cli("issuer", "list").status == 2
        (cli.folder / "badge-ledger.toml").write_text(f'[issuer.list]\nurl = "{ledger.url}"\n')
        assert cli("issuer", "list").status == 0
        monkeypatch.setenv("BADGE_LEDGER_URL", "http://127.0.0.1:9")
        assert cli("issuer", "list").status == 2

    def test_the_file_is_named_before_or_behind_the_command(self, cli: Cli, ledger: FakeLedger) -> None:
        """And its paths are relative to itself."""
        (cli.folder / "etc").mkdir()
        (cli.folder / "trust.policy").rename(cli.folder / "etc" / "mine.policy")
        (cli.folder / "etc" / "c.toml").write_text('policy = "mine.policy"\nlast = 2\n')
        for arguments in (("--config", "etc/c.toml", "log"), ("log", "--config", "etc/c.toml")):
            assert len(cli.ok(*arguments, "--json").json["entries"]) == 2

    @pytest.mark.parametrize(
        "text, says",
        [
            ("urll = 'x'", "no command has an option 'urll'"),
            ("[isue]\nout = 'x'", "there is no command 'isue'"),
            ("[log]\nout = 'x'", "log has no option 'out'"),
            ("url = {a = 1}", "no command 'url'"),
            ("url = ", "not a TOML file"),
        ],
    )
    def test_a_misspelt_option_is_no_silent_default(self, cli: Cli, text: str, says: str) -> None:
        """Every name in the file has to exist."""
        (cli.folder / "badge-ledger.toml").write_text(text)
        ran = cli("log", "--url", "http://127.0.0.1:9")
        assert ran.status == 2
        assert says in ran.err


class TestOutput:
    def test_nothing_is_coloured_where_it_is_piped(self, cli: Cli, ledger: FakeLedger) -> None:
        """No escape sequence on a stream that is no terminal."""
        assert "\x1b" not in cli.ok("log").out

    @pytest.mark.parametrize(
        "seconds, text",
        [(0, "0 seconds"), (1, "1 second"), (119, "119 seconds"), (120, "2 minutes"), (7200, "2 hours")],
    )
    def test_ages_are_short(self, seconds: int, text: str) -> None:
        """The largest unit of which there are two."""
        assert format_age(seconds) == text

    def test_times_never_fail(self) -> None:
        """Not even those of a log that lies about the century."""
        assert format_time(0) == "1970-01-01 00:00:00 UTC"
        assert format_time(2**63) == f"{2**63} ms"

    def test_a_closed_pipe_is_no_error(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """`badge-ledger ... | head` ends quietly."""
        monkeypatch.setattr("os.dup2", lambda *_: None)

        def broken(*_: object, **__: object) -> None:
            raise BrokenPipeError

        monkeypatch.setattr(app.root, "main", broken)
        ran = cli("log")
        assert (ran.status, ran.err) == (0, "")
