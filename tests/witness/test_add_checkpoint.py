"""add-checkpoint: every status of c2sp.org/tlog-witness, and what the cosignatures say."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from ledger.checkpoint import Checkpoint
from ledger.cosignature import cosign, ed25519_message, verify_cosignature
from ledger.errors import InputError, LedgerError, OperationError, ProofInvalid, Unavailable
from ledger.keyfile import LOG_ED25519, WITNESS_ED25519, PrivateKey
from ledger.merkle import EMPTY_ROOT
from ledger.note import Note, SignatureLine, VerifierKey, format_note, parse_note, sign_note
from ledger.signing import Ed25519Key, verify_ed25519
from ledger.tlogwitness import (
    MAX_REQUEST_BYTES,
    SIZE_TYPE,
    TEXT_TYPE,
    AddCheckpoint,
    checkpoint_path,
    format_add_checkpoint,
    parse_cosignatures,
)
from ledger.witness import Answer, Witness, WitnessedLog, WitnessState
from tests.fakes import FakeClock
from tests.witness.conftest import MakeWitness
from tests.witness.logs import ED_KEY, NAME, NOW_S, PQ_KEY, Log, seed

ED, PQ = ED_KEY.verifier_key(), PQ_KEY.verifier_key()


def times(answer: Answer, head: Checkpoint, *keys: VerifierKey) -> list[int]:
    """The timestamps in an answer of 200, one line by each key, each verified."""
    assert (answer.status, answer.type) == (200, TEXT_TYPE), answer
    lines = parse_cosignatures(answer.body)
    assert len(lines) == len(keys)
    return [verify_cosignature(head, key, line) for key, line in zip(keys, lines, strict=True)]


def size_of(answer: Answer) -> int:
    """The size in an answer of 409."""
    assert (answer.status, answer.type) == (409, SIZE_TYPE), answer
    return int(answer.body)


async def test_a_growing_log_is_cosigned(witness: Witness, log: Log, clock: FakeClock) -> None:
    """From nothing, in steps of every width, with both keys, each time with the present time."""
    old = 0
    for size in (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 64):
        clock.wall_ms += 1000
        clock.passed_s += 1
        answer = await witness.add_checkpoint(log.submission(old, size))
        assert times(answer, log.head(size), ED, PQ) == [clock.wall_ms // 1000] * 2
        old = size


async def test_every_pair_of_sizes_up_to_20(make: MakeWitness) -> None:
    """The first head of any size needs no proof; any later one exactly the proof from there."""
    logs = {(old, size): Log(f"log/{old}/{size}", size=20) for size in range(21) for old in range(size + 1)}
    witness = make(*(log.listed() for log in logs.values()), keys=(ED_KEY,))
    for (old, size), log in logs.items():
        times(await witness.add_checkpoint(log.submission(0, old)), log.head(old), ED)
        times(await witness.add_checkpoint(log.submission(old, size)), log.head(size), ED)


@pytest.mark.parametrize("keys", [(ED_KEY,), (PQ_KEY,), (PQ_KEY, ED_KEY)], ids=["ed25519", "ml-dsa-44", "both"])
async def test_one_key_or_both(make: MakeWitness, log: Log, keys: tuple[PrivateKey, ...]) -> None:
    """A line by each, in their order."""
    answer = await make(log.listed(), keys=keys).add_checkpoint(log.submission(0, 7))
    assert times(answer, log.head(7), *(key.verifier_key() for key in keys)) == [NOW_S] * len(keys)


# 400 -----------------------------------------------------------------------------------------------------------------

A_HASH = b"A" * 43 + b"="


def malformed(log: Log) -> dict[str, bytes]:
    """Bodies that break the form, each in one way."""
    good = log.submission(0, 5)
    note = log.note(5)
    signature = note.split(b"\n\n")[1]

    def of_text(text: str) -> bytes:
        return b"old 0\n\n" + format_note(Note(text, (sign_note(text, log.name, log.key),)))

    lines = log.text(5).split("\n")
    return {
        "empty": b"",
        "no note": b"old 0\n\n",
        "no empty line": b"old 0\n" + note,
        "no old line": b"\n" + note,
        "old with a sign": b"old +0\n\n" + note,
        "old with a leading zero": b"old 00\n\n" + note,
        "old without a number": b"old \n\n" + note,
        "carriage returns": good.replace(b"\n", b"\r\n"),
        "64 proof lines": b"old 0\n" + (A_HASH + b"\n") * 64 + b"\n" + note,
        "a short hash": b"old 1\nAAAA\n\n" + note,
        "base64 that is not canonical": b"old 1\n" + b"A" * 42 + b"B=\n\n" + note,
        "no final newline": good[:-1],
        "not UTF-8": good.replace(b"log.example", b"log.\xffxample"),
        "a control character": good.replace(b"log.example", b"log.\x01xample"),
        "no signature": b"old 0\n\n" + log.text(5).encode(),
        "65 signatures": good + (b"\xe2\x80\x94 x AAAAAAA=\n") * 64,
        "a signature of no base64": good + "— x !!!!\n".encode(),
        "two lines": of_text("\n".join([*lines[:2], ""])),
        "a size with a leading zero": of_text(f"{lines[0]}\n05\n{lines[2]}\n"),
        "a negative size": of_text(f"{lines[0]}\n-5\n{lines[2]}\n"),
        "a size of 2^63": of_text(f"{lines[0]}\n{2**63}\n{lines[2]}\n"),
        "a root of 31 bytes": of_text(f"{lines[0]}\n5\nAAAA{lines[2][5:-1]}==\n"),
        "an empty origin": of_text(f"\n5\n{lines[2]}\n"),
        "an empty extension line": b"old 0\n\n" + log.text(5).encode() + b"\nx\n\n" + signature,
        "the old size above the checkpoint's": b"old 6\n\n" + note,
    }


@pytest.mark.parametrize("what", malformed(Log()))
async def test_a_body_that_cannot_be_read_is_400(witness: Witness, log: Log, what: str) -> None:
    """One sentence, and nothing is remembered."""
    answer = await witness.add_checkpoint(malformed(log)[what])
    assert answer.status == 400, answer
    assert answer.body.count(b"\n") == 1
    assert answer.body.endswith(b"\n")
    assert witness.state.heads == {}


async def test_a_body_of_more_than_64_kib_is_413(witness: Witness, log: Log) -> None:
    """By its length, before anything of it is read."""
    assert (await witness.add_checkpoint(b"x" * (MAX_REQUEST_BYTES + 1))).status == 413


# 404, 403 ------------------------------------------------------------------------------------------------------------


async def test_an_unknown_origin_is_404(witness: Witness, log: Log) -> None:
    """Signed by a key of a known log or not."""
    other = Log("other.example/1", name=log.name)
    assert (await witness.add_checkpoint(other.submission(0, 5))).status == 404
    assert (await witness.add_checkpoint(Log("other.example/2").submission(0, 5))).status == 404


async def test_without_a_signature_of_the_log_it_is_403(make: MakeWitness, log: Log) -> None:
    """By another key of the same name, by the right key under another name, by another log."""
    witness = make(log.listed())
    stranger = Ed25519Key.from_seed(seed("stranger"))
    text = log.text(5)
    for line in (sign_note(text, log.name, stranger), sign_note(text, "log.example/2", log.key)):
        note = format_note(Note(text, (line,)))
        answer = await witness.add_checkpoint(format_add_checkpoint(AddCheckpoint(0, (), note)))
        assert answer.status == 403, answer


async def test_a_line_of_a_known_key_that_does_not_verify_is_403(make: MakeWitness, log: Log) -> None:
    """Also beside one that does: the note is malformed then, as signed-note has it."""
    witness = make(log.listed(*log.keys))
    good = sign_note(log.text(5), log.name, log.key)
    bad = sign_note(log.text(6), log.name, log.key)
    bad_pq = cosign(log.head(6), log.name, log.pq_key, NOW_S)
    short = SignatureLine(log.name, good.key_id, b"x")
    for lines in ((bad,), (good, bad), (bad, good), (good, bad_pq), (good, short)):
        note = format_note(Note(log.text(5), lines))
        assert (await witness.add_checkpoint(format_add_checkpoint(AddCheckpoint(0, (), note)))).status == 403
    assert witness.state.heads == {}


async def test_lines_by_unknown_keys_are_ignored(witness: Witness, log: Log) -> None:
    """Even if they share name or id with a known key, but not both; 63 of them; and they are not served on."""
    key_id = log.keys[0].key_id
    others = [SignatureLine(log.name, b"abcd", b"x"), SignatureLine("somebody", key_id, b"y")]
    others += [SignatureLine(f"other{k}", b"abcd", b"z" * 20) for k in range(61)]
    note = log.note(5, *others)
    answer = await witness.add_checkpoint(format_add_checkpoint(AddCheckpoint(0, (), note)))
    assert times(answer, log.head(5), ED, PQ)
    assert [line.name for line in parse_note(witness.checkpoint(log.origin)).signatures] == [log.name, NAME, NAME]


# 409 -----------------------------------------------------------------------------------------------------------------


async def test_another_old_size_is_409_with_the_size(witness: Witness, log: Log) -> None:
    """Below, above, and the zero of a client that does not know."""
    assert size_of(await witness.add_checkpoint(log.submission(3, 5))) == 0
    await witness.add_checkpoint(log.submission(0, 5))
    for old, size in ((0, 9), (4, 9), (6, 9), (0, 5), (0, 3), (3, 4), (8, 8)):
        assert size_of(await witness.add_checkpoint(log.submission(old, size))) == 5
    assert (await witness.add_checkpoint(log.submission(5, 9))).status == 200
    assert (await witness.add_checkpoint(log.submission(5, 9))).body == b"9\n"


async def test_signature_before_size(witness: Witness, log: Log) -> None:
    """Who cannot show a head of the log learns nothing about it."""
    await witness.add_checkpoint(log.submission(0, 5))
    forged = Log(log.origin, name="stranger").submission(3, 9)
    assert (await witness.add_checkpoint(forged)).status == 403


# 422 -----------------------------------------------------------------------------------------------------------------


async def test_a_proof_that_does_not_hold_is_422(witness: Witness, log: Log) -> None:
    """Changed in any hash, too short, too long, in another order, for other sizes."""
    await witness.add_checkpoint(log.submission(0, 13))
    proof = log.consistency(13, 21)
    wrong = [(*proof[:k], bytes(32), *proof[k + 1 :]) for k in range(len(proof))]
    wrong += [proof[:-1], proof[1:], (*proof, bytes(32)), proof[::-1], (), log.consistency(12, 21)]
    for hashes in wrong:
        answer = await witness.add_checkpoint(format_add_checkpoint(AddCheckpoint(13, hashes, log.note(21))))
        assert answer.status == 422, answer
    assert witness.state.heads[log.origin].size == 13
    assert (await witness.add_checkpoint(log.submission(13, 21))).status == 200


async def test_a_proof_from_nothing_is_empty(witness: Witness, log: Log) -> None:
    """One hash is too many, for the first head of any size and of size 0."""
    for size in (0, 1, 5):
        body = format_add_checkpoint(AddCheckpoint(0, (bytes(32),), log.note(size)))
        assert (await witness.add_checkpoint(body)).status == 422


async def test_another_root_under_the_same_size_is_422(make: MakeWitness, log: Log) -> None:
    """Both heads go into the log of the witness, once: they convict the log."""
    witness = make(log.listed())
    fork = Log(size=9, branch="other", fork=4)
    await witness.add_checkpoint(log.submission(0, 9))
    with capture_logs() as events:
        for _ in range(3):
            assert (await witness.add_checkpoint(fork.submission(9, 9))).status == 422
        # Even where its sender pretends not to know the size.
        assert size_of(await witness.add_checkpoint(fork.submission(0, 9))) == 9
    (event,) = [event for event in events if event["event"] == "cosigner.contradiction"]
    assert event["cosigned"].startswith(log.text(9))
    assert event["submitted"].startswith(fork.text(9))
    assert witness.contradictions == 1
    assert (await witness.add_checkpoint(log.submission(9, 9))).status == 200


async def test_the_empty_tree_has_its_root(witness: Witness, log: Log) -> None:
    """A head of size 0 with another root is 422; with the right one it is cosigned, and served."""
    text = log.text(0).replace(log.text(0).split("\n")[2], "A" * 43 + "=")
    note = format_note(Note(text, (sign_note(text, log.name, log.key),)))
    assert (await witness.add_checkpoint(b"old 0\n\n" + note)).status == 422
    assert log.head(0).root == EMPTY_ROOT
    assert times(await witness.add_checkpoint(log.submission(0, 0)), log.head(0), ED, PQ)
    assert witness.checkpoint(log.origin).startswith(log.text(0).encode())
    assert (await witness.add_checkpoint(b"old 0\n\n" + note)).status == 422
    assert times(await witness.add_checkpoint(log.submission(0, 4)), log.head(4), ED, PQ)


async def test_a_fork_behind_the_head_is_422(make: MakeWitness, log: Log) -> None:
    """Every proof that the lying log can make, wherever it forked before the witness's head."""
    for fork in range(8):
        witness = make(log.listed(), state=f"{fork}.db", keys=(ED_KEY,))
        await witness.add_checkpoint(log.submission(0, 8))
        liar = Log(branch="other", fork=fork)
        for size in range(8, 20):
            assert (await witness.add_checkpoint(liar.submission(8, size))).status == 422
        assert (await witness.add_checkpoint(log.submission(8, 20))).status == 200


