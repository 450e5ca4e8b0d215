"""`revoke`, `suspend`, `reinstate`: by badge, receipt, commitment, slot, or by the key that signed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.cli.files import read_receipt
from ledger.cli.options import REASONS
from ledger.entry import REASONS as WIRE_REASONS
from ledger.keyfile import load_key
from tests.cli.conftest import Badges, Cli
from tests.fakes import FakeLedger


@pytest.fixture
def issued(cli: Cli, ledger: FakeLedger, key: Path, badges: Badges) -> list[int]:
    """Slots of three issued badges: a (signed), b and c (hosted, salted)."""
    badges.signed("a.json", 1)
    badges.hosted("b.json", 2)
    badges.hosted("c.json", 3)
    cli.ok("issue", "badges", "--out", "out", "--key", key)
    return [read_receipt(cli.folder / "out" / f"{name}.receipt.json").issue_entry().slot for name in "abc"]


def states(ledger: FakeLedger, slots: list[int]) -> list[str]:
    return [ledger.log.replay.slot_state(slot) for slot in slots]


class TestTargets:
    def test_a_badge_is_named_in_any_way(self, cli: Cli, ledger: FakeLedger, key: Path, issued: list[int]) -> None:
        """A badge with a proof, a salted badge by the salt key, a receipt: each finds its own slot."""
        ran = cli.ok("revoke", "badges/a.json", "badges/b.json", "out/c.receipt.json", "--key", key, "--json")
        assert [row["slot"] for row in ran.json["changes"]] == issued
        assert states(ledger, issued) == ["revoked"] * 3
        assert len(ledger.bodies) == 2

    def test_by_commitment_and_by_slot(self, cli: Cli, ledger: FakeLedger, key: Path, issued: list[int]) -> None:
        """64 hexadecimal digits, or decimal digits."""
        commitment = ledger.issued()[0].hex()
        cli.ok("revoke", commitment, str(issued[1]), "--key", key)
        assert states(ledger, issued) == ["revoked", "revoked", "active"]

    def test_a_commitment_means_every_slot_it_was_issued_in(
        self, cli: Cli, ledger: FakeLedger, key: Path, issued: list[int]
    ) -> None:
        """Else a badge that was issued twice would stay valid by the other receipt."""
        cli.ok("issue", "badges/a.json", "--out", "again", "--key", key)
        second = read_receipt(cli.folder / "again" / "a.receipt.json").issue_entry().slot
        cli.ok("revoke", "badges/a.json", "--key", key)
        assert states(ledger, [issued[0], second]) == ["revoked", "revoked"]

    @pytest.mark.parametrize("explicit", [True, False])
    def test_a_file_stands_for_its_slots_with_and_without_a_salt(
        self, cli: Cli, ledger: FakeLedger, key: Path, issued: list[int], explicit: bool
    ) -> None:
        """A signed badge that was issued once unsalted and once salted is revoked in both slots, and that is said."""
        cli.ok("issue", "badges/a.json", "--out", "salted", "--salt", "--key", key)
        slots = [issued[0], read_receipt(cli.folder / "salted" / "a.receipt.json").issue_entry().slot]
        where = []
        if explicit:
            (cli.folder / "acme.key.salt").rename("kept.salt")
            where = ["--salt-key", "kept.salt"]
        ran = cli.ok("revoke", "badges/a.json", "--key", key, *where)
        assert states(ledger, slots) == ["revoked"] * 2
        assert ran.err == "badges/a.json: was issued in 2 slots\n"
        assert "2 revoked" in ran.out

    def test_what_is_only_salted_is_found_by_the_salt_key_or_the_sentence_says_so(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges
    ) -> None:
        """Without the key the unsalted commitment is all there is to look for; the receipt finds it in any case."""
        file = badges.signed("a.json", 1)
        cli.ok("issue", file, "--out", "out", "--salt", "--key", key)
        slot = read_receipt(cli.folder / "out" / "a.receipt.json").issue_entry().slot
        (cli.folder / "acme.key.salt").rename("kept.salt")
        ran = cli("suspend", file, "--key", key)
        assert ran.status == 1
        assert "found by its receipt, or by the salt key" in ran.err
        assert cli("suspend", file, "--key", key, "--salt-key", "absent.salt").status == 1
        cli.ok("suspend", "out/a.receipt.json", "--key", key)
        assert states(ledger, [slot]) == ["suspended"]
        cli.ok("reinstate", file, "--key", key, "--salt-key", "kept.salt")
        assert states(ledger, [slot]) == ["active"]

    def test_a_salted_badge_without_its_salt_fails_alone(
        self, cli: Cli, ledger: FakeLedger, key: Path, issued: list[int]
    ) -> None:
        """The others are revoked, and the exit status says that one was not."""
        (cli.folder / "acme.key.salt").unlink()
        ran = cli("revoke", "badges/a.json", "badges/b.json", "nothing.json", "999999", "--key", key)
        assert ran.status == 1
        assert "its salt is needed" in ran.err
        assert "nothing.json: neither a slot" in ran.err
        assert ran.err.count("nothing.json") == ran.err.count("badges/b.json") == 1
        assert "999999: " in ran.err
        assert states(ledger, issued) == ["revoked", "active", "active"]

    def test_another_issuers_badge_cannot_be_touched(
        self, cli: Cli, ledger: FakeLedger, key: Path, issued: list[int]
    ) -> None:
        """A slot of somebody else's list is refused by the ledger, and by name here."""
        other = ledger.log.issuer("https://other.example/", lists=1)
        slot = other.slot(3)
        ledger.log.submit(other, [other.issue(slot)])
        ledger.log.seal()
        ran = cli("revoke", str(slot), ledger.issued()[-1].hex(), "--key", key)
        assert ran.status == 1
        assert states(ledger, [slot]) == ["active"]
        assert "this issuer has issued no badge" in ran.err


