"""What is baked is a still picture, for badges of every family: nothing in it runs, loads or leads anywhere."""

from __future__ import annotations

import pytest

from ledger.badges import Badge, read
from ledger.badges.bake import bake, baked_receipt
from ledger.errors import InputError, LedgerError
from tests.made_samples import made

RECEIPT = b'{"origin":"ledger.example/1"}'
FAMILIES: dict[str, Badge] = {
    "Open Badges 2.0": read(made("ob2-badgr")),
    "Open Badges 2.0, signed": read(made("ob2-jws-eddsa")),
    "Open Badges 3.0": read(made("ob3-eddsa-rdfc-2022")),
    "Open Badges 3.0, JWT": read(made("ob3-jwt-eddsa")),
    "CLR 2.0": read(made("clr2-eddsa-rdfc-2022")),
}
NS = 'xmlns="http://www.w3.org/2000/svg"'
XLINK = 'xmlns:xlink="http://www.w3.org/1999/xlink"'
XHTML = 'xmlns="http://www.w3.org/1999/xhtml"'
S = 'xmlns:s="http://www.w3.org/2000/svg"'
ELSEWHERE = "https://evil.example/x"

ACTIVE: dict[str, tuple[str, str]] = {
    "script": ("<script>alert(1)</script>", "element script"),
    "script with a prefix": (f"<s:script {S}>alert(1)</s:script>", "element s:script"),
    "script that is elsewhere": (f'<script href="{ELSEWHERE}"/>', "element script"),
    "script of XHTML": (f"<script {XHTML}>alert(1)</script>", "element script"),
    "script in what is defined": ("<defs><g><script/></g></defs>", "element script"),
    "script in capitals": ("<SCRIPT/>", "element SCRIPT"),
    "handler": ('<path onload="alert(1)"/>', "handler onload"),
    "handler in capitals": ('<path onClick="alert(1)"/>', "handler onClick"),
    "handler of a later time": ('<g onsomethingnew="alert(1)"/>', "handler onsomethingnew"),
    "handler of SVG Tiny": ("<handler/>", "element handler"),
    "listener of XML Events": ('<listener xmlns="http://www.w3.org/2001/xml-events"/>', "element listener"),
    "foreign object": (f"<foreignObject><p {XHTML}/></foreignObject>", "element foreignObject"),
    "frame": (f'<iframe {XHTML} srcdoc="x"/>', "element iframe"),
    "frame, bare": ("<iframe/>", "element iframe"),
    "object": ("<object/>", "element object"),
    "embed": (f"<embed {XHTML}/>", "element embed"),
    "audio": ("<audio/>", "element audio"),
    "video": ("<video/>", "element video"),
    "meta refresh": (f'<meta {XHTML} http-equiv="refresh" content="0;url={ELSEWHERE}"/>', "element meta"),
    "form": (f'<form {XHTML}><button formaction="javascript:alert(1)"/></form>', "element form"),
    "namespace of nobody": ('<x:thing xmlns:x="urn:x"/>', "element x:thing"),
    "link": ('<a href="javascript:alert(1)"><path/></a>', "element a"),
    "link in pieces": ('<a href="java&#9;script:alert(1)"><path/></a>', "element a"),
    "animated link": ('<a><animate attributeName="href" values="javascript:alert(1)"/></a>', "element a"),
    "animation": ('<path><animate attributeName="d" values="M0"/></path>', "element animate"),
    "set": ('<use><set attributeName="xlink:href" to="javascript:alert(1)"/></use>', "element set"),
    "animated transform": ("<animateTransform/>", "element animateTransform"),
    "javascript": ('<use href="javascript:alert(1)"/>', "links to something"),
    "javascript with a tab": ('<use href="java&#9;script:alert(1)"/>', "links to something"),
    "javascript with a newline": ('<use href="java&#10;script:alert(1)"/>', "links to something"),
    "javascript with xlink": (f'<use {XLINK} xlink:href="javascript:alert(1)"/>', "links to something"),
    "javascript with xlink of another prefix": (
        '<use xmlns:l="http://www.w3.org/1999/xlink" l:href="javascript:alert(1)"/>',
        "links to something",
    ),
    "javascript behind a hash": ('<use href="&#xa0;x:#a"/>', "links to something"),
    "image from elsewhere": (f'<image href="{ELSEWHERE}"/>', "links to something"),
    "image from the same host": ('<image href="/x.png"/>', "links to something"),
    "image from nowhere": ('<image href=""/>', "links to something"),
    "image from elsewhere by src": (f'<image src="{ELSEWHERE}"/>', "links to something"),
    "image of SVG": ('<image href="data:image/svg+xml,&lt;svg/&gt;"/>', "links to something"),
    "image of HTML": ('<image href="data:text/html,x"/>', "links to something"),
    "image whose type only begins well": ('<image href="data:image/pngx,x"/>', "links to something"),
    "shape from elsewhere": (f'<use href="{ELSEWHERE}.svg#x"/>', "links to something"),
    "another base": (f'<g xml:base="{ELSEWHERE}"/>', "xml:base"),
    "style from elsewhere": (f"<style>@import '{ELSEWHERE}';</style>", "its style"),
    "style from elsewhere by url": (f"<style>@IMPORT url({ELSEWHERE});</style>", "its style"),
    "style from elsewhere, escaped": (f"<style>@\\69mport '{ELSEWHERE}';</style>", "its style"),
    "style in pieces": (f"<style>@im<![CDATA[port '{ELSEWHERE}']]></style>", "its style"),
    "style in pieces around a comment": (f"<style>@im<!-- -->port '{ELSEWHERE}'</style>", "its style"),
    "background from elsewhere": (f"<style>*{{background:url( '{ELSEWHERE}' )}}</style>", "its style"),
    "background from elsewhere, beside one within": (f"<style>*{{a:url(#a);b:url({ELSEWHERE})}}</style>", "its style"),
    "background in an attribute": (f'<g style="background:URL({ELSEWHERE})"/>', "its style"),
    "background, escaped": (f'<g style="background:u\\72l({ELSEWHERE})"/>', "its style"),
    "background by image-set": (f'<g style="background:image-set(&quot;{ELSEWHERE}&quot; 1x)"/>', "its style"),
    "background of SVG": ('<g style="background:url(data:image/svg+xml,x)"/>', "its style"),
    "font from elsewhere": (f"<style>@font-face{{src:url({ELSEWHERE})}}</style>", "its style"),
    "paint from elsewhere": (f'<path fill="url({ELSEWHERE}#a)"/>', "its style"),
    "filter from elsewhere": (f'<path filter="url(&quot;{ELSEWHERE}#a&quot;)"/>', "its style"),
    "mask without an end": (f'<path mask="url({ELSEWHERE}"/>', "its style"),
}


