"""The network: what may not be fetched is not, what was fetched is used as it should be, and nothing without leave."""

from __future__ import annotations

import http.server
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ledger.authenticity import online
from ledger.authenticity.keys import offline_keys, parse_pin
from ledger.authenticity.model import NotChecked
from ledger.authenticity.online import guarded_fetch, online_keys
from tests.authenticity.builders import NOW_S, OTHER, RSA, SIGNER, Json, badge, find, sign, token
from tests.authenticity.test_jwt import CLASS, assertion, key_document
from tests.authenticity.test_jwt import ISSUER as OWNER

DID = "did:web:example.com:issuers:1"
DID_URL = "https://example.com/issuers/1/did.json"
ISSUER = "https://example.com/issuers/1"


class Web:
    """What each address answers; everything else is a 404. Counts."""

    def __init__(self, **pages: Any) -> None:
        self.pages: dict[str, Any] = {}
        self.asked: list[str] = []

    def __call__(self, address: str) -> bytes:
        self.asked.append(address)
        page = self.pages.get(address)
        if page is None:
            raise NotChecked(f"`{address}` answers status 404")
        return page if isinstance(page, bytes) else json.dumps(page).encode()


def did_document(did: str = DID, signer: Any = SIGNER) -> Json:
    method = {"id": f"{did}#k", "type": "Multikey", "controller": did, "publicKeyMultibase": signer.multikey}
    return {"id": did, "verificationMethod": [method], "assertionMethod": [f"{did}#k"]}


def by_did() -> Json:
    return sign(badge(DID), method=f"{DID}#k")


def test_a_did_web_is_resolved() -> None:
    """Under its own host and path, once for any number of badges; without leave it is not asked for."""
    web = Web()
    web.pages[DID_URL] = did_document()
    keys = online_keys(fetch=web, now_s=NOW_S)
    for _ in range(3):
        assert find(by_did(), keys=keys).signature == "verified"
    assert web.asked == [DID_URL]
    assert find(by_did()).signature == "not-checked"


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"",
        b"<html>",
        b"{}",
        b"[]",
        b'{"a": 1, "a": 2}',
        b"{" * 5000,
        did_document("did:web:evil.example"),
        {"id": DID},
        {**did_document(), "verificationMethod": [], "assertionMethod": []},
        {**did_document(), "verificationMethod": "x"},
    ],
)
def test_a_did_document_that_cannot_be_used_leaves_the_badge_unchecked(answer: Any) -> None:
    """Absent, malformed, of another DID, or without keys."""
    web = Web()
    if answer is not None:
        web.pages[DID_URL] = answer
    assert find(by_did(), keys=online_keys(fetch=web, now_s=NOW_S)).signature == "not-checked"


def test_another_key_in_the_document_is_invalid() -> None:
    """The issuer's document has a key of that name, and the signature is not by it."""
    web = Web()
    web.pages[DID_URL] = did_document(signer=OTHER)
    assert find(by_did(), keys=online_keys(fetch=web, now_s=NOW_S)).signature == "invalid"


def test_pins_win_over_the_network() -> None:
    """A pinned document is used, and nothing is fetched."""
    web = Web()
    web.pages[DID_URL] = did_document(signer=OTHER)
    pin = parse_pin(DID, json.dumps(did_document()).encode())
    assert find(by_did(), keys=online_keys([pin], fetch=web, now_s=NOW_S)).signature == "verified"
    assert web.asked == []


