"""The running service against the Go programs of others, unchanged: checkers, clients, verifiers, witnesses.

Tessera's fsck recomputes a log of more than 100,000 entries; torchwood's client reads it whole; transparency-dev/merkle
verifies our proofs against roots that it computes itself; litewitness and omniwitness cosign our heads as the log
grows, and torchwood accepts a `.tlog-proof` of the real command under those cosignatures. Programs come from
tests/interop/programs.py, witnesses from tests/interop/witness.py, our own Go program is tests/interop/go/log.
"""

from __future__ import annotations

import base64
import json
import random
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ledger.checkpoint import Checkpoint, format_checkpoint
from ledger.errors import LedgerError, QuorumNotMet
from ledger.keyfile import load_log_key
from ledger.merkle import leaf_hash, tree_hash
from ledger.note import Note, VerifierKey, format_note, format_vkey, sign_note
from ledger.policy import parse_policy
from ledger.signing import Ed25519Key
from ledger.tlogproof import TlogProof, format_tlog_proof, parse_tlog_proof, verify_tlog_proof
from tests.interop.live import ORIGIN, LiveLedger
from tests.interop.programs import BUILD_S, FSCK, build, install
from tests.interop.witness import Witness, known_size, litewitness, omniwitness

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3 * BUILD_S)]

SOURCE = Path(__file__).parent / "go" / "log"
TILE = 256
LEAST_SIZE = 100_000
STRANGER = Ed25519Key.from_seed(b"\x07" * 32)

Answer = dict[str, Any]
Ask = Callable[[Sequence[dict[str, Any]]], list[Answer]]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Our Go program, built; called with requests it gives as many answers, in one process."""
    program = build(SOURCE, tmp_path_factory.mktemp("go") / "log")

    def run(requests: Sequence[dict[str, Any]]) -> list[Answer]:
        lines = "".join(json.dumps(request, default=_encode) + "\n" for request in requests)
        done = subprocess.run([program], input=lines, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        answers: list[Answer] = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(answers) == len(requests)
        for answer in answers:
            answer["root"] = base64.b64decode(answer["root"] or "")
            answer["hashes"] = base64.b64decode(answer["hashes"] or "")
        return answers

    return run


def _encode(value: object) -> str:
    assert isinstance(value, bytes)
    return base64.b64encode(value).decode()


@pytest.fixture(scope="module")
def fsck() -> Path:
    return install(FSCK)


@pytest.fixture(scope="module")
def ledger() -> Iterator[LiveLedger]:
    """A service with more than 100,000 entries and a partial bundle at the end."""
    with LiveLedger() as live:
        for count in (1, 300, 25_000, 25_000, 25_000, 24_700):
            live.grow(count)
        live.revoke(1000)
        while live.head()[0].size % TILE < 2:
            live.grow(1)
        yield live


@pytest.fixture(scope="module")
def trust(ledger: LiveLedger, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The policy file that `badge-ledger policy init` writes for this ledger."""
    folder = tmp_path_factory.mktemp("trust")
    ledger.command("policy", "init", ledger.url, "--out", "trust.policy", cwd=folder)
    return (folder / "trust.policy").read_bytes()


@pytest.fixture(scope="module")
def lite(ledger: LiveLedger) -> Iterator[Witness]:
    with litewitness(ledger.keys[0]) as witness:
        yield witness


@pytest.fixture(scope="module")
def omni(ledger: LiveLedger) -> Iterator[Witness]:
    with omniwitness(ledger.keys[0], ledger.url) as witness:
        yield witness


