"""`keygen` and `issuer`: keys, who may hold them, and what a key file remembers."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from ledger.checkpoint import Checkpoint, format_checkpoint
from ledger.entry import did_key, issuer_id
from ledger.keyfile import load_key, load_salt_key
from ledger.note import Note, format_note, format_vkey, sign_note
from tests.builders import seeded_key
from tests.cli.conftest import Cli
from tests.fakes import TOKEN, FakeLedger


class TestKeygen:
    def test_an_issuers_key_and_its_salt_key_are_private(self, cli: Cli) -> None:
        """Two files of mode 0600; the identifier is the key's own did:key unless one is given."""
        made = cli.ok("keygen", "a.key", "--json").json
        for name in ("a.key", "a.key.salt"):
            assert stat.S_IMODE((cli.folder / name).stat().st_mode) == 0o600
        key = load_key("a.key")
        assert made["identifier"] == key.issuer == did_key(key.public)
        assert made["issuer"] == issuer_id(did_key(key.public)).hex()
        assert len(load_salt_key("a.key.salt")) == 32
        cli.ok("keygen", "b.key", "--identifier", "https://b.example/", "--no-salt-key")
        assert load_key("b.key").issuer == "https://b.example/"
        assert not (cli.folder / "b.key.salt").exists()

    def test_no_key_is_ever_overwritten(self, cli: Cli) -> None:
        """Neither the key nor the salt key beside it."""
        cli.ok("keygen", "a.key")
        before = (cli.folder / "a.key").read_bytes(), (cli.folder / "a.key.salt").read_bytes()
        assert cli("keygen", "a.key").status == 2
        (cli.folder / "a.key").unlink()
        cli.ok("keygen", "a.key")
        assert (cli.folder / "a.key").read_bytes() != before[0]
        assert (cli.folder / "a.key.salt").read_bytes() == before[1]

    @pytest.mark.parametrize("kind", ["witness", "witness-pq", "log", "log-pq"])
    def test_note_keys_have_a_name_and_a_verifier_key(self, cli: Cli, kind: str) -> None:
        """What others configure is printed."""
        made = cli.ok("keygen", "w.key", "--kind", kind, "--name", "w.example/1", "--json").json
        assert made["verifier_key"] == format_vkey(load_key("w.key").verifier_key())
        assert cli("keygen", "x.key", "--kind", kind).status == 2

    def test_secrets_are_not_printed(self, cli: Cli) -> None:
        """No output holds a seed."""
        ran = cli.ok("keygen", "a.key")
        for name in ("a.key", "a.key.salt"):
            seed = load_key(name).seed
            assert seed.hex() not in ran.out + ran.err


