"""Receipts: by commitment, and by the log index of the issue entry. Always under the newest published head."""

from __future__ import annotations

import msgspec
from aiohttp import web

from api.context import CONTEXT, Context, answer, query_choice
from api.schemas import BadgeAnswer
from ledger.errors import NotFound
from ledger.publication import PublishedHead
from ledger.receipt import Receipt, encode_packed
from ledger.receipt_json import format_json
from ledger.text import parse_decimal, parse_hex

MEDIA_RECEIPT = "application/vnd.badge-ledger.receipt"


def wants_packed(request: web.Request) -> bool:
    """Whether the client prefers a packed receipt: it names that media type, and JSON only behind it or not at all."""
    accept = request.headers.get("Accept", "")
    if MEDIA_RECEIPT not in accept:
        return False
    return "application/json" not in accept or accept.index(MEDIA_RECEIPT) < accept.index("application/json")


async def get_badge(request: web.Request) -> web.Response:
    """Receipts for a commitment: all slots as JSON, the one issued last when packed."""
    context = request.app[CONTEXT]
    commitment = parse_hex(request.match_info["commitment"], what="commitment", length=32)
    full, all_signatures = _wanted(request)
    head = await context.node.published()
    indexes = await context.node.prover.find(commitment, head)
    if not indexes:
        raise NotFound("no badge with this commitment is in the published log")
    packed = wants_packed(request)
    receipts = [
        await _receipt(context, index, head, full, all_signatures)
        for index in (indexes[-1:] if packed else indexes[-context.limits.max_receipts_per_badge :])
    ]
    if packed:
        return _packed(receipts[0])
    return answer(
        BadgeAnswer(commitment.hex(), [msgspec.Raw(format_json(receipt, checked=True)) for receipt in receipts]),
        headers={"Cache-Control": "no-store", "Vary": "Accept"},
    )


async def get_receipt(request: web.Request) -> web.Response:
    """The receipt of the issue entry at a log index."""
    context = request.app[CONTEXT]
    index = parse_decimal(request.match_info["index"], what="index")
    full, all_signatures = _wanted(request)
    head = await context.node.published()
    receipt = await _receipt(context, index, head, full, all_signatures)
    if wants_packed(request):
        return _packed(receipt)
    return web.Response(
        body=format_json(receipt, checked=True),
        content_type="application/json",
        headers={"Cache-Control": "no-store", "Vary": "Accept"},
    )


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
        headers={"Cache-Control": "no-store", "Vary": "Accept"},
    )
