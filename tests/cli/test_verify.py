"""`verify`: offline, and by its exit status."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from ledger.authenticity.model import NotChecked, shown
from ledger.badges import read
from ledger.badges.bake import bake
from ledger.entry import did_key
from ledger.keyfile import load_issuer_key
from ledger.note import format_vkey
from ledger.signing import Ed25519Key
from tests.cli.conftest import Badges, Cli
from tests.fakes import TOKEN, FakeLedger
from tests.receipt_builder import log_key
from tests.samples import BadgeIssuer, ob3_json, ob3_jwt, ob3_png, png, status_entry

DAY_MS = 86_400_000


@pytest.fixture
def badge(cli: Cli, ledger: FakeLedger, key: Path, badges: Badges) -> Path:
    """A badge with its receipt in `out`; the ledger may go away now."""
    file = badges.hosted("a.json", 1)
    cli.ok("issue", "badges", "--out", "out", "--key", key)
    return file


class TestVerify:
    def test_no_network_is_needed(self, cli: Cli, badge: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """No socket is opened."""

        def no_socket(*_: object, **__: object) -> None:
            raise AssertionError("a socket was opened")

        monkeypatch.setattr(socket, "socket", no_socket)
        ran = cli.ok("verify", badge, "--receipt", "out/a.receipt.json", "--policy", "trust.policy", "--max-age", "24h")
        assert ran.out.startswith("VALID")
        assert "not revoked as of" in ran.out

    def test_every_reason_why_a_badge_is_not_valid_is_exit_status_1(
        self, cli: Cli, key: Path, badge: Path, badges: Badges
    ) -> None:
        """Stale, suspended, revoked, expired, not proven: each by its name."""
        arguments = ("verify", badge, "--receipt", "out/a.receipt.json", "--policy", "trust.policy", "--json")

        def result(*more: str) -> str:
            ran = cli(*arguments, *more)
            assert ran.status == (0 if ran.json["verdict"]["result"] == "valid" else 1)
            return str(ran.json["verdict"]["result"])

        assert result("--max-age", "1h") == "valid"
        cli.clock.wall_ms += DAY_MS
        assert result("--max-age", "1h") == "stale"
        assert result("--max-age", "7d") == "valid"
        cli.clock.wall_ms += 5000 * DAY_MS
        assert result() == "expired"
        cli.clock.wall_ms -= 5001 * DAY_MS
        for verb, name in (("suspend", "suspended"), ("revoke", "revoked")):
            cli.ok(verb, badge, "--key", key)
            cli.ok("refresh", "out")
            assert result() == name
        badges.hosted("a.json", 2)
        assert result() == "not_proven"

    def test_the_receipt_is_found_beside_the_badge(self, cli: Cli, badge: Path) -> None:
        """By NAME.receipt.json, or as whatever receipt in the folder is for this very badge."""
        arguments = ("verify", badge, "--policy", "trust.policy")
        ran = cli(*arguments)
        assert ran.status == 2
        assert "no receipt beside" in ran.err
        beside = badge.with_name("a.receipt.json")
        beside.write_bytes((cli.folder / "out" / "a.receipt.json").read_bytes())
        assert cli(*arguments).status == 0
        beside.rename(badge.with_name("whatever.receipt.json"))
        badge.with_name("broken.receipt.json").write_text("{}")
        assert cli(*arguments).status == 0

    def test_a_log_key_is_a_policy_without_witnesses(self, cli: Cli, ledger: FakeLedger, badge: Path) -> None:
        """--log-key trusts one log; another log's key proves nothing."""
        arguments = ("verify", badge, "--receipt", "out/a.receipt.json", "--log-key")
        assert "by the log's own word" in cli.ok(*arguments, format_vkey(log_key(ledger.origin))).out
        assert cli(*arguments, format_vkey(log_key("other.example/log"))).status == 1

    def test_unusable_input_is_exit_status_2(self, cli: Cli, badge: Path) -> None:
        """No trust, no receipt, no badge, no policy: none of them is a verdict."""
        receipt = ("--receipt", "out/a.receipt.json")
        (cli.folder / "garbage").write_bytes(b"\x00\x01")
        for arguments in (
            (badge, *receipt),
            (badge, "--receipt", "missing", "--policy", "trust.policy"),
            (badge, "--receipt", "garbage", "--policy", "trust.policy"),
            ("garbage", *receipt, "--policy", "trust.policy"),
            (badge, *receipt, "--policy", "garbage"),
            (badge, *receipt, "--log-key", "x"),
            (badge, *receipt, "--policy", "trust.policy", "--max-age", "soon"),
        ):
            ran = cli("verify", *arguments)
            assert (ran.status, ran.out) == (2, "")

    def test_what_a_badge_holds_without_end_is_not_printed_without_end(
        self, cli: Cli, key: Path, badges: Badges
    ) -> None:
        """Thousands of lists, an address of a megabyte: people see the beginning, --json has everything."""
        path = badges.hosted("a.json", 1)
        entries = [status_entry(f"https://s.example/{k}", k) for k in range(500)]
        entries.append(status_entry(f"https://s.example/{'x' * 500_000}", 1))
        document = json.loads(ob3_json(badges.issuer, 1)) | {"credentialStatus": entries}
        del document["proof"]
        path.write_text(json.dumps(document))
        cli.ok("issue", path, "--out", "badges", "--key", key)
        ran = cli("verify", path, "--policy", "trust.policy")
        assert len(ran.out) < 100_000
        assert len(ran.out.splitlines()) <= 101
        assert "more lines are not shown" in ran.err
        assert len(cli("verify", path, "--policy", "trust.policy", "--json").json["verdict"]["lists"]) == 501

    def test_disjoint_quorums_are_refused(self, cli: Cli, badge: Path) -> None:
        """A policy that can be shown two heads is no policy."""
        text = (cli.folder / "trust.policy").read_text().replace("both all", "both any")
        (cli.folder / "any.policy").write_text(text)
        ran = cli("verify", badge, "--receipt", "out/a.receipt.json", "--policy", "any.policy")
        assert ran.status == 2
        assert "two quorums need not intersect" in ran.err

    def test_what_needs_no_signature_loads_nothing_that_checks_one(self, cli: Cli, badge: Path) -> None:
        """Nor do server or database libraries come along: a verifier starts as quickly as before."""
        code = (
            "import sys\n"
            "from ledger.cli.app import run\n"
            "status = run(sys.argv[1:])\n"
            "heavy = {'openvc', 'openbadgeslib', 'pyld', 'jwt', 'aiohttp', 'asyncpg'} & sys.modules.keys()\n"
            "print(status, *sorted(heavy), file=sys.stderr)"
        )
        arguments = ["verify", str(badge), "--receipt", "out/a.receipt.json", "--policy", "trust.policy"]
        program = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(program, cwd=cli.folder, capture_output=True, text=True, check=False)
        assert done.stderr.split() == ["0"]


