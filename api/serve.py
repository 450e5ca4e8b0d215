"""`badge-ledger serve`: one process, from an empty directory to a running ledger.

DATA/postgres/          the embedded PostgreSQL, when no database URL is given
DATA/guard.db           the guard; keep it on another disk than the database where there is one
DATA/keys/log.key       the log's Ed25519 note key          (made at the first start, mode 0600)
DATA/keys/log-pq.key    the log's ML-DSA-44 cosignature key (made at the first start, mode 0600)
DATA/keys/list.key      the Ed25519 key of status lists     (made at the first start, mode 0600)
DATA/operator.token     the operator's token                (made at the first start, mode 0600)
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import random
import re
import secrets
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog
import uvloop
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from api.app import create_app
from api.exchange import HttpExchange
from api.fetch import DocumentFetcher
from api.statuslists import parse_public_url
from ledger import faults
from ledger.clock import Clock, SystemClock
from ledger.entry import did_key
from ledger.errors import KeyFileError, LedgerError, MalformedInput, OperationError, Pending
from ledger.gather import Gatherer, make_gatherer
from ledger.guard import SqliteGuard
from ledger.history import History
from ledger.keyfile import load_issuer_key, load_log_key, load_log_mldsa44_key, save_issuer_key, save_log_key
from ledger.node import Node, NodeOptions
from ledger.policy import MAX_POLICY_BYTES, parse_policy
from ledger.publisher import HeadSigner
from ledger.signing import Ed25519Key, MLDSA44Key
from ledger.store import EmbeddedPostgres, Store
from ledger.text import parse_decimal

DEFAULT_ORIGIN = "localhost/badge-ledger"
MIN_TOKEN_CHARS = 16
_TOKEN = re.compile(rf"[!-~]{{{MIN_TOKEN_CHARS},}}")


class ServeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What `serve` takes."""

    data: Path
    listen: str = "127.0.0.1:8080"
    origin: str | None = None
    database_url: str | None = None
    guard: Path | None = None
    fetch_documents: bool = True
    allow_private_fetch: bool = False
    publish_interval_s: float = 0.005
    heartbeat_s: float = 300.0
    answer_timeout_s: float = 20.0
    #: A process that stands still this long loses the head's lock and the publisher's to others.
    lock_timeout_s: float = 10.0
    #: Witnesses whose cosignatures a head needs before it is published.
    policy: Path | None = None
    witness_timeout_s: float = 5.0
    #: Scheme, host and path under which others reach this service; https and the origin if there is none.
    public_url: str | None = None
    fault: str = ""


class Started(msgspec.Struct, frozen=True):
    """Where a started service is."""

    url: str
    origin: str
    verifier_keys: tuple[str, str]
    operator_token_file: Path


def run(options: ServeOptions, *, ready: Callable[[Started], None] = lambda _: None) -> None:
    """Serve until SIGTERM or SIGINT. Raises LedgerError for what the operator must mend."""
    configure_logs()
    # The state of the log is millions of objects in no cycle: the collector's default pace spends a tenth of the
    # process walking them.
    gc.set_threshold(50_000, 20, 100)
    faults.install(options.fault)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(options, ready))


