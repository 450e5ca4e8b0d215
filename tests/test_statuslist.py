"""The W3C lists: bits against two libraries, canonical form against pyld, signatures, what is refused in reading."""

from __future__ import annotations

import base64
import gzip
import json
import random
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from openbadgeslib.ob3.contexts import bundled_contexts
from openbadgeslib.ob3.status import check_credential_status, decode_encoded_list, set_indices
from openbadgeslib.ob3.status_list import encode_bitstring as openbadgeslib_encode
from openbadgeslib.ob3.verifier import OB3VerificationError
from openvc import verify_credential
from openvc.errors import OpenvcError
from openvc.proof.contexts import document_loader, pyld_options
from openvc.proof.data_integrity import DataIntegrityProofSuite
from openvc.status import check_credential_status as openvc_check
from openvc.status.bitstring import decode_bitstring, encode_bitstring, get_status_bit
from openvc.verify import VerificationPolicy
from pyld import jsonld

from ledger.base58 import format_base58
from ledger.entry import LIST_SLOTS, did_key
from ledger.errors import InputError, LedgerError, MalformedInput, SignatureInvalid, TooLarge
from ledger.signing import Ed25519Key
from ledger.status import StatusTree, bit
from ledger.statuslist import (
    LIST_BYTES,
    MAX_LIST_BYTES,
    PURPOSES,
    StatusList,
    canonical,
    canonical_proof,
    credential,
    decode_list,
    encode_list,
    format_time,
    hash_data,
    is_set,
    parse_time,
    proof_options,
    sign_json_ld,
    sign_jwt,
)
from ledger.statuslist_reader import read_list

KEY = Ed25519Key.from_seed(bytes(range(32)))
NOW_MS = 1_795_885_200_123


def bits_of(*indexes: int) -> bytes:
    """A list in which these are set, bit by bit from the specification's words: index 0 is the leftmost bit."""
    text = ["0"] * LIST_SLOTS
    for index in indexes:
        text[index] = "1"
    return int("".join(text), 2).to_bytes(LIST_BYTES, "big")


def dense(seed: int) -> bytes:
    return random.Random(seed).randbytes(LIST_BYTES)


def make(bits: bytes = bytes(LIST_BYTES), **changes: Any) -> StatusList:
    fields: dict[str, Any] = {
        "base": "https://ledger.example/2026/",
        "list": 3,
        "purpose": "revocation",
        "size": 4711,
        "issuer": did_key(KEY.public_key),
        "valid_from_ms": NOW_MS,
        "valid_until_ms": NOW_MS + 720_000,
        "ttl_ms": 60_000,
        "encoded": encode_list(bits),
    }
    return StatusList(**{**fields, **changes})


LISTS = [
    make(),
    make(dense(1)),
    make(bits_of(0, 94_567, LIST_SLOTS - 1), purpose="suspension"),
    make(list=0, size=1, valid_from_ms=0, valid_until_ms=1),
    make(list=2**32 - 1, size=2**63 - 1, valid_until_ms=253_402_300_799_999),
    make(base="http://127.0.0.1:8080/"),
    # Sorting: the proof's address may come before, between and behind the list's own.
    make(base="https://a.example/zz/~%20/"),
    make(base="http://[::1]:1/", ttl_ms=1),
    *[
        make(dense(n), list=n, size=10**n + n, valid_from_ms=NOW_MS + 7**n, valid_until_ms=NOW_MS + 8**n, ttl_ms=n + 1)
        for n in range(12)
    ],
]


