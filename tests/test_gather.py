"""The gatherer against witnesses of every kind: what counts, who is waited for, what proves that a log lost its tail.

Time stands still but where a test turns it. Witnesses are tests/fake_witness.py's: an honest one checks each request as
the specification says, so whatever it cosigned was asked for rightly.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Iterator

import pytest
from structlog.testing import capture_logs

from ledger.checkpoint import Checkpoint
from ledger.errors import ForkDetected, LedgerError, OperationError, QuorumNotMet, Unavailable, WitnessAhead
from ledger.gather import (
    FIRST_PAUSE_S,
    GRACE_S,
    LONGEST_PAUSE_S,
    MAX_ASKED,
    OVERDUE_ANSWERS,
    Gatherer,
    check_policy,
    make_gatherer,
)
from ledger.gather_peer import Peer, SignedHead
from ledger.merkle import build, leaf_hash, plan_consistency, tree_hash
from ledger.note import ED25519_COSIGNATURE, Note, SignatureLine, VerifierKey, format_note, format_vkey, parse_note
from ledger.policy import Policy, evaluate, parse_policy
from ledger.publisher import HeadSigner
from ledger.signing import Ed25519Key, MLDSA44Key
from ledger.tlogwitness import AddCheckpoint, format_add_checkpoint
from tests.fake_witness import FakeWitness, HandClock, Mood, Wire, seed, settle
from tests.receipt_builder import AllNodes

ORIGIN = "ledger.example/gather"
SIGNER = HeadSigner(ORIGIN, Ed25519Key.from_seed(seed("log")), MLDSA44Key.from_seed(seed("log")))
LOG_KEY = SIGNER.verifier_keys[0]
ANSWER_S = 5.0


class Log:
    """A log of leaves whose every size may be a head, and what was signed of it. As `ledger.history` says it."""

    def __init__(self, clock: HandClock) -> None:
        self._clock = clock
        self.leaves: list[bytes] = []
        self.proofs: list[tuple[int, int]] = []

    def grow(self, count: int, salt: str = "") -> SignedHead:
        start = len(self.leaves)
        self.leaves += [leaf_hash(f"{start + k}{salt}".encode()) for k in range(count)]
        return self.head()

    def head(self, size: int | None = None) -> SignedHead:
        size = len(self.leaves) if size is None else size
        root, now_s = tree_hash(self.leaves[:size]), self._clock.now_s()
        return SignedHead(Checkpoint(ORIGIN, size, root), SIGNER.sign(size, root, now_s), now_s)

    async def size(self) -> int:
        return len(self.leaves)

    async def consistency(self, first: int, second: int) -> list[bytes]:
        self.proofs.append((first, second))
        return build(plan_consistency(first, second), AllNodes(self.leaves[:second]))

    async def confront(self, checkpoint: Checkpoint, whose: str) -> None:
        if checkpoint.size > len(self.leaves):
            raise WitnessAhead(f"{whose} is ahead")
        if checkpoint.root != tree_hash(self.leaves[: checkpoint.size]):
            raise ForkDetected(f"{whose} holds another history")


class Scene:
    """A log, its witnesses w1, w2, ..., a policy over them and a gatherer that runs."""

    def __init__(self, count: int = 3, quorum: str = "2", *, pq: bool = False, shows: bool = True) -> None:
        self.clock = HandClock()
        self.log = Log(self.clock)
        self.witnesses = [
            FakeWitness(f"w{k}", LOG_KEY, self.clock.now_s, pq=pq, shows=shows) for k in range(1, count + 1)
        ]
        self.wire = Wire(*self.witnesses)
        text = "".join(f"log {format_vkey(key)}\n" for key in SIGNER.verifier_keys)
        text += "".join(witness.policy_lines(f"http://{witness.host}/") for witness in self.witnesses)
        names = " ".join(f"w{k}" for k in range(1, count + 1))
        self.policy = parse_policy(
            text + (f"group g {quorum} {names}\nquorum g\n" if quorum != "none" else "quorum none\n")
        )
        self.gatherer = self.new_gatherer()

    def new_gatherer(self) -> Gatherer:
        return make_gatherer(
            self.policy, SIGNER.verifier_keys, self.wire, self.log, self.clock, lambda: 0.5, answer_s=ANSWER_S
        )

    def moods(self, *moods: Mood) -> None:
        for witness, mood in zip(self.witnesses, moods, strict=True):
            witness.mood = mood

    def check(self, head: SignedHead, lines: tuple[SignatureLine, ...]) -> set[str]:
        """The note with these lines is what a verifier accepts now. The witnesses' names."""
        own = parse_note(head.note)
        note = Note(own.text, own.signatures + lines)
        found = evaluate(self.policy, head.checkpoint, note, now_s=self.clock.now_s(), max_age_s=600, future_s=60)
        return set(found.witnesses)


