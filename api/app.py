"""The aiohttp application of one node."""

from __future__ import annotations

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware
from prometheus_client import Counter

from api.context import CONTEXT, Context, ServiceLimits
from api.metrics import Metrics
from api.openapi import build_openapi
from api.problems import Handler, problems
from api.routes import ROUTES
from api.statuslists import STATUS_LISTS, StatusLists, parse_public_url
from ledger.documents import Fetch
from ledger.issuers import Issuers
from ledger.node import Node
from ledger.signing import Ed25519Key


def create_app(
    node: Node,
    *,
    operator_token: str,
    list_key: Ed25519Key,
    public_url: str | None = None,
    fetch: Fetch | None = None,
    limits: ServiceLimits | None = None,
) -> web.Application:
    """The application; the caller starts and stops the node. `list_key` signs status lists, whose addresses begin with
    `public_url`: https and the log's origin, unless one is given. Raises MalformedInput for one that is none."""
    limits = limits or ServiceLimits()
    url = f"https://{node.options.origin}" if public_url is None else public_url
    context = Context(node, Issuers(node, fetch), limits, operator_token, Metrics(), parse_public_url(url))
    app = web.Application(middlewares=[_counted(context), problems], client_max_size=64 * 1024 * 1024)
    app[CONTEXT] = context
    app[STATUS_LISTS] = StatusLists(node, list_key, context.public_url, context.threads)
    for route in ROUTES:
        path = route.path.replace("/tile/{path}", "/tile/{path:.+}")
        app.router.add_route(route.method, path, route.handler)
        if route.conditional:
            app.router.add_route("HEAD", path, route.handler)
    document = msgspec.json.encode(build_openapi())

    async def get_openapi(_: web.Request) -> web.Response:
        return web.Response(body=document, content_type="application/json")

    app.router.add_get("/openapi.json", get_openapi)

    async def close(_: web.Application) -> None:
        context.close()

    app.on_cleanup.append(close)
    return app


def _counted(context: Context) -> Middleware:
    # `labels` formats and locks at every call; a route and a status are few.
    counters: dict[tuple[web.AbstractResource | None, int], Counter] = {}

    @web.middleware
    async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        resource = request.match_info.route.resource
        counter = counters.get((resource, response.status))
        if counter is None:
            route = resource.canonical if resource is not None else "unknown"
            counter = context.metrics.requests.labels(route, str(response.status))
            counters[resource, response.status] = counter
        counter.inc()
        return response

    return counted
