"""The command line, `badge-ledger`: what issuers, verifiers and operators type.

One small module per group of commands; each is imported when its command runs, and what a command needs from the
network or the database when it needs it. `verify` imports neither aiohttp nor asyncpg and works without a network.

    exit status   0 done, or valid      1 done and the answer is no (not valid, not proven), or some items failed
                  2 unusable input, refused, or unreachable          130 interrupted
    stdout        the result: for people, or with --json one JSON document
    stderr        progress, notes, and errors as one sentence, `badge-ledger: ...`; never a traceback
"""

from __future__ import annotations

from ledger.cli.app import main

__all__ = ["main"]
