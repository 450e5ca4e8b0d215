"""Notes, checkpoints, cosignatures and proofs against the Go implementations of others (tests/interop/go/note).

golang.org/x/mod opens our notes and we open its; transparency-dev/formats verifies our cosignatures, both kinds, and we
verify its; filippo.io/mldsa verifies ML-DSA-44 over the message that the specification writes down; torchwood accepts
our `.tlog-proof` under our policy file and refuses changed ones. Needs Go and, the first time, its modules.
"""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ledger.checkpoint import Checkpoint, format_checkpoint, open_checkpoint, parse_checkpoint
from ledger.cosignature import cosign, verify_cosignature
from ledger.errors import LedgerError, MalformedNote, MalformedPolicy
from ledger.merkle import build, leaf_hash, plan_inclusion, tree_hash, tree_levels
from ledger.note import (
    Note,
    SignatureLine,
    VerifierKey,
    format_line,
    format_note,
    format_vkey,
    parse_note,
    sign_note,
)
from ledger.policy import format_policy, parse_policy
from ledger.signing import Ed25519Key, MLDSA44Key
from ledger.tlogproof import TlogProof, format_tlog_proof, parse_tlog_proof, verify_tlog_proof

SOURCE = Path(__file__).parent / "go" / "note"
ORIGIN = "example.com/log"
LOG = Ed25519Key.from_seed(b"\x01" * 32)
LOG_PQ = MLDSA44Key.from_seed(b"\x02" * 32)
WITNESS = Ed25519Key.from_seed(b"\x03" * 32)
LOG_KEY = VerifierKey(ORIGIN, 1, LOG.public_key)
PQ_KEY = VerifierKey(ORIGIN, 6, LOG_PQ.public_key)
WITNESS_KEY = VerifierKey("witness.example/ü", 4, WITNESS.public_key)
NOW = 1_800_000_000

LEAVES = [leaf_hash(b"entry %d" % k) for k in range(21)]
HEAD = Checkpoint(ORIGIN, len(LEAVES), tree_hash(LEAVES))
TEXT = format_checkpoint(HEAD)
LINES = (
    sign_note(TEXT, ORIGIN, LOG),
    cosign(HEAD, ORIGIN, LOG_PQ, NOW),
    cosign(HEAD, WITNESS_KEY.name, WITNESS, NOW),
)
SIGNED = format_note(Note(TEXT, LINES))

Answer = dict[str, Any]
Ask = Callable[[Sequence[dict[str, Any]]], list[Answer]]


def absent(reason: str) -> None:
    """No Go here is a reason to skip; in CI it is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """The Go program, built; called with requests it gives as many answers."""
    go = shutil.which("go") or ("/usr/local/go/bin/go" if Path("/usr/local/go/bin/go").exists() else None)
    if go is None:
        absent("Go is not installed: the command go is not in PATH")
        raise AssertionError
    modules = subprocess.run([go, "mod", "download"], cwd=SOURCE, capture_output=True, text=True)
    if modules.returncode:
        absent(f"the Go modules cannot be had: {modules.stderr.strip()[-300:]}")
    program = tmp_path_factory.mktemp("go") / "note"
    command = [go, "build", "-buildvcs=false", "-mod=readonly", "-o", str(program), "."]
    built = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr

    def run(requests: Sequence[dict[str, Any]]) -> list[Answer]:
        lines = "".join(json.dumps(request, default=encode) + "\n" for request in requests)
        done = subprocess.run([program], input=lines, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        answers: list[Answer] = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(answers) == len(requests)
        for answer in answers:
            answer["result"] = base64.b64decode(answer["result"] or "")
        return answers

    return run


def encode(value: object) -> str:
    assert isinstance(value, bytes)
    return base64.b64encode(value).decode()


def accepted(answers: Sequence[Answer]) -> list[bytes]:
    assert [answer["error"] for answer in answers if not answer["ok"]] == []
    return [answer["result"] for answer in answers]


def skey(name: str, algorithm: int, key: Ed25519Key | MLDSA44Key) -> str:
    """A private key in Go's text form."""
    key_id = VerifierKey(name, algorithm, key.public_key).key_id.hex()
    return f"PRIVATE+KEY+{name}+{key_id}+{encode(bytes([algorithm]) + key.seed)}"