@pytest.fixture(params=["lite", "omni"])
def witness(request: pytest.FixtureRequest) -> Witness:
    """Each of the two, as the tests before left it."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Witness)
    return found


# Tessera --------------------------------------------------------------------------------------------------------------


def run_fsck(program: Path, url: str, vkey: VerifierKey, folder: Path) -> str:
    """Its standard error. Its exit status says nothing, and it may hang on a damaged log."""
    (folder / "log.vkey").write_text(format_vkey(vkey))
    command: list[str | Path] = [program, "-ui=false", "-v=1", "-N", "1"]
    command += ["-storage_url", f"{url}/", "-public_key", "log.vkey"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60).stderr


def test_fsck_recomputes_the_log(fsck: Path, ledger: LiveLedger, tmp_path: Path) -> None:
    """Every bundle and every hash tile, the partial ones at the end included, lead to the root that we signed."""
    head, _ = ledger.head()
    assert head.size >= LEAST_SIZE
    assert head.size % TILE
    said = run_fsck(fsck, ledger.url, ledger.keys[0], tmp_path)
    root = base64.b64encode(head.root).decode()
    assert f"Successfully fsck'd log with size {head.size} and root {root} ({head.root.hex()})" in said
    assert "fsck failed" not in said


def test_fsck_recomputes_a_mirror(fsck: Path, ledger: LiveLedger, trust: bytes, tmp_path: Path) -> None:
    """The folder that `badge-ledger mirror` keeps, read as files, as any web server would hand them out. It is audited
    from the folder, and the log from its URL goes on from there: both are one log."""
    (tmp_path / "trust.policy").write_bytes(trust)
    ledger.command("mirror", ledger.url, "copy", "--policy", "trust.policy", cwd=tmp_path)
    head, _ = ledger.head()
    said = run_fsck(fsck, f"file://{tmp_path}/copy", ledger.keys[0], tmp_path)
    assert f"Successfully fsck'd log with size {head.size}" in said
    audit = ("audit", "--policy", "trust.policy", "--no-fetch-documents")
    audited = json.loads(ledger.command(*audit, "copy", "--json", cwd=tmp_path))
    assert (audited["size"], audited["root"], audited["new_entries"]) == (head.size, head.root.hex(), head.size)
    ledger.grow(300)
    audited = json.loads(ledger.command(*audit, ledger.url, "copy", "--json", cwd=tmp_path))
    assert 300 < audited["new_entries"] < 310
    assert not audited["alarms"]
    ledger.command("mirror", ledger.url, "copy", "--policy", "trust.policy", cwd=tmp_path)
    said = run_fsck(fsck, f"file://{tmp_path}/copy", ledger.keys[0], tmp_path)
    assert f"Successfully fsck'd log with size {audited['size']}" in said


def test_fsck_refuses_a_head_by_another_key(fsck: Path, ledger: LiveLedger, tmp_path: Path) -> None:
    """So that its success above means something."""
    said = run_fsck(fsck, ledger.url, VerifierKey(ORIGIN, 1, STRANGER.public_key), tmp_path)
    assert "Successfully" not in said
    assert "fsck failed: failed to fetch and verify checkpoint" in said


# Clients and proofs ---------------------------------------------------------------------------------------------------


def entries_request(ledger: LiveLedger, policy: bytes, index: Sequence[int] = (), note: bytes = b"") -> dict[str, Any]:
    """Read the log under its checkpoint, or under the given one."""
    return {"op": "entries", "url": ledger.url, "policy": policy, "index": list(index), "note": note}


def test_torchwood_reads_the_whole_log(ask: Ask, ledger: LiveLedger, trust: bytes) -> None:
    """Under the policy file of our own command: as many entries as the checkpoint says, every submitted event where the
    answer to its submission put it, and some entries singly, with proofs that torchwood builds from our tiles.
    """
    head, _ = ledger.head()
    single = [0, 1, TILE - 1, TILE, TILE * TILE - 1, TILE * TILE, head.size // TILE * TILE, head.size - 1]
    (answer,) = ask([entries_request(ledger, trust, single)])
    assert answer["ok"], answer["error"]
    assert (answer["size"], answer["root"], answer["verified"]) == (head.size, head.root, len(single))
    hashes = [answer["hashes"][at : at + 32] for at in range(0, len(answer["hashes"]), 32)]
    assert len(hashes) == head.size
    assert tree_hash(hashes) == head.root
    assert len(ledger.leaves) > LEAST_SIZE
    assert [index for index, leaf in ledger.leaves.items() if hashes[index] != leaf] == []


def test_torchwood_reads_under_an_older_head(ask: Ask, ledger: LiveLedger, trust: bytes) -> None:
    """Partial tiles and bundles of a head stay when the log grows past them, within a tile and over its end."""
    head, note = ledger.head()
    for count in (1, 2 * TILE):
        ledger.grow(count)
        (answer,) = ask([entries_request(ledger, trust, [head.size - 1], note)])
        assert answer["ok"], answer["error"]
        assert (answer["size"], answer["root"], len(answer["hashes"])) == (head.size, head.root, 32 * head.size)


def test_torchwood_refuses_a_head_by_another_key(ask: Ask, ledger: LiveLedger) -> None:
    stranger = format_vkey(VerifierKey(ORIGIN, 1, STRANGER.public_key))
    (answer,) = ask([entries_request(ledger, f"log {stranger}\nquorum none\n".encode())])
    assert not answer["ok"]
    assert not answer["hashes"]


def sizes_up_to(size: int, source: random.Random) -> list[int]:
    """Tree sizes where proofs change shape, and some at random."""
    powers = [1 << k for k in range(size.bit_length())]
    found = {*range(1, 20), size, size - 1, size - size % TILE, 3 * TILE, 5 * TILE + 1, TILE * TILE + TILE}
    found |= {power + step for power in powers for step in (-1, 0, 1)}
    found |= {source.randrange(1, size) for _ in range(30)}
    return sorted(k for k in found if 0 < k <= size)


def test_merkle_verifies_our_proofs(ask: Ask, ledger: LiveLedger, trust: bytes) -> None:
    """Inclusion in and consistency between many published tree sizes, against roots that transparency-dev/merkle folds
    from the leaves that torchwood read; each proof is refused with any hash changed, with one missing or too many.
    """
    source = random.Random(11)
    head, _ = ledger.head()
    sizes = sizes_up_to(head.size, source)
    inclusion = {(index, size) for size in range(1, 14) for index in range(size)}
    for size in sizes:
        edge = 1 << (size - 1).bit_length() >> 1
        picked = {0, size - 1, size // 2, edge, max(edge - 1, 0), source.randrange(size), source.randrange(size)}
        inclusion |= {(index, size) for index in picked if index < size}
    pairs = [(first, second) for first in sizes for second in sizes if first <= second]
    consistency = {*source.sample(pairs, 700), *((first, head.size) for first in sizes)}
    answers = ask(
        [
            entries_request(ledger, trust),
            {"op": "inclusion", "url": ledger.url, "pairs": sorted(inclusion)},
            {"op": "consistency", "url": ledger.url, "pairs": sorted(consistency)},
        ]
    )
    assert [answer["error"] for answer in answers if not answer["ok"]] == []
    assert [answer["verified"] for answer in answers[1:]] == [len(inclusion), len(consistency)]
    assert len(inclusion) > 500
    assert len(consistency) > 700


def fetch_proof(ledger: LiveLedger, index: int, folder: Path) -> bytes:
    """A `.tlog-proof` as the command writes it for the badge that was issued at a log index."""
    commitment = ledger.commitments[index].hex()
    ledger.command(
        "receipt", commitment, "--tlog-proof", "--url", ledger.url, "--out", f"{index}.tlog-proof", cwd=folder
    )
    return (folder / f"{index}.tlog-proof").read_bytes()


def test_a_proof_by_our_command_verifies(ask: Ask, ledger: LiveLedger, trust: bytes, tmp_path: Path) -> None:
    """`badge-ledger receipt --tlog-proof`: torchwood accepts it under the policy file of our command, and formats reads
    it, writes the same bytes again, and with merkle verifies it; neither does so for another leaf or a changed file.
    """
    issued = sorted(ledger.commitments)
    head, _ = ledger.head()
    for index in (issued[0], issued[len(issued) // 2], issued[-1]):
        data, leaf = fetch_proof(ledger, index, tmp_path), ledger.leaves[index]
        proof = parse_tlog_proof(data)
        first = bytearray(proof.proof[0])
        first[5] ^= 8
        changed = {
            "a hash": format_tlog_proof(TlogProof(index, (bytes(first), *proof.proof[1:]), proof.checkpoint)),
            "no last hash": format_tlog_proof(TlogProof(index, proof.proof[:-1], proof.checkpoint)),
            "the index": format_tlog_proof(TlogProof(index ^ 1, proof.proof, proof.checkpoint)),
            "the size": data.replace(f"\n{head.size}\n".encode(), f"\n{head.size + 1}\n".encode()),
        }
        assert len({data, *changed.values()}) == 5
        requests: list[dict[str, Any]] = []
        for candidate, of in [(data, leaf), (data, leaf_hash(b"another")), *((c, leaf) for c in changed.values())]:
            requests.append({"op": "torchwood-proof", "policy": trust, "proof": candidate, "leaf": of})
            requests.append({"op": "formats-proof", "key": format_vkey(ledger.keys[0]), "proof": candidate, "leaf": of})
        answers = ask(requests)
        torchwood, formats = answers[::2], answers[1::2]
        assert [answer["ok"] for answer in torchwood] == [True] + [False] * 5, torchwood
        assert [answer["ok"] for answer in formats] == [True] + [False] * 5, formats
        assert (formats[0]["index"], formats[0]["size"], formats[0]["root"]) == (index, head.size, head.root)


# Witnesses ------------------------------------------------------------------------------------------------------------


def cosign(witness: Witness, ledger: LiveLedger) -> tuple[Checkpoint, bytes, bytes]:
    """The newest head, its note with our own signatures alone, and the witness's verified lines about it."""
    head, note = ledger.head()
    before = int(time.time())
    answer = witness.cosign(head.size, note, lambda old: ledger.consistency(old, head.size))
    for timestamp_s in witness.verify(head, note, answer).values():
        assert before <= timestamp_s <= time.time()
    return head, note, answer.body