def configure_logs() -> None:
    """One event a line on standard error: JSON, or for people on a terminal. What libraries log comes the same way.

    Tracebacks are without local variables, which would put identifiers, commitments and keys into the log.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if sys.stderr.isatty():
        rendering: list[structlog.typing.Processor] = [
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        ]
    else:
        tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        rendering = [structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer()]
    structlog.configure(processors=[*shared, *rendering], logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    server_log = logging.getLogger("aiohttp.server")
    server_log.filters = [_without_callers]


def _without_callers(record: logging.LogRecord) -> bool:
    """aiohttp reports whatever is no HTTP, with the caller's address: no error of ours, and nobody's business."""
    if record.exc_info is not None and isinstance(record.exc_info[1], HttpProcessingError):
        return False
    record.msg, record.args = "a request failed outside the application", ()
    return True


async def _serve(options: ServeOptions, ready: Callable[[Started], None]) -> None:
    log = structlog.get_logger("serve")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    host, port = parse_listen(options.listen)
    if options.public_url is not None:
        parse_public_url(options.public_url)
    async with contextlib.AsyncExitStack() as stack:
        clock = SystemClock()
        node, token_file = await open_node(options, clock, stack)
        stack.push_async_callback(node.stop)
        await node.start()
        fetch = DocumentFetcher(allow_private=options.allow_private_fetch) if options.fetch_documents else None
        app = create_app(
            node,
            operator_token=operator_token(token_file),
            list_key=await load_list_key(options.data / "keys" / "list.key", node.store),
            public_url=options.public_url,
            fetch=fetch,
        )
        # auto_decompress: unpacking would happen here, on the loop, before any limit is asked (`read_body`).
        runner = web.AppRunner(
            app,
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
        started = Started(
            url=f"http://{shown}:{bound[1]}",
            origin=node.options.origin,
            verifier_keys=node.verifier_keys,
            operator_token_file=token_file,
        )
        first_head = asyncio.create_task(_first_head(node))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({first_head, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if first_head.done():
                first_head.result()
                gc.freeze()
                log.info("serve.ready", url=started.url, origin=started.origin, verifier_key=started.verifier_keys[0])
                ready(started)
                await stopping
        finally:
            first_head.cancel()
            stopping.cancel()
        log.info("serve.stopping")


async def _first_head(node: Node) -> None:
    """Wait for the first head of a new log; where witnesses keep it from being published, for as long as they do."""
    log = structlog.get_logger("serve")
    while True:
        try:
            await node.published()
        except Pending as error:
            if node.gatherer is None or node.gatherer.lacking() is None:
                raise
            log.warning("serve.waiting", reason=error.detail)
        else:
            return


def warn_of_one_disk(guard: Path, database: Path) -> None:
    """Say so where guard and database share a disk and no witness cosigns: rolled back together, nobody notices."""
    if guard.stat().st_dev == database.stat().st_dev:
        structlog.get_logger("serve").warning("serve.guard-on-the-same-disk", guard=str(guard))


async def open_node(options: ServeOptions, clock: Clock, stack: contextlib.AsyncExitStack) -> tuple[Node, Path]:
    """Everything a node needs, opened onto `stack`; the node itself is not started."""
    make_private_directory(options.data)
    make_private_directory(options.data / "keys")
    database_url = options.database_url
    if database_url is None:
        embedded = EmbeddedPostgres(options.data / "postgres")
        database_url = await embedded.start()
        stack.push_async_callback(embedded.stop)
    store = await Store.connect(database_url, idle_in_transaction_timeout_ms=int(options.lock_timeout_s * 1000))
    stack.push_async_callback(store.close)
    guard_file = options.guard or options.data / "guard.db"
    guard = await SqliteGuard.open(guard_file)
    stack.push_async_callback(guard.close)
    if options.policy is None and options.database_url is None:
        warn_of_one_disk(guard_file, options.data / "postgres")
    known = (await store.meta()).get("origin", b"").decode()
    origin = options.origin or known or DEFAULT_ORIGIN
    signer = load_signer(options.data / "keys", origin, create=not known)
    token_file = options.data / "operator.token"
    operator_token(token_file)
    node_options = NodeOptions(
        origin=origin,
        publish_interval_s=options.publish_interval_s,
        heartbeat_s=options.heartbeat_s,
        answer_timeout_s=options.answer_timeout_s,
        lock_timeout_s=options.lock_timeout_s,
    )
    gatherer = await open_gatherer(options, store, signer, clock, stack)
    return Node(store, guard, signer, clock, node_options, secrets.token_bytes(32), gatherer), token_file


async def open_gatherer(
    options: ServeOptions, store: Store, signer: HeadSigner, clock: Clock, stack: contextlib.AsyncExitStack
) -> Gatherer | None:
    """What gathers cosignatures as the policy file demands; None without one. Raises OperationError."""
    if options.policy is None:
        return None
    try:
        with options.policy.open("rb") as file:
            policy = parse_policy(file.read(MAX_POLICY_BYTES + 1))
    except OSError as error:
        raise OperationError(f"cannot read the policy {options.policy}: {error.strerror}") from error
    except LedgerError as error:
        raise OperationError(f"{options.policy}: {error.detail}") from error
    exchange = HttpExchange(options.witness_timeout_s)
    gatherer = make_gatherer(
        policy,
        signer.verifier_keys,
        exchange,
        History(store),
        clock,
        random.random,
        answer_s=options.witness_timeout_s,
    )
    await stack.enter_async_context(exchange)
    return gatherer


def load_signer(keys: Path, origin: str, *, create: bool) -> HeadSigner:
    """The log's keys, made here for a new log. Raises KeyFileError where an existing log's keys are missing."""
    ed25519_file, mldsa44_file = keys / "log.key", keys / "log-pq.key"
    for file, make in ((ed25519_file, Ed25519Key), (mldsa44_file, MLDSA44Key)):
        if file.exists():
            continue
        if not create:
            raise KeyFileError(f"the log exists but its key {file} does not: bring it back from the backup")
        save_log_key(file, origin, make.from_seed(secrets.token_bytes(32)))
    name, ed25519 = load_log_key(ed25519_file)
    pq_name, mldsa44 = load_log_mldsa44_key(mldsa44_file)
    if (name, pq_name) != (origin, origin):
        raise KeyFileError(f"the keys in {keys} are those of {name!r} and {pq_name!r}, not of the log {origin!r}")
    return HeadSigner(origin, ed25519, mldsa44)


async def load_list_key(file: Path, store: Store) -> Ed25519Key:
    """The key that signs status lists, made here if the log has none yet.

    All nodes of a log need the same one, or the same list would have two issuers: its public half is in the database.
    Raises KeyFileError where the log's key is missing or is another.
    """
    key = _list_key(file, create="list_key" not in await store.meta())
    if await store.set_meta_if_absent("list_key", key.public_key) != key.public_key:
        raise KeyFileError(f"{file} is not the key that signs this log's status lists: copy it from another node")
    return key


def _list_key(file: Path, *, create: bool) -> Ed25519Key:
    if not file.exists():
        if not create:
            raise KeyFileError(f"the log's status lists have a key, but {file} is not here: copy it from another node")
        made = Ed25519Key.from_seed(secrets.token_bytes(32))
        save_issuer_key(file, made, issuer=did_key(made.public_key))
    return load_issuer_key(file)


def operator_token(file: Path) -> str:
    """The operator's token; made here, readable by its owner alone, if there is none. Raises KeyFileError."""
    if not file.exists():
        _make_token(file)
    try:
        if file.stat().st_mode & 0o077:
            raise KeyFileError(f"{file} can be read by others: chmod 600 it")
        token = file.read_text("ascii").strip()
    except OSError as error:
        raise KeyFileError(f"{file}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError:
        token = ""
    if _TOKEN.fullmatch(token) is None:
        # An empty one would let in whoever sends none.
        raise KeyFileError(f"{file} holds no token of {MIN_TOKEN_CHARS} visible ASCII characters or more: remove it")
    return token


def _make_token(file: Path) -> None:
    """Whole or not at all: a crash or a full disk leaves no empty token behind. Another process may be faster."""
    made = file.with_name(f".{file.name}.{os.getpid()}.new")
    made.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(secrets.token_urlsafe(32) + "\n")
            out.flush()
            os.fsync(out.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(made, file)
    except OSError as error:
        raise KeyFileError(f"{file}: {(error.strerror or str(error)).lower()}") from error
    finally:
        made.unlink(missing_ok=True)


def make_private_directory(directory: Path) -> None:
    """Make a directory of this service. Raises OperationError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OperationError(f"cannot use the directory {directory}: {error.strerror}") from error


def parse_listen(listen: str) -> tuple[str, int]:
    """HOST:PORT; port 0 takes any free one. Raises MalformedInput."""
    host, colon, port = listen.rpartition(":")
    if not colon or not host:
        raise MalformedInput(f"--listen is HOST:PORT, not {listen!r}")
    return host.strip("[]"), parse_decimal(port, what="port", max_value=65535)
