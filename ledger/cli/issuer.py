"""`badge-ledger issuer`: who may anchor badges, and with which keys."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli.app import command, option
from ledger.cli.options import ROLES, Roles, key_option, load_policy, policy_option, url_option
from ledger.cli.output import Output
from ledger.errors import InputError, MalformedInput, NotFound

if TYPE_CHECKING:
    from ledger.answers import IssuerDocument, KeyDocument
    from ledger.cli.identity import Identity, Log
    from ledger.client import LedgerClient

_ALL_ROLES: Final = "issue,status,manage"


@click.group(short_help="Register an issuer; add, retire and list keys.")
def issuer() -> None:
    """Register an issuer with its first key, and add, retire and list keys."""


@command(name="add", short_help="Register an issuer with its first key.")
@key_option
@url_option
@policy_option
@option("--identifier", metavar="DID|URL", help="Who the issuer is.  [default: what the key file says]")
@option("--roles", type=Roles(), default=_ALL_ROLES, help="Of the first key; manage has to be among them.")
@option("--evidence", metavar="HEX", help="SHA-256 of what the operator saw before vouching.")
@option("--token", metavar="TOKEN", help="The operator's token.")
@option("--token-file", type=click.Path(dir_okay=False, path_type=Path), help="A file with the token.")
@option("--data", type=click.Path(file_okay=False, path_type=Path), help="The service's folder, to read its token.")
def add(output: Output, key: Path, url: str, policy: Path | None, **options: Any) -> None:
    """Register an issuer and its first key, with proof that you hold the key. It needs the operator's token.

    The key's log index is written into the key file, so that later commands need only --key.

    \b
    Example:
      badge-ledger issuer add --key acme.key --url http://127.0.0.1:8080 --data ./data
    """
    token = _token(options)
    evidence = _evidence(options["evidence"])
    document, known, before = asyncio.run(
        _register(output, key, url, load_policy(policy), options["identifier"], options["roles"], evidence, token)
    )
    if output.json:
        output.document({"issuer": document, "key": known, "registered_before": before})
        return
    output.lines(f"{document.identifier} was registered before" if before else f"registered {document.identifier}")
    output.fields(
        [("issuer", document.issuer), ("key", f"{known.index} ({', '.join(known.roles)})"), ("binding", known.binding)]
    )
    if known.binding == "vouched":
        output.note("the binding is the operator's word: a badge without a proof of its own is anchored, no more")


@command(name="keys", short_help="Show, add or retire keys.")
@key_option
@url_option
@policy_option
@option("--add", "added", type=click.Path(dir_okay=False, path_type=Path), help="Private key file of a key to add.")
@option("--roles", type=Roles(), default="issue,status", help="Roles of the added key.")
@option("--retire", metavar="KEY", help="Log index or public key (hexadecimal) of a key to retire.")
def keys(
    output: Output, key: Path, url: str, policy: Path | None, added: Path | None, roles: int, retire: str | None
) -> None:
    """Show the keys of an issuer, add one, or retire one. Adding and retiring are signed by --key, a manage key.

    Keep the manage key offline and issue with another one (keygen daily.key --no-salt-key). The added key file learns
    its log index. Further keys of an issuer share its salt key: name that with `issue --salt-key`.

    \b
    Example:
      badge-ledger issuer keys --key acme.key --add daily.key --roles issue,status --url https://ledger.example/
      badge-ledger issuer keys --key acme.key --retire 17 --url https://ledger.example/
    """
    if added is not None and retire is not None:
        raise InputError("--add and --retire are two changes: make them one after the other")
    document = asyncio.run(_change_keys(output, key, url, load_policy(policy), added, roles, retire))
    if output.json:
        output.document(document)
        return
    output.lines(document.identifier)
    output.table(
        ("key", "public key", "roles", "binding", "state"),
        [(str(k.index), k.public_key, ",".join(k.roles), k.binding, _state(k)) for k in document.keys],
    )


@command(name="list", short_help="The issuers of a ledger.")
@url_option
def list_issuers(output: Output, url: str) -> None:
    """List the issuers that a ledger knows.

    \b
    Example:
      badge-ledger issuer list --url https://ledger.example/
    """
    documents = asyncio.run(_list(output, url))
    if output.json:
        output.document({"issuers": documents})
        return
    output.table(
        ("identifier", "issuer", "keys", "lists"),
        [(d.identifier, d.issuer, str(sum(k.live for k in d.keys)), str(len(d.lists))) for d in documents],
    )


for _command in (add, keys, list_issuers):
    issuer.add_command(_command)


async def _register(
    output: Output,
    path: Path,
    url: str,
    policy: Any,
    identifier: str | None,
    roles: int,
    evidence: bytes | None,
    token: str | None,
) -> tuple[IssuerDocument, KeyDocument, bool]:
    """The issuer, its key, and whether the ledger had that key of it before."""
    from ledger.cli.identity import open_log, remember
    from ledger.client import LedgerClient
    from ledger.entry import ADD, ALG_ED25519, ZERO32, did_key, issuer_id
    from ledger.keyfile import load_issuer_key, load_key
    from ledger.message import key_message

    key = load_issuer_key(path)
    name = identifier or load_key(path).issuer or did_key(key.public_key)
    async with LedgerClient(url, clock=output.clock, token=token) as client:
        log = await open_log(client, policy)
        message = key_message(log.origin, ADD, ZERO32, name, roles, ALG_ED25519, key.public_key)
        before = False
        with suppress(NotFound):
            earlier = await client.issuer(issuer_id(name))
            before = any(known.public_key == key.public_key.hex() for known in earlier.keys)
        document = await client.register_issuer(name, key.public_key, roles, key.sign(message), evidence)
    known = _find(document, key.public_key.hex())
    remember(path, name, known.index)
    return document, known, before


async def _change_keys(
    output: Output, path: Path, url: str, policy: Any, added: Path | None, roles: int, retire: str | None
) -> IssuerDocument:
    from ledger.cli.identity import load_identity, open_log, with_index
    from ledger.client import LedgerClient

    identity = load_identity(path)
    async with LedgerClient(url, clock=output.clock) as client:
        log = await open_log(client, policy)
        document = await client.issuer(identity.issuer)
        if added is not None:
            return await _add(client, log, await with_index(identity, client), document, added, roles)
        if retire is not None:
            return await _retire(client, log, await with_index(identity, client), document, retire)
        return document


async def _add(
    client: LedgerClient, log: Log, manager: Identity, document: IssuerDocument, added: Path, roles: int
) -> IssuerDocument:
    from ledger.cli.identity import remember
    from ledger.entry import ADD
    from ledger.keyfile import load_issuer_key

    key = load_issuer_key(added)
    if not any(known.public_key == key.public_key.hex() for known in document.keys):
        message, change = _signed_change(log, manager, document, ADD, key.public_key, roles)
        change["possession_sig"] = _base64(key.sign(message))
        document = await client.change_key(manager.issuer, change)
    remember(added, manager.identifier, _find(document, key.public_key.hex()).index)
    return document


async def _retire(
    client: LedgerClient, log: Log, manager: Identity, document: IssuerDocument, retire: str
) -> IssuerDocument:
    from ledger.entry import RETIRE

    known = next((k for k in document.keys if retire in (str(k.index), k.public_key)), None)
    if known is None:
        raise NotFound(f"{retire}: no key of this issuer")
    if not known.live:
        return document
    roles = sum(ROLES[role] for role in known.roles)
    _, change = _signed_change(log, manager, document, RETIRE, bytes.fromhex(known.public_key), roles)
    return await client.change_key(manager.issuer, change)


def _signed_change(
    log: Log, manager: Identity, document: IssuerDocument, action: int, public_key: bytes, roles: int
) -> tuple[bytes, dict[str, Any]]:
    """What possession and manage key sign, and the request with the manage key's signature."""
    from ledger.entry import ADD, ALG_ED25519
    from ledger.message import key_message
    from ledger.text import parse_hex

    prev = parse_hex(document.last_key_leaf, what="last_key_leaf", length=32)
    message = key_message(log.origin, action, prev, manager.identifier, roles, ALG_ED25519, public_key)
    change = {
        "action": "add" if action == ADD else "retire",
        "public_key": public_key.hex(),
        "roles": roles,
        "prev": document.last_key_leaf,
        "manage_sig": _base64(manager.key.sign(message)),
        "signer": manager.index,
    }
    return message, change