def test_a_witness_cosigns_as_the_log_grows(witness: Witness, ledger: LiveLedger) -> None:
    """The first head of 100,000 entries, heads after one badge, hundreds and thousands more, and one head twice; all
    its keys cosign (litewitness's Ed25519, omniwitness's Ed25519 and ML-DSA-44), and each line verifies here.
    """
    assert [key.algorithm for key in witness.keys] == ([4] if witness.name == "litewitness" else [4, 6])
    last, note, _ = cosign(witness, ledger)
    for count in (1, 1, 300, 3000):
        ledger.grow(count)
        head, note, _ = cosign(witness, ledger)
        assert head.size > last.size + count
        last = head
    witness.verify(last, note, witness.add_checkpoint(last.size, (), note))


def test_a_witness_refuses_what_it_should(witness: Witness, ledger: LiveLedger) -> None:
    """So that its cosignature means something: a size it did not see last, a wrong or missing consistency proof, a fork
    by the log's own key, a head by a stranger, another log's head. Afterwards it still cosigns ours.
    """
    seen, _, _ = cosign(witness, ledger)
    ledger.grow(2)
    head, note = ledger.head()
    older = seen.size - 1
    assert known_size(witness.add_checkpoint(older, ledger.consistency(older, head.size), note)) == seen.size
    proof = ledger.consistency(seen.size, head.size)
    name, log_key = load_log_key(ledger.log_key_file)
    fork = Checkpoint(name, head.size, bytes(32))
    unknown = Checkpoint("ledger.example/unknown", head.size, head.root)
    assert witness.add_checkpoint(seen.size, [bytes(32), *proof[1:]], note).status == 422
    assert witness.add_checkpoint(seen.size, (), note).status == 422
    assert witness.add_checkpoint(seen.size, proof, signed(fork, log_key)).status == 422
    # The specification says 403 and 404. This omniwitness has both answers, but its verifier gives no error that leads
    # to the first, and its database none that leads to the second.
    by_stranger, of_unknown = (403, 404) if witness.name == "litewitness" else (500, 500)
    assert witness.add_checkpoint(seen.size, proof, signed(head, STRANGER)).status == by_stranger
    assert witness.add_checkpoint(0, (), signed(unknown, STRANGER)).status == of_unknown
    witness.verify(head, note, witness.add_checkpoint(seen.size, proof, note))


