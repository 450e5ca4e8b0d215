"""One witness as the ledger talks to it: c2sp.org/tlog-witness, the side of the log.

    submit   POST add-checkpoint   200: its cosignatures, verified; 409: again from the size that it names
    newest   GET checkpoint        the newest head that it shows; it must be one of the stored ones
    survey   both, to learn where it stands

A witness is a URL, its submission prefix, at which one or more keys of the policy cosign; its monitoring prefix is
taken to be the same. Its answers are judged by what they prove:

- A cosignature counts if it verifies for exactly the submitted head and its time is plausible. An answer of which one
  line by a key of the policy does not verify gives nothing.
- The size in a 409 proves nothing. One that the log has is where the next proof starts; for a larger one the witness is
  asked for the head, and only a head under this log's own signature is a contradiction (`ledger.history`).

What this module does not do: repeat what failed, wait for a quorum, or talk to two witnesses (`ledger.gather`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

import msgspec

from ledger.checkpoint import Checkpoint, open_checkpoint
from ledger.cosignature import verify_cosignature
from ledger.errors import ForkDetected, LedgerError, SignatureInvalid, Unavailable, VerificationError, WitnessAhead
from ledger.note import MAX_NOTE_BYTES, SignatureLine, VerifierKey
from ledger.policy import display_name
from ledger.tlogwitness import (
    ADD_CHECKPOINT,
    MAX_COSIGNATURES_BYTES,
    AddCheckpoint,
    checkpoint_path,
    format_add_checkpoint,
    parse_cosignatures,
    parse_size,
)

#: Requests for one head. Two do, unless others submit heads of this log to the same witness meanwhile.
MAX_ROUNDS: Final = 3
#: Seconds by which a cosignature may be made before the head's own time, or after now. Verifiers accept as much.
MAX_SKEW_S: Final = 60


class Answer(msgspec.Struct, frozen=True):
    """What came back: status and body. The type that it states decides nothing."""

    status: int
    body: bytes


class Exchange(Protocol):
    """HTTP, one request each. Every failure is an Unavailable within bounded time: no answer, or too long a one."""

    async def post(self, url: str, body: bytes, max_bytes: int) -> Answer:
        """POST; of the answer at most `max_bytes`."""

    async def get(self, url: str, max_bytes: int) -> Answer:
        """GET; of the answer at most `max_bytes`."""


class Stored(Protocol):
    """What the stored log says: `ledger.history.History`."""

    async def size(self) -> int:
        """Its leaves."""

    async def consistency(self, first: int, second: int) -> list[bytes]:
        """The proof between two sizes."""

    async def confront(self, checkpoint: Checkpoint, whose: str) -> None:
        """Raises WitnessAhead or ForkDetected if the log does not hold this head."""


class SignedHead(msgspec.Struct, frozen=True):
    """A head as it is submitted. `note`: with the log's own signatures only; `time_s`: what it was signed with."""

    checkpoint: Checkpoint
    note: bytes
    time_s: int


class Cosignature(msgspec.Struct, frozen=True):
    """A line that verified, and its time in seconds."""

    line: SignatureLine
    time_s: int


class Claim(Unavailable):
    """A witness says that it stands at `size`, beyond the head it was sent, and shows no head to prove it."""

    def __init__(self, size: int, sent: int) -> None:
        super().__init__(
            f"it says that it stands at size {size}, beyond {sent}, and shows no head of this log to prove it"
        )
        self.size = size