class TestTransitions:
    def test_suspend_and_reinstate(self, cli: Cli, ledger: FakeLedger, key: Path, issued: list[int]) -> None:
        """There and back, and each of them twice changes nothing and is no failure."""
        for verb, state in (("suspend", "suspended"), ("reinstate", "active")):
            for _ in range(2):
                ran = cli.ok(verb, "out/a.receipt.json", "--key", key, "--json")
                assert states(ledger, issued[:1]) == [state]
            assert ran.json["totals"] == {"done": 0, "already": 1, "failed": 0}

    def test_a_key_without_the_role_is_told_which(
        self, cli: Cli, ledger: FakeLedger, key: Path, issued: list[int]
    ) -> None:
        """By name."""
        cli.ok("keygen", "daily.key", "--no-salt-key")
        cli.ok("issuer", "keys", "--key", key, "--add", "daily.key", "--roles", "issue")
        assert "it has not the role status" in cli("revoke", str(issued[0]), "--key", "daily.key").err
        cli.ok("keygen", "third.key", "--no-salt-key")
        ran = cli("issuer", "keys", "--key", "daily.key", "--add", "third.key")
        assert "it has not the role manage" in ran.err

    def test_what_cannot_be_is_told_slot_by_slot(
        self, cli: Cli, ledger: FakeLedger, key: Path, issued: list[int]
    ) -> None:
        """A revoked badge cannot be suspended; the others are."""
        cli.ok("revoke", str(issued[0]), "--key", key)
        ran = cli("suspend", *map(str, issued), "--key", key)
        assert ran.status == 1
        assert f"{issued[0]}: the slot is revoked" in ran.err
        assert "2 suspended, 1 failed" in ran.out
        assert states(ledger, issued) == ["revoked", "suspended", "suspended"]

    def test_the_same_slot_twice_is_one_event(self, cli: Cli, ledger: FakeLedger, key: Path, issued: list[int]) -> None:
        """However it is named."""
        ran = cli.ok("revoke", "badges/a.json", "out/a.receipt.json", str(issued[0]), "--key", key)
        assert "1 revoked, 2 revoked before" in ran.out
        assert ledger.log.replay.revoked == 1

    @pytest.mark.parametrize("reason, number", [*REASONS.items(), ("4", 4), ("Key_Compromised", 6)])
    def test_reasons_by_name_or_number(
        self, cli: Cli, ledger: FakeLedger, key: Path, issued: list[int], reason: str, number: int
    ) -> None:
        """All of the wire format's are known by name."""
        assert sorted(REASONS.values()) == sorted(WIRE_REASONS)
        cli.ok("revoke", str(issued[0]), "--reason", reason, "--key", key)
        assert ledger.log.entries[-2][-1] == number

    def test_many_go_in_submissions_of_the_asked_size(
        self, cli: Cli, ledger: FakeLedger, key: Path, issued: list[int]
    ) -> None:
        """--batch."""
        cli.ok("revoke", *map(str, issued), "--batch", "2", "--key", key)
        assert len(ledger.bodies) == 3
        assert states(ledger, issued) == ["revoked"] * 3


