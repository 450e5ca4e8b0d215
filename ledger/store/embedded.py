"""A PostgreSQL of our own: the server from the installed wheel as a child of this process, on a private Unix socket.

    DATA/lock            flock of the one service that may use DATA; the kernel frees it when the service dies
    DATA/postgres/       the cluster; made elsewhere and renamed here, so it is whole or absent
    DATA/postgres.log    what the server says
    DATA/run/ or <temp>/badge-ledger-<uid>-<hash>/    the socket, where the path is short enough for one

Who can connect: nobody over the network (no TCP), and locally those who can enter the socket's directory (mode 0700):
the server's user and root. There is no password. Postgres refuses to run as root, so under root the cluster and the
socket belong to the unprivileged user `pgserver` (created if need be), and each directory above them and above the
binaries gets the right to be passed through (o+x, not to be listed) where it is missing.

If this process is killed, Linux sends the server SIGINT (fast shutdown) by PR_SET_PDEATHSIG; elsewhere it lingers. In
either case the next start stops what is left before it starts its own. If the server dies, it is started again on the
same socket, so that pools reconnect by themselves.

Settings of one's own go to DATA/postgres/local.conf. This module speaks no SQL and makes no backups.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import IO
from urllib.parse import quote

from ledger.errors import DatabaseError, DataDirectoryBusy
from ledger.store import cluster
from ledger.store.cluster import Cluster

_log = logging.getLogger(__name__)

_POLL_S = 0.01
_STOP_TIMEOUT_S = 60.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0

# Becomes the server: drops root's rights, asks the kernel for SIGINT when the parent dies (in this order, a change of
# user forgets it), and gives up if the parent died before that. A program of its own rather than a preexec_fn, which
# may deadlock in a process with threads; started as root, because Python may lie where the server's user cannot look.
_LAUNCHER = """
import ctypes, os, sys
parent, uid, gid, program = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
if os.geteuid() != uid:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 2, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("FATAL: the service died before its server started")
os.execv(program, sys.argv[4:])
"""


class EmbeddedPostgres:
    """One server on one data directory. `start` once, then `stop`; a process may have several on other directories.

    The thread whose loop calls `start` must live as long as the server: on Linux its end stops the server.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        stop_timeout_s: float = _STOP_TIMEOUT_S,
    ) -> None:
        """`pause` waits between attempts to restart a dead server; `stop_timeout_s` bounds each step of a shutdown."""
        self._data_dir = Path(os.path.abspath(data_dir))
        self._pause = pause
        self._stop_timeout_s = stop_timeout_s
        self._lock: IO[bytes] | None = None
        self._cluster: Cluster | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._exited = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        #: How often the server died and was started again.
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """Process id of the server; None while there is none."""
        return self._process.pid if self._process is not None and not self._exited.is_set() else None

    @property
    def dsn(self) -> str:
        """Where to connect, the same for every start on this directory. Raises DatabaseError before the first."""
        if self._cluster is None:
            raise DatabaseError("the embedded database is not started")
        return f"postgresql://postgres@/postgres?host={quote(str(self._cluster.socket_dir), safe='')}"

    async def start(self) -> str:
        """Start the server, making the cluster first if there is none; its DSN.

        Raises DataDirectoryBusy, or DatabaseError with the last line of the server's log.
        """
        if self._lock is not None:
            raise DatabaseError("the embedded database is started already")
        try:
            self._lock = _lock_directory(self._data_dir)
            # In a thread: making a cluster takes a second. The server itself is forked by this thread, because the
            # kernel takes the end of the forking thread for the parent's death.
            self._cluster = await asyncio.to_thread(cluster.prepare, self._data_dir)
            await asyncio.to_thread(cluster.stop_leftover, self._cluster, self._stop_timeout_s)
            await self._launch(self._cluster)
        except OSError as error:
            await self.stop()
            raise DatabaseError(f"the embedded database cannot start: {error.strerror}: {error.filename}") from error
        except BaseException:
            await self.stop()
            raise
        self._watcher = asyncio.create_task(self._watch(self._cluster), name="embedded-postgres")
        return self.dsn

    async def stop(self) -> None:
        """Shut the server down cleanly and free the directory. Close the pools first: their sessions are cut."""
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
            self._watcher = None
        await self._end_server()
        if self._cluster is not None and self._cluster.socket_dir.parent != self._data_dir:
            # A folder of its own in the system's temporary one: nobody else will tidy it up.
            with contextlib.suppress(OSError):
                self._cluster.socket_dir.rmdir()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def _end_server(self) -> None:
        # Fast: sessions are cut and a checkpoint is written. Immediate: as in a crash, recovered at the next start.
        for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if self.pid is None:
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, how)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._exited.wait(), self._stop_timeout_s)

    async def _launch(self, place: Cluster) -> None:
        """Start the child and return once it takes connections; raises DatabaseError if it ends before that."""
        uid, gid = (os.geteuid(), os.getegid()) if place.user is None else (place.user.pw_uid, place.user.pw_gid)
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), str(uid), str(gid)]
        with place.open_log() as log:
            # By this thread, see `start`; a fork takes a millisecond.
            self._process = subprocess.Popen(  # noqa: ASYNC220, S603
                [*launcher, *place.server_command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=place.directory,
                env=cluster.ENVIRONMENT,
                start_new_session=True,  # Ctrl-C is for the service, which then stops the server in order
            )
        self._exited = asyncio.Event()
        threading.Thread(
            target=_wait, args=(self._process, asyncio.get_running_loop(), self._exited), daemon=True
        ).start()
        # No limit: recovery after a crash may take minutes. A server that gives up ends.
        while not place.is_ready(self._process.pid):
            if self._exited.is_set():
                raise DatabaseError(f"the embedded database did not start: {place.last_log_line()}")
            await asyncio.sleep(_POLL_S)

    async def _watch(self, place: Cluster) -> None:
        """Starts the server again whenever it ends by itself; the pauses between failing attempts grow to 10 s."""
        wait = _FIRST_PAUSE_S
        while True:
            await self._exited.wait()
            _log.error("the embedded database ended; starting it again: %s", place.last_log_line())
            try:
                # Sessions of a server that was killed may still be on their way out: they are waited for.
                await asyncio.to_thread(cluster.stop_leftover, place, self._stop_timeout_s)
                await self._launch(place)
            except (DatabaseError, OSError) as error:
                _log.error("the embedded database cannot be started again: %s", error)
                await self._pause(wait)
                wait = min(2 * wait, _LONGEST_PAUSE_S)
            else:
                self.restarts += 1
                wait = _FIRST_PAUSE_S


def _wait(process: subprocess.Popen[bytes], loop: asyncio.AbstractEventLoop, exited: asyncio.Event) -> None:
    process.wait()
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(exited.set)


def _lock_directory(data_dir: Path) -> IO[bytes]:
    """The lock, held until the file is closed; children do not inherit it. Raises DataDirectoryBusy, OSError."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = open(data_dir / "lock", "ab")  # noqa: SIM115  open as long as the service runs
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise DataDirectoryBusy(f"another service uses the data directory {data_dir}") from error
    except BaseException:
        lock.close()
        raise
    return lock