# What is said, and when ----------------------------------------------------------------------------------------------


async def test_the_same_head_again_has_a_fresh_time(witness: Witness, log: Log, clock: FakeClock) -> None:
    """In the next second; in the same one it gets the same lines. What is served follows."""
    first = await witness.add_checkpoint(log.submission(0, 5))
    assert await witness.add_checkpoint(log.submission(5, 5)) == first
    clock.wall_ms += 1000
    clock.passed_s += 1
    again = await witness.add_checkpoint(log.submission(5, 5))
    assert times(again, log.head(5), ED, PQ) == [NOW_S + 1] * 2
    assert witness.checkpoint(log.origin).endswith(again.body)
    proof = format_add_checkpoint(AddCheckpoint(5, log.consistency(3, 5), log.note(5)))
    assert (await witness.add_checkpoint(proof)).status == 422


async def test_times_never_go_back(make: MakeWitness, log: Log, clock: FakeClock) -> None:
    """Not in one process, and not in the next one: the newest time is part of the state."""
    witness = make(log.listed())
    await witness.add_checkpoint(log.submission(0, 5))
    clock.wall_ms -= 2000
    for body in (log.submission(5, 6), log.submission(5, 5)):
        answer = await witness.add_checkpoint(body)
        assert (answer.status, answer.retry_after_s) == (503, 2)
    await witness.close()
    witness = make(log.listed())
    assert (await witness.add_checkpoint(log.submission(5, 6))).status == 503
    clock.wall_ms += 2000
    assert times(await witness.add_checkpoint(log.submission(5, 6)), log.head(6), ED, PQ) == [NOW_S] * 2


