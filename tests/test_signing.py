"""ledger.signing: one acceptance rule for Ed25519, checked against arithmetic written out here, and ML-DSA-44."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from ledger import signing
from ledger.errors import SignatureInvalid
from ledger.signing import Ed25519Key, MLDSA44Key, verify_ed25519, verify_mldsa44

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)

Point = tuple[int, int]
ZERO: Point = (0, 1)


def add(left: Point, right: Point) -> Point:
    (x1, y1), (x2, y2) = left, right
    t = D * x1 * x2 * y1 * y2 % P
    return (x1 * y2 + x2 * y1) * pow(1 + t, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - t, -1, P) % P


def times(k: int, point: Point) -> Point:
    result = ZERO
    while k:
        if k & 1:
            result = add(result, point)
        point, k = add(point, point), k >> 1
    return result


def x_of(y: int, sign: int) -> int | None:
    xx = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(xx, (P + 3) // 8, P)
    if (x * x - xx) % P:
        x = x * SQRT_M1 % P
    if (x * x - xx) % P:
        return None
    return x if x & 1 == sign else -x % P


def encode(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def challenge(r: bytes, a: bytes, message: bytes) -> int:
    return int.from_bytes(hashlib.sha512(r + a + message).digest(), "little") % L


def order_eight() -> Point:
    for y in range(2, 100):
        x = x_of(y, 0)
        if x is not None:
            point = times(L, (x, y))
            if times(4, point) != ZERO:
                return point
    raise AssertionError


BASE_Y = 4 * pow(5, -1, P) % P
BASE: Point = (x_of(BASE_Y, 0) or 0, BASE_Y)
TORSION = [times(i, order_eight()) for i in range(8)]
A_SCALAR = int.from_bytes(hashlib.sha256(b"a").digest(), "little") % L
R_SCALAR = int.from_bytes(hashlib.sha256(b"r").digest(), "little") % L


def accepted(public_key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        verify_ed25519(public_key, message, signature)
    except SignatureInvalid:
        return False
    return True


# RFC 8032 section 7.1: seed, public key, message, signature.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
        "655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aee"
        "b00d291612bb0c00",
    ),
]


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032)
def test_rfc_8032_vectors(seed: str, public: str, message: str, signature: str) -> None:
    """The RFC's own keys sign its messages to its signatures, which verify."""
    key = Ed25519Key.from_seed(bytes.fromhex(seed))
    assert key.public_key.hex() == public
    assert key.sign(bytes.fromhex(message)).hex() == signature
    verify_ed25519(key.public_key, bytes.fromhex(message), bytes.fromhex(signature))


def test_the_arithmetic_of_this_file_agrees() -> None:
    """The oracle below computes the same public key as libsodium."""
    digest = bytearray(hashlib.sha512(bytes(32)).digest()[:32])
    digest[0] &= 248
    digest[31] = digest[31] & 127 | 64
    assert encode(times(int.from_bytes(digest, "little"), BASE)) == Ed25519Key.from_seed(bytes(32)).public_key


@pytest.mark.parametrize("a", [A_SCALAR, 0], ids=["A large", "A small order"])
@pytest.mark.parametrize("r", [R_SCALAR, 0], ids=["R large", "R small order"])
def test_acceptance_with_torsion_is_exactly_the_rule(a: int, r: int) -> None:
    """For A = aB + iT and R = rB + jT, T of order 8, S = r + ka: S B - k A = R without cofactor iff 8 divides
    j + k i. Accepted iff that holds and neither A nor R has small order; all of them hold with the cofactor.
    """
    a_base, r_base = times(a, BASE), times(r, BASE)
    seen: set[tuple[bool, bool]] = set()
    for i in range(8):
        for j in range(8):
            public, nonce = encode(add(a_base, TORSION[i])), encode(add(r_base, TORSION[j]))
            for number in range(24):
                message = bytes([number])
                k = challenge(nonce, public, message)
                scalar = (r + k * a) % L
                equation = (j + k * i) % 8 == 0
                expected = equation and a != 0 and r != 0
                assert accepted(public, message, nonce + scalar.to_bytes(32, "little")) is expected, (i, j, number)
                seen.add((equation, expected))
    assert (True, a != 0 and r != 0) in seen
    assert (False, False) in seen


def test_cofactored_only_signature_is_refused() -> None:
    """The vector that the import checks holds with the cofactor (8(SB - kA - R) = 0) and is refused."""
    public, signature = signing._COFACTOR_KEY, signing._COFACTOR_SIGNATURE
    points = []
    for data in (public, signature[:32]):
        number = int.from_bytes(data, "little")
        y = number & (1 << 255) - 1
        points.append((x_of(y, number >> 255) or 0, y))
    k = challenge(signature[:32], public, b"cofactor")
    left = times(8 * int.from_bytes(signature[32:], "little"), BASE)
    assert left == add(times(8 * k, points[0]), times(8, points[1]))
    assert not accepted(public, b"cofactor", signature)