class Peer:
    """One witness. `keys`: by their names in the policy. Not safe for two calls at once."""

    def __init__(
        self,
        url: str,
        keys: Mapping[str, VerifierKey],
        log_key: VerifierKey,
        exchange: Exchange,
        stored: Stored,
        now_s: Callable[[], int],
    ) -> None:
        prefix = url if url.endswith("/") else url + "/"
        self.keys = keys
        self.label = "witness " + ", ".join(map(display_name, keys))
        self._submission = prefix + ADD_CHECKPOINT
        self._monitoring = prefix + checkpoint_path(log_key.name)
        self._log_key = log_key
        self._exchange = exchange
        self._stored = stored
        self._now_s = now_s
        #: Where it stands as far as it said: 0 if unknown.
        self.size = 0

    async def submit(self, head: SignedHead) -> dict[str, Cosignature]:
        """Its cosignatures of this head, one or more, by the names of their keys in the policy.

        Raises WitnessAhead or ForkDetected on proof that this log signed what the database does not hold; Claim; any
        other LedgerError where the witness, or the store, failed.
        """
        size = head.checkpoint.size
        for _ in range(MAX_ROUNDS):
            old = self.size if self.size <= size else 0
            proof = await self._stored.consistency(old, size) if 0 < old < size else []
            body = format_add_checkpoint(AddCheckpoint(old, tuple(proof), head.note))
            answer = await self._exchange.post(self._submission, body, MAX_COSIGNATURES_BYTES)
            if answer.status == 200:
                found = self._verify(head, answer.body)
                self.size = size
                return found
            if answer.status == 422:
                # The proof is right for the history that is stored here: it may hold another one.
                self.size = 0
                await self._look()
            if answer.status != 409:
                raise Unavailable(f"it answers {answer.status}")
            stands = parse_size(answer.body)
            if stands == old:
                raise Unavailable("it answers 409 with the very size that it was sent")
            if stands > size:
                self.size = 0
                await self._look_beyond(stands, size)
            self.size = stands
        raise Unavailable("it answers 409 again and again")

    async def newest(self) -> Checkpoint | None:
        """The newest head that it shows, signed by this log and stored here; None if it shows none.

        Raises WitnessAhead or ForkDetected if it is not stored here; any other LedgerError where the witness, or the
        store, failed.
        """
        answer = await self._exchange.get(self._monitoring, MAX_NOTE_BYTES)
        if answer.status != 200:
            return None
        checkpoint, _ = open_checkpoint(answer.body, self._log_key)
        await self._stored.confront(checkpoint, self.label)
        self.size = checkpoint.size
        return checkpoint

    async def survey(self, published: SignedHead | None) -> Claim | None:
        """Ask where it stands, by its newest head or else by the published one; what it claims beyond the database.

        Raises WitnessAhead or ForkDetected. A witness that cannot be asked claims nothing.
        """
        try:
            if await self.newest() is None and published is not None:
                await self.submit(published)
        except (WitnessAhead, ForkDetected):
            raise
        except Claim as claim:
            if claim.size > await self._stored.size():
                return claim
            # A head that was signed and is not published yet, say: whoever gathered for it is gone.
            self.size = claim.size
        except LedgerError:
            pass
        return None

    async def _look(self) -> Checkpoint | None:
        """`newest`, where only a contradiction matters."""
        try:
            return await self.newest()
        except (WitnessAhead, ForkDetected):
            raise
        except LedgerError:
            return None

    async def _look_beyond(self, stands: int, size: int) -> None:
        """It says that it stands beyond the submitted head. Always raises."""
        shown = await self._look()
        if shown is not None and shown.size > size:
            raise Unavailable(f"it stands at a later head of this log, of size {shown.size}")
        raise Claim(stands, size)

    def _verify(self, head: SignedHead, body: bytes) -> dict[str, Cosignature]:
        lines = parse_cosignatures(body)
        found: dict[str, Cosignature] = {}
        for name, key in self.keys.items():
            for line in lines:
                if not line.is_by(key):
                    continue
                time_s = verify_cosignature(head.checkpoint, key, line)
                self._check_time(head, time_s)
                if name not in found or found[name].time_s < time_s:
                    found[name] = Cosignature(line, time_s)
        if not found:
            raise SignatureInvalid("its answer holds no cosignature by a key of the policy")
        return found

    def _check_time(self, head: SignedHead, time_s: int) -> None:
        """Verifiers refuse what is in their future, and a head whose own times are later than its cosignatures."""
        ahead_s, behind_s = time_s - self._now_s(), head.time_s - time_s
        if ahead_s > MAX_SKEW_S:
            raise VerificationError(f"its cosignature is {ahead_s} s in the future")
        if behind_s > MAX_SKEW_S:
            raise VerificationError(f"its cosignature is {behind_s} s older than the head")