def test_a_key_on_the_issuers_host() -> None:
    """Bound where the issuer's own document is not to be had, with a note; on another host only self-asserted."""
    web = Web()
    web.pages["https://example.com/keys/1"] = SIGNER.jwk()
    web.pages["https://evil.example/keys/1"] = OTHER.jwk()
    keys = online_keys(fetch=web, now_s=NOW_S)
    payload = {**badge(ISSUER), "iss": ISSUER}
    found = find(token(payload, kid="https://example.com/keys/1"), keys=keys)
    assert (found.signature, found.issuer) == ("verified", ISSUER)
    assert found.notes == ("the key is one that the issuer's host serves, not one in the issuer's own document",)
    evil = find(token(payload, OTHER.private, kid="https://evil.example/keys/1"), keys=keys)
    assert evil.signature == "self-asserted"
    # The names of the host that are not the host.
    for kid in (
        "https://example.com@evil.example/keys/1",
        "https://example.com:444/keys/1",
        "https://example.com.evil.example/keys/1",
        "http://example.com/keys/1",
    ):
        web.pages[kid] = OTHER.jwk()
        assert find(token(payload, OTHER.private, kid=kid), keys=keys).signature != "verified", kid


def test_an_issuer_whose_document_has_keys_has_spoken() -> None:
    """Then another key on its host is not the issuer's."""
    web = Web()
    web.pages[ISSUER] = did_document(ISSUER)
    web.pages["https://example.com/keys/1"] = OTHER.jwk()
    keys = online_keys(fetch=web, now_s=NOW_S)
    assert find(sign(badge(ISSUER), method=f"{ISSUER}#k"), keys=keys).signature == "verified"
    payload = {**badge(ISSUER), "iss": ISSUER}
    stray = find(token(payload, OTHER.private, kid="https://example.com/keys/1"), keys=keys)
    assert stray.signature == "self-asserted"


def test_a_document_of_keys_cannot_claim_another_issuer() -> None:
    """An owner is believed in a pin, and on the owner's own host."""
    web = Web()
    key = {"type": "CryptographicKey", "id": "https://evil.example/k", "owner": ISSUER}
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = OTHER.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    web.pages["https://evil.example/k"] = {**key, "publicKeyPem": pem}
    text = token({**badge(ISSUER), "iss": ISSUER}, OTHER.private, kid="https://evil.example/k")
    assert find(text, keys=online_keys(fetch=web, now_s=NOW_S)).signature == "self-asserted"


def webvh_log() -> tuple[str, bytes]:
    """A did:webvh of one entry, made here by its rules (didwebvh 1.0)."""
    import hashlib

    from ledger.badges import canonical_json
    from ledger.base58 import format_base58

    def digest(value: Json) -> str:
        return format_base58(b"\x12\x20" + hashlib.sha256(canonical_json(value)).digest())

    did = "did:webvh:{SCID}:example.com"
    entry: Json = {
        "versionId": "{SCID}",
        "versionTime": "2024-01-01T00:00:00Z",
        "parameters": {"method": "did:webvh:1.0", "scid": "{SCID}", "updateKeys": [SIGNER.multikey]},
        "state": did_document(did),
    }
    scid = digest(entry)
    entry = json.loads(json.dumps(entry).replace("{SCID}", scid))
    entry["versionId"] = f"1-{digest(entry)}"
    options = {
        "type": "DataIntegrityProof",
        "cryptosuite": "eddsa-jcs-2022",
        "verificationMethod": SIGNER.method,
        "created": "2024-01-01T00:00:00Z",
        "proofPurpose": "assertionMethod",
    }
    hashes = b"".join(hashlib.sha256(canonical_json(part)).digest() for part in (options, entry))
    entry["proof"] = [{**options, "proofValue": "z" + format_base58(SIGNER.private.sign(hashes))}]
    return did.replace("{SCID}", scid), json.dumps(entry).encode() + b"\n"


def test_a_did_webvh_is_replayed() -> None:
    """From a log that holds; one with another key in it does not."""
    did, log = webvh_log()
    web = Web()
    document = sign(badge(did), method=f"{did}#k")
    web.pages["https://example.com/.well-known/did.jsonl"] = log
    assert find(document, keys=online_keys(fetch=web, now_s=NOW_S)).signature == "verified"
    web.pages["https://example.com/.well-known/did.jsonl"] = log.replace(
        f'"publicKeyMultibase": "{SIGNER.multikey}"'.encode(), f'"publicKeyMultibase": "{OTHER.multikey}"'.encode()
    )
    assert find(document, keys=online_keys(fetch=web, now_s=NOW_S)).signature == "not-checked"


