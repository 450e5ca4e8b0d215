"""The service's fixtures (one log a test, checked when the test is over) and the command line's."""

from __future__ import annotations

from tests.cli.conftest import badges, cli, key, ledger
from tests.faults.conftest import directory, process
from tests.service.conftest import (
    client,
    dsn,
    gate,
    party,
    quiet,
    refuses,
    run_sql,
    service,
    service_dir,
    service_postgres,
    world,
)

__all__ = [
    "badges",
    "cli",
    "client",
    "directory",
    "dsn",
    "gate",
    "key",
    "ledger",
    "party",
    "process",
    "quiet",
    "refuses",
    "run_sql",
    "service",
    "service_dir",
    "service_postgres",
    "world",
]
