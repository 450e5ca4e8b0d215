"""The log for everybody: C2SP tlog-tiles, and proofs and decoded entries as JSON for people.

`/checkpoint` and everything under `/v1` speak of the published head. Tiles and bundles are served up to the newest
signed head, which may be larger for a moment: an auditing witness must see them before it cosigns.
"""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from api.context import CONTEXT, Context, answer, query_int
from api.schemas import MAX_EVENTS, ConsistencyAnswer, EntriesAnswer, InclusionAnswer, Limits, LogAnswer, Software
from api.statuslists import STATUS_LISTS
from api.submissions import head_body
from ledger import __version__
from ledger.entry import TYPE_NAMES, Entry, IssuerKey, LogParams, decode
from ledger.errors import MalformedInput, NotFound
from ledger.issuers import MAX_SLOTS_REQUEST, WINDOW_MS
from ledger.merkle import build, plan_consistency, plan_inclusion
from ledger.text import format_base64
from ledger.tiles import TILE_WIDTH, Tile, parse_tile_path

IMMUTABLE = "public, max-age=31536000, immutable"
BUNDLE = -1


async def get_checkpoint(request: web.Request) -> web.Response:
    """The newest published head as a signed note (C2SP tlog-tiles, "Checkpoints")."""
    head = await request.app[CONTEXT].node.published()
    return web.Response(
        body=head.note, headers={"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "public, max-age=1"}
    )


async def get_tile(request: web.Request) -> web.Response:
    """A tile or entry bundle (C2SP tlog-tiles, "Merkle Tree" and "Log entries")."""
    context = request.app[CONTEXT]
    try:
        tile = parse_tile_path("tile/" + request.match_info["path"])
    except MalformedInput as error:
        raise NotFound(error.detail) from error
    await _check_signed(tile, context)
    try:
        data = (await context.node.store.read_tiles([tile]))[tile]
    except NotFound:
        raise NotFound("no such tile in this log") from None
    answer_ = web.Response(body=data, content_type="application/octet-stream", headers={"Cache-Control": IMMUTABLE})
    if tile.level == BUNDLE:
        answer_.headers["Vary"] = "Accept-Encoding"
        if accepts_gzip(request.headers.get("Accept-Encoding", "")):
            answer_.enable_compression(web.ContentCoding.gzip)
    return answer_


def accepts_gzip(header: str) -> bool:
    """Whether an Accept-Encoding header admits gzip, the one coding that every client of a tiled log knows."""
    weights: dict[str, bool] = {}
    for item in header.lower().split(","):
        coding, _, parameters = item.partition(";")
        weight = parameters.strip().removeprefix("q=")
        weights[coding.strip()] = not weight or weight.strip("0.") != ""
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", False)))


async def _check_signed(tile: Tile, context: Context) -> None:
    """Raise NotFound unless the tile lies within the tree of the newest signed head."""
    leaves = (tile.index * TILE_WIDTH + tile.width) << 8 * max(tile.level, 0)
    head = context.node.publication.head
    if head is not None and leaves <= head.size:
        return
    # Between signing and publication the guard knows a larger head than this node has learnt of.
    if leaves > (await context.node.guard.read()).size:
        raise NotFound("no such tile in this log yet")


async def get_log(request: web.Request) -> web.Response:
    """Origin, keys, newest head, limits."""
    context = request.app[CONTEXT]
    head = await context.node.published()
    return answer(
        LogAnswer(
            origin=context.node.options.origin,
            verifier_keys=list(context.node.verifier_keys),
            head=head_body(head),
            checkpoint=context.checkpoint_text(head),
            limits=Limits(
                max_events=MAX_EVENTS,
                max_body_bytes=context.limits.max_body_bytes,
                max_inline_receipts=context.limits.max_inline_receipts,
                max_slots_request=MAX_SLOTS_REQUEST,
                max_entries_page=context.limits.max_entries_page,
                window_ms=WINDOW_MS,
            ),
            software=Software("badge-ledger", __version__),
            status_lists=request.app[STATUS_LISTS].address,
            status_list_issuer=request.app[STATUS_LISTS].issuer,
        )
    )


async def get_inclusion(request: web.Request) -> web.Response:
    """An inclusion proof in any published tree size."""
    context = request.app[CONTEXT]
    head = await context.node.published()
    index = query_int(request, "index")
    size = query_int(request, "tree_size", default=head.size)
    if not 0 < size <= head.size:
        raise NotFound(f"the published tree has {head.size} leaves, not {size}")
    if index >= size:
        raise NotFound(f"a tree of {size} leaves has no leaf {index}")
    plan = plan_inclusion(index, size)
    nodes = await context.node.prover.tiles.nodes([(0, index), *(n for group in plan for n in group)], head.size)
    proof = [format_base64(hash_) for hash_ in build(plan, nodes)]
    return answer(InclusionAnswer(index, size, format_base64(nodes[0, index]), proof))


async def get_consistency(request: web.Request) -> web.Response:
    """A consistency proof between two published tree sizes."""
    context = request.app[CONTEXT]
    head = await context.node.published()
    first = query_int(request, "first")
    second = query_int(request, "second", default=head.size)
    if second > head.size:
        raise NotFound(f"the published tree has {head.size} leaves, not {second}")
    if not 0 < first <= second:
        raise MalformedInput("first is at least 1 and at most second")
    plan = plan_consistency(first, second)
    nodes = await context.node.prover.tiles.nodes([n for group in plan for n in group], head.size)
    return answer(ConsistencyAnswer(first, second, [format_base64(hash_) for hash_ in build(plan, nodes)]))


async def get_entries(request: web.Request) -> web.Response:
    """Entries [start, end) decoded, `end` at most a page away."""
    context = request.app[CONTEXT]
    head = await context.node.published()
    page = context.limits.max_entries_page
    start = query_int(request, "start")
    end = min(query_int(request, "end", default=min(head.size, start + page)), head.size)
    if start >= head.size:
        raise NotFound(f"the published tree has {head.size} leaves")
    if not start < end or end - start > page:
        raise MalformedInput(f"end is above start by 1 to {page}")
    entries = await context.node.store.read_entries(start, end)
    return answer(
        EntriesAnswer(
            start=start,
            tree_size=head.size,
            entries=[describe(start + k, data) for k, data in enumerate(entries)],
        )
    )


def describe(index: int, data: bytes) -> dict[str, Any]:
    """An entry as people read it."""
    entry: Entry = decode(data)
    fields: dict[str, Any] = {
        name: value.hex() if isinstance(value, bytes) else value
        for name, value in msgspec.structs.asdict(entry).items()
    }
    if isinstance(entry, LogParams) and entry.predecessor is not None:
        fields["predecessor"] = {
            "origin": entry.predecessor.origin,
            "size": entry.predecessor.size,
            "root": entry.predecessor.root.hex(),
        }
    if isinstance(entry, IssuerKey):
        fields["action"] = "add" if entry.action == 1 else "retire"
    fields.pop("type", None)
    return {"index": index, "type": TYPE_NAMES[data[1]], **fields}
