"""A witness of transparency logs: c2sp.org/tlog-witness, for any C2SP log.

    logs      which logs, under which keys, how often         (a file in the log-list format of witness-network.org)
    rules     what a submitted checkpoint must be             (pure)
    subtree   subtrees of a cosigned checkpoint               (pure)
    state     the newest head of each log, durable            (SQLite)
    witness   `Witness`: all of it together, free of HTTP     (api/witness_app.py puts HTTP around it)

The promise of its cosignatures: for one origin, all heads that were ever cosigned are heads of one append-only log, and
their timestamps never fall while their sizes grow.
"""

from ledger.witness.logs import LogList, WitnessedLog, parse_log_list
from ledger.witness.rules import SizeConflict, StandingHead
from ledger.witness.state import WitnessState
from ledger.witness.witness import Answer, Approve, Witness

__all__ = [
    "Answer",
    "Approve",
    "LogList",
    "SizeConflict",
    "StandingHead",
    "Witness",
    "WitnessState",
    "WitnessedLog",
    "parse_log_list",
]