def variants(data: bytes, count: int = 2500) -> list[bytes]:
    """Every truncation and many changes: bits flipped, bytes replaced by telling ones, removed, doubled."""
    source = random.Random(7)
    found = [data[:length] for length in range(len(data))]
    telling = [b"\n", b"\r", b" ", b"\0", b"+", b"=", "—".encode(), b"\xc2\xa0", b"\xff", b"\x7f", b"\n\n"]
    for _ in range(count):
        at = source.randrange(len(data))
        change = source.choice(
            [bytes([data[at] ^ 1 << source.randrange(8)]), source.choice(telling), b"", data[at : at + 1] * 2]
        )
        found.append(data[:at] + change + data[at + 1 :])
    return found


def test_x_mod_opens_our_checkpoint(ask: Ask) -> None:
    """With the log's key alone, though the note holds cosignatures; a changed text it refuses."""
    vkey = format_vkey(LOG_KEY)
    changed = SIGNED.replace(b"\n21\n", b"\n22\n")
    answers = ask([{"op": "open", "note": SIGNED, "keys": [vkey]}, {"op": "open", "note": changed, "keys": [vkey]}])
    assert accepted(answers[:1]) == [TEXT.encode()]
    assert not answers[1]["ok"]


def test_formats_verifies_both_kinds_of_cosignature(ask: Ask) -> None:
    """0x04 and 0x06 with NewVerifierForCosignatureV1, together and one by one; not over another checkpoint."""
    ed, pq = format_vkey(WITNESS_KEY), format_vkey(PQ_KEY)
    requests = [{"op": "open-cosigned", "note": SIGNED, "keys": keys} for keys in ([ed, pq], [ed], [pq])]
    assert accepted(ask(requests)) == [TEXT.encode()] * 3
    other = format_note(Note(TEXT.replace("\n21\n", "\n22\n"), LINES))
    refused = ask([{"op": "open-cosigned", "note": other, "keys": [key]} for key in (ed, pq)])
    assert [answer["ok"] for answer in refused] == [False, False]


def test_mldsa_verifies_over_the_message_of_the_specification(ask: Ask) -> None:
    """The message is written out here, not taken from the code under test; each changed field is refused."""
    signature = LINES[1].signature
    assert signature[:8] == struct.pack(">Q", NOW)

    def message(name: bytes, time: int, origin: bytes, start: int, end: int, root: bytes) -> bytes:
        head = b"subtree/v1\n\0" + bytes([len(name)]) + name + struct.pack(">Q", time)
        return head + bytes([len(origin)]) + origin + struct.pack(">QQ", start, end) + root

    name = ORIGIN.encode()
    messages = [
        message(name, NOW, name, 0, 21, HEAD.root),
        message(name + b"x", NOW, name, 0, 21, HEAD.root),
        message(name, NOW + 1, name, 0, 21, HEAD.root),
        message(name, NOW, name + b"x", 0, 21, HEAD.root),
        message(name, NOW, name, 1, 21, HEAD.root),
        message(name, NOW, name, 0, 22, HEAD.root),
        message(name, NOW, name, 0, 21, bytes(32)),
    ]
    request = {"op": "mldsa", "public_key": LOG_PQ.public_key, "signature": signature[8:]}
    assert [answer["ok"] for answer in ask([{**request, "message": m} for m in messages])] == [True] + [False] * 6


