"""`badge-ledger bake`: put a badge and its receipt into an image. The work is in `ledger.badges.bake`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ledger.cli.app import command, option
from ledger.cli.output import Output
from ledger.errors import InputError, LedgerError, NotFound, NotIssued, OperationError

if TYPE_CHECKING:
    from ledger.badges import Badge
    from ledger.receipt import Receipt


@command(short_help="Put a badge and its receipt into an image.")
@click.argument("badge", type=click.Path(path_type=Path))
@click.argument("image", type=click.Path(path_type=Path))
@option("--receipt", "receipt_path", type=click.Path(path_type=Path), help="Its receipt.  [default: beside the badge]")
@option("--no-receipt", is_flag=True, help="Bake the badge alone.")
@option("--out", type=click.Path(path_type=Path), help="[default: beside the badge, as NAME.baked.png or .svg]")
@option("--force", is_flag=True, help="Replace a badge that is in the image, and a file that exists.")
def bake(output: Output, badge: Path, image: Path, receipt_path: Path | None, **options: Any) -> None:
    """Bake BADGE and its receipt into IMAGE, a PNG or SVG: one file to keep, to show and to verify.

    The badge stands where Open Badges has it, so wallets and backpacks find it; `badge-ledger verify` finds both. Name
    the image with --out, best outside of folders that are issued as a whole: there it is one more copy of the badge.

    \b
    Example:
      badge-ledger bake alice.json medal.png --receipt receipts/alice.receipt.json --out alice.png
    """
    from ledger import badges
    from ledger.badges.bake import bake as bake_into
    from ledger.badges.bake import baked_receipt
    from ledger.cli.files import read_badge, read_bounded, write_new
    from ledger.receipt_json import format_json

    if receipt_path is not None and options["no_receipt"]:
        raise InputError("--receipt and --no-receipt contradict each other")
    # Not alice.png beside alice.json, which would share the name of its receipt.
    target: Path = options["out"] or badge.with_name(f"{badge.stem}.baked{image.suffix}")
    read = read_badge(badge)
    receipt = None if options["no_receipt"] else _receipt(badge, read, receipt_path)
    text = None if receipt is None else format_json(receipt)
    picture = read_bounded(image, badges.MAX_IMAGE_BYTES)
    try:
        baked = bake_into(picture, read, text, replace=options["force"])
    except InputError as error:
        raise type(error)(f"{image}: {error.detail}") from error
    again = badges.read(baked)
    if (again.form, again.canonical) != (read.form, read.canonical) or baked_receipt(baked) != text:
        raise OperationError(f"{image}: what was baked into it does not read back as it was; nothing was written")
    write_new(target, baked, force=options["force"])
    document = {"file": str(target), "bytes": len(baked), "receipt": receipt is not None}
    if receipt is not None:
        document |= {"index": receipt.index, "tree_size": receipt.tree_size}
    if output.json:
        output.document(document)
        return
    output.lines(f"{target}: the badge and its receipt" if receipt else f"{target}: the badge")
    if receipt is None and not options["no_receipt"]:
        output.note(f"no receipt of {badge} was found, so there is none in the image: --receipt names it")


def _receipt(path: Path, badge: Badge, given: Path | None) -> Receipt | None:
    """The receipt that is named, or lies beside the badge. Raises NotIssued for one of another badge."""
    from ledger.cli.files import find_receipt, is_for, read_receipt

    try:
        where, receipt = find_receipt(path, badge) if given is None else (given, read_receipt(given))
    except NotFound:
        return None
    try:
        fits = is_for(receipt, badge)
    except LedgerError:
        fits = False
    if not fits:
        raise NotIssued(f"{where}: is the receipt of another badge than {path}")
    return receipt