@pytest.mark.parametrize("jump_s", [-6, 6, 86_400])
async def test_a_clock_that_jumped_signs_nothing(witness: Witness, log: Log, clock: FakeClock, jump_s: int) -> None:
    """Forward too: a time from the future would bar the log until then."""
    clock.wall_ms += jump_s * 1000
    assert (await witness.add_checkpoint(log.submission(0, 5))).status == 503
    assert witness.state.heads == {}
    clock.wall_ms -= jump_s * 1000
    assert (await witness.add_checkpoint(log.submission(0, 5))).status == 200


async def test_a_clock_that_is_not_set_signs_nothing(make: MakeWitness, log: Log, clock: FakeClock) -> None:
    """The timestamp of a cosignature must not be zero."""
    clock.wall_ms = 999
    assert (await make(log.listed()).add_checkpoint(log.submission(0, 5))).status == 503


# Any log -------------------------------------------------------------------------------------------------------------


async def test_a_log_whose_key_has_another_name(make: MakeWitness) -> None:
    """The origin is the log's name; its key may be called anything, and the origin may hold spaces."""
    log = Log("go.sum database tree", name="sum.example")
    answer = await make(log.listed()).add_checkpoint(log.submission(0, 5))
    assert times(answer, log.head(5), ED, PQ)


