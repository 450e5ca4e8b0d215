"""`badge-ledger witness`: one process that cosigns the heads of the logs on its list.

STATE      the newest cosigned head of each log      (made with --new-state, mode 0600; ledger/witness/state.py)
KEY ...    one file a key, Ed25519 or ML-DSA-44      (made with `badge-ledger keygen --kind witness`, `witness-pq`)
LOGS       which logs under which keys               (ledger/witness/logs.py)
AUDITS     of an auditing witness: where each audit stands, and what convicts a log   (ledger/auditor)
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog
import uvloop
from aiohttp import web

from api.serve import configure_logs, parse_listen
from api.witness_app import create_witness_app
from ledger import faults
from ledger.auditor.approval import PATIENCE_S, AuditedLog, Audits
from ledger.auditor.places import open_source
from ledger.auditor.session import Session
from ledger.clock import Clock, SystemClock
from ledger.errors import InputError, OperationError
from ledger.keyfile import load_key
from ledger.note import format_vkey
from ledger.policy import NONE, LogRule, Policy
from ledger.witness import Approve, LogList, Witness, WitnessState, parse_log_list
from ledger.witness.logs import MAX_LIST_BYTES


class WitnessOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What `witness` takes."""

    keys: tuple[Path, ...]
    logs: Path
    state: Path
    new_state: bool = False
    listen: str = "127.0.0.1:8090"
    #: Origin and place (URL or folder) of each log, where nothing is cosigned that has not passed a full audit.
    audit: tuple[tuple[str, str], ...] = ()
    audits: Path = Path("audits")
    audit_patience_s: float = PATIENCE_S
    fault: str = ""


class Started(msgspec.Struct, frozen=True):
    """Where a started witness is."""

    url: str
    verifier_keys: tuple[str, ...]
    logs: int


def run(options: WitnessOptions, *, ready: Callable[[Started], None] = lambda _: None) -> None:
    """Serve until SIGTERM or SIGINT. Raises LedgerError for what the operator must mend."""
    configure_logs()
    faults.install(options.fault)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(options, ready))


async def open_witness(
    options: WitnessOptions, clock: Clock, stack: contextlib.AsyncExitStack, *, approve: Approve | None = None
) -> Witness:
    """The witness of these options, opened onto `stack`. Raises LedgerError."""
    keys = [load_key(path) for path in options.keys]
    logs = _load_logs(options.logs)
    if options.audit:
        approve = await _open_audits(options, logs, clock, stack)
    state = WitnessState.open(options.state, create=options.new_state)
    stack.push_async_callback(state.close)
    witness = Witness(keys, logs, state, clock, approve=approve)
    stack.push_async_callback(witness.close)
    return witness


async def _open_audits(
    options: WitnessOptions, logs: LogList, clock: Clock, stack: contextlib.AsyncExitStack
) -> Audits:
    """An audit of every log on the list. Raises InputError for one that none is named for, or the other way round."""
    places = dict(options.audit)
    if len(places) < len(options.audit):
        raise InputError("--audit names a log twice")
    if unlisted := sorted(places.keys() - logs.keys()):
        raise InputError(f"--audit names {unlisted[0]!r}, which is not on the list of logs")
    if without := sorted(logs.keys() - places.keys()):
        raise InputError(f"an auditing witness audits every log on its list: --audit {without[0]}=URL is missing")
    options.audits.mkdir(mode=0o700, parents=True, exist_ok=True)
    audited = {}
    for origin, place in places.items():
        source = await open_source(place, clock, stack)
        name = hashlib.sha256(origin.encode()).hexdigest()[:16]
        session = Session(
            [source],
            Policy(tuple(LogRule(key) for key in logs[origin].keys), {}, {}, NONE),
            origin,
            clock=clock,
            state=options.audits / f"{name}.audit",
            evidence=options.audits,
        )
        audited[origin] = AuditedLog(session, clock, patience_s=options.audit_patience_s)
    audits = Audits(audited)
    stack.push_async_callback(audits.close)
    return audits


async def _serve(options: WitnessOptions, ready: Callable[[Started], None]) -> None:
    log = structlog.get_logger("cosigner")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    host, port = parse_listen(options.listen)
    async with contextlib.AsyncExitStack() as stack:
        witness = await open_witness(options, SystemClock(), stack)
        # auto_decompress: unpacking would happen here, on the loop, before any limit is asked.
        runner = web.AppRunner(
            create_witness_app(witness),
            access_log=None,
            handle_signals=False,
            shutdown_timeout=10,
            keepalive_timeout=75,
            auto_decompress=False,
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, host, port, backlog=1024, reuse_address=True)
        try:
            await site.start()
        except OSError as error:
            raise OperationError(f"cannot listen on {options.listen}: {error.strerror}") from error
        bound = runner.addresses[0]
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        verifier_keys = tuple(format_vkey(key) for key in witness.verifier_keys)
        started = Started(f"http://{shown}:{bound[1]}", verifier_keys, len(witness.logs))
        log.info("cosigner.ready", url=started.url, verifier_keys=list(verifier_keys), logs=started.logs)
        ready(started)
        await stop.wait()
        log.info("cosigner.stopping")


def _load_logs(path: Path) -> LogList:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_LIST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from error
    try:
        return parse_log_list(data)
    except InputError as error:
        raise InputError(f"{path}: {error.detail}") from error