class TestAuthentic:
    """The signature in the badge, joined with the receipt."""

    def test_the_badges_own_signature_is_checked(self, cli: Cli, key: Path, badges: Badges) -> None:
        """Data Integrity, JWT, and a JWT in a PNG, each under the issuer's did:key, without the network."""
        badges.signed("a.json", 1)
        (badges.folder / "b.jwt").write_text(ob3_jwt(badges.issuer, 2).decode())
        (badges.folder / "c.png").write_bytes(ob3_png(badges.issuer, 3))
        cli.ok("issue", "badges", "--out", "badges", "--key", key)
        for name, scheme in (("a.json", "eddsa-rdfc-2022"), ("b.jwt", "JWT EdDSA"), ("c.png", "JWT EdDSA")):
            ran = cli.ok("verify", badges.folder / name, "--policy", "trust.policy", "--json")
            verdict = ran.json["verdict"]
            assert (verdict["own_signature"], verdict["signature_scheme"]) == ("verified", scheme)
            assert verdict["signature_key"]
            assert "qualifier" not in verdict
        assert (
            "badge    its own signature verifies (JWT EdDSA, "
            in cli.ok("verify", badges.folder / "b.jwt", "--policy", "trust.policy").out
        )

    def test_a_forged_badge_is_not_proven_though_it_was_anchored(self, cli: Cli, key: Path, badges: Badges) -> None:
        """Its commitment is in the log; its signature is of another document."""
        text = ob3_json(badges.issuer, 1).decode()
        forged = json.loads(text) | {"name": "Doctor of Everything"}
        badges.folder.mkdir()
        (badges.folder / "a.json").write_text(json.dumps(forged))
        cli.ok("issue", "badges", "--out", "badges", "--key", key, "--no-check-signatures")
        ran = cli("verify", badges.folder / "a.json", "--policy", "trust.policy")
        assert ran.status == 1
        assert ran.out.startswith("NOT PROVEN\n  the badge's own signature does not verify: ")
        assert "Doctor" not in ran.out

    def test_a_list_of_others_is_not_asked_offline_and_said(self, cli: Cli, key: Path, badges: Badges) -> None:
        """Valid, and never plain valid."""
        badges.folder.mkdir()
        entry = status_entry("https://status.example/3", 77)
        (badges.folder / "a.json").write_bytes(ob3_json(badges.issuer, 1, status=[entry]))
        cli.ok("issue", "badges", "--out", "badges", "--key", key)
        ran = cli.ok("verify", badges.folder / "a.json", "--policy", "trust.policy")
        assert ran.out.startswith("VALID: status lists of others were not asked\n")
        assert "list     revocation not asked, https://status.example/3, number 77" in ran.out
        # The same list as this ledger's own: the entry would have to be the slot.
        based = cli(
            "verify", badges.folder / "a.json", "--policy", "trust.policy", "--status-base", "https://status.example/"
        )
        assert based.status == 1
        assert "another place in the status lists" in based.out

    def test_the_policys_url_tells_where_the_lists_are(
        self, cli: Cli, ledger: FakeLedger, key: Path, badges: Badges
    ) -> None:
        """The log's address in the policy counts beside its name, so that a badge with another place is refused."""
        badges.folder.mkdir()
        entry = status_entry("https://log.example/here/status/3/revocation", 77)
        (badges.folder / "a.json").write_bytes(ob3_json(badges.issuer, 1, status=[entry]))
        cli.ok("issue", "badges", "--out", "badges", "--key", key)
        text = (cli.folder / "trust.policy").read_text()
        assert cli("verify", badges.folder / "a.json", "--policy", "trust.policy").status == 0
        first, _, rest = text.partition("\n")
        (cli.folder / "trust.policy").write_text(f"{first} https://log.example/here/\n{rest}")
        ran = cli("verify", badges.folder / "a.json", "--policy", "trust.policy")
        assert ran.status == 1
        assert "another place in the status lists" in ran.out

    def test_pins_and_contexts_that_cannot_be_used_are_told(self, cli: Cli, badge: Path) -> None:
        """Exit status 2, and the sentence names what was typed."""
        arguments = ("verify", badge, "--receipt", "out/a.receipt.json", "--policy", "trust.policy", "--pin")
        (cli.folder / "garbage").write_bytes(b"\x00\x01")
        for pin, said in (
            ("did:web:school.example", "write ID=FILE"),
            ("=garbage", "write ID=FILE"),
            ("did:web:school.example=missing", "missing"),
            ("did:web:school.example=garbage", "garbage: "),
        ):
            ran = cli(*arguments, pin)
            assert (ran.status, ran.out) == (2, "")
            assert said in ran.err