@contextlib.asynccontextmanager
async def running(scene: Scene) -> AsyncIterator[Scene]:
    task = asyncio.create_task(scene.gatherer.run())
    try:
        yield scene
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def done(work: Awaitable[tuple[SignatureLine, ...]]) -> tuple[SignatureLine, ...]:
    """The result of work that needs no time to pass."""
    task = asyncio.ensure_future(work)
    await settle()
    assert task.done(), "it waits for something"
    return await task


@contextlib.asynccontextmanager
async def gathering(scene: Scene, head: SignedHead) -> AsyncIterator[asyncio.Task[tuple[SignatureLine, ...]]]:
    """A `gather` under way, everybody having done what they can."""
    task = asyncio.create_task(scene.gatherer.gather(head))
    try:
        await settle()
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, LedgerError):
            await task


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What is logged stays in the test."""
    with capture_logs():
        yield


# Honest witnesses -----------------------------------------------------------------------------------------------------


async def test_growing_heads_are_cosigned_by_all() -> None:
    """One request for each head and witness, with the proof from the head before; only the log's own lines in it."""
    async with running(Scene(pq=True)) as scene:
        for step, count in enumerate((1, 1, 5, 300, 0, 40)):
            if not count:
                continue
            head = scene.log.grow(count)
            lines = await done(scene.gatherer.gather(head))
            assert scene.check(head, lines) == {"w1", "w1-pq", "w2", "w2-pq", "w3", "w3-pq"}
            for witness in scene.witnesses:
                assert len(witness.requests) == step + (step < 4)
                assert parse_note(witness.requests[-1].note).signatures == parse_note(head.note).signatures
        assert scene.gatherer.lacking() is None
        assert [state.size for state in scene.gatherer.states()] == [len(scene.log.leaves)] * 6


async def test_the_largest_request_fits_into_the_smallest_witness() -> None:
    """Some read 10 KiB: the longest proof and both of the log's lines under the longest origin fit."""
    origin = "o" * 255
    signer = HeadSigner(origin, Ed25519Key.from_seed(seed("log")), MLDSA44Key.from_seed(seed("log")))
    note = signer.sign(2**63 - 1, bytes(32), 2**62)
    assert len(format_add_checkpoint(AddCheckpoint(2**62, (bytes(32),) * 63, note))) <= 10 << 10


async def test_a_witness_that_knows_the_log_says_where_it_stands() -> None:
    """A new process knows nothing: 409, then the proof from there. From then on one request a head."""
    async with running(Scene()) as scene:
        await done(scene.gatherer.gather(scene.log.grow(70)))
    scene.gatherer = scene.new_gatherer()
    async with running(scene):
        head = scene.log.grow(30)
        assert len(scene.check(head, await done(scene.gatherer.gather(head)))) == 3
        assert [r.old_size for r in scene.witnesses[0].requests] == [0, 0, 70]
        await done(scene.gatherer.gather(scene.log.grow(1)))
        assert scene.witnesses[0].requests[-1].old_size == 100


async def test_a_witness_that_lost_its_state_is_followed_back() -> None:
    """A smaller size in the 409 than remembered, nothing included."""
    async with running(Scene(1, "1")) as scene:
        await done(scene.gatherer.gather(scene.log.grow(10)))
        early = scene.log.head(4)
        (witness,) = scene.witnesses
        for standing in (early.note, b""):
            if standing:
                witness.adopt(standing)
            else:
                witness.size, witness.root = 0, tree_hash([])
            head = scene.log.grow(3)
            assert scene.check(head, await done(scene.gatherer.gather(head))) == {"w1"}


