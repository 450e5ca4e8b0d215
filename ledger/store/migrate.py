"""Schema migrations: forward only, each once, in the order of their numbers.

    migrations/0001_initial.sql, 0002_....sql     one transaction each, recorded in `schema_migrations`

Nodes that start together take turns under an advisory lock. A database that has a migration this software does not
know was written by a newer one and is refused: guessing at its meaning could fork the log. There is no way down; a
backup is the way back.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from importlib import resources

import msgspec

from ledger.errors import DatabaseError
from ledger.store.session import Connection, reading

#: Advisory locks are numbers, per database: these two are the first 8 bytes of the ASCII names, as signed integers.
MIGRATION_LOCK = int.from_bytes(b"bl.migra", "big")

_NAME = re.compile(r"([0-9]{4})_[a-z0-9_]+\.sql")


class Migration(msgspec.Struct, frozen=True):
    """`sql` is run as one transaction; `digest` is the SHA-256 of its text."""

    version: int
    name: str
    sql: str

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.sql.encode()).digest()


def load_migrations() -> list[Migration]:
    """Those shipped with this software, numbered 1, 2, 3 ... without a gap."""
    found = []
    for item in resources.files("ledger.store").joinpath("migrations").iterdir():
        if match := _NAME.fullmatch(item.name):
            found.append(Migration(int(match[1]), item.name, item.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.version)
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise DatabaseError("this installation's migrations are incomplete")
    return found


async def migrate(connection: Connection, migrations: Sequence[Migration] | None = None) -> int:
    """Bring the schema up to date; how many migrations were run. Raises DatabaseError, after which those that were
    recorded stand and the others have no effect. The connection must have no client-side timeout: the lock waits.
    """
    known = load_migrations() if migrations is None else list(migrations)
    with reading("migrating the database"):
        await connection.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
        try:
            return await _run(connection, known)
        finally:
            if not connection.is_closed():
                await connection.execute("SELECT pg_advisory_unlock($1)", MIGRATION_LOCK)


async def _run(connection: Connection, known: list[Migration]) -> int:
    if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
        await connection.execute(
            "CREATE TABLE schema_migrations (version integer PRIMARY KEY, name text NOT NULL, digest bytea NOT NULL,"
            " applied_at timestamptz NOT NULL DEFAULT now())"
        )
    rows = await connection.fetch("SELECT version, digest FROM schema_migrations ORDER BY version")
    standing = rows[-1]["version"] if rows else 0
    if standing > len(known):
        raise DatabaseError(f"the database has schema version {standing}; this software knows only {len(known)}")
    for row, migration in zip(rows, known, strict=False):
        if (row["version"], row["digest"]) != (migration.version, migration.digest):
            raise DatabaseError(f"the database was made by another edition of migration {migration.name}")
    for migration in known[len(rows) :]:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO schema_migrations (version, name, digest) VALUES ($1, $2, $3)",
                migration.version,
                migration.name,
                migration.digest,
            )
    return len(known) - len(rows)
