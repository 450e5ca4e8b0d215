"""Whole databases, copied and swapped under the nodes' feet."""

from __future__ import annotations

import re

import asyncpg


class Databases:
    """Copies and swaps whole databases under the nodes' feet, as backups and failovers do."""

    def __init__(self, dsn: str, admin: asyncpg.Connection) -> None:
        match = re.search(r"/(service\d+)\?", dsn)
        assert match is not None
        self.dsn = dsn
        self.name = match[1]
        self._admin = admin
        self._copies = 0

    async def _close_to_all(self) -> None:
        await self._admin.execute(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS false")
        query = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1"
        await self._admin.fetch(query, self.name)

    async def _open(self) -> None:
        await self._admin.execute(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS true")

    async def copy(self) -> str:
        """The database as it is now, under another name."""
        self._copies += 1
        name = f"{self.name}_copy{self._copies}"
        await self._close_to_all()
        await self._admin.execute(f"CREATE DATABASE {name} TEMPLATE {self.name}")
        await self._open()
        return name

    async def bring_back(self, name: str) -> None:
        """The copy takes the database's place; what came after it is lost."""
        await self._close_to_all()
        await self._admin.execute(f"DROP DATABASE {self.name} WITH (FORCE)")
        await self._admin.execute(f"ALTER DATABASE {name} RENAME TO {self.name}")

    async def lose(self) -> None:
        """An empty database takes the database's place."""
        await self._close_to_all()
        await self._admin.execute(f"DROP DATABASE {self.name} WITH (FORCE)")
        await self._admin.execute(f"CREATE DATABASE {self.name} TEMPLATE template0")

    async def drop_copies(self) -> None:
        for number in range(1, self._copies + 1):
            await self._admin.execute(f"DROP DATABASE IF EXISTS {self.name}_copy{number} WITH (FORCE)")
