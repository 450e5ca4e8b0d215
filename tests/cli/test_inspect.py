"""`inspect`: what a badge is, without showing whose it is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ledger.authenticity import Authenticity
from ledger.badges import commitment, derive_salt, read
from ledger.errors import MalformedBadge
from ledger.inspection import inspect
from ledger.keyfile import load_salt_key
from tests.cli.conftest import Badges, Cli
from tests.samples import BadgeIssuer, ob2_hosted, ob3_json, ob3_jwt, samples, shared_sample, status_entry

ISSUER = BadgeIssuer(bytes(range(32)))


def write(cli: Cli, name: str, data: bytes) -> Path:
    path = cli.folder / name
    path.write_bytes(data)
    return path


def unchecked(_: object) -> Authenticity:
    return Authenticity("none")


class TestInspect:
    def test_it_tells_what_a_badge_is(self, cli: Cli) -> None:
        """Kind, issuer, kind of recipient, validity, status, own signature, commitment; without the network."""
        entry = status_entry("https://status.example/3", 77)
        data = ob3_json(ISSUER, 1, status=[entry])
        ran = cli.ok("inspect", write(cli, "a.json", data))
        lines = [line.split(None, 1) for line in ran.out.splitlines()]
        assert lines[0] == ["a.json"] or ran.out.startswith(str(cli.folder))
        shown = {line[0]: line[1] for line in lines[1:]}
        assert shown["issuer"] == ISSUER.identifier
        assert shown["recipient"] == "a salted hash"
        assert shown["status"] == "revocation: number 77 in https://status.example/3"
        assert shown["signature"] == "verified, eddsa-rdfc-2022"
        assert shown["commitment"] == f"{commitment(read(data)).hex()} (unsalted)"
        assert "UTC" in ran.out

    @pytest.mark.parametrize("name", samples(ISSUER))
    def test_no_personal_data_is_shown(self, cli: Cli, name: str) -> None:
        """Neither the recipient nor its hash or salt, in either output."""
        path = write(cli, "badge", samples(ISSUER)[name])
        for more in ((), ("--json",)):
            ran = cli("inspect", path, *more)
            assert ran.status == 0, ran.err
            assert re.search(r"learner|sha256\$|salt-\d|mailto|@example", ran.out + ran.err) is None

    def test_an_invalid_signature_is_exit_status_1(self, cli: Cli) -> None:
        """Whatever else it tells."""
        document = json.loads(ob3_json(ISSUER, 1)) | {"name": "another"}
        ran = cli("inspect", write(cli, "a.json", json.dumps(document).encode()))
        assert ran.status == 1
        assert "signature    INVALID, eddsa-rdfc-2022" in ran.out
        assert "because" in ran.out

    def test_what_cannot_be_read_is_exit_status_2(self, cli: Cli) -> None:
        """Alone without output; among others, the others are told."""
        bad, good = write(cli, "bad.json", b"{"), write(cli, "good.json", ob3_json(ISSUER, 1))
        alone = cli("inspect", bad)
        assert (alone.status, alone.out) == (2, "")
        both = cli("inspect", bad, good, "--json")
        assert both.status == 2
        assert [item["file"] for item in both.json] == [str(bad), str(good)]
        assert both.json[0]["error"]["type"] == "urn:badge-ledger:problem:malformed-badge"
        assert both.json[1]["own_signature"] == "verified"
        (cli.folder / "empty").mkdir()
        assert cli("inspect", "empty").status == 2

    def test_a_salt_comes_from_the_key_or_from_a_receipt(self, cli: Cli, key: Path, badges: Badges) -> None:
        """Without either, a badge that can be guessed has no commitment to show."""
        path = badges.hosted("a.json", 1)
        badge = read(path.read_bytes())
        expected = commitment(badge, derive_salt(load_salt_key(key.with_name("acme.key.salt")), badge)).hex()
        assert "needs a salt: --salt-key, or a receipt beside the badge" in cli.ok("inspect", path).out
        assert "commitment" not in cli.ok("inspect", path, "--json").json
        keyed = cli.ok("inspect", path, "--salt-key", "acme.key.salt", "--json").json
        assert (keyed["commitment"], keyed["salted"], keyed["needs_salt"]) == (expected, True, True)
        cli.ok("issue", "badges", "--out", "badges", "--key", key)
        assert f"{expected} (salted)" in cli.ok("inspect", path).out
        assert cli("inspect", path, "--salt-key", "missing").status == 2

    def test_an_expiry_that_is_past_is_told(self, cli: Cli) -> None:
        """By the machine's clock; the badge is none the less readable."""
        path = write(cli, "a.json", ob3_json(ISSUER, 1))
        assert "which is past" not in cli.ok("inspect", path).out
        cli.clock.wall_ms += 10 * 365 * 86_400_000
        assert "UTC, which is past" in cli.ok("inspect", path).out

    def test_control_characters_are_shown_as_escapes(self, cli: Cli) -> None:
        """Names and addresses come from the badge."""
        document = json.loads(ob3_json(ISSUER, 1))
        document["credentialSubject"]["achievement"]["name"] = "Sailing\x1b[31m\u202e"
        ran = cli("inspect", write(cli, "a.json", json.dumps(document).encode()))
        assert "Sailing\\x1b[31m\\u202e" in ran.out

    def test_what_is_long_is_cut_and_what_is_many_counted(self, cli: Cli) -> None:
        """For people; --json has all of it."""
        document = json.loads(ob3_json(ISSUER, 1))
        document["issuer"] = {"id": "https://a.example/" + "x" * 1_000_000, "type": ["Profile"]}
        document["credentialSubject"]["achievement"]["name"] = "n" * 301
        document["credentialStatus"] = [status_entry(f"https://s.example/{k}", k) for k in range(3000)]
        del document["proof"]
        path = write(cli, "a.json", json.dumps(document).encode())
        ran = cli("inspect", path)
        assert len(ran.out) < 20_000
        assert f"https://a.example/{'x' * 282}... and 999718 characters more" in ran.out
        assert f"{'n' * 300}... and 1 character more" in ran.out
        assert "and 2950 more (all of them with --json)" in ran.out
        shown = cli("inspect", path, "--json").json
        assert (len(shown["issuer"]), len(shown["status"])) == (1_000_018, 3000)

    def test_help_shows_an_example(self, cli: Cli) -> None:
        """One that can be copied."""
        assert "badge-ledger inspect alice.png" in cli.ok("inspect", "--help").out