class TestBits:
    @pytest.mark.parametrize(
        "index", [*range(20), 255, 256, 94_567, LIST_SLOTS // 2, *range(LIST_SLOTS - 9, LIST_SLOTS)]
    )
    def test_each_position_is_where_the_specification_says(self, index: int) -> None:
        """One set bit, written by us and read by two libraries, and the other way round."""
        bits = bits_of(index)
        encoded = encode_list(bits)
        assert decode_bitstring(encoded) == decode_encoded_list(encoded) == bits
        assert set_indices(decode_encoded_list(encoded)) == {index}
        assert [get_status_bit(decode_bitstring(encoded), at) for at in (index, index ^ 1)] == [1, 0]
        for other in (encode_bitstring(bits), openbadgeslib_encode([index])):
            assert decode_list(other) == bits
        assert (is_set(bits, index), is_set(bits, index ^ 1)) == (True, False)

    def test_they_are_the_bits_of_the_status_tree(self) -> None:
        """Slot s of list n is index s mod 131,072 there, for both purposes."""
        rng = random.Random(7)
        slots = {purpose: rng.sample(range(2 * LIST_SLOTS, 3 * LIST_SLOTS), 300) for purpose in PURPOSES}
        chunks: dict[int, bytearray] = {}
        for half, purpose in enumerate(PURPOSES):
            for slot in slots[purpose]:
                offset, mask = bit(slot)
                chunks.setdefault(slot >> 8, bytearray(64))[32 * half + offset] |= mask
        tree = StatusTree.from_chunks(5, {number: bytes(chunk) for number, chunk in chunks.items()})
        for purpose in PURPOSES:
            expected = {slot - 2 * LIST_SLOTS for slot in slots[purpose]}
            assert set_indices(decode_encoded_list(encode_list(tree.list_bits(2, purpose)))) == expected

    @given(st.integers(0, 2**32))
    def test_any_bits_come_back(self, seed: int) -> None:
        """Dense lists too; in three readers."""
        bits = dense(seed)
        assert decode_list(encode_list(bits)) == decode_bitstring(encode_list(bits)) == bits

    def test_the_same_bits_are_the_same_text(self) -> None:
        """No time, no name of a file in the gzip header."""
        packed = base64.urlsafe_b64decode(encode_list(dense(2))[1:] + "==")
        assert packed[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03"
        assert gzip.decompress(packed) == dense(2)

    @pytest.mark.parametrize("length", [0, LIST_BYTES - 1, LIST_BYTES + 1])
    def test_only_whole_lists_are_written(self, length: int) -> None:
        with pytest.raises(ValueError, match="bytes"):
            encode_list(bytes(length))

    @pytest.mark.parametrize(
        ("spoil", "says"),
        [
            (lambda text: text[1:], 'begin with "u"'),
            (lambda text: "z" + text[1:], 'begin with "u"'),
            (lambda text: "U" + text[1:], 'begin with "u"'),
            (lambda _: "", 'begin with "u"'),
            (lambda _: "u", "base64url"),
            (lambda text: text + "=", "base64url"),
            (lambda text: text + "\n", "base64url"),
            (lambda text: text[:9] + "+" + text[10:], "base64url"),
            (lambda text: "u" + b64(raw(text)[:-4]), "cut short"),
            (lambda text: "u" + b64(gunzip(text) + b"x"), "gzip"),
            (lambda text: "u" + b64(raw(text) + b"x"), "to spare"),
            (lambda text: "u" + b64(raw(text) * 2), "to spare"),
            (lambda text: "u" + b64(raw(text)[:-8] + b"\0" * 8), "gzip"),
            (lambda text: "u" + b64(zlib.compress(gunzip(text))), "gzip"),
            (lambda text: "u" + b64(gzip.compress(gunzip(text) + b"\0")), "more than"),
            (lambda text: "u" + b64(gzip.compress(gunzip(text)[1:])), "131064 entries"),
            (lambda text: "u" + b64(gzip.compress(b"")), "0 entries"),
            (lambda _: "u" + "A" * MAX_LIST_BYTES, "characters"),
        ],
    )
    def test_other_texts_are_refused(self, spoil: Callable[[str], str], says: str) -> None:
        """In one sentence that says what is wrong."""
        with pytest.raises(MalformedInput, match=says):
            decode_list(spoil(encode_list(bits_of(5))))

    def test_a_bomb_is_not_inflated(self) -> None:
        """64 MB of zeros fit into 64 kB: it stops behind the last byte that a list can have."""
        bomb = "u" + b64(gzip.compress(bytes(45_000_000)))
        assert len(bomb) < MAX_LIST_BYTES
        with pytest.raises(MalformedInput, match="more than 131072 entries"):
            decode_list(bomb)

    def test_unused_bits_of_the_last_character_are_zero(self) -> None:
        """Two texts never mean the same list."""
        text = next(t for n in range(99) if len((t := encode_list(bits_of(n)))[1:]) % 4)
        other = text[:-1] + chr(ord(text[-1]) + 1)
        assert base64.urlsafe_b64decode(other[1:] + "==") == raw(text)
        with pytest.raises(MalformedInput, match="canonical"):
            decode_list(other)


class TestCanonicalForm:
    @pytest.mark.parametrize("list_", LISTS, ids=lambda list_: list_.id)
    def test_the_template_is_what_pyld_makes(self, list_: StatusList) -> None:
        """Expansion and RDFC-1.0 under the published contexts give our lines, for the list and for its proof."""
        assert normalize(credential(list_)) == canonical(list_)
        options = {**proof_options(list_), "@context": credential(list_)["@context"]}
        assert normalize(options) == canonical_proof(list_)

    def test_the_contexts_are_the_ones_that_both_libraries_hold(self) -> None:
        """What openbadgeslib bundles at the same address gives the same lines."""
        contexts = {address: held for address, held in bundled_contexts().items() if "credentials/v2" in address}
        assert contexts
        assert normalize(credential(LISTS[1]), contexts) == canonical(LISTS[1])


class TestSignatures:
    @pytest.mark.parametrize("list_", LISTS, ids=lambda list_: list_.id)
    def test_openvc_verifies_the_json_ld(self, list_: StatusList) -> None:
        """Signature, context and proof purpose, offline; one changed bit, and it does not."""
        document = json.loads(sign_json_ld(list_, KEY))
        suite = DataIntegrityProofSuite()
        now = datetime.fromtimestamp(list_.valid_from_ms / 1000, UTC)
        assert suite.verify(document, now=now).issuer == list_.issuer
        document["credentialSubject"]["encodedList"] = encode_list(bits_of(8))
        with pytest.raises(OpenvcError, match="does not verify"):
            suite.verify(document, now=now)

    def test_a_generic_verifier_takes_the_list_as_the_credential_that_it_is(self) -> None:
        """openvc's own pipeline, with the clock of this machine."""
        now_ms = int(datetime.now(UTC).timestamp()) * 1000
        document = json.loads(sign_json_ld(make(valid_from_ms=now_ms, valid_until_ms=now_ms + 60_000), KEY))
        assert verify_credential(document, policy=VerificationPolicy(require_status=False)).issuer == document["issuer"]

    @pytest.mark.parametrize("list_", LISTS, ids=lambda list_: list_.id)
    def test_pyjwt_verifies_the_jwt(self, list_: StatusList) -> None:
        """The payload is the credential, and iss; nothing else."""
        key = Ed25519PublicKey.from_public_bytes(KEY.public_key)
        token = sign_jwt(list_, KEY).decode()
        payload = jwt.decode(token, key, algorithms=["EdDSA"])
        assert payload == {**credential(list_), "iss": list_.issuer}
        header = jwt.get_unverified_header(token)
        assert header == {"alg": "EdDSA", "kid": list_.verification_method, "typ": "vc+jwt"}

    def test_openbadgeslib_reads_the_jwt_and_its_signature(self) -> None:
        """A badge whose list is ours, signed by the badge's own issuer: accepted where the bit is not set, else not."""
        now_ms = int(datetime.now(UTC).timestamp()) * 1000
        list_ = make(bits_of(12), valid_from_ms=now_ms, valid_until_ms=now_ms + 60_000)

        def check(index: int, token: bytes) -> None:
            badge: Any = SimpleNamespace(
                issuer=SimpleNamespace(id=list_.issuer), credential_status=[entry(list_, index)]
            )
            check_credential_status(badge, download=lambda _: token, verify_list=True)

        token = sign_jwt(list_, KEY)
        check(11, token)
        with pytest.raises(OB3VerificationError, match="revocation"):
            check(12, token)
        with pytest.raises(OB3VerificationError, match="proof is invalid"):
            check(11, token[:-8] + b"AAAAAAAA")

    def test_openvc_reads_the_bits(self) -> None:
        """Of either form's credential."""
        list_ = make(bits_of(12))
        for index, revoked in ((11, False), (12, True)):
            badge = {"credentialStatus": entry(list_, index)}
            assert openvc_check(badge, resolve_status_list=lambda _: credential(list_)).revoked == revoked

    def test_the_same_list_is_the_same_bytes(self) -> None:
        assert sign_json_ld(LISTS[1], KEY) == sign_json_ld(LISTS[1], Ed25519Key.from_seed(bytes(range(32))))
        assert sign_jwt(LISTS[1], KEY) == sign_jwt(LISTS[1], Ed25519Key.from_seed(bytes(range(32))))

    @pytest.mark.parametrize("sign", [sign_json_ld, sign_jwt])
    def test_another_key_signs_nothing(self, sign: Callable[[StatusList, Ed25519Key], bytes]) -> None:
        with pytest.raises(ValueError, match="another key"):
            sign(LISTS[0], Ed25519Key.from_seed(bytes(32)))


class TestReading:
    @pytest.mark.parametrize("list_", LISTS, ids=lambda list_: list_.id)
    def test_what_is_written_is_read(self, list_: StatusList) -> None:
        """Both forms; spaces around them, and JSON spelled otherwise, change nothing."""
        assert read_list(sign_json_ld(list_, KEY)) == (list_, "json-ld")
        assert read_list(b"\n" + sign_jwt(list_, KEY) + b"\n") == (list_, "jwt")
        pretty = json.dumps(json.loads(sign_json_ld(list_, KEY)), indent=1, sort_keys=True)
        assert read_list(pretty.encode()) == (list_, "json-ld")

    @pytest.mark.parametrize("path", [
        "id", "issuer", "validFrom", "validUntil", "type", "@context", "credentialSubject", "evidence", "proof",
        "credentialSubject/id", "credentialSubject/type", "credentialSubject/statusPurpose",
        "credentialSubject/encodedList", "credentialSubject/ttl", "evidence/id", "evidence/type", "proof/type",
        "proof/cryptosuite", "proof/created", "proof/verificationMethod", "proof/proofPurpose", "proof/proofValue",
    ])  # fmt: skip
    @pytest.mark.parametrize("value", [None, "", "x", 1, 1.0, True, [], {}, ["x"], "did:key:zx", "absent"])
    def test_every_other_value_of_every_member_is_refused(self, path: str, value: Any) -> None:
        """A missing one too: in a sentence, never with a traceback."""
        document = json.loads(sign_json_ld(make(ttl_ms=2), KEY))
        *above, name = path.split("/")
        parent = document[above[0]] if above else document
        if value == "absent":
            del parent[name]
        else:
            parent[name] = value
        with pytest.raises(LedgerError) as caught:
            read_list(json.dumps(document).encode())
        assert isinstance(caught.value, MalformedInput | SignatureInvalid)

    @pytest.mark.parametrize("where", ["", "credentialSubject", "evidence", "proof"])
    def test_members_to_spare_are_refused(self, where: str) -> None:
        """What the template does not hold, no signature covers."""
        document = json.loads(sign_json_ld(make(), KEY))
        (document[where] if where else document)["more"] = "x"
        with pytest.raises(MalformedInput, match=r"other members|proof"):
            read_list(json.dumps(document).encode())

    @pytest.mark.parametrize("change", [
        {"list": 4}, {"purpose": "suspension"}, {"size": 4712}, {"valid_from_ms": NOW_MS + 1_000},
        {"valid_until_ms": NOW_MS}, {"ttl_ms": 60_001}, {"encoded": encode_list(bits_of(1))},
        {"base": "https://other.example/"},
    ])  # fmt: skip
    def test_a_signature_holds_for_one_list(self, change: dict[str, Any]) -> None:
        """Whatever else the same key signs."""
        other = make(**change)
        good = json.loads(sign_json_ld(make(), KEY))["proof"]["proofValue"]
        document = {**credential(other), "proof": {**proof_options(other), "proofValue": good}}
        with pytest.raises(SignatureInvalid, match="signature of the list"):
            read_list(json.dumps(document).encode())
        swapped = sign_jwt(other, KEY).rpartition(b".")[0] + b"." + sign_jwt(make(), KEY).rpartition(b".")[2]
        with pytest.raises(SignatureInvalid, match="signature of the list"):
            read_list(swapped)

    def test_another_key_cannot_sign_for_the_issuer(self) -> None:
        other = Ed25519Key.from_seed(bytes(32))
        list_ = make()
        document = {
            **credential(list_),
            "proof": {**proof_options(list_), "proofValue": "z" + format_base58(other.sign(hash_data(list_)))},
        }
        with pytest.raises(SignatureInvalid):
            read_list(json.dumps(document).encode())

    @pytest.mark.parametrize("header", [
        {"alg": "none"}, {"alg": "HS256"}, {"typ": "JWT"}, {"kid": "did:key:zx#zx"}, {"crit": ["exp"]}, {"jwk": {}},
    ])  # fmt: skip
    def test_other_jwt_headers_are_refused(self, header: dict[str, Any]) -> None:
        """Signed or not."""
        list_ = make()
        ours = {"alg": "EdDSA", "kid": list_.verification_method, "typ": "vc+jwt"} | header
        payload = {**credential(list_), "iss": list_.issuer}
        signing_input = f"{b64(msgspec.json.encode(ours))}.{b64(msgspec.json.encode(payload))}".encode()
        token = signing_input + b"." + b64(KEY.sign(signing_input)).encode()
        with pytest.raises(MalformedInput, match="header or iss"):
            read_list(token)

    @pytest.mark.parametrize("data", [
        b"", b" ", b"{", b"{}", b"[]", b"null", b"\xff", b"a.b", b"a.b.c", b"..", b"a.b.c.d", b"\xc3\xa4.b.c",
        b'{"id": 1, "id": 2}', b'{"a":' * 2000, b"e30.e30.e30", b"eA.eA.eA", b'{"a": "\xed\xa0\x80"}',
    ])  # fmt: skip
    def test_what_is_no_list_is_refused(self, data: bytes) -> None:
        with pytest.raises(InputError):
            read_list(data)

    def test_a_list_that_is_too_long_is_not_parsed(self) -> None:
        with pytest.raises(TooLarge):
            read_list(b"{" + b" " * MAX_LIST_BYTES)

    def test_no_list_is_too_long(self) -> None:
        """What does not compress fits, in the longer form."""
        assert max(len(sign_jwt(make(dense(n)), KEY)) for n in range(3)) < MAX_LIST_BYTES * 3 // 4

    @pytest.mark.parametrize("data", [sign_json_ld(make(bits_of(3)), KEY), sign_jwt(make(bits_of(3)), KEY)])
    def test_no_changed_byte_goes_unseen(self, data: bytes) -> None:
        """Each byte in turn."""
        for at in range(len(data)):
            changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            with pytest.raises(LedgerError):
                read_list(changed)


class TestTimes:
    @pytest.mark.parametrize(("ms", "text"), [
        (0, "1970-01-01T00:00:00.000Z"), (NOW_MS, "2026-11-28T17:00:00.123Z"),
        (951_782_399_999, "2000-02-28T23:59:59.999Z"), (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ])  # fmt: skip
    def test_both_ways(self, ms: int, text: str) -> None:
        assert (format_time(ms), parse_time(text)) == (text, ms)

    @pytest.mark.parametrize("text", [
        "", "2026-11-28", "2026-11-28T17:00:00Z", "2026-11-28T17:00:00.12Z", "2026-11-28T17:00:00.123456Z",
        "2026-11-28T17:00:00.123+00:00", "2026-11-28t17:00:00.123z", "1969-12-31T23:59:59.999Z",
        "2026-13-28T17:00:00.123Z", " 2026-11-28T17:00:00.123Z", "2026-11-28T17:00:60.123Z",
    ])  # fmt: skip
    def test_other_spellings_are_refused(self, text: str) -> None:
        with pytest.raises(MalformedInput):
            parse_time(text)

    def test_past_the_year_9999(self) -> None:
        with pytest.raises(ValueError, match="9999"):
            format_time(2**63)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text[1:] + "=" * (-len(text[1:]) % 4))


def gunzip(text: str) -> bytes:
    return gzip.decompress(raw(text))


def entry(list_: StatusList, index: int) -> dict[str, Any]:
    """What stands in a badge."""
    return {
        "id": f"{list_.id}#{index}",
        "type": "BitstringStatusListEntry",
        "statusPurpose": list_.purpose,
        "statusListIndex": str(index),
        "statusListCredential": list_.id,
    }


def normalize(document: dict[str, Any], contexts: dict[str, Any] | None = None) -> bytes:
    options = {
        **pyld_options(document_loader(contexts or {})),
        "algorithm": "URDNA2015",
        "format": "application/n-quads",
    }
    text: str = jsonld.normalize(document, options)
    return text.encode()