def signed(checkpoint: Checkpoint, key: Ed25519Key) -> bytes:
    text = format_checkpoint(checkpoint)
    return format_note(Note(text, (sign_note(text, checkpoint.origin, key),)))


def test_a_cosigned_proof_verifies_offline(
    ask: Ask, ledger: LiveLedger, lite: Witness, omni: Witness, tmp_path: Path
) -> None:
    """A proof by our command with both witnesses' lines joined to its checkpoint: torchwood and we accept it where both
    Ed25519 cosigners are demanded, we where log and witness must hold against a quantum computer, and nobody without.
    """
    index = max(ledger.commitments)
    head, _, by_lite = cosign(lite, ledger)
    again, _, by_omni = cosign(omni, ledger)
    plain = fetch_proof(ledger, index, tmp_path)
    assert again == head
    joined = plain + by_lite + by_omni
    vkeys = [format_vkey(key) for key in (*lite.keys, *omni.keys)]
    log, log_pq = map(format_vkey, ledger.keys)
    both = f"log {log}\nwitness l {vkeys[0]}\nwitness o {vkeys[1]}\ngroup both all l o\nquorum both\n".encode()
    quantum = f"log {log_pq}\nwitness o {vkeys[2]}\nquorum o\n".encode()
    leaf = ledger.leaves[index]
    candidates = [joined, plain, plain + by_lite, plain + by_omni]
    answers = ask([{"op": "torchwood-proof", "policy": both, "proof": data, "leaf": leaf} for data in candidates])
    assert [answer["ok"] for answer in answers] == [True, False, False, False], answers
    now_s = int(time.time())
    for policy in (both, quantum):
        parsed = parse_policy(policy)
        verify_tlog_proof(leaf, parse_tlog_proof(joined), parsed, now_s=now_s, max_age_s=60)
        with pytest.raises(QuorumNotMet):
            verify_tlog_proof(leaf, parse_tlog_proof(plain), parsed, now_s=now_s)
    assert parse_policy(quantum).is_post_quantum()
    damaged = joined.replace(by_lite[-20:-10], b"AAAAAAAAAA")
    with pytest.raises(LedgerError):
        verify_tlog_proof(leaf, parse_tlog_proof(damaged), parse_policy(both), now_s=now_s)
