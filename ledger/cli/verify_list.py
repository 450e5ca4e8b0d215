"""`badge-ledger verify-list`: does a status list say what the log says? Whoever served it need not be trusted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from ledger.cli.app import command, option
from ledger.cli.options import Duration, load_policy, log_key_option, policy_option
from ledger.cli.output import Output, format_age, format_time
from ledger.errors import InputError, NotFound, VerificationError

if TYPE_CHECKING:
    from ledger.listproof import ListProof, ProvenList
    from ledger.statuslist import StatusList


class _Source(msgspec.Struct, frozen=True):
    """An address of a list: what stands before `status/`, what the list has to be, and a query perhaps."""

    base: str
    list: int
    purpose: str
    query: str


@command(short_help="Does a status list say what the log says?")
@click.argument("status_list", metavar="URL|FILE")
@policy_option
@log_key_option
@option("--url", metavar="URL", help="The ledger that proves it.  [default: what stands before status/ in the address]")
@option("--proof", type=click.Path(dir_okay=False, path_type=Path), help="Its proof, from a file: without any network.")
@option("--max-age", type=Duration(), metavar="DURATION", help="Oldest list that is accepted, such as 24h.")
def verify_list(
    output: Output,
    status_list: str,
    policy: Path | None,
    log_key: str | None,
    url: str | None,
    proof: Path | None,
    max_age: int | None,
) -> None:
    """Check a W3C status list, JSON-LD or JWT, against the log: every bit of it, under a head that the policy accepts.

    The proof comes from the ledger (/v1/lists/N?size=M), or from a file that was fetched there. Where the list is
    served from does not matter. Its signature is checked, but nothing hangs on whose it is.

    Exit status 0: it says what the log says. 1: it does not, or is too old. 2: unusable input.

    \b
    Example:
      badge-ledger verify-list https://ledger.example/status/3/revocation --policy trust.policy --max-age 1h
      badge-ledger verify-list revocation.json --proof proof.json --policy trust.policy
    """
    from ledger.listproof import check_list, verify_list_proof
    from ledger.statuslist_reader import read_list

    trusted = load_policy(policy, log_key)
    if trusted is None:
        raise InputError("whom do you trust? give --policy FILE or --log-key VKEY (`badge-ledger policy init URL`)")
    source = _source(status_list)
    list_, form = read_list(asyncio.run(_download(output, source)) if source else _read(Path(status_list)))
    if source is not None and (list_.list, list_.purpose) != (source.list, source.purpose):
        raise VerificationError(
            f"the address is that of list {source.list}, {source.purpose}; "
            f"what came is list {list_.list}, {list_.purpose}"
        )
    if proof is not None:
        shown = _read_proof(proof)
    else:
        shown = asyncio.run(_fetch_proof(output, url or (source.base if source else list_.base), list_))
    now_s = output.clock.now_ms() // 1000
    proven = verify_list_proof(shown, policy=trusted, now_s=now_s, max_age_s=max_age)
    check_list(list_, proven)
    _show(output, list_, form, proven, now_s)


def _source(text: str) -> _Source | None:
    """The address that `text` is; None for a file. Raises InputError for an address of anything but a list."""
    from ledger.statuslist import LIST_ID

    if not text.startswith(("http://", "https://")):
        return None
    address, _, query = text.partition("?")
    found = LIST_ID.fullmatch(address)
    if found is None:
        raise InputError(f"not the address of a status list, which ends in status/NUMBER/PURPOSE: {text[:200]!r}")
    return _Source(found["base"], int(found["list"]), found["purpose"], query)


def _read(path: Path) -> bytes:
    from ledger.cli.files import read_bounded
    from ledger.statuslist import MAX_LIST_BYTES

    return read_bounded(path, MAX_LIST_BYTES)


def _read_proof(path: Path) -> ListProof:
    from ledger.cli.files import read_bounded
    from ledger.listproof import MAX_PROOF_BYTES, parse_list_proof

    return parse_list_proof(read_bounded(path, MAX_PROOF_BYTES))


async def _download(output: Output, source: _Source) -> bytes:
    from ledger.client import LedgerClient

    async with LedgerClient(source.base, clock=output.clock) as client:
        return await client.status_list(source.list, source.purpose, source.query)


async def _fetch_proof(output: Output, url: str, list_: StatusList) -> ListProof:
    from ledger.client import LedgerClient

    async with LedgerClient(url, clock=output.clock) as client:
        try:
            return await client.list_proof(list_.list, list_.size)
        except NotFound as error:
            raise VerificationError(
                f"the list is said to be number {list_.list} at the head of size {list_.size}, of which {client.url} "
                f"knows nothing: {error.detail}"
            ) from error


def _show(output: Output, list_: StatusList, form: str, proven: ProvenList, now_s: int) -> None:
    proof = proven.proof
    bits_set = int.from_bytes(proof.bits(list_.purpose), "big").bit_count()
    document: dict[str, Any] = {
        "result": "proven",
        "id": list_.id,
        "list": list_.list,
        "purpose": list_.purpose,
        "set": bits_set,
        "as_of_ms": proven.as_of_s * 1000,
        "own_time": proven.own_time,
        "age_s": now_s - proven.as_of_s,
        "size": proof.size,
        "tree_size": proof.tree_size,
        "origin": proof.origin,
        "issuer": proof.issuer.hex(),
        "signed_by": list_.issuer,
        "form": form,
        "valid_until_ms": list_.valid_until_ms,
    }
    if output.json:
        output.document(document)
        return
    what = "revoked" if list_.purpose == "revocation" else "suspended"
    word = "the log's own word, unaudited" if proven.own_time else "its witnesses' word"
    output.styled("PROVEN", "bold green")
    output.fields(
        [
            ("list", f"{list_.list}, {list_.purpose}"),
            (what, str(bits_set)),
            ("as of", f"{format_time(proven.as_of_s * 1000)} by {word}, {format_age(now_s - proven.as_of_s)} ago"),
            ("head", f"{proof.size} of {proof.tree_size} entries of {proof.origin}"),
            ("signed by", f"{list_.issuer} ({'JWT' if form == 'jwt' else 'JSON-LD'})"),
            ("valid until", format_time(list_.valid_until_ms)),
        ]
    )
