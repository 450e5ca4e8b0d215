"""`share`: the public page and the LinkedIn link, without a word about the recipient."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from ledger.badges import read
from ledger.cli.share import add_to_profile
from ledger.receipt_json import load
from tests.cli.conftest import Badges, Cli
from tests.fakes import FakeLedger
from tests.samples import BadgeIssuer, png, samples

PUBLIC = "https://ledger.example/2026/"


def fields(link: str) -> dict[str, str]:
    """The link's parameters, each of which stands once and has a value."""
    parts = urlsplit(link)
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == "https://www.linkedin.com/profile/add"
    pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs)
    assert all(value for _, value in pairs)
    return dict(pairs)


def document(**changes: object) -> bytes:
    """An Open Badges 3.0 document."""
    base = {
        "@context": ["https://www.w3.org/ns/credentials/v2"],
        "type": ["VerifiableCredential", "OpenBadgeCredential"],
        "id": "https://a.example/b?identity__email=alice%40example.org",
        "issuer": {"id": "did:example:i", "name": "Académie & Sœurs"},
        "validFrom": "2026-12-31T23:30:00-01:00",
        "credentialSubject": {
            "id": "mailto:alice@example.org",
            "achievement": {"name": "Löten + Schweißen? 100%"},
        },
    }
    return json.dumps({**base, **changes}).encode()


class TestLink:
    def test_every_field_is_the_badges(self) -> None:
        """Dates in UTC: the last hour of the year, in a zone west of it, is the next year's. The name to the letter."""
        badge = read(document(validUntil="2028-02-29T00:00:00Z"))
        link = add_to_profile(
            badge, "https://l.example/b/00", "00", name=badge.name, organization_id=None, organization_name="A & B"
        )
        assert fields(link) == {
            "startTask": "CERTIFICATION_NAME",
            "name": "Löten + Schweißen? 100%",
            "organizationName": "A & B",
            "issueYear": "2027",
            "issueMonth": "1",
            "expirationYear": "2028",
            "expirationMonth": "2",
            "certUrl": "https://l.example/b/00",
            "certId": "00",
        }
        assert "+" not in link
        assert link.isascii()

    def test_what_is_not_known_is_left_out(self) -> None:
        """No empty parameters."""
        badge = read(document(validFrom=None, credentialSubject={"id": "did:example:s"}))
        link = add_to_profile(
            badge, "https://l.example/b/00", "00", name=badge.name, organization_id=7, organization_name=None
        )
        assert fields(link).keys() == {"startTask", "organizationId", "certUrl", "certId"}

    @pytest.mark.parametrize("name", samples(BadgeIssuer(bytes(32))))
    def test_nothing_of_the_recipient_is_in_it(self, name: str) -> None:
        """Neither an address nor its hash, in no form of badge."""
        badge = read(samples(BadgeIssuer(bytes(32)))[name])
        link = add_to_profile(
            badge, "https://l.example/b/00", "00", name=badge.name, organization_id=7, organization_name=None
        )
        text = json.dumps(badge.document)
        assert "recipient" in text or "credentialSubject" in text
        for word in ("mailto", "%40", "sha256", "salt", "recipient", "identity"):
            assert word not in link.lower()


