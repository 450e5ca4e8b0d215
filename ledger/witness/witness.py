"""The witness: bodies of c2sp.org/tlog-witness in, answers out. HTTP around it is api/witness_app.py.

    add_checkpoint    read, verify, judge (ledger/witness/rules.py)
                      approve                                  the hook of an auditing witness; nothing by default
                      per log, one after the other:
                          judge again, tell the time, sign
                          swap the standing head               compare and swap, durable (ledger/witness/state.py)
                      answer                                   the only place from which a cosignature leaves

A cosignature says: at that time this was the largest head that the witness had seen of this log, and it extends all
heads that it cosigned before. So a time never falls while sizes grow: a clock that went back, or jumped, refuses.

The same head again gets cosignatures with the present time; within the same second it gets the same ones, so that
repetition, which anybody can do, costs neither a signature nor a sync. New heads, which only the log can make, are
bounded by the `qpd` of the log list, an hour's worth at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec
import structlog

from ledger import faults
from ledger.checkpoint import Checkpoint
from ledger.clock import Clock
from ledger.errors import ClockUnsafe, InputError, LedgerError, NotFound, Overloaded
from ledger.keyfile import WITNESS_ED25519, WITNESS_MLDSA44, PrivateKey
from ledger.note import MAX_MLDSA44_NAME_BYTES, Note, SignatureLine, VerifierKey, format_note, parse_note
from ledger.signing import Ed25519Key, MLDSA44Key
from ledger.tlogwitness import SIZE_TYPE, TEXT_TYPE, format_cosignatures, format_size, parse_sign_subtree
from ledger.witness.logs import LogList
from ledger.witness.rules import SizeConflict, StandingHead, Submission, contradicts, cosign, judge, read_submission
from ledger.witness.state import WitnessState
from ledger.witness.subtree import check_request, cosign_subtree

#: Asked before each cosignature, with the checkpoint and its note as the log signed it. Returns to agree; to refuse it
#: raises a LedgerError, whose status is the answer's: Unavailable (503) if the log is to come again, VerificationError
#: (422) if not.
Approve = Callable[[Checkpoint, bytes], Awaitable[None]]

#: How far wall and monotonic clock may part before the witness signs nothing more.
CLOCK_TOLERANCE_S: Final = 5.0
#: Requests of one log that wait for approval or their turn.
MAX_WAITING_PER_LOG: Final = 32
_DAY_S: Final = 86_400
_MAX_REPORTED: Final = 1_000

_log = structlog.get_logger("cosigner")


class Answer(msgspec.Struct, frozen=True):
    """An HTTP answer: status, content type, body, and seconds after which to come again."""

    status: int
    body: bytes
    type: str = TEXT_TYPE
    retry_after_s: int | None = None


class _Allowance:
    """So many a day, an hour's worth (at least 10) at once."""

    def __init__(self, per_day: int, now: float) -> None:
        self._per_s = per_day / _DAY_S
        self._most = max(10.0, per_day / 24)
        self._left, self._at = self._most, now

    def take(self, now: float) -> None:
        """Raises Overloaded when nothing is left."""
        self._left = min(self._most, self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left < 1:
            wait_s = int((1 - self._left) / self._per_s) + 1
            raise Overloaded("this log has used up what it may ask for; nothing changed", retry_after_s=wait_s)
        self._left -= 1


class _Turn:
    """What one log has under way."""

    def __init__(self, per_day: int, now: float) -> None:
        self.lock = asyncio.Lock()
        self.waiting = 0
        self.heads = _Allowance(per_day, now)
        self.subtrees = _Allowance(per_day, now)


class Witness:
    """A witness with its keys, logs and state. Not for several threads."""

    def __init__(
        self,
        keys: Sequence[PrivateKey],
        logs: LogList,
        state: WitnessState,
        clock: Clock,
        *,
        approve: Approve | None = None,
    ) -> None:
        """`keys`: one or more of the kinds witness-ed25519 and witness-mldsa44, no two alike. Raises InputError."""
        self.logs = logs
        self.state = state
        self.contradictions = 0
        self._clock = clock
        self._approve = approve
        self._anchor_s = clock.now_ms() / 1000 - clock.monotonic()
        self._turns: dict[str, _Turn] = {}
        self._reported: set[tuple[str, int, bytes]] = set()
        self._signing: set[asyncio.Task[tuple[SignatureLine, ...]]] = set()
        self._keys: dict[VerifierKey, Ed25519Key | MLDSA44Key] = {}
        for key in keys:
            if key.kind not in (WITNESS_ED25519, WITNESS_MLDSA44):
                raise InputError(f"a key of kind {key.kind} is no witness's key")
            self._keys[key.verifier_key()] = key.mldsa44() if key.kind == WITNESS_MLDSA44 else key.ed25519()
        if not self._keys or len({(key.name, key.key_id) for key in self._keys}) != len(keys):
            raise InputError("a witness has one key or more, no two of them alike")
        self._mldsa44 = {verifier: key for verifier, key in self._keys.items() if isinstance(key, MLDSA44Key)}
        own = {key.public_key for key in self._keys}
        for log in logs.values():
            if self._mldsa44 and len(log.origin.encode()) > MAX_MLDSA44_NAME_BYTES:
                raise InputError(f"ML-DSA-44 cannot sign an origin as long as {log.origin[:80]!r}")
            if own & {key.public_key for key in log.keys}:
                raise InputError(f"the log {log.origin[:80]!r} has a key of this witness")

    @property
    def verifier_keys(self) -> tuple[VerifierKey, ...]:
        """What others need to know of this witness."""
        return tuple(self._keys)

    async def add_checkpoint(self, body: bytes) -> Answer:
        """Answer the body of add-checkpoint. Raises nothing that is an answer."""
        try:
            return Answer(200, format_cosignatures(await self._add(body)))
        except LedgerError as error:
            return _refusal(error)

    def sign_subtree(self, body: bytes) -> Answer:
        """Answer the body of sign-subtree: 404 where this witness has no ML-DSA-44 key."""
        try:
            return Answer(200, format_cosignatures(self._sign_subtree(body)))
        except LedgerError as error:
            return _refusal(error)

    def checkpoint(self, origin: str) -> bytes:
        """The newest head that was cosigned, a note with the log's and the witness's signatures. Raises NotFound."""
        standing = self.state.heads.get(origin)
        if standing is None:
            raise NotFound("this witness has cosigned no checkpoint of that log")
        return standing.note

    async def close(self) -> None:
        """Wait for what is being signed, then close the state."""
        while self._signing:
            await asyncio.wait(self._signing)
        await self.state.close()

    async def _add(self, body: bytes) -> tuple[SignatureLine, ...]:
        submission = read_submission(body, self.logs)
        origin = submission.log.origin
        self._look_for_contradiction(submission)
        judge(submission, self.state.heads.get(origin))
        faults.reach("witness.judged")
        turn = self._turn(origin)
        if turn.waiting >= MAX_WAITING_PER_LOG:
            raise Overloaded("too many requests for this log at once; nothing changed", retry_after_s=1)
        turn.waiting += 1
        try:
            if self._approve is not None:
                signed = submission.signed
                await self._approve(signed.checkpoint, format_note(Note(signed.text, signed.lines)))
            # In a task of its own: whoever gives up waiting must not let the next one in before the swap is decided.
            signing = asyncio.create_task(self._cosign(submission, turn))
            self._signing.add(signing)
            signing.add_done_callback(self._signed)
            return await asyncio.shield(signing)
        finally:
            turn.waiting -= 1

    def _signed(self, signing: asyncio.Task[tuple[SignatureLine, ...]]) -> None:
        self._signing.discard(signing)
        if not signing.cancelled():
            signing.exception()  # seen, even where nobody waits for it any more

    async def _cosign(self, submission: Submission, turn: _Turn) -> tuple[SignatureLine, ...]:
        async with turn.lock:
            signed, origin = submission.signed, submission.log.origin
            standing = self.state.heads.get(origin)
            judge(submission, standing)  # others may have gone before
            now_s = self._now_s(standing)
            if standing is not None and standing.size == signed.checkpoint.size:
                note = parse_note(standing.note)
                if standing.time_s == now_s and note.text == signed.text:
                    return tuple(line for line in note.signatures if any(line.is_by(key) for key in self._keys))
            else:
                turn.heads.take(self._clock.monotonic())
            lines = tuple(cosign(signed, verifier.name, key, now_s) for verifier, key in self._keys.items())
            faults.reach("witness.signed")
            note_bytes = format_note(Note(signed.text, (*signed.lines, *lines)))
            new = StandingHead(signed.checkpoint.size, signed.checkpoint.root, now_s, note_bytes)
            await self.state.swap(origin, standing, new)
            faults.reach("witness.swapped")
            return lines

    def _sign_subtree(self, body: bytes) -> tuple[SignatureLine, ...]:
        if not self._mldsa44:
            raise NotFound("this witness has no ML-DSA-44 key and signs no subtrees")
        request = parse_sign_subtree(body)
        origin, verifiers = check_request(request, self.logs, self._mldsa44)
        self._turn(origin).subtrees.take(self._clock.monotonic())
        return tuple(cosign_subtree(request, origin, verifier, self._mldsa44[verifier]) for verifier in verifiers)

    def _turn(self, origin: str) -> _Turn:
        turn = self._turns.get(origin)
        if turn is None:
            turn = self._turns[origin] = _Turn(self.logs[origin].qpd, self._clock.monotonic())
        return turn

    def _now_s(self, standing: StandingHead | None) -> int:
        """The time to sign with. Raises ClockUnsafe."""
        now = self._clock.now_ms() / 1000
        if abs(now - self._clock.monotonic() - self._anchor_s) > CLOCK_TOLERANCE_S:
            raise ClockUnsafe("this machine's clock jumped; set it right and restart the witness", retry_after_s=30)
        now_s = int(now)
        if now_s <= 0:
            raise ClockUnsafe("this machine's clock is not set", retry_after_s=30)
        if standing is not None and now_s < standing.time_s:
            behind_s = standing.time_s - now_s
            raise ClockUnsafe(
                f"this machine's clock is {behind_s} s behind the newest cosignature of this log",
                retry_after_s=min(behind_s, 3600),
            )
        return now_s

    def _look_for_contradiction(self, submission: Submission) -> None:
        """Two heads of one size, both signed by the log, go into the witness's log, once: they convict it."""
        signed, standing = submission.signed, self.state.heads.get(submission.log.origin)
        if standing is None or not contradicts(signed.checkpoint, standing):
            return
        seen = (signed.checkpoint.origin, signed.checkpoint.size, signed.checkpoint.root)
        if seen in self._reported or len(self._reported) >= _MAX_REPORTED:
            return
        self._reported.add(seen)
        self.contradictions += 1
        _log.error(
            "cosigner.contradiction",
            origin=signed.checkpoint.origin,
            size=signed.checkpoint.size,
            cosigned=standing.note.decode(),
            submitted=format_note(Note(signed.text, signed.lines)).decode(),
        )


def _refusal(error: LedgerError) -> Answer:
    if isinstance(error, SizeConflict):
        return Answer(409, format_size(error.size), SIZE_TYPE)
    if error.status == 500:
        _log.error("cosigner.failed", problem=error.slug, detail=error.detail)
    body = (error.detail + "\n").encode("utf-8", "backslashreplace")
    retry_after_s = error.retry_after_s or (1 if error.status == 503 else None)
    return Answer(error.status, body, retry_after_s=retry_after_s)
