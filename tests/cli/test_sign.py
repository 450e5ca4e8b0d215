"""`sign`: from an unsigned document to a badge that is anchored in the slot that it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from openbadgeslib.ob3 import OB3LdpVerifier

from ledger.cli.sign import EXAMPLE
from ledger.client import LedgerClient
from ledger.entry import LIST_SLOTS
from ledger.keyfile import load_key
from tests.builders import ORIGIN
from tests.cli.conftest import Cli
from tests.fakes import TOKEN, FakeLedger


def write(path: Path, **changes: Any) -> Path:
    """The example with members changed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**EXAMPLE, **changes}))
    return path


@pytest.fixture
def document(cli: Cli, key: Path) -> Path:
    return write(cli.folder / "badge.json")


def entries(path: Path) -> list[dict[str, Any]]:
    status: list[dict[str, Any]] = json.loads(path.read_bytes())["credentialStatus"]
    return status


class TestSign:
    def test_others_verify_it(self, cli: Cli, key: Path, document: Path) -> None:
        """A library that knows nothing of the ledger, by the did:key alone."""
        ran = cli.ok("sign", document, "--key", key, "--out", "alice.json")
        assert "alice.json" in ran.out
        found = OB3LdpVerifier().verify(Path("alice.json").read_text())
        assert found.issuer.id == load_key(key).issuer
        assert str(found.id).startswith("urn:uuid:")

    def test_it_is_anchored_in_the_slot_that_it_names(
        self, cli: Cli, ledger: FakeLedger, key: Path, document: Path
    ) -> None:
        """`issue` takes the slot from the badge, `verify` compares it with the entry's, both by themselves."""
        slot = cli.ok("sign", document, "--key", key, "--out", "alice.json", "--json").json["badges"][0]["slot"]
        for purpose, entry in zip(("revocation", "suspension"), entries(Path("alice.json")), strict=True):
            address = f"https://{ORIGIN}/status/{slot // LIST_SLOTS}/{purpose}"
            assert entry["statusListCredential"] == address
            assert entry["statusListIndex"] == str(slot % LIST_SLOTS)
        issued = cli.ok("issue", "alice.json", "--out", "out", "--key", key, "--json").json
        assert issued["badges"][0]["slot"] == slot
        verified = cli.ok("verify", "alice.json", "--receipt", "out/alice.receipt.json", "--policy", "trust.policy")
        assert verified.out.startswith("VALID")

    def test_the_ledgers_own_address_of_its_lists_counts(
        self, cli: Cli, ledger: FakeLedger, key: Path, document: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where it states one in /v1/log; one that cannot stand in a badge is refused before anything is written."""
        ledger.status_lists = "http://localhost:8080/status/"
        cli.ok("sign", document, "--key", key, "--out", "alice.json")
        assert entries(Path("alice.json"))[0]["statusListCredential"].startswith(ledger.status_lists)
        for wrong in ("http://localhost:8080/status", "javascript:alert(1)/", "https://a.example/?x=/", "https:///a/"):
            ledger.status_lists = wrong
            ran = cli("sign", document, "--key", key, "--out", "bob.json")
            assert ran.status == 2
            assert "as the address of its status lists" in ran.err
        assert not Path("bob.json").exists()

    def test_the_ledger_learns_a_number(self, cli: Cli, ledger: FakeLedger, key: Path, document: Path) -> None:
        """Of slots: one request that holds nothing of the badge."""
        cli.ok("sign", document, "--key", key, "--out", "alice.json")
        asked = [request for request in ledger.requests if request.startswith("POST")][1:]  # after the registration
        assert len(asked) == 1
        assert asked[0].endswith("/slots")

    def test_one_badge_goes_to_standard_output(self, cli: Cli, key: Path) -> None:
        """As JSON and nothing else, whatever characters it holds."""
        file = write(cli.folder / "odd.json", name="soft\u00adhyphen \U000e0067 \u202e Ünïcode")
        ran = cli.ok("sign", file, "--key", key)
        assert json.loads(ran.out)["name"] == "soft\u00adhyphen \U000e0067 \u202e Ünïcode"
        OB3LdpVerifier().verify(ran.out)

    def test_a_folder_goes_to_a_folder(self, cli: Cli, key: Path) -> None:
        """Each badge under its name with a slot of its own; what cannot be signed is named and stops no other."""
        for k in range(3):
            write(cli.folder / "in" / f"{k}.json", name=f"Badge {k}")
        write(cli.folder / "in" / "more" / "bad.json", colour="red")
        (cli.folder / "in" / "notes.txt").write_text("no badge")
        ran = cli("sign", "in", "--key", key, "--out", "signed", "--json")
        assert ran.status == 1
        rows = ran.json["badges"]
        assert [row["badge"] for row in rows[:3]] == [f"signed/{k}.json" for k in range(3)]
        assert len({row["slot"] for row in rows[:3]}) == 3
        assert rows[3]["detail"].startswith("no @context of the badge defines colour")
        assert sorted(path.name for path in Path("signed").rglob("*.*")) == ["0.json", "1.json", "2.json"]

    def test_no_slot_is_asked_for_in_vain(self, cli: Cli, ledger: FakeLedger, key: Path) -> None:
        """What cannot be signed is found before the ledger is asked, whichever part of the work it would break."""
        before = list(ledger.requests)
        bad: list[dict[str, Any]] = [
            {"colour": "red"},
            {"id": "no address"},
            {"proof": {}},
            {"issuer": "https://o.example/"},
        ]
        for changes in bad:
            file = write(cli.folder / "bad.json", **changes)
            assert cli("sign", file, "--key", key, "--out", "x.json").status == 1
        assert ledger.requests == before

    @pytest.mark.parametrize(
        ("handed_out", "sentence"),
        [([7], "the same slots again and again"), ([7, 7], "2 slots where 2"), ([], "0 slots"), ([1, 2, 3], "3 slots")],
    )
    def test_a_ledger_that_hands_out_nonsense_is_left(
        self, cli: Cli, key: Path, monkeypatch: pytest.MonkeyPatch, handed_out: list[int], sentence: str
    ) -> None:
        """Too few again and again, one twice, none, too many: one sentence, and nothing is written."""

        async def reserve_slots(*_: object, **__: object) -> list[int]:
            return handed_out

        monkeypatch.setattr(LedgerClient, "reserve_slots", reserve_slots)
        for k in range(2):
            write(cli.folder / "in" / f"{k}.json")
        ran = cli("sign", "in", "--key", key, "--out", "signed")
        assert ran.status == 2
        assert sentence in ran.err
        assert not Path("signed").exists()

    def test_what_exists_stays(self, cli: Cli, ledger: FakeLedger, key: Path, document: Path) -> None:
        """Unless --force says otherwise; that too is found before a slot is asked for."""
        Path("alice.json").write_text("mine")
        before = list(ledger.requests)
        assert "exists" in cli("sign", document, "--key", key, "--out", "alice.json").err
        assert (Path("alice.json").read_text(), ledger.requests) == ("mine", before)
        cli.ok("sign", document, "--key", key, "--out", "alice.json", "--force")
        assert entries(Path("alice.json"))

    def test_of_several_what_is_there_is_passed_over(self, cli: Cli, ledger: FakeLedger, key: Path) -> None:
        """A run that was broken off is repeated: only the rest is signed, and gets slots; --force signs all anew."""
        for k in range(2):
            write(cli.folder / "in" / f"{k}.json", name=f"Badge {k}")
        cli.ok("sign", "in", "--key", key, "--out", "signed")
        before = Path("signed/0.json").read_bytes()
        write(cli.folder / "in" / "2.json", name="Badge 2")
        ran = cli.ok("sign", "in", "--key", key, "--out", "signed")
        words = [line.split() for line in ran.out.splitlines()]
        assert [row[:2] for row in words[1:3]] == [["signed/0.json", "present"], ["signed/1.json", "present"]]
        assert words[3][:2] == ["signed/2.json", "signed"]
        assert Path("signed/0.json").read_bytes() == before
        asked = len(ledger.requests)
        rows = cli.ok("sign", "in", "--key", key, "--out", "signed", "--json").json["badges"]
        assert [row["result"] for row in rows] == ["present"] * 3
        assert len(ledger.requests) == asked
        rows = cli.ok("sign", "in", "--key", key, "--out", "signed", "--force", "--json").json["badges"]
        assert [row["result"] for row in rows] == ["signed"] * 3
        assert Path("signed/0.json").read_bytes() != before

    def test_a_transcript_is_told_what_is_signed_here(self, cli: Cli, key: Path) -> None:
        """Its context is not held; the sentence says what this program signs."""
        contexts = [
            "https://www.w3.org/ns/credentials/v2",
            "https://purl.imsglobal.org/spec/clr/v2p0/context-2.0.1.json",
        ]
        file = write(
            cli.folder / "clr.json", **{"@context": contexts, "type": ["VerifiableCredential", "ClrCredential"]}
        )
        ran = cli("sign", file, "--key", key, "--out", "x.json")
        assert ran.status == 1
        assert "it signs Open Badges 3.0 and other VC 2.0 credentials under the contexts that it holds" in ran.err

    def test_several_need_a_folder(self, cli: Cli, key: Path, document: Path) -> None:
        """And two of one name cannot both lie in it."""
        write(cli.folder / "b" / "badge.json")
        assert "--out FOLDER" in cli("sign", document, "b", "--key", key).err
        assert "same name" in cli("sign", document, "b", "--key", key, "--out", "signed").err
        (cli.folder / "empty").mkdir()
        assert "nothing to sign" in cli("sign", "empty", "--key", key, "--out", "signed").err


class TestKeys:
    def test_another_issuer_is_told_what_to_publish(self, cli: Cli, ledger: FakeLedger) -> None:
        """Verifiers find its key only in the document of its identifier, which is printed."""
        cli.ok("keygen", "web.key", "--identifier", "did:web:academy.example")
        cli.ok("issuer", "add", "--key", "web.key", "--token", TOKEN)
        file = write(cli.folder / "badge.json")
        ran = cli.ok("sign", file, "--key", "web.key", "--out", "alice.json")
        method = json.loads(Path("alice.json").read_bytes())["proof"]["verificationMethod"]
        assert method.startswith("did:web:academy.example#z6Mk")
        assert f'"id": "{method}"' in ran.err
        published = cli.ok("sign", file, "--key", "web.key", "--out", "bob.json", "--json").json["publish"]
        assert published["assertionMethod"] == [method]

    def test_a_further_key_of_a_did_key_cannot_sign(self, cli: Cli, ledger: FakeLedger, key: Path) -> None:
        """A did:key is one key: what a second one signs, no verifier accepts."""
        cli.ok("keygen", "daily.key", "--no-salt-key")
        cli.ok("issuer", "keys", "--add", "daily.key", "--key", key, "--roles", "issue")
        file = write(cli.folder / "badge.json")
        ran = cli("sign", file, "--key", "daily.key", "--out", "alice.json")
        assert ran.status == 2
        assert "is another key than this one" in ran.err


def test_the_example_can_be_signed(cli: Cli, key: Path) -> None:
    """As it is printed, which needs neither key nor ledger."""
    Path("example.json").write_text(cli.ok("sign", "--example").out)
    cli.ok("sign", "example.json", "--key", key, "--out", "signed.json")
