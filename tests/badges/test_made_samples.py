"""Each form that is read, made by independent tools: what it is, in every wrapping, under one commitment."""

from __future__ import annotations

import json
import zlib

import pytest

from ledger.badges import FORM_JWS, Badge, Kind, StatusEntry, commitment, kind_name, nested, read
from ledger.errors import BadgeElsewhere, MalformedBadge
from tests.made_samples import (
    ED_DID,
    MADE,
    enveloped,
    in_png,
    in_svg,
    in_text_chunk,
    made,
    png_with,
    serialised,
    token,
)

SALT = bytes(32)
KINDS: set[Kind] = {
    *("ob1-hosted", "ob1-json", "ob1-signed", "ob2-hosted", "ob2-json", "ob2-signed"),
    *("ob3-json", "ob3-jwt", "clr2-json", "clr2-jwt", "blockcerts3-json", "vc-json", "vc-jwt"),
}


def same(one: Badge, other: Badge) -> bool:
    """One badge under one commitment, whatever it was wrapped in."""
    return one.kind == other.kind and commitment(one, SALT) == commitment(other, SALT)


@pytest.mark.parametrize("name", MADE)
def test_each_form_is_read_for_what_it_is(name: str) -> None:
    """Kind, proof, revocation; the host or the issuer that it names; its time."""
    badge = read(made(name))
    assert badge.kind == MADE[name].kind
    assert badge.signed == (MADE[name].signature != "none" and name != "blockcerts3")
    assert badge.revoked == name.endswith("-revoked")
    assert (badge.hosted_at is not None) == badge.kind.endswith("-hosted")
    if not badge.kind.startswith(("ob1", "ob2")):
        assert badge.issuer is not None
        assert badge.issuer.startswith(("did:", "https:"))
    assert badge.id is not None
    assert badge.valid_from is not None or badge.revoked
    assert kind_name(badge.kind)


@pytest.mark.parametrize("name", MADE)
def test_one_commitment_whatever_the_wrapping(name: str) -> None:
    """PNG and SVG; of tokens, the JSON serialisations and the envelope, themselves in images, too."""
    data, family = made(name), MADE[name].family
    badge = read(data)
    for wrapping, image in (("png", in_png(data, family)), ("svg", in_svg(data, family))):
        again = read(image)
        assert same(again, badge)
        assert again.wrapping == wrapping
    assert same(read(in_text_chunk(data)), badge)
    assert same(read(b" \r\n" + data + b"\t"), badge)
    if badge.form == FORM_JWS:
        for wrapped in (enveloped(data), serialised(data), serialised(data, general=True)):
            assert same(read(wrapped), badge)
            assert same(read(in_svg(wrapped, family)), badge)
            assert same(read(in_png(wrapped, family)), badge)


def test_what_the_exporters_write_is_told_apart() -> None:
    """Issuer, host, name, id and recipient, as each of them writes these."""
    found = {}
    for name in ("ob1-hosted", "ob2-badgr", "ob2-moodle", "ob2-credly", "ob2-moodle-revoked"):
        badge = read(made(name))
        found[name] = (badge.hosted_at, badge.issuer, badge.name, badge.recipient_kind)
    issuer = "https://moodle.example.org/badges/issuer_json.php?id=7"
    assert found == {
        "ob1-hosted": ("badges.example.org", None, None, "plain"),
        "ob2-badgr": ("badges.example.org", None, None, "hashed"),
        "ob2-moodle": ("moodle.example.org", issuer, "Welding", "hashed"),
        "ob2-credly": ("api.credly.example", None, None, "hashed"),
        "ob2-moodle-revoked": ("badges.example.org", None, None, None),
    }
    assert read(made("ob1-hosted")).id == "https://badges.example.org/assertions/f2c20.json"


def test_status_entries_of_other_methods_are_not_passed_over() -> None:
    """Their types are there to be told; an index may be a number."""
    badge = read(made("ob3-status"))
    address = "https://badges.example.org/status/3"
    assert badge.status == (StatusEntry(address, 94567, "revocation"), StatusEntry(address, 94567, "suspension"))
    assert badge.other_status == ("StatusList2021Entry", "1EdTechRevocationList")
    document = json.loads(made("ob3-unsigned"))
    document["credentialStatus"] = ["https://a.example/status", {"type": ["B", "A"]}, {}, None]
    assert read(json.dumps(document).encode()).other_status == (
        "without a type",
        "A B",
        "without a type",
        "without a type",
    )


