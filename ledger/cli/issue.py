"""`badge-ledger issue`: anchor badges and write their receipts.

The work is in `ledger.cli.reading` (what goes into the log), `ledger.cli.issuing` (that it gets there once) and
`ledger.cli.writing` (the receipts).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ledger.cli.app import command, option
from ledger.cli.options import key_option, load_policy, policy_option, profile_option, url_option
from ledger.cli.output import Output, counted
from ledger.errors import InputError, LedgerError, OperationError, RuleViolation

if TYPE_CHECKING:
    from ledger.cli.identity import Identity, Log
    from ledger.cli.reading import Found, Item, Rules
    from ledger.cli.workers import Workers
    from ledger.policy import Policy

_SHOWN = 20
#: Badges that one task reads.
_TASK_BADGES = 250
#: Badges of a run whose own signatures are checked unless that is asked for: more would take longer than issuing them.
_CHECKED = 500
#: Answers below 500 that pass by themselves: too slow, too often.
_PASSING = (408, 429)


@command(short_help="Anchor badges and write their receipts.")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the receipts.")
@key_option
@url_option
@policy_option
@profile_option
@option("--batch", type=click.IntRange(1, 100_000), default=10_000, help="Badges in one signed submission.")
@option("--salt/--no-salt", default=None, help="Salt all, or none: decide once per issuer.  [default: where needed]")
@option("--salt-key", type=click.Path(dir_okay=False, path_type=Path), help="[default: the key file's name + .salt]")
@option("--nested", is_flag=True, help="Anchor the badges inside a CLR transcript too, each by itself.")
@option("--other-issuer", is_flag=True, help="Anchor badges that name another issuer, which no verifier will accept.")
@option(
    "--check-signatures/--no-check-signatures",
    default=None,
    help="Fail badges whose own signature is invalid.  [default: in runs of up to 500 badges]",
)
@option("--status-base", metavar="HOST/PATH/", help="Where the ledger's status lists stand.  [default: as it says]")
@option("--strict", is_flag=True, help="One badge that cannot be used: issue none.")
@option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    help="What failed and why, as NDJSON or CSV.  [default: a file in --out, if any did]",
)
@option("--patience", type=click.IntRange(1), default=300, help="Seconds of repeating a request.")
def issue(output: Output, files: tuple[Path, ...], out: Path, key: Path, url: str, **options: Any) -> int:
    """Anchor the badges in FILES and write NAME.receipt.json into the --out folder.

    FILES are badges, folders of them, ZIP exports (.zip), or manifests: CSV (.csv, .tsv: a column `file`, or `badge`
    with the badge itself) and NDJSON (.ndjson, .jsonl: a line a badge, or {"file": ...}).

    Only commitments leave this machine, never a badge or a salt. Run it again after an interruption: what was sent is
    repeated to the byte or found, and no badge is issued twice. Exit status 1 if a badge could not be issued.

    \b
    Example:
      badge-ledger issue badges/ --out receipts/ --key acme.key --url https://ledger.example/
      badge-ledger issue class.csv --out receipts/ --key acme.key --report failed.csv --url https://ledger.example/
    """
    from ledger.cli.identity import load_identity
    from ledger.cli.report import check_name
    from ledger.cli.workers import Workers

    if options["report"] is not None:
        check_name(options["report"])
    policy = load_policy(options["policy"])
    identity = load_identity(key)
    run = _Run(output, out, identity, url, policy, options)
    output.when_interrupted = "nothing was sent"
    with Workers() as workers:
        return _issue(output, run, files, workers, strict=options["strict"])


def _issue(output: Output, run: _Run, files: tuple[Path, ...], workers: Workers, *, strict: bool) -> int:
    asyncio.run(run.read(files, workers))
    bad = [item for item in run.items if item.result == "failed"]
    if strict and bad:
        run.write_report()
        share = f"{len(bad)} of {counted(len(run.items), 'badge')}"
        raise InputError(f"nothing was issued: {share} cannot be used: {bad[0].label}: {bad[0].detail}")
    output.when_interrupted = "no badge is issued twice: run the same command again to finish"
    return run.finish(asyncio.run(run.issue(workers)))


class _Run:
    """One run of the command: its items, and how they get on."""

    def __init__(
        self, output: Output, out: Path, identity: Identity, url: str, policy: Policy | None, options: dict[str, Any]
    ) -> None:
        self._output = output
        self._out = out
        self._identity = identity
        self._url = url
        self._policy = policy
        self._options = options
        self.items: list[Item] = []
        self._inside = Counter[str]()
        self._seconds: dict[str, float] = {}

    async def read(self, files: tuple[Path, ...], workers: Workers) -> None:
        """Every badge with its commitment, unusable ones with the reason, and the names of their receipts."""
        started = self._output.clock.monotonic()
        from ledger.cli.files import BADGE_SUFFIXES
        from ledger.cli.naming import name_receipts
        from ledger.cli.reading import items_of, prepare
        from ledger.cli.sources import Listing
        from ledger.cli.workers import POOL_FROM, chunked, processes_for

        log = await self._open_log()
        sources = iter(Listing(files, self._out))
        first = next(chunked(sources, POOL_FROM), [])
        if not first:
            raise InputError(
                f"there is nothing to issue in {', '.join(map(str, files))}: no row of a manifest, no file of a folder "
                f"that ends in {', '.join(BADGE_SUFFIXES)} and is no receipt"
            )
        rules = self._rules(log, few=len(first) <= _CHECKED)
        # Whether there are so many that processes pay is known before the last one is listed.
        workers.start(processes_for(len(first)))
        with self._output.progress("reading", None) as progress:
            async for chunk, results in workers.map(prepare, chunked(chain(first, sources), _TASK_BADGES), rules):
                for source, found in zip(chunk, results, strict=True):
                    self._note(found)
                    self.items += items_of(source, found)
                progress.advance(len(results))
        for item in name_receipts(self.items):
            item.fail("its receipt would have the name of another badge's: rename it")
        self._seconds["reading"] = round(self._output.clock.monotonic() - started, 3)

    async def _open_log(self) -> Log:
        from ledger.cli.identity import open_log
        from ledger.client import LedgerClient

        async with LedgerClient(self._url, clock=self._output.clock) as client:
            return await open_log(client, self._policy)

    def _rules(self, log: Log, *, few: bool) -> Rules:
        from ledger.cli.identity import load_salt, salt_key_path
        from ledger.cli.reading import Rules

        self._salt_key_path = self._options["salt_key"] or salt_key_path(self._identity.path)
        return Rules(
            identifier=self._identity.identifier,
            other_issuer=self._options["other_issuer"],
            salt=self._options["salt"],
            salt_key=load_salt(self._salt_key_path) if self._salt_key_path.exists() else None,
            status_base=self._options["status_base"] or log.status_lists.partition("://")[2],
            nested=self._options["nested"],
            check_signatures=few if self._options["check_signatures"] is None else self._options["check_signatures"],
            now_ms=self._output.clock.now_ms(),
        )

    def _note(self, found: list[Found]) -> None:
        """Count what is worth a sentence at the end. Raises KeyFileError where a salt is needed and no key there."""
        from ledger.cli.identity import load_salt

        for each in found:
            if each.needs_salt_key:
                load_salt(self._salt_key_path)
            self._inside["expired"] += each.expired
            self._inside["own"] += each.own_inside
            self._inside["foreign"] += each.foreign_inside

    async def issue(self, workers: Workers) -> LedgerError | None:
        """Issue; the error that ended it after badges may have been sent. Raises what went wrong before."""
        from ledger.cli.identity import open_log, with_index
        from ledger.cli.issuing import Issuance
        from ledger.cli.journal import Journal
        from ledger.cli.writing import Logged, ReceiptWriter
        from ledger.client import LedgerClient

        started = self._output.clock.monotonic()
        usable = [item for item in self.items if item.result is None]
        queue: asyncio.Queue[Logged | None] = asyncio.Queue()
        async with LedgerClient(self._url, clock=self._output.clock) as client:
            log = await open_log(client, self._policy)
            self._identity = await with_index(self._identity, client)
            with (
                Journal(self._out, log.origin, self._identity.issuer) as journal,
                self._output.progress("issuing", len(usable)) as progress,
                ReceiptWriter(
                    client,
                    log,
                    self._out,
                    workers,
                    profile=self._options["profile"],
                    policy=self._policy,
                    advance=lambda steps: progress.advance(steps / 2),
                ) as writer,
            ):
                issuance = Issuance(
                    client,
                    log,
                    self._identity,
                    journal,
                    self._out,
                    batch=min(self._options["batch"], log.info.limits.get("max_events", 100_000)),
                    profile=self._options["profile"],
                    policy=self._policy,
                    patience_s=self._options["patience"],
                    on_logged=queue.put_nowait,
                    advance=lambda steps: progress.advance(steps / 2),
                    on_retry=lambda error, pause: self._output.note(f"{error.detail}; repeating in {pause:.0f} s"),
                )
                stopped = await self._both(issuance.run(usable), writer.write_all(queue), queue)
                self._seconds["issuing"] = round(self._output.clock.monotonic() - started, 3)
                return stopped

    async def _both(self, issuing: Any, writing: Any, queue: asyncio.Queue[Any]) -> LedgerError | None:
        """Run both. What is logged gets its receipts even if the rest cannot be; receipts that cannot be made, of a
        ledger that shows something else, end it all. The first error, as one of the ledger's."""
        anchoring = asyncio.create_task(self._caught(issuing))
        receipts = asyncio.create_task(self._caught(writing))
        try:
            await asyncio.wait((anchoring, receipts), return_when=asyncio.FIRST_COMPLETED)
            if receipts.done():
                anchoring.cancel()
                return await receipts
            queue.put_nowait(None)
            return await anchoring or await receipts
        finally:
            for task in (anchoring, receipts):
                task.cancel()
            await asyncio.gather(anchoring, receipts, return_exceptions=True)

    async def _caught(self, work: Any) -> LedgerError | None:
        try:
            await work
        except LedgerError as error:
            return error
        except OSError as error:  # a full disk: what was sent is in the journal
            return OperationError(f"{error.filename or self._out}: {(error.strerror or str(error)).lower()}")
        return None

    def finish(self, stopped: LedgerError | None) -> int:
        """Tell what came of it; the exit status."""
        unfinished = [item for item in self.items if item.result is None]
        for item in unfinished:
            item.result, item.detail = "open", stopped.detail if stopped else "not finished"
        self._tell()
        self.write_report()
        if stopped is not None:
            are_open = f"{counted(len(unfinished), 'badge')} {'is' if len(unfinished) == 1 else 'are'} open"
            advice = "run the same command again" if _passes(stopped) else "that has to be mended before the next run"
            self._output.note(f"badge-ledger: {stopped.detail}; {are_open}: {advice}")
            return stopped.exit_status
        return 1 if any(item.result == "failed" for item in self.items) else 0

    def write_report(self) -> None:
        """The file of --report; without it, one beside the receipts if there is something to report."""
        from ledger.cli.report import DEFAULT_NAME, TROUBLED, write_report

        path = self._options["report"] or self._out / DEFAULT_NAME
        troubled = any(item.result in TROUBLED for item in self.items)
        if self._options["report"] is None and not (troubled and self._out.is_dir()):
            path.unlink(missing_ok=True)  # an earlier run's, and no longer true
            return
        try:
            write_report(path, self.items)
        except OSError as error:
            self._output.note(f"the report could not be written: {path}: {(error.strerror or str(error)).lower()}")
            return
        if troubled:
            self._output.note(f"report: {path}")

    def _tell(self) -> None:
        from ledger.cli.report import grouped

        totals = Counter(item.result for item in self.items)
        counts = {name: totals.get(name, 0) for name in ("issued", "present", "failed", "open")}
        if self._output.json:
            badges = [_row(item, self._out) for item in self.items]
            self._output.document({"badges": badges, "totals": counts, "seconds": self._seconds})
            return
        reasons = grouped(item for item in self.items if item.result == "failed")
        for line in reasons[:_SHOWN]:
            self._output.note(line)
        if len(reasons) > _SHOWN:
            self._output.note(f"... and {len(reasons) - _SHOWN} more reasons: see the report")
        if len(self.items) <= _SHOWN:
            rows = [
                (_short(item.label), item.result or "open", _number(item.slot), _number(item.index))
                for item in self.items
            ]
            self._output.table(("badge", "result", "slot", "entry"), rows)
        words = {"issued": "issued", "present": "issued before", "failed": "failed", "open": "open"}
        self._output.lines(
            ", ".join(f"{count} {words[name]}" for name, count in counts.items() if count or name == "issued")
        )
        self._tell_notes()

    def _tell_notes(self) -> None:
        notes = {
            "expired": "past the end of validity already: {}",
            "own": "inside transcripts, and not anchored by themselves (--nested does that): {}",
            "foreign": "inside transcripts, of other issuers and theirs to anchor: {}",
        }
        for name, text in notes.items():
            if self._inside[name]:
                self._output.note(text.format(counted(self._inside[name], "badge")))


def _passes(error: LedgerError) -> bool:
    """Whether the next run may succeed although nothing was changed; docs/errors.md "Which to repeat"."""
    if isinstance(error, RuleViolation):
        return error.rule == "window"  # every run has one of its own
    return error.status >= 500 or error.status in _PASSING


def _short(label: str) -> str:
    path, row, rest = label.partition(", row ")
    return (path.rpartition("/")[2] or path) + row + rest


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _row(item: Item, out: Path) -> dict[str, Any]:
    row = {
        "badge": item.label,
        "result": item.result,
        "receipt": str(out / item.receipt) if item.result in ("issued", "present") else None,
        "commitment": item.commitment.hex() or None,
        "slot": item.slot,
        "index": item.index,
        "detail": item.detail,
    }
    return {name: value for name, value in row.items() if value is not None}
