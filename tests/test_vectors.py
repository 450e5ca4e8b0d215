"""The committed test vectors: byte for byte what the generator writes, and true by this implementation.

docs/protocol.md tells what each kind of file holds; another implementation reads the same files.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ledger import merkle
from ledger.badges import commitment, derive_salt, read
from ledger.block import decode_body, encode_body
from ledger.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint
from ledger.cosignature import verify_cosignature
from ledger.entry import Submission, decode, encode
from ledger.errors import LedgerError, MalformedBadge, MalformedEntry, ProofInvalid, SignatureInvalid
from ledger.merkle import leaf_hash, root_from_multiproof
from ledger.message import idempotency_key, submission_message
from ledger.note import SignatureLine, find_lines, parse_vkey
from ledger.policy import parse_policy
from ledger.receipt import encode_packed
from ledger.receipt_json import format_json, load
from ledger.replay import Replay
from ledger.signing import Ed25519Key, verify_ed25519
from ledger.status import slot_state, verify_status
from ledger.units import UnitReader
from ledger.verdict import decide
from tests.vectors import generate
from tests.vectors.logs import plain, violation
from tests.vectors.past import prove_dated, prove_history, refusal_of
from tests.vectors.receipts import WORDING, found, refusal

HERE = Path(generate.__file__).resolve().parent
FILES = sorted(HERE.glob("*.json"))
Document = dict[str, Any]


def load_vector(name: str) -> Document:
    document: Document = json.loads((HERE / f"{name}.json").read_bytes())
    return document


def unhex(values: list[str]) -> list[bytes]:
    return [bytes.fromhex(value) for value in values]


def test_the_committed_vectors_are_those_of_the_generator() -> None:
    """No file more, none less, no byte different: run `python -m tests.vectors.generate` after a change."""
    made = {name: generate.format_vector(document) for name, document in generate.vectors()}
    committed = {path.stem: path.read_bytes() for path in FILES}
    assert committed.keys() == made.keys()
    assert [name for name in made if made[name] != committed[name]] == []


def check_commitment(vector: Document) -> None:
    badge = read(vector["badge"].encode())
    assert badge.form == vector["form"]
    assert badge.canonical.hex() == vector["canonical"]
    salt = None if vector["salt"] is None else derive_salt(bytes.fromhex(vector["salt_key"]), badge)
    assert (salt.hex() if salt else None) == vector["salt"]
    assert commitment(badge, salt).hex() == vector["commitment"]


def check_badge_refused(vector: Document) -> None:
    for case in vector["cases"]:
        with pytest.raises(MalformedBadge):
            read(bytes.fromhex(case["badge"]))


def check_entry(vector: Document) -> None:
    data = bytes.fromhex(vector["entry"])
    entry = decode(data)
    assert plain(entry) == vector["fields"]
    assert encode(entry) == data
    assert leaf_hash(data).hex() == vector["leaf_hash"]


def check_entry_refused(vector: Document) -> None:
    for case in vector["cases"]:
        with pytest.raises(MalformedEntry) as raised:
            decode(bytes.fromhex(case["entry"]))
        assert raised.value.slug == case["error"], case["reason"]


def check_message(vector: Document) -> None:
    message = bytes.fromhex(vector["message"])
    assert message.startswith(b"badge-ledger/v1 ")
    assert vector["origin"].encode() in message
    for seed, signature in (
        ("seed", "signature"),
        ("possession_seed", "possession_sig"),
        ("manage_seed", "manage_sig"),
    ):
        if seed in vector:
            key = Ed25519Key.from_seed(bytes.fromhex(vector[seed]))
            assert key.sign(message).hex() == vector[signature]


def check_bulk_body(vector: Document) -> None:
    block = decode_body(bytes.fromhex(vector["body"]))
    assert encode_body(block).hex() == vector["body"]
    sent = load_vector("message-submission")
    assert [entry.hex() for entry in block.entries()] == sent["events"]
    assert submission_message(sent["origin"], block.submission).hex() == sent["message"]
    assert idempotency_key(block.submission).hex() == sent["idempotency_key"]
    block.check_events_root()
    block.verify_signature(sent["origin"], bytes.fromhex(sent["public_key"]))


def check_ed25519(vector: Document) -> None:
    for case in vector["cases"]:
        values = [bytes.fromhex(case[name]) for name in ("public_key", "message", "signature")]
        if case["accepted"]:
            verify_ed25519(*values)
        else:
            with pytest.raises(SignatureInvalid):
                verify_ed25519(*values)


def check_checkpoint(vector: Document) -> None:
    checkpoint = Checkpoint(vector["origin"], vector["size"], bytes.fromhex(vector["root"]))
    if "note" not in vector:
        key = parse_vkey(vector["verifier_key"])
        line = SignatureLine(key.name, bytes.fromhex(vector["key_id"]), bytes.fromhex(vector["signature"]))
        assert verify_cosignature(checkpoint, key, line) == vector["timestamp_s"]
        return
    log, witness = (parse_vkey(text) for text in vector["verifier_keys"])
    assert [log.key_id.hex(), witness.key_id.hex()] == vector["key_ids"]
    opened, note = open_checkpoint(vector["note"].encode(), log)
    assert opened == checkpoint == parse_checkpoint(vector["text"])
    [(key, line)] = find_lines(note, [witness])
    assert verify_cosignature(opened, key, line) == vector["timestamp_s"]


def check_log_valid(vector: Document) -> None:
    entries = unhex(vector["entries"])
    leaves = merkle.leaf_hashes(entries)
    for head in vector["heads"]:
        assert merkle.tree_hash(leaves[: head["size"]]).hex() == head["root"]
    replay = Replay()
    for logged in UnitReader().feed(entries):
        replay.apply(logged.unit)
    assert replay.size == len(entries) == vector["heads"][-1]["size"]
    assert replay.sealed


def check_log_violation(vector: Document) -> None:
    before = unhex(load_vector(vector["log"])["entries"])
    assert violation(before, unhex(vector["then"])) == (vector["rule"], vector["index"])


def _multiproof(case: Document) -> str:
    targets = {int(index): bytes.fromhex(value) for index, value in case["targets"].items()}
    return root_from_multiproof(targets, case["size"], unhex(case["proof"])).hex()


def check_multiproof(vector: Document) -> None:
    assert _multiproof(vector) == vector["root"]


def check_multiproof_refused(vector: Document) -> None:
    for case in vector["cases"]:
        try:
            root = _multiproof(case)
        except ProofInvalid:
            continue
        assert root != case["root"], case["reason"]


def check_status(vector: Document) -> None:
    chunk, proof = bytes.fromhex(vector["chunk"]), unhex(vector["proof"])
    verify_status(vector["slot"], chunk, vector["lists"], proof, bytes.fromhex(vector["root"]))
    assert slot_state(chunk, vector["slot"]) == vector["state"]


def check_receipt(vector: Document) -> None:
    packed, text = base64.b64decode(vector["packed"]), vector["json"].encode()
    receipt = load(packed)
    assert load(text) == receipt
    assert (encode_packed(receipt), format_json(receipt)) == (packed, text)
    verdict = decide(
        read(vector["badge"].encode()),
        receipt,
        parse_policy(vector["policy"]),
        vector["now_s"],
        vector["max_age_s"],
        **found(vector),
    ).to_json()
    assert {name: value for name, value in verdict.items() if name not in WORDING} == vector["verdict"]


def check_receipt_refused(vector: Document) -> None:
    error: LedgerError = refusal(vector)
    assert error.slug == vector["error"]
    assert error.members.get("step", 1) == vector["step"]
    assert error.members.get("rule") == vector.get("rule")


def check_proven(prove: Callable[[Document], Document]) -> Callable[[Document], None]:
    def check(vector: Document) -> None:
        assert prove(vector) == vector["proven"]

    return check


def check_refused(prove: Callable[[Document], Document]) -> Callable[[Document], None]:
    def check(vector: Document) -> None:
        found = refusal_of(prove, vector)
        assert found == {name: vector[name] for name in ("error", "step", "rule") if name in vector}

    return check


#: The first pattern that a file's name matches tells how it is checked.
CHECKS: tuple[tuple[str, Callable[[Document], None]], ...] = (
    ("commitment-.*", check_commitment),
    ("badge-refused", check_badge_refused),
    ("entry-refused", check_entry_refused),
    ("entry-.*", check_entry),
    ("message-.*", check_message),
    ("bulk-body", check_bulk_body),
    ("ed25519", check_ed25519),
    ("checkpoint-.*", check_checkpoint),
    ("log-valid", check_log_valid),
    ("log-violation-.*", check_log_violation),
    ("multiproof-refused", check_multiproof_refused),
    ("multiproof-.*", check_multiproof),
    ("status-.*", check_status),
    ("receipt-refused-.*", check_receipt_refused),
    ("receipt-.*", check_receipt),
    ("dated-refused-.*", check_refused(prove_dated)),
    ("dated-.*", check_proven(prove_dated)),
    ("history-refused-.*", check_refused(prove_history)),
    ("history-.*", check_proven(prove_history)),
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_vector_holds(path: Path) -> None:
    """Whatever its kind; a file of no kind is an error."""
    check = next(check for pattern, check in CHECKS if re.fullmatch(pattern, path.stem))
    check(load_vector(path.stem))


def test_every_kind_has_a_vector() -> None:
    """No check is idle."""
    for pattern, _ in CHECKS:
        assert any(re.fullmatch(pattern, path.stem) for path in FILES), pattern


def test_every_entry_type_and_every_result_has_a_vector() -> None:
    """All nine entries, all six results, every step of verification."""
    types = {
        load_vector(path.stem)["type"]
        for path in FILES
        if path.stem.startswith("entry-") and "refused" not in path.stem
    }
    assert len(types) == 9
    refused = [load_vector(path.stem) for path in FILES if path.stem.startswith("receipt-refused-")]
    assert {vector["step"] for vector in refused} == set(range(1, 9))
    receipts = [load_vector(path.stem) for path in FILES if re.fullmatch("receipt-(full|short).*", path.stem)]
    assert {vector["verdict"]["result"] for vector in receipts} == {
        "valid",
        "revoked",
        "suspended",
        "expired",
        "stale",
        "not_proven",
    }


def test_a_submission_is_signed_as_its_entry_says() -> None:
    """The fields in the message vector are those of a submission entry."""
    assert set(load_vector("message-submission")["fields"]) == set(Submission.__struct_fields__)