class TestLibraryFunction:
    """`ledger.inspection.inspect`."""

    def test_every_form(self) -> None:
        """Each is told apart, has an issuer or a host, and a commitment with a salt."""
        found = {name: inspect(data, unchecked, salt=bytes(32)) for name, data in samples(ISSUER).items()}
        assert {name: (it.kind, it.wrapping) for name, it in found.items()} == {
            "ob3-json": ("ob3-json", "plain"),
            "ob3-jwt": ("ob3-jwt", "plain"),
            "ob3-png": ("ob3-jwt", "png"),
            "ob2-hosted": ("ob2-hosted", "plain"),
            "ob2-jws": ("ob2-signed", "plain"),
        }
        for it in found.values():
            assert it.kind_name
            assert it.issuer or it.hosted_at or it.kind == "ob2-signed"
            assert it.commitment
            assert it.salted
            json.dumps(it.to_json())

    def test_the_same_badge_in_an_image_has_the_same_commitment(self) -> None:
        """One commitment per badge whatever its wrapping."""
        badges = samples(ISSUER)
        again = ob3_jwt(ISSUER, 2)
        assert inspect(badges["ob3-png"], unchecked).commitment == inspect(again, unchecked).commitment

    def test_only_the_achievement_is_named(self) -> None:
        """The credential's own name, and a transcript's, may be its recipient's."""
        document = json.loads(ob3_json(ISSUER, 1))
        achievement = document["credentialSubject"]["achievement"]["name"]
        document["name"] = "Diploma of Ada Lovelace"
        assert inspect(json.dumps(document).encode(), unchecked).name == achievement
        del document["credentialSubject"]["achievement"]["name"]
        assert inspect(json.dumps(document).encode(), unchecked).name is None
        document["type"] = ["VerifiableCredential"]
        assert inspect(json.dumps(document).encode(), unchecked).name is None

    def test_the_check_is_the_callers(self) -> None:
        """Whatever it finds is told, word for word."""

        def check(_: object) -> Authenticity:
            return Authenticity("not-checked", "suite", "key", reason="a context is missing", notes=("one of two",))

        it = inspect(ob3_json(ISSUER, 1), check)
        assert (it.own_signature, it.signature_scheme, it.signature_key) == ("not-checked", "suite", "key")
        assert (it.signature_reason, it.signature_notes) == ("a context is missing", ("one of two",))

    def test_the_issuer_can_be_known_by_the_signature_alone(self) -> None:
        """Open Badges 2.0 names it in the badge class, which may lie elsewhere."""

        def check(_: object) -> Authenticity:
            return Authenticity("verified", "JWS EdDSA", "key", issuer="https://school.example")

        assert inspect(samples(ISSUER)["ob2-jws"], check).signer == "https://school.example"
        assert inspect(ob3_json(ISSUER, 1), check).signer is None

    def test_what_is_no_badge_is_refused(self) -> None:
        """As reading refuses it; a salt of another length is the caller's mistake."""
        with pytest.raises(MalformedBadge):
            inspect(b"{}", unchecked)
        with pytest.raises(ValueError, match="32 bytes"):
            inspect(ob2_hosted(ISSUER, 1), unchecked, salt=bytes(31))

    def test_a_document_that_says_revoked_is_told(self) -> None:
        """Open Badges 2.0 writes it into the document."""
        document = json.loads(ob2_hosted(ISSUER, 1)) | {"revoked": True}
        assert inspect(json.dumps(document).encode(), unchecked).revoked