class TestShare:
    def test_page_and_link_lead_to_the_same_commitment(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges
    ) -> None:
        """Of a badge whose commitment is salted: by the receipt, named, beside it or baked in, or by the salt key."""
        file = badges.hosted("a.json", 1)
        cli.ok("issue", "badges", "--out", "out", "--key", key)
        asked = list(ledger.requests)
        commitment = load(Path("out/a.receipt.json").read_bytes()).issue_entry().commitment.hex()
        Path("medal.png").write_bytes(png())
        cli.ok("bake", file, "medal.png", "--receipt", "out/a.receipt.json", "--out", "a.png")
        for given in (
            (file, "--receipt", "out/a.receipt.json"),
            (file, "--key", key),
            ("a.png",),
        ):
            ran = cli.ok("share", *given, "--url", PUBLIC, "--json").json
            assert ran["page"] == f"{PUBLIC}b/{commitment}"
            assert fields(ran["linkedin"])["certUrl"] == ran["page"]
            assert (ran["commitment"], fields(ran["linkedin"])["certId"]) == (commitment, commitment)
        assert ledger.requests == asked, "sharing sends nothing"
        assert "its salt is needed" in cli("share", file, "--url", PUBLIC).err

    def test_a_named_salt_key_means_the_salted_page(self, cli: Cli, key: Path, badges: Badges) -> None:
        """Also for a badge that needs no salt, and one that was issued unsalted before."""
        file = badges.signed("a.json", 1)
        cli.ok("issue", file, "--out", file.parent, "--key", key)
        plain = cli.ok("share", file, "--url", PUBLIC, "--key", key, "--json").json["commitment"]
        cli.ok("issue", file, "--out", "salted", "--salt", "--key", key)
        salted = load(Path("salted/a.receipt.json").read_bytes()).issue_entry().commitment.hex()
        ran = cli.ok("share", file, "--url", PUBLIC, "--salt-key", f"{key}.salt", "--json").json
        assert ran["commitment"] == salted != plain

    def test_the_organization_is_one(self, cli: Cli, badges: Badges) -> None:
        """A number, a name, or else the name that the badge gives its issuer."""
        file = badges.signed("a.json", 1)

        def organization(*arguments: str) -> dict[str, str]:
            link = cli.ok("share", file, "--url", PUBLIC, "--json", *arguments).json["linkedin"]
            return {name: value for name, value in fields(link).items() if name.startswith("organization")}

        assert organization() == {"organizationName": "Example Academy"}
        assert organization("--organization-name", "ACME") == {"organizationName": "ACME"}
        assert organization("--organization-id", "1337") == {"organizationId": "1337"}
        both = cli("share", file, "--url", PUBLIC, "--organization-id", "7", "--organization-name", "x")
        assert "give one of them" in both.err

    def test_the_name_is_the_badges_or_given_and_told_if_there_is_none(self, cli: Cli, badges: Badges) -> None:
        """A hosted Open Badges 2.0 assertion names its class only by address."""
        named, nameless = badges.signed("a.json", 1), badges.hosted("b.json", 2)
        plain = json.loads(nameless.read_bytes())
        plain["badge"] = "https://academy.example/class/1"
        nameless.write_text(json.dumps(plain))
        own = cli.ok("share", named, "--url", PUBLIC, "--json")
        assert (fields(own.json["linkedin"])["name"], own.err) == (read(named.read_bytes()).name, "")
        given = cli.ok("share", named, "--url", PUBLIC, "--name", "Welding & more", "--json")
        assert fields(given.json["linkedin"])["name"] == "Welding & more"
        salt = ("--salt-key", "acme.key.salt")
        without = cli.ok("share", nameless, "--url", PUBLIC, *salt)
        assert "the link names no certification" in without.err
        assert cli.ok("share", nameless, "--url", PUBLIC, *salt, "--name", "Welding").err == ""

    def test_an_address_of_this_machine_only_is_told(self, cli: Cli, badges: Badges) -> None:
        """Nobody else would see that page; what is no address is refused."""
        file = badges.signed("a.json", 1)
        assert "leads nowhere but to this machine" in cli.ok("share", file, "--url", "http://127.0.0.1:8080").err
        assert cli.ok("share", file, "--url", PUBLIC).err == ""
        assert cli("share", file, "--url", "ledger.example").status == 2

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("https://user:secret@l.example/", "no user"),
            ("https://user@l.example/", "no user"),
            ("https://l.example/?token=secret", "no query"),
            ("https://l.example/#secret", "no fragment"),
            ("https://l.example/?", "no query"),
            ("https://[::1/secret", "no address of a ledger"),
            ("https://l.example:secret/", "no address of a ledger"),
            ("ftp://l.example/secret", "no address of a ledger"),
        ],
    )
    def test_an_address_with_more_in_it_is_refused(self, cli: Cli, badges: Badges, url: str, reason: str) -> None:
        """It would stand in the link, and so on a public profile; the refusal does not repeat it."""
        ran = cli("share", badges.signed("a.json", 1), "--url", url)
        assert (ran.status, ran.out) == (2, "")
        assert reason in ran.err
        assert "secret" not in ran.err

    @pytest.mark.parametrize("date", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
    def test_a_date_that_utc_has_not_is_left_out(self, cli: Cli, badges: Badges, date: str) -> None:
        """The badge's zone keeps it in the years 1 to 9999; in UTC it is of the year 10000, or 0."""
        file = badges.hosted("a.json", 1)
        file.write_text(json.dumps({**json.loads(file.read_bytes()), "expires": date, "issuedOn": date}))
        ran = cli.ok("share", file, "--url", PUBLIC, "--salt-key", "acme.key.salt", "--json")
        assert not [name for name in fields(ran.json["linkedin"]) if "Year" in name or "Month" in name]
