"""The embedded server: alone on its directory, gone with its service, back when it was killed."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psutil  # type: ignore[import-untyped]
import pytest

from ledger.errors import DatabaseError, DataDirectoryBusy
from ledger.store import Store, cluster
from ledger.store.embedded import EmbeddedPostgres
from tests.store.growing import GrowingLog
from tests.store.test_append import until

NAP_S = 0.02


@pytest.fixture
def data_dir(short_dir: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=short_dir, prefix="e") as name:
        yield Path(name)


@pytest.fixture
async def server(data_dir: Path) -> AsyncIterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(data_dir)
    yield server
    await server.stop()


async def gone(pid: int) -> None:
    """Returns once there is no such process."""

    async def ended() -> bool:
        await asyncio.sleep(NAP_S)
        return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE

    await until(ended)


async def ask(dsn: str, sql: str) -> Any:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


# Life ----------------------------------------------------------------------------------------------------------------


async def test_what_was_committed_is_there_after_a_restart(server: EmbeddedPostgres, data_dir: Path) -> None:
    """Stop, start: the same DSN, the same log; stop again does nothing, and the directory is free."""
    dsn = await server.start()
    store = await Store.connect(dsn)
    log = GrowingLog()
    await log.grow(store, 300)
    await store.close()
    await server.stop()
    await server.stop()
    assert server.pid is None
    other = EmbeddedPostgres(data_dir)
    assert await other.start() == dsn
    store = await Store.connect(dsn)
    await log.check(store)
    await store.close()
    await other.stop()


async def test_it_runs_with_the_settings_that_the_store_relies_on(server: EmbeddedPostgres) -> None:
    """Durable, without compiling, never on the network, and its sessions are out of reach of the terminal's Ctrl-C."""
    dsn = await server.start()
    for setting, value in {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "data_checksums": "on",
        "jit": "off",
        "listen_addresses": "",
        "max_wal_size": "2GB",
        "checkpoint_timeout": "15min",
        "server_encoding": "UTF8",
    }.items():
        assert await ask(dsn, f"SELECT current_setting('{setting}')") == value
    assert (await ask(dsn, "SHOW server_version")).split(".")[0] == "18"
    assert server.pid is not None
    assert os.getsid(server.pid) == server.pid
    assert not [c for c in psutil.Process(server.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]


async def test_the_operators_settings_are_read_last_and_kept(server: EmbeddedPostgres, data_dir: Path) -> None:
    """local.conf survives starts; postgresql.conf is written anew."""
    await server.start()
    await server.stop()
    (data_dir / "postgres" / "local.conf").write_text("work_mem = '7MB'\n")
    (data_dir / "postgres" / "postgresql.conf").write_text("nonsense")
    assert await ask(await server.start(), "SHOW work_mem") == "7MB"


async def test_a_second_service_on_the_directory_is_refused(server: EmbeddedPostgres, data_dir: Path) -> None:
    """DataDirectoryBusy names the directory, and the first goes on undisturbed."""
    dsn = await server.start()
    other = EmbeddedPostgres(data_dir)
    with pytest.raises(DataDirectoryBusy, match=str(data_dir)):
        await other.start()
    assert await ask(dsn, "SELECT 1") == 1
    with pytest.raises(DatabaseError, match="started already"):
        await server.start()
    assert await ask(dsn, "SELECT 1") == 1


async def test_a_path_too_long_for_a_socket_gets_another_place(data_dir: Path) -> None:
    """A Unix socket's path has about a hundred bytes: deep directories, spaces and quotes work all the same."""
    deep = data_dir / ('o\'deep "dir" ' * 9)
    server = EmbeddedPostgres(deep)
    dsn = await server.start()
    assert await ask(dsn, "SELECT 1") == 1
    assert str(deep) not in dsn
    await server.stop()
    assert await server.start() == dsn
    place = Path(dsn.partition("host=")[2].replace("%2F", "/"))
    assert place.is_dir()  # noqa: ASYNC240
    await server.stop()
    assert not place.exists()  # noqa: ASYNC240


# Privacy -------------------------------------------------------------------------------------------------------------

_INTRUDER = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    socket.socket(socket.AF_UNIX).connect(sys.argv[1])
except PermissionError:
    sys.exit(0)
sys.exit("connected")
"""


async def test_other_users_cannot_reach_the_socket_or_the_files(server: EmbeddedPostgres, data_dir: Path) -> None:
    """There is no password: the socket's directory, the cluster and the log are closed to everybody else."""
    await server.start()
    modes = {name: stat.S_IMODE((data_dir / name).stat().st_mode) for name in ("run", "postgres", "postgres.log")}
    assert modes == {"run": 0o700, "postgres": 0o700, "postgres.log": 0o600}
    if os.geteuid() == 0:
        socket = data_dir / "run" / ".s.PGSQL.5432"
        intruder = await asyncio.create_subprocess_exec(sys.executable, "-I", "-c", _INTRUDER, socket)
        assert await intruder.wait() == 0
        assert psutil.Process(server.pid).username() == cluster.SERVER_USER
        assert psutil.Process(server.pid).gids().real != 0


def test_a_directory_of_somebody_else_is_not_taken(data_dir: Path) -> None:
    """In a shared temporary directory anybody could have put it there, or a link in its place, to listen in."""
    user = cluster.server_user() if os.geteuid() == 0 else None
    (data_dir / "elsewhere").mkdir()
    (data_dir / "link").symlink_to(data_dir / "elsewhere")
    (data_dir / "file").touch()
    for name in ("link", "file"):
        with pytest.raises(DatabaseError, match="another user"):
            cluster.own_directory(data_dir / name, user)
    if os.geteuid() == 0:
        os.chown(data_dir / "elsewhere", 65534, 65534)
        with pytest.raises(DatabaseError, match="another user"):
            cluster.own_directory(data_dir / "elsewhere", user)


def test_directories_are_opened_for_passing_only(data_dir: Path) -> None:
    """Under root each directory above gets o+x where it lacks it, and nothing else."""
    inner = data_dir / "a" / "b"
    inner.mkdir(parents=True)
    inner.chmod(0o700)
    inner.parent.chmod(0o750)
    cluster.make_passable(inner)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (inner, inner.parent)] == [0o701, 0o751]