def test_a_signed_open_badges_2_assertion_by_the_network() -> None:
    """Its class names the issuer, and the issuer's host serves the key."""

    address = "https://example.org/key.json"
    web = Web()
    web.pages[CLASS] = {"type": "BadgeClass", "id": CLASS, "issuer": OWNER}
    web.pages[address] = key_document(id=address)
    text = token(assertion(verification={"type": "signed", "creator": address}), RSA, "RS256")
    found = find(text, keys=online_keys(fetch=web, now_s=NOW_S))
    assert (found.signature, found.issuer) == ("verified", OWNER)
    del web.pages[CLASS]
    assert find(text, keys=online_keys(fetch=web, now_s=NOW_S)).signature == "self-asserted"


# What is kept --------------------------------------------------------------------------------------------------------


def test_documents_are_kept_for_a_while(tmp_path: Path) -> None:
    """The second run fetches nothing, a later one does; a damaged or foreign file counts as absent."""
    web = Web()
    web.pages[DID_URL] = did_document()

    def run(now_s: int) -> str:
        keys = online_keys(fetch=web, cache_dir=tmp_path / "kept", max_age_s=100, now_s=now_s)
        return find(by_did(), keys=keys, now_s=now_s).signature

    assert [run(NOW_S), run(NOW_S + 100), len(web.asked)] == ["verified", "verified", 1]
    assert [run(NOW_S + 101), len(web.asked)] == ["verified", 2]
    assert [run(NOW_S), len(web.asked)] == ["verified", 3], "a file from the future is not used"
    (kept,) = (tmp_path / "kept").iterdir()
    whole = kept.read_bytes()
    for damaged in (b"", b"x", whole[:20], whole.replace(b"example.com/issuers/1", b"example.com/issuers/2", 1)):
        kept.write_bytes(damaged)
        before = len(web.asked)
        assert [run(NOW_S), len(web.asked)] == ["verified", before + 1]
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [kept.name]


def test_a_directory_that_cannot_be_used_costs_only_fetches(tmp_path: Path) -> None:
    """A file where the directory should be."""
    (tmp_path / "kept").write_text("x")
    web = Web()
    web.pages[DID_URL] = did_document()
    keys = online_keys(fetch=web, cache_dir=tmp_path / "kept", now_s=NOW_S)
    assert find(by_did(), keys=keys).signature == "verified"


# The guard -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def listening() -> Iterator[tuple[int, list[Any]]]:
    """A socket on loopback that notes who connects."""
    seen: list[Any] = []
    server = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, peer = server.accept()
            except OSError:
                return
            seen.append(peer)
            connection.close()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield server.getsockname()[1], seen
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(5)


@pytest.mark.parametrize(
    "address",
    [
        "https://127.0.0.1:{port}/did.json",
        "https://localhost:{port}/did.json",
        "https://[::1]:{port}/",
        "https://[::ffff:127.0.0.1]:{port}/",
        "https://2130706433:{port}/",
        "https://0x7f.1:{port}/",
        "https://0.0.0.0:{port}/",
        "http://127.0.0.1:{port}/",
        "file:///etc/passwd",
        "ftp://127.0.0.1:{port}/",
        "https://user@127.0.0.1:{port}/",
        "https://",
        "https://example.com:99999/",
        "https://exämple.com/",
    ],
)
def test_private_addresses_are_not_connected_to(listening: tuple[int, list[Any]], address: str) -> None:
    """However they are written: refused before a connection is made."""
    port, seen = listening
    with pytest.raises(NotChecked):
        guarded_fetch(address.format(port=port))
    assert seen == []