async def _list(output: Output, url: str) -> list[IssuerDocument]:
    from ledger.client import LedgerClient

    found: list[IssuerDocument] = []
    after: str | None = None
    async with LedgerClient(url, clock=output.clock) as client:
        while True:
            page = await client.issuers(after, 1000)
            found += page.issuers
            if page.next is None or page.next == after or not page.issuers:
                return found
            after = page.next


def _token(options: dict[str, Any]) -> str | None:
    """The operator's token: as given, from its file, or from the service's folder."""
    from ledger.cli.files import read_bounded

    token: str | None = options["token"]
    file: Path | None = options["token_file"] or (options["data"] / "operator.token" if options["data"] else None)
    if token is None and file is not None:
        token = read_bounded(file, 4096).decode("utf-8", "replace").strip()
    if token is not None and not (token.isascii() and token.isprintable()):
        raise InputError("the operator's token holds characters that no token has")
    return token


def _evidence(text: str | None) -> bytes | None:
    from ledger.text import parse_hex

    return None if text is None else parse_hex(text, what="--evidence", length=32)


def _find(document: IssuerDocument, public_key: str) -> KeyDocument:
    for key in document.keys:
        if key.public_key == public_key:
            return key
    raise MalformedInput("the ledger's answer does not name the key")


def _state(key: KeyDocument) -> str:
    return "live" if key.live else "retired"


def _base64(data: bytes) -> str:
    from ledger.text import format_base64

    return format_base64(data)
