"""The public page of a badge: what it shows, what it never shows, and that everybody can read it."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import struct
import zlib
from html.parser import HTMLParser
from importlib import resources

import pytest

from api.pages import MAX_ISSUERS
from ledger.receipt_json import load
from ops.draw_preview import HEIGHT, TARGET, WIDTH, draw
from tests.service.harness import ORIGIN, Client, Party, World, unique

_CSS = (resources.files("api") / "templates" / "page.css").read_text(encoding="utf-8")
_VOID = {"meta", "link", "br", "img"}


class Page(HTMLParser):
    """A page's elements, in order, and its text; every element closed, in its place."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("style", "title"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def meta(self) -> dict[str, str]:
        """Content of the meta elements by property."""
        return {str(m["property"]): str(m["content"]) for m in self.all("meta") if "property" in m}

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


async def page_of(client: Client, commitment: bytes) -> Page:
    answer = await client.get(f"/b/{commitment.hex()}")
    assert answer.status == 200, answer
    return Page(answer.body.decode())


@pytest.fixture
async def commitment(client: Client, party: Party) -> bytes:
    """A badge issued by `party` in a slot of its own, the first of its list."""
    commitment = unique()
    await client.submit(party.block([party.issue(commitment=commitment)]))
    return commitment


class TestContent:
    async def test_it_shows_what_the_head_proves(self, client: Client, party: Party, commitment: bytes) -> None:
        """Commitment, issuer, binding, status, place, size and root of the tree; that the ledger cannot show the badge,
        and that nobody audited it."""
        page = await page_of(client, commitment)
        head = (await client.get_json("/v1/log"))["head"]
        for shown in (
            commitment.hex(),
            party.identifier,
            "self-certifying",
            "✓ Not revoked as of",
            f"slot {party.list * 131_072}",
            f"a tree of {head['size']} entries",
            head["root"],
            "this page cannot show the badge",
            "Unaudited",
        ):
            assert shown in page.words, shown

    async def test_the_status_follows_the_log(self, client: Client, party: Party, commitment: bytes) -> None:
        """Suspended, reinstated, revoked: in words and signs, not by colour alone."""
        slot = party.list * 131_072
        for event, shown in (
            (party.suspend(slot), "‖ Suspended as of"),
            (party.reinstate(slot), "✓ Not revoked as of"),
            (party.revoke(slot), "✕ Revoked as of"),
        ):
            await client.submit(party.block([event]))
            page = await page_of(client, commitment)
            assert shown in page.words
            states = [a["class"] for a in page.all("section") if "class" in a]
            assert states == [shown.split()[1].lower().replace("not", "active")]

    async def test_a_preview_never_tells_the_status(self, client: Client, party: Party, commitment: bytes) -> None:
        """Who makes previews keeps them for days: before and after a revocation they are the same."""
        before = (await page_of(client, commitment)).meta()
        await client.submit(party.block([party.revoke(party.list * 131_072)]))
        after = (await page_of(client, commitment)).meta()
        assert before == after
        assert before["og:url"] == f"https://{ORIGIN}/b/{commitment.hex()}"
        assert before["og:image"] == f"https://{ORIGIN}/b/preview.png"
        assert {"og:title", "og:description", "og:site_name", "og:type", "og:image:alt"} <= before.keys()

    async def test_revoked_in_one_slot_is_revoked(self, world: World) -> None:
        """The same badge once more, in another slot, does not hide it."""
        # Badges that have left memory are issued again here.
        service = await world.start(max_duplicate_check_events=0)
        party = await Party("alice").register(service.client)
        commitment = unique()
        slot = party.slot()
        await service.client.submit(party.block([party.issue(slot, commitment)]))
        await service.client.submit(party.block([party.revoke(slot)]))
        await service.node.lookup.fill((await service.node.published()).size)
        await service.client.submit(party.block([party.issue(commitment=commitment)]))
        page = await page_of(service.client, commitment)
        assert "✕ Revoked as of" in page.words
        assert "issued in 2 slots" in page.words

    async def test_another_issuer_with_the_same_commitment_is_shown_as_another(
        self, client: Client, party: Party, commitment: bytes
    ) -> None:
        """Anybody can anchor a copy of a badge. The reader is told whose word counts."""
        other = await Party("mallory").register(client)
        await client.submit(other.block([other.issue(commitment=commitment)]))
        page = await page_of(client, commitment)
        assert page.words.index(party.identifier) < page.words.index(other.identifier)
        assert "2 issuers have anchored this commitment." in page.words
        assert MAX_ISSUERS > 2

    async def test_an_identifier_is_text(self, client: Client) -> None:
        """Whatever it holds."""
        hostile = 'https://a.example/"><script>alert(1)</script>&lt;'
        party = await Party("hostile", hostile).register(client)
        commitment = unique()
        await client.submit(party.block([party.issue(commitment=commitment)]))
        page = await page_of(client, commitment)
        assert page.all("script") == []
        assert hostile in page.text
        assert "vouched" in page.words

    async def test_what_is_not_seen_is_shown(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        """A log may hold identifiers that this ledger would not register: their directions are escapes."""
        monkeypatch.setattr("ledger.issuers._UNSEEN", ())
        party = await Party("hostile", "https://a.example/\u202egpj.\u200b").register(client)
        commitment = unique()
        await client.submit(party.block([party.issue(commitment=commitment)]))
        page = await page_of(client, commitment)
        assert "https://a.example/\\u202egpj.\\u200b" in page.words
        assert not {"\u202e", "\u200b"} & set(page.text)

    async def test_the_address_is_that_by_which_others_reach_it(self, world: World) -> None:
        """In link previews and in the commands that a reader may type; lists elsewhere than at the origin are named."""
        service = await world.start(public_url="https://badges.example/x")
        party = await Party("alice").register(service.client)
        commitment = unique()
        await service.client.submit(party.block([party.issue(commitment=commitment)]))
        page = await page_of(service.client, commitment)
        assert page.meta()["og:url"] == f"https://badges.example/x/b/{commitment.hex()}"
        assert page.meta()["og:image"] == "https://badges.example/x/b/preview.png"
        assert "badge-ledger policy init https://badges.example/x/ --out trust.policy" in page.words
        assert "--policy trust.policy --status-base badges.example/x/status/" in page.words


class TestReceipts:
    async def test_the_links_lead_to_the_receipt(self, client: Client, commitment: bytes) -> None:
        """As JSON and packed: files with a name, of that very issuance; relative, wherever the ledger is mounted."""
        page = await page_of(client, commitment)
        links = [str(a["href"]) for a in page.all("a") if ".receipt" in str(a["href"])]
        assert len(links) == 2
        for link in links:
            answer = await client.get(f"/b/{link}")
            assert answer.status == 200
            name = f"{commitment.hex()[:16]}.receipt{'.json' if link.endswith('.json') else ''}"
            assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'
            receipt = load(answer.body)
            assert receipt.full
            assert receipt.issue_entry().commitment == commitment
            assert link.startswith(f"{commitment.hex()}/{receipt.index}.receipt")

    async def test_no_other_file_is_there(self, client: Client, party: Party, commitment: bytes) -> None:
        """Neither the receipt of another badge nor anything of another name."""
        other = unique()
        answer = await client.submit(party.block([party.issue(commitment=other)]))
        index = answer["first_index"] + 1
        for file in (f"{index}.receipt.json", "7.receipt.txt", "07.receipt", "receipt", "-1.receipt", "1e3.receipt"):
            assert (await client.get(f"/b/{commitment.hex()}/{file}")).status == 404
        assert (await client.get(f"/b/{other.hex()}/{index}.receipt.json")).status == 200


class TestMissing:
    @pytest.mark.parametrize("name", ["0" * 64, "0" * 63, "A" * 64, "<script>", "%00", "ü"])
    async def test_what_is_not_there_is_a_page_that_says_so(self, client: Client, name: str) -> None:
        """404, kept by nobody, since the badge may be there a moment later; nothing of the address is repeated."""
        answer = await client.get(f"/b/{name}")
        assert (answer.status, answer.headers["Cache-Control"]) == (404, "no-store")
        page = Page(answer.body.decode())
        assert "No badge with this commitment" in page.words
        assert "<script>" not in answer.body.decode()


class TestForEverybody:
    async def test_the_browser_may_load_nothing(self, client: Client, commitment: bytes) -> None:
        """No script, cookie, frame or foreign resource; the style sheet is the one whose hash the policy names."""
        for path in (f"/b/{commitment.hex()}", "/b/none"):
            answer = await client.get(path)
            policy = answer.headers["Content-Security-Policy"]
            body = answer.body.decode()
            style = re.findall(r"<style>(.*?)</style>", body, re.DOTALL)
            digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
            assert len(style) == 1
            assert policy == (
                f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; "
                "frame-ancestors 'none'"
            )
            assert "Set-Cookie" not in answer.headers
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            page = Page(body)
            assert not {"script", "img", "iframe", "form", "object"} & {tag for tag, _ in page.elements}
            assert not any(name.startswith("on") or name == "style" for _, a in page.elements for name in a)

    async def test_a_page_is_not_kept_for_long(self, client: Client, commitment: bytes) -> None:
        """Half a minute: a revocation shows soon."""
        answer = await client.get(f"/b/{commitment.hex()}")
        assert answer.headers["Cache-Control"] == "public, max-age=30"

    async def test_a_reader_that_hears_the_page_finds_its_way(self, client: Client, commitment: bytes) -> None:
        """Language, title, landmarks, one first heading, no level left out, each section named by its heading."""
        page = await page_of(client, commitment)
        assert page.all("html")[0]["lang"] == "en"
        assert [len(page.all(tag)) for tag in ("title", "header", "main", "footer", "h1")] == [1] * 5
        levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
        ids = {a["id"] for _, a in page.elements if "id" in a}
        assert all(a["aria-labelledby"] in ids for a in page.all("section"))
        assert all("aria-hidden" in a for a in page.all("span"))

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_contrast_is_enough(self, scheme: str) -> None:
        """WCAG 2.2, 1.4.3: at least 4.5 to 1 for text on both grounds, in light and dark."""
        blocks = re.findall(r":root \{(.*?)\}", _CSS, re.DOTALL)
        assert len(blocks) == 2
        colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", blocks[scheme == "dark"]))
        assert colours.keys() == {"text", "ground", "panel", "link", "good", "wait", "bad"}
        for ground in ("ground", "panel"):
            for text in ("text", "link", "good", "wait", "bad"):
                assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)


class TestPreview:
    async def test_the_picture_is_the_drawn_one(self, client: Client) -> None:
        """1200 x 627 pixels, as ops/draw_preview.py draws it; the same for every badge."""
        answer = await client.get("/b/preview.png")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "image/png")
        assert answer.body == TARGET.read_bytes()
        assert struct.unpack(">II", answer.body[16:24]) == (WIDTH, HEIGHT) == (1200, 627)

    @pytest.mark.slow
    def test_it_can_be_drawn_again(self) -> None:
        """Pixel for pixel, if not byte for byte: zlib's output is its own affair."""
        assert pixels(draw()) == pixels(TARGET.read_bytes())


def pixels(png: bytes) -> bytes:
    size = struct.unpack(">I", png[33:37])[0]
    return zlib.decompress(png[41 : 41 + size])


def contrast(one: str, other: str) -> float:
    """The ratio of relative luminances (WCAG 2.2)."""

    def luminance(colour: str) -> float:
        channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)
