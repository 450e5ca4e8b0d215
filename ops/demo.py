"""The demo: a ledger starts, badges are anchored, revoked and suspended, verified offline, and forgeries are refused.

Every line after a `$` is typed into a shell in a temporary folder, as you would type it, and what follows is what it
printed. The demo knows what each step has to show, stops at the first that does not, and then exits with status 1.
Nothing stays behind, also after Ctrl-C or a crash of the service, unless --keep asks for it.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
DEADLINE_S = 60  # for one command, for the service's start, for its end

#: Python runs this at its start when it is on PYTHONPATH. Whoever then opens a socket, or asks for a name, is ended.
NO_NETWORK = """\
import os, sys
def watch(event, arguments):
    if event.startswith("socket."):
        os.write(2, b"the network was used: " + event.encode() + b"\\n")
        os._exit(97)
sys.addaudithook(watch)
"""
NO_BITS = "A" * 86 + "=="  # base64 of 64 zero bytes: a chunk of the status tree in which nothing is revoked

#: Signals that came. Their handler only notes them: an exception out of nowhere, between the start of a process and
#: the line that remembers it, would leave that process behind.
SIGNALLED: list[int] = []


class Failed(Exception):
    """The demo did not show what it should."""


class Interrupted(Exception):
    """Somebody asked the demo to stop."""


class Screen:
    """Standard output, in colours where that is a terminal and NO_COLOR is not set."""

    def __init__(self) -> None:
        self.colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self.steps = 0
        self.notes: set[str] = set()

    def line(self, text: str = "", style: str = "") -> None:
        print(f"\033[{style}m{text}\033[0m" if style and self.colours else text, flush=True)

    def step(self, title: str) -> None:
        self.steps += 1
        self.line(f"\n{self.steps}. {title}", "1;36")

    def say(self, text: str) -> None:
        self.line(f"   # {text}", "2")

    def command(self, text: str) -> None:
        self.line(f"   $ {text}", "1")

    def output(self, text: str) -> None:
        """What a command printed; the notes below a verdict only the first time."""
        for row in text.splitlines():
            if row.startswith("note "):
                if row in self.notes:
                    continue
                self.notes.add(row)
            verdict = re.match(r"(VALID$)|(REVOKED|NOT PROVEN)|(VALID|SUSPENDED|STALE)", row)
            style = ("1;32", "1;31", "1;33")[(verdict.lastindex or 1) - 1] if verdict else ""
            self.line(f"   {row}", style)


class Demo:
    """One run in one temporary folder, with one service."""

    def __init__(self, screen: Screen, folder: Path) -> None:
        self.screen = screen
        self.folder = folder
        self.service: subprocess.Popen[bytes] | None = None
        self.url = ""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("BADGE_LEDGER_", "PYTHON"))}
        # The reader's own configuration must not change what is shown.
        self.env = kept | {
            "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "XDG_CONFIG_HOME": str(folder / "no-config"),
            "COLUMNS": "120",
        }

    def type(self, command: str, *, status: int = 0, shows: Sequence[str] = (), offline: bool = False) -> str:
        """Run one line in a shell and print it with its output. Raises Failed unless it exits with `status` and its
        output holds every text of `shows`."""
        self.screen.command(command)
        process = subprocess.Popen(
            ["sh", "-c", command],
            cwd=self.folder,
            env=self.env | ({"PYTHONPATH": str(self.folder / "no-network")} if offline else {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the demo, which then ends the command
        )
        deadline = time.monotonic() + DEADLINE_S
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    printed = process.communicate(timeout=0.2)[0].decode("utf-8", "replace")
                    break
                self.check()
                if time.monotonic() > deadline:
                    raise Failed(f"no answer within {DEADLINE_S} s")
        finally:
            end_group(process)
        self.screen.output(printed)
        if process.returncode != status:
            raise Failed(f"expected exit status {status}, got {process.returncode}")
        if absent := [text for text in shows if text not in printed]:
            raise Failed(f"expected to read {absent[0]!r}")
        return printed

    def start(self, listen: str) -> None:
        """Start the service in the background and wait until it says where it is."""
        command = f"badge-ledger serve --data data --listen {listen}"
        self.screen.command(f"{command} &")
        out = self.folder / "serve.out"
        with out.open("wb") as stdout, (self.folder / "serve.log").open("ab") as stderr:
            self.service = subprocess.Popen(
                [str(BIN / "badge-ledger"), *shlex.split(command)[1:]],
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        deadline = time.monotonic() + DEADLINE_S
        while "operator's token" not in (printed := out.read_text()):
            self.check()
            if time.monotonic() > deadline:
                raise Failed(f"the service did not start within {DEADLINE_S} s\n{self.service_log()}")
            time.sleep(0.05)
        self.screen.output(printed)
        self.url = self.env["BADGE_LEDGER_URL"] = re.findall(r"http://127\.0\.0\.1:[0-9]+", printed)[0]

    def check(self) -> None:
        """Raises Interrupted after a signal, Failed if the service was started and has ended by itself."""
        if SIGNALLED:
            raise Interrupted
        if self.service is not None and self.service.poll() is not None:
            raise Failed(f"the service ended with status {self.service.returncode}\n{self.service_log()}")

    def stop(self) -> None:
        """Stop the service as its operator would. Raises Failed unless it ends by itself, with status 0."""
        service, self.service = self.service, None
        assert service is not None
        try:
            service.terminate()
            if service.wait(DEADLINE_S) != 0:
                raise Failed(f"the service ended with status {service.returncode}\n{self.service_log()}")
        except subprocess.TimeoutExpired:
            raise Failed(f"the service did not stop within {DEADLINE_S} s") from None
        finally:
            end_group(service)

    def service_log(self) -> str:
        log = self.folder / "serve.log"
        rows = log.read_text(errors="replace").splitlines()[-8:] if log.exists() else []
        return "\n".join(f"   | {row}" for row in rows)

    def remove(self) -> None:
        """End whatever still runs and remove the folder."""
        if self.service is not None:
            with suppress(Failed):
                self.stop()
        # A service that was killed takes its PostgreSQL with it; should that not work, this does.
        with suppress(OSError, ValueError, IndexError):
            pid = int((self.folder / "data/postgres/postgres/postmaster.pid").read_text().split()[0])
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                os.kill(pid, number)
                for _ in range(40):
                    os.kill(pid, 0)  # raises once it has ended
                    time.sleep(0.05)
        for _ in range(20):
            shutil.rmtree(self.folder, ignore_errors=True)
            if not self.folder.exists():
                return
            time.sleep(0.1)
        self.screen.line(f"could not remove {self.folder}", "1;31")


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started, unless it has ended."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def show(demo: Demo, keep: bool) -> None:
    """The steps. Read them as a script of what an issuer, a verifier and a cheat do."""
    screen, type_ = demo.screen, demo.type
    screen.line("The badge ledger, shown on this machine. After a $ stands what you could type yourself, having typed:")
    screen.line(f"cd {shlex.quote(str(demo.folder))}; export PATH={shlex.quote(str(BIN))}:$PATH")

    screen.step("Operator: start a ledger. One process, its PostgreSQL included.")
    demo.start("127.0.0.1:0")
    screen.command(f"export BADGE_LEDGER_URL={demo.url}")

    screen.step("Issuer: make a key, and have it registered. The key's own did:key is the issuer's identifier.")
    type_("badge-ledger keygen acme.key", shows=["did:key:z", "acme.key.salt"])
    type_("badge-ledger issuer add --key acme.key --data data", shows=["registered did:key:z", "self-certifying"])

    screen.step("Issuer: make badges, with a tool that knows nothing of this ledger (openbadgeslib).")
    maker = shlex.quote(str(ROOT / "ops" / "demo_badges.py"))
    type_(f"python {maker} acme.key badges/", shows=["alice.json", "bob.jwt", "carol.png", "dave.json"])

    screen.step("Issuer: anchor them. Only hashes leave this machine; back come receipts.")
    type_("badge-ledger issue badges/ --out receipts/ --key acme.key", shows=["4 issued"])
    anchored = time.time()
    screen.say("Bob keeps a copy of his first receipt, for later.")
    type_("cp receipts/bob.receipt.json bobs-old.receipt.json")

    screen.step("Issuer: revoke Bob's badge, suspend Carol's, and bring all receipts up to date.")
    type_("badge-ledger revoke badges/bob.jwt --reason issued-in-error --key acme.key", shows=["1 revoked"])
    type_("badge-ledger suspend badges/carol.png --key acme.key", shows=["1 suspended"])
    type_("badge-ledger refresh receipts/", shows=["4 refreshed"])

    screen.step("Verifier: take the log's key, once, and look at the signed tree head.")
    type_("badge-ledger policy init $BADGE_LEDGER_URL --out trust.policy", shows=["fingerprint"])
    head = type_("badge-ledger log --policy trust.policy", shows=["size", "root", "signed by"])
    type_("badge-ledger log --policy trust.policy --last 12", shows=["issue ", "revoke ", "suspend ", "status_root"])

    screen.step("Issuer: sign a badge with no other tool. It names its place in the ledger's W3C status lists.")
    type_("badge-ledger sign --example > welding.json")
    type_("badge-ledger sign welding.json --key acme.key --out badges/erin.json", shows=["erin.json"])
    type_("badge-ledger issue badges/ --out receipts/ --key acme.key", shows=["1 issued", "4 issued before"])
    type_("badge-ledger verify-list $BADGE_LEDGER_URL/status/0/revocation --policy trust.policy", shows=["PROVEN"])

    screen.step("Auditor: replay the whole log from what anybody can read, and keep a copy of it.")
    type_("badge-ledger audit $BADGE_LEDGER_URL --policy trust.policy", shows=["AUDITED", "5 issued, 1 revoked"])
    type_("badge-ledger mirror $BADGE_LEDGER_URL mirror/ --policy trust.policy", shows=["mirror holds"])

    screen.step("Verifier: check badges offline. The service is stopped, and a verifier that opens a socket is ended.")
    screen.command("kill %1")
    demo.stop()
    go_offline(demo)
    verify = "badge-ledger verify --policy trust.policy --max-age 24h"
    for name, status, result in (
        ("alice.json", 0, "VALID\n"),
        ("bob.jwt", 1, "REVOKED\n"),
        ("carol.png", 1, "SUSPENDED\n"),
        # Open Badges 2.0 without a proof and without an issuer in it: the receipt proves the rest.
        ("dave.json", 0, "VALID: anchored"),
        ("erin.json", 0, "VALID\n"),
    ):
        receipt = f"receipts/{Path(name).stem}.receipt.json"
        type_(f"{verify} badges/{name} --receipt {receipt}", status=status, shows=[result], offline=True)

    screen.step("Cheats: a badge that was changed, a receipt that was changed, a receipt that is out of date.")
    screen.say("Mallory wants Alice's badge for something else.")
    type_("sed 's/Merkle Trees/Brain Surgery/' badges/alice.json > badges/mallory.json")
    forged = f"{verify} badges/mallory.json --receipt receipts/alice.receipt.json"
    type_(forged, status=1, shows=["NOT PROVEN\n"], offline=True)
    screen.say("Bob sets his revocation bit to zero: the status tree under the signed head does not agree.")
    edit = f's|"chunk":"[^"]*"|"chunk":"{NO_BITS}"|'
    type_(f"sed '{edit}' receipts/bob.receipt.json > bobs-new.receipt.json")
    type_(f"{verify} badges/bob.jwt --receipt bobs-new.receipt.json", status=1, shows=["NOT PROVEN\n"], offline=True)
    screen.say("Bob shows his first receipt. It is true, of its moment; a verifier says how old a proof may be.")
    while time.time() < anchored + 4:
        time.sleep(0.1)
        demo.check()
    old = "badge-ledger verify --policy trust.policy --max-age 2s badges/bob.jwt --receipt bobs-old.receipt.json"
    type_(old, status=1, shows=["STALE\n"], offline=True)

    if keep:
        screen.step("The service starts again, from its folder.")
        demo.start(demo.url.removeprefix("http://"))
        again = type_("badge-ledger log --policy trust.policy", shows=["signed by"])
        before, after = (int(re.findall(r"size +([0-9]+)", text)[0]) for text in (head, again))
        if after < before:
            raise Failed(f"expected a log of {before} entries or more")


def go_offline(demo: Demo) -> None:
    """Forbid sockets to the commands that follow, and show that this works."""
    hook = demo.folder / "no-network" / "sitecustomize.py"
    hook.parent.mkdir()
    hook.write_text(NO_NETWORK)
    environment = demo.env | {"PYTHONPATH": str(hook.parent)}
    control = [str(BIN / "python"), "-c", "import socket; socket.socket()"]
    if subprocess.run(control, env=environment, stderr=subprocess.DEVNULL, check=False).returncode != 97:
        raise Failed("sockets could be opened although they are forbidden")


def farewell(demo: Demo, keep: bool, seconds: float) -> None:
    screen = demo.screen
    screen.line(f"\nEverything was as expected, in {seconds:.0f} s.", "1;32")
    if keep and demo.service is not None:
        key = re.search(r"log key +(\S+)", (demo.folder / "serve.out").read_text())
        pid, folder = demo.service.pid, shlex.quote(str(demo.folder))
        stop = f"kill {pid}; while kill -0 {pid}; do sleep 0.1; done 2>/dev/null; rm -rf {folder}\n"
        (demo.folder / "stop").write_text(stop)
        screen.line(f"""The service is still up.
  address       {demo.url}
  verifier key  {key[1] if key else "in serve.out"}
  use it        cd {folder}; export BADGE_LEDGER_URL={demo.url} PATH={shlex.quote(str(BIN))}:$PATH
                badge-ledger log --last 20
  stop it       sh {folder}/stop    (removes the folder too: badges, receipts, keys, serve.log)""")
    else:
        screen.line("Nothing stays behind; ops/demo --keep leaves the service and the folder for you to try things.")
    screen.line("Where to go next: README.md, then `.venv/bin/badge-ledger --help` and the pages in docs/.")


def note_signal(number: int, frame: FrameType | None) -> None:
    SIGNALLED.append(number)


def main() -> int:
    parser = argparse.ArgumentParser("ops/demo", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="leave the service running, and say how to stop it")
    keep: bool = parser.parse_args().keep
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, note_signal)
    began = time.monotonic()
    demo, kept = None, False
    try:
        usual = tempfile.gettempdir()
        # The path of PostgreSQL's socket has to fit in some 100 bytes; with macOS's own folder it would not.
        folder = tempfile.mkdtemp(prefix="badge-ledger-demo-", dir=usual if len(usual) < 40 else "/tmp")  # noqa: S108
        show(demo := Demo(Screen(), Path(folder).resolve()), keep)
        farewell(demo, keep, time.monotonic() - began)
        kept = keep
    except Failed as error:
        print(f"\nops/demo: step {demo.screen.steps if demo else 0} failed: {error}", file=sys.stderr)
        return 1
    except Interrupted:
        print("\nops/demo: interrupted; everything is being stopped and removed", file=sys.stderr)
        return 128 + SIGNALLED[0]
    except BrokenPipeError:
        # Whoever read our output has enough of it; Python must not complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    finally:
        if demo is not None and not kept:
            demo.remove()
    return 0


if __name__ == "__main__":
    sys.exit(main())
