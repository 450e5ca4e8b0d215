"""Programs of others: Go modules by name, version and hash, built once into a cache; and processes that run them.

The cache is $XDG_CACHE_HOME/badge-ledger-interop, or ~/.cache/badge-ledger-interop. What cannot be had is a reason to
skip, in CI (the variable CI is set) to fail.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

#: A cold build of the largest program takes a minute and a half on two cores.
BUILD_S = 900


@dataclass(frozen=True)
class Pinned:
    """A program: its package below a module, the module's version, and the hash of that version's files."""

    module: str
    package: str
    version: str
    hash: str


_WITNESS = ("v0.0.0-20260720115447-2e1c6971d19e", "h1:YGwUZRKoG5GjoissskUoEumfgaFtXuon4L3j6+SBnrc=")
FSCK = Pinned(
    "github.com/transparency-dev/tessera", "cmd/fsck", "v1.0.4", "h1:IXjGowubcLR0T3zUQrysSMKgtTh9KGKQ0iajUiubyP4="
)
POSIX = Pinned("github.com/transparency-dev/tessera", "cmd/conformance/posix", FSCK.version, FSCK.hash)
ONESHOT = Pinned("github.com/transparency-dev/tessera", "cmd/examples/posix-oneshot", FSCK.version, FSCK.hash)
LITEWITNESS = Pinned(
    "filippo.io/torchwood", "cmd/litewitness", "v0.9.0", "h1:2W156cI7K3MyxEyNTuS1C9lYEW7y1u7PoHLmvgNsiZc="
)
OMNIWITNESS = Pinned("github.com/transparency-dev/witness", "cmd/omniwitness", *_WITNESS)
GENERATE_KEYS = Pinned("github.com/transparency-dev/witness", "cmd/generate_keys", *_WITNESS)


def absent(reason: str) -> NoReturn:
    """Skip for want of something; fail in CI."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def find_go() -> str:
    """The command go."""
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        absent("Go is not installed: the command go is not in PATH")
    return go


def cache() -> Path:
    """The folder that outlives the tests."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "badge-ledger-interop"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def install(pinned: Pinned) -> Path:
    """The program, built unless the cache holds it, and certainly from the files that the hash names."""
    name = pinned.package.rpartition("/")[2]
    target = cache() / f"{name}@{pinned.version}"
    expected = f"\tmod\t{pinned.module}\t{pinned.version}\t{pinned.hash}\n"
    if expected not in _modules_in(target):
        with tempfile.TemporaryDirectory(dir=cache()) as building:
            # Outside any module, so that the program is built with the versions of its own go.mod.
            command = [find_go(), "install", "-p", "2", f"{pinned.module}/{pinned.package}@{pinned.version}"]
            environment = {**os.environ, "GOBIN": building, "GOFLAGS": "", "GOWORK": "off"}
            ran = subprocess.run(
                command, cwd=building, env=environment, capture_output=True, text=True, timeout=BUILD_S
            )
            if ran.returncode:
                absent(f"{' '.join(command)} failed: {ran.stderr.strip()[-500:]}")
            os.replace(Path(building) / name, target)
    found = _modules_in(target)
    assert expected in found, f"{target} is not {pinned}: {found}"
    return target


def _modules_in(program: Path) -> str:
    """What the program was built from, as Go wrote it into it; nothing if there is no such program."""
    return subprocess.run([find_go(), "version", "-m", program], capture_output=True, text=True).stdout


def build(source: Path, target: Path) -> Path:
    """A program of this folder, from its own module: exactly the versions and hashes of its go.sum."""
    downloaded = subprocess.run([find_go(), "mod", "download"], cwd=source, capture_output=True, text=True)
    if downloaded.returncode:
        absent(f"the Go modules cannot be had: {downloaded.stderr.strip()[-500:]}")
    command = [find_go(), "build", "-p", "2", "-buildvcs=false", "-mod=readonly", "-o", str(target), "."]
    built = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=BUILD_S)
    assert built.returncode == 0, built.stderr
    return target


def need_openssh() -> None:
    """ssh-agent, ssh-add and ssh-keygen; root installs them in CI where they are missing."""
    tools = ("ssh-agent", "ssh-add", "ssh-keygen")
    missing = [tool for tool in tools if shutil.which(tool) is None]
    said = ""
    if missing and os.environ.get("CI") and os.geteuid() == 0 and shutil.which("apt-get"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-y", "-q", "openssh-client"]):
            ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
            said = f"; {' '.join(command)}: {ran.stderr.strip()[-300:]}"
        missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        absent(f"openssh-client is not installed: {', '.join(missing)} not in PATH{said}")


def free_port() -> int:
    """A port of the loopback interface that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody does."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(
    command: Sequence[str | Path],
    log: Path,
    ready: Callable[[], bool],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """A program in the background, from the moment it is ready; its output goes to `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=cwd, env={**os.environ, **(env or {})}
        )
    try:
        deadline = time.monotonic() + 30
        while not ready():
            assert process.poll() is None, f"{command[0]} ended: {log.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"{command[0]} is not ready: {log.read_text()[-2000:]}"
            time.sleep(0.02)
        yield
        assert process.poll() is None, f"{command[0]} ended: {log.read_text()[-2000:]}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
