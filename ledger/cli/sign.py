"""`badge-ledger sign`: signed badges with places in the ledger's status lists. The work is in `ledger.credential`."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli.app import command, option
from ledger.cli.options import key_option, load_policy, policy_option, url_option
from ledger.cli.output import Output
from ledger.errors import InputError, LedgerError, OperationError

if TYPE_CHECKING:
    from ledger.cli.identity import Identity, Log
    from ledger.client import LedgerClient
    from ledger.policy import Policy

#: What can be signed; in a folder, files of other names are passed over.
_SUFFIXES: Final = (".json", ".jsonld")
#: A document as small as Open Badges 3.0 allows. Everything that is absent here is filled in.
EXAMPLE: Final[dict[str, Any]] = {
    "type": ["VerifiableCredential", "OpenBadgeCredential"],
    "name": "Welding, level 1",
    "issuer": {"type": ["Profile"], "name": "Example Academy"},
    "credentialSubject": {
        "type": ["AchievementSubject"],
        "id": "did:example:whoever-receives-it",
        "achievement": {
            "id": "https://academy.example/welding-1",
            "type": ["Achievement"],
            "name": "Welding, level 1",
            "description": "Joins mild steel by arc welding in flat position.",
            "criteria": {"narrative": "Three seams, examined by sight and by bending."},
        },
    },
}


class _Document:
    """One file on its way: `signed` when it is done, `detail` where it could not be, `present` where its signed badge
    is there already."""

    def __init__(self, path: Path, target: Path | None) -> None:
        self.path = path
        self.target = target
        self.completed: dict[str, Any] = {}
        self.signed: dict[str, Any] | None = None
        self.slot: int | None = None
        self.detail: str | None = None
        self.present = False

    @property
    def open(self) -> bool:
        """Whether it is still to be signed, and can be."""
        return self.signed is None and self.detail is None and not self.present

    @property
    def result(self) -> str:
        """What came of it, in one word."""
        return "present" if self.present else "failed" if self.signed is None else "signed"


def _example(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        ctx.find_object(Output).lines(*json.dumps(EXAMPLE, indent=2).splitlines())  # type: ignore[union-attr]
        ctx.exit()


@command(short_help="Make signed badges, with places in the ledger's status lists.")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--example",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_example,
    help="Show a document to sign; needs no key.",
)
@key_option
@url_option
@policy_option
@option("--out", type=click.Path(path_type=Path), help="File; folder for several.  [default: stdout, for one]")
@option("--force", is_flag=True, help="Replace files that exist.")
def sign(output: Output, files: tuple[Path, ...], key: Path, url: str, out: Path | None, **options: Any) -> int:
    """Sign Open Badges 3.0 documents: JSON files, or folders of them, without a proof.

    Each gets a slot of the issuer's own lists in this ledger, both status entries (revocation and suspension) and an
    eddsa-rdfc-2022 proof, so that wallets and verifiers that know nothing of the ledger see when it is revoked. What
    may be absent is filled in: id, @context, issuer, validFrom. The ledger learns how many slots are asked for, no
    more. Signing anchors nothing: `badge-ledger issue` does, and uses the slot in the badge.

    Of several, those that are in the --out folder already are passed over ("present"), so that a run that was broken
    off can be repeated; --force signs them again, in new slots.

    \b
    Example:
      badge-ledger sign --example > badge.json
      badge-ledger sign badge.json --out alice.json --key acme.key --url https://ledger.example/
      badge-ledger issue alice.json --out receipts/ --key acme.key --url https://ledger.example/
    """
    from ledger import credential
    from ledger.cli.identity import load_identity

    policy = load_policy(options["policy"])
    identity = load_identity(key)
    # For a key that cannot sign for its identifier, all badges would fail alike.
    publish = credential.key_document(identifier=identity.identifier, public_key=identity.key.public_key)
    documents = _plan(files, out, force=options["force"])
    with output.progress("checking", len(documents)) as progress:
        for document in documents:
            if document.open:
                _check(document, identity, output.clock.now_ms())
            progress.advance()
    usable = [document for document in documents if document.open]
    if usable:
        asyncio.run(_sign(output, usable, identity, url, policy))
    _write(documents, force=options["force"])
    return _report(output, documents, publish)


def _plan(files: tuple[Path, ...], out: Path | None, *, force: bool) -> list[_Document]:
    """What is to be signed, and where it goes. Raises InputError before anything is asked of the ledger."""
    from ledger.cli.files import expand

    found = [
        (path, folder)
        for path, folder in dict.fromkeys(expand(files, out))
        if path in files or path.suffix.lower() in _SUFFIXES
    ]
    if not found:
        raise InputError("there is nothing to sign: no file of these folders ends in .json or .jsonld")
    several = len(found) > 1 or any(given.is_dir() for given in files)
    if several and out is None:
        raise InputError("several badges need a folder for the signed ones: --out FOLDER")
    documents = []
    for path, folder in found:
        target = None if out is None else out / folder / path.name if several or out.is_dir() else out
        documents.append(_Document(path, target))
    targets = [document.target.resolve() for document in documents if document.target is not None]
    if len(set(targets)) < len(targets):
        raise InputError("two of the files have the same name: sign them into folders of their own")
    for document in documents:
        if document.target is not None and document.target.exists() and not force:
            if not several:
                raise InputError(f"{document.target} exists; --force replaces it")
            document.present = True
    return documents


def _check(document: _Document, identity: Identity, now_ms: int) -> None:
    """Complete the document and sign it in a slot of its own for a trial: then no slot is reserved in vain."""
    from ledger import credential
    from ledger.badges import strict_json
    from ledger.cli.files import read_bounded

    try:
        read = strict_json(read_bounded(document.path, credential.MAX_DOCUMENT_BYTES * 2))
        document.completed = credential.complete(
            read, identity.identifier, new_id=f"urn:uuid:{uuid.uuid4()}", now_ms=now_ms
        )
        trial = credential.add_status(document.completed, "https://ledger.example/status/", 0)
        credential.sign(trial, identity.key, created_ms=now_ms)
    except LedgerError as error:
        document.detail = error.detail


async def _sign(
    output: Output, documents: list[_Document], identity: Identity, url: str, policy: Policy | None
) -> None:
    from ledger import credential
    from ledger.cli.identity import open_log, with_index
    from ledger.client import LedgerClient

    async with LedgerClient(url, clock=output.clock) as client:
        log = await open_log(client, policy)
        identity = await with_index(identity, client)
        base = log.status_lists
        slots = await _reserve(client, log, identity, len(documents))
    with output.progress("signing", len(documents)) as progress:
        for document, slot in zip(documents, slots, strict=True):
            located = credential.add_status(document.completed, base, slot)
            document.signed = credential.sign(located, identity.key, created_ms=output.clock.now_ms())
            document.slot = slot
            progress.advance()


async def _reserve(client: LedgerClient, log: Log, identity: Identity, count: int) -> list[int]:
    """Exactly `count` slots. Raises OperationError if the ledger hands out none that it did not before."""
    from ledger.cli.reservation import reserve

    slots: dict[int, None] = {}
    while len(slots) < count:
        known = len(slots)
        slots |= dict.fromkeys(await reserve(client, log, identity, count - known))
        if len(slots) == known:
            raise OperationError("the ledger hands out the same slots again and again")
    return list(slots)


def _write(documents: list[_Document], *, force: bool) -> None:
    from ledger.cli.files import write_new

    for document in documents:
        if document.signed is None:
            continue
        text = json.dumps(document.signed, indent=2, ensure_ascii=False) + "\n"
        if document.target is not None:
            write_new(document.target, text.encode(), force=force)


def _report(output: Output, documents: list[_Document], publish: dict[str, Any] | None) -> int:
    for document in documents:
        if document.detail is not None:
            named = document.detail.startswith(str(document.path))
            output.note(document.detail if named else f"{document.path}: {document.detail}")
    signed = [document for document in documents if document.signed is not None]
    if output.json:
        rows = [
            {
                "document": str(document.path),
                "badge": None if document.target is None else str(document.target),
                "signed": document.signed if document.target is None else None,
                "result": document.result,
                "id": None if document.signed is None else document.signed["id"],
                "slot": document.slot,
                "detail": document.detail,
            }
            for document in documents
        ]
        output.document({"badges": [_without_none(row) for row in rows], **({"publish": publish} if publish else {})})
    else:
        for document in signed:
            if document.target is None:
                # ASCII, since what no terminal can show would be written as escapes that JSON does not know.
                output.lines(*json.dumps(document.signed, indent=2).split("\n"))
        table = [
            (str(document.target), document.result, "" if document.slot is None else str(document.slot))
            for document in documents
            if document.target is not None and document.result != "failed"
        ]
        if table:
            output.table(("badge", "result", "slot"), table)
        if publish is not None and signed:
            output.note(
                f"verifiers find this key only if {publish['id']} lists it; publish there, or add to what stands there:"
            )
            for line in json.dumps(publish, indent=2).splitlines():
                output.note(line)
    return 1 if any(document.detail is not None for document in documents) else 0


def _without_none(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}