# Death ---------------------------------------------------------------------------------------------------------------

_SERVICE = """
import asyncio, sys
from pathlib import Path
import structlog
from ledger.store.embedded import EmbeddedPostgres

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

async def serve():
    server = EmbeddedPostgres(Path(sys.argv[1]))
    await server.start()
    print(server.pid, server.dsn, flush=True)
    await asyncio.Event().wait()

asyncio.run(serve())
"""


async def run_service(data_dir: Path) -> tuple[asyncio.subprocess.Process, int, str]:
    """Another process that runs a server on the directory; its server's pid and DSN."""
    service = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _SERVICE, data_dir, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert service.stdout is not None
    pid, dsn = (await service.stdout.readline()).decode().split()
    return service, int(pid), dsn


async def test_the_server_dies_with_a_killed_service(server: EmbeddedPostgres, data_dir: Path) -> None:
    """SIGKILL to the service: its server shuts down by itself, and the next start has every commit."""
    service, pid, dsn = await run_service(data_dir)
    with pytest.raises(DataDirectoryBusy):
        await server.start()
    store = await Store.connect(dsn)
    log = GrowingLog()
    await log.grow(store, 300, 5)
    service.kill()
    await service.communicate()
    if sys.platform == "linux":
        await gone(pid)
    await store.close()
    store = await Store.connect(await server.start())
    await log.check(store)
    await store.close()


async def test_a_start_right_after_the_kill_waits_for_the_old_server(server: EmbeddedPostgres, data_dir: Path) -> None:
    """The old server may still be shutting down when the next service starts: never two at once."""
    for _ in range(3):
        service, pid, _ = await run_service(data_dir)
        service.kill()
        await service.communicate()
        assert await ask(await server.start(), "SELECT 1") == 1
        await gone(pid)
        await server.stop()


def linger(data_dir: Path) -> subprocess.Popen[bytes]:
    """A server that nobody tells to stop, as a killed service leaves it where the kernel does not."""
    place = cluster.prepare(data_dir)
    user: dict[str, Any] = {}
    if place.user is not None:
        user = {"user": place.user.pw_uid, "group": place.user.pw_gid, "extra_groups": []}
    return subprocess.Popen(place.server_command(), stderr=subprocess.DEVNULL, env=cluster.ENVIRONMENT, **user)


@pytest.mark.parametrize("stuck", [False, True], ids=["obedient", "stuck"])
async def test_a_leftover_server_is_stopped_first(data_dir: Path, stuck: bool) -> None:
    """A lingering server is shut down, and killed if it does not obey; then ours runs."""
    left = await asyncio.to_thread(linger, data_dir)
    place = cluster.prepare(data_dir)

    async def ready() -> bool:
        await asyncio.sleep(NAP_S)
        return place.is_ready(left.pid)

    await until(ready)
    if stuck:
        left.send_signal(signal.SIGSTOP)
    waiting = asyncio.create_task(asyncio.to_thread(left.wait))  # reaps it, or its zombie would still be "there"
    server = EmbeddedPostgres(data_dir, stop_timeout_s=0.5 if stuck else 30)
    assert await ask(await server.start(), "SELECT 1") == 1
    assert await waiting == (-signal.SIGKILL if stuck else 0)
    assert server.pid != left.pid
    await server.stop()


