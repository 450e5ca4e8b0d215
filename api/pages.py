"""The public page of a badge, for people: `GET /b/{commitment}`. Made here, without scripts, from the published head.

    /b/<64 hex>                        the page; another path below /b/ is a page that says that there is none
    /b/<64 hex>/<index>.receipt.json   the receipt of that issuance, as a file to keep; .receipt: packed
    /b/preview.png                     the picture that stands in link previews, the same for every badge

The page shows what the head proves of a commitment, issuer by issuer: when it was issued, its status, the issuer's
identifier and its key's binding. A badge that was issued in several slots is revoked if it is in one of them. Link
previews are kept for days by those who make them, so neither their text nor their picture tells the status.

What this does not do: show the badge, of which the ledger holds a hash; judge by a policy, which is the reader's (the
page says whose word it shows); set cookies, load anything from elsewhere, or need a script.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources
from string import Template
from typing import Final

import msgspec
from aiohttp import web

from api.badges import MEDIA_RECEIPT
from api.context import CONTEXT, Context
from ledger.entry import BINDING_PUBLISHED, BINDING_SELF_CERTIFYING, BINDING_VOUCHED, Issue, IssuerKey, decode
from ledger.errors import MalformedInput
from ledger.note import parse_note
from ledger.publication import PublishedHead
from ledger.receipt import Receipt, encode_packed
from ledger.receipt_json import format_json
from ledger.status import State, chunk_number, slot_state
from ledger.text import format_base64, parse_decimal, parse_hex, printable

HTML: Final = "text/html"
#: Issuers of one commitment that the page shows.
MAX_ISSUERS: Final = 20
#: How long a page may be kept, seconds: a revocation must not be hidden by a cache.
MAX_AGE_S: Final = 30

_FILES = resources.files("api") / "templates"
_CSS: Final = (_FILES / "page.css").read_text(encoding="utf-8")
_PAGE: Final = Template((_FILES / "badge.html").read_text(encoding="utf-8"))
_ISSUANCE: Final = Template((_FILES / "issuance.html").read_text(encoding="utf-8"))
_MISSING: Final = Template((_FILES / "missing.html").read_text(encoding="utf-8"))
_PREVIEW: Final = (_FILES / "preview.png").read_bytes()

#: One style sheet, in the page and named by its hash; nothing else may be loaded, sent or framed.
_HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(_CSS.encode()).digest()).decode()}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

#: Sign, word, what it means.
_STATES: Final[dict[State, tuple[str, str, str]]] = {
    "active": ("✓", "Not revoked", "The issuer has neither revoked nor suspended it."),
    "suspended": ("‖", "Suspended", "The issuer has suspended it: it is not valid now, and may be again."),
    "revoked": ("✕", "Revoked", "The issuer has revoked it, for good."),
}
#: The worst first.
_ORDER: Final[tuple[State, ...]] = ("revoked", "suspended", "active")
_BINDINGS: Final = {
    BINDING_SELF_CERTIFYING: ("self-certifying", "the identifier is the key, as anybody can compute."),
    BINDING_PUBLISHED: ("published", "the ledger found the key where the identifier’s owner publishes it."),
    BINDING_VOUCHED: ("vouched", "only this ledger’s operator says that the key is this issuer’s."),
}


class _Issued(msgspec.Struct):
    """What one issuer did with a commitment: log indexes and slots of its issue entries, in log order."""

    indexes: list[int]
    slots: list[int]
    state: State


async def get_badge_page(request: web.Request) -> web.Response:
    """The public page of a badge: what the published head proves of its commitment."""
    context = request.app[CONTEXT]
    head = await context.node.published()
    try:
        commitment = parse_hex(request.match_info["commitment"], what="commitment", length=32)
    except MalformedInput:
        return _missing(context)
    issued = await _find(context, commitment, head)
    if not issued:
        return _missing(context)
    shown = [
        (entries, await context.node.prover.receipt(entries.indexes[-1], head, full=True))
        for entries in list(issued.values())[:MAX_ISSUERS]
    ]
    return web.Response(
        text=_page(context.public_url, context.node.options.origin, commitment.hex(), head, shown, len(issued)),
        content_type=HTML,
        charset="utf-8",
        headers={**_HEADERS, "Cache-Control": f"public, max-age={MAX_AGE_S}"},
    )


async def get_receipt_file(request: web.Request) -> web.Response:
    """The receipt of one issuance of a commitment, as a file: `INDEX.receipt.json` or, packed, `INDEX.receipt`."""
    context = request.app[CONTEXT]
    head = await context.node.published()
    match = re.fullmatch(r"([0-9]{1,19})\.receipt(\.json)?", request.match_info["file"], re.ASCII)
    try:
        commitment = parse_hex(request.match_info["commitment"], what="commitment", length=32)
        index = parse_decimal(match[1], what="index") if match else -1
    except MalformedInput:
        return _missing(context)
    if match is None or index not in await context.node.prover.find(commitment, head):
        return _missing(context)
    receipt = await context.node.prover.receipt(index, head, full=True)
    context.metrics.receipts.inc()
    as_json = match[2] is not None
    return web.Response(
        body=format_json(receipt, checked=True) if as_json else encode_packed(receipt),
        content_type="application/json" if as_json else MEDIA_RECEIPT,
        headers={
            "Cache-Control": "no-store",
            "Content-Disposition": f'attachment; filename="{_file_name(commitment.hex(), as_json=as_json)}"',
            "X-Content-Type-Options": "nosniff",
        },
    )


async def get_preview(_: web.Request) -> web.Response:
    """The picture in link previews: the same for every badge, whatever its status."""
    return web.Response(body=_PREVIEW, content_type="image/png", headers={"Cache-Control": "public, max-age=86400"})


async def _find(context: Context, commitment: bytes, head: PublishedHead) -> dict[bytes, _Issued]:
    """By issuer, the one that issued it first first."""
    found: dict[bytes, _Issued] = {}
    prover = context.node.prover
    for index in await prover.find(commitment, head):
        entry = decode(await prover.entries.entry(index, head.size))
        if not isinstance(entry, Issue):
            continue  # another entry that ends in the same 32 bytes
        state = slot_state(head.status.chunk(chunk_number(entry.slot)), entry.slot)
        known = found.setdefault(entry.issuer, _Issued([], [], state))
        known.indexes.append(index)
        known.slots.append(entry.slot)
        known.state = min(known.state, state, key=_ORDER.index)
    return found


def _page(
    base: str,
    origin: str,
    commitment: str,
    head: PublishedHead,
    shown: Sequence[tuple[_Issued, Receipt]],
    issuers: int,
) -> str:
    """`base`: the address by which others reach this ledger, ending in a slash."""
    issuances = "".join(
        _issuance(number, commitment, head, entries, receipt) for number, (entries, receipt) in enumerate(shown, 1)
    )
    if issuers > 1:
        issuances = (
            f"<p><strong>{issuers} issuers have anchored this commitment.</strong> Only what the issuer that the badge "
            f"itself names did counts{f'; the first {MAX_ISSUERS} are shown' if issuers > MAX_ISSUERS else ''}.</p>"
        ) + issuances
    first = shown[0][1]
    day = _date(_issued_ms(first))
    return _fill(
        _PAGE,
        raw={"issuances": issuances, "css": _CSS},
        title=f"A badge, issued on {day}",
        description=f"Proven by the badge ledger {origin}: when it was issued, by whom, "
        "and whether it was revoked since.",
        site=origin,
        url=f"{base}b/{commitment}",
        image=f"{base}b/preview.png",
        base=base,
        commitment=commitment,
        size=f"{head.size:,}",
        root=format_base64(head.root),
        head_time=_moment(head.time_s * 1000),
        audit=_audit(head, origin),
        verify=_verify_command(base, origin, commitment),
    )


def _issuance(number: int, commitment: str, head: PublishedHead, entries: _Issued, receipt: Receipt) -> str:
    first_key = _first_key(receipt)
    sign, word, meaning = _STATES[entries.state]
    binding, binding_meaning = _BINDINGS[first_key.binding]
    times = len(entries.indexes)
    return _fill(
        _ISSUANCE,
        number=str(number),
        state=entries.state,
        heading="Issuance and status" if number == 1 else f"Issuance and status, issuer {number}",
        sign=sign,
        word=word,
        head_time=_moment(head.time_s * 1000),
        meaning=meaning if times == 1 else f"{meaning} It was issued in {times} slots; revoked in one is revoked.",
        issuer=printable(first_key.identifier),
        binding=binding,
        binding_meaning=binding_meaning,
        issued=_moment(_issued_ms(receipt)),
        index=str(entries.indexes[-1]),
        slot=str(entries.slots[-1]),
        commitment=commitment,
    )


def _audit(head: PublishedHead, origin: str) -> str:
    """Whose word the head is: whether those who cosigned it are auditors is a matter of the reader's policy."""
    names = list(dict.fromkeys(line.name for line in parse_note(head.note).signatures if line.name != origin))
    if not names:
        return "Unaudited: that there is no other history, and what time it is, are this log’s own word."
    return (
        f"Cosigned by {printable(', '.join(names))}. Whether these are witnesses or auditors that you trust is decided "
        "by your policy, in the check below."
    )


