"""`POST /v1/submissions`: the way in for events.

Order of the checks: size, form, events root; then, before anything that time or the log can change, whether this very
submission is logged already (then the first answer again); key, signature and window; and under the head's lock the
rules of the log. A body that fails anywhere changes nothing at all.
"""

from __future__ import annotations

import asyncio
import time

import msgspec
from aiohttp import web

from api.context import CONTEXT, JSON, MAX_JSON_BYTES, Admission, Context, answer, decode_json, query_choice, read_body
from api.schemas import (
    HeadBody,
    IssueEvent,
    ReinstateEvent,
    RevokeEvent,
    SubmissionAnswer,
    SubmissionRequest,
    SuspendEvent,
)
from ledger.block import Block, decode_body
from ledger.entry import (
    ALG_ED25519,
    ISSUE,
    REINSTATE,
    REVOKE,
    SUSPEND,
    Submission,
    decode,
    encode_issue,
    encode_status_event,
)
from ledger.errors import MalformedInput, Pending, RuleViolation, SignatureInvalid, UnsupportedMedia
from ledger.message import idempotency_key
from ledger.publication import PublishedHead
from ledger.receipt_json import format_json
from ledger.sequencer import Outcome
from ledger.text import format_base64, parse_base64

MEDIA_SUBMISSION = "application/vnd.badge-ledger.submission"
#: Bodies above this are decoded in a thread, so that other requests get their turn.
_BIG_BODY_BYTES = 32 * 1024

_TYPES: dict[type, int] = {RevokeEvent: REVOKE, SuspendEvent: SUSPEND, ReinstateEvent: REINSTATE}


async def post_submission(request: web.Request) -> web.Response:
    """Log a signed submission and answer when it is in a published head."""
    context = request.app[CONTEXT]
    # A body of unknown length counts as the largest there is.
    admission = context.admit(MAX_JSON_BYTES if request.content_length is None else request.content_length)
    started = time.perf_counter()
    outcome = "refused"
    with admission:
        try:
            receipts = query_choice(request, "receipts", ("none", "short", "full"), "none")
            block = await _read(request, context, admission)
            if receipts != "none" and block.count > context.limits.max_inline_receipts:
                raise MalformedInput(
                    f"receipts come inline for at most {context.limits.max_inline_receipts} events; "
                    "ask for them by commitment or index"
                )
            logged, head = await submit(context, block)
            outcome = "repeated" if logged.repeated else "logged"
            if not logged.repeated:
                context.metrics.events.inc(block.count)
            return await _answer(context, block, logged, head, receipts)
        except Pending:
            outcome = "pending"
            raise
        finally:
            context.metrics.submissions.labels(outcome).inc()
            context.metrics.submission_seconds.observe(time.perf_counter() - started)


async def submit(context: Context, block: Block) -> tuple[Outcome, PublishedHead]:
    """Check the submission's signature and log it; the first answer if it is logged already."""
    node = context.node
    try:
        await _check_key(context, block)
    except RuleViolation:
        # A submission that was logged while its key lived, say, is answered as it was the first time.
        known = (await node.store.find_submissions([idempotency_key(block.submission)])).values()
        for first_index, count in known:
            logged = Outcome(first_index, count, first_index + count + 1, repeated=True)
            return logged, await node.publication.wait_for(logged.size, node.options.answer_timeout_s)
        raise
    return await node.submit(block)


async def _check_key(context: Context, block: Block) -> None:
    submission = block.submission
    sequencer = context.node.sequencer
    issuer = sequencer.replay.issuers.get(submission.issuer)
    if issuer is None or submission.key not in issuer.keys:
        # Another node may have logged it a moment ago.
        await sequencer.refresh()
        issuer = sequencer.replay.issuers.get(submission.issuer)
    if issuer is None:
        raise RuleViolation("the ledger knows no such issuer", rule="unknown-issuer")
    key = issuer.keys.get(submission.key)
    if key is None:
        raise RuleViolation(f"entry {submission.key} is no key of this issuer", rule="unknown-key")
    # Here and not in a thread: handing 45 microseconds of work to another thread and back costs as much again.
    try:
        block.verify_signature(context.node.options.origin, key.public_key)
    except SignatureInvalid as error:
        raise RuleViolation("the signature of the submission does not verify", rule="signature") from error


async def _read(request: web.Request, context: Context, admission: Admission) -> Block:
    if request.content_type == MEDIA_SUBMISSION:
        body = await read_body(request, context.limits.max_body_bytes, admission.grow)
        read = _read_binary
    elif request.content_type == JSON:
        body = await read_body(request, MAX_JSON_BYTES, admission.grow)
        read = _read_json
    else:
        raise UnsupportedMedia(f"this resource takes {JSON} and {MEDIA_SUBMISSION}, not {request.content_type}")
    admission.work()
    if len(body) <= _BIG_BODY_BYTES:
        return read(body)
    return await asyncio.get_running_loop().run_in_executor(context.threads, read, body)


def _read_binary(body: bytes) -> Block:
    block = decode_body(body)
    block.check_events_root()
    return block


def _read_json(body: bytes) -> Block:
    read = decode_json(body, SubmissionRequest)
    issuer = bytes.fromhex(read.issuer)
    events = b"".join(
        [
            encode_issue(issuer, event.slot, bytes.fromhex(event.commitment))
            if isinstance(event, IssueEvent)
            else encode_status_event(_TYPES[type(event)], issuer, event.slot, event.reason)
            for event in read.events
        ]
    )
    submission = Submission(
        time=0,
        issuer=issuer,
        key=read.key,
        count=len(read.events),
        not_after=read.not_after,
        nonce=bytes.fromhex(read.nonce),
        events_root=bytes.fromhex(read.events_root),
        algorithm=ALG_ED25519,
        signature=parse_base64(read.signature, what="signature", length=64),
    )
    block = Block.decode(submission, events)
    block.check_events_root()
    return block


async def _answer(context: Context, block: Block, logged: Outcome, head: PublishedHead, receipts: str) -> web.Response:
    time_ms = logged.time_ms
    if logged.repeated:
        entry = decode(await context.node.prover.entries.entry(logged.first_index, head.size))
        time_ms = entry.time if isinstance(entry, Submission) else 0
    inline: list[msgspec.Raw] = []
    if receipts != "none":
        for k, kind in enumerate(block.kinds):
            if kind == ISSUE:
                index = logged.first_index + 1 + k
                receipt = await context.node.prover.receipt(index, head, full=receipts == "full")
                inline.append(msgspec.Raw(format_json(receipt, checked=True)))
        context.metrics.receipts.inc(len(inline))
    return answer(
        SubmissionAnswer(
            first_index=logged.first_index,
            count=logged.count,
            time_ms=time_ms,
            head=head_body(head),
            checkpoint=context.checkpoint_text(head),
            receipts=inline,
        )
    )


def head_body(head: PublishedHead) -> HeadBody:
    """A head as JSON has it."""
    return HeadBody(size=head.size, root=format_base64(head.root), time_ms=head.status_root.time)
