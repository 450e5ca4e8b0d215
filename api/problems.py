"""Errors as RFC 9457 problem documents: one middleware, no traceback ever leaves the service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog
from aiohttp import web

from ledger.errors import LedgerError, MalformedBody, TooLarge

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = structlog.get_logger("api")
_encode = msgspec.json.Encoder().encode


def problem(error: LedgerError) -> web.Response:
    """The answer that this error is."""
    document: dict[str, Any] = {
        "type": error.type,
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        **{name: value for name, value in error.members.items() if value is not None},
    }
    headers = {"Cache-Control": "no-store"}
    retry_after_s = error.retry_after_s or (1 if error.status == 503 else None)
    if retry_after_s is not None:
        headers["Retry-After"] = str(retry_after_s)
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="badge-ledger"'
    return web.Response(
        status=error.status, body=_encode(document), content_type="application/problem+json", headers=headers
    )


class _Plain(LedgerError):
    """What aiohttp itself refuses: unknown paths, methods, bodies over the limit, broken requests."""

    slug = "http"

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title  # type: ignore[misc]


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into a problem document."""
    try:
        return await handler(request)
    except LedgerError as error:
        if error.status >= 500 and error.status != 503:
            _log.error("request.failed", route=_route(request), problem=error.slug)
        return problem(error)
    except web.HTTPRequestEntityTooLarge as error:
        return problem(TooLarge(f"the body is larger than this resource takes: {error.text or 'limit exceeded'}"))
    except web.HTTPException as error:
        if error.status < 400:
            raise
        answer = problem(_Plain(error.status, error.reason, f"{request.method} {request.path[:200]}: {error.reason}"))
        if "Allow" in error.headers:
            answer.headers["Allow"] = error.headers["Allow"]
        return answer
    except UnicodeError:
        return problem(MalformedBody("the request holds text that is not UTF-8"))
    except (ConnectionResetError, TimeoutError):
        raise
    except Exception:
        _log.exception("request.bug", route=_route(request))
        return problem(LedgerError("internal error; the operator's log has it"))


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"
