"""Cosignatures for the heads of this log: from all witnesses of a policy at once, until its quorum holds.

    publisher   gather(head)  ──►  round: the head, and who has cosigned it  ◄──  one worker for each witness

- A worker has one request under way. When it is answered, the worker takes the newest head: what came in between is
  never sent. So a slow witness piles nothing up, and holds up nobody.
- A failure makes its worker pause, longer each time and by chance a little shorter; it never gives up. The others go
  on.
- `gather` returns once the quorum holds and, for GRACE_S at the most, the other witnesses that are not failing have
  answered too: policies of verifiers may ask for more than the ledger's own.
- A head without a quorum stays the head to be cosigned until the publisher comes with another one. It may do so once
  the head is `overdue`: after so long, every witness that answers within its time has had the chance to.
- Before anything is signed by whoever becomes the publisher, `survey` asks the witnesses where they stand.

What this module does not do: talk to a witness (`ledger.gather_peer`), sign, or decide what a contradiction stops
(`ledger.publisher`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec
import structlog

from ledger.clock import Clock
from ledger.errors import (
    ForkDetected,
    LedgerError,
    OperationError,
    QuorumNotMet,
    Unavailable,
    WitnessAhead,
)
from ledger.gather_peer import Claim, Cosignature, Exchange, Peer, SignedHead, Stored
from ledger.note import ED25519, MLDSA44_COSIGNATURE, SignatureLine, VerifierKey
from ledger.policy import Policy, display_name

#: Seconds that a head whose quorum holds waits for the other witnesses that are not failing.
GRACE_S: Final = 0.25
#: A head is overdue after this many times the time that a witness may take for one answer: one that was under way for
#: the head before, and three rounds of `Peer.submit`.
OVERDUE_ANSWERS: Final = 4
FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 15.0
#: All cosignatures go into every receipt, which has at most 64 signature lines and 65,536 bytes.
MAX_ASKED: Final = 60
MAX_ASKED_BYTES: Final = 40_000
#: Witnesses whose troubles a sentence names.
MAX_NAMED: Final = 8

_LINE_BYTES = {MLDSA44_COSIGNATURE: 2_432}


class WitnessState(msgspec.Struct, frozen=True):
    """One witness of the policy, by its displayable name.

    `size`: of the newest head that it cosigned for this process, 0 for none. `failures`: in a row, 0 if the last answer
    was a cosignature; `trouble`: the last one's sentence.
    """

    name: str
    size: int
    failures: int
    trouble: str | None


class _Round:
    """One head on its way to a quorum. `done`: the workers (by number) that need not be asked any more."""

    def __init__(self, head: SignedHead, since: float) -> None:
        self.head = head
        self.since = since
        self.cosigned: dict[str, Cosignature] = {}
        self.done: set[int] = set()
        self.met = asyncio.Event()
        self.complete = asyncio.Event()


class _Worker:
    """One witness's state. Owned by its task; read by everybody."""

    def __init__(self, number: int, peer: Peer) -> None:
        self.number = number
        self.peer = peer
        #: One request at a time, a survey's or the task's own.
        self.asking = asyncio.Lock()
        self.cosigned_size = 0
        self.failures = 0
        self.trouble: str | None = None