async def test_the_same_head_goes_on_where_it_was() -> None:
    """Whoever asks again for a head that has its quorum gets it without a request more."""
    async with running(Scene()) as scene:
        head = scene.log.grow(5)
        first = await done(scene.gatherer.gather(head))
        asked = len(scene.wire.asked)
        assert await done(scene.gatherer.gather(head)) == first
        assert len(scene.wire.asked) == asked


async def test_without_a_quorum_the_witnesses_are_asked_and_not_needed() -> None:
    """`quorum none`: who answers is in, who does not is not waited for."""
    async with running(Scene(2, "none")) as scene:
        scene.moods("honest", "dead")
        head = scene.log.grow(5)
        assert scene.check(head, await done(scene.gatherer.gather(head))) == {"w1"}


# Witnesses that fail --------------------------------------------------------------------------------------------------

FAILING: list[Mood] = [
    "dead",
    "garbage",
    "empty",
    "huge",
    "redirect",
    "500",
    "503",
    "wrong-signature",
    "other-head",
    "other-key",
    "future",
    "past",
    "no-time",
    "lies-ahead",
    "lies-around",
    "repeats",
    "422",
]


@pytest.mark.parametrize("mood", FAILING)
async def test_one_that_fails_is_not_waited_for(mood: Mood) -> None:
    """The quorum of the others is published at once, without a line of it; its failure is told."""
    async with running(Scene()) as scene:
        await done(scene.gatherer.gather(scene.log.grow(6)))
        scene.moods("honest", mood, "honest")
        with capture_logs() as logs:
            head = scene.log.grow(6)
            lines = await done(scene.gatherer.gather(head))
        assert scene.check(head, lines) == {"w1", "w3"}
        assert not [line for line in lines if line.name == scene.witnesses[1].name]
        (event,) = [event for event in logs if event["event"] == "witness.failed"]
        assert event["witness"] == "witness w2"
        state = scene.gatherer.states()[1]
        assert (state.failures, state.size) == (1, 6)
        assert state.trouble


@pytest.mark.parametrize("mood", FAILING)
async def test_one_that_is_needed_and_fails_holds_up_and_is_named(mood: Mood) -> None:
    """Below the quorum nothing is gathered; the reason names who is missing and why; once it mends, all goes on."""
    async with running(Scene(2, "all")) as scene:
        await done(scene.gatherer.gather(scene.log.grow(6)))
        scene.moods("honest", mood)
        head = scene.log.grow(6)
        async with gathering(scene, head) as gather:
            assert not gather.done()
            lacking = scene.gatherer.lacking()
            assert isinstance(lacking, QuorumNotMet)
            trouble = scene.gatherer.states()[1].trouble
            assert lacking.detail == f"the quorum is not met: group g has 1 of 2 needed, missing w2; w2: {trouble}"
            assert lacking.members == {"missing": ["w2"]}
            assert scene.gatherer.lacking(for_s=1) is None
            scene.moods("honest", "honest")
            await scene.clock.turn(LONGEST_PAUSE_S)
            await scene.clock.turn(GRACE_S)
            assert scene.check(head, await gather) == {"w1", "w2"}
        assert scene.gatherer.lacking() is None
        assert scene.gatherer.states()[1].failures == 0


async def test_of_an_answer_with_one_bad_line_nothing_is_taken() -> None:
    """Its Ed25519 cosignature is right, its ML-DSA-44 one is not: a verifier would refuse the note."""
    async with running(Scene(2, "1", pq=True)) as scene:
        scene.moods("honest", "half-wrong")
        head = scene.log.grow(3)
        assert scene.check(head, await done(scene.gatherer.gather(head))) == {"w1", "w1-pq"}


