"""Postgres: schema, queries and the embedded server. The only package that imports asyncpg."""

from __future__ import annotations

from ledger.store.embedded import EmbeddedPostgres
from ledger.store.model import Commit, CommitRow, Head
from ledger.store.store import Append, PublisherSession, Store

__all__ = ["Append", "Commit", "CommitRow", "EmbeddedPostgres", "Head", "PublisherSession", "Store"]
