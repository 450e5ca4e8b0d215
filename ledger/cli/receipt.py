"""`badge-ledger receipt`: fetch the receipt of a badge, in any of its forms."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ledger.cli.app import command, option
from ledger.cli.options import Moment, load_policy, log_key_option, policy_option, profile_option, url_option
from ledger.cli.output import Output
from ledger.errors import InputError, NotFound, ProofInvalid

if TYPE_CHECKING:
    from ledger.cli.identity import Log
    from ledger.cli.trust import ReceiptChecker
    from ledger.client import LedgerClient
    from ledger.receipt import Receipt


@command(short_help="Fetch the receipt of a badge.")
@click.argument("badge", metavar="BADGE|COMMITMENT")
@url_option
@policy_option
@log_key_option
@profile_option
@option("--out", type=click.Path(path_type=Path), help="File or folder.  [default: beside the badge; - for stdout]")
@option("--packed", is_flag=True, help="The packed form, some 3 to 5 kB.")
@option("--tlog-proof", is_flag=True, help="A C2SP tlog-proof of the issuance: one leaf, no status.")
@option("--at", type=Moment(), metavar="MOMENT", help="A dated receipt: the status then, such as 2026-05-03T12:00Z.")
@option("--slot", type=click.IntRange(0), help="Where a badge was issued in several slots: this one.  [default: last]")
@option("--key", type=click.Path(dir_okay=False, path_type=Path), help="The issuer's key, to find its salt key.")
@option("--salt-key", type=click.Path(dir_okay=False, path_type=Path), help="[default: the key file's name + .salt]")
@option("--force", is_flag=True, help="Replace a file that exists.")
def receipt(output: Output, badge: str, url: str, **options: Any) -> None:
    """Fetch the receipt of a badge: by its file, by a receipt of it, or by its commitment (64 hexadecimal digits).

    The ledger learns which commitment is asked for, and no more. A badge without a proof of its own needs its salt:
    from the receipt beside it, or from the issuer's salt key.

    \b
    Example:
      badge-ledger receipt alice.json --url https://ledger.example/
      badge-ledger receipt alice.json --tlog-proof --url https://ledger.example/
      badge-ledger receipt alice.json --at 2026-05-03T12:00Z --url https://ledger.example/
    """
    if options["packed"] and options["tlog_proof"]:
        raise InputError("--packed and --tlog-proof are two forms: choose one")
    if options["at"] is not None and (options["packed"] or options["tlog_proof"]):
        raise InputError("a dated receipt has one form, JSON: --at goes with neither --packed nor --tlog-proof")
    data, found, kind = asyncio.run(_fetch(output, badge, url, options))
    target = _target(badge, options, found)
    if target is None:
        sys.stdout.buffer.write(data + b"\n" if kind == "json" else data)
        return
    from ledger.cli.files import write_new

    write_new(target, data, force=options["force"])
    entry = found.issue_entry()
    document = {"file": str(target), "form": kind, "bytes": len(data), "index": found.index, "slot": entry.slot}
    if output.json:
        output.document(document | {"commitment": entry.commitment.hex(), "tree_size": found.tree_size})
    else:
        output.lines(f"{target}: entry {found.index}, slot {entry.slot}, as of a log of {found.tree_size} entries")


async def _fetch(output: Output, badge: str, url: str, options: dict[str, Any]) -> tuple[bytes, Receipt, str]:
    from ledger.cli.identity import open_log
    from ledger.cli.trust import ReceiptChecker
    from ledger.client import LedgerClient
    from ledger.receipt import encode_packed, with_salt
    from ledger.receipt_json import format_json, load

    commitment, salt = _wanted(badge, options)
    policy = load_policy(options["policy"], options["log_key"])
    async with LedgerClient(url, clock=output.clock) as client:
        log = await open_log(client, policy)
        checker = ReceiptChecker(log, policy, output.clock)
        if options["at"] is not None:
            return await _dated(output, client, log, checker, commitment, salt, options)
        found = [load(data) for data in await client.receipts(commitment, options["profile"])]
        found = [each for each in found if options["slot"] in (None, each.issue_entry().slot)]
        if not found:
            raise NotFound("this badge was not issued in that slot")
        chosen = found[-1]
        if chosen.issue_entry().commitment != commitment:
            raise ProofInvalid("the ledger's receipt is for another badge than the one asked for")
        chosen, _ = checker.check(chosen, commitment=commitment)
        if options["tlog_proof"]:
            return await _tlog_proof(client, checker, chosen), chosen, "tlog-proof"
    chosen = with_salt(chosen, salt)
    return (encode_packed(chosen), chosen, "packed") if options["packed"] else (format_json(chosen), chosen, "json")


async def _dated(
    output: Output,
    client: LedgerClient,
    log: Log,
    checker: ReceiptChecker,
    commitment: bytes,
    salt: bytes | None,
    options: dict[str, Any],
) -> tuple[bytes, Receipt, str]:
    """The dated receipt of the moment asked for, verified under the log's own key."""
    from ledger.dated import DatedReceipt, format_dated, parse_dated, verify_dated
    from ledger.receipt import with_salt

    answers = await client.receipts(commitment, options["profile"], at_ms=options["at"])
    found = [parse_dated(data) for data in answers]
    found = [each for each in found if options["slot"] in (None, each.receipt.issue_entry().slot)]
    if not found:
        raise NotFound("this badge was not issued in that slot")
    dated = found[-1]
    if dated.at_ms != options["at"]:
        raise ProofInvalid("the ledger's receipt is of another moment than the one asked for")
    verify_dated(dated, policy=log.keys, now_s=output.clock.now_ms() // 1000, commitment=commitment)
    receipt = with_salt(checker.check(dated.receipt)[0], salt)
    return format_dated(DatedReceipt(dated.at_ms, receipt, dated.past)), receipt, "json"


async def _tlog_proof(client: LedgerClient, checker: ReceiptChecker, receipt: Receipt) -> bytes:
    """The C2SP form under the newest checkpoint, verified."""
    from ledger.checkpoint import parse_checkpoint
    from ledger.merkle import leaf_hash
    from ledger.note import parse_note
    from ledger.text import parse_base64
    from ledger.tlogproof import TlogProof, format_tlog_proof

    note = await client.checkpoint()
    checkpoint = parse_checkpoint(parse_note(note).text)
    answer = await client.inclusion(receipt.index, checkpoint.size)
    hashes = tuple(parse_base64(text, what="a hash of the inclusion proof", length=32) for text in answer.proof)
    proof = TlogProof(receipt.index, hashes, note)
    checker.check_tlog_proof(leaf_hash(receipt.issue), proof)
    return format_tlog_proof(proof)


def _wanted(badge: str, options: dict[str, Any]) -> tuple[bytes, bytes | None]:
    """Commitment and, where it is known, salt."""
    from ledger import badges
    from ledger.cli.files import is_for, is_receipt, read_badge, read_receipt, receipts_beside
    from ledger.cli.identity import load_salt, salt_key_path
    from ledger.cli.verifying import baked_in

    if re.fullmatch(r"[0-9a-f]{64}", badge, re.ASCII):
        return bytes.fromhex(badge), None
    path = Path(badge)
    if is_receipt(path):
        present = read_receipt(path)
        return present.issue_entry().commitment, present.salt
    read = read_badge(path)
    baked = baked_in(path, read)
    if baked is not None and is_for(baked, read):
        return baked.issue_entry().commitment, baked.salt
    for beside in receipts_beside(path):
        present = read_receipt(beside)
        if is_for(present, read):
            return present.issue_entry().commitment, present.salt
    if not badges.needs_salt(read):
        return badges.commitment(read), None
    file = options["salt_key"] or (salt_key_path(options["key"]) if options["key"] else None)
    if file is None:
        raise InputError(f"{path}: its salt is needed: a receipt beside it, or the issuer's --key or --salt-key")
    salt = badges.derive_salt(load_salt(file), read)
    return badges.commitment(read, salt), salt


def _target(badge: str, options: dict[str, Any], found: Receipt) -> Path | None:
    """Where the receipt goes; None is standard output."""
    from ledger.cli.files import PACKED_SUFFIX, PROOF_SUFFIX, RECEIPT_SUFFIX, dated_suffix, is_receipt, receipt_name

    suffix = PROOF_SUFFIX if options["tlog_proof"] else PACKED_SUFFIX if options["packed"] else RECEIPT_SUFFIX
    if options["at"] is not None:
        suffix = dated_suffix(options["at"])
    out: Path | None = options["out"]
    if out == Path("-"):
        return None
    path = Path(badge)
    if re.fullmatch(r"[0-9a-f]{64}", badge, re.ASCII):
        path = Path(badge[:16])
    elif is_receipt(path):
        path = path.with_name(path.name.partition(".receipt")[0])
    name = path.name + suffix if not path.suffix or is_receipt(Path(badge)) else receipt_name(path, suffix)
    if out is None:
        return path.parent / name
    return out / name if out.is_dir() else out
