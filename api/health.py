"""For the operator's machinery: is the process alive, may it get traffic, what are its figures."""

from __future__ import annotations

from aiohttp import web

from api.context import CONTEXT, answer
from ledger.errors import LedgerStopped, Unavailable

#: Every head lacks its quorum for as long as its witnesses take to answer: that is no news.
QUORUM_PATIENCE_S = 1.0


async def get_healthz(request: web.Request) -> web.Response:
    """200 while the process runs its loop, even where the ledger has stopped writing: a restart would not mend that."""
    return answer({"status": "ok"})


async def get_readyz(request: web.Request) -> web.Response:
    """200 when the node can answer writers; 503 with the reason when it cannot.

    Where a policy names witnesses, `quorum` on the node that publishes is `met`, or what the newest signed head lacks.
    That is no 503 by itself: readers, who need no witness, are served until the published head is too old.
    """
    node = request.app[CONTEXT].node
    if node.stopped is not None:
        raise LedgerStopped(node.stopped.detail, cause=node.stopped.type)
    head = node.publication.head
    if head is None:
        raise Unavailable("no head is published yet", retry_after_s=1)
    lacking = node.gatherer.lacking(for_s=QUORUM_PATIENCE_S) if node.gatherer is not None else None
    age_s = node.clock.now_ms() / 1000 - head.time_s
    if age_s > 2 * node.options.heartbeat_s:
        why = f": {lacking.detail}" if lacking is not None else ""
        raise Unavailable(f"the newest published head is {age_s:.0f} s old{why}", retry_after_s=5)
    await node.store.database_now_ms()
    ready: dict[str, object] = {"status": "ready", "tree_size": head.size}
    if lacking is not None:
        ready["quorum"] = lacking.detail
    elif node.gatherer is not None and node.publisher.is_publisher:
        ready["quorum"] = "met"
    return answer(ready)


async def get_metrics(request: web.Request) -> web.Response:
    """Prometheus text exposition."""
    context = request.app[CONTEXT]
    return web.Response(
        body=context.metrics.render(context.node), headers={"Content-Type": context.metrics.content_type}
    )
