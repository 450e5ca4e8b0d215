"""Migrations: each once, whoever comes first, and never onto a database that is newer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from ledger.errors import DatabaseError
from ledger.store import Store
from ledger.store.embedded import EmbeddedPostgres
from ledger.store.migrate import Migration, load_migrations, migrate
from tests.store.conftest import RunSql, dsn_of


@pytest.fixture
async def empty_dsn(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    admin = await asyncpg.connect(dsn_of(postgres, "template1"))
    await admin.execute("CREATE DATABASE empty TEMPLATE template0")
    yield dsn_of(postgres, "empty")
    await admin.execute("DROP DATABASE empty WITH (FORCE)")
    await admin.close()


@pytest.fixture
async def connection(empty_dsn: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(empty_dsn)
    yield connection
    await connection.close()


async def test_nodes_that_start_together_migrate_once(empty_dsn: str, connection: Any) -> None:
    """Six nodes on an empty database: all come up, every migration was run once."""
    stores = await asyncio.gather(*(Store.connect(empty_dsn, min_size=1, max_size=2) for _ in range(6)))
    assert await connection.fetchval("SELECT count(*) FROM schema_migrations") == len(load_migrations())
    assert [(await store.head()).size for store in stores] == [0] * 6
    for store in stores:
        await store.close()


async def test_a_second_run_does_nothing(dsn: str) -> None:
    """A migrated database is left as it is."""
    connection = await asyncpg.connect(dsn)
    assert await migrate(connection) == 0
    await connection.close()


async def test_a_newer_database_is_refused(dsn: str, run_sql: RunSql) -> None:
    """A schema version that this software does not know stops the start, naming both versions."""
    await run_sql("INSERT INTO schema_migrations (version, name, digest) VALUES (7, '0007_future.sql', '')")
    with pytest.raises(DatabaseError, match=r"schema version 7; this software knows only 1$"):
        await Store.connect(dsn)


async def test_another_edition_of_a_migration_is_refused(dsn: str, run_sql: RunSql) -> None:
    """A migration is never edited once it was released: its digest must be the recorded one."""
    await run_sql("UPDATE schema_migrations SET digest = 'x'")
    with pytest.raises(DatabaseError, match=r"another edition of migration 0001_initial\.sql"):
        await Store.connect(dsn)


async def test_a_failing_migration_leaves_what_went_before(connection: Any) -> None:
    """Each migration is one transaction: the first two stand, of the third nothing is left, and it can be run again."""
    steps = [
        Migration(1, "0001_one.sql", "CREATE TABLE one (n int)"),
        Migration(2, "0002_two.sql", "CREATE TABLE two (n int)"),
        Migration(3, "0003_three.sql", "CREATE TABLE three (n int); SELECT 1 / 0"),
    ]
    with pytest.raises(DatabaseError, match="division by zero"):
        await migrate(connection, steps)
    query = "SELECT relname FROM pg_class WHERE relname IN ('one', 'two', 'three') ORDER BY 1"
    assert [row[0] for row in await connection.fetch(query)] == ["one", "two"]
    steps[2] = Migration(3, "0003_three.sql", "CREATE TABLE three (n int)")
    assert await migrate(connection, steps) == 1
    assert await migrate(connection, steps) == 0


@pytest.mark.parametrize(
    "setting", ["synchronous_commit = off", "synchronous_commit = local"], ids=["asynchronous", "local"]
)
async def test_a_database_that_may_lose_commits_is_refused(dsn: str, run_sql: RunSql, setting: str) -> None:
    """What is acknowledged must be on the disk and, where there is one, at the synchronous replica."""
    name = (await run_sql("SELECT current_database() AS name"))[0]["name"]
    await run_sql(f"ALTER DATABASE {name} SET {setting}")
    with pytest.raises(DatabaseError, match="commits could be lost"):
        await Store.connect(dsn)


async def test_defaults_of_the_database_do_not_reach_the_store(dsn: str, run_sql: RunSql) -> None:
    """A statement timeout would cancel a COMMIT's wait for its replica, repeatable read would break the head's lock:
    the store's sessions set their own.
    """
    name = (await run_sql("SELECT current_database() AS name"))[0]["name"]
    await run_sql(f"ALTER DATABASE {name} SET statement_timeout = 1")
    await run_sql(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
    store = await Store.connect(dsn)
    async with store.append() as append:
        for setting, value in (("statement_timeout", "0"), ("transaction_isolation", "read committed")):
            assert await append._connection.fetchval("SELECT current_setting($1)", setting) == value
    await store.close()


def test_the_shipped_migrations_are_numbered_without_a_gap() -> None:
    """1, 2, 3 ... with names that say what they do."""
    found = load_migrations()
    assert [migration.version for migration in found] == list(range(1, len(found) + 1))
    assert found[0].name == "0001_initial.sql"