class Network:
    """Answers in place of the guarded fetch; `asked` are the addresses, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: dict[str, bytes | int] = {}
        self.asked: list[str] = []
        monkeypatch.setattr("ledger.authenticity.online.guarded_fetch", self.fetch)

    def fetch(self, address: str) -> bytes:
        self.asked.append(address)
        answer = self.answers.get(address, 404)
        if isinstance(answer, int):
            raise NotChecked(f"{shown(address)} answers status {answer}", status=answer)
        return answer


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    return Network(monkeypatch)


def status_list(key: Ed25519Key, did: str, address: str, purpose: str, *, bits: tuple[int, ...] = ()) -> bytes:
    """A W3C Bitstring Status List as a JWT of the issuer."""
    raw = bytearray(16_384)
    for index in bits:
        raw[index >> 3] |= 0x80 >> (index & 7)
    subject = {
        "id": f"{address}#list",
        "type": "BitstringStatusList",
        "statusPurpose": purpose,
        "encodedList": "u" + base64.urlsafe_b64encode(gzip.compress(bytes(raw))).rstrip(b"=").decode(),
    }
    payload = {
        "@context": ["https://www.w3.org/ns/credentials/v2"],
        "id": address,
        "type": ["VerifiableCredential", "BitstringStatusListCredential"],
        "issuer": did,
        "credentialSubject": subject,
    }
    header = {"alg": "EdDSA", "kid": f"{did}#{did.removeprefix('did:key:')}"}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, payload)]
    return b".".join([*parts, base64.urlsafe_b64encode(key.sign(b".".join(parts))).rstrip(b"=")])


class TestOnline:
    """`--online`: what hosts say counts, silence never does."""

    LIST = "https://status.example/3"

    @pytest.fixture
    def listed(self, cli: Cli, key: Path, badges: Badges) -> Path:
        """A signed badge that names a list of somebody else."""
        badges.folder.mkdir()
        path = badges.folder / "a.json"
        path.write_bytes(ob3_json(badges.issuer, 1, status=[status_entry(self.LIST, 77)]))
        cli.ok("issue", path, "--out", "badges", "--key", key)
        return path

    @pytest.mark.parametrize(
        ("bits", "result", "state"), [((), "valid", "clear"), ((77,), "revoked", "set"), ((76, 78), "valid", "clear")]
    )
    def test_a_list_is_asked_and_counts(
        self, cli: Cli, key: Path, listed: Path, network: Network, bits: tuple[int, ...], result: str, state: str
    ) -> None:
        """Its bit revokes, whatever the ledger says; without it the badge is plain valid. The host is named first."""
        issuer = load_issuer_key(key)
        did = did_key(issuer.public_key)
        network.answers[self.LIST] = status_list(
            Ed25519Key.from_seed(issuer.seed), did, self.LIST, "revocation", bits=bits
        )
        ran = cli("verify", listed, "--policy", "trust.policy", "--online", "--json")
        verdict = ran.json["verdict"]
        assert (verdict["result"], verdict["lists"][0]["state"]) == (result, state)
        assert "qualifier" not in verdict
        assert ran.err == "online: asking status.example\n"
        assert ran.status == (0 if result == "valid" else 1)

    @pytest.mark.parametrize("answer", [404, 410, 500, b"", b"{}", b"<html>"])
    def test_a_list_without_an_answer_is_never_not_revoked(
        self, cli: Cli, listed: Path, network: Network, answer: bytes | int
    ) -> None:
        """Unreachable, gone, or something else: not proven, exit status 1, and the reason."""
        network.answers[self.LIST] = answer
        ran = cli("verify", listed, "--policy", "trust.policy", "--online")
        assert ran.status == 1
        assert ran.out.startswith(f"NOT PROVEN\n  revocation is not known: the status list {self.LIST}: ")
        assert answer != 404 or f"{self.LIST}: it answers status 404\n" in ran.out

    def test_an_unsigned_list_is_no_answer(self, cli: Cli, key: Path, listed: Path, network: Network) -> None:
        """Whoever serves it could have written it."""
        issuer = load_issuer_key(key)
        did = did_key(issuer.public_key)
        token = status_list(Ed25519Key.from_seed(issuer.seed), did, self.LIST, "revocation")
        payload = token.split(b".")[1]
        network.answers[self.LIST] = base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4))
        assert cli("verify", listed, "--policy", "trust.policy", "--online").out.startswith("NOT PROVEN\n")

    def test_each_list_is_asked_once_in_a_run(self, cli: Cli, key: Path, listed: Path, network: Network) -> None:
        """Two badges that share one, and one that does not answer."""
        second = listed.with_name("b.json")
        badges = Badges(listed.parent, BadgeIssuer(load_issuer_key(key).seed))
        second.write_bytes(ob3_json(badges.issuer, 2, status=[status_entry(self.LIST, 78)]))
        cli.ok("issue", second, "--out", "badges", "--key", key)
        assert cli("verify", listed, second, "--policy", "trust.policy", "--online").status == 1
        assert network.asked == [self.LIST]

    @pytest.mark.parametrize(
        ("answer", "result", "state"),
        [
            ("same", "valid", "same"),
            ("revoked", "revoked", "revoked"),
            (410, "revoked", "revoked"),
            (404, "valid", "gone"),
            (500, "valid", "unknown"),
        ],
    )
    def test_a_hosted_badge_is_looked_up(
        self, cli: Cli, badge: Path, network: Network, answer: str | int, result: str, state: str
    ) -> None:
        """Its own address revokes it; that it is gone does not, and a run without --online asks nobody."""
        document = json.loads(badge.read_bytes())
        bodies = {"same": document, "revoked": {"id": document["id"], "revoked": True}}
        network.answers[document["id"]] = answer if isinstance(answer, int) else json.dumps(bodies[answer]).encode()
        arguments = ("verify", badge, "--receipt", "out/a.receipt.json", "--policy", "trust.policy", "--json")
        verdict = cli(*arguments, "--online").json["verdict"]
        assert (verdict["result"], verdict["hosted"]) == (result, state)
        assert network.asked == [document["id"]]
        assert cli.ok(*arguments).json["verdict"].get("hosted") is None
        assert len(network.asked) == 1

    def test_an_image_with_an_address_is_followed(self, cli: Cli, badge: Path, network: Network) -> None:
        """Or --document takes what lies there; else it says where the badge is and what to do."""
        address = json.loads(badge.read_bytes())["id"]
        image = cli.folder / "old.png"
        personal = f"{address}?identity__email=ada%40x.example"
        image.write_bytes(with_text_chunk(png(), b"openbadges\0" + personal.encode()))
        arguments = ("verify", image, "--receipt", "out/a.receipt.json", "--policy", "trust.policy")
        told = cli(*arguments)
        assert (told.status, told.out) == (2, "")
        assert "--document" in told.err
        assert address in told.err
        assert cli.ok(*arguments, "--document", badge).out.startswith("VALID")
        other = cli.folder / "other.json"
        other.write_text(badge.read_text().replace(address, "https://elsewhere.example/7"))
        assert cli(*arguments, "--document", other).status == 2
        missing = cli(*arguments, "--online")
        assert missing.status == 2
        network.answers[personal] = badge.read_bytes()
        followed = cli.ok(*arguments, "--online")
        assert followed.out.startswith("VALID")
        assert missing.err.endswith(f"{address}, to which it leads: it answers status 404\n")
        for ran in (told, missing, followed):
            assert "ada" not in ran.out + ran.err

    def test_no_address_with_its_recipient_is_shown(
        self, cli: Cli, key: Path, badges: Badges, network: Network
    ) -> None:
        """Not of a list, however long, nor as the host that is asked."""
        badges.folder.mkdir()
        path = badges.folder / "a.json"
        address = f"https://status.example?identity__email=ada%40x.example&k={'k' * 300}"
        path.write_bytes(ob3_json(badges.issuer, 1, status=[status_entry(address, 77)]))
        cli.ok("issue", path, "--out", "badges", "--key", key)
        for more in ((), ("--json",)):
            ran = cli("verify", path, "--policy", "trust.policy", "--online", *more)
            assert ran.status == 1
            assert "ada" not in ran.out + ran.err
            assert ran.err == "online: asking status.example\n"

    def test_keys_behind_an_address_are_fetched_or_pinned(self, cli: Cli, ledger: FakeLedger, network: Network) -> None:
        """did:web: not checked offline, verified online or with a pin; and kept, if there is a --cache."""
        cli.ok("keygen", "web.key", "--identifier", "did:web:school.example")
        cli.ok("issuer", "add", "--key", "web.key", "--token", TOKEN)
        key = load_issuer_key(cli.folder / "web.key")
        issuer = BadgeIssuer(key.seed, identifier="did:web:school.example")
        path = cli.folder / "a.json"
        path.write_bytes(ob3_json(issuer, 1))
        cli.ok("issue", path, "--out", ".", "--key", "web.key")
        multibase = issuer.did.removeprefix("did:key:")
        method = {
            "id": issuer.verification_method(),
            "type": "Multikey",
            "controller": issuer.identifier,
            "publicKeyMultibase": multibase,
        }
        document = {"id": issuer.identifier, "verificationMethod": [method], "assertionMethod": [method["id"]]}
        (cli.folder / "did.json").write_text(json.dumps(document))
        network.answers["https://school.example/.well-known/did.json"] = json.dumps(document).encode()
        arguments = ("verify", path, "--policy", "trust.policy")
        offline = cli.ok(*arguments)
        assert offline.out.startswith("VALID: anchored, vouched by the operator\n")
        assert "badge    its own signature was not checked (eddsa-rdfc-2022)" in offline.out
        assert cli.ok(*arguments, "--pin", "did:web:school.example=did.json").out.startswith("VALID\n")
        assert network.asked == []
        online = cli.ok(*arguments, "--online", "--cache", "kept")
        assert online.out.startswith("VALID\n")
        assert online.err == "online: asking school.example\n"
        assert cli.ok(*arguments, "--online", "--cache", "kept").err == ""
        assert len(network.asked) == 1
        assert cli(*arguments, "--cache", "kept").status == 2


def with_text_chunk(image: bytes, data: bytes) -> bytes:
    """The PNG with a tEXt chunk before its end, as Open Badges 1 baked."""
    end = image.rindex(b"IEND") - 4
    chunk = b"tEXt" + data
    return image[:end] + struct.pack(">I", len(data)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + image[end:]


class TestReceiptInTheImage:
    """`badge-ledger bake` puts it there."""

    def test_it_is_found_when_none_is_given(self, cli: Cli, key: Path, badges: Badges) -> None:
        """One file to hand over; a receipt beside it, which may be newer, comes first."""
        path = badges.hosted("a.json", 1)
        cli.ok("issue", path, "--out", "out", "--key", key)
        receipt = (cli.folder / "out" / "a.receipt.json").read_bytes()
        image = cli.folder / "alone.png"
        image.write_bytes(bake(png(), read(path.read_bytes()), receipt))
        ran = cli.ok("verify", image, "--policy", "trust.policy", "--json")
        assert ran.json["receipt"] == str(image)
        assert ran.json["verdict"]["result"] == "valid"
        beside = cli.folder / "alone.receipt.json"
        beside.write_bytes(receipt)
        assert cli.ok("verify", image, "--policy", "trust.policy", "--json").json["receipt"] == str(beside)

    def test_one_that_is_garbage_is_told(self, cli: Cli, key: Path, badges: Badges) -> None:
        """Exit status 2, with the file's name."""
        path = badges.hosted("a.json", 1)
        image = cli.folder / "alone.png"
        image.write_bytes(bake(png(), read(path.read_bytes()), b"{}"))
        ran = cli("verify", image, "--policy", "trust.policy")
        assert (ran.status, ran.out) == (2, "")
        assert "alone.png: the receipt in it: " in ran.err