def test_import_refuses_a_library_with_the_cofactor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A libsodium that accepts the cofactored-only vector does not get past the import."""
    monkeypatch.setattr(signing, "crypto_sign_open", lambda signed, key: signed[64:])
    with pytest.raises(RuntimeError, match="cofactor"):
        signing._check_library()


def small_order_encodings() -> Iterator[bytes]:
    """Every 32-byte string that a lenient reader takes for a point of order 1, 2, 4 or 8, non-canonical ones too."""
    for y in {point[1] for point in TORSION}:
        for form in (y, y + P):
            for sign in (0, 1):
                if form < 1 << 255:
                    yield (form | sign << 255).to_bytes(32, "little")


def test_small_order_points_are_refused_in_every_encoding() -> None:
    """With S = 0 or S = r, a small-order or non-canonical A or R satisfies a lenient reader for some message."""
    encodings = list(small_order_encodings())
    assert len(encodings) == 14
    nonce = encode(times(R_SCALAR, BASE)) + R_SCALAR.to_bytes(32, "little")
    for point in encodings:
        for number in range(32):
            assert not accepted(point, bytes([number]), nonce)
            for other in encodings:
                assert not accepted(point, bytes([number]), other + bytes(32))


def test_non_canonical_keys_of_large_order_are_refused() -> None:
    """y and y + p name the same point; the second encoding is no key."""
    for y in range(2, 19):
        for sign in (0, 1):
            assert not accepted((y + P | sign << 255).to_bytes(32, "little"), b"m", bytes(64))


@pytest.mark.parametrize("multiple", range(1, 16))
def test_scalar_of_l_or_more_is_refused(multiple: int) -> None:
    """S + nL satisfies the equation and is refused for every n that fits: signatures are not malleable."""
    key = Ed25519Key.from_seed(bytes(range(32)))
    signature = key.sign(b"m")
    scalar = int.from_bytes(signature[32:], "little") + multiple * L
    assert accepted(key.public_key, b"m", signature)
    assert not accepted(key.public_key, b"m", signature[:32] + scalar.to_bytes(32, "little"))


def test_every_flipped_bit_of_an_ed25519_signature_or_key_is_refused() -> None:
    """No single bit of key, message or signature can change."""
    key = Ed25519Key.from_seed(b"\x07" * 32)
    message, signature = b"a message", key.sign(b"a message")
    for bit in range(8 * 64):
        assert not accepted(key.public_key, message, flip(signature, bit))
    for bit in range(8 * 32):
        assert not accepted(flip(key.public_key, bit), message, signature)
    for bit in range(8 * len(message)):
        assert not accepted(key.public_key, flip(message, bit), signature)


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
def test_ed25519_lengths(length: int) -> None:
    """Keys have 32 bytes, signatures 64: other lengths are refused before any library reads them."""
    key = Ed25519Key.from_seed(bytes(32))
    signature = key.sign(b"m")
    with pytest.raises(SignatureInvalid, match="32 bytes"):
        verify_ed25519((key.public_key * 2)[:length], b"m", signature)
    for wrong in (signature[:63], signature + b"\0", b""):
        with pytest.raises(SignatureInvalid, match="64 bytes"):
            verify_ed25519(key.public_key, b"m", wrong)


@pytest.mark.parametrize("kind", [Ed25519Key.from_seed, MLDSA44Key.from_seed])
@pytest.mark.parametrize("length", [0, 31, 33])
def test_seeds_have_32_bytes(kind: Callable[[bytes], object], length: int) -> None:
    """A seed of another length is a programmer's error."""
    with pytest.raises(ValueError, match="32 bytes"):
        kind(bytes(length))


@pytest.mark.parametrize("kind", [Ed25519Key.from_seed, MLDSA44Key.from_seed])
def test_repr_hides_the_seed(kind: Callable[[bytes], Ed25519Key | MLDSA44Key]) -> None:
    """Neither hex nor bytes of the seed are in the repr, so in no log or traceback."""
    seed = b"secretsecretsecretsecretsecretse"
    key = kind(seed)
    assert key.seed == seed
    assert "secret" not in repr(key)
    assert seed.hex() not in repr(key)


def test_mldsa44_signs_and_verifies() -> None:
    """Lengths are FIPS 204's; the key follows from the seed; two signatures differ and both verify."""
    key, again = MLDSA44Key.from_seed(b"\x05" * 32), MLDSA44Key.from_seed(b"\x05" * 32)
    assert key.public_key == again.public_key
    assert len(key.public_key) == signing.MLDSA44_KEY_BYTES == 1312
    first, second = key.sign(b"message"), key.sign(b"message")
    assert len(first) == signing.MLDSA44_SIG_BYTES == 2420
    assert first != second
    verify_mldsa44(key.public_key, b"message", first)
    verify_mldsa44(key.public_key, b"message", second)


def test_mldsa44_refuses_flips() -> None:
    """A flipped bit anywhere (sampled, the ends included) in signature, key or message is refused."""
    key = MLDSA44Key.from_seed(b"\x06" * 32)
    message = b"a message"
    signature = key.sign(message)
    for position in [*range(0, 2420, 37), 2419]:
        with pytest.raises(SignatureInvalid):
            verify_mldsa44(key.public_key, message, flip(signature, 8 * position + position % 8))
    for position in [*range(0, 1312, 41), 1311]:
        with pytest.raises(SignatureInvalid):
            verify_mldsa44(flip(key.public_key, 8 * position + position % 8), message, signature)
    for bit in range(8 * len(message)):
        with pytest.raises(SignatureInvalid):
            verify_mldsa44(key.public_key, flip(message, bit), signature)


def test_mldsa44_refuses_another_context_and_other_lengths() -> None:
    """Only the empty context counts; wrong lengths are refused with the number."""
    key = MLDSA44Key.from_seed(b"\x06" * 32)
    other = MLDSA44PrivateKey.from_seed_bytes(key.seed)
    verify_mldsa44(key.public_key, b"m", other.sign(b"m"))
    with pytest.raises(SignatureInvalid):
        verify_mldsa44(key.public_key, b"m", other.sign(b"m", b"context"))
    signature = key.sign(b"m")
    for wrong in (signature[:-1], signature + b"\0", b""):
        with pytest.raises(SignatureInvalid, match="2420 bytes"):
            verify_mldsa44(key.public_key, b"m", wrong)
    for wrong in (key.public_key[:-1], key.public_key + b"\0", b""):
        with pytest.raises(SignatureInvalid, match="1312 bytes"):
            verify_mldsa44(wrong, b"m", signature)