async def test_a_pid_that_is_another_process_by_now_is_left_alone(server: EmbeddedPostgres, data_dir: Path) -> None:
    """After a crash of the machine postmaster.pid names any process: here this very one, which must survive."""
    await server.start()
    pid_file = (data_dir / "postgres" / "postmaster.pid").read_text().splitlines()
    await server.stop()
    (data_dir / "postgres" / "postmaster.pid").write_text("\n".join([str(os.getpid()), *pid_file[1:]]) + "\n")
    assert await ask(await server.start(), "SELECT 1") == 1


async def test_a_killed_server_comes_back_on_the_same_socket(server: EmbeddedPostgres) -> None:
    """kill -9 of Postgres: the watcher starts it again, the pool reconnects, every commit is there."""
    store = await Store.connect(await server.start())
    log = GrowingLog()
    await log.grow(store, 300, 5)
    first = server.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)

    async def back() -> bool:
        await asyncio.sleep(NAP_S)
        return server.restarts == 1

    await until(back)
    assert server.pid not in (None, first)
    await log.check(store)
    await log.grow(store, 5)
    await log.check(store)
    await store.close()


async def test_attempts_to_restart_slow_down(data_dir: Path) -> None:
    """A server that cannot be started again is tried with doubling pauses, up to 10 s, until it can; stop ends it."""
    pauses: list[float] = []
    local = data_dir / "postgres" / "local.conf"

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 9:
            local.write_text("")

    server = EmbeddedPostgres(data_dir, pause=pause)
    dsn = await server.start()
    local.write_text("nonsense = here\n")
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)

    async def back() -> bool:
        await asyncio.sleep(NAP_S)
        return server.restarts == 1

    await until(back)
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    assert await ask(dsn, "SELECT 1") == 1
    await server.stop()


# Failure -------------------------------------------------------------------------------------------------------------


async def test_a_failing_start_says_why_and_frees_the_directory(server: EmbeddedPostgres, data_dir: Path) -> None:
    """DatabaseError carries the last line of the server's log; once that is mended the same object starts."""
    await server.start()
    await server.stop()
    local = data_dir / "postgres" / "local.conf"
    local.write_text("shared_buffers = 'plenty'\n")
    with pytest.raises(DatabaseError, match=r"did not start: configuration file .* contains errors"):
        await server.start()
    assert server.pid is None
    local.write_text("")
    assert await ask(await server.start(), "SELECT 1") == 1


async def test_a_cluster_of_another_version_is_refused(server: EmbeddedPostgres, data_dir: Path) -> None:
    """Postgres does not read another major version's files: said before it tries."""
    await server.start()
    await server.stop()
    (data_dir / "postgres" / "PG_VERSION").write_text("17\n")
    with pytest.raises(DatabaseError, match="of PostgreSQL 17, this server is 18"):
        await server.start()


async def test_a_full_disk_while_making_the_cluster(
    server: EmbeddedPostgres, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """initdb's last words are the error; nothing half-made is taken for a cluster, and the next start makes it."""
    fake = data_dir / "bin"
    fake.mkdir()
    (fake / "initdb").write_text(
        "#!/bin/sh\necho 'initdb: error: could not write: No space left on device' >&2\nexit 1\n"
    )
    (fake / "initdb").chmod(0o755)
    fake.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setattr(cluster, "find_binaries", lambda: fake)
        with pytest.raises(DatabaseError, match="cannot be made: could not write: No space left on device"):
            await server.start()
    assert not (data_dir / "postgres").exists()
    assert await ask(await server.start(), "SELECT 1") == 1


async def test_a_directory_that_cannot_be_made(data_dir: Path) -> None:
    """A file in the way is a DatabaseError that names it."""
    (data_dir / "file").touch()
    with pytest.raises(DatabaseError, match="file"):
        await EmbeddedPostgres(data_dir / "file").start()


def test_the_line_that_says_why() -> None:
    """The newest FATAL, PANIC or tool's error, without its prefix; else the last line."""
    assert cluster.last_line("") == "no message"
    assert cluster.last_line("a\nb\n\n") == "b"
    log = "x [1] PANIC:  could not write to file: No space left on device\nx [1] LOG:  database system is shut down\n"
    assert cluster.last_line(log) == "could not write to file: No space left on device"


async def test_a_large_log_is_started_afresh(server: EmbeddedPostgres, data_dir: Path) -> None:
    """Beyond 16 MiB the log is set aside at the next start, once."""
    (data_dir / "postgres.log").touch()
    os.truncate(data_dir / "postgres.log", (16 << 20) + 1)
    await server.start()
    assert (data_dir / "postgres.log.1").stat().st_size == (16 << 20) + 1
    assert (data_dir / "postgres.log").stat().st_size < 1 << 16
