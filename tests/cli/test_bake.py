"""`bake`: one file that holds badge and receipt."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger import badges as badge_reader
from ledger.badges.bake import baked_receipt
from ledger.receipt_json import load
from tests.cli.conftest import Badges, Cli
from tests.fakes import FakeLedger
from tests.samples import png

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><circle r="5"/></svg>'


@pytest.fixture
def badge(cli: Cli, ledger: FakeLedger, key: Path, badges: Badges) -> Path:
    """A badge without a proof, so with a salted commitment, its receipt in `out`; two images to bake it into."""
    file = badges.hosted("a.json", 1)
    cli.ok("issue", "badges", "--out", "out", "--key", key)
    (cli.folder / "medal.png").write_bytes(png())
    (cli.folder / "medal.svg").write_bytes(SVG)
    return file


@pytest.mark.parametrize("ending", ["png", "svg"])
class TestBake:
    def test_badge_and_receipt_are_in_the_image(self, cli: Cli, badge: Path, ending: str) -> None:
        """The receipt with its salt, so that the image is all that a verifier needs."""
        ran = cli.ok("bake", badge, f"medal.{ending}", "--receipt", "out/a.receipt.json", "--json").json
        target = badge.with_name(f"a.baked.{ending}")
        image = target.read_bytes()
        assert (ran["file"], ran["bytes"], ran["receipt"]) == (str(target), len(image), True)
        baked = badge_reader.read(image)
        receipt = load(baked_receipt(image) or b"")
        assert baked.canonical == badge_reader.read(badge.read_bytes()).canonical
        assert badge_reader.commitment(baked, receipt.salt) == receipt.issue_entry().commitment
        assert receipt == load(Path("out/a.receipt.json").read_bytes())

    def test_the_image_is_all_that_a_verifier_needs(self, cli: Cli, badge: Path, ending: str) -> None:
        """`verify` finds badge and receipt in it, in a folder with nothing beside."""
        (cli.folder / "alone").mkdir()
        image = f"alone/b.{ending}"
        cli.ok("bake", badge, f"medal.{ending}", "--receipt", "out/a.receipt.json", "--out", image)
        assert cli.ok("verify", image, "--policy", "trust.policy").out.startswith("VALID")
        # Also for whoever asks for a newer receipt, or revokes it: the salt is in the image.
        cli.ok("receipt", image, "--out", "newer.receipt.json")
        assert load(Path("newer.receipt.json").read_bytes()).salt is not None
        Path("acme.key.salt").rename("elsewhere")
        cli.ok("revoke", image, "--key", "acme.key")
        cli.ok("receipt", image, "--out", "newer.receipt.json", "--force")
        revoked = cli("verify", image, "--receipt", "newer.receipt.json", "--policy", "trust.policy")
        assert revoked.out.startswith("REVOKED")

    def test_a_packed_receipt_is_baked_as_json(self, cli: Cli, badge: Path, ending: str) -> None:
        """Text chunks and elements hold text."""
        cli.ok("receipt", "out/a.receipt.json", "--packed", "--out", "a.receipt")
        cli.ok("bake", badge, f"medal.{ending}", "--receipt", "a.receipt", "--out", f"b.{ending}")
        receipt = baked_receipt(Path(f"b.{ending}").read_bytes())
        assert receipt is not None
        assert receipt.startswith(b"{")

    def test_the_receipt_beside_the_badge_is_found(self, cli: Cli, badge: Path, ending: str) -> None:
        """Without one, the badge alone is baked and that is said; --no-receipt asks for it."""
        alone = cli.ok("bake", badge, f"medal.{ending}", "--out", f"b.{ending}")
        assert alone.out == f"b.{ending}: the badge\n"
        assert "no receipt of" in alone.err
        Path("out/a.receipt.json").rename(badge.with_name("a.receipt.json"))
        assert "and its receipt" in cli.ok("bake", badge, f"medal.{ending}", "--out", f"c.{ending}").out
        quiet = cli.ok("bake", badge, f"medal.{ending}", "--out", f"d.{ending}", "--no-receipt")
        assert (quiet.out, quiet.err) == (f"d.{ending}: the badge\n", "")
        assert baked_receipt(Path(f"d.{ending}").read_bytes()) is None

    def test_nothing_is_replaced_by_accident(self, cli: Cli, badge: Path, badges: Badges, ending: str) -> None:
        """Neither a file nor a badge that is in the image."""
        cli.ok("bake", badge, f"medal.{ending}", "--no-receipt", "--out", f"b.{ending}")
        before = Path(f"b.{ending}").read_bytes()
        assert "exists" in cli("bake", badge, f"medal.{ending}", "--out", f"b.{ending}").err
        other = badges.signed("other.json", 2)
        ran = cli("bake", other, f"b.{ending}", "--out", f"c.{ending}")
        assert ran.status == 2
        assert "carries a badge already" in ran.err
        assert not Path(f"c.{ending}").exists()
        assert Path(f"b.{ending}").read_bytes() == before
        cli.ok("bake", other, f"b.{ending}", "--out", f"b.{ending}", "--force")
        assert badge_reader.read(Path(f"b.{ending}").read_bytes()).kind == "ob3-json"

    def test_the_receipt_of_another_badge_is_refused(self, cli: Cli, badge: Path, badges: Badges, ending: str) -> None:
        """Exit status 1: it does not prove this badge."""
        other = badges.hosted("other.json", 2)
        ran = cli("bake", other, f"medal.{ending}", "--receipt", "out/a.receipt.json", "--out", f"b.{ending}")
        assert ran.status == 1
        assert "another badge" in ran.err
        assert not Path(f"b.{ending}").exists()


def test_by_default_no_badge_of_the_folder_is_in_the_way(cli: Cli, badge: Path, key: Path) -> None:
    """alice.json, alice.png and what was baked of either are three files, and the names of their receipts stay."""
    cli.ok("bake", badge, "medal.png", "--no-receipt", "--out", badge.with_suffix(".png"))
    before = badge.with_suffix(".png").read_bytes()
    assert "exists" in cli("bake", badge, "medal.png", "--out", badge.with_suffix(".png")).err
    badge.with_suffix(".png").unlink()
    cli.ok("bake", badge, "medal.png", "--no-receipt")
    assert badge.with_name("a.baked.png").read_bytes() == before
    rerun = cli.ok("issue", badge.parent, "--out", "out", "--key", key, "--json").json
    assert [row["result"] for row in rerun["badges"]] == ["present", "present"]
    assert Path("out/a.receipt.json").exists()


def test_an_unusable_image_is_told_before_files_that_exist(cli: Cli, badge: Path) -> None:
    """What --force would not mend comes first."""
    Path("medal.gif").write_bytes(b"GIF89a")
    Path("there.gif").write_bytes(b"mine")
    assert "neither a PNG nor an SVG" in cli("bake", badge, "medal.gif", "--out", "there.gif").err
    assert Path("there.gif").read_bytes() == b"mine"


def test_what_is_no_image_is_named(cli: Cli, badge: Path) -> None:
    """With the reason, in one sentence."""
    Path("medal.gif").write_bytes(b"GIF89a")
    ran = cli("bake", badge, "medal.gif")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err == "badge-ledger: medal.gif: the image is neither a PNG nor an SVG\n"
    assert "contradict" in cli("bake", badge, "medal.png", "--receipt", "out/a.receipt.json", "--no-receipt").err