async def test_pauses_grow_and_end() -> None:
    """From one to the next twice as long up to the longest, by chance half of it to all of it; and it is asked again
    once each."""
    async with running(Scene(1, "1")) as scene:
        scene.moods("dead")
        async with gathering(scene, scene.log.grow(1)):
            for failures in range(1, 12):
                assert len(scene.wire.asked) == failures
                await scene.clock.turn(LONGEST_PAUSE_S)
        expected = [0.75 * min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**k) for k in range(12)]
        assert scene.clock.pauses == expected
        assert max(expected) == 0.75 * LONGEST_PAUSE_S


async def test_one_that_flaps_is_told_once_a_trouble_and_cosigns() -> None:
    """Every second answer is a failure: each head gets its cosignature after a pause."""
    async with running(Scene(1, "1")) as scene:
        scene.moods("flapping")
        for _ in range(4):
            head = scene.log.grow(2)
            async with gathering(scene, head) as gather:
                assert not gather.done()
                await scene.clock.turn(FIRST_PAUSE_S)
                assert scene.check(head, await gather) == {"w1"}


async def test_a_slow_one_holds_up_nobody_and_piles_nothing_up() -> None:
    """A hundred heads go by while it thinks of the first: one request under way, and the next is the newest head."""
    async with running(Scene()) as scene:
        slow = scene.witnesses[1]
        scene.moods("honest", "slow", "honest")
        for _ in range(100):
            head = scene.log.grow(3)
            async with gathering(scene, head) as gather:
                assert not gather.done(), "a witness that is not failing is waited for, for the grace"
                await scene.clock.turn(GRACE_S)
                assert scene.check(head, await gather) == {"w1", "w3"}
        assert len(slow.requests) == 1
        assert scene.gatherer.states()[1].size == 0
        slow.wake.set()
        await settle()
        assert [parse_note(request.note).text.split("\n")[1] for request in slow.requests] == ["3", "300"]
        assert slow.most_at_once == 1
        assert scene.gatherer.states()[1].size == 300


async def test_the_grace_ends_when_everybody_has_answered() -> None:
    """Not a moment is waited if nobody is left to wait for."""
    async with running(Scene(2, "1")) as scene:
        scene.moods("honest", "slow")
        head = scene.log.grow(3)
        async with gathering(scene, head) as gather:
            assert not gather.done()
            scene.witnesses[1].wake.set()
            await settle()
            assert scene.check(head, await gather) == {"w1", "w2"}


async def test_a_store_that_fails_is_no_fault_of_the_others() -> None:
    """A proof that cannot be read is a failure like another, and tried again."""
    async with running(Scene(1, "1")) as scene:
        await done(scene.gatherer.gather(scene.log.grow(3)))
        consistency = scene.log.consistency

        async def fail(first: int, second: int) -> list[bytes]:
            raise OperationError("the database cannot be used")

        scene.log.consistency = fail  # type: ignore[method-assign]
        async with gathering(scene, scene.log.grow(3)) as gather:
            assert not gather.done()
            scene.log.consistency = consistency  # type: ignore[method-assign]
            await scene.clock.turn(FIRST_PAUSE_S)
            assert len(await gather) == 1


# A head without its quorum --------------------------------------------------------------------------------------------


async def test_a_newer_head_takes_the_place_of_an_overdue_one() -> None:
    """Whoever cosigned the old one is led from there to the new one; the old one's lines are not in the new."""
    async with running(Scene(2, "all")) as scene:
        scene.moods("honest", "dead")
        old = scene.log.grow(4)
        async with gathering(scene, old):
            assert not scene.gatherer.overdue(old)
            await scene.clock.turn(OVERDUE_ANSWERS * ANSWER_S)
            assert scene.gatherer.overdue(old)
            assert scene.gatherer.waiting_s() == OVERDUE_ANSWERS * ANSWER_S
        scene.moods("honest", "honest")
        new = scene.log.grow(5)
        assert not scene.gatherer.overdue(new)
        async with gathering(scene, new) as gather:
            await scene.clock.turn(LONGEST_PAUSE_S)
            assert scene.check(new, await gather) == {"w1", "w2"}
        assert [request.old_size for request in scene.witnesses[0].requests] == [0, 4]
        assert [request.old_size for request in scene.witnesses[1].requests[-1:]] == [0]


