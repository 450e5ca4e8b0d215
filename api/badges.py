"""Receipts: by commitment, and by the log index of the issue entry. Always under the newest published head.

With `?at=` they are dated ones: the status at that moment, under the same head. And the history of a badge.
"""

from __future__ import annotations

import msgspec
from aiohttp import web

from api.context import CONTEXT, Context, answer, query_choice
from api.schemas import BadgeAnswer, HistoryAnswer
from ledger.badge_history import format_history
from ledger.dated import format_dated
from ledger.errors import MalformedInput, NotAcceptable, NotFound
from ledger.moment import parse_timestamp
from ledger.publication import PublishedHead
from ledger.receipt import Receipt, encode_packed
from ledger.receipt_json import format_json
from ledger.text import parse_decimal, parse_hex

MEDIA_RECEIPT = "application/vnd.badge-ledger.receipt"
_HEADERS = {"Cache-Control": "no-store", "Vary": "Accept"}


def wants_packed(request: web.Request) -> bool:
    """Whether the client prefers a packed receipt: it names that media type, and JSON only behind it or not at all."""
    accept = request.headers.get("Accept", "")
    if MEDIA_RECEIPT not in accept:
        return False
    return "application/json" not in accept or accept.index(MEDIA_RECEIPT) < accept.index("application/json")


async def get_badge(request: web.Request) -> web.Response:
    """Receipts for a commitment: all slots as JSON, the one issued last when packed."""
    context = request.app[CONTEXT]
    full, all_signatures = _wanted(request)
    at_ms = _moment(request)
    head = await context.node.published()
    commitment, indexes = await _find(request, head)
    if at_ms is not None:
        shown = await _dated(context, indexes[-context.limits.max_receipts_per_badge :], at_ms, head, request)
        return answer(BadgeAnswer(commitment.hex(), [msgspec.Raw(data) for data in shown]), headers=_HEADERS)
    packed = wants_packed(request)
    receipts = [
        await _receipt(context, index, head, full, all_signatures)
        for index in (indexes[-1:] if packed else indexes[-context.limits.max_receipts_per_badge :])
    ]
    if packed:
        return _packed(receipts[0])
    return answer(
        BadgeAnswer(commitment.hex(), [msgspec.Raw(format_json(receipt, checked=True)) for receipt in receipts]),
        headers=_HEADERS,
    )


async def get_receipt(request: web.Request) -> web.Response:
    """The receipt of the issue entry at a log index."""
    context = request.app[CONTEXT]
    index = parse_decimal(request.match_info["index"], what="index")
    full, all_signatures = _wanted(request)
    at_ms = _moment(request)
    head = await context.node.published()
    if at_ms is not None:
        (body,) = await _dated(context, [index], at_ms, head, request)
    else:
        receipt = await _receipt(context, index, head, full, all_signatures)
        if wants_packed(request):
            return _packed(receipt)
        body = format_json(receipt, checked=True)
    return web.Response(body=body, content_type="application/json", headers=_HEADERS)


async def get_history(request: web.Request) -> web.Response:
    """The history of a badge: a document for each slot that it was issued in, the newest ones if they are many."""
    context = request.app[CONTEXT]
    all_signatures = query_choice(request, "signatures", ("log", "all"), "log") == "all"
    head = await context.node.published()
    commitment, indexes = await _find(request, head)
    shown = []
    for index in indexes[-context.limits.max_histories_per_badge :]:
        history = await context.histories.history(index, head, all_signatures=all_signatures)
        shown.append(msgspec.Raw(format_history(history, checked=True)))
    return answer(HistoryAnswer(commitment.hex(), shown))


async def _find(request: web.Request, head: PublishedHead) -> tuple[bytes, list[int]]:
    """The commitment that is asked for, and the issue entries that have it. Raises NotFound, MalformedInput."""
    commitment = parse_hex(request.match_info["commitment"], what="commitment", length=32)
    indexes = await request.app[CONTEXT].node.prover.find(commitment, head)
    if not indexes:
        raise NotFound("no badge with this commitment is in the published log")
    return commitment, indexes


def _moment(request: web.Request) -> int | None:
    """The moment asked for, milliseconds. Raises MalformedInput; NotFound for one before 1970; NotAcceptable."""
    values = request.query.getall("at", [])
    if len(values) > 1:
        raise MalformedInput("the parameter at stands twice")
    if values and wants_packed(request):
        raise NotAcceptable("a dated receipt can be had as application/json", offered=["application/json"])
    return parse_timestamp(values[0]) if values else None


async def _dated(
    context: Context, indexes: list[int], at_ms: int, head: PublishedHead, request: web.Request
) -> list[bytes]:
    """The dated receipts of these issue entries. Raises NotFound."""
    full, all_signatures = _wanted(request)
    heads = await context.dated.heads(at_ms, head)
    shown = []
    for index in indexes:
        dated = await context.dated.dated(index, at_ms, heads, head, full=full, all_signatures=all_signatures)
        shown.append(format_dated(dated, checked=True))
        context.metrics.receipts.inc()
    return shown


def _wanted(request: web.Request) -> tuple[bool, bool]:
    full = query_choice(request, "profile", ("short", "full"), "full") == "full"
    return full, query_choice(request, "signatures", ("log", "all"), "log") == "all"


async def _receipt(context: Context, index: int, head: PublishedHead, full: bool, all_signatures: bool) -> Receipt:
    receipt = await context.node.prover.receipt(index, head, full=full, all_signatures=all_signatures)
    context.metrics.receipts.inc()
    return receipt


def _packed(receipt: Receipt) -> web.Response:
    return web.Response(
        body=encode_packed(receipt),
        content_type=MEDIA_RECEIPT,
        headers=_HEADERS,
    )
