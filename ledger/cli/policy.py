"""`badge-ledger policy`: whom a verifier trusts, as a C2SP tlog-policy file."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ledger.cli.app import command, option
from ledger.cli.options import Duration, load_policy
from ledger.cli.output import Output, format_time
from ledger.errors import MalformedPolicy, NotFound

if TYPE_CHECKING:
    from ledger.note import VerifierKey
    from ledger.policy import Policy


@click.group(short_help="Make and check trust policies.")
def policy() -> None:
    """Make and check trust policies: which log, which witnesses, and how many of them."""


@command(name="init", short_help="First trust: take a log's key from its URL.")
@click.argument("url", metavar="URL")
@option("--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("trust.policy"), help="The policy file.")
@option("--post-quantum", is_flag=True, help="Trust the log's ML-DSA-44 key instead of its Ed25519 key.")
@option("--force", is_flag=True, help="Replace a file that exists.")
def init(output: Output, url: str, out: Path, post_quantum: bool, force: bool) -> None:
    """Ask a ledger for its key and write a policy that trusts this log, without witnesses.

    Compare the fingerprint with the one that the operator publishes elsewhere: this is the moment of trust. Add
    witnesses and a quorum to the file as soon as you know some; `quorum none` takes the log's own word for the time.

    \b
    Example:
      badge-ledger policy init https://ledger.example/ --out trust.policy
    """
    from ledger.cli.files import write_new

    key = asyncio.run(_fetch_key(output, url, post_quantum))
    write_new(out, _policy_text(key, url).encode(), force=force)
    if output.json:
        output.document({"file": str(out), **_describe(key)})
        return
    output.lines(f"{out} trusts the log {key.name}")
    output.fields(_key_rows(key))
    output.note("compare the fingerprint with the operator's, published elsewhere, before you rely on it")


@command(name="check", short_help="Is this policy sound? Does a ledger's head meet it?")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@option("--url", metavar="URL", help="Check the newest head of this ledger too.")
@option("--max-age", type=Duration(), metavar="DURATION", help="With --url: oldest cosignatures that count.")
def check(output: Output, file: Path, url: str | None, max_age: int | None) -> None:
    """Check a policy: is it well-formed, do any two quorums share a witness, does it hold against quantum computers?

    Exit status 1 if the head at --url does not meet it, 2 if the policy itself is unsound.

    \b
    Example:
      badge-ledger policy check trust.policy --url https://ledger.example/ --max-age 1h
    """
    from ledger.policy import display_name

    trusted = load_policy(file)
    if not trusted.logs:
        raise MalformedPolicy(f"{file}: names no log, so nothing can meet it")
    log_keys = {rule.vkey.public_key for rule in trusted.logs}
    for name, rule in trusted.witnesses.items():
        if rule.vkey.public_key in log_keys:
            raise MalformedPolicy(f"{file}: the witness {display_name(name)} is the log itself: it has a key of a log")
    document: dict[str, Any] = {
        "logs": [_describe(rule.vkey) for rule in trusted.logs],
        "witnesses": [{"witness": display_name(n), **_describe(r.vkey)} for n, r in trusted.witnesses.items()],
        "quorum": display_name(trusted.quorum),
        "needs": [{"name": name, "needs": needs} for name, needs in trusted.explain()],
        "demands_audit": trusted.demands_audit(),
        "post_quantum": trusted.is_post_quantum(),
        "auditors": [display_name(name) for name in getattr(trusted.groups.get("auditors"), "members", ())],
    }
    if url is not None:
        document["head"] = asyncio.run(_evaluate(output, url, trusted, max_age))
    if output.json:
        output.document(document)
        return
    _show(output, file, document)


for _command in (init, check):
    policy.add_command(_command)


async def _fetch_key(output: Output, url: str, post_quantum: bool) -> VerifierKey:
    """The log's key of the wanted kind; its signature is on the newest checkpoint."""
    from ledger.checkpoint import parse_checkpoint
    from ledger.client import LedgerClient
    from ledger.note import ED25519, MLDSA44_COSIGNATURE, parse_note, parse_vkey
    from ledger.policy import NONE, LogRule, Policy, evaluate

    wanted = MLDSA44_COSIGNATURE if post_quantum else ED25519
    async with LedgerClient(url, clock=output.clock) as client:
        info = await client.log_info()
    keys = [key for key in map(parse_vkey, info.verifier_keys) if key.algorithm == wanted and key.name == info.origin]
    if not keys:
        raise NotFound(f"{url} states no {_algorithm(wanted)} key of its log {info.origin!r}")
    note = parse_note(info.checkpoint.encode())
    alone = Policy((LogRule(keys[0]),), {}, {}, NONE)
    evaluate(alone, parse_checkpoint(note.text), note, now_s=0, max_age_s=None)
    return keys[0]