def test_we_open_what_go_signs(ask: Ask) -> None:
    """x/mod signs the very bytes that we do (Ed25519 is deterministic); formats' cosignatures verify here."""
    plain, ed, pq = accepted(
        ask(
            [
                {"op": "sign", "text": TEXT, "keys": [skey(ORIGIN, 1, LOG)]},
                {"op": "cosign", "text": TEXT, "keys": [skey(WITNESS_KEY.name, 4, WITNESS)]},
                {"op": "cosign", "text": TEXT, "keys": [skey(ORIGIN, 6, LOG_PQ)]},
            ]
        )
    )
    assert plain == format_note(Note(TEXT, LINES[:1]))
    assert open_checkpoint(plain, LOG_KEY)[0] == HEAD
    for data, key in ((ed, WITNESS_KEY), (pq, PQ_KEY)):
        (line,) = parse_note(data).signatures
        assert verify_cosignature(HEAD, key, line) > NOW - 10**9


def read(data: bytes) -> tuple[Note | None, str]:
    """The note, or None and why it is none."""
    try:
        return parse_note(data), ""
    except MalformedNote as error:
        return None, error.detail


def test_whatever_we_read_go_reads_the_same(ask: Ask) -> None:
    """Over thousands of damaged notes: what we accept Go accepts with the same text, and what Go accepts we accept but
    for base64 that is not canonical (bits behind the last byte, which Go ignores).
    """
    data = format_note(Note("a\n\nb\n", (SignatureLine("x", b"abcd", b"12345"), sign_note("a\n\nb\n", "ü", LOG))))
    cases = [
        *variants(data),
        b"\n\n" + data.split(b"\n\n")[-1],
        *(f"text\n\n— n{chr(c)}m AAAAAAA=\n".encode() for c in [*range(0x80, 0x3100), 0xFEFF, 0x1F600]),
        *("text\n\n— n AAAAAAA=\n".encode() * count for count in (1, 2)),
        b"text\n\n" + "— n AAAAAAA=\n".encode() * 64,
        "text\n\n— n AAAAAAB=\n".encode(),
    ]
    only_go = 0
    for case, answer in zip(cases, ask([{"op": "parse", "note": case} for case in cases]), strict=True):
        note, reason = read(case)
        if note is None:
            assert not answer["ok"] or "not canonical base64" in reason, case
            only_go += answer["ok"]
            continue
        assert answer["ok"], (case, answer["error"])
        assert answer["result"] == note.text.encode()
    assert only_go > 0


def test_whatever_checkpoint_we_read_go_reads_the_same(ask: Ask) -> None:
    """Damaged heads: formats and torchwood read every one that we do, to the same three lines."""
    texts = [case.decode() for case in variants(TEXT.encode(), 1500) if is_text(case)]
    for text, answer in zip(texts, ask([{"op": "checkpoint", "text": text} for text in texts]), strict=True):
        try:
            head = parse_checkpoint(text)
        except MalformedNote:
            continue
        assert answer["ok"], (text, answer["error"])
        assert answer["result"].decode() == format_checkpoint(head)


def is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


# Torchwood ------------------------------------------------------------------------------------------------------

POLICY_TEXT = (
    f"# witnessed by one of two\nlog {format_vkey(LOG_KEY)}\nwitness w {format_vkey(WITNESS_KEY)} https://w.example/\n"
    f"witness v {format_vkey(VerifierKey('v', 4, LOG.public_key))}\ngroup\tg  any w v\nquorum g\n"
)
POLICY = parse_policy(POLICY_TEXT)
LEVELS = tree_levels(LEAVES)
NODES = {(level, index): node for level, nodes in enumerate(LEVELS) for index, node in enumerate(nodes)}


def proof_of(index: int, extra: bytes | None = None) -> TlogProof:
    return TlogProof(index, tuple(build(plan_inclusion(index, len(LEAVES)), NODES)), SIGNED, extra)


def request_for(data: bytes, index: int, policy: str | bytes = POLICY_TEXT) -> dict[str, Any]:
    encoded = policy.encode() if isinstance(policy, str) else policy
    return {"op": "verify-proof", "policy": encoded, "proof": data, "leaf": LEAVES[index]}


