"""What a ledger's HTTP service answers, as types, and its problem documents (RFC 9457) as the errors they came from.

Hexadecimal for 32-byte ids and hashes of commitments, base64 for proof hashes, times in milliseconds. Fields that this
version does not know are ignored, so that an older client can talk to a newer service.

Pure: reads bytes that somebody else fetched. `ledger.client` does the fetching.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ledger.errors import (
    Forbidden,
    InputError,
    LedgerError,
    NotFound,
    OperationError,
    OutcomeUnknown,
    RuleViolation,
    TooLarge,
    Unauthorized,
)

_PROBLEM: Final = "urn:badge-ledger:problem:"
_STANDARD: Final = ("type", "title", "status", "detail", "instance")


class Head(msgspec.Struct, frozen=True):
    """A published head: tree size, root (base64 of 32 bytes) and the time of its status_root."""

    size: int
    root: str
    time_ms: int


class LogInfo(msgspec.Struct, frozen=True):
    """`GET /v1/log`."""

    origin: str
    verifier_keys: list[str]
    head: Head
    checkpoint: str
    limits: dict[str, int] = {}
    software: dict[str, str] = {}
    #: Address below which its W3C status lists stand, ending in a slash; a ledger without them says nothing.
    status_lists: str = ""
    #: The did:key that signs them.
    status_list_issuer: str = ""


class SubmissionAnswer(msgspec.Struct, frozen=True):
    """`POST /v1/submissions`: the submission entry's index; its `count` events stand right after it."""

    first_index: int
    count: int
    time_ms: int
    head: Head
    checkpoint: str = ""
    receipts: list[msgspec.Raw] = []


class ReceiptsAnswer(msgspec.Struct, frozen=True):
    """`GET /v1/badges/{commitment}`: JSON receipts, oldest slot first."""

    commitment: str
    receipts: list[msgspec.Raw]


class HistoriesAnswer(msgspec.Struct, frozen=True):
    """`GET /v1/badges/{commitment}/history`: a history for each slot, oldest slot first."""

    commitment: str
    histories: list[msgspec.Raw]


class InclusionAnswer(msgspec.Struct, frozen=True):
    """`GET /v1/log/inclusion`: base64 hashes, the leaf's sibling first."""

    index: int
    tree_size: int
    leaf_hash: str
    proof: list[str]


class KeyDocument(msgspec.Struct, frozen=True):
    """A key of an issuer: log index of its entry, hexadecimal public key, names of its roles and of its binding."""

    index: int
    public_key: str
    roles: list[str]
    live: bool
    binding: str


class IssuerDocument(msgspec.Struct, frozen=True):
    """An issuer. `last_key_leaf` (hexadecimal) is the `prev` of its next key entry."""

    issuer: str
    identifier: str
    last_key_leaf: str
    keys: list[KeyDocument]
    lists: list[int] = []


class IssuersAnswer(msgspec.Struct, frozen=True):
    """`GET /v1/issuers`: a page; `next` is the `after` of the page behind it."""

    issuers: list[IssuerDocument]
    next: str | None = None


class SlotsAnswer(msgspec.Struct, frozen=True):
    """`POST /v1/issuers/{id}/slots`."""

    slots: list[int]


class SlotDocument(msgspec.Struct, frozen=True):
    """`GET /v1/slots/{slot}`; `state` is unissued, active, suspended or revoked."""

    slot: int
    state: str
    issuer: str | None = None
    tree_size: int = 0


def error_of_problem(status: int, body: bytes, retry_after: str | None = None) -> LedgerError:
    """The error that an answer other than 200 stands for: that of its problem type, else the one that fits `status`.

    A 502, 503 or 504 without a problem document comes from a proxy, which cannot know: OutcomeUnknown.
    """
    document = _document(body)
    slug = str(document.get("type", "")).removeprefix(_PROBLEM)
    detail = document.get("detail") or document.get("title")
    text = detail if isinstance(detail, str) and detail else f"the server answered {status}"
    members = {name: value for name, value in document.items() if name not in (*_STANDARD, "rule", "positions")}
    if slug.startswith("rule:"):
        positions = document.get("positions")
        known = [k for k in positions if isinstance(k, int)] if isinstance(positions, list) else []
        return RuleViolation(text, rule=slug.removeprefix("rule:"), positions=known)
    kind = _by_slug().get(slug) or _by_status(status)
    error = kind(text)
    error.members.update(members)
    error.status = status
    if retry_after is not None and retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 6:
        error.retry_after_s = int(retry_after)
    return error


def _document(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}


def _by_status(status: int) -> type[LedgerError]:
    if status in (502, 503, 504):
        return OutcomeUnknown
    exact: dict[int, type[LedgerError]] = {401: Unauthorized, 403: Forbidden, 404: NotFound, 413: TooLarge}
    return exact.get(status, InputError if 400 <= status < 500 else OperationError)


def _by_slug() -> dict[str, type[LedgerError]]:
    return {kind.slug: kind for kind in _tree(LedgerError) if not issubclass(kind, RuleViolation)}


def _tree(kind: type[LedgerError]) -> Iterator[type[LedgerError]]:
    # What other modules derive for themselves is no kind of answer.
    if kind.__module__ == LedgerError.__module__:
        yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)