class TestNested:
    def test_each_one_is_a_badge_of_its_own(self) -> None:
        """Objects, tokens and envelopes: the very badges that were put in, with their own commitments."""
        by_json, by_token = read(made("clr2-eddsa-rdfc-2022")), read(made("clr2-jwt"))
        rdfc, jcs = read(made("ob3-eddsa-rdfc-2022")), read(made("ob3-eddsa-jcs-2022"))
        compact = read(made("ob3-jwt-eddsa"))
        for record, expected in ((by_json, (rdfc, compact)), (by_token, (compact, jcs))):
            inside = nested(record)
            assert len(inside) == len(expected)
            assert all(same(*pair) for pair in zip(inside, expected, strict=True))
            assert {badge.issuer for badge in inside} == {ED_DID}
        assert by_token.name == "Transcript"

    @pytest.mark.parametrize("name", ["ob3-jwt-eddsa", "ob2-badgr", "blockcerts3"])
    def test_others_hold_none(self, name: str) -> None:
        """Only a CLR does."""
        assert nested(read(made(name))) == ()

    def test_a_record_with_one_that_cannot_be_read_is_refused(self) -> None:
        """Passing over it would be vouching for less than is shown."""
        for bad, reason in (
            ("a.b", "neither a credential nor a JWT"),
            ("é", "neither a credential nor a JWT"),
            (7, "neither a credential nor a JWT"),
            (None, "neither a credential nor a JWT"),
            ([], "neither a credential nor a JWT"),
            ({}, "neither an Open Badges"),
            ("e30.e30.AA", "names no signature algorithm"),
            ({"verify": {"url": "https://a.example"}}, "only the address"),
        ):
            record = json.loads(made("clr2-eddsa-rdfc-2022"))
            record["credentialSubject"]["verifiableCredential"][1] = bad
            with pytest.raises(MalformedBadge, match=reason):
                nested(read(json.dumps(record).encode()))

    def test_their_number_is_bounded(self) -> None:
        """A thousand are read, one more is not."""
        record = json.loads(made("clr2-eddsa-rdfc-2022"))
        small = {"type": "Assertion", "id": "https://a.example/1"}
        record["credentialSubject"]["verifiableCredential"] = [small] * 1_000
        assert len(nested(read(json.dumps(record).encode()))) == 1_000
        record["credentialSubject"] = [record["credentialSubject"], {"verifiableCredential": small}]
        with pytest.raises(MalformedBadge, match="more than 1000"):
            nested(read(json.dumps(record).encode()))

    def test_records_in_records_take_one_call_each(self) -> None:
        """Depth is bounded by that of JSON, and nothing recurses."""
        record = json.loads(made("clr2-eddsa-rdfc-2022"))
        for _ in range(100):
            outer = json.loads(made("clr2-eddsa-rdfc-2022"))
            outer["credentialSubject"]["verifiableCredential"] = [record]
            record = outer
        badge, depth = read(json.dumps(record).encode()), 0
        while badge.kind == "clr2-json":
            badge = nested(badge)[0]
            depth += 1
        assert (depth, badge.kind) == (101, "ob3-json")


