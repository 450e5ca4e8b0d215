"""Issuers: registration (the operator's token), keys (signed by a manage key), slots (signed by an issuing key)."""

from __future__ import annotations

import hmac

from aiohttp import web

from api.context import CONTEXT, Context, answer, query_int, read_json
from api.schemas import (
    IssuerAnswer,
    IssuersAnswer,
    KeyBody,
    KeyRequest,
    RegisterRequest,
    SlotAnswer,
    SlotsAnswer,
    SlotsRequest,
)
from ledger.entry import ADD, LIST_SLOTS, RETIRE, ROLE_ISSUE, ROLE_MANAGE, ROLE_STATUS, issuer_id
from ledger.errors import Forbidden, MalformedInput, NotFound, Unauthorized
from ledger.issuers import NO_SIGNATURE
from ledger.replay_state import IssuerState
from ledger.text import parse_base64, parse_decimal, parse_hex

BINDING_NAMES = {1: "self-certifying", 2: "published", 3: "vouched", 4: "delegated"}
ROLE_NAMES = {ROLE_ISSUE: "issue", ROLE_STATUS: "status", ROLE_MANAGE: "manage"}


def require_operator(request: web.Request, context: Context) -> None:
    """Raises Unauthorized without a bearer token, Forbidden with a wrong one."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthorized("this needs the operator's token as a bearer token")
    if not hmac.compare_digest(token.strip(" ").encode(), context.operator_token.encode()):
        raise Forbidden("this is not the operator's token")


async def post_issuer(request: web.Request) -> web.Response:
    """Register an identifier and its first key, with proof of possession."""
    context = request.app[CONTEXT]
    require_operator(request, context)
    body = await read_json(request, RegisterRequest)
    outcome = await context.issuers.register(
        body.identifier,
        bytes.fromhex(body.public_key),
        body.roles,
        parse_base64(body.possession_sig, what="possession_sig", length=64),
        bytes.fromhex(body.evidence) if body.evidence else None,
    )
    issuer = issuer_id(body.identifier)
    document = await published_issuer(context, issuer)
    return answer(document, status=200 if outcome.repeated else 201)


async def post_key(request: web.Request) -> web.Response:
    """Add or retire a key, signed by a manage key."""
    context = request.app[CONTEXT]
    issuer, _ = await find_issuer(request, context)
    body = await read_json(request, KeyRequest)
    if (body.action == "add") != (body.possession_sig is not None):
        raise MalformedInput("possession_sig belongs to action add, and only there")
    await context.issuers.change_key(
        issuer,
        action=ADD if body.action == "add" else RETIRE,
        public_key=bytes.fromhex(body.public_key),
        roles=body.roles,
        prev=bytes.fromhex(body.prev),
        possession_sig=(
            parse_base64(body.possession_sig, what="possession_sig", length=64) if body.possession_sig else NO_SIGNATURE
        ),
        manage_sig=parse_base64(body.manage_sig, what="manage_sig", length=64),
        signer=body.signer,
    )
    return answer(await published_issuer(context, issuer))


async def get_issuers(request: web.Request) -> web.Response:
    """A page of issuers in order of registration."""
    context = request.app[CONTEXT]
    limit = query_int(request, "limit", default=100, max_value=1000)
    after = request.query.get("after")
    issuers = context.node.sequencer.replay.issuers
    ids = list(issuers)
    start = 0
    if after is not None:
        wanted = parse_hex(after, what="after", length=32)
        if wanted not in issuers:
            raise NotFound("the ledger knows no issuer `after`")
        start = ids.index(wanted) + 1
    page = ids[start : start + max(1, limit)]
    more = start + len(page) < len(ids)
    document = IssuersAnswer([describe(issuer, issuers[issuer]) for issuer in page], page[-1].hex() if more else None)
    await context.node.settle()  # what is said is in the log already; it is said only once a published head covers it
    return answer(document)


async def get_issuer(request: web.Request) -> web.Response:
    """One issuer: identifier, keys, bindings, lists."""
    context = request.app[CONTEXT]
    issuer, _ = await find_issuer(request, context)
    return answer(await published_issuer(context, issuer))


async def published_issuer(context: Context, issuer: bytes) -> IssuerAnswer:
    """An issuer as this node knows it, once a published head covers all of that."""
    document = describe(issuer, context.node.sequencer.replay.issuers[issuer])
    await context.node.settle()
    return document


async def find_issuer(request: web.Request, context: Context) -> tuple[bytes, IssuerState]:
    """The issuer that the path names. Raises NotFound."""
    issuer = parse_hex(request.match_info["issuer"], what="issuer", length=32)
    state = context.node.sequencer.replay.issuers.get(issuer)
    if state is None:
        await context.node.sequencer.refresh()
        state = context.node.sequencer.replay.issuers.get(issuer)
    if state is None:
        raise NotFound("the ledger knows no such issuer")
    return issuer, state


def describe(issuer: bytes, state: IssuerState) -> IssuerAnswer:
    """An issuer as JSON has it."""
    return IssuerAnswer(
        issuer=issuer.hex(),
        identifier=state.identifier,
        last_key_leaf=state.last_leaf.hex(),
        keys=[
            KeyBody(
                index=key.index,
                public_key=key.public_key.hex(),
                roles=[name for role, name in ROLE_NAMES.items() if key.roles & role],
                live=key.live,
                binding=BINDING_NAMES[key.binding],
                signer=key.parent.index if key.parent else None,
            )
            for key in state.keys.values()
        ],
        lists=list(state.lists),
    )


async def post_slots(request: web.Request) -> web.Response:
    """Hand out unused random slots."""
    context = request.app[CONTEXT]
    issuer, _ = await find_issuer(request, context)
    body = await read_json(request, SlotsRequest)
    slots = await context.issuers.hand_out_slots(
        issuer,
        key=body.key,
        not_after=body.not_after,
        nonce=bytes.fromhex(body.nonce),
        count=body.count,
        signature=parse_base64(body.signature, what="signature", length=64),
    )
    return answer(SlotsAnswer(slots))


async def get_slot(request: web.Request) -> web.Response:
    """Whose a slot is and what state it is in."""
    context = request.app[CONTEXT]
    slot = parse_decimal(request.match_info["slot"], what="slot", max_value=2**49 - 1)
    await context.node.sequencer.refresh()
    replay = context.node.sequencer.replay
    number, index = divmod(slot, LIST_SLOTS)
    if number >= replay.list_count:
        raise NotFound(f"there is no status list {number}")
    body = SlotAnswer(
        slot=slot,
        list=number,
        index_in_list=index,
        issuer=replay.lists[number].hex(),
        state=replay.slot_state(slot),
        tree_size=replay.size,
    )
    # What is said of the slot is in the log already; it is said only when a published head covers it.
    await context.node.publication.wait_for(body.tree_size, context.node.options.answer_timeout_s)
    return answer(body)