async def test_a_log_that_signs_with_mldsa44_only(make: MakeWitness) -> None:
    """As tlog-checkpoint recommends to logs."""
    log = Log()
    witness = make(log.listed(log.keys[1]))
    note = format_note(Note(log.text(5), (cosign(log.head(5), log.name, log.pq_key, NOW_S - 10),)))
    answer = await witness.add_checkpoint(b"old 0\n\n" + note)
    assert times(answer, log.head(5), ED, PQ)
    assert parse_note(witness.checkpoint(log.origin)).signatures[0].name == log.name


async def test_a_log_that_signs_as_an_ed25519_cosigner(make: MakeWitness) -> None:
    """Algorithm 4, over the text with its extension lines."""
    log = Log(extensions=["an extension"])
    key = VerifierKey(log.name, 4, log.key.public_key)
    witness = make(log.listed(key))
    signed = (NOW_S).to_bytes(8, "big") + log.key.sign(ed25519_message(NOW_S, log.text(5)))
    for signature, status in ((signed, 200), (signed[:-1], 403), (signed[:-1] + b"x", 403)):
        note = format_note(Note(log.text(5), (SignatureLine(log.name, key.key_id, signature),)))
        assert (await witness.add_checkpoint(b"old 0\n\n" + note)).status == status


async def test_a_log_with_two_keys(make: MakeWitness) -> None:
    """Either is enough; what verified is served on."""
    log = Log()
    witness = make(log.listed(*log.keys))
    await witness.add_checkpoint(log.submission(0, 5))
    assert len(parse_note(witness.checkpoint(log.origin)).signatures) == 3
    await witness.add_checkpoint(log.submission(5, 6, pq=True))
    assert len(parse_note(witness.checkpoint(log.origin)).signatures) == 4


