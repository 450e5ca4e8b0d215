"""Reads a badge in any of its forms: what it is, what it claims, and the canonical bytes that a commitment is over.

    89 50 4E 47 ...    PNG with a baked badge          -> the text in it, then as below
    <svg ...           SVG with a baked badge          -> the text in it, then as below
    {...}              JSON: Open Badges 1, 2.0, 3.0 and CLR 2.0 on VC 1.1 or 2.0, Blockcerts 3, other credentials;
                       a JWS in its JSON serialisations, an enveloped JWT -> the compact token in it, then as below
    xxx.yyy.zzz        compact JWS: Open Badges 1 and 2.0 signed; VC-JWT with the credential as payload, or under `vc`
    https://...        the address of a badge, alone or baked          -> BadgeElsewhere

A badge that says of itself that it is revoked is read, with `revoked` set: whoever verifies it learns that, and whoever
would issue it has to refuse.

The input is hostile: every size, depth and count is bounded before work is done, and every refusal is a MalformedBadge
of one sentence that repeats nothing of the badge.

What this does not do: verify the badge's own signature, ask whether its issuer is who it says, fetch anything, or know
the time. What a Badge says is what it claims; the proof of its issuance is the ledger's receipt.
"""

from __future__ import annotations

from typing import Any, Final

from ledger.badges.addresses import address
from ledger.badges.baked import PNG_SIGNATURE, unbake_png
from ledger.badges.fields import address_in, assertion_fields, credentials_in, own_addresses, vc_fields
from ledger.badges.jws import CompactJws, decode_compact, is_compact
from ledger.badges.jws_json import token_in
from ledger.badges.model import FORM_JSON, FORM_JWS, Badge, Wrapping
from ledger.badges.proofs import holds_proof, jws_is_proof
from ledger.badges.quick_json import read_json
from ledger.badges.strict_json import MAX_JSON_BYTES, canonical_json
from ledger.badges.svg import is_svg, unbake_svg
from ledger.errors import BadgeElsewhere, MalformedBadge

#: The most credentials directly inside a CLR.
MAX_NESTED: Final = 1_000

_WHITESPACE = b" \t\n\r"
#: How text that is meant as JSON begins, byte order marks included.
_JSON_BEGINS = (b"{", b"[", b'"', b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


def read(data: bytes) -> Badge:
    """The badge in `data`: an image of at most 16 MiB, JSON or a compact JWS of at most 2 MiB.

    Raises BadgeElsewhere where there is only the address of a badge, otherwise MalformedBadge.
    """
    if data.startswith(PNG_SIGNATURE):
        return _read_text(unbake_png(data), "png")
    if is_svg(data):
        return _read_svg(data)
    return _read_text(data, "plain")


def nested(badge: Badge) -> tuple[Badge, ...]:
    """The credentials directly in a CLR 2.0, each a badge of its own, in their order; () for any other badge.

    One that is a CLR has its own in turn. Raises MalformedBadge if one of them cannot be read, or for more than
    MAX_NESTED.
    """
    if not badge.kind.startswith("clr2"):
        return ()
    found = credentials_in(badge.document, is_jwt=badge.form == FORM_JWS)
    if len(found) > MAX_NESTED:
        raise MalformedBadge(f"the record holds more than {MAX_NESTED} credentials")
    return tuple(_read_nested(one, badge.wrapping) for one in found)


def _read_nested(credential: Any, wrapping: Wrapping) -> Badge:
    if isinstance(credential, dict):
        # Writing part of a document again gives what is read from that part alone.
        return _read_document(credential, None, wrapping)
    if isinstance(credential, str) and is_compact(credential.encode("utf-8")):
        return _read_jws(decode_compact(credential.encode("ascii")), wrapping)
    raise MalformedBadge("the record holds something that is neither a credential nor a JWT")


def _read_svg(data: bytes) -> Badge:
    text, beside = unbake_svg(data)
    try:
        badge = _read_text(text, "svg")
        own = own_addresses(badge.document) if badge.kind.startswith(("ob1", "ob2")) else ()
    except BadgeElsewhere as elsewhere:
        if beside in (None, elsewhere.url):
            raise
        own = ()
    if beside is not None and beside not in own:
        raise MalformedBadge("the image has an address beside the badge that is not the badge's own")
    return badge


def _read_text(data: bytes, wrapping: Wrapping) -> Badge:
    if len(data) > MAX_JSON_BYTES:
        raise MalformedBadge(f"the badge is larger than {MAX_JSON_BYTES} bytes")
    text = data.strip(_WHITESPACE)
    if not text:
        raise MalformedBadge("the badge is empty")
    if is_compact(text):
        return _read_jws(decode_compact(text), wrapping)
    if text[:8].lower().startswith((b"http://", b"https://")):
        url = address(text)
        if url is None:
            raise MalformedBadge("the badge is neither a badge nor a usable address of one")
        raise _elsewhere(url, wrapping)
    if not text.startswith(_JSON_BEGINS):
        if wrapping == "plain":
            raise MalformedBadge("this is neither JSON, nor a token (JWT, JWS), nor a PNG or SVG image")
        raise MalformedBadge("what is baked into the image is neither JSON nor a token (JWT, JWS)")
    # Everything else is taken for JSON, whose refusals say what is wrong.
    return _read_document(*read_json(data), wrapping)


def _read_document(document: dict[str, Any], canonical: bytes | None, wrapping: Wrapping) -> Badge:
    """The badge in a document; `canonical` is its RFC 8785 form, None to make it if it is needed."""
    token = token_in(document)
    if token is not None:
        return _read_jws(decode_compact(token), wrapping)
    fields = vc_fields(document, is_jwt=False) or assertion_fields(document, is_jws=False)
    if fields is None:
        url = address_in(document)
        if url is not None:
            raise _elsewhere(url, wrapping)
        raise MalformedBadge("the JSON is neither an Open Badges assertion nor a verifiable credential")
    return Badge(
        form=FORM_JSON,
        canonical=canonical_json(document) if canonical is None else canonical,
        wrapping=wrapping,
        document=document,
        signed=holds_proof(document),
        **fields,
    )


def _read_jws(jws: CompactJws, wrapping: Wrapping) -> Badge:
    fields = vc_fields(jws.payload, is_jwt=True) or assertion_fields(jws.payload, is_jws=True)
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


def _elsewhere(url: str, wrapping: Wrapping) -> BadgeElsewhere:
    what = "file" if wrapping == "plain" else "image"
    return BadgeElsewhere(
        f"the {what} holds only the address of a badge: hand in the document that it answers", url=url
    )