async def test_a_late_answer_to_an_old_head_counts_for_nothing() -> None:
    """The one that thought of the old head cosigns it when another is to be cosigned: then it is asked for that."""
    async with running(Scene(1, "1")) as scene:
        scene.moods("slow")
        old = scene.log.grow(4)
        async with gathering(scene, old):
            pass
        new = scene.log.grow(4)
        async with gathering(scene, new) as gather:
            assert not gather.done()
            scene.witnesses[0].wake.set()
            await settle()
            assert scene.check(new, await gather) == {"w1"}


async def test_a_node_that_does_not_publish_asks_nobody() -> None:
    """`rest`: nothing is sent any more, nothing is said to be missing."""
    async with running(Scene(1, "1")) as scene:
        scene.moods("dead")
        async with gathering(scene, scene.log.grow(1)):
            pass
        scene.gatherer.rest()
        asked = len(scene.wire.asked)
        for _ in range(5):
            await scene.clock.turn(LONGEST_PAUSE_S)
        assert len(scene.wire.asked) == asked
        assert scene.gatherer.lacking() is None
        assert scene.gatherer.waiting_s() == 0


# What the log has signed ----------------------------------------------------------------------------------------------


def lost_tail(scene: Scene, *, fork: bool = False) -> None:
    """The database forgets its last leaves; with `fork` it has gone on with others since."""
    del scene.log.leaves[-3:]
    if fork:
        scene.log.grow(5, "another history")


@pytest.mark.parametrize("fork", [False, True])
async def test_a_survey_finds_what_the_database_lost(fork: bool) -> None:
    """A witness shows a head under the log's signature: nothing is signed."""
    async with running(Scene()) as scene:
        await done(scene.gatherer.gather(scene.log.grow(10)))
        lost_tail(scene, fork=fork)
        scene.moods("dead", "dead", "honest")
        with pytest.raises(ForkDetected if fork else WitnessAhead):
            await scene.gatherer.survey(scene.log.head(5))


async def test_a_survey_passes_where_all_is_well() -> None:
    """Nobody knows the log, or everybody stands at a head of it, or nobody can be asked; no one is asked to cosign
    what is not published."""
    async with running(Scene()) as scene:
        await scene.gatherer.survey(None)
        head = scene.log.grow(10)
        await done(scene.gatherer.gather(head))
        scene.gatherer = scene.new_gatherer()
        requests = len(scene.witnesses[0].requests)
        await scene.gatherer.survey(head)
        assert len(scene.witnesses[0].requests) == requests
        scene.moods("dead", "dead", "dead")
        await scene.gatherer.survey(head)


@pytest.mark.parametrize("fork", [False, True])
async def test_a_contradiction_found_while_gathering_ends_it(fork: bool) -> None:
    """A witness that was not there at the start: its 409, or its refusal of our proof, makes us look at its head."""
    async with running(Scene(2, "all")) as scene:
        await done(scene.gatherer.gather(scene.log.grow(10)))
        lost_tail(scene, fork=fork)
        head = scene.log.head() if fork else scene.log.head(6)
        async with gathering(scene, head) as gather:
            assert gather.done()
            with pytest.raises(ForkDetected if fork else WitnessAhead):
                await gather
        with pytest.raises((ForkDetected, WitnessAhead)):
            await done(scene.gatherer.gather(scene.log.grow(1)))


async def test_a_size_alone_stops_nobody_but_is_not_overheard() -> None:
    """Without a monitoring endpoint: one of three claims to be ahead, and the other two are a quorum."""
    async with running(Scene(shows=False)) as scene:
        head = scene.log.grow(10)
        await done(scene.gatherer.gather(head))
        scene.moods("honest", "lies-ahead", "honest")
        await scene.gatherer.survey(head)
        assert "beyond 10" in (scene.gatherer.states()[1].trouble or "")
        head = scene.log.grow(1)
        assert scene.check(head, await done(scene.gatherer.gather(head))) == {"w1", "w3"}


