"""`badge-ledger keygen`: private keys, each in a file that only its owner can read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from ledger.cli.app import command, option
from ledger.cli.output import Output
from ledger.errors import InputError

KINDS: Final = {
    "issuer": "issuer-ed25519",
    "salt": "salt",
    "witness": "witness-ed25519",
    "witness-pq": "witness-mldsa44",
    "log": "log-ed25519",
    "log-pq": "log-mldsa44",
}


@command(short_help="Make a private key.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@option("--kind", type=click.Choice(list(KINDS)), default="issuer", help="What the key is for.")
@option("--identifier", metavar="DID|URL", help="Issuer keys: whom it signs for.  [default: the key's own did:key]")
@option("--name", metavar="NAME", help="Log and witness keys: the key's name, a log's origin.")
@option("--no-salt-key", is_flag=True, help="Issuer keys: make no salt key beside it (further keys share the first's).")
def keygen(output: Output, file: Path, kind: str, identifier: str | None, name: str | None, no_salt_key: bool) -> None:
    """Make a private key in FILE, readable by you alone, and never over a file that exists.

    For an issuer a salt key is made beside it, FILE.salt: keep it, because with it a badge without a proof of its own
    gets the same commitment again; destroying it, and the salts in the receipts, is how such badges are forgotten.

    \b
    Example:
      badge-ledger keygen acme.key
      badge-ledger keygen acme.key --identifier https://acme.example/
    """
    from ledger.cli.identity import new_key, salt_key_path
    from ledger.entry import did_key, issuer_id
    from ledger.keyfile import create_key
    from ledger.note import format_vkey

    if not file.name:
        raise InputError("the key needs a file name")
    note_key = kind not in ("issuer", "salt")
    if note_key != (name is not None):
        raise InputError(f"a key of kind {kind} {'needs' if note_key else 'has no'} --name")
    if identifier is not None and kind != "issuer":
        raise InputError("only an issuer's key has an --identifier")
    key = new_key(KINDS[kind], name=name)
    document: dict[str, Any] = {"file": str(file), "kind": kind, "public_key": key.public.hex()}
    if kind == "issuer":
        chosen = identifier or did_key(key.public)
        key = type(key)(key.kind, key.seed, issuer=chosen)
        document |= {"identifier": chosen, "issuer": issuer_id(chosen).hex()}
    salt_file = salt_key_path(file)
    with_salt = kind == "issuer" and not no_salt_key and not salt_file.exists()
    create_key(file, key)
    if with_salt:
        create_key(salt_file, new_key("salt"))
        document["salt_key"] = str(salt_file)
    if note_key:
        document["verifier_key"] = format_vkey(key.verifier_key())
    if output.json:
        output.document(document)
        return
    output.fields((label.replace("_", " "), str(value)) for label, value in document.items())
    if kind == "issuer":
        output.note(
            f"next: badge-ledger issuer add --key {file}, with the operator's token, for a new issuer; "
            f"or badge-ledger issuer keys --add {file} for one that is registered"
        )
