"""Badges baked into SVG images (Open Badges 2.0 Baking, Open Badges 3.0 section 5.3, CLR 2.0): what the image carries.

    <openbadges:assertion verify="JWS or address">JSON</openbadges:assertion>      xmlns http://openbadges.org
    <openbadges:credential verify="JWS">JSON</openbadges:credential>               https://purl.imsglobal.org/ob/v3p0
    <clr:credential verify="JWS">JSON</clr:credential>                             https://purl.imsglobal.org/clr/v2p0

Either `verify` is the badge, or the text is; a hosted Open Badges 1 or 2.0 badge may have its address in `verify`, too.
Exactly one such element: of two, another reader might take the other one. Since others go by prefix, in any namespace,
or by either, every element of these local names counts, and has to be one of the three above; so does every `verify`.

The image is hostile. It is UTF-8 and nothing else, has no DTD but one that names an external one (which is cut out
before the parser sees it, so that no entity of it can vanish from the text), and is streamed, with no tree built.
What costs more than its length is bounded: depth, elements and attributes, those of one tag, and the length of a
namespace, which the parser repeats in every name.

Why not openbadgeslib's extraction: it goes by prefix, not namespace, takes the first of two badges, and builds a tree
some hundred times as large as the image, by recursion.

What this does not do: draw the image, fetch an address or a DTD, or read gzip (.svgz).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from xml.sax.xmlreader import AttributesNSImpl

from ledger.badges.strict_json import MAX_JSON_BYTES
from ledger.errors import MalformedBadge

#: The most bytes of an SVG that are read, 16 MiB, as of a PNG.
MAX_SVG_BYTES: Final = 16 * 1024 * 1024
#: The most levels of elements; drawings have some ten.
MAX_DEPTH: Final = 1_000
#: The most elements, attributes and declarations of namespaces together; the parser keeps what it knows of each name.
MAX_NODES: Final = 300_000
#: The most attributes of one tag, in which the parser keeps them all at once.
MAX_ATTRIBUTES: Final = 1_000
#: The longest namespace, in characters.
MAX_NAMESPACE_CHARS: Final = 256

CARRIERS: Final = frozenset(
    {
        ("http://openbadges.org", "assertion"),
        ("https://purl.imsglobal.org/ob/v3p0", "credential"),
        ("https://purl.imsglobal.org/clr/v2p0", "credential"),
    }
)
SVG_NAMESPACE: Final = "http://www.w3.org/2000/svg"
_SVG_ROOT: Final = (SVG_NAMESPACE, "svg")
_VERIFY: Final = (None, "verify")
_ROOT_WITHOUT_NAMESPACE: Final = (None, "svg")
_GZIP: Final = b"\x1f\x8b"
_BOM: Final = b"\xef\xbb\xbf"
# Possessive quantifiers throughout: time is linear in the image.
_PROLOG: Final = rb"(?:\s++|<\?(?:[^?]|\?(?!>))*+\?>|<!--(?:[^-]|-(?!-))*+-->)*+"
_EXTERNAL_DTD: Final = re.compile(rb"(" + _PROLOG + rb")<!DOCTYPE\s[^\[\]<>]*+>")
_ENCODING: Final = re.compile(rb"<\?xml\s[^?>]*?\sencoding\s*=\s*[\"']([^\"'?>]*)[\"']")
_ENCODINGS: Final = frozenset({b"utf-8", b"utf8", b"us-ascii", b"ascii"})
# A tag is over at the next `<`: no attribute holds one.
_MANY_ATTRIBUTES: Final = re.compile(
    rb"<[^<>\"'!?/][^<>\"']*+(?:(?:\"[^\"<]*+\"|'[^'<]*+')[^<>\"']*+){%d}+" % (MAX_ATTRIBUTES + 1)
)


class Carrier(NamedTuple):
    """An element that was looked for: (namespace, local name), the attribute `verify`, and its text in pieces.

    has_decoy: it has an attribute, too, that others might take for `verify`.
    """

    name: tuple[str | None, str]
    verify: str | None
    has_decoy: bool
    pieces: list[str]

    @property
    def text(self) -> str:
        """The text, without white space around it."""
        return "".join(self.pieces).strip(" \t\r\n")


class _Refused(Exception):
    """A limit; the parser passes it through."""


def is_svg(data: bytes) -> bool:
    """Whether `data` can be nothing else than XML, or is compressed as SVG sometimes is."""
    return data.startswith(_GZIP) or data[:64].removeprefix(_BOM).lstrip()[:1] == b"<" or _is_utf_16(data)


class Unbaked(NamedTuple):
    """What the badge element of an SVG holds.

    text: JSON, compact JWS or an address, as UTF-8. address: what stands in `verify` beside it, which another reader
    may take, and which therefore has to be the badge's own; None if there is none.
    """

    text: bytes
    address: str | None


def is_carrier(namespace: str | None, name: str) -> bool:
    """Whether some reader may take an element for a badge; of known namespaces only those in CARRIERS are."""
    return name.lower() in ("assertion", "credential")


def unbake_svg(data: bytes) -> Unbaked:
    """What the one badge element of an SVG of at most MAX_SVG_BYTES holds.

    Raises MalformedBadge for what is no SVG, is compressed, is not UTF-8, holds markup declarations, exceeds a limit,
    or carries no badge or more than one.
    """
    found = scan_svg(data, is_carrier)
    if not found:
        raise MalformedBadge("the image carries no badge")
    if len(found) > 1:
        raise MalformedBadge("the image carries more than one badge")
    carrier = found[0]
    if carrier.name not in CARRIERS:
        raise MalformedBadge("the image has a badge element of a namespace that is not known")
    text = carrier.text
    verify = (carrier.verify or "").strip(" \t\r\n")
    is_beside = bool(text and verify)
    is_assertion = carrier.name[1] == "assertion"
    if carrier.has_decoy or (is_beside and not (is_assertion and verify.lower().startswith(("http://", "https://")))):
        raise MalformedBadge("the image carries more than one badge")
    baked = (text or verify).encode("utf-8")
    if not baked:
        raise MalformedBadge("the image's badge element is empty")
    if len(baked) > MAX_JSON_BYTES:
        raise MalformedBadge(f"the badge in the image is larger than {MAX_JSON_BYTES} bytes")
    return Unbaked(baked, verify if is_beside else None)


def _is_utf_16(data: bytes) -> bool:
    return data.startswith((b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<"))


def without_doctype(data: bytes) -> bytes:
    """The SVG without a byte order mark and without the DOCTYPE that names an external DTD. Raises MalformedBadge."""
    data = data.removeprefix(_BOM)
    declared = _ENCODING.match(data)
    if _is_utf_16(data) or (declared is not None and declared[1].lower() not in _ENCODINGS):
        raise MalformedBadge("the SVG is not UTF-8")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedBadge("the SVG is not UTF-8") from None
    doctype = _EXTERNAL_DTD.match(data)
    if doctype is not None:
        data = doctype[1] + data[doctype.end() :]
    if _MANY_ATTRIBUTES.search(data) is not None:
        raise MalformedBadge(f"the SVG has a tag with more than {MAX_ATTRIBUTES} attributes")
    return data


def scan_svg(data: bytes, is_sought: Callable[[str | None, str], bool]) -> list[Carrier]:
    """The elements, by namespace and local name, that are sought in an SVG, in document order; of more than two, two.

    Raises MalformedBadge as `unbake_svg` does, but not for their number.
    """
    if data.startswith(_GZIP):
        raise MalformedBadge("the image is compressed (.svgz): hand it in unpacked")
    if len(data) > MAX_SVG_BYTES:
        raise MalformedBadge(f"the image is larger than {MAX_SVG_BYTES} bytes")
    data = without_doctype(data)
    from xml.sax import SAXException
    from xml.sax.handler import ContentHandler, feature_namespaces

    from defusedxml.common import DefusedXmlException
    from defusedxml.expatreader import create_parser

    found: list[Carrier] = []

    class Collector(ContentHandler):
        """Keeps the carriers, and refuses what exceeds a limit."""

        depth = nodes = 0
        #: The depth of the carrier that is open, 0 if none is.
        carrier_depth = 0
        characters_kept = 0

        def count(self, nodes: int) -> None:
            self.nodes += nodes
            if self.nodes > MAX_NODES:
                raise _Refused(f"the SVG has more than {MAX_NODES} elements and attributes")

        def startPrefixMapping(self, prefix: str | None, uri: str | None) -> None:  # noqa: N802 - SAX names it
            self.count(1)
            if uri is not None and len(uri) > MAX_NAMESPACE_CHARS:
                raise _Refused(f"the SVG has a namespace of more than {MAX_NAMESPACE_CHARS} characters")

        def startElementNS(  # noqa: N802
            self, name: tuple[str | None, str], qname: str | None, attributes: AttributesNSImpl
        ) -> None:
            if self.depth == 0 and name not in (_SVG_ROOT, _ROOT_WITHOUT_NAMESPACE):
                raise _Refused("the XML is not an SVG image")
            self.depth += 1
            self.count(1 + len(attributes))
            if self.depth > MAX_DEPTH:
                raise _Refused(f"the SVG is nested deeper than {MAX_DEPTH} levels")
            if self.carrier_depth:
                raise _Refused("the image's badge element has elements in it")
            if is_sought(*name) and len(found) < 2:
                self.carrier_depth = self.depth
                decoys = [known for known in attributes.getNames() if known != _VERIFY and known[1].lower() == "verify"]
                found.append(Carrier(name, attributes.get(_VERIFY), bool(decoys), []))

        def endElementNS(self, name: tuple[str | None, str], qname: str | None) -> None:  # noqa: N802
            if self.depth == self.carrier_depth:
                self.carrier_depth = 0
            self.depth -= 1

        def characters(self, content: str) -> None:
            if self.carrier_depth:
                self.characters_kept += len(content)
                if self.characters_kept > MAX_JSON_BYTES:
                    raise _Refused(f"the badge in the image is larger than {MAX_JSON_BYTES} bytes")
                found[-1].pieces.append(content)

    parser: Any = create_parser(forbid_dtd=True, forbid_entities=True, forbid_external=True)
    parser.setFeature(feature_namespaces, True)
    parser.setContentHandler(Collector())
    try:
        parser.feed(data)
        parser.close()
    except _Refused as refusal:
        raise MalformedBadge(str(refusal)) from None
    except DefusedXmlException:
        raise MalformedBadge("the SVG declares a DTD or entities of its own") from None
    except (SAXException, ValueError):
        # Its message may quote the image.
        raise MalformedBadge("the SVG is not well-formed XML") from None
    return found