class TestTokensInJson:
    COMPACT = made("ob3-jwt-eddsa")

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"header": {"kid": "x"}}, "unprotected header"),
            ({"header": {}}, "unprotected header"),
            ({"more": 1}, "members that no compact JWS holds"),
            ({"signature": ""}, "not three base64url parts"),
            ({"signature": None}, "not three base64url parts"),
            ({"payload": "e30=="}, "not three base64url parts"),
            ({"protected": "ü"}, "not three base64url parts"),
            ({"signature": "AB"}, "not canonical base64url"),
            ({"signatures": []}, "exactly one signature"),
        ],
    )
    def test_what_no_compact_token_equals_is_refused(self, change: dict[str, object], reason: str) -> None:
        """It would be a badge with two commitments, or with none."""
        document = json.loads(serialised(self.COMPACT)) | change
        with pytest.raises(MalformedBadge, match=reason):
            read(json.dumps(document).encode())

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"header": {}}, "unprotected header"),
            ({"more": 1}, "members that no compact JWS holds"),
        ],
    )
    def test_the_general_form_is_held_to_the_same(self, change: dict[str, object], reason: str) -> None:
        """Around its signature and in it; two signatures are two tokens."""
        document = json.loads(serialised(self.COMPACT, general=True))
        (one,) = document["signatures"]
        for bad in ({**document, "signatures": [one, one]}, {**document, "signatures": one}):
            with pytest.raises(MalformedBadge, match="exactly one signature"):
                read(json.dumps(bad).encode())
        with pytest.raises(MalformedBadge, match=reason):
            read(json.dumps({**document, "signatures": [one | change]}).encode())
        with pytest.raises(MalformedBadge, match="members that no compact JWS holds"):
            read(json.dumps({**document, "header": {}}).encode())

    @pytest.mark.parametrize(
        "url",
        [
            None,
            7,
            "https://a.example/1",
            "data:application/vc+jwt;base64,e30.e30.AA",
            "data:application/vc+sd-jwt,e30.e30.AA~",
            "data:application/vc+cose;base64,AA",
            "data:application/vc+jwt,",
            "data:text/plain,e30.e30.AA",
        ],
    )
    def test_an_envelope_holds_a_jwt(self, url: object) -> None:
        """Whatever else it holds is not read."""
        envelope = {
            "@context": "https://www.w3.org/ns/credentials/v2",
            "type": ["EnvelopedVerifiableCredential"],
            "id": url,
        }
        with pytest.raises(MalformedBadge, match="something else than a JWT"):
            read(json.dumps(envelope).encode())

    def test_an_envelope_in_an_envelope_is_refused(self) -> None:
        """A token's payload is the credential itself."""
        inner = json.loads(enveloped(self.COMPACT))
        with pytest.raises(MalformedBadge, match="credentialSubject"):
            read(enveloped(token(inner, "EdDSA", {})))

    def test_a_presentation_is_told_apart(self) -> None:
        """It is what wallets show, not what was issued."""
        shown = {"@context": "https://www.w3.org/ns/credentials/v2", "type": "VerifiablePresentation"}
        with pytest.raises(MalformedBadge, match="presentation, not a badge"):
            read(json.dumps(shown).encode())


ADDRESS = "https://badges.example.org/public/assertions/1?v=2_0&identity__email=learner%40example.org"


@pytest.mark.parametrize(
    "data",
    [
        ADDRESS.encode(),
        b"\n" + ADDRESS.encode() + b" ",
        in_text_chunk(ADDRESS.encode()),
        in_png(ADDRESS.encode(), "ob2"),
        in_svg(ADDRESS.encode(), "ob2"),
        json.dumps({"verify": {"type": "hosted", "url": ADDRESS}}).encode(),
    ],
    ids=["file", "with white space", "tEXt", "iTXt", "SVG", "JSON"],
)
def test_an_address_is_told_with_what_it_is(data: bytes) -> None:
    """The badge lies elsewhere: `url` says where, the sentence does not."""
    with pytest.raises(BadgeElsewhere, match="holds only the address of a badge") as caught:
        read(data)
    assert caught.value.url == ADDRESS
    assert "example" not in str(caught.value)
    assert (caught.value.slug, caught.value.exit_status) == ("badge-elsewhere", 2)


def test_compressed_text_chunks_are_read() -> None:
    """zTXt, which some optimisers of images make of tEXt."""
    data = made("ob2-badgr")
    image = png_with(b"zTXt", b"openbadges\0\0" + zlib.compress(data))
    assert same(read(image), read(data))


@pytest.mark.parametrize("value", ["true", 1, 0, "", [], {}])
def test_revoked_is_true_or_false(value: object) -> None:
    """Anything else is neither passed over nor taken for a revocation."""
    document = json.loads(made("ob2-badgr"))
    with pytest.raises(MalformedBadge, match="neither true nor false"):
        read(json.dumps(document | {"revoked": value}).encode())
    assert not read(json.dumps(document | {"revoked": None}).encode()).revoked
    assert not read(json.dumps(document | {"revoked": False}).encode()).revoked
    assert read(json.dumps(document | {"revoked": True}).encode()).revoked


def test_every_kind_has_a_name() -> None:
    """No two the same."""
    assert len({kind_name(kind) for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("name", MADE)
def test_samples_are_the_same_in_every_run(name: str) -> None:
    """But for the signatures of ES256, which are random: of those, all that is signed is the same."""
    one, other = made(name), MADE[name].make()
    if "es256" in name:
        one, other = one.rpartition(b".")[0], other.rpartition(b".")[0]
    assert one == other