async def test_extension_lines_are_cosigned_with_the_text(make: MakeWitness) -> None:
    """By Ed25519, which signs the text; ML-DSA-44 does not. The same head with other lines is fine."""
    log = Log(extensions=["first", "— looks like a signature"])
    witness = make(log.listed())
    answer = await witness.add_checkpoint(log.submission(0, 5))
    ed, pq = parse_cosignatures(answer.body)
    verify_ed25519(ED.public_key, ed25519_message(NOW_S, log.text(5)), ed.signature[8:])
    assert verify_cosignature(log.head(5), PQ, pq) == NOW_S
    log.extensions = ["others"]
    ed, _ = parse_cosignatures((await witness.add_checkpoint(log.submission(5, 5))).body)
    verify_ed25519(ED.public_key, ed25519_message(NOW_S, log.text(5)), ed.signature[8:])
    assert witness.checkpoint(log.origin).startswith(log.text(5).encode())


async def test_logs_do_not_mix(make: MakeWitness) -> None:
    """Two logs with one key under two origins: each has its own history."""
    one, two = Log("a.example", name="key.example"), Log("b.example", name="key.example", branch="b")
    witness = make(one.listed(), two.listed())
    assert (await witness.add_checkpoint(one.submission(0, 9))).status == 200
    assert (await witness.add_checkpoint(two.submission(0, 5))).status == 200
    assert size_of(await witness.add_checkpoint(two.submission(9, 9))) == 5


