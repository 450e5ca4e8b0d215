"""Vectors of receipts: in both forms with the verdict they lead to, and those that are refused, with step and error."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

from msgspec.structs import replace

from ledger import merkle
from ledger.authenticity import Authenticity, ListFinding, OwnSignature
from ledger.badges import StatusEntry, commitment, derive_salt, read
from ledger.checkpoint import Checkpoint
from ledger.entry import (
    BINDING_PUBLISHED,
    BINDING_VOUCHED,
    LIST_SLOTS,
    RETIRE,
    ROLE_ISSUE,
    ROLE_MANAGE,
    ROLE_STATUS,
    did_key,
    encode_issue,
)
from ledger.errors import LedgerError
from ledger.merkle import leaf_hash
from ledger.policy import parse_policy
from ledger.receipt import Receipt, encode_packed, with_signatures
from ledger.receipt_json import format_json, load
from ledger.verdict import decide
from ledger.verdict_findings import HostedState
from ledger.verify import verify_receipt
from tests.builders import ORIGIN, seeded_key
from tests.forgery import Forgery
from tests.receipt_builder import Anchored, anchored, build, policy_text, sign_head
from tests.vectors.badges import PROOF, SALT_KEY, credential

SCHOOL = "https://school.example/badges"
DAY_S = 86_400
#: Members of a verdict that are for people: their wording is nobody's business but the implementation's.
WORDING = ("reasons", "notes", "signature_reason")
_KEY = seeded_key("a did:key issuer")
_LIST = "https://elsewhere.example/status/3"
_HOSTED = {
    "@context": "https://w3id.org/openbadges/v2",
    "type": "Assertion",
    "id": "https://school.example/assertions/1",
    "recipient": {"type": "email", "hashed": True, "identity": "sha256$" + "0" * 64},
    "badge": "https://school.example/classes/1",
    "verification": {"type": "HostedBadge"},
}


def vectors() -> Iterator[tuple[str, dict[str, Any]]]:
    """`receipt-*`, `receipt-refused-*`."""
    yield from _verdicts()
    for name, data in _unreadable().items():
        yield _refused(name, data)
    scene = _scene()
    for name, (receipt, changes) in _unproven(scene).items():
        yield _refused(name, encode_packed(receipt), scene, **changes)


# With a verdict ------------------------------------------------------------------------------------------------------


def _verdicts() -> Iterator[tuple[str, dict[str, Any]]]:
    plain = credential(SCHOOL)
    signed = credential(SCHOOL, proof=PROOF)
    expired = credential(SCHOOL, validUntil="2025-06-15T15:06:42Z")
    early = credential(SCHOOL, validFrom="2025-06-16T00:00:00Z")
    status = {
        "type": "BitstringStatusListEntry",
        "statusListCredential": f"https://{ORIGIN}/status/1",
        "statusListIndex": "1004",
        "statusPurpose": "revocation",
    }
    listed = credential(SCHOOL, credentialStatus=status)
    elsewhere = credential(SCHOOL, credentialStatus=status | {"statusListIndex": "1005"})
    vouched = {"binding": BINDING_VOUCHED}
    port = "https://school.example:8443"
    at_port = _HOSTED | {"id": f"{port}/assertions/1", "badge": f"{port}/classes/1"}
    own_word = _HOSTED | {"revoked": True, "proof": PROOF}
    audited = policy_text(ORIGIN, auditors=["south"])
    yield _verdict("full-published", plain, {})
    yield _verdict("full-published-audited", plain, {}, policy=audited)
    yield _verdict("full-vouched", plain, vouched)
    yield _verdict("full-vouched-own-signature", signed, vouched, own_signature="verified")
    yield _verdict("full-vouched-own-signature-not-checked", signed, vouched)
    yield _verdict("full-own-signature-invalid", signed, {}, own_signature="invalid")
    yield _verdict("full-self-certifying", credential(did_key(_KEY.public_key)), {"identifier": None, "key": _KEY})
    yield _verdict("full-one-key", plain, {"delegated": False})
    yield _verdict("full-self-asserted-own-signature", signed, vouched, own_signature="self-asserted")
    yield _verdict("full-unnamed-issuer", _HOSTED | {"id": "https://elsewhere.example/assertions/1"}, {})
    yield _verdict("full-unnamed-issuer-by-host", _HOSTED, {})
    by_origin = _HOSTED | {"badge": {"name": "Doctorate", "issuer": {"origin": "https://university.example"}}}
    yield _verdict("full-unnamed-issuer-of-another-origin", by_origin, {})
    yield _verdict("full-unnamed-issuer-of-a-class-elsewhere", _HOSTED | {"badge": "https://university.example/1"}, {})
    yield _verdict("full-unnamed-issuer-beside-another", _HOSTED | {"issuer": "https://university.example"}, {})
    on_it = _HOSTED | {"badge": {"name": "Sailing", "issuer": {"url": "https://SCHOOL.example/"}}, "id": "urn:uuid:7"}
    on_it |= {"verify": {"type": "hosted", "url": "https://school.example/assertions/1"}}
    yield _verdict("full-unnamed-issuer-on-its-host", on_it, {})
    yield _verdict("full-unnamed-issuer-by-host-vouched", _HOSTED, vouched)
    yield _verdict("full-unnamed-issuer-by-did-web", at_port, {"identifier": "did:web:School.example%3A8443:issuers:7"})
    yield _verdict("full-unnamed-issuer-at-another-port", at_port, {})
    by_key = _HOSTED | {"verification": {"type": "SignedBadge"}, "proof": PROOF}
    yield _verdict("full-unnamed-issuer-signed", by_key, vouched, own_signature="verified")
    yield _verdict("full-unnamed-issuer-signed-by-it", by_key, vouched, own_signature="verified", signer=SCHOOL)
    yield _verdict("full-unnamed-issuer-signed-by-another", by_key, {}, own_signature="verified", signer=SCHOOL + "/x")
    yield _verdict("short-unnamed-issuer-signed-by-it", by_key, {}, full=False, own_signature="verified", signer=SCHOOL)
    yield _verdict("full-revoked-by-its-own-word", _HOSTED | {"revoked": True}, {})
    yield _verdict("full-revoked-by-its-own-word-since", _HOSTED, {}, shown=_HOSTED | {"revoked": True})
    yield _verdict("full-hosted-revoked", _HOSTED, {}, hosted="revoked")
    yield _verdict("full-hosted-gone", _HOSTED, {}, hosted="gone")
    moodle = {"id": _HOSTED["id"], "revoked": True}
    yield _verdict("full-revoked-as-moodle-says", _HOSTED, {}, shown=moodle)
    yield _verdict("full-forged-and-revoked-by-its-own-word", own_word, {}, own_signature="invalid")
    yield _verdict("full-credential-revoked-by-its-own-word", credential(SCHOOL, revoked=True), {})
    by_address = {"https://www.w3.org/2018/credentials#validUntil": "2020-01-01T00:00:00Z"}
    yield _verdict("full-other-status-by-its-address", credential(SCHOOL, **by_address), {})
    own_context = ["https://www.w3.org/ns/credentials/v2", {"ends": "https://www.w3.org/2018/credentials#validUntil"}]
    yield _verdict("full-other-status-in-its-own-context", credential(SCHOOL) | {"@context": own_context}, {})
    yield _verdict("full-other-status", credential(SCHOOL, credentialStatus={"type": "1EdTechRevocationList"}), {})
    yield from _lists()
    yield _verdict("full-revoked", plain, {"then": "revoke"})
    yield _verdict("full-suspended", plain, {"then": "suspend"})
    yield _verdict("full-stale", plain, {}, age_s=DAY_S + 1)
    yield _verdict("full-at-the-limit", plain, {}, age_s=DAY_S)
    yield _verdict("full-revoked-and-stale", plain, {"then": "revoke"}, age_s=DAY_S + 1)
    yield _verdict("full-suspended-and-stale", plain, {"then": "suspend"}, age_s=DAY_S + 1)
    yield _verdict("full-expired", expired, {})
    yield _verdict("full-not-yet-valid", early, {})
    yield _verdict("full-no-witness", plain, {}, policy=policy_text(ORIGIN, quorum="none"))
    yield _verdict("full-in-the-future", plain, {}, age_s=-61)
    yield _verdict("full-slot-agrees", listed, {})
    yield _verdict("full-slot-differs", elsewhere, {})
    yield _verdict("full-another-issuer", plain, {"identifier": "https://impostor.example"})
    yield _verdict("full-another-badge", plain, {}, shown=credential(SCHOOL, name="another"))
    yield _verdict("short", plain, {}, full=False)
    yield _verdict("short-audited", plain, {}, full=False, policy=audited)
    yield _verdict("short-own-signature", signed, {}, full=False, own_signature="verified")
    yield _verdict("short-revoked", plain, {"then": "revoke"}, full=False)


def _lists() -> Iterator[tuple[str, dict[str, Any]]]:
    """Entries in lists of somebody else: asked or not, and what was found."""

    def entry(purpose: str) -> dict[str, str]:
        return {
            "type": "BitstringStatusListEntry",
            "statusListCredential": _LIST,
            "statusListIndex": "77",
            "statusPurpose": purpose,
        }

    def said(**states: Any) -> tuple[ListFinding, ...]:
        return tuple(
            ListFinding(StatusEntry(_LIST, 77, purpose), state, "it cannot be reached" if state == "unknown" else None)
            for purpose, state in states.items()
        )

    one = credential(SCHOOL, credentialStatus=entry("revocation"))
    both = credential(SCHOOL, credentialStatus=[entry("revocation"), entry("suspension")])
    message = credential(SCHOOL, credentialStatus=entry("message"))
    yield _verdict("full-list-not-asked", one, {})
    yield _verdict("full-list-not-asked-vouched", one, {"binding": BINDING_VOUCHED})
    yield _verdict("full-list-half-asked", both, {}, lists=said(revocation="clear"))
    yield _verdict("full-list-clear", both, {}, lists=said(revocation="clear", suspension="clear"))
    yield _verdict("full-list-revoked", both, {"then": "suspend"}, lists=said(revocation="set", suspension="unknown"))
    yield _verdict("full-list-revoked-another-badge", one, {}, lists=said(revocation="set"), shown=one | {"name": "x"})
    yield _verdict("full-list-suspended", both, {}, lists=said(revocation="clear", suspension="set"))
    yield _verdict("full-list-unknown", one, {}, lists=said(revocation="unknown"))
    yield _verdict("full-list-unknown-suspended", both, {}, lists=said(revocation="unknown", suspension="set"))
    yield _verdict("full-list-unknown-stale", one, {}, lists=said(revocation="unknown"), age_s=DAY_S + 1)
    yield _verdict("full-list-unknown-revoked", one, {"then": "revoke"}, lists=said(revocation="unknown"))
    yield _verdict("full-list-other-purpose", message, {}, lists=said(message="set"))


def _verdict(
    name: str,
    document: dict[str, Any],
    scene_of: dict[str, Any],
    *,
    full: bool = True,
    age_s: int = 0,
    policy: str | None = None,
    own_signature: OwnSignature | None = None,
    signer: str | None = None,
    lists: tuple[ListFinding, ...] = (),
    hosted: HostedState | None = None,
    shown: dict[str, Any] | None = None,
) -> tuple[str, dict[str, Any]]:
    """A badge is anchored in a log of its own; `shown`: another badge that is put beside its receipt."""
    badge = read(json.dumps(document).encode())
    salt = None if badge.signed else derive_salt(SALT_KEY, badge)
    scene = anchored(commitment(badge, salt), **scene_of)
    receipt = build(scene.log, scene.index, full=full, salt=salt)
    text = json.dumps(document if shown is None else shown)
    trust = policy_text(ORIGIN) if policy is None else policy
    now_s = scene.time_s + age_s
    own = own_signature or ("not-checked" if badge.signed else "none")
    findings = {
        "own_signature": own,
        "signer": signer,
        "lists": [
            {
                "address": finding.entry.status_list_credential,
                "index": str(finding.entry.status_list_index),
                "purpose": finding.entry.status_purpose,
                "state": finding.state,
            }
            for finding in lists
        ],
        "hosted": hosted,
    }
    verdict = decide(read(text.encode()), receipt, parse_policy(trust), now_s, DAY_S, **found(findings)).to_json()
    return f"receipt-{name}", {
        "badge": text,
        "packed": base64.b64encode(encode_packed(receipt)).decode(),
        "json": format_json(receipt).decode(),
        "policy": trust,
        "now_s": now_s,
        "max_age_s": DAY_S,
        **findings,
        "verdict": {member: value for member, value in verdict.items() if member not in WORDING},
    }


def found(vector: dict[str, Any]) -> dict[str, Any]:
    """What the verifier found by a vector: the keyword arguments of `decide`."""
    own: OwnSignature = vector["own_signature"]
    lists = [
        ListFinding(
            StatusEntry(answer["address"], int(answer["index"]), answer["purpose"]),
            answer["state"],
            "it gave no answer" if answer["state"] == "unknown" else None,
        )
        for answer in vector["lists"]
    ]
    reason = None if own in ("none", "verified") else "somebody found this"
    return {
        "authenticity": Authenticity(own, issuer=vector["signer"], reason=reason),
        "lists": tuple(lists),
        "hosted": vector["hosted"],
    }


# Refused -------------------------------------------------------------------------------------------------------------


def _scene() -> Anchored:
    badge = read(json.dumps(credential(SCHOOL)).encode())
    return anchored(commitment(badge, derive_salt(SALT_KEY, badge)))


def _refused(name: str, data: bytes, scene: Anchored | None = None, **changes: Any) -> tuple[str, dict[str, Any]]:
    """The case with the refusal that this implementation gives; without a scene, reading alone refuses it."""
    document: dict[str, Any] = {"receipt": base64.b64encode(data).decode()}
    if scene is not None:
        document |= {
            "policy": policy_text(ORIGIN),
            "now_s": scene.time_s,
            "max_age_s": DAY_S,
            "commitment": scene.log.entries[scene.index][42:].hex(),
            "issuer": scene.issuer.id.hex(),
        } | changes
    error = refusal(document)
    document["error"] = error.slug
    document["step"] = error.members.get("step", 1)
    if "rule" in error.members:
        document["rule"] = error.members["rule"]
    return f"receipt-refused-{name}", document


def refusal(document: dict[str, Any]) -> LedgerError:
    """What reading and verifying a case raises."""
    try:
        receipt = load(base64.b64decode(document["receipt"]))
        verify_receipt(
            receipt,
            policy=parse_policy(document["policy"]),
            now_s=document["now_s"],
            max_age_s=document["max_age_s"],
            commitment=bytes.fromhex(document["commitment"]),
            issuer=bytes.fromhex(document["issuer"]),
        )
    except LedgerError as error:
        return error
    raise AssertionError("nothing was refused")


def _unreadable() -> dict[str, bytes]:
    scene = _scene()
    receipt = build(scene.log, scene.index, full=True)
    packed, text = encode_packed(receipt), format_json(receipt).decode()
    slot = scene.slot
    both = bytearray(receipt.chunk)
    for half in (0, 32):
        both[half + (slot >> 3 & 31)] |= 0x80 >> (slot & 7)
    size = f'"tree_size":{receipt.tree_size}'
    first = receipt.keys[0][0].to_bytes(8, "big")
    second = receipt.keys[1][0].to_bytes(8, "big")
    place = packed.index(first + len(receipt.keys[0][1]).to_bytes(2, "big"))
    name = receipt.signatures[1].name.encode()
    return {
        "empty": b"",
        "magic": b"BLR2" + packed[4:],
        "cut-short": packed[:-1],
        "bytes-to-spare": packed + b"\x00",
        "flag-bits": packed[:4] + b"\x05" + packed[5:],
        "two-indexes-alike": packed[:place] + second + packed[place + 8 :],
        "index-of-the-status-root": packed.replace(
            scene.index.to_bytes(8, "big") + receipt.issue, (receipt.tree_size - 1).to_bytes(8, "big") + receipt.issue
        ),
        "both-bits": packed.replace(receipt.chunk, bytes(both)),
        "issue-of-another-type": packed.replace(receipt.issue, receipt.issue[:1] + b"\x06" + receipt.issue[2:]),
        "key-name-with-a-space": packed.replace(name, name.replace(b".", b" ")),
        "too-large": b"BLR1" + bytes(65_536),
        "json-unknown-member": text.replace("{", '{"comment":1,', 1).encode(),
        "json-duplicate-member": text.replace('"index":', '"index":1,"\\u0069ndex":', 1).encode(),
        "json-null-salt": text.replace('"origin"', '"salt":null,"origin"', 1).encode(),
        "json-fraction": text.replace(size, f"{size}.0").encode(),
        "json-2-to-the-53": text.replace(size, f'"tree_size":{2**53}').encode(),
        "json-base64-without-padding": text.replace('=","status_root"', '","status_root"', 1).encode(),
        "json-byte-order-mark": b"\xef\xbb\xbf" + text.encode(),
        "json-profile": text.replace('"profile":"full"', '"profile":"short"').encode(),
        "json-half-a-hash": text.replace('"events_proof":"', '"events_proof":"AAAA', 1).encode(),
    }


def _unproven(scene: Anchored) -> dict[str, tuple[Receipt, dict[str, Any]]]:
    full, short = (build(scene.log, scene.index, full=full) for full in (True, False))
    log, north, south = full.signatures
    head = Checkpoint(ORIGIN, scene.log.size, scene.log.root())
    old = sign_head(head, scene.time_s - DAY_S - 1)
    other = [leaf_hash(value) for value in full.log_proof[:1]]
    cases: dict[str, tuple[Receipt, dict[str, Any]]] = {
        "log-proof-too-short": (replace(full, log_proof=full.log_proof[:-1]), {}),
        "log-proof-too-long": (replace(full, log_proof=(*full.log_proof, bytes(32))), {}),
        "log-proof-changed": (replace(full, log_proof=(*other, *full.log_proof[1:])), {}),
        "origin-changed": (replace(full, origin="ledger.example/tess"), {}),
        "tree-size-changed": (replace(short, tree_size=full.tree_size + 1), {}),
        "another-log": (full, {"policy": policy_text("elsewhere.example/log")}),
        "log-did-not-sign": (with_signatures(full, (north, south)), {}),
        "witness-missing": (with_signatures(full, (log, north)), {}),
        "witness-of-another-name": (with_signatures(full, (log, north, replace(south, name="east.example/w"))), {}),
        "witness-signature-wrong": (
            with_signatures(full, (log, north, replace(south, signature=south.signature[:-1] + b"\x00"))),
            {"policy": policy_text(ORIGIN, quorum="north")},
        ),
        "stale": (with_signatures(full, old), {}),
        "one-witness-stale": (with_signatures(full, (log, north, old[2])), {}),
        "future": (full, {"now_s": scene.time_s - 61}),
        "no-witness-stale": (
            full,
            {"policy": policy_text(ORIGIN, quorum="none"), "now_s": scene.time_s + DAY_S + 1},
        ),
        "no-witness-future": (full, {"policy": policy_text(ORIGIN, quorum="none"), "now_s": scene.time_s - 61}),
        "status-proof-too-short": (replace(short, status_proof=short.status_proof[:-1]), {}),
        "chunk-changed": (replace(short, chunk=b"\x80" + short.chunk[1:]), {}),
        "events-proof-too-long": (replace(full, events_proof=(*full.events_proof, bytes(32))), {}),
        "another-badge": (full, {"commitment": "00" * 32}),
        "another-issuer": (short, {"issuer": "00" * 32}),
    }
    for name, spoil in _FORGERIES.items():
        forgery = Forgery(scene)
        spoil(forgery)
        cases[name] = (forgery.receipt(), {})
    cut = Forgery(scene)
    cases["keys-cut-short"] = (cut.receipt(keys=[(cut.chain[0], cut.entries[cut.chain[0]])]), {})
    extra = [(index, cut.entries[index]) for index in (*cut.chain, 2)]
    cases["keys-go-on"] = (cut.receipt(keys=extra), {})
    return cases


def _swap_events(forgery: Forgery) -> None:
    entries, index = forgery.entries, forgery.index
    entries[index], entries[index + 1] = entries[index + 1], entries[index]
    forgery.status = forgery.scene.log.replay.status.proof(int.from_bytes(entries[index][34:42], "big"))


def _foreign_event(forgery: Forgery) -> None:
    forgery.change_event(encode_issue(bytes(32), forgery.scene.slot, bytes(32)))


def _no_such_list(forgery: Forgery) -> None:
    forgery.change_event(encode_issue(forgery.scene.issuer.id, 2 * LIST_SLOTS, bytes(32)))


def _another_event(forgery: Forgery) -> None:
    forgery.entries[forgery.index] = encode_issue(forgery.scene.issuer.id, forgery.scene.slot, bytes(32))


#: The operator and both witnesses sign these logs; their receipts are refused all the same.
_FORGERIES: dict[str, Callable[[Forgery], None]] = {
    "slot-in-no-list": _no_such_list,
    "status-root-of-another-tree": lambda f: f.change_root(root=bytes(32)),
    "no-lists": lambda f: f.change_root(lists=0, root=merkle.EMPTY_ROOT),
    "event-not-signed": _another_event,
    "events-exchanged": _swap_events,
    "event-of-another-issuer": _foreign_event,
    "window-passed": lambda f: f.change_submission(not_after=f.submission.time - 1),
    "window-too-long": lambda f: f.change_submission(not_after=f.submission.time + 86_400_001),
    "key-not-the-submissions": lambda f: f.change_submission(key=f.chain[1]),
    "key-may-not-issue": lambda f: f.change_key(0, roles=ROLE_STATUS | ROLE_MANAGE),
    "signer-may-not-manage": lambda f: f.change_key(1, roles=ROLE_ISSUE),
    "key-retires": lambda f: f.change_key(0, action=RETIRE),
    "key-of-another-issuer": lambda f: f.change_key(1, identifier="https://other.example"),
    "key-of-another-signer": lambda f: f.change_key(0, signer=2),
    "later-key-not-delegated": lambda f: f.change_key(0, binding=BINDING_PUBLISHED),
    "later-key-with-evidence": lambda f: f.change_key(0, evidence=b"\x01" * 32),
    "first-key-delegated": lambda f: f.change_key(1, binding=4),
    "first-key-self-certifying": lambda f: f.change_key(1, binding=1),
    "first-key-with-prev": lambda f: f.change_key(1, prev=b"\x01" * 32),
    "possession-missing": lambda f: f.change_key(0, resign=False, possession_sig=bytes(64)),
    "manage-signature-missing": lambda f: f.change_key(0, resign=False, manage_sig=bytes(64)),
    "first-key-with-manage-signature": lambda f: f.change_key(1, resign=False, manage_sig=b"\x01" * 64),
    "times-fall": lambda f: f.change_root(time=f.submission.time - 1),
    "submission-by-another-key": lambda f: f.change_submission(by=f.signer(1)),
    "submission-for-another-log": lambda f: f.change_submission(origin="elsewhere.example/log"),
}