@pytest.mark.parametrize("name", ACTIVE)
def test_what_is_active_is_refused_by_name(name: str) -> None:
    """Whatever badge is baked, under a plain root, one with a prefix, and one without a namespace."""
    inside, reason = ACTIVE[name]
    for badge in FAMILIES.values():
        with pytest.raises(InputError, match=f"no still picture: .*{reason}"):
            bake(f"<svg {NS}>{inside}</svg>".encode(), badge, RECEIPT)
    with pytest.raises(InputError, match=f"no still picture: .*{reason}"):
        bake(f"<s:svg {S}><g {NS}>{inside}</g></s:svg>".encode(), badge, None)
    with pytest.raises(InputError, match=f"no still picture: .*{reason}"):
        bake(f"<svg>{inside}</svg>".encode(), badge, None)


@pytest.mark.parametrize(
    "image",
    [
        f"<s:svg {S} onload='alert(1)'><svg {NS}/></s:svg>",
        f"<svg {NS} onload='alert(1)'/>",
        f"<svg {NS}><path xmlns=''/></svg>",
        f"<s:svg {S}><s:script>alert(1)</s:script><svg {NS}/></s:svg>",
        "<svg><s:script xmlns:s='http://www.w3.org/2000/svg'>alert(1)</s:script></svg>",
        f"<?xml-stylesheet type='text/xsl' href='#x'?><svg {NS}/>",
        f"<svg {NS}/><?xml-stylesheet href='{ELSEWHERE}'?>",
        f"<svg {NS}><g><?XML-Stylesheet href='{ELSEWHERE}'?></g></svg>",
        f"<!DOCTYPE svg [<!ATTLIST svg onload CDATA 'alert(1)'>]><svg {NS}/>",
        f"<!DOCTYPE svg [<!ENTITY a 'b'>]><svg {NS}/>",
    ],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_an_active_image_is_refused(image: str, family: str) -> None:
    """At its root, before it, behind it and by its DTD."""
    with pytest.raises(LedgerError, match=r"no still picture|declares a DTD"):
        bake(image.encode(), FAMILIES[family], RECEIPT)


INKSCAPE = f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<!-- Created with Inkscape (http://www.inkscape.org/) -->
<svg width="40mm" viewBox="0 0 40 40" version="1.1" id="svg1" inkscape:version="1.3" sodipodi:docname="medal.svg"
   xmlns:inkscape="http://www.inkscape.org/namespaces/inkscape"
   xmlns:sodipodi="http://sodipodi.sourceforge.net/DTD/sodipodi-0.dtd"
   xmlns:openbadges="urn:x" {XLINK} {NS} xmlns:svg="http://www.w3.org/2000/svg"
   xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:cc="http://creativecommons.org/ns#">
  <sodipodi:namedview id="namedview1" pagecolor="#ffffff"><inkscape:grid/></sodipodi:namedview>
  <defs id="defs1">
    <linearGradient id="lg"><stop style="stop-color:#000;stop-opacity:1" offset="0"/></linearGradient>
    <linearGradient xlink:href="#lg" id="lg2" gradientTransform="translate(3,4)"/>
    <inkscape:path-effect effect="spiro"/>
    <style type="text/css"><![CDATA[ .st0 {{ fill: url(#lg2); clip-path: url('#c') }} ]]></style>
  </defs>
  <metadata id="m">
    <rdf:RDF><cc:Work rdf:about=""><cc:license rdf:resource="{ELSEWHERE}"/></cc:Work></rdf:RDF></metadata>
  <g inkscape:label="Layer 1" inkscape:groupmode="layer" id="layer1" transform="translate(1 2)">
    <path style="fill:url(#lg2) #000;-inkscape-font-specification:'Sans, Bold'" d="M 0,0 1,1" sodipodi:nodetypes="cc"/>
    <image xlink:href="data:image/png;base64,&#10; iVBORw0KGgo=" width="1"/><use href="#layer1"/>
    <text xml:space="preserve"><tspan sodipodi:role="line">1 &lt; 2 (or url)</tspan></text>
  </g>
</svg>"""
ILLUSTRATOR = f"""<?xml version="1.0" encoding="utf-8"?>
<!-- Generator: Adobe Illustrator 27.0 -->
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg version="1.1" id="Layer_1" {NS} {XLINK} x="0px" xmlns:i="http://ns.adobe.com/AdobeIllustrator/10.0/"
   i:viewOrigin="0 0" xml:space="preserve" style="enable-background:new 0 0 10 10;">
<metadata><?xpacket begin="" id="x"?><x:xmpmeta xmlns:x="adobe:ns:meta/"/><?xpacket end="w"?></metadata>
<style type="text/css">.st0{{fill:#FFF;}}</style>
<switch><g i:extraneous="self"><circle class="st0" cx="5" cy="5" r="5" filter="url(#f)"/><i:pgf/></g></switch>
</svg>"""


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("drawing", [INKSCAPE, ILLUSTRATOR], ids=["Inkscape", "Illustrator"])
def test_drawings_of_editors_pass_without_what_the_editors_keep(drawing: str, family: str) -> None:
    """Shapes, gradients, raster images and classes stay; metadata, notes and their namespaces go."""
    badge = FAMILIES[family]
    baked = bake(drawing.encode(), badge, RECEIPT)
    assert (read(baked).canonical, baked_receipt(baked)) == (badge.canonical, RECEIPT)
    picture = baked.split(b"openbadges:" if b"<openbadges:" in baked else b"<clr:")[0]
    for kept in ("<path", "<image", "<tspan", "gradientTransform", "url(#lg2)", "<circle", 'class="st0"', "<style"):
        assert (kept.encode() in picture) == (kept in drawing), kept
    for gone in (b"inkscape:", b"sodipodi", b"metadata", b"adobe", b"rdf", b"urn:x", b"<!--", b"DOCTYPE", b"evil"):
        assert gone not in picture, gone


@pytest.mark.parametrize("family", FAMILIES)
def test_a_root_with_a_prefix_carries_the_badge(family: str) -> None:
    """By namespace: what its tags are called in the text does not matter."""
    badge = FAMILIES[family]
    baked = bake(f"<s:svg {S}><s:path d='M0'/></s:svg>".encode(), badge, RECEIPT)
    assert (read(baked).canonical, baked_receipt(baked)) == (badge.canonical, RECEIPT)
    assert bake(baked, badge, RECEIPT, replace=True) == baked


def test_what_is_refused_is_shown_harmlessly() -> None:
    """A name can hold anything that XML takes for a letter."""
    with pytest.raises(InputError, match=r"the element \?{40}$"):
        bake(f"<svg {NS}><{'é' * 100}/></svg>".encode(), FAMILIES["CLR 2.0"], None)
