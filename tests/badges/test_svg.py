"""ledger.badges.svg: images as they are made, damaged, and hostile.

Bounds are measured where possible by what is done (traced memory, sizes that grow), else by processor time with much
room.
"""

from __future__ import annotations

import builtins
import gzip
import socket
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ledger.badges import MAX_JSON_BYTES, read
from ledger.badges.svg import (
    MAX_ATTRIBUTES,
    MAX_DEPTH,
    MAX_NAMESPACE_CHARS,
    MAX_SVG_BYTES,
    is_svg,
    unbake_svg,
)
from ledger.errors import BadgeElsewhere, MalformedBadge
from tests.made_samples import SVG, in_svg, made

ROOT = b'<svg xmlns="http://www.w3.org/2000/svg">%s</svg>'
OB2 = b'<openbadges:assertion xmlns:openbadges="http://openbadges.org"%s>%s</openbadges:assertion>'
OB3 = b'<o:credential xmlns:o="https://purl.imsglobal.org/ob/v3p0"%s>%s</o:credential>'
CLR = b'<credential xmlns="https://purl.imsglobal.org/clr/v2p0"%s>%s</credential>'
TOKEN = made("ob3-jwt-eddsa")
VERIFY = b' verify="%s"' % TOKEN
ADDRESS = b' verify="https://a.example/1?a=b&amp;c"'
BADGE = OB3 % (VERIFY, b"")
DTD = b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">'


def svg(inside: bytes) -> bytes:
    """An SVG with something in it."""
    return ROOT % inside


@pytest.mark.parametrize(
    ("image", "baked"),
    [
        (svg(OB2 % (VERIFY, b"")), TOKEN),
        (svg(OB3 % (VERIFY, b"")), TOKEN),
        (svg(CLR % (VERIFY, b"")), TOKEN),
        (svg(OB3 % (VERIFY, b" \r\n ")), TOKEN),
        (svg(OB3 % (b"", b"\n<![CDATA[ {} ]]>\n")), b"{}"),
        (svg(OB3 % (b"", b'{"a": "&lt;&amp;&#233;\xc3\xa9"}')), '{"a": "<&éé"}'.encode()),
        (svg(OB3 % (b"", b'{"a": <![CDATA["<]]><![CDATA[b>"]]>}<!-- not me -->')), b'{"a": "<b>"}'),
        (svg(OB2 % (ADDRESS, b"")), b"https://a.example/1?a=b&c"),
        (svg(OB2 % (ADDRESS, b'{"id": 1}')), b'{"id": 1}'),
        (svg(OB2 % (b" verifying='x' ", b"{}")), b"{}"),
        (svg(b"<g><g>" + BADGE + b"</g></g>"), TOKEN),
        (b"<svg>" + BADGE + b"</svg>", TOKEN),
        (b"\xef\xbb\xbf \n" + svg(BADGE), TOKEN),
        (b'<?xml version="1.0" encoding="utf-8" standalone="no"?>\n<!-- a-b -->\n<?p i?>' + DTD + svg(BADGE), TOKEN),
        (DTD + svg(BADGE), TOKEN),
        (b"<!DOCTYPE svg>" + svg(BADGE), TOKEN),
        (svg(b"<credentials>{}</credentials><x:assert xmlns:x='http://openbadges.org'>{}</x:assert>" + BADGE), TOKEN),
        (svg(b"<g id='%s'/>" % (b"x" * 100_000) + BADGE), TOKEN),
        (svg(b"<g>" * (MAX_DEPTH - 2) + BADGE + b"</g>" * (MAX_DEPTH - 2)), TOKEN),
        (svg(b"<g %s/>" % b" ".join(b"a%d=''" % n for n in range(MAX_ATTRIBUTES)) + BADGE), TOKEN),
        (svg(OB3 % (b"", b"x" * MAX_JSON_BYTES)), b"x" * MAX_JSON_BYTES),
    ],
)
def test_the_badge_is_found(image: bytes, baked: bytes) -> None:
    """By namespace, whatever the prefix, the nesting, and the way that its text is written."""
    assert is_svg(image)
    assert unbake_svg(image).text == baked


