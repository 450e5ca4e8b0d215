"""Runs what README.md tells its reader to type, in the order it stands there, and checks that its links lead somewhere.

    python ops/check_readme.py            check
    python ops/check_readme.py --write    also bring the output of `... --help` in it up to date

Blocks fenced as `sh` are commands. Blocks fenced as `console` are commands after `$ ` with the output that follows:

- each line shown has to be printed, in that order, with more lines between them or not; numbers, times, keys and hashes
  may differ; `...` stands for anything; a line that is only `...` says that some was left out
- the output of a command with `--help` is compared whole and exactly
- the exit status of every command has to be 0; a reader sees another one by `; echo "exit status $?"`

All blocks share one shell's state, in a scratch folder that looks like the checkout. `badge-ledger serve` and `witness`
run in the background, one at a time, on a free port, which replaces the one in the text; `kill %1` stops it. What
ELSEWHERE names is not run here, because .ci/run runs it.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
ADDRESS = "http://127.0.0.1:8080"
#: Where the two services listen unless told otherwise.
ADDRESSES = {"serve": ADDRESS, "witness": "http://127.0.0.1:8090"}
ELSEWHERE = ("ops/demo", "ops/test")
DEADLINE_S = 120

#: Other names for a shell: a block under one of them would not be run.
SHELLS = ("bash", "shell", "zsh", "shell-session", "terminal", "")
#: What differs from run to run, and what it is compared as.
VARIABLE = (
    (re.compile(r"did:key:z[1-9A-HJ-NP-Za-km-z]+"), "<did>"),
    (re.compile(r"[A-Za-z0-9+/]{40,}={0,2}"), "<base64>"),
    (re.compile(r"\b[0-9a-f]{8,}\b"), "<hex>"),
    (re.compile(r"[0-9]+"), "<n>"),
    (re.compile(r"\s+"), " "),
)


class Problem(Exception):
    """The README does not hold."""


class Block(NamedTuple):
    """A fenced block: its language, the number of its first line in the file, and its lines."""

    language: str
    line: int
    rows: list[str]


class Command(NamedTuple):
    """A command, the number of its line in the file, and the lines shown below it (None in a `sh` block)."""

    line: int
    text: str
    shown: list[str] | None


def parse_blocks(text: str) -> list[Block]:
    """The fenced blocks. Raises Problem for one that is not closed, or that would hide a shell under another name."""
    blocks: list[Block] = []
    current: Block | None = None
    for number, row in enumerate(text.splitlines(), 1):
        if current is not None and row.strip() == "```":
            blocks.append(current)
            current = None
        elif current is not None:
            current.rows.append(row)
        elif row.startswith("```"):
            current = Block(row[3:].strip(), number + 1, [])
            if current.language in SHELLS:
                raise Problem(f"line {number}: name the block sh or console, or text if it is not to be run")
    if current is not None:
        raise Problem(f"line {current.line - 1}: the block is not closed")
    return blocks


def parse_commands(block: Block) -> list[Command]:
    """The commands of a block, one a line unless a backslash continues it; none in other languages. Raises Problem."""
    if block.language not in ("sh", "console"):
        return []
    is_console = block.language == "console"
    commands: list[Command] = []
    for number, row in enumerate(block.rows, block.line):
        if commands and not commands[-1].shown and commands[-1].text.endswith("\\"):
            last = commands.pop()
            commands.append(last._replace(text=f"{last.text}\n{row.removeprefix('> ')}"))
        elif is_console and row.startswith("$ "):
            commands.append(Command(number, row[2:], []))
        elif is_console and not commands:
            raise Problem(f"line {number}: a console block begins with a command after `$ `")
        elif is_console:
            shown = commands[-1].shown
            assert shown is not None
            shown.append(row)
        elif (text := re.sub(r"(^|\s+)#\s.*$", "", row)).strip():
            commands.append(Command(number, text, None))
    return commands


def missing(shown: list[str], printed: str) -> str | None:
    """The first line shown that was not printed, None if all were, in this order."""
    rows = iter([_comparable(row) for row in printed.splitlines()])
    for line in shown:
        if line.strip() in ("", "..."):
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in _comparable(line).split("...")))
        if not any(pattern.fullmatch(row) for row in rows):
            return line
    return None


def _comparable(row: str) -> str:
    for pattern, name in VARIABLE:
        row = pattern.sub(name, row)
    return row.strip()


def broken_links(text: str, folder: Path) -> list[str]:
    """Relative links and images whose file does not exist."""
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", text)
    return [target for target in targets if "://" not in target and not (folder / target).exists()]


class Shell:
    """One shell's state (folder, exported variables) across commands, and the service that they start."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.state = scratch / ".state"
        self.checkout = scratch / "checkout"
        self.checkout.mkdir()
        for name in (".venv", "ops", "docs", "README.md"):
            (self.checkout / name).symlink_to(ROOT / name)
        self.state.write_text(f"cd {shlex.quote(str(self.checkout))}\n")
        #: Where the service is by the text, and where it really is.
        self.shown = self.address = ADDRESS
        self.service: subprocess.Popen[bytes] | None = None
        own = {name: value for name, value in os.environ.items() if not name.startswith("BADGE_LEDGER_")}
        self.env = own | {"COLUMNS": "80", "XDG_CONFIG_HOME": str(scratch), "NO_COLOR": "1", "TMPDIR": str(scratch)}

    def run(self, text: str) -> str:
        """Run a command; what it prints, errors included. Raises Problem unless it exits with 0."""
        if service := re.match(r"badge-ledger (serve|witness)\b", text):
            self.shown = ADDRESSES[service[1]]
            return self._serve(text)
        if text.strip() == "kill %1":
            return self.stop()
        state = shlex.quote(str(self.state))
        # What the command leaves behind in its shell, the next one finds: exported variables and the folder.
        script = (
            f". {state}\nset -o pipefail\n{text.replace(self.shown, self.address)}\n_status=$?\n"
            f"{{ export -p; printf 'cd %q\\n' \"$PWD\"; }} > {state}\nexit $_status\n"
        )
        done = subprocess.run(
            ["bash", "-c", script],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=DEADLINE_S,
            check=False,
        )
        printed = done.stdout.decode("utf-8", "replace").replace(self.address, self.shown)
        if done.returncode != 0:
            raise Problem(f"exit status {done.returncode}: {text}\n{printed}")
        return printed

    def _serve(self, text: str) -> str:
        """Start the service of a command that ends in &; what it prints until it says where it is."""
        command, ampersand, rest = text.rpartition("&")
        if not ampersand or rest.strip():
            raise Problem(f"the service has to be started in the background, with an & at the end: {text}")
        out = self.scratch / "serve.out"
        # exec: the process that is started is the one to be ended.
        script = f". {shlex.quote(str(self.state))}\nexec {command} --listen 127.0.0.1:0\n"
        with out.open("wb") as stdout:
            self.service = subprocess.Popen(
                ["bash", "-c", script],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + DEADLINE_S
        while not (found := re.search(r" at (http://127\.0\.0\.1:[0-9]+)\n(?:  .*\n){2}", out.read_text())):
            if self.service.poll() is not None or time.monotonic() > deadline:
                raise Problem(f"the service did not start: {text}\n{out.read_text()}")
            time.sleep(0.05)
        self.address = found[1]
        return out.read_text().replace(self.address, self.shown)

    def stop(self) -> str:
        """End the service if there is one."""
        service, self.service = self.service, None
        if service is not None and service.poll() is None:
            service.send_signal(signal.SIGTERM)
            try:
                service.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(service.pid, signal.SIGKILL)
                service.wait()
        return ""


def check(text: str, shell: Shell, *, write: bool = False) -> str:
    """Run every command of a README; its text, with `write` with the present output of commands with --help.

    Raises Problem at the first command that fails or prints something else.
    """
    rows = text.splitlines()
    shift = 0
    for command in [command for block in parse_blocks(text) for command in parse_commands(block)]:
        if command.text.split()[0] in ELSEWHERE:
            if command.text.split()[0] not in (ROOT / ".ci" / "run").read_text():
                raise Problem(f"line {command.line}: .ci/run does not run {command.text}")
            continue
        printed = shell.run(command.text)
        if command.shown is None:
            continue
        if "--help" in command.text:
            lines = printed.rstrip("\n").splitlines()
            if command.shown != lines and not write:
                raise Problem(f"line {command.line}: out of date, ops/check_readme.py --write mends it: {command.text}")
            first = command.line + shift
            rows[first : first + len(command.shown)] = lines
            shift += len(lines) - len(command.shown)
        elif (line := missing(command.shown, printed)) is not None:
            raise Problem(f"line {command.line}: {command.text}\nshould print:\n  {line}\nand printed:\n{printed}")
    return "\n".join(rows) + "\n"


def main() -> int:
    text = README.read_text()
    try:
        links = broken_links(text, ROOT)
        if links:
            raise Problem(f"links lead nowhere: {', '.join(links)}")
        with tempfile.TemporaryDirectory(prefix="badge-ledger-readme-", ignore_cleanup_errors=True) as scratch:
            shell = Shell(Path(scratch))
            try:
                checked = check(text, shell, write="--write" in sys.argv[1:])
            finally:
                shell.stop()
    except (Problem, subprocess.TimeoutExpired) as error:
        print(f"README.md: {error}", file=sys.stderr)
        return 1
    if checked != text:
        README.write_text(checked)
        print("README.md: brought up to date")
    count = sum(len(parse_commands(block)) for block in parse_blocks(text))
    print(f"README.md: {count} commands do what it says")
    return 0


if __name__ == "__main__":
    sys.exit(main())
