"""`badge-ledger inspect`: what a badge is, by itself. No receipt, no policy, no network unless asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli.app import command, option
from ledger.cli.authentic import AUTHENTIC, Authenticator, authentic_options
from ledger.cli.output import Output, format_time, shortened
from ledger.errors import InputError, LedgerError

if TYPE_CHECKING:
    from ledger.badges import Badge
    from ledger.inspection import Inspection

_RECIPIENTS: Final = {
    "hashed": "a salted hash",
    "plain": "the identity itself, in clear",
    "did": "a DID",
    "url": "an address",
}
_SIGNATURES: Final = {
    "none": "none",
    "not-checked": "not checked",
    "self-asserted": "holds, but only the badge ties its key to the issuer",
    "verified": "verified",
    "invalid": "INVALID",
}
_WRAPPINGS: Final = {"plain": "", "png": ", baked into a PNG", "svg": ", baked into an SVG"}
#: The most badges of a transcript, and status entries of a badge, that are shown, unless as JSON.
_SHOWN: Final = 50


@command(short_help="What is this badge?")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@option(
    "--salt-key",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The issuer's salt key.  [default: the salt of a receipt beside the badge]",
)
@option("--document", type=click.Path(dir_okay=False, path_type=Path), help="The badge, for an image with its address.")
@authentic_options
def inspect(output: Output, files: tuple[Path, ...], **options: Any) -> int:
    """Tell what badges are: kind, issuer, kind of recipient, validity, status entries, whether the own signature
    verifies, and the commitment, which is what a ledger holds of a badge. No recipient and no name of a person is
    shown. FILE is a badge, or a folder of them.

    Exit status 0: readable. 1: the own signature of one is invalid. 2: one cannot be read.

    \b
    Example:
      badge-ledger inspect alice.png
      badge-ledger inspect alice.json --salt-key acme.key.salt --json
    """
    from ledger.cli.files import expand
    from ledger.keyfile import load_salt_key

    authenticator = Authenticator(output, **{name: options[name] for name in AUTHENTIC})
    salt_key = None if options["salt_key"] is None else load_salt_key(options["salt_key"])
    found = [path for path, _ in expand(files)]
    if not found:
        raise InputError("there is no badge in what was given")
    if options["document"] is not None and len(found) > 1:
        raise InputError("--document is for one badge")
    status = 0
    documents: list[dict[str, Any]] = []
    for path in found:
        try:
            inspection = _inspect(path, authenticator, salt_key, options["document"])
        except LedgerError as error:
            if len(found) == 1:
                raise
            status = 2
            documents.append({"file": str(path), "error": {"type": error.type, "detail": error.detail}})
            output.note(error.detail if str(path) in error.detail else f"{path}: {error.detail}")
            continue
        if _has_invalid(inspection):
            status = max(status, 1)
        documents.append({"file": str(path), **inspection.to_json()})
        if not output.json:
            output.lines(str(path))
            now_ms = output.clock.now_ms()
            output.fields(_fields(inspection, now_ms))
            _show_nested(output, inspection, now_ms)
    if output.json:
        output.document(documents[0] if len(documents) == 1 else documents)
    return status


def _inspect(path: Path, authenticator: Authenticator, salt_key: bytes | None, document: Path | None) -> Inspection:
    from ledger.cli.verifying import read_hosted
    from ledger.inspection import inspect_badge

    badge = read_hosted(path, authenticator, document)
    salt = None if salt_key is not None else _salt_beside(path, badge)
    return inspect_badge(badge, authenticator.check, salt=salt, salt_key=salt_key)


def _salt_beside(path: Path, badge: Badge) -> bytes | None:
    """The salt in a receipt of this badge that lies beside it, or in the image."""
    from ledger.cli.files import is_for, read_receipt, receipts_beside
    from ledger.cli.verifying import baked_in

    candidates = [read_receipt(beside) for beside in receipts_beside(path)]
    baked = baked_in(path, badge)
    for receipt in candidates if baked is None else [*candidates, baked]:
        if is_for(receipt, badge):
            return receipt.salt
    return None


def _has_invalid(inspection: Inspection) -> bool:
    return inspection.own_signature == "invalid" or any(map(_has_invalid, inspection.nested))


def _fields(badge: Inspection, now_ms: int) -> list[tuple[str, str]]:
    rows = [("kind", badge.kind_name + _WRAPPINGS[badge.wrapping])]
    if badge.name is not None:
        rows.append(("achievement", badge.name))
    rows.append(("issuer", badge.issuer or "not named in it"))
    if badge.signer is not None:
        rows.append(("signed by", badge.signer))
    if badge.hosted_at is not None:
        rows.append(("hosted at", badge.hosted_at))
    rows.append(("recipient", "nobody is named" if badge.recipient is None else _RECIPIENTS[badge.recipient]))
    rows.append(("valid from", "not said" if badge.valid_from_ms is None else format_time(badge.valid_from_ms)))
    past = badge.valid_until_ms is not None and badge.valid_until_ms < now_ms
    until = "not said" if badge.valid_until_ms is None else format_time(badge.valid_until_ms)
    rows.append(("valid until", until + (", which is past" if past else "")))
    if badge.revoked:
        rows.append(("revoked", "by its own word"))
    entries = [f"{entry.purpose}: number {entry.index} in {entry.address}" for entry in badge.status[:_SHOWN]]
    entries += [f"of the kind {kind}, which is not understood" for kind in badge.other_status[:_SHOWN]]
    rows += [("status", text) for text in entries]
    left = len(badge.status) + len(badge.other_status) - len(entries)
    if left:
        rows.append(("status", f"and {left} more (all of them with --json)"))
    if not badge.status and not badge.other_status:
        rows.append(("status", "no entry in it"))
    rows += _signature(badge)
    rows.append(("commitment", _commitment(badge)))
    return [(label, shortened(value)) for label, value in rows]


def _signature(badge: Inspection) -> list[tuple[str, str]]:
    text = _SIGNATURES[badge.own_signature]
    if badge.signature_scheme is not None:
        text += f", {badge.signature_scheme}"
    rows = [("signature", text)]
    if badge.signature_key is not None:
        rows.append(("key", badge.signature_key))
    if badge.signature_reason is not None:
        rows.append(("because", badge.signature_reason))
    return rows + [("note", note) for note in badge.signature_notes]


def _commitment(badge: Inspection) -> str:
    if badge.commitment is None:
        return "needs a salt: --salt-key, or a receipt beside the badge"
    return f"{badge.commitment} ({'salted' if badge.salted else 'unsalted'})"


def _show_nested(output: Output, badge: Inspection, now_ms: int) -> None:
    if badge.nested_error is not None:
        output.lines(f"  badges in it: cannot be read: {shortened(badge.nested_error)}")
    if not badge.nested:
        return
    output.lines(f"  badges in it: {len(badge.nested)}, each with a commitment of its own")
    for number, inside in enumerate(badge.nested[:_SHOWN], start=1):
        output.lines(f"  {number}.")
        output.fields((f"  {label}", value) for label, value in _fields(inside, now_ms))
        _show_nested(output, inside, now_ms)
    if len(badge.nested) > _SHOWN:
        output.lines(f"  ... and {len(badge.nested) - _SHOWN} more (all of them with --json)")
