"""One PostgreSQL a session, one fresh log a test; every test ends with the check of the whole log."""

from __future__ import annotations

import itertools
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path
from typing import Protocol

import asyncpg
import pytest
import pytest_asyncio
import structlog

from ledger.guard import SqliteGuard
from ledger.store import EmbeddedPostgres, Store
from tests.service.databases import Databases
from tests.service.gates import GateGuard
from tests.service.harness import Answer, Client, Party, Service, World
from tests.store.conftest import RunSql, dsn_of

_numbers = itertools.count()


@pytest.fixture(scope="session")
def service_dir() -> Iterator[Path]:
    """Not pytest's own directory, see tests/store/conftest.py."""
    path = Path(tempfile.mkdtemp(prefix="bls-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def service_postgres(service_dir: Path) -> AsyncIterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(service_dir / "session")
    await (await Store.connect(await server.start(), min_size=1)).close()
    yield server
    await server.stop()


@pytest.fixture
async def dsn(service_postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    name = f"service{next(_numbers)}"
    admin = await asyncpg.connect(dsn_of(service_postgres, "template1"))
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE postgres")
        yield dsn_of(service_postgres, name)
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest.fixture
async def run_sql(dsn: str) -> AsyncIterator[RunSql]:
    """Statements past the store: for spoiling things."""
    connection = await asyncpg.connect(dsn)
    yield connection.fetch
    await connection.close()


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[GateGuard]:
    """The world's guard, to be closed, delayed and broken; for `world.start(guard=gate)`."""
    gate = GateGuard(await SqliteGuard.open(tmp_path / "guard.db"))
    yield gate
    await gate.end()


@pytest.fixture
async def world(dsn: str, tmp_path: Path, gate: GateGuard) -> AsyncIterator[World]:
    """A log that is checked when the test is over, whatever the test did."""
    world = World(dsn, tmp_path)
    yield world
    gate.gate.set()
    await world.close()


@pytest.fixture
async def service(world: World) -> Service:
    """One node and its service."""
    return await world.start()


@pytest.fixture
async def client(service: Service) -> Client:
    return service.client


@pytest.fixture
async def party(client: Client) -> Party:
    """A registered issuer with a list of its own."""
    return await Party("alice").register(client)


class Refuses(Protocol):
    """Awaits an answer that must be this problem, and must have changed nothing."""

    async def __call__(self, answer: Awaitable[Answer], status: int, type_: str) -> Answer: ...


@pytest.fixture
def refuses(service: Service) -> Refuses:
    async def refuse(answer: Awaitable[Answer], status: int, type_: str) -> Answer:
        before = await service.store.head()
        found = await answer
        assert (found.status, found.type) == (status, type_), found.body
        after = await service.store.head()
        assert (after.size, after.root) == (before.size, before.root)
        assert ("Retry-After" in found.headers) == (status == 503)
        return found

    return refuse


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Logs stay in the test."""
    with structlog.testing.capture_logs():
        yield


@pytest.fixture
async def databases(dsn: str) -> AsyncIterator[Databases]:
    """Copies of this test's database, dropped at the end."""
    admin = await asyncpg.connect(re.sub(r"/service\d+\?", "/template1?", dsn))
    databases = Databases(dsn, admin)
    yield databases
    await databases.drop_copies()
    await admin.close()