def bomb() -> bytes:
    """Billion laughs: ten entities, each of ten of the one before."""
    entities = b'<!ENTITY a0 "ha">' + b"".join(
        b'<!ENTITY a%d "%s">' % (level, b"&a%d;" % (level - 1) * 10) for level in range(1, 11)
    )
    return b"<!DOCTYPE svg [" + entities + b"]>" + svg(OB3 % (b"", b"&a10;"))


NO_DTD = "declares a DTD or entities"
NO_XML = "not well-formed"
NOT_UTF_8 = "not UTF-8"
HOSTILE = {
    "no badge": (svg(b"<g/>"), "carries no badge"),
    "nothing in it": (svg(OB3 % (b"", b" ")), "element is empty"),
    "two badges": (svg(BADGE + BADGE), "more than one badge"),
    "two badges of two kinds": (svg(BADGE + OB2 % (ADDRESS, b"")), "more than one badge"),
    "two badges in one element": (svg(OB3 % (VERIFY, b"{}")), "more than one badge"),
    "two badges, one of no namespace that is known": (
        svg(BADGE + b"<x:assertion xmlns:x='urn:x'>{}</x:assertion>"),
        "more than one badge",
    ),
    "two badges, one of the image's own namespace": (
        svg(BADGE + b"<credential>{}</credential>"),
        "more than one badge",
    ),
    "two badges, one without a namespace": (b"<svg>" + BADGE + b"<credential/></svg>", "more than one badge"),
    "two badges, one in capitals": (svg(BADGE + b"<CREDENTIAL/>"), "more than one badge"),
    "a known prefix of another namespace": (
        svg(b"<openbadges:credential xmlns:openbadges='urn:x'>{}</openbadges:credential>"),
        "namespace that is not known",
    ),
    "a namespace with a slash more": (
        svg(OB3.replace(b"v3p0", b"v3p0/") % (VERIFY, b"")),
        "namespace that is not known",
    ),
    "an assertion where a credential belongs": (
        svg(OB3.replace(b"credential", b"assertion") % (VERIFY, b"")),
        "namespace that is not known",
    ),
    "a second verify, with a prefix": (svg(OB3 % (VERIFY + b" o:verify='e30.e30.AA'", b"")), "more than one badge"),
    "a second verify, in capitals": (svg(OB3 % (VERIFY + b" Verify='e30.e30.AA'", b"")), "more than one badge"),
    "an address beside a credential": (svg(OB3 % (ADDRESS, made("ob3-unsigned"))), "more than one badge"),
    "an address beside a record": (svg(CLR % (ADDRESS, b"{}")), "more than one badge"),
    "an address beside an assertion that lies elsewhere": (
        svg(OB2 % (ADDRESS, b"<![CDATA[" + made("ob2-badgr") + b"]]>")),
        "not the badge's own",
    ),
    "an address beside a credential in an assertion's element": (
        svg(OB2 % (ADDRESS, b"<![CDATA[" + made("ob3-unsigned") + b"]]>")),
        "not the badge's own",
    ),
    "two addresses": (svg(OB2 % (ADDRESS, b"https://a.example/2")), "not the badge's own"),
    "a badge in a badge": (svg(OB3 % (b"", BADGE)), "has elements in it"),
    "an element in the text": (svg(OB3 % (b"", b'{"a":<b/>1}')), "has elements in it"),
    "compressed": (gzip.compress(svg(BADGE)), "compressed"),
    "another root": (b"<html>" + BADGE + b"</html>", "not an SVG"),
    "a root of another namespace": (b'<svg xmlns="urn:x">' + BADGE + b"</svg>", "not an SVG"),
    "billion laughs": (bomb(), NO_DTD),
    "quadratic blow-up": (
        b'<!DOCTYPE svg [<!ENTITY a "' + b"x" * 100_000 + b'">]>' + svg(OB3 % (b"", b"&a;" * 20_000)),
        NO_DTD,
    ),
    "external entity": (
        b'<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + svg(OB3 % (b"", b"&a;")),
        NO_DTD,
    ),
    "parameter entity": (
        b'<!DOCTYPE svg [<!ENTITY % a SYSTEM "http://127.0.0.1:9/x"> %a;]>' + svg(BADGE),
        NO_DTD,
    ),
    "external DTD that is more": (
        b'<!DOCTYPE svg SYSTEM "http://127.0.0.1:9/x" [<!ENTITY a "b">]>' + svg(BADGE),
        NO_DTD,
    ),
    "attribute defaults": (
        b'<!DOCTYPE svg [<!ATTLIST o:credential verify CDATA "e30.e30.AA">]>' + svg(OB3 % (b"", b"")),
        NO_DTD,
    ),
    "entity of an external DTD": (DTD + svg(OB3 % (b"", b"{&other;}")), NO_XML),
    "entity of an external DTD in the attribute": (DTD + svg(OB3 % (b' verify="&other;%s"' % TOKEN, b"")), NO_XML),
    "two DTDs": (DTD + DTD + svg(BADGE), NO_DTD),
    "UTF-16": (svg(BADGE).decode().encode("utf-16"), NOT_UTF_8),
    "UTF-16 without a mark": (svg(BADGE).decode().encode("utf-16-le"), NOT_UTF_8),
    "UTF-16, the other way": (svg(BADGE).decode().encode("utf-16-be"), NOT_UTF_8),
    "UTF-32": (svg(BADGE).decode().encode("utf-32"), NOT_UTF_8),
    "UTF-16 by its word": (b'<?xml version="1.0" encoding="UTF-16"?>' + svg(BADGE), NOT_UTF_8),
    "UTF-7 by its word": (b"<?xml version='1.0' encoding='utf-7'?>" + svg(BADGE), NOT_UTF_8),
    "Latin-1": (b'<?xml version="1.0" encoding="iso-8859-1"?>' + svg(BADGE), NOT_UTF_8),
    "Latin-1 without its word": (svg(b"<g id='\xe9'/>" + BADGE), NOT_UTF_8),
    "mixed encodings": (svg(BADGE) + svg(BADGE).decode().encode("utf-16"), NOT_UTF_8),
    "lone surrogate": (svg(OB3 % (b"", b"\xed\xa0\x80")), NOT_UTF_8),
    "NUL": (svg(OB3 % (b"", b"{\0}")), NO_XML),
    "control character": (svg(OB3 % (b"", b"{&#1;}")), NO_XML),
    "the same attribute twice": (svg(OB3 % (VERIFY * 2, b"")), NO_XML),
    "undeclared prefix": (b"<svg><o:credential/></svg>", NO_XML),
    "something after the end": (svg(BADGE) + b"x", NO_XML),
    "two roots": (svg(BADGE) * 2, NO_XML),
    "cut short": (svg(BADGE)[:-1], NO_XML),
    "nested deep": (b"<svg>" + b"<g>" * MAX_DEPTH, "nested deeper"),
    "nested deep to the limit": (b"<svg>" + b"<g>" * ((MAX_SVG_BYTES - 5) // 3), "nested deeper"),
    "many elements to the limit": (
        svg(b"<g/>" * ((MAX_SVG_BYTES - 47) // 4)),
        "more than 300000 elements and attributes",
    ),
    "many attributes": (
        svg(b"<g %s/>" % b" ".join(b"a%d=''" % n for n in range(MAX_ATTRIBUTES + 1)) + BADGE),
        "more than 1000 attributes",
    ),
    "many attributes to the limit": (
        svg(b"<g x='>' %s/>" % b" ".join(b"a%x=''" % n for n in range(1_400_000))),
        "more than 1000 attributes",
    ),
    "many attributes in many tags": (
        svg(
            b"".join(b"<g %s/>" % b" ".join(b"a%x=''" % (n + m) for m in range(900)) for n in range(0, 1_300_000, 900))
        ),
        "more than 300000 elements and attributes",
    ),
    "many long names of attributes": (
        b"<svg xmlns:b='%s'>" % (b"u" * MAX_NAMESPACE_CHARS)
        + b"".join(
            b"<g %s/>" % b" ".join(b"b:%c%x=''" % (97, n + m) for m in range(900)) for n in range(0, 1_000_000, 900)
        )
        + b"</svg>",
        "more than 300000 elements and attributes",
    ),
    "many namespaces in many tags": (
        svg(
            b"".join(
                b"<g %s/>" % b" ".join(b"xmlns:a%x='u'" % (n + m) for m in range(900)) for n in range(0, 800_000, 900)
            )
        ),
        "more than 300000 elements and attributes",
    ),
    "many namespaces": (
        svg(b"<g %s/>" % b" ".join(b"xmlns:a%d='u'" % n for n in range(500_000))),
        "more than 1000 attributes",
    ),
    "long namespace in many names": (
        b"<svg xmlns:a='%s'>" % (b"u" * (MAX_NAMESPACE_CHARS + 1)) + b"<a:g/>" * 100_000 + b"</svg>",
        "namespace of more than 256 characters",
    ),
    "long namespace by references": (
        b"<svg xmlns='%s'>" % (b"&#117;" * 1_000_000) + b"<g/>" * 100_000 + b"</svg>",
        "namespace of more than 256 characters",
    ),
    "long name": (svg(b"<" + b"g" * 15_000_000 + b"/>"), "carries no badge"),
    "long attribute": (svg(b"<g a='" + b"&#65;" * 3_000_000 + b"'/>"), "carries no badge"),
    "long comment": (svg(b"<!--" + b"- " * 7_000_000 + b"-->"), "carries no badge"),
    "long prolog": (b"<!-- -->" * 2_000_000 + b"<svg/>", "carries no badge"),
    "long prolog without an end": (b"<!--" + b"- " * 8_000_000, NO_XML),
    "white space": (b"<" + b" " * 16_000_000, NO_XML),
    "angle brackets": (b"<" * 16_000_000, NO_XML),
    "quotes": (b"<a " + b'"' * 16_000_000, "more than 1000 attributes"),
    "quotes of both kinds": (b"<a \"'" * 3_000_000, NO_XML),
    "declaration without an end": (b"<?xml " + b"encoding " * 1_700_000, NO_XML),
    "long badge": (svg(OB3 % (b"", b"x" * (MAX_JSON_BYTES + 1))), "badge in the image is larger"),
    "long badge in the attribute": (
        svg(OB3 % (b" verify='%s'" % (b"x" * (MAX_JSON_BYTES + 1)), b"")),
        "badge in the image is larger",
    ),
    "long badge in UTF-8": (svg(OB3 % (b"", "é".encode() * MAX_JSON_BYTES)), "badge in the image is larger"),
    "long badge in pieces": (svg(OB3 % (b"", b"x<!---->" * 500_000)), "neither JSON nor a token"),
    "larger than the limit": (svg(b" " * MAX_SVG_BYTES), "image is larger"),
}


@pytest.mark.parametrize("name", ["ob2-badgr", "ob1-hosted"])
def test_the_address_beside_the_text_is_the_badges_own(name: str) -> None:
    """Its `id`, or that of its verification, as Open Badges 2.0 bakes a hosted badge."""
    text = made(name)
    address = read(text).id
    assert address is not None
    image = svg(OB2 % (b" verify='%s'" % address.replace("&", "&amp;").encode(), b"<![CDATA[" + text + b"]]>"))
    assert read(image).canonical == read(text).canonical
    with pytest.raises(BadgeElsewhere):
        read(svg(OB2 % (ADDRESS, b"https://a.example/1?a=b&amp;c")))


@contextmanager
def bounded() -> Iterator[None]:
    """At most 20 s of processor time, and 160 MiB: ten times the largest image."""
    tracemalloc.start()
    try:
        started = time.process_time()
        yield
        assert time.process_time() - started < 20
        assert tracemalloc.get_traced_memory()[1] < 160 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_hostile_ends_in_one_sentence(name: str) -> None:
    """Quickly, in bounded memory, and without a trace of what is in the image."""
    image, reason = HOSTILE[name]
    with bounded(), pytest.raises(MalformedBadge, match=reason) as caught:
        read(image)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 120
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("name", ["ob3-jwt-eddsa", "ob2-badgr"])
def test_every_truncation_is_refused(name: str) -> None:
    """An image cut off anywhere is refused, and never half a badge read."""
    image = in_svg(made(name), "ob2" if name.startswith("ob2") else "ob3")
    for length in range(len(image)):
        with pytest.raises(MalformedBadge):
            read(image[:length])


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """No address in the image is opened, not even to see whether it is there."""

    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("opened")

    read(in_svg(TOKEN))  # whatever is imported late is imported now
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(builtins, "open", refuse)
    for image in (SVG.replace(b"</svg>", BADGE + b"</svg>"), DTD + svg(BADGE), HOSTILE["external entity"][0]):
        try:
            read(image)
        except MalformedBadge:
            continue
