"""`badge-ledger revoke`, `suspend`, `reinstate`: what happens to a badge after it was issued."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from ledger.cli.app import command, option
from ledger.cli.options import Reason, key_option, load_policy, policy_option, url_option
from ledger.cli.output import Output, counted
from ledger.errors import InputError, LedgerError, NotFound, RuleViolation

if TYPE_CHECKING:
    from ledger.cli.identity import Identity, Log
    from ledger.client import LedgerClient

#: Event type of the wire format, the state that the slot is in afterwards, and the words for it.
_EVENTS: Final = {"revoke": (6, "revoked"), "suspend": (7, "suspended"), "reinstate": (8, "active")}
_DONE: Final = {"revoke": "revoked", "suspend": "suspended", "reinstate": "reinstated"}
_DOING: Final = {"revoke": "revoking", "suspend": "suspending", "reinstate": "reinstating"}
_SHOWN = 20

#: Refusals of single slots, at named positions; the rest of the submission is sent without them.
_OF_SINGLE_SLOTS: Final = ("illegal-transition", "not-owner")


class Change(msgspec.Struct):
    """A slot on its way: `result` is done, already or failed."""

    target: str
    slot: int | None = None
    result: str | None = None
    index: int | None = None
    detail: str | None = None


def _common(function: Callable[..., int]) -> Callable[..., int]:
    for add in (
        option("--batch", type=click.IntRange(1, 100_000), default=10_000, help="Events in one signed submission."),
        option("--salt-key", type=click.Path(dir_okay=False, path_type=Path), help="[default: the key's name + .salt]"),
        option("--reason", type=Reason(), default="unspecified", metavar="REASON", help="By name or number, 0 to 6."),
        policy_option,
        url_option,
        key_option,
    ):
        function = add(function)
    return function


@command(short_help="Revoke badges, for good.")
@click.argument("targets", nargs=-1, metavar="[BADGE|RECEIPT|COMMITMENT|SLOT]...")
@_common
@option("--signed-by", metavar="KEY", help="Everything that this key issued: log index, public key or key file.")
@option("--since", type=click.IntRange(0), metavar="INDEX", help="With --signed-by: from this log index on.")
def revoke(output: Output, targets: tuple[str, ...], signed_by: str | None, since: int | None, **options: Any) -> int:
    """Revoke badges. It cannot be undone.

    A badge is named by its file, its receipt, its commitment (every slot it was issued in) or its slot. A file stands
    for every slot of the badge, salted (by --salt-key) or not; a receipt for those with its salt. After a theft:
    retire the stolen key, then revoke with --signed-by everything that it issued and that is still active.

    Reasons: unspecified 0, issued-in-error 1, superseded 2, withdrawn 3, fraud 4, holders-request 5, key-compromised 6.

    \b
    Example:
      badge-ledger revoke alice.json --reason issued-in-error --key acme.key --url https://ledger.example/
      badge-ledger revoke --signed-by 17 --since 1000 --reason key-compromised --key status.key --url ...
    """
    if (signed_by is None) != (since is None):
        raise InputError("--signed-by KEY and --since INDEX belong together")
    return _run(output, "revoke", targets, options, signed_by, since or 0)


@command(short_help="Suspend badges until they are reinstated.")
@click.argument("targets", nargs=-1, required=True, metavar="[BADGE|RECEIPT|COMMITMENT|SLOT]...")
@_common
def suspend(output: Output, targets: tuple[str, ...], **options: Any) -> int:
    """Suspend badges: not valid until they are reinstated.

    \b
    Example:
      badge-ledger suspend alice.receipt.json --reason fraud --key acme.key --url https://ledger.example/
    """
    return _run(output, "suspend", targets, options)


@command(short_help="Lift the suspension of badges.")
@click.argument("targets", nargs=-1, required=True, metavar="[BADGE|RECEIPT|COMMITMENT|SLOT]...")
@_common
def reinstate(output: Output, targets: tuple[str, ...], **options: Any) -> int:
    """Make suspended badges valid again.

    \b
    Example:
      badge-ledger reinstate alice.receipt.json --key acme.key --url https://ledger.example/
    """
    return _run(output, "reinstate", targets, options)


def _run(
    output: Output,
    verb: str,
    targets: tuple[str, ...],
    options: dict[str, Any],
    signed_by: str | None = None,
    since: int = 0,
) -> int:
    if not targets and signed_by is None:
        raise InputError(f"what is to {verb}? name badges, receipts, commitments or slots")
    output.when_interrupted = f"what was sent may be logged: run the same command again, it {verb}s nothing twice"
    changes = asyncio.run(_change(output, verb, targets, options, signed_by, since))
    totals = Counter(change.result for change in changes)
    done, already, failed = (totals.get(name, 0) for name in ("done", "already", "failed"))
    state = _DONE[verb]
    if output.json:
        rows = [{n: v for n, v in msgspec.structs.asdict(change).items() if v is not None} for change in changes]
        output.document({"changes": rows, "totals": {"done": done, "already": already, "failed": failed}})
        return 1 if failed else 0
    for change in changes:
        if change.result == "failed":
            output.note(f"{change.target}: {change.detail}")
    if len(changes) <= _SHOWN:
        words = {"done": state, "already": f"{state} before", "failed": "failed"}
        output.table(
            ("target", "slot", "result", "entry"),
            [(c.target, _text(c.slot), words[c.result or "failed"], _text(c.index)) for c in changes],
        )
    parts = [f"{done} {state}", f"{already} {state} before" if already else "", f"{failed} failed" if failed else ""]
    output.lines(", ".join(part for part in parts if part))
    return 1 if failed else 0


async def _change(
    output: Output, verb: str, targets: tuple[str, ...], options: dict[str, Any], signed_by: str | None, since: int
) -> list[Change]:
    from ledger.cli.identity import load_identity, open_log, salt_key_path, with_index
    from ledger.cli.targets import signed_by as find_signed
    from ledger.cli.targets import slots_of
    from ledger.client import LedgerClient

    policy = load_policy(options["policy"])
    identity = load_identity(options["key"])
    default = salt_key_path(identity.path)
    salt_key = options["salt_key"] or (default if default.exists() else None)
    changes: list[Change] = []
    async with LedgerClient(options["url"], clock=output.clock) as client:
        log = await open_log(client, policy)
        identity = await with_index(identity, client)
        for target in targets:
            try:
                slots = await slots_of(target, client, identity, salt_key)
                changes += [Change(target, slot) for slot in slots]
                if len(slots) > 1:
                    output.note(f"{target}: was issued in {len(slots)} slots")
            except (LedgerError, OSError) as error:
                if getattr(error, "status", 0) == 503:
                    raise
                changes.append(Change(target, result="failed", detail=str(error).removeprefix(f"{target}: ")))
        if signed_by is not None:
            slots = await find_signed(signed_by, since, client, identity)
            issued = counted(len(slots), "badge")
            output.note(f"key {signed_by} issued, since entry {since}, {issued} not revoked yet")
            changes += [Change(str(slot), slot) for slot in slots]
        unique = _unique(changes)
        with output.progress(_DOING[verb], len(unique)) as progress:
            sender = _Sender(output, client, log, identity, verb, options["reason"])
            for start in range(0, len(unique), options["batch"]):
                part = unique[start : start + options["batch"]]
                await sender.send(part)
                progress.advance(len(part))
    return changes


def _unique(changes: list[Change]) -> list[Change]:
    """One change a slot; a slot that was named before becomes `already`."""
    first: dict[int, Change] = {}
    for change in changes:
        if change.slot is not None and first.setdefault(change.slot, change) is not change:
            change.result = "already"
    return list(first.values())


class _Sender:
    """Signs and sends submissions of status events; what the log refuses about one slot does not stop the others."""

    def __init__(
        self, output: Output, client: LedgerClient, log: Log, identity: Identity, verb: str, reason: int
    ) -> None:
        self._output = output
        self._client = client
        self._log = log
        self._identity = identity
        self._type, self._state = _EVENTS[verb]
        self._reason = reason

    async def send(self, changes: list[Change]) -> None:
        """One submission, again without the slots that the ledger refuses. Raises LedgerError for all others."""
        from ledger.block import encode_body, sign_submission
        from ledger.cli.identity import WINDOW_MS, new_nonce
        from ledger.entry import encode_status_event

        while changes:
            issuer, slots = self._identity.issuer, [change.slot or 0 for change in changes]
            events = b"".join(encode_status_event(self._type, issuer, slot, self._reason) for slot in slots)
            not_after_ms = self._client.clock.now_ms() + WINDOW_MS
            block = sign_submission(
                self._log.origin, self._identity.key, issuer, self._identity.index, events, not_after_ms, new_nonce()
            )
            try:
                answer = await self._client.submit(
                    encode_body(block),
                    not_after_ms=not_after_ms,
                    on_retry=lambda error, pause: self._output.note(f"{error.detail}; repeating in {pause:.0f} s"),
                )
            except RuleViolation as error:
                refused = {k for k in error.positions if k < len(changes)}
                if error.rule not in _OF_SINGLE_SLOTS or not refused:
                    raise
                for k in refused:
                    await self._explain(changes[k], error)
                changes = [change for change in changes if change.result is None]
                continue
            for k, change in enumerate(changes):
                change.result, change.index = "done", answer.first_index + 1 + k
            return

    async def _explain(self, change: Change, error: RuleViolation) -> None:
        """Why the log refused this slot: it may be in the wanted state already."""
        try:
            state = (await self._client.slot(change.slot or 0)).state
        except NotFound as unknown:
            change.result, change.detail = "failed", unknown.detail
            return
        if state == self._state and error.rule == "illegal-transition":
            change.result = "already"
        else:
            change.result = "failed"
            change.detail = f"the slot is {state}" if error.rule == "illegal-transition" else error.detail


def _text(value: int | None) -> str:
    return "" if value is None else str(value)
