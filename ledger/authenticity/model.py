"""What is found out about a badge's own signature and about the status lists of others: the words, and nothing else.

    none            the badge carries no signature
    not-checked     it carries one that could not be checked (`reason` says what was missing: context, key, suite), or
                    one under a key that has been revoked or has expired
    self-asserted   the signature holds under a key that nothing but the badge itself ties to its issuer
    verified        the signature holds, under a key of the issuer that the badge names
    invalid         it does not hold, or could not hold whatever the key

Only *verified* says who made the badge. A self-asserted badge was not altered since somebody signed it; who that was,
it does not say. The word never depends on the badge's dates: an expired badge can be authentic (`ledger.verdict`).

`NotChecked` and `Invalid` are how the modules of this package say so to one another. Neither leaves it: what is wrong
with a badge is a finding. (`NotChecked` leaves it only from what fetches: whoever passes in a fetch raises it.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ledger.badges import StatusEntry

OwnSignature = Literal["none", "not-checked", "self-asserted", "verified", "invalid"]
#: A bit in a status list: `clear` and `set` were read from a list that holds, everything else is `unknown`.
ListState = Literal["clear", "set", "unknown"]


class NotChecked(Exception):
    """The signature could not be checked; the message is the reason, one sentence without personal data.

    status: the HTTP status that was answered, where one was and is why.
    """

    def __init__(self, reason: str, *, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


class Invalid(Exception):
    """The signature does not hold, or cannot; the message is the reason, one sentence without personal data."""


@dataclass(frozen=True, slots=True)
class Authenticity:
    """The finding about one badge's own signature.

    scheme: the suite or algorithm as people know it, such as `eddsa-rdfc-2022` or `JWT RS256`; several joined by ` + `;
    None if the badge carries no signature. key: the name of the key that it holds under (of several, the first's), else
    None. issuer: the identifier that the key is bound to, only if `verified`; an Open Badges 2.0 badge may name it only
    through its badge class. reason: one sentence, always there unless the signature is `verified` or `none`. notes:
    what else the reader should know. None of them repeats the badge's personal data.
    """

    signature: OwnSignature
    scheme: str | None = None
    key: str | None = None
    issuer: str | None = None
    reason: str | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.reason is None) != (self.signature in ("verified", "none")):
            raise ValueError(f"{self.signature} with the reason {self.reason!r}")


def shown(text: object) -> str:
    """What a badge or a server wrote, fit for one line of an error: printable ASCII, at most 200 characters, quoted."""
    if not isinstance(text, str):
        return "what is no text"
    line = "".join(character if " " <= character <= "~" else "?" for character in text[:201])
    return f"`{line[:200]}...`" if len(line) > 200 else f"`{line}`"


@dataclass(frozen=True, slots=True)
class ListFinding:
    """What the list that `entry` names says of the badge; `reason` is one sentence, always there if it is `unknown`.

    `set` means what the purpose says: revoked, suspended. A list that is unreachable, unsigned, wrongly signed, of
    another purpose, out of date or too short leaves the state `unknown`: never `clear`.
    """

    entry: StatusEntry
    state: ListState
    reason: str | None = None

    def __post_init__(self) -> None:
        if self.reason is None and self.state == "unknown":
            raise ValueError(f"{self.state} with the reason {self.reason!r}")
