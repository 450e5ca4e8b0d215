"""`badge-ledger refresh`: newer receipts for badges that have one, before they grow stale."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from ledger.cli.app import command
from ledger.cli.options import load_policy, log_key_option, policy_option, url_option
from ledger.cli.output import Output
from ledger.errors import InputError, LedgerError, ProofInvalid, VerificationError

if TYPE_CHECKING:
    from ledger.cli.trust import ReceiptChecker
    from ledger.client import LedgerClient

_FETCHES: Final = 16
_SHOWN: Final = 20


class Refreshed(msgspec.Struct):
    """What became of one receipt: `result` is fresh, kept (no newer head), dated (left alone) or failed; `state` of
    its badge, as proven; `detail`: why it failed, or why a receipt of the newest head was replaced."""

    file: Path
    result: str = "failed"
    state: str | None = None
    tree_size: int | None = None
    detail: str | None = None


@command(short_help="Replace receipts by newer ones.")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@url_option
@policy_option
@log_key_option
def refresh(output: Output, directory: Path, url: str, policy: Path | None, log_key: str | None) -> int:
    """Replace every receipt in a folder, and the folders in it, by one under the newest head; the salts stay.

    A receipt that is already of the newest head stays as it is, and so does a dated one (receipt --at). What the
    ledger hands out is verified before it replaces anything; one in the folder that does not verify is replaced.
    Exit status 1 if one could not be refreshed.

    \b
    Example:
      badge-ledger refresh receipts/ --url https://ledger.example/ --policy trust.policy
    """
    from ledger.cli.files import PACKED_SUFFIX, RECEIPT_SUFFIX

    files = sorted(
        path for suffix in (RECEIPT_SUFFIX, PACKED_SUFFIX) for path in directory.rglob(f"*{suffix}") if path.is_file()
    )
    if not files:
        raise InputError(f"{directory}: no receipts in it (NAME{RECEIPT_SUFFIX}, NAME{PACKED_SUFFIX})")
    output.when_interrupted = "each receipt is the old one or the new one; run it again for the rest"
    rows = asyncio.run(_refresh(output, files, url, load_policy(policy, log_key)))
    totals = Counter(row.result for row in rows)
    states = Counter(row.state for row in rows if row.state)
    if output.json:
        documents = [{k: v for k, v in msgspec.structs.asdict(row).items() if v is not None} for row in rows]
        for document in documents:
            document["file"] = str(document["file"])
        output.document({"receipts": documents, "totals": {"fresh": 0, "kept": 0, "failed": 0} | totals})
        return 1 if totals.get("failed") else 0
    for row in [row for row in rows if row.detail is not None][:_SHOWN]:
        output.note(f"{row.file}: {row.detail}")
    words = {
        "fresh": "refreshed",
        "kept": "already of the newest head",
        "dated": "dated, left alone",
        "failed": "failed",
    }
    output.lines(", ".join(f"{totals[name]} {word}" for name, word in words.items() if totals.get(name)))
    for row in rows:
        if row.state in ("revoked", "suspended"):
            output.lines(f"  {row.state}: {row.file}")
    if states:
        output.lines("status: " + ", ".join(f"{count} {state}" for state, count in sorted(states.items())))
    return 1 if totals.get("failed") else 0


async def _refresh(output: Output, files: list[Path], url: str, policy: Any) -> list[Refreshed]:
    from ledger.cli.identity import open_log
    from ledger.cli.trust import ReceiptChecker
    from ledger.client import LedgerClient

    gate = asyncio.Semaphore(_FETCHES)
    async with LedgerClient(url, clock=output.clock) as client:
        log = await open_log(client, policy)
        checker = ReceiptChecker(log, policy, output.clock)
        with output.progress("refreshing", len(files)) as progress:

            async def one(path: Path) -> Refreshed:
                row = Refreshed(path)
                async with gate:
                    try:
                        await _one(client, checker, row)
                    except (LedgerError, OSError) as error:
                        row.detail = str(error)
                progress.advance()
                return row

            return list(await asyncio.gather(*map(one, files)))


async def _one(client: LedgerClient, checker: ReceiptChecker, row: Refreshed) -> None:
    """Raises LedgerError and OSError; then the old receipt is still there."""
    from ledger.cli.files import PACKED_SUFFIX, read_any_receipt, write_atomically
    from ledger.receipt import Receipt, encode_packed, with_salt
    from ledger.receipt_json import format_json, load

    old = read_any_receipt(row.file)
    if not isinstance(old, Receipt):
        row.result, row.tree_size = "dated", old.receipt.tree_size
        return
    try:
        proven = checker.check(old)[1]
    except VerificationError as error:
        proven, reason = None, f"the receipt that was here does not verify: {error.detail}"
    new = load(await client.receipt_at(old.index, "full" if old.full else "short"))
    # The whole entry, and so the badge's commitment, its issuer and its slot.
    if (new.issue, new.index, new.origin) != (old.issue, old.index, old.origin):
        if proven is None:
            raise ProofInvalid(f"{reason}; and the ledger has another entry in its place")
        raise ProofInvalid("the ledger has another entry in the place of this receipt's: keep it, and tell an auditor")
    new, new_proven = checker.check(new)
    if proven is not None and new.tree_size <= old.tree_size:
        row.result, row.tree_size, row.state = "kept", old.tree_size, proven.state
        return
    new = with_salt(new, old.salt)
    packed = row.file.name.endswith(PACKED_SUFFIX)
    write_atomically(row.file, encode_packed(new) if packed else format_json(new))
    row.result, row.tree_size, row.state = "fresh", new.tree_size, new_proven.state
    if proven is None:
        row.detail = f"replaced: {reason}"