async def test_nothing_is_signed_while_a_quorum_cannot_be_had_without_those_who_claim_more() -> None:
    """Guard and database were rolled back together: two of three say that they stand beyond, and show nothing."""
    async with running(Scene(shows=False)) as scene:
        await done(scene.gatherer.gather(scene.log.grow(10)))
        lost_tail(scene)
        scene.moods("honest", "honest", "dead")
        with pytest.raises(Unavailable, match="larger than this database"):
            await scene.gatherer.survey(scene.log.head(5))
        lacking = scene.gatherer.lacking()
        assert lacking is not None
        assert "it says that it stands at size 10, beyond 5" in lacking.detail
        # The tail is back: nobody claims anything any more.
        scene.log.grow(3)
        await scene.gatherer.survey(scene.log.head(5))
        assert scene.gatherer.lacking() is None


async def test_a_head_that_was_signed_and_not_published_is_no_claim() -> None:
    """Whoever gathered died in between: the witness stands beyond what is published, and within the database."""
    async with running(Scene(1, "1", shows=False)) as scene:
        published = scene.log.grow(4)
        head = scene.log.grow(4)
        await done(scene.gatherer.gather(head))
        scene.gatherer = scene.new_gatherer()
        await scene.gatherer.survey(published)
        assert scene.gatherer.lacking() is None
    async with running(scene):
        assert scene.check(head, await done(scene.gatherer.gather(head))) == {"w1"}
        assert scene.witnesses[0].requests[-1].old_size == 8


@pytest.mark.parametrize("what", ["unsigned", "by another log", "not a note", "none"])
async def test_a_head_that_the_log_did_not_sign_proves_nothing(what: str) -> None:
    """Anybody can write down a size: only the log's own signature convicts it."""
    async with running(Scene(1, "1")) as scene:
        head = scene.log.grow(10)
        (witness,) = scene.witnesses
        await done(scene.gatherer.gather(head))
        other = HeadSigner(ORIGIN, Ed25519Key.from_seed(seed("x")), MLDSA44Key.from_seed(seed("x")))
        larger = parse_note(SIGNER.sign(99, bytes(32), 0))
        shown = {
            "unsigned": format_note(Note(larger.text, parse_note(head.note).signatures)),
            "by another log": other.sign(99, bytes(32), 0),
            "not a note": b"99\n",
            "none": b"",
        }
        witness.note = shown[what]
        await scene.gatherer.survey(head)
        scene.moods("lies-ahead")
        async with gathering(scene, scene.log.grow(1)) as gather:
            assert not gather.done()
            lacking = scene.gatherer.lacking()
            assert lacking is not None
            assert "shows no head of this log to prove it" in lacking.detail


async def test_another_nodes_later_head_is_no_contradiction() -> None:
    """This node stood still with an old head while another published: the witness is ahead, within the log."""
    async with running(Scene(1, "1")) as scene:
        scene.log.grow(10)
        old = scene.log.head(6)
        scene.witnesses[0].adopt(scene.log.head(9).note)
        async with gathering(scene, old) as gather:
            assert not gather.done()
            assert scene.gatherer.states()[0].trouble == "it stands at a later head of this log, of size 9"
        new = scene.log.head()
        async with gathering(scene, new) as gather:
            await scene.clock.turn(LONGEST_PAUSE_S)
            assert len(await gather) == 1


# Policies -------------------------------------------------------------------------------------------------------------


def policy_text(log: str | None = None, witness: str = " http://w.example/", quorum: str = "w") -> Policy:
    key = VerifierKey("w.example", ED25519_COSIGNATURE, Ed25519Key.from_seed(seed("w")).public_key)
    line = f"log {format_vkey(LOG_KEY)}\n" if log is None else log
    return parse_policy(f"{line}witness w {format_vkey(key)}{witness}\nquorum {quorum}\n")


def make(policy: Policy) -> Gatherer:
    clock = HandClock()
    return make_gatherer(policy, SIGNER.verifier_keys, Wire(), Log(clock), clock, lambda: 0.0, answer_s=1)