class Gatherer:
    """The witnesses of one policy. `run` has to run for `gather` to end, and one publisher at a time gathers."""

    def __init__(
        self,
        policy: Policy,
        peers: Sequence[Peer],
        clock: Clock,
        random: Callable[[], float],
        *,
        answer_s: float,
        grace_s: float = GRACE_S,
    ) -> None:
        """`random` gives numbers from 0 to 1. `answer_s`: seconds that a witness may take for one answer."""
        self._policy = policy
        self._workers = [_Worker(number, peer) for number, peer in enumerate(peers)]
        self._clock = clock
        self._random = random
        self._overdue_s = OVERDUE_ANSWERS * answer_s
        self._grace_s = grace_s
        self._round: _Round | None = None
        self._news = asyncio.Event()
        self._contradiction: WitnessAhead | ForkDetected | None = None
        self._blocked: QuorumNotMet | None = None
        self._log = structlog.get_logger("witness")

    # -- for the publisher ----------------------------------------------------------------------------------------

    async def survey(self, published: SignedHead | None) -> None:
        """Ask all witnesses where they stand, before anything is signed. Bounded by the time of two answers or so.

        Raises WitnessAhead or ForkDetected on proof that this log signed what the database does not hold. Raises
        Unavailable if so many witnesses claim to stand beyond the database, without proof, that the others are no
        quorum: a head of ours could not be published, and may be the second of its size.
        """
        self.rest()
        found = await asyncio.gather(*(self._survey(w, published) for w in self._workers), return_exceptions=True)
        errors = [error for error in found if isinstance(error, BaseException) and not isinstance(error, Claim)]
        for error in errors:
            raise error
        beyond = {w.number: claim for w, claim in zip(self._workers, found, strict=True) if isinstance(claim, Claim)}
        if not beyond:
            return
        for number, claim in beyond.items():
            self._fail(self._workers[number], claim)
        claiming = {name for number in beyond for name in self._workers[number].peer.keys}
        try:
            self._policy.check_quorum(self._policy.witnesses.keys() - claiming)
        except QuorumNotMet as error:
            self._blocked = error
            raise Unavailable(
                "witnesses say that this log is larger than this database, and show no head to prove it; nothing is "
                f"signed without them: {self._sentence(error)}"
            ) from error

    async def gather(self, head: SignedHead) -> tuple[SignatureLine, ...]:
        """Cosignatures of this head that are a quorum, in the policy's order. The same head again goes on where it was.

        Raises WitnessAhead or ForkDetected as `survey` does.
        """
        if self._contradiction is not None:
            raise self._contradiction
        round_ = self._round
        if round_ is None or round_.head.checkpoint != head.checkpoint:
            round_ = self._round = _Round(head, self._clock.monotonic())
            self._settle(round_)
            news, self._news = self._news, asyncio.Event()
            news.set()
        await round_.met.wait()
        await self._grace(round_)
        if self._contradiction is not None:
            raise self._contradiction
        return tuple(round_.cosigned[name].line for name in self._policy.witnesses if name in round_.cosigned)

    def overdue(self, head: SignedHead) -> bool:
        """Whether this head has waited for its quorum so long that a newer one may take its place."""
        round_ = self._round
        return (
            round_ is not None
            and round_.head.checkpoint == head.checkpoint
            and self._clock.monotonic() - round_.since >= self._overdue_s
        )

    def rest(self) -> None:
        """This node does not publish (any more): nothing is to be cosigned."""
        self._round = None
        self._blocked = None

    # -- for whoever asks how it goes -----------------------------------------------------------------------------

    @property
    def blocked(self) -> bool:
        """Whether the last survey left too few witnesses for a quorum."""
        return self._blocked is not None

    def lacking(self, *, for_s: float = 0.0) -> QuorumNotMet | None:
        """What the newest head has lacked for `for_s` seconds, and what troubles whom; None if nothing."""
        if self._blocked is not None:
            return QuorumNotMet(self._sentence(self._blocked), **self._blocked.members)
        if self._round is None or self._round.met.is_set() or self.waiting_s() < for_s:
            return None
        try:
            self._policy.check_quorum(self._round.cosigned)
        except QuorumNotMet as error:
            return QuorumNotMet(self._sentence(error), **error.members)
        return None

    @property
    def size(self) -> int:
        """Of the newest head that is to be cosigned; 0 where this node does not publish."""
        return self._round.head.checkpoint.size if self._round is not None else 0

    def waiting_s(self) -> float:
        """For how long the newest head has waited for its quorum; 0 once it holds."""
        if self._round is None or self._round.met.is_set():
            return 0.0
        return self._clock.monotonic() - self._round.since

    def states(self) -> list[WitnessState]:
        """Every witness that is asked."""
        return [
            WitnessState(display_name(name), worker.cosigned_size, worker.failures, worker.trouble)
            for worker in self._workers
            for name in worker.peer.keys
        ]

    # -- the workers ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work for ever."""
        async with asyncio.TaskGroup() as group:
            for worker in self._workers:
                group.create_task(self._serve(worker))

    async def _serve(self, worker: _Worker) -> None:
        while True:
            round_ = await self._newest(worker)
            try:
                async with worker.asking:
                    cosigned = await worker.peer.submit(round_.head)
            except (WitnessAhead, ForkDetected) as error:
                self._fail(worker, error)
                self._contradict(error)
                return
            except LedgerError as error:
                self._fail(worker, error)
                self._settle(round_)
                await self._clock.sleep(self._pause_s(worker.failures))
            else:
                round_.cosigned |= cosigned
                worker.cosigned_size = max(round_.head.checkpoint.size, worker.cosigned_size)
                if lacking := [name for name in worker.peer.keys if name not in round_.cosigned]:
                    # One of several keys behind one address did not sign, this time: it may the next.
                    names = ", ".join(map(display_name, lacking))
                    self._fail(worker, Unavailable(f"its answer has no cosignature of {names}"))
                    self._settle(round_)
                    await self._clock.sleep(self._pause_s(worker.failures))
                    continue
                self._succeed(worker)
                round_.done.add(worker.number)
                self._settle(round_)

    async def _survey(self, worker: _Worker, published: SignedHead | None) -> Claim | None:
        async with worker.asking:
            return await worker.peer.survey(published)

    async def _newest(self, worker: _Worker) -> _Round:
        """The newest head, once there is one that this witness has not cosigned."""
        while True:
            round_ = self._round
            if round_ is not None and worker.number not in round_.done:
                return round_
            await self._news.wait()

    def _settle(self, round_: _Round) -> None:
        """Somebody answered, or failed: is the quorum there, is anybody worth waiting for?"""
        if round_ is not self._round:
            return
        try:
            self._policy.check_quorum(round_.cosigned)
        except QuorumNotMet:
            pass
        else:
            round_.met.set()
        if all(worker.number in round_.done or worker.failures for worker in self._workers):
            round_.complete.set()

    async def _grace(self, round_: _Round) -> None:
        if round_.complete.is_set() or not self._grace_s:
            return
        waits = [asyncio.ensure_future(round_.complete.wait()), asyncio.ensure_future(self._clock.sleep(self._grace_s))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _contradict(self, error: WitnessAhead | ForkDetected) -> None:
        """Whoever gathers, now or later, is told."""
        self._contradiction = error
        if self._round is not None:
            self._round.met.set()
            self._round.complete.set()

    def _fail(self, worker: _Worker, error: LedgerError) -> None:
        worker.failures += 1
        if error.detail != worker.trouble:
            self._log.warning("witness.failed", witness=worker.peer.label, reason=error.detail)
        worker.trouble = error.detail

    def _succeed(self, worker: _Worker) -> None:
        if worker.failures:
            self._log.info("witness.recovered", witness=worker.peer.label, failures=worker.failures)
        worker.failures, worker.trouble = 0, None

    def _pause_s(self, failures: int) -> float:
        longest: float = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures - 1, 10))
        return longest * (1 + self._random()) / 2

    def _sentence(self, error: QuorumNotMet) -> str:
        troubles = {state.name: state.trouble or "it has not answered yet" for state in self.states()}
        missing = [name for name in error.members["missing"] if name in troubles]
        named = [f"{name}: {troubles[name]}" for name in missing[:MAX_NAMED]]
        return "; ".join([error.detail, *named])


