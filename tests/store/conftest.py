"""One embedded server a session, one fresh database a test (20 ms, copied from a migrated template).

postgres    the session's EmbeddedPostgres; tests that kill servers start their own
dsn         a fresh, migrated database, dropped after the test
store       a Store on it
run_sql     statements past the store, for looking behind it
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from ledger.store import Store
from ledger.store.embedded import EmbeddedPostgres

RunSql = Callable[..., Awaitable[list[Any]]]

_numbers = itertools.count()


@pytest.fixture(scope="session")
def short_dir() -> Iterator[Path]:
    """Not pytest's own directory: its modes are reset by every pytest that starts, and under root the server needs
    to pass through.
    """
    path = Path(tempfile.mkdtemp(prefix="blt-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres(short_dir: Path) -> AsyncIterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(short_dir / "session")
    await (await Store.connect(await server.start(), min_size=1)).close()  # `postgres` is the template from here on
    yield server
    await server.stop()


def dsn_of(postgres: EmbeddedPostgres, database: str) -> str:
    return postgres.dsn.replace("/postgres?", f"/{database}?")


@pytest.fixture
async def dsn(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    name = f"test{next(_numbers)}"
    admin = await asyncpg.connect(dsn_of(postgres, "template1"))
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE postgres")
        yield dsn_of(postgres, name)
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest.fixture
async def store(dsn: str) -> AsyncIterator[Store]:
    store = await Store.connect(dsn)
    yield store
    await store.close()


@pytest.fixture
async def run_sql(dsn: str) -> AsyncIterator[RunSql]:
    connection = await asyncpg.connect(dsn)

    async def run(sql: str, *arguments: Any) -> list[Any]:
        rows: list[Any] = await connection.fetch(sql, *arguments)
        return rows

    yield run
    await connection.close()