@pytest.mark.parametrize(
    "ip",
    [
        *("10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "fe80::1", "fd00::1"),
        # 6to4 of 10.0.0.1 and of a public address, its relays; NAT64, Teredo and mapped addresses of private ones.
        *("2002:0a00:0001::1", "2002:5db8:d70e::1", "192.88.99.1", "64:ff9b::a00:1", "64:ff9b:1::1", "2001::1"),
        *("::ffff:10.0.0.1", "::ffff:168.63.129.16", "::10.0.0.1", "3fff::1", "5f00::1", "fec0::1"),
        # What clouds tell their machines at.
        *("168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"),
    ],
)
def test_names_of_private_addresses_are_not_connected_to(monkeypatch: pytest.MonkeyPatch, ip: str) -> None:
    """Nor a name that has a public and a private address."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    answers = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 443)), (family, 1, 6, "", (ip, 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: answers)
    monkeypatch.setattr(socket, "create_connection", lambda *_a, **_k: pytest.fail("connected"))
    with pytest.raises(NotChecked, match="no public https address"):
        guarded_fetch("https://example.com/")


def test_a_name_cannot_change_after_it_was_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the name is looked up once, and the connection goes to the address that was judged."""
    looked_up, connected = [], []

    def getaddrinfo(host: str, *_: Any, **__: Any) -> Any:
        looked_up.append(host)
        ip = "93.184.215.14" if len(looked_up) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 443))]

    def create_connection(address: Any, *_: Any, **__: Any) -> Any:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket, "create_connection", create_connection)
    with pytest.raises(NotChecked, match="cannot be fetched"):
        guarded_fetch("https://example.com/")
    assert (looked_up, connected) == (["example.com"], [("93.184.215.14", 443)])


class _Answers(http.server.BaseHTTPRequestHandler):
    """A redirect, statuses, and a server that never ends its headers."""

    def do_GET(self) -> None:
        if self.path == "/slow":
            with suppress(OSError):
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                for _ in range(60):
                    self.wfile.write(b"X: y\r\n")
                    self.wfile.flush()
                    time.sleep(0.05)
            self.close_connection = True
            return
        status = int(self.path[1:])
        self.send_response(status)
        self.send_header("Location", "https://127.0.0.1/")
        body = b"x" * (1024 * 1024 + 1) if status == 200 else b""
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server on loopback that the guard takes for a public one: its name looked up so, its connection diverted."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    answers = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 443))]

    def connect(*_: Any, **__: Any) -> socket.socket:
        connection = socket.socket()
        connection.settimeout(5)
        connection.connect(("127.0.0.1", server.server_port))
        return connection

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: answers)
    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(ssl.SSLContext, "wrap_socket", lambda _self, sock, **_k: sock)
    yield "https://example.com"
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(public: str, status: int) -> None:
    """A redirect is how a public server points into a private network."""
    with pytest.raises(NotChecked, match="answers a redirect, which is not followed"):
        guarded_fetch(f"{public}/{status}")


@pytest.mark.parametrize("status", [204, 404, 410, 500])
def test_other_statuses_are_named(public: str, status: int) -> None:
    """404 and 410 look alike to nobody who reads the reason."""
    with pytest.raises(NotChecked, match=f"answers status {status}"):
        guarded_fetch(f"{public}/{status}")


def test_a_large_answer_is_refused(public: str) -> None:
    """1 MiB and one byte."""
    with pytest.raises(NotChecked, match="cannot be fetched"):
        guarded_fetch(f"{public}/200")


def test_a_slow_answer_is_given_up(public: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers that never end, each line in time."""
    monkeypatch.setattr(online, "MAX_FETCH_S", 0.2)
    with pytest.raises(NotChecked, match=r"did not answer within 0\.2 s"):
        guarded_fetch(f"{public}/slow")


def test_nothing_is_fetched_without_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline keys connect to nothing, whatever the badge names."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: pytest.fail("looked up"))
    monkeypatch.setattr(socket, "create_connection", lambda *_a, **_k: pytest.fail("connected"))
    for document in (by_did(), sign(badge(ISSUER), method=f"{ISSUER}#k")):
        assert find(document, keys=offline_keys()).signature == "not-checked"
