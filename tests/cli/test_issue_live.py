"""`issue` of a whole class against a real service: ten thousand badges, and the ledger's own receipts beside them."""

from __future__ import annotations

import json
import random
import secrets
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from ledger.badges import read
from ledger.cli.files import is_for, read_receipt
from ledger.entry import did_key
from ledger.keyfile import save_issuer_key, save_salt_key
from ledger.note import parse_vkey
from ledger.policy import NONE, LogRule, Policy
from ledger.receipt import with_salt
from ledger.receipt_json import format_json, load
from ledger.verify import verify_receipt
from ops.bench.issuing import make_badges
from ops.bench.service import Service
from tests.samples import BadgeIssuer

COUNT = 10_000
#: What the run may take of memory, in the largest of its processes.
MAX_RSS_MIB = 300
START = """
import resource, sys
from ledger.cli import main
try:
    main()
finally:
    # Not RUSAGE_SELF: until the exec this process was a copy of the test's, whose size that would tell.
    own = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
    used = [int(own.split()[1]), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]
    print("largest", max(used), file=sys.stderr)
"""


@pytest.mark.slow
def test_ten_thousand_badges(tmp_path: Path) -> None:
    """All of them once, in bounded memory; receipts as the service would answer them, which verify; nothing twice."""
    with Service() as service:
        key = tmp_path / "issuer.key"
        save_issuer_key(key, service.key, issuer=did_key(service.key.public_key), key_index=service.key_index)
        save_salt_key(tmp_path / "issuer.key.salt", secrets.token_bytes(32))
        make_badges(tmp_path / "badges", BadgeIssuer(service.key.seed), COUNT)
        largest: list[int] = []
        url = f"http://127.0.0.1:{service.port}/"

        def issue() -> dict[str, Any]:
            arguments = ["issue", str(tmp_path / "badges"), "--out", str(tmp_path / "out"), "--key", str(key)]
            command = [sys.executable, "-c", START, *arguments, "--url", url, "--batch", "3000", "--json"]
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240)
            largest.append(int(done.stderr.rpartition("largest ")[2]))
            answer: dict[str, Any] = json.loads(done.stdout)
            return answer

        answer = issue()
        assert answer["totals"] == {"issued": COUNT, "present": 0, "failed": 0, "open": 0}
        assert 0 < largest[0] < MAX_RSS_MIB * 1024
        assert len({row["slot"] for row in answer["badges"]}) == COUNT
        assert len({row["index"] for row in answer["badges"]}) == COUNT
        info = service.get("/v1/log")
        keys = [vkey for vkey in map(parse_vkey, info["verifier_keys"]) if vkey.name == info["origin"]]
        policy = Policy(tuple(map(LogRule, keys)), {}, {}, NONE)
        compared = 0
        for row in random.Random(1).sample(answer["badges"], 200):
            receipt = read_receipt(Path(row["receipt"]))
            assert is_for(receipt, read(Path(row["badge"]).read_bytes()))
            proven = verify_receipt(receipt, policy=policy, now_s=receipt.status_root_entry().time // 1000)
            assert (proven.state, receipt.index, proven.issue.slot) == ("active", row["index"], row["slot"])
            with urllib.request.urlopen(f"{url}v1/receipts/{receipt.index}?profile=full&signatures=all") as body:  # noqa: S310 - loopback
                theirs = load(body.read())
            if theirs.tree_size == receipt.tree_size:
                compared += 1
                assert Path(row["receipt"]).read_bytes() == format_json(with_salt(theirs, receipt.salt))
        # Receipts are written as submissions come in, each under its own head; those under the last one compare.
        assert compared > 20
        assert issue()["totals"] == {"issued": 0, "present": COUNT, "failed": 0, "open": 0}