def test_badges_inside_a_transcript_are_inspected_too(cli: Cli) -> None:
    """Each with its own commitment; a transcript's own name is not shown."""
    path = write(cli, "clr.json", shared_sample("clr2-simple.json"))
    document: dict[str, Any] = cli("inspect", path, "--json").json
    assert document["kind"] == "clr2-json"
    assert "name" not in document
    assert document["nested"]
    commitments = [inside.get("commitment") for inside in (document, *document["nested"])]
    assert len(set(commitments)) == len(commitments)
    assert f"badges in it: {len(document['nested'])}, each with a commitment of its own" in cli("inspect", path).out


@pytest.mark.parametrize("name", ["ob2-badgr-embedded.json", "ob2-baked-heart.png", "ob3-eddsa-rdfc-2022.json"])
def test_real_recipients_are_not_shown(cli: Cli, name: str) -> None:
    """Whatever form a recipient has in real badges."""
    data = shared_sample(name)
    document = read(data).document
    subject: dict[str, Any] = document.get("credentialSubject", document.get("recipient", {}))
    secret = subject.get("id", subject.get("identity"))
    assert secret
    path = write(cli, name, data)
    for ran in (cli.ok("inspect", path), cli.ok("inspect", path, "--json")):
        assert secret not in ran.out + ran.err


def test_a_transcript_whose_badges_cannot_be_read_is_told_all_the_same(cli: Cli) -> None:
    """What is wrong with one inside is no reason to say nothing of the whole."""
    document = json.loads(ob3_json(ISSUER, 1))
    document["type"] = ["VerifiableCredential", "ClrCredential"]
    document["credentialSubject"]["verifiableCredential"] = [7]
    ran = cli("inspect", write(cli, "clr.json", json.dumps(document).encode()))
    assert "badges in it: cannot be read: " in ran.out
    assert inspect(json.dumps(document).encode(), unchecked).nested_error


def test_an_address_is_no_badge(cli: Cli) -> None:
    """It says where the badge lies and what to do; --document takes what lies there."""
    badge = json.loads(ob2_hosted(ISSUER, 1))
    path = write(cli, "address.txt", f"{badge['id']}?v=2_0&identity__email=ada%40x.example".encode())
    ran = cli("inspect", path)
    assert (ran.status, ran.out) == (2, "")
    assert "--document" in ran.err
    assert badge["id"] in ran.err
    assert "ada" not in ran.err
    document = write(cli, "a.json", json.dumps(badge).encode())
    assert "Open Badges 2.0, hosted" in cli.ok("inspect", path, "--document", document).out


def test_the_address_in_an_old_image_is_told(cli: Cli) -> None:
    """A real one."""
    ran = cli("inspect", write(cli, "old.png", shared_sample("ob1-baked-text-url.png")))
    assert (ran.status, ran.out) == (2, "")
    assert "--document" in ran.err
