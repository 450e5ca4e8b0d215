"""Full disks: nobody is answered falsely, and the service goes on by itself once there is room again.

Needs to mount a small file system, so it runs as root only.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import check_process
from tests.faults.load import Load
from tests.service.harness import Process, until


class SmallDisk:
    """A file system of a few megabytes, to be filled to its last block."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        with contextlib.suppress(OSError), open(self.path / "ballast", "ab", buffering=0) as ballast:
            for size in (1 << 20, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        ballast.write(bytes(size))

    def free(self) -> None:
        (self.path / "ballast").unlink()


@contextlib.contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[SmallDisk]:
    path.mkdir(parents=True, mode=0o711)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}M,mode=0711", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system can be mounted by root only")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.slow
async def test_the_databases_disk_is_full(process: Process, load: Load) -> None:
    """Commits fail, or the database dies of it and is started again and again; then there is room."""
    process.data.mkdir(mode=0o711)
    with small_disk(process.data / "postgres", 400) as disk:
        process.options["answer_timeout_s"] = 0.3
        await process.start()
        await load.register(await load.target.set(process.url, process.token))
        load.start()
        await load.progress(10)
        disk.fill()
        repeated = sum(worker.repeated for worker in load.workers)
        await until(lambda: sum(w.repeated for w in load.workers) > repeated + 20, "callers are told to repeat")
        load.check()
        assert process.running
        disk.free()
        await load.progress(20)
        await load.stop()
        await process.stop()
        await check_process(process, load.recorder)


@pytest.mark.slow
async def test_the_guards_disk_is_full(process: Process, load: Load) -> None:
    """No head can be released: what comes in is logged and pending, and answered once there is room."""
    process.data.mkdir(mode=0o711)
    with small_disk(process.data.parent / "guard", 4) as disk:
        process.options |= {"guard": disk.path / "guard.db", "answer_timeout_s": 0.2}
        await process.start()
        await load.register(await load.target.set(process.url, process.token))
        load.start()
        await load.progress(10)
        disk.fill()
        repeated = sum(worker.repeated for worker in load.workers)
        await until(lambda: sum(w.repeated for w in load.workers) > repeated + 10, "callers are told to repeat")
        answered, largest = load.answered, load.largest
        load.check()
        disk.free()
        await load.progress(20)
        assert load.answered > answered
        assert load.largest > largest
        await load.stop()
        await process.stop()
        await check_process(process, load.recorder)
