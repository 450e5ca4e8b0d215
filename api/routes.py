"""Every route of the service, once: the router and `/openapi.json` are both made from this table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from api import badges, health, issuers, log, pages, schemas, statuslists, submissions

Handler = Callable[[web.Request], Awaitable[web.Response]]
#: Parameter -> (schema, description, required).
Query = dict[str, tuple[dict[str, Any], str, bool]]

JSON = "application/json"
TEXT = "text/plain"
BYTES = "application/octet-stream"


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A route. Those of `problems` that are in `pages` are
    answered by a page for people instead of a problem document."""

    method: str
    path: str
    handler: Handler
    takes: type | None = None
    takes_also: str | None = None
    answers: type | None = None
    answers_as: tuple[str, ...] = (JSON,)
    status: int = 200
    query: Query = {}
    problems: tuple[int, ...] = ()
    pages: tuple[int, ...] = ()
    operator: bool = False
    #: HEAD and If-None-Match too, for caches that ask whether what they have is still good.
    conditional: bool = False


_INT = {"type": "integer", "minimum": 0}
_PROFILE = {"type": "string", "enum": ["short", "full"], "default": "full"}
_SIGNATURES = {"type": "string", "enum": ["log", "all"], "default": "log"}
_SIGNATURES_QUERY: Query = {"signatures": (_SIGNATURES, "all adds the log's ML-DSA-44 line", False)}
_RECEIPT_QUERY: Query = {
    "profile": (_PROFILE, "full also shows the issuer's signature, its keys and the time", False),
    **_SIGNATURES_QUERY,
    "at": (
        {"type": "string", "format": "date-time"},
        "a past moment: dated receipts, with the status then, as JSON",
        False,
    ),
}

ROUTES = (
    Route(
        method="POST",
        path="/v1/submissions",
        handler=submissions.post_submission,
        takes=schemas.SubmissionRequest,
        takes_also=submissions.MEDIA_SUBMISSION,
        answers=schemas.SubmissionAnswer,
        query={
            "receipts": (
                {"type": "string", "enum": ["none", "short", "full"], "default": "none"},
                "receipts of the issue events, inline",
                False,
            )
        },
        problems=(400, 403, 404, 408, 409, 413, 415, 422, 503),
    ),
    Route(
        method="GET",
        path="/v1/badges/{commitment}",
        handler=badges.get_badge,
        answers=schemas.BadgeAnswer,
        answers_as=(JSON, badges.MEDIA_RECEIPT),
        query=_RECEIPT_QUERY,
        problems=(400, 404, 406, 503),
    ),
    Route(
        method="GET",
        path="/v1/badges/{commitment}/history",
        handler=badges.get_history,
        answers=schemas.HistoryAnswer,
        query=_SIGNATURES_QUERY,
        problems=(400, 404, 413, 503),
    ),
    Route(
        method="GET",
        path="/v1/receipts/{index}",
        handler=badges.get_receipt,
        answers_as=(JSON, badges.MEDIA_RECEIPT),
        query=_RECEIPT_QUERY,
        problems=(400, 404, 406, 503),
    ),
    Route(method="GET", path="/v1/log", handler=log.get_log, answers=schemas.LogAnswer, problems=(503,)),
    Route(
        method="GET",
        path="/v1/log/inclusion",
        handler=log.get_inclusion,
        answers=schemas.InclusionAnswer,
        query={
            "index": (_INT, "log index of the leaf", True),
            "tree_size": (_INT, "a published size; the newest if absent", False),
        },
        problems=(400, 404, 503),
    ),
    Route(
        method="GET",
        path="/v1/log/consistency",
        handler=log.get_consistency,
        answers=schemas.ConsistencyAnswer,
        query={
            "first": (_INT, "the smaller size, from 1", True),
            "second": (_INT, "the larger size; the newest if absent", False),
        },
        problems=(400, 404, 503),
    ),
    Route(
        method="GET",
        path="/v1/log/entries",
        handler=log.get_entries,
        answers=schemas.EntriesAnswer,
        query={"start": (_INT, "first index", True), "end": (_INT, "index after the last", False)},
        problems=(400, 404, 503),
    ),
    Route(
        method="POST",
        path="/v1/issuers",
        handler=issuers.post_issuer,
        takes=schemas.RegisterRequest,
        answers=schemas.IssuerAnswer,
        status=201,
        problems=(400, 401, 403, 408, 409, 413, 415, 422, 503),
        operator=True,
    ),
    Route(
        method="GET",
        path="/v1/issuers",
        handler=issuers.get_issuers,
        answers=schemas.IssuersAnswer,
        query={
            "after": ({"type": "string"}, "issuer after which the page begins", False),
            "limit": (_INT, "at most 1000", False),
        },
        problems=(400, 404, 503),
    ),
    Route(
        method="GET",
        path="/v1/issuers/{issuer}",
        handler=issuers.get_issuer,
        answers=schemas.IssuerAnswer,
        problems=(400, 404, 503),
    ),
    Route(
        method="POST",
        path="/v1/issuers/{issuer}/keys",
        handler=issuers.post_key,
        takes=schemas.KeyRequest,
        answers=schemas.IssuerAnswer,
        problems=(400, 403, 404, 408, 409, 413, 415, 422, 503),
    ),
    Route(
        method="POST",
        path="/v1/issuers/{issuer}/slots",
        handler=issuers.post_slots,
        takes=schemas.SlotsRequest,
        answers=schemas.SlotsAnswer,
        problems=(400, 403, 404, 408, 409, 413, 415, 422, 503),
    ),
    Route(
        method="GET",
        path="/v1/slots/{slot}",
        handler=issuers.get_slot,
        answers=schemas.SlotAnswer,
        problems=(400, 404, 503),
    ),
    Route(
        method="GET",
        path="/v1/lists/{list}",
        handler=statuslists.get_list_proof,
        answers=schemas.ListProofAnswer,
        query={"size": (_INT, "a head, by its tree size; the newest published one if absent", False)},
        problems=(400, 404, 503),
    ),
    Route(
        method="GET",
        path="/status/{list}/{purpose}",
        handler=statuslists.get_status_list,
        answers_as=statuslists.MEDIA,
        query={
            "timestamp": (
                {"type": "string", "format": "date-time"},
                "a past moment: the list as of the last head at or before it",
                False,
            )
        },
        problems=(400, 404, 406, 503),
        conditional=True,
    ),
    Route(method="GET", path="/checkpoint", handler=log.get_checkpoint, answers_as=(TEXT,), problems=(503,)),
    Route(method="GET", path="/tile/{path}", handler=log.get_tile, answers_as=(BYTES,), problems=(404, 503)),
    Route(method="GET", path="/b/preview.png", handler=pages.get_preview, answers_as=("image/png",)),
    Route(
        method="GET",
        path="/b/{commitment}",
        handler=pages.get_badge_page,
        answers_as=(pages.HTML,),
        problems=(404, 503),
        pages=(404,),
    ),
    Route(
        method="GET",
        path="/b/{commitment}/{file}",
        handler=pages.get_receipt_file,
        answers_as=(JSON, badges.MEDIA_RECEIPT),
        problems=(404, 503),
        pages=(404,),
    ),
    Route(method="GET", path="/healthz", handler=health.get_healthz),
    Route(method="GET", path="/readyz", handler=health.get_readyz, problems=(503,)),
    Route(method="GET", path="/metrics", handler=health.get_metrics, answers_as=(TEXT,)),
)