# Concurrency, approval, bounds ---------------------------------------------------------------------------------------


async def test_of_many_histories_at_once_one_is_cosigned(make: MakeWitness, log: Log) -> None:
    """A lying log signs twenty different heads of one size and sends them all at once, again and again."""
    witness = make(log.listed(), keys=(ED_KEY,))
    await witness.add_checkpoint(log.submission(0, 4))
    liars = [Log(branch=f"branch {k}", fork=4) for k in range(20)]
    bodies = [liar.submission(4, 9) for liar in liars] + [liar.submission(4, 11) for liar in liars]
    answers = await asyncio.gather(*map(witness.add_checkpoint, bodies))
    assert [answer.status for answer in answers].count(200) == 1
    assert {answer.status for answer in answers} <= {200, 409, 503}
    assert {size_of(a) for a in answers if a.status == 409} == {witness.state.heads[log.origin].size}


async def test_the_race_of_the_specification(make: MakeWitness, log: Log) -> None:
    """A with size N is judged, B with N + K is cosigned, A must not be: the size would be rolled back."""
    held, reached = asyncio.Event(), asyncio.Event()

    async def approve(checkpoint: Checkpoint, note: bytes) -> None:
        if checkpoint.size == 9:
            reached.set()
            await held.wait()

    witness = make(log.listed(), approve=approve)
    await witness.add_checkpoint(log.submission(0, 5))
    first = asyncio.create_task(witness.add_checkpoint(log.submission(5, 9)))
    await reached.wait()
    assert (await witness.add_checkpoint(log.submission(5, 20))).status == 200
    held.set()
    assert size_of(await first) == 20
    assert witness.state.heads[log.origin].size == 20


async def test_nothing_is_signed_without_approval(make: MakeWitness, log: Log) -> None:
    """The hook sees checkpoint and note; what it raises is the answer; it is asked for the same head again too."""
    asked: list[Any] = []
    refusal: list[LedgerError] = [Unavailable("not yet", retry_after_s=7), ProofInvalid("it lies")]

    async def approve(checkpoint: Checkpoint, note: bytes) -> None:
        asked.append((checkpoint, note))
        if refusal:
            raise refusal.pop(0)

    witness = make(log.listed(), approve=approve)
    answers = [await witness.add_checkpoint(log.submission(0, 5)) for _ in range(3)]
    assert [answer.status for answer in answers] == [503, 422, 200]
    assert (answers[0].body, answers[0].retry_after_s) == (b"not yet\n", 7)
    await witness.add_checkpoint(log.submission(5, 5))
    assert asked == [(log.head(5), log.note(5))] * 4
    # Neither what is refused anyway.
    await witness.add_checkpoint(log.submission(3, 9))
    assert len(asked) == 4


async def test_a_caller_that_goes_away_changes_nothing(make: MakeWitness, log: Log) -> None:
    """Cancelled at any moment, the next request finds a state that is durable, and is answered."""
    witness = make(log.listed(), keys=(ED_KEY,))
    size = 0
    for steps in range(12):
        task = asyncio.create_task(witness.add_checkpoint(log.submission(size, size + 1)))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        answer = await witness.add_checkpoint(log.submission(size, size + 2))
        size = size_of(answer) if answer.status == 409 else size + 2
        assert witness.state.heads[log.origin].size == size