class TestIssuer:
    def test_registering_proves_possession_and_is_remembered(self, cli: Cli, ledger: FakeLedger) -> None:
        """After it the key file knows its log index, and commands need only --key."""
        cli.ok("keygen", "a.key")
        (cli.folder / "data").mkdir()
        (cli.folder / "data" / "operator.token").write_text(TOKEN + "\n")
        ran = cli.ok("issuer", "add", "--key", "a.key", "--data", "data")
        key = load_key("a.key")
        assert key.key_index is not None
        (known,) = ledger.log.replay.issuers.values()
        assert known.keys[key.key_index].public_key == key.public
        assert "binding  self-certifying" in ran.out

    def test_what_was_registered_before_is_told(self, cli: Cli, ledger: FakeLedger) -> None:
        """The key file learns its index all the same: it may come from a copy that never knew it."""
        cli.ok("keygen", "a.key")
        unregistered = (cli.folder / "a.key").read_bytes()
        first = cli.ok("issuer", "add", "--key", "a.key", "--token", TOKEN)
        identifier, index = load_key("a.key").issuer, load_key("a.key").key_index
        assert f"registered {identifier}" in first.out
        (cli.folder / "a.key").write_bytes(unregistered)
        again = cli.ok("issuer", "add", "--key", "a.key", "--token", TOKEN)
        assert again.out.startswith(f"{identifier} was registered before\n")
        assert load_key("a.key").key_index == index
        assert cli.ok("issuer", "add", "--key", "a.key", "--token", TOKEN, "--json").json["registered_before"] is True
        cli.ok("keygen", "b.key")
        assert cli.ok("issuer", "add", "--key", "b.key", "--token", TOKEN, "--json").json["registered_before"] is False

    @pytest.mark.parametrize("arguments, slug", [([], "invalid-input"), (["--token", "wrong"], "forbidden")])
    def test_registering_needs_the_operators_token(
        self, cli: Cli, ledger: FakeLedger, arguments: list[str], slug: str
    ) -> None:
        """Without it, or with a wrong one, nothing is registered."""
        cli.ok("keygen", "a.key")
        ran = cli("issuer", "add", "--key", "a.key", "--json", *arguments)
        assert (ran.status, ran.json["error"]["type"]) == (2, f"urn:badge-ledger:problem:{slug}")
        assert not ledger.log.replay.issuers

    def test_a_key_that_others_can_read_is_refused(self, cli: Cli, ledger: FakeLedger) -> None:
        """And the sentence says how to mend it."""
        cli.ok("keygen", "a.key")
        (cli.folder / "a.key").chmod(0o640)
        ran = cli("issuer", "add", "--key", "a.key", "--token", TOKEN)
        assert ran.status == 2
        assert "chmod 600" in ran.err

    def test_keys_are_added_and_retired_by_the_manage_key(self, cli: Cli, ledger: FakeLedger, key: Path) -> None:
        """The added key file learns identifier and index; adding and retiring again change nothing."""
        cli.ok("keygen", "daily.key", "--no-salt-key")
        for _ in range(2):
            shown = cli.ok("issuer", "keys", "--key", key, "--add", "daily.key", "--roles", "issue", "--json").json
        assert [(k["roles"], k["live"]) for k in shown["keys"]] == [
            (["issue", "status", "manage"], True),
            (["issue"], True),
        ]
        daily = load_key("daily.key")
        assert (daily.issuer, daily.key_index) == (load_key(key).issuer, shown["keys"][1]["index"])
        for _ in range(2):
            shown = cli.ok("issuer", "keys", "--key", key, "--retire", str(daily.key_index), "--json").json
        assert [k["live"] for k in shown["keys"]] == [True, False]
        size = ledger.log.size
        assert "retired" in cli.ok("issuer", "keys", "--key", key).out
        assert ledger.log.size == size
        assert cli("issuer", "keys", "--key", key, "--retire", "999").status == 2

    def test_the_list_has_every_page(self, cli: Cli, ledger: FakeLedger) -> None:
        """All issuers, one page after the other."""
        names = [f"https://{n}.example/" for n in "abc"]
        for name in names:
            ledger.log.issuer(name)
        ledger.log.seal()
        assert [each["identifier"] for each in cli.ok("issuer", "list", "--json").json["issuers"]] == names

    def test_no_signature_for_a_log_that_the_policy_does_not_name(
        self, cli: Cli, ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A server that calls itself by another log's name gets none, with --policy."""
        cli.ok("keygen", "a.key")
        with FakeLedger("other.example/log") as other:
            arguments = ("issuer", "add", "--key", "a.key", "--token", TOKEN, "--policy", "trust.policy")
            ran = cli(*arguments, "--url", other.url)
            assert ran.status == 1
            assert "is the log 'other.example/log' by its own word; the policy does not name it" in ran.err
            other.origin = ledger.origin
            checkpoint = Checkpoint(other.origin, other.log.size, other.log.root())
            line = sign_note(format_checkpoint(checkpoint), other.origin, seeded_key("somebody else"))
            monkeypatch.setattr(other, "note", lambda: format_note(Note(format_checkpoint(checkpoint), (line,))))
            ran = cli(*arguments, "--url", other.url)
            assert (ran.status, "did not sign it" in ran.err) == (1, True)
            assert not [request for request in other.requests if request.startswith("POST")]
        assert cli(*arguments).status == 0
