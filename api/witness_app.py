"""HTTP around a witness: c2sp.org/tlog-witness, and what its operator's machinery asks for.

    POST /add-checkpoint              200, 400, 403, 404, 409 (text/x.tlog.size), 413, 422, 503
    POST /sign-subtree                200, 400, 403, 404, 413, 422, 503
    GET  /<origin hash>/checkpoint    200, 404
    GET  /healthz, /metrics

Submission and monitoring prefix are the same. Refusals are one sentence as text, and say nothing of anybody else's
requests. A body has 64 KiB at most, comes uncompressed and within 10 seconds; its content type does not matter, since
the specification names none. Nothing about callers is logged or counted.

What this module does not do: TLS, or telling callers apart: a proxy in front does.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from ledger.tlogwitness import ADD_CHECKPOINT, MAX_REQUEST_BYTES, SIGN_SUBTREE, checkpoint_path
from ledger.witness import Answer, Witness

BODY_PATIENCE_S: Final = 10.0

_log = structlog.get_logger("api")


def create_witness_app(witness: Witness, *, body_patience_s: float = BODY_PATIENCE_S) -> web.Application:
    """The application; the caller closes the witness."""
    service = _Service(witness, body_patience_s)
    app = web.Application(middlewares=[_no_traceback], client_max_size=MAX_REQUEST_BYTES + 1)
    app.router.add_post(f"/{ADD_CHECKPOINT}", service.add_checkpoint)
    app.router.add_post(f"/{SIGN_SUBTREE}", service.sign_subtree)
    app.router.add_get("/{hash:[0-9a-f]{64}}/checkpoint", service.get_checkpoint)
    app.router.add_get("/healthz", service.get_healthz)
    app.router.add_get("/metrics", service.get_metrics)
    return app


class _Service:
    def __init__(self, witness: Witness, body_patience_s: float) -> None:
        self._witness = witness
        self._patience_s = body_patience_s
        self._origins = {checkpoint_path(origin).partition("/")[0]: origin for origin in witness.logs}
        r = self._registry = CollectorRegistry()
        self._requests = Counter(
            "badge_ledger_cosigner_requests_total",
            "Requests by operation and status",
            ["operation", "status"],
            registry=r,
        )
        self._size = Gauge("badge_ledger_cosigner_tree_size", "Newest cosigned head of a log", ["origin"], registry=r)
        self._time = Gauge(
            "badge_ledger_cosigner_cosigned_timestamp_seconds", "Its newest cosignature", ["origin"], registry=r
        )
        self._contradictions = Gauge(
            "badge_ledger_cosigner_contradictions", "Heads that contradict a cosigned one, since the start", registry=r
        )

    async def add_checkpoint(self, request: web.Request) -> web.Response:
        """POST /add-checkpoint."""
        return await self._answer(request, ADD_CHECKPOINT)

    async def sign_subtree(self, request: web.Request) -> web.Response:
        """POST /sign-subtree."""
        return await self._answer(request, SIGN_SUBTREE)

    async def get_checkpoint(self, request: web.Request) -> web.Response:
        """The newest cosigned checkpoint of the log whose origin has this SHA-256."""
        standing = self._witness.state.heads.get(self._origins.get(request.match_info["hash"], ""))
        if standing is None:
            return _respond(Answer(404, b"this witness has cosigned no checkpoint of that log\n"))
        return _respond(Answer(200, standing.note))

    async def get_healthz(self, _: web.Request) -> web.Response:
        """200 while the process runs its loop."""
        return _respond(Answer(200, b"ok\n"))

    async def get_metrics(self, _: web.Request) -> web.Response:
        """Prometheus text exposition."""
        for origin, standing in self._witness.state.heads.items():
            self._size.labels(origin).set(standing.size)
            self._time.labels(origin).set(standing.time_s)
        self._contradictions.set(self._witness.contradictions)
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _answer(self, request: web.Request, operation: str) -> web.Response:
        body = await _read_body(request, self._patience_s)
        if isinstance(body, Answer):
            answer = body
        elif operation == ADD_CHECKPOINT:
            answer = await self._witness.add_checkpoint(body)
        else:
            answer = self._witness.sign_subtree(body)
        self._requests.labels(operation, str(answer.status)).inc()
        return _respond(answer)


async def _read_body(request: web.Request, patience_s: float) -> bytes | Answer:
    """The body, or the answer to one that is not to be read."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        return Answer(415, b"a body comes as it is, not compressed\n")
    too_large = Answer(413, f"the request has more than {MAX_REQUEST_BYTES} bytes\n".encode())
    if (request.content_length or 0) > MAX_REQUEST_BYTES:
        return too_large
    body = bytearray()
    try:
        async with asyncio.timeout(patience_s):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > MAX_REQUEST_BYTES:
                    return too_large
    except TimeoutError:
        return Answer(408, b"the body did not come in time\n")
    except (web.RequestPayloadError, ConnectionError):
        return Answer(400, b"the body broke off\n")
    return bytes(body)


def _respond(answer: Answer) -> web.Response:
    headers = {"Content-Type": answer.type, "Cache-Control": "no-cache"}
    if answer.retry_after_s is not None:
        headers["Retry-After"] = str(answer.retry_after_s)
    return web.Response(status=answer.status, body=answer.body, headers=headers)


@web.middleware
async def _no_traceback(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except (web.HTTPException, ConnectionError, asyncio.CancelledError):
        raise
    except Exception:
        _log.exception("request.bug", route=request.path[:40])
        return web.Response(status=500, body=b"internal error; the operator's log has it\n", content_type="text/plain")
