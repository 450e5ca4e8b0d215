"""Reads a badge in any of its forms: what it is, what it claims, and the canonical bytes that a commitment is over.

    89 50 4E 47 ...    PNG with a baked badge          -> the text in it, then as below
    {...}              JSON: Open Badges 2.0, Open Badges 3.0 and CLR 2.0 on VC 1.1 or 2.0, other credentials
    xxx.yyy.zzz        compact JWS: Open Badges 2.0 signed; VC-JWT with the credential as payload, or under `vc`

The input is hostile: every size, depth and count is bounded before work is done, and every refusal is a MalformedBadge
of one sentence that repeats nothing of the badge.

What this does not do: verify the badge's own signature, ask whether its issuer is who it says, fetch anything, or know
the time. What a Badge says is what it claims; the proof of its issuance is the ledger's receipt. SVG is not read yet.
"""

from __future__ import annotations

from ledger.badges.baked import PNG_SIGNATURE, unbake_png
from ledger.badges.fields import ob2_fields, vc_fields
from ledger.badges.jws import CompactJws, decode_compact, is_compact
from ledger.badges.model import FORM_JSON, FORM_JWS, Badge, Wrapping
from ledger.badges.proofs import holds_proof, jws_is_proof
from ledger.badges.quick_json import read_json
from ledger.badges.strict_json import MAX_JSON_BYTES
from ledger.errors import MalformedBadge

_WHITESPACE = b" \t\n\r"


def read(data: bytes) -> Badge:
    """The badge in `data`: a PNG of at most 16 MiB, JSON or a compact JWS of at most 2 MiB. Raises MalformedBadge."""
    if data.startswith(PNG_SIGNATURE):
        return _read_text(unbake_png(data), "png")
    return _read_text(data, "plain")


def _read_text(data: bytes, wrapping: Wrapping) -> Badge:
    if len(data) > MAX_JSON_BYTES:
        raise MalformedBadge(f"the badge is larger than {MAX_JSON_BYTES} bytes")
    text = data.strip(_WHITESPACE)
    if not text:
        raise MalformedBadge("the badge is empty")
    if is_compact(text):
        return _read_jws(decode_compact(text), wrapping)
    if text[:8].lower().startswith((b"http://", b"https://")):
        raise MalformedBadge("an address is not a badge: hand in the document that it answers")
    if text.startswith(b"<"):
        raise MalformedBadge("SVG and other XML are not read by this version")
    # Everything else is taken for JSON, whose refusals say what is wrong.
    document, canonical = read_json(data)
    fields = vc_fields(document, is_jwt=False) or ob2_fields(document, is_jws=False)
    if fields is None:
        raise MalformedBadge("the JSON is neither an Open Badges assertion nor a verifiable credential")
    return Badge(
        form=FORM_JSON,
        canonical=canonical,
        wrapping=wrapping,
        document=document,
        signed=holds_proof(document),
        **fields,
    )


def _read_jws(jws: CompactJws, wrapping: Wrapping) -> Badge:
    fields = vc_fields(jws.payload, is_jwt=True) or ob2_fields(jws.payload, is_jws=True)
    if fields is None:
        raise MalformedBadge("the JWS holds neither an Open Badges assertion nor a verifiable credential")
    return Badge(
        form=FORM_JWS,
        canonical=jws.text,
        wrapping=wrapping,
        document=jws.payload,
        signed=jws_is_proof(jws),
        **fields,
    )
