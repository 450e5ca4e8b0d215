"""`badge-ledger log`: a ledger's head and entries, for people."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from ledger.cli.app import command, option
from ledger.cli.options import load_policy, log_key_option, policy_option, url_option
from ledger.cli.output import Output, format_age, format_time
from ledger.errors import InputError
from ledger.signing import ED25519_SIG_BYTES, MLDSA44_SIG_BYTES

if TYPE_CHECKING:
    from ledger.answers import LogInfo
    from ledger.entry import Entry

_ROLES = {1: "issue", 2: "status", 4: "manage"}


@command(short_help="Show a ledger's head and entries.")
@url_option
@policy_option
@log_key_option
@option("--last", type=click.IntRange(1, 100_000), metavar="N", help="Show the last N entries.")
@option("--start", type=click.IntRange(0), metavar="INDEX", help="Show entries from this index on.")
@option("--count", type=click.IntRange(1, 1_000_000), default=100, help="With --start: so many.")
def log(
    output: Output,
    url: str,
    policy: Path | None,
    log_key: str | None,
    last: int | None,
    start: int | None,
    count: int,
) -> None:
    """Show the newest head of a ledger, who signed it, and with --last or --start its entries.

    The signature of the log is checked; that the entries are those under the head, an auditor checks.

    \b
    Example:
      badge-ledger log --url https://ledger.example/
      badge-ledger log --last 20 --url https://ledger.example/
    """
    if last is not None and start is not None:
        raise InputError("--last and --start are two choices: give one of them")
    info, entries = asyncio.run(_read(output, url, load_policy(policy, log_key), last, start, count))
    if entries is not None:
        _show_entries(output, entries)
    else:
        _show_head(output, info)


async def _read(
    output: Output, url: str, policy: Any, last: int | None, start: int | None, count: int
) -> tuple[LogInfo, list[tuple[int, bytes]] | None]:
    from ledger.cli.identity import open_log
    from ledger.client import LedgerClient

    async with LedgerClient(url, clock=output.clock) as client:
        info = (await open_log(client, policy)).info
        if last is None and start is None:
            return info, None
        size = info.head.size
        first = max(0, size - last) if last is not None else start or 0
        if first >= size:
            raise InputError(f"the log has {size} entries")
        end = size if last is not None else min(size, first + count)
        return info, [
            (at + k, entry) async for at, entries in client.bundles(first, end, size) for k, entry in enumerate(entries)
        ]


def _show_head(output: Output, info: LogInfo) -> None:
    from ledger.note import parse_note

    note = parse_note(info.checkpoint.encode())
    lines = [(line.name, line.key_id.hex(), _timestamp_s(line.signature)) for line in note.signatures]
    if output.json:
        document = msgspec.to_builtins(info)
        document["signatures"] = [{"name": name, "key_id": key, "timestamp_s": at} for name, key, at in lines]
        output.document(document)
        return
    head = info.head
    age = output.clock.now_ms() // 1000 - head.time_ms // 1000
    output.lines(info.origin)
    output.fields(
        [
            ("size", str(head.size)),
            ("root", head.root),
            ("time", f"{format_time(head.time_ms)} ({format_age(age)} ago)"),
            *(("key", key) for key in info.verifier_keys if len(key) < 200),
        ]
    )
    output.table(
        ("signed by", "key id", "cosigned"),
        [(name, key, "" if at is None else format_time(at * 1000)) for name, key, at in lines],
    )


def _timestamp_s(signature: bytes) -> int | None:
    """When a cosignature says that it was made, None for a signature of another kind. Only its length tells them
    apart; nothing here is trusted but the log's own signature, which was verified before."""
    is_cosignature = len(signature) in (8 + ED25519_SIG_BYTES, 8 + MLDSA44_SIG_BYTES)
    return int.from_bytes(signature[:8], "big") if is_cosignature else None


def _show_entries(output: Output, entries: list[tuple[int, bytes]]) -> None:
    from ledger.entry import TYPE_NAMES, decode

    decoded = [(index, TYPE_NAMES[data[1]], decode(data)) for index, data in entries]
    if output.json:
        output.document({"entries": [{"index": i, "type": kind, **_fields(entry)} for i, kind, entry in decoded]})
        return
    output.table(("index", "type", "time", "what"), [(str(i), kind, _time(e), _what(e)) for i, kind, e in decoded])


def _fields(entry: Entry) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(entry, builtin_types=(bytes,))
    fields.pop("type", None)
    return {name: _plain(value) for name, value in fields.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return {name: _plain(inner) for name, inner in value.items()} if isinstance(value, dict) else value


def _time(entry: Entry) -> str:
    time_ms = getattr(entry, "time", None)
    return "" if time_ms is None else format_time(time_ms)


def _what(entry: Entry) -> str:
    """One line on what an entry says."""
    from ledger import entry as e

    match entry:
        case e.LogParams():
            return entry.origin
        case e.IssuerKey():
            roles = ",".join(name for bit, name in _ROLES.items() if entry.roles & bit)
            verb = "adds" if entry.action == e.ADD else "retires"
            return f"{entry.identifier} {verb} {entry.public_key.hex()} ({roles})"
        case e.StatusList():
            return f"list {entry.list} is {entry.issuer.hex()[:16]}…'s"
        case e.Submission():
            return f"{entry.issuer.hex()[:16]}… signs {_count(entry.count, 'event')} with key {entry.key}"
        case e.Issue():
            return f"slot {entry.slot}, commitment {entry.commitment.hex()}"
        case e.StatusEvent():
            return f"slot {entry.slot}, {e.REASONS[entry.reason]}"
        case e.StatusRoot():
            totals = f"{entry.issued} issued, {entry.revoked} revoked, {entry.suspended} suspended"
            return f"{totals}, {_count(entry.lists, 'list')}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
