"""What is found out about a badge's own signature and about the status lists of others: the words, and nothing else.

    none            the badge carries no signature
    not-checked     it carries one that could not be checked: `reason` says what was missing (a context, a key, a suite)
    self-asserted   the signature holds under a key that nothing but the badge itself ties to its issuer
    verified        the signature holds, under a key of the issuer that the badge names
    invalid         it does not hold, or could not hold whatever the key

Only *verified* says who made the badge. A self-asserted badge was not altered since somebody signed it; who that was,
it does not say. The word never depends on the badge's dates: an expired badge can be authentic (`ledger.verdict`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ledger.badges import StatusEntry

OwnSignature = Literal["none", "not-checked", "self-asserted", "verified", "invalid"]
#: A bit in a status list: `clear` and `set` were read from a list that holds, everything else is `unknown`.
ListState = Literal["clear", "set", "unknown"]


@dataclass(frozen=True, slots=True)
class Authenticity:
    """The finding about one badge's own signature.

    scheme: the suite or algorithm as people know it, such as `eddsa-rdfc-2022` or `JWT RS256`; several joined by ` + `;
    None if the badge carries no signature. key: the verification method (of several proofs, the first that holds),
    None where none is known. reason: one sentence, always there unless the signature is `verified` or `none`.
    notes: what else the reader should know. Neither repeats the badge's personal data.
    """

    signature: OwnSignature
    scheme: str | None = None
    key: str | None = None
    reason: str | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.reason is None) != (self.signature in ("verified", "none")):
            raise ValueError(f"{self.signature} with the reason {self.reason!r}")


@dataclass(frozen=True, slots=True)
class ListFinding:
    """What the list that `entry` names says of the badge; `reason` is one sentence, and there if it is `unknown`.

    `set` means what the purpose says: revoked, suspended. A list that is unreachable, unsigned, wrongly signed, of
    another purpose, out of date or too short leaves the state `unknown`: never `clear`.
    """

    entry: StatusEntry
    state: ListState
    reason: str | None = None

    def __post_init__(self) -> None:
        if (self.reason is None) == (self.state == "unknown"):
            raise ValueError(f"{self.state} with the reason {self.reason!r}")
