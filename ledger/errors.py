"""The tree of errors. Each has an HTTP answer (RFC 9457 problem document) and a command-line exit status.

    LedgerError
      InputError              400, exit 2   what was handed in cannot be read
        MalformedInput, MalformedEntry (UnknownEntry), MalformedNote, MalformedPolicy, MalformedReceipt,
        MalformedBadge (BadgeElsewhere), MalformedBody, TooLarge (413), UnsupportedMedia (415), NotAcceptable (406),
        KeyFileError
      VerificationError       422, exit 1   it can be read and does not hold
        ProofInvalid, SignatureInvalid, QuorumNotMet, Stale, NotIssued
      RuleViolation           409 or 403 or 422, exit 2   an entry that the rules of the log do not admit
      NotFound 404, Unauthorized 401, Forbidden 403
      Unavailable             503, exit 2   try again
        Overloaded (nothing changed), Pending (logged, not yet published), OutcomeUnknown, Stopping
      OperationError          500, exit 2   the operator must act
        GuardAhead, GuardMismatch, WitnessAhead, ForkDetected, ClockUnsafe, DataDirectoryBusy, DatabaseError,
        LedgerStopped (503)

`slug` is stable: the problem type is `urn:badge-ledger:problem:<slug>`. `members` are the document's extension members.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar


class LedgerError(Exception):
    """Root of the tree. `detail` is one sentence for people; `members` are machine-readable facts."""

    slug: ClassVar[str] = "error"
    title: ClassVar[str] = "The ledger refused"
    status: int = 500
    exit_status: ClassVar[int] = 2

    def __init__(self, detail: str, *, retry_after_s: int | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.members: dict[str, Any] = members

    @property
    def type(self) -> str:
        """The problem type, a URN."""
        return f"urn:badge-ledger:problem:{self.slug}"


class InputError(LedgerError):
    slug, title, status = "invalid-input", "The input cannot be read", 400


class MalformedInput(InputError):
    slug, title = "malformed", "A value is malformed"


class MalformedEntry(InputError):
    slug, title = "malformed-entry", "A log entry is malformed"


class UnknownEntry(MalformedEntry):
    """An entry of a version or type this code does not know: an auditor stops here."""

    slug, title = "unknown-entry", "A log entry has an unknown version or type"


class MalformedNote(InputError):
    slug, title = "malformed-note", "A signed note or checkpoint is malformed"


class MalformedPolicy(InputError):
    slug, title = "malformed-policy", "A trust policy is malformed"


class MalformedReceipt(InputError):
    slug, title = "malformed-receipt", "A receipt is malformed"


class MalformedBadge(InputError):
    slug, title = "malformed-badge", "A badge cannot be read"


class BadgeElsewhere(MalformedBadge):
    """Only the address of a badge was handed in: `url`, which can hold personal data, so the sentence leaves it out."""

    slug, title = "badge-elsewhere", "Only the address of a badge was handed in"

    def __init__(self, detail: str, *, url: str = "", **members: Any) -> None:
        super().__init__(detail, **members)
        self.url = url


class MalformedBody(InputError):
    slug, title = "malformed-body", "The request body cannot be read"


class TooLarge(InputError):
    slug, title, status = "too-large", "The input is larger than the limit", 413


class UnsupportedMedia(InputError):
    slug, title, status = "unsupported-media", "The media type is not one this resource takes", 415


class NotAcceptable(InputError):
    slug, title, status = "not-acceptable", "No form of it is one that the client takes", 406


class KeyFileError(InputError):
    slug, title = "key-file", "A private key file cannot be used"


class VerificationError(LedgerError):
    slug, title, status, exit_status = "not-proven", "The proof does not hold", 422, 1


class ProofInvalid(VerificationError):
    slug, title = "proof-invalid", "A Merkle proof does not lead to the root"


class SignatureInvalid(VerificationError):
    slug, title = "signature-invalid", "A signature does not verify"


class QuorumNotMet(VerificationError):
    slug, title = "quorum-not-met", "The policy's quorum is not met"


class Stale(VerificationError):
    slug, title = "stale", "The proof is older than the policy accepts"


class NotIssued(VerificationError):
    slug, title = "not-issued", "The receipt is not for this badge"


#: HTTP status of each rule that the log enforces on entries; a rule not named here answers 409.
_RULE_STATUS = {
    "signature": 403,
    "unknown-key": 403,
    "unknown-issuer": 404,
    "key-retired": 403,
    "key-role": 403,
    "not-owner": 403,
    "foreign-issuer": 422,
    "events-root": 422,
    "count": 422,
    "window": 422,
    "binding": 422,
}


class RuleViolation(LedgerError):
    """An entry breaks a rule of the log. `rule` names it; `positions` are the failing events (at most 100 named)."""

    slug, title = "rule", "An entry breaks a rule of the log"

    def __init__(
        self, detail: str, *, rule: str, index: int | None = None, positions: Sequence[int] = (), **members: Any
    ) -> None:
        if positions:
            members["positions"] = list(positions[:100])
        super().__init__(detail, rule=rule, **members)
        self.rule = rule
        self.index = index
        self.positions = tuple(positions)
        self.status = _RULE_STATUS.get(rule, 409)

    @property
    def type(self) -> str:
        return f"urn:badge-ledger:problem:rule:{self.rule}"


class NotFound(LedgerError):
    slug, title, status = "not-found", "The ledger does not know it", 404


class Unauthorized(LedgerError):
    slug, title, status = "unauthorized", "A token is needed", 401


class Forbidden(LedgerError):
    slug, title, status = "forbidden", "Not allowed", 403


class Unavailable(LedgerError):
    slug, title, status = "unavailable", "Not now; try again", 503


class Overloaded(Unavailable):
    """Refused before anything happened: nothing changed."""

    slug, title = "overloaded", "Too many requests at once; nothing changed"


class Pending(Unavailable):
    """In the log, not yet in a published head: the byte-identical request gets the answer later."""

    slug, title = "pending", "Logged, but not yet in a published head"


class OutcomeUnknown(Unavailable):
    """The database did not say whether it committed: the byte-identical request finds out."""

    slug, title = "outcome-unknown", "The database did not answer; repeat the identical request"


class Stopping(Unavailable):
    slug, title = "stopping", "The service is stopping; nothing changed"


class OperationError(LedgerError):
    slug, title, status = "operation", "The operator must act", 500


class GuardAhead(OperationError):
    slug, title = "guard-ahead", "The database is behind the guard"


class GuardMismatch(OperationError):
    slug, title = "guard-mismatch", "This guard does not belong to this database"


class WitnessAhead(OperationError):
    """A witness holds a head that this log signed and that the database ends before."""

    slug, title = "witness-ahead", "The database is behind a witness"


class ForkDetected(OperationError):
    slug, title = "fork", "Two heads contradict each other"


class ClockUnsafe(OperationError):
    slug, title, status = "clock", "The clock cannot be trusted", 503


class DataDirectoryBusy(OperationError):
    slug, title = "data-directory-busy", "Another service uses this data directory"


class DatabaseError(OperationError):
    slug, title, status = "database", "The database cannot be used", 503


class LedgerStopped(OperationError):
    """The ledger refuses to write because going on could contradict a released head."""

    slug, title, status = "ledger-stopped", "The ledger has stopped writing", 503