class TestSeveral:
    """Files and folders at once."""

    @pytest.fixture
    def several(self, cli: Cli, key: Path, badges: Badges) -> Path:
        """Three badges in folders, one of them revoked, and what is no badge."""
        for number, name in enumerate(("a.json", "b.json", "deep/c.json"), start=1):
            badges.hosted(name, number)
        cli.ok("issue", "badges", "--out", "out", "--key", key)
        cli.ok("revoke", badges.folder / "b.json", "--key", key)
        cli.ok("refresh", "out")
        return badges.folder

    def test_a_table_sums_up(self, cli: Cli, several: Path) -> None:
        """One row each; exit status 1, since one is not valid."""
        ran = cli("verify", several, "--receipts", "out", "--policy", "trust.policy")
        assert ran.status == 1
        rows = {line.split()[0]: line for line in ran.out.splitlines()}
        assert "VALID" in rows[str(several / "a.json")]
        assert "REVOKED  revoked, as of" in rows[str(several / "b.json")]
        assert "VALID" in rows[str(several / "deep" / "c.json")]
        assert ran.out.endswith("2 valid, 1 revoked\n")
        alone = cli("verify", several / "a.json", several / "deep", "--receipts", "out", "--policy", "trust.policy")
        assert (alone.status, alone.out.splitlines()[-1]) == (1, "1 valid, 1 unusable")

    def test_a_receipt_lies_where_the_folder_says(self, cli: Cli, several: Path) -> None:
        """Below --receipts as the badge lies below what was given, or in --receipts itself."""
        assert cli("verify", several / "deep", "--receipts", "out", "--policy", "trust.policy").status == 1
        flat = cli.folder / "out" / "c.receipt.json"
        flat.write_bytes((cli.folder / "out" / "deep" / "c.receipt.json").read_bytes())
        assert cli("verify", several / "deep", "--receipts", "out", "--policy", "trust.policy").status == 0

    def test_json_is_a_list(self, cli: Cli, several: Path) -> None:
        """With the error of each that cannot be used; one file alone stays an object."""
        (several / "x.json").write_text("{")
        arguments = ("--receipts", "out", "--policy", "trust.policy", "--json")
        ran = cli("verify", several, *arguments)
        assert ran.status == 1
        results = {
            Path(item["badge"]).name: item["verdict"]["result"] if "verdict" in item else item["error"]["type"]
            for item in ran.json
        }
        assert results == {
            "a.json": "valid",
            "b.json": "revoked",
            "c.json": "valid",
            "x.json": "urn:badge-ledger:problem:malformed-badge",
        }
        assert cli("verify", several / "a.json", *arguments).json["verdict"]["result"] == "valid"

    def test_all_valid_is_exit_status_0(self, cli: Cli, several: Path) -> None:
        """By any number of them."""
        (several / "b.json").unlink()
        assert cli("verify", several, "--receipts", "out", "--policy", "trust.policy").status == 0

    def test_what_is_for_one_badge_is_refused_for_several(self, cli: Cli, several: Path) -> None:
        """--receipt and --document; and an empty folder is no answer."""
        (cli.folder / "empty").mkdir()
        for arguments in (
            (several, "--receipt", "out/a.receipt.json"),
            (several, "--document", several / "a.json"),
            (several / "a.json", "--receipt", "out/a.receipt.json", "--receipts", "out"),
            (several / "a.json", "--document", several / "a.json", "--receipts", "out"),
            ("empty",),
        ):
            ran = cli("verify", *arguments, "--policy", "trust.policy")
            assert (ran.status, ran.out) == (2, "")

    def test_of_very_many_only_those_that_matter_have_a_row(
        self, cli: Cli, several: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And how many have none is said."""
        monkeypatch.setattr("ledger.cli.verify._SHOWN", 2)
        ran = cli("verify", several, "--receipts", "out", "--policy", "trust.policy")
        assert str(several / "b.json") in ran.out
        assert str(several / "a.json") in ran.out  # valid, with a qualifier
        assert "1 more are not shown" in ran.err
        assert ran.out.endswith("2 valid, 1 revoked\n")