class TestSignedBy:
    @pytest.fixture
    def stolen(self, cli: Cli, ledger: FakeLedger, key: Path, issued: list[int], badges: Badges) -> list[int]:
        """Slots that a second key issued after the first one's three."""
        cli.ok("keygen", "daily.key", "--no-salt-key")
        cli.ok("issuer", "keys", "--key", key, "--add", "daily.key", "--roles", "issue")
        badges.folder = cli.folder / "more"
        for number in range(10, 14):
            badges.signed(f"{number}.json", number)
        cli.ok("issue", "more", "--out", "more-out", "--key", "daily.key", "--batch", "3")
        cli.ok("issue", "badges/a.json", "--out", "again", "--key", key)
        return [
            read_receipt(cli.folder / "more-out" / f"{number}.receipt.json").issue_entry().slot
            for number in range(10, 14)
        ]

    @pytest.mark.parametrize("how", ["index", "public", "file", "public-file"])
    def test_everything_that_a_key_issued_is_revoked(
        self, cli: Cli, ledger: FakeLedger, key: Path, issued: list[int], stolen: list[int], how: str
    ) -> None:
        """And nothing that another key issued; what is revoked already is left out."""
        daily = load_key("daily.key")
        (cli.folder / "daily.pub").write_text(daily.public.hex() + "\n")
        name = {
            "index": str(daily.key_index),
            "public": daily.public.hex(),
            "file": "daily.key",
            "public-file": "daily.pub",
        }[how]
        cli.ok("revoke", str(stolen[1]), "--key", key)
        cli.ok("suspend", str(stolen[2]), "--key", key)
        ran = cli.ok(
            "revoke", "--signed-by", name, "--since", "0", "--reason", "key-compromised", "--key", key, "--json"
        )
        assert ran.json["totals"] == {"done": 3, "already": 0, "failed": 0}
        assert states(ledger, stolen) == ["revoked"] * 4
        assert states(ledger, issued) == ["active"] * 3
        again = cli.ok("revoke", "--signed-by", name, "--since", "0", "--key", key, "--json")
        assert again.json["totals"]["done"] == 0

    def test_since_counts_whole_submissions(self, cli: Cli, ledger: FakeLedger, key: Path, stolen: list[int]) -> None:
        """An index among the events of a submission means that submission too; one behind it does not."""
        daily = load_key("daily.key")
        second = read_receipt(cli.folder / "more-out" / "13.receipt.json").index
        for since, expected in ((second, ["active"] * 3 + ["revoked"]), (second - 4, ["revoked"] * 4)):
            cli.ok("revoke", "--signed-by", str(daily.key_index), "--since", str(since), "--key", key)
            assert states(ledger, stolen) == expected
        assert cli("revoke", "--signed-by", "3", "--since", "100000", "--key", key).status == 2

    def test_a_server_cannot_talk_an_issuer_into_revoking(
        self, cli: Cli, ledger: FakeLedger, key: Path, issued: list[int], stolen: list[int]
    ) -> None:
        """A submission that is shown as the stolen key's without its signature ends the walk; nothing is revoked."""
        daily = load_key("daily.key")
        at = next(k for k, entry in enumerate(ledger.log.entries) if entry[1] == 4)
        entry = ledger.log.entries[at]
        forged = entry[:42] + (daily.key_index or 0).to_bytes(8, "big") + entry[50:]
        ledger.log.entries[at] = forged
        ran = cli("revoke", "--signed-by", str(daily.key_index), "--since", "0", "--key", key)
        assert ran.status == 1
        assert "nothing was revoked" in ran.err
        assert states(ledger, issued) == ["active"] * 3

    @pytest.mark.parametrize("arguments", [["--signed-by", "3"], ["1", "--since", "3"], []])
    def test_key_and_index_belong_together(self, cli: Cli, key: Path, arguments: list[str]) -> None:
        """Half a question is refused, and so is none."""
        assert cli("revoke", *arguments, "--key", key).status == 2