def test_a_policy_names_this_log_and_no_key_that_is_not_its() -> None:
    """By either of its keys, or by both."""
    make(policy_text())
    make(policy_text(f"log {format_vkey(SIGNER.verifier_keys[1])}\n"))
    stranger = VerifierKey(ORIGIN, 1, Ed25519Key.from_seed(seed("x")).public_key)
    elsewhere = VerifierKey("other.example", 1, stranger.public_key)
    with pytest.raises(OperationError, match=r"a key of 'ledger.example/gather' that is not this log's"):
        make(policy_text(f"log {format_vkey(LOG_KEY)}\nlog {format_vkey(stranger)}\n"))
    for log in ("", f"log {format_vkey(elsewhere)}\n"):
        with pytest.raises(OperationError, match="does not name the log"):
            make(policy_text(log))
    make(policy_text(f"log {format_vkey(LOG_KEY)}\nlog {format_vkey(elsewhere)}\n"))


def test_the_quorum_can_be_asked() -> None:
    """A witness without a URL is nobody's to ask; one that is not needed may be without."""
    with pytest.raises(OperationError, match=r"have a URL are no quorum: .*witness w has not cosigned"):
        make(policy_text(witness=""))
    make(policy_text(witness="", quorum="none"))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://w.example/",
        "w.example",
        "http://",
        "http:///x",
        "http://w.example/?x=1",
        "http://w.example/#x",
        "http://user:word@w.example/",
        "http://[::1/",
        "http://w.example:99999/",
        "http://ẅ.example/",
    ],
)
def test_a_url_is_one(url: str) -> None:
    """http or https, a host, no query, no password."""
    with pytest.raises(OperationError, match="URL of witness w"):
        make(policy_text(witness=" " + url))


async def test_the_keys_of_one_url_are_one_witness() -> None:
    """With and without the slash at its end; one request gets both cosignatures."""
    async with running(Scene(1, "1", pq=True)) as scene:
        head = scene.log.grow(3)
        assert len(await done(scene.gatherer.gather(head))) == 2
        assert len(scene.wire.asked) == 1


async def test_a_key_that_did_not_sign_is_asked_again() -> None:
    """Of two keys behind one address one does not sign, once: its trouble is named, and the same head gets it later."""
    scene = Scene(1, "1", pq=True)
    missing = scene.witnesses[0]._signers.pop()
    async with running(scene):
        head = scene.log.grow(3)
        assert len(await done(scene.gatherer.gather(head))) == 1
        states = scene.gatherer.states()
        assert all(state.failures == 1 and "no cosignature of w1-pq" in (state.trouble or "") for state in states)
        scene.witnesses[0]._signers.append(missing)
        await scene.clock.turn(20)
        assert len(await done(scene.gatherer.gather(head))) == 2
        assert len(scene.wire.asked) == 2


def test_what_does_not_fit_into_a_receipt_is_not_gathered() -> None:
    """By the number of lines, and by their bytes."""

    def policy(count: int, *, pq: bool) -> Policy:
        lines = [f"log {format_vkey(LOG_KEY)}\n"]
        for k in range(count):
            fake = FakeWitness(f"w{k}", LOG_KEY, lambda: 0, pq=pq)
            lines.append(f"witness w{k} {format_vkey(fake.keys[-1])} http://{fake.host}/\n")
        return parse_policy("".join(lines) + "quorum none\n")

    check_policy(policy(MAX_ASKED, pq=False), SIGNER.verifier_keys)
    check_policy(policy(16, pq=True), SIGNER.verifier_keys)
    for count, pq in ((MAX_ASKED + 1, False), (17, True)):
        with pytest.raises(OperationError, match="a receipt has room for"):
            check_policy(policy(count, pq=pq), SIGNER.verifier_keys)


def test_a_peer_asks_below_its_prefix() -> None:
    """A prefix with a path keeps it."""
    peer = Peer("http://w.example/a/b", {}, LOG_KEY, Wire(), Log(HandClock()), lambda: 0)
    assert peer._submission == "http://w.example/a/b/add-checkpoint"
    assert peer._monitoring.startswith("http://w.example/a/b/")
