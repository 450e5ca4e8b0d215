"""`serve` and `check`: thin, and what they hand over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli


def test_serve_hands_its_options_over(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every option reaches the service, and what it says when it is ready is the command's result."""
    from api import serve

    seen: list[serve.ServeOptions] = []

    def run(options: serve.ServeOptions, *, ready: Callable[[serve.Started], None]) -> None:
        seen.append(options)
        ready(serve.Started("http://127.0.0.1:1", "l.example", ("v1", "v6"), Path("d/operator.token")))

    monkeypatch.setattr(serve, "run", run)
    arguments = (
        *("--data", "d", "--listen", "127.0.0.1:0", "--origin", "l.example", "--database-url", "postgresql:///x"),
        *("--guard", "g.db", "--no-fetch-documents", "--publish-interval", "0.5", "--heartbeat", "10"),
        *("--answer-timeout", "2", "--policy", "w.policy", "--witness-timeout", "1.5"),
    )
    monkeypatch.setenv("BADGE_LEDGER_FAULT", "publisher.after-mark")
    ran = cli.ok("serve", *arguments, "--json")
    assert ran.json == {
        "url": "http://127.0.0.1:1",
        "origin": "l.example",
        "verifier_keys": ["v1", "v6"],
        "operator_token_file": "d/operator.token",
    }
    expected: dict[str, Any] = {
        "data": Path("d"),
        "listen": "127.0.0.1:0",
        "origin": "l.example",
        "database_url": "postgresql:///x",
        "guard": Path("g.db"),
        "fetch_documents": False,
        "publish_interval_s": 0.5,
        "heartbeat_s": 10.0,
        "answer_timeout_s": 2.0,
        "policy": Path("w.policy"),
        "witness_timeout_s": 1.5,
        "fault": "publisher.after-mark",
    }
    assert {name: getattr(seen[0], name) for name in expected} == expected
    assert "l.example at http://127.0.0.1:1" in cli.ok("serve").out


def test_check_does_not_make_a_ledger_where_there_is_none(cli: Cli) -> None:
    """An empty folder stays empty."""
    ran = cli("check", "--data", "nothing")
    assert (ran.status, "no database of a ledger" in ran.err) == (2, True)
    assert not (cli.folder / "nothing").exists()