def _first_key(receipt: Receipt) -> IssuerKey:
    """The issuer's first key entry, which holds the identifier and what binds it."""
    return receipt.key_entries()[-1][1]


def _issued_ms(receipt: Receipt) -> int:
    submission = receipt.submission_entry()
    assert submission is not None  # noqa: S101 - the receipts of this page are full
    return submission[1].time


def _missing(context: Context) -> web.Response:
    return web.Response(
        status=404,
        text=_fill(_MISSING, raw={"css": _CSS}, site=context.node.options.origin),
        content_type=HTML,
        charset="utf-8",
        headers={**_HEADERS, "Cache-Control": "no-store"},
    )


def _fill(template: Template, *, raw: dict[str, str] | None = None, **texts: str) -> str:
    """The template with every text escaped, and `raw` parts as they are."""
    return template.substitute({name: html.escape(text) for name, text in texts.items()}, **(raw or {}))


def _verify_command(base: str, origin: str, commitment: str) -> str:
    """Offline, the lists that a badge names are known for the ledger's by their address: another than the origin's is
    to be named."""
    command = f"badge-ledger verify badge.json --receipt {_file_name(commitment, as_json=True)} --policy trust.policy"
    if base == f"https://{origin}/":
        return command
    return f"{command} --status-base {base.partition('://')[2]}status/"


def _file_name(commitment: str, *, as_json: bool) -> str:
    return f"{commitment[:16]}.receipt{'.json' if as_json else ''}"


def _date(ms: int) -> str:
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return f"{moment.day} {moment:%B %Y}"


def _moment(ms: int) -> str:
    return f"{_date(ms)}, {datetime.fromtimestamp(ms / 1000, UTC):%H:%M:%S} UTC"