def check_policy(policy: Policy, log_keys: Sequence[VerifierKey]) -> None:
    """That the ledger with these keys can gather what this policy asks for. Raises OperationError.

    The policy has to name a key of ours, and under our origin no other; the witnesses with a URL have to be enough for
    the quorum, and what they answer has to fit into a receipt.
    """
    origin = log_keys[0].name
    ours = [rule.vkey for rule in policy.logs if rule.vkey.name == origin]
    if foreign := [key for key in ours if key not in log_keys]:
        raise OperationError(
            f"the policy names a key of {origin!r} that is not this log's: id {foreign[0].key_id.hex()}"
        )
    if not ours:
        raise OperationError(f"the policy does not name the log {origin!r}: add its key to the policy")
    asked = {name: rule.vkey for name, rule in policy.witnesses.items() if rule.url is not None}
    try:
        policy.check_quorum(asked)
    except QuorumNotMet as error:
        raise OperationError(f"the witnesses of the policy that have a URL are no quorum: {error.detail}") from error
    size = sum(_LINE_BYTES.get(key.algorithm, 76) + len(key.name.encode()) for key in asked.values())
    if len(asked) > MAX_ASKED or size > MAX_ASKED_BYTES:
        raise OperationError(
            f"the policy has {len(asked)} witnesses with a URL, whose cosignatures have {size} bytes: "
            f"a receipt has room for {MAX_ASKED} of them and {MAX_ASKED_BYTES} bytes"
        )


def make_gatherer(
    policy: Policy,
    log_keys: Sequence[VerifierKey],
    exchange: Exchange,
    stored: Stored,
    clock: Clock,
    random: Callable[[], float],
    *,
    answer_s: float,
) -> Gatherer:
    """A gatherer for all witnesses of the policy that have a URL; those of one URL are one peer.

    Raises OperationError as `check_policy` does, and on a URL that is not http or https.
    """
    check_policy(policy, log_keys)
    log_key = next(key for key in log_keys if key.algorithm == ED25519)
    by_url: dict[str, dict[str, VerifierKey]] = {}
    for name, rule in policy.witnesses.items():
        if rule.url is not None:
            _check_url(name, rule.url)
            by_url.setdefault(rule.url.rstrip("/") + "/", {})[name] = rule.vkey
    peers = [Peer(url, keys, log_key, exchange, stored, lambda: clock.now_ms() // 1000) for url, keys in by_url.items()]
    return Gatherer(policy, peers, clock, random, answer_s=answer_s)


def _check_url(name: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment
        known = known and parts.username is None and parts.password is None and parts.port != 0
        url.encode("ascii")
    except ValueError:
        known = False
    if not known:
        raise OperationError(f"the URL of witness {display_name(name)} is not http://HOST[:PORT]/... or https://...")