async def test_too_many_requests_of_one_log_wait_for_nobody(make: MakeWitness, log: Log) -> None:
    """Thirty-two wait for approval; further ones are told to come again; other logs are served."""
    held = asyncio.Event()

    async def approve(checkpoint: Checkpoint, note: bytes) -> None:
        if checkpoint.origin == log.origin:
            await held.wait()

    other = Log("other.example")
    witness = make(log.listed(), other.listed(), approve=approve)
    waiting = [asyncio.create_task(witness.add_checkpoint(log.submission(0, 5))) for _ in range(32)]
    await asyncio.sleep(0)
    assert (await witness.add_checkpoint(log.submission(0, 5))).status == 503
    assert (await witness.add_checkpoint(other.submission(0, 5))).status == 200
    held.set()
    # The first makes the head; the others wanted to start from nothing.
    assert sorted(answer.status for answer in await asyncio.gather(*waiting)) == [200] + [409] * 31


async def test_new_heads_are_bounded_and_repetitions_are_not(make: MakeWitness, clock: FakeClock) -> None:
    """240 a day are 10 at once; the next after six minutes. Anybody can repeat a head, so that uses up nothing."""
    log = Log(qpd=240)
    witness = make(log.listed(), keys=(ED_KEY,))
    for size in range(1, 11):
        assert (await witness.add_checkpoint(log.submission(size - 1, size))).status == 200
        assert (await witness.add_checkpoint(log.submission(size, size))).status == 200
    refused = await witness.add_checkpoint(log.submission(10, 11))
    assert (refused.status, refused.retry_after_s) == (503, 361)
    assert (await witness.add_checkpoint(log.submission(10, 10))).status == 200
    clock.wall_ms += 361_000
    clock.passed_s += 361
    assert (await witness.add_checkpoint(log.submission(10, 11))).status == 200
    assert (await witness.add_checkpoint(log.submission(11, 12))).status == 503


# Configuration -------------------------------------------------------------------------------------------------------


async def test_what_is_no_witness_is_refused(make: MakeWitness, log: Log, tmp_path: Path) -> None:
    """No key, a key of another kind, one key twice, a log with the witness's own key, an origin too long to sign."""
    state = WitnessState.open(tmp_path / "x.db", create=True)
    clock = FakeClock(NOW_S * 1000)
    logs = {log.origin: log.listed()}
    own = WitnessedLog("own.example", (VerifierKey("own.example", 1, ED.public_key),), 1)
    long = Log("x" * 256, name="x")
    for keys, listed in (
        ((), logs),
        ((PrivateKey(LOG_ED25519, seed("x"), name="x"),), logs),
        ((ED_KEY, ED_KEY), logs),
        ((ED_KEY,), {"own.example": own}),
        ((PQ_KEY,), {long.origin: long.listed()}),
    ):
        with pytest.raises(InputError):
            Witness(keys, listed, state, clock)
    Witness((ED_KEY,), {long.origin: long.listed()}, state, clock)
    await state.close()


async def test_a_state_that_fails_answers_500_and_signs_nothing(make: MakeWitness, log: Log) -> None:
    """The caller gets no cosignature, and the next one is judged by what is durable."""
    witness = make(log.listed(), keys=(ED_KEY,))
    await witness.add_checkpoint(log.submission(0, 3))
    before = dict(witness.state.heads)
    real = witness.state._commit
    failing = True

    def commit(group: Any) -> None:
        if failing:
            raise OperationError("the disk is full")
        real(group)

    witness.state._commit = commit  # type: ignore[method-assign]
    answer = await witness.add_checkpoint(log.submission(3, 5))
    assert (answer.status, b"disk" in answer.body) == (500, True)
    assert witness.state.heads == before
    failing = False
    assert (await witness.add_checkpoint(log.submission(3, 4))).status == 200


async def test_the_monitoring_address_is_the_hash_of_the_origin(log: Log) -> None:
    """SHA-256, hexadecimal, lowercase."""
    assert checkpoint_path("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855/checkpoint"


def test_a_witness_key_is_of_its_own_kind() -> None:
    """So that a log's key is never used by mistake."""
    assert ED_KEY.kind == WITNESS_ED25519
    assert (ED.algorithm, PQ.algorithm) == (4, 6)
