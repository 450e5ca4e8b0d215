"""The verifier in JavaScript (tests/interop/js), which shares nothing with this code but docs/protocol.md.

That it holds every test vector says that the text is enough to write a verifier from. That it judges changed receipts
as this code does says that both read the text alike. Needs Node.js 20, nothing else.
"""

from __future__ import annotations

import base64
import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ledger import receipt_json
from ledger.errors import LedgerError
from ledger.policy import parse_policy
from ledger.verify import verify_receipt
from tests.interop.programs import absent

SOURCE = Path(__file__).parent / "js"
VECTORS = Path(__file__).parent.parent / "vectors"
MUTANTS = 2_000
NODE_MAJOR = 20
INSERTED = (b"0", b"-", b".0", b"e0", b" ", b"\n", b"null", b'"', b",", b"\xc2\xa0")

Case = dict[str, Any]


@pytest.fixture(scope="module")
def node() -> str:
    """The command node, version 20 or later."""
    found = shutil.which("node")
    if found is None:
        absent("Node.js is not installed: the command node is not in PATH")
    version = subprocess.check_output([found, "--version"], text=True, timeout=60).strip()
    if int(version.removeprefix("v").partition(".")[0]) < NODE_MAJOR:
        absent(f"Node.js {version} is too old: version {NODE_MAJOR} or later is needed")
    return found


def run(node: str, script: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [node, str(SOURCE / script), *arguments], input=stdin, capture_output=True, text=True, check=False, timeout=300
    )


def test_every_vector_holds(node: str) -> None:
    """For an implementation that shares nothing with this one but the text."""
    done = run(node, "vectors.mjs", str(VECTORS))
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-2_000:]
    assert done.stdout == f"{len(list(VECTORS.glob('*.json')))} vectors, 0 failed\n"


def mutated(receipt: bytes, rng: random.Random) -> bytes:
    """The receipt with one small change: a bit, a byte, some bytes left out, copied or put in."""
    position = rng.randrange(len(receipt))
    before, after = receipt[:position], receipt[position:]
    match rng.randrange(6):
        case 0:
            return before + bytes([after[0] ^ 1 << rng.randrange(8)]) + after[1:]
        case 1:
            return before + rng.randbytes(1) + after[1:]
        case 2:
            return before + after[rng.randrange(1, 40) :]
        case 3:
            start = rng.randrange(len(receipt))
            return before + receipt[start : start + rng.randrange(1, 40)] + after
        case 4:
            return before + bytes(min(len(after), rng.randrange(1, 40))) + after[rng.randrange(1, 40) :]
        case _:
            return before + rng.choice(INSERTED) + after


def cases() -> list[Case]:
    """The receipts of the vectors in both forms, and changed ones."""
    inputs = []
    for path in sorted(VECTORS.glob("receipt-*.json")):
        vector = json.loads(path.read_bytes())
        if "packed" not in vector:
            continue
        entry = receipt_json.load(base64.b64decode(vector["packed"])).issue
        for receipt in (base64.b64decode(vector["packed"]), vector["json"].encode()):
            inputs.append((vector, entry, receipt))
    rng = random.Random(20)
    changed = [(vector, entry, mutated(receipt, rng)) for vector, entry, receipt in rng.choices(inputs, k=MUTANTS)]
    return [
        {
            "receipt": base64.b64encode(receipt).decode(),
            "policy": vector["policy"],
            "now_s": vector["now_s"],
            "max_age_s": vector["max_age_s"],
            "commitment": entry[42:].hex(),
            "issuer": entry[2:34].hex(),
        }
        for vector, entry, receipt in inputs + changed
    ]


def judge(case: Case) -> str:
    """How this code's verification ends, in the words of judge.mjs."""
    step = 1
    try:
        receipt = receipt_json.load(base64.b64decode(case["receipt"]))
        proven = verify_receipt(
            receipt,
            policy=parse_policy(case["policy"]),
            now_s=case["now_s"],
            max_age_s=case["max_age_s"],
            commitment=bytes.fromhex(case["commitment"]),
            issuer=bytes.fromhex(case["issuer"]),
        )
    except LedgerError as error:
        step = error.members.get("step", step)
        return f"{error.slug} {step} {error.members.get('rule', '')}".rstrip()
    return f"ok {proven.head_time_s} {proven.state}"


def test_changed_receipts_are_judged_alike(node: str) -> None:
    """Accepted by both, or refused by both in the same step for the same reason."""
    given = cases()
    done = run(node, "judge.mjs", stdin="".join(json.dumps(case) + "\n" for case in given))
    assert done.returncode == 0, done.stderr[-2_000:]
    theirs, ours = done.stdout.splitlines(), [judge(case) for case in given]
    assert len(theirs) == len(ours)
    assert [(case["receipt"], a, b) for case, a, b in zip(given, ours, theirs, strict=True) if a != b] == []
    accepted = sum(verdict.startswith("ok ") for verdict in ours[-MUTANTS:])
    assert accepted < MUTANTS / 20
    assert len({verdict for verdict in ours if not verdict.startswith("ok ")}) > 5
