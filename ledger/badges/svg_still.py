"""SVG as a still picture: what is left may be opened in a browser, and runs, loads and follows nothing.

    kept      the elements and attributes of SVG that draw, their style, links within the image, raster images in it
    dropped   what editors keep for themselves: `metadata`, elements and attributes of their namespaces; comments,
              processing instructions, a DOCTYPE, declarations of namespaces that nothing is left of
    refused   everything else: scripts, handlers, animation, links (`a`), HTML, style sheets and images from elsewhere

An allow-list, since new ways to be active keep being added: an element that is not named here is refused. Names are
namespace and local name, never a prefix.

What this does not do: check that the drawing is valid SVG, or find the badge in it (`ledger.badges.svg`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from ledger.badges.svg import SVG_NAMESPACE, without_doctype
from ledger.errors import InputError, MalformedBadge

_XLINK: Final = "http://www.w3.org/1999/xlink"
_XML: Final = "http://www.w3.org/XML/1998/namespace"
_XMLNS: Final = "http://www.w3.org/2000/xmlns/"
# SVG 1.1 and 2 without animation, links, scripts, foreign objects and fonts that lie elsewhere.
_ELEMENTS: Final = frozenset(
    (  # noqa: SIM905 - sixty literals are harder to read
        "svg g defs symbol use switch title desc style view path rect circle ellipse line polyline polygon text tspan "
        "tref textPath image marker pattern mask clipPath linearGradient radialGradient meshgradient meshrow meshpatch "
        "hatch hatchpath solidcolor stop filter feBlend feColorMatrix feComponentTransfer feComposite feConvolveMatrix "
        "feDiffuseLighting feDisplacementMap feDistantLight feDropShadow feFlood feFuncA feFuncB feFuncG feFuncR "
        "feGaussianBlur feImage feMerge feMergeNode feMorphology feOffset fePointLight feSpecularLighting feSpotLight "
        "feTile feTurbulence font font-face glyph missing-glyph hkern vkern"
    ).split()
)
#: How the namespaces of editors' own data begin.
_EDITORS: Final = (
    "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "http://creativecommons.org/ns#",
    "http://web.resource.org/cc/",
    "http://purl.org/dc/",
    "http://sodipodi.sourceforge.net/",
    "http://inkscape.sourceforge.net/",
    "http://www.inkscape.org/namespaces/",
    "http://ns.adobe.com/",
    "adobe:ns:meta/",
    "http://www.bohemiancoding.com/sketch/",
    "https://boxy-svg.com",
    "http://www.serif.com/",
    "http://vectornator.io",
)
# `ping` is no attribute of an element above, and must not become one unnoticed.
_LINKS: Final = frozenset({"href", "src", "ping"})
# What readers of addresses pass over.
_IGNORED: Final = re.compile(r"[\x00-\x20\x7f-\xa0]+")
_INSIDE: Final = re.compile(r"#.*|data:image/(?:png|jpe?g|gif|webp)[;,].*", re.IGNORECASE | re.DOTALL)
# In CSS an address also stands in a function without `url`, and an escape hides either.
_CSS_URL: Final = re.compile(r"url\(", re.IGNORECASE)
_CSS_INSIDE: Final = re.compile(r"url\(\s*+(?:\"[^\"()\\]*+\"|'[^'()\\]*+'|[^\"'()\\\s]++)\s*+\)", re.IGNORECASE)
_CSS_ACTIVE: Final = re.compile(r"\\|@import|(?:image|image-set|src|cross-fade|expression)\(", re.IGNORECASE)
_STRANGE: Final = re.compile(r"[^A-Za-z0-9_.:-]")


def still_svg(image: bytes, is_dropped: Callable[[str | None, str], bool]) -> Any:
    """The SVG, which `ledger.badges.svg.scan_svg` has read, as a DOM (xml.dom.minidom) with nothing active in it.

    is_dropped: of namespace and local name, whether an element goes with all that is in it. Raises InputError, which
    names what is refused, and MalformedBadge for what cannot be read.
    """
    from defusedxml.minidom import parseString

    try:
        tree = parseString(without_doctype(image), forbid_dtd=True)
    except Exception:
        raise MalformedBadge("the image is no SVG that can be read: its XML cannot be changed") from None
    for node in list(tree.childNodes):
        if node is not tree.documentElement:
            _drop_or_refuse(node)
    root = tree.documentElement
    if root.namespaceURI not in (SVG_NAMESPACE, None) or root.localName != "svg":
        raise MalformedBadge("the XML is not an SVG image")
    elements = [root]
    while elements:
        element = elements.pop()
        _check_attributes(element)
        if element.localName == "style":
            _check_css("".join(child.data for child in element.childNodes if _is_text(child)))
        for child in list(element.childNodes):
            if _is_text(child):
                continue
            if child.nodeType != child.ELEMENT_NODE:
                _drop_or_refuse(child)
            elif is_dropped(child.namespaceURI, child.localName) or _is_of_editors(child, root.namespaceURI):
                element.removeChild(child)
            elif child.namespaceURI != root.namespaceURI or child.localName not in _ELEMENTS:
                raise InputError(f"the image is no still picture: it holds the element {_shown(child.nodeName)}")
            else:
                elements.append(child)
    return tree


def _is_text(node: Any) -> bool:
    return node.nodeType in (node.TEXT_NODE, node.CDATA_SECTION_NODE)


def _is_of_editors(element: Any, own: str | None) -> bool:
    namespace = element.namespaceURI
    if namespace == own:
        return bool(element.localName == "metadata")
    return bool((namespace or "").startswith(_EDITORS))


def _drop_or_refuse(node: Any) -> None:
    """A comment or a processing instruction goes, unless it is a style sheet, which is part of the picture."""
    if node.nodeType == node.PROCESSING_INSTRUCTION_NODE and node.target.lower() == "xml-stylesheet":
        raise InputError("the image is no still picture: it names a style sheet (xml-stylesheet)")
    node.parentNode.removeChild(node)


def _check_attributes(element: Any) -> None:
    for attribute in list(element.attributes.values()):
        namespace, name, value = attribute.namespaceURI, attribute.localName, attribute.value
        if namespace == _XMLNS:
            # A declaration that nothing left uses could give an old prefix a new meaning for what is added.
            if value not in (SVG_NAMESPACE, _XLINK):
                element.removeAttributeNode(attribute)
        elif namespace == _XML and name == "base":
            raise InputError("the image is no still picture: xml:base moves its links elsewhere")
        elif namespace not in (None, _XLINK, _XML):
            element.removeAttributeNode(attribute)
        elif namespace is None and name.lower().startswith("on"):
            raise InputError(f"the image is no still picture: it has the handler {_shown(name)}")
        elif name.lower() in _LINKS:
            if _INSIDE.fullmatch(_IGNORED.sub("", value)) is None:
                raise InputError("the image is no still picture: it links to something that is not in it")
        elif name.lower() == "style" or "(" in value:
            _check_css(value)


def _check_css(css: str) -> None:
    """Raises InputError for CSS that names anything outside the image, or might."""
    inside = [match[0][4:-1].strip(" \t\r\n\f\"'") for match in _CSS_INSIDE.finditer(css)]
    if (
        _CSS_ACTIVE.search(css) is not None
        or len(inside) != len(_CSS_URL.findall(css))
        or not all(_INSIDE.fullmatch(_IGNORED.sub("", url)) for url in inside)
    ):
        raise InputError("the image is no still picture: its style names something that is not in it")


def _shown(name: str) -> str:
    return _STRANGE.sub("?", name)[:40]