async def _evaluate(output: Output, url: str, trusted: Policy, max_age_s: int | None) -> dict[str, Any]:
    from ledger.checkpoint import parse_checkpoint
    from ledger.client import LedgerClient
    from ledger.note import parse_note
    from ledger.policy import display_name, evaluate

    async with LedgerClient(url, clock=output.clock) as client:
        note = parse_note(await client.checkpoint())
    checkpoint = parse_checkpoint(note.text)
    found = evaluate(trusted, checkpoint, note, now_s=output.clock.now_ms() // 1000, max_age_s=max_age_s)
    return {
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "witnesses": {display_name(name): at for name, at in found.witnesses.items()},
        "audited_by": list(found.audited_by),
        "timestamp_s": found.timestamp_s,
        "dropped": list(found.dropped),
    }


def _policy_text(key: VerifierKey, url: str) -> str:
    from ledger.policy import NONE, LogRule, Policy, format_policy

    text = format_policy(Policy((LogRule(key, url.rstrip("/") + "/"),), {}, {}, NONE)).decode()
    return (
        f"# Key fingerprint (SHA-256 of the public key): {_fingerprint(key)}\n"
        "# To add witnesses: `witness NAME VKEY` lines, `group NAME K MEMBER...`, and their name after `quorum`.\n"
        + text
    )


def _fingerprint(key: VerifierKey) -> str:
    return hashlib.sha256(key.public_key).hexdigest()


def _algorithm(number: int) -> str:
    return {1: "Ed25519", 4: "Ed25519 cosignature", 6: "ML-DSA-44"}[number]


def _describe(key: VerifierKey) -> dict[str, Any]:
    from ledger.note import format_vkey

    return {
        "name": key.name,
        "algorithm": _algorithm(key.algorithm),
        "key_id": key.key_id.hex(),
        "fingerprint": _fingerprint(key),
        "verifier_key": format_vkey(key),
    }


def _key_rows(key: VerifierKey) -> list[tuple[str, str]]:
    described = _describe(key)
    rows = [("algorithm", "algorithm"), ("key id", "key_id"), ("fingerprint", "fingerprint")]
    return [(label, described[name]) for label, name in rows]


def _weakest(document: dict[str, Any]) -> str:
    """Why whoever can forge Ed25519 signatures can forge a head that this policy accepts."""
    if any(log["algorithm"] == "Ed25519" for log in document["logs"]):
        return "an Ed25519 key of the log is enough"
    return "two quorums may share Ed25519 witnesses only"


def _show(output: Output, file: Path, document: dict[str, Any]) -> None:
    alone = document["quorum"] == "none"
    sound = "quorum none: no witness is asked, the log is believed" if alone else "any two quorums share a witness"
    output.lines(f"{file}: well-formed; {sound}")
    rows = [("log", d["name"], d["algorithm"], d["key_id"]) for d in document["logs"]]
    rows += [("witness", d["witness"], d["algorithm"], d["key_id"]) for d in document["witnesses"]]
    output.table(("role", "name", "algorithm", "key id"), rows)
    if not alone:
        output.lines("a head is accepted with a signature of the log and of")
        output.fields((item["name"], item["needs"]) for item in document["needs"])
    named = ", ".join(document["auditors"])
    audited = f"yes, by {named}" if document["demands_audit"] else f"not always; {named} may" if named else "no"
    output.fields(
        [
            ("audited", audited),
            ("post-quantum", "yes" if document["post_quantum"] else f"no: {_weakest(document)}"),
        ]
    )
    head = document.get("head")
    if head is not None:
        when = "by the log's own time" if head["timestamp_s"] is None else format_time(head["timestamp_s"] * 1000)
        output.lines(f"the head of {head['origin']} at {head['size']} entries meets it: {when}")
        for reason in head["dropped"]:
            output.note(f"a cosignature did not count: {reason}")