def test_torchwood_verifies_our_proofs(ask: Ask) -> None:
    """Every leaf, with and without extra data, under the policy as written and as we format it; not another's leaf."""
    requests = [request_for(format_tlog_proof(proof_of(k, extra)), k) for k in range(21) for extra in (None, b"extra")]
    requests += [request_for(format_tlog_proof(proof_of(k)), k, format_policy(POLICY)) for k in range(21)]
    accepted(ask(requests))
    others = [request_for(format_tlog_proof(proof_of(k)), (k + 1) % 21) for k in range(21)]
    assert not any(answer["ok"] for answer in ask(others))


def test_torchwood_writes_the_same_bytes(ask: Ask) -> None:
    """FormatProof and FormatProofWithExtraData on our hashes give our file."""
    proofs = [proof_of(k, extra) for k in (0, 7, 20) for extra in (None, b"extra")]
    requests = [
        {"op": "format-proof", "index": p.index, "hashes": p.proof, "note": p.checkpoint, "extra": p.extra}
        for p in proofs
    ]
    written = accepted(ask(requests))
    assert written == [format_tlog_proof(p) for p in proofs]
    assert [parse_tlog_proof(data) for data in written] == proofs


def test_a_changed_proof_is_refused_by_both(ask: Ask) -> None:
    """What we accept of thousands of damaged files torchwood accepts; none that it refuses gets past us."""
    data = format_tlog_proof(proof_of(13))
    cases = variants(data[: data.rindex("—".encode())], 1200)
    tail = data[data.rindex("—".encode()) :]
    cases = [case + tail for case in cases]
    refused = 0
    for case, answer in zip(cases, ask([request_for(case, 13) for case in cases]), strict=True):
        try:
            verify_tlog_proof(LEAVES[13], parse_tlog_proof(case), POLICY, now_s=NOW)
        except LedgerError:
            refused += not answer["ok"]
            continue
        assert answer["ok"], (case, answer["error"])
    assert refused > 500


def test_policies_are_judged_alike(ask: Ask) -> None:
    """Quorums met and not met, one log; and a policy that misses its witness's key is refused by both."""
    w, v = format_vkey(WITNESS_KEY), format_vkey(VerifierKey("v", 4, LOG.public_key))
    log = f"log {format_vkey(LOG_KEY)}\n"
    policies = {
        log + "quorum none\n": True,
        log + f"witness w {w}\nquorum w\n": True,
        log + f"witness v {v}\nquorum v\n": False,
        log + f"witness w {w}\nwitness v {v}\ngroup g all w v\nquorum g\n": False,
        log + f"witness w {w}\nwitness v {v}\ngroup g 1 w v\nquorum g\n": True,
        log + f"witness w {w}\nwitness v {v}\ngroup g 2 w v\nquorum g\n": False,
        log + f"witness w {w}\nwitness v {v}\ngroup g any w v\ngroup h all g\nquorum h\n": True,
        log + f"witness w {w}\ngroup g 2 w\nquorum g\n": False,
        log + f"witness w {w}\ngroup g any x\nquorum g\n": False,
        log + f"witness w {w}\nwitness w {v}\nquorum w\n": False,
        log + f"witness w {w}\n": False,
        f"log {format_vkey(VerifierKey('example.com/other', 1, LOG.public_key))}\nquorum none\n": False,
    }
    data = format_tlog_proof(proof_of(5))
    answers = ask([request_for(data, 5, text) for text in policies])
    assert [answer["ok"] for answer in answers] == list(policies.values())
    for text, expected in policies.items():
        try:
            verify_tlog_proof(LEAVES[5], parse_tlog_proof(data), parse_policy(text), now_s=NOW)
        except LedgerError:
            assert not expected, text
        else:
            assert expected, text
    with pytest.raises(MalformedPolicy):
        parse_policy(log + f"witness w {w}\n")


def test_our_lines_are_what_the_witness_protocol_returns() -> None:
    """A line is one line, em dash first, so that a response can be joined to a checkpoint."""
    for line in LINES:
        assert format_line(line).startswith("— ")
        assert "\n" not in format_line(line)
    assert (TEXT + "\n" + "".join(format_line(line) + "\n" for line in LINES)).encode() == SIGNED
