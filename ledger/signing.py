"""Ed25519 (RFC 8032) and ML-DSA-44 (FIPS 204): the only module that imports a cryptographic library.

    Ed25519     seed 32, public key 32, signature 64 bytes       libsodium through pynacl
    ML-DSA-44   seed 32, public key 1312, signature 2420 bytes   cryptography; empty context, hedged signing

Libraries differ in which malformed Ed25519 signatures they accept, and two auditors that differ would part ways over
the same log. So the rule is fixed: S < L; A is a canonical encoding; neither A nor R has small order; and
encode(S B - H(R, A, M) A) equals R byte for byte (no cofactor). This is what libsodium's releases do; importing the
module fails on a libsodium that was changed to multiply by the cofactor.

What this module does not do: choose messages (domain separation is the caller's), draw seeds, or read and write key
files. Verification raises and returns nothing, so that its outcome cannot be dropped.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey
from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

from ledger.errors import SignatureInvalid

ED25519_SEED_BYTES: Final = 32
ED25519_KEY_BYTES: Final = 32
ED25519_SIG_BYTES: Final = 64
MLDSA44_SEED_BYTES: Final = 32
MLDSA44_KEY_BYTES: Final = 1312
MLDSA44_SIG_BYTES: Final = 2420


class Ed25519Key:
    """An Ed25519 private key. `seed` and `public_key` have 32 bytes each; the repr never shows the seed."""

    __slots__ = ("_secret", "public_key", "seed")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != ED25519_SEED_BYTES:
            raise ValueError(f"an Ed25519 seed has {ED25519_SEED_BYTES} bytes, not {len(seed)}")
        self.seed = bytes(seed)
        self.public_key: bytes
        self.public_key, self._secret = crypto_sign_seed_keypair(self.seed)

    @classmethod
    def from_seed(cls, seed: bytes) -> Ed25519Key:
        """The key of a 32-byte seed. Raises ValueError on another length."""
        return cls(seed)

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature over `message`; the same for the same message."""
        return crypto_sign(message, self._secret)[:ED25519_SIG_BYTES]

    def __repr__(self) -> str:
        return f"Ed25519Key(public_key={self.public_key.hex()})"


class MLDSA44Key:
    """An ML-DSA-44 private key. `seed` has 32 bytes, `public_key` 1312; the repr never shows the seed."""

    __slots__ = ("_private", "public_key", "seed")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != MLDSA44_SEED_BYTES:
            raise ValueError(f"an ML-DSA-44 seed has {MLDSA44_SEED_BYTES} bytes, not {len(seed)}")
        self.seed = bytes(seed)
        self._private = MLDSA44PrivateKey.from_seed_bytes(self.seed)
        self.public_key: bytes = self._private.public_key().public_bytes_raw()

    @classmethod
    def from_seed(cls, seed: bytes) -> MLDSA44Key:
        """The key of a 32-byte seed. Raises ValueError on another length."""
        return cls(seed)

    def sign(self, message: bytes) -> bytes:
        """A 2420-byte signature over `message`, empty context; another one each time (hedged signing)."""
        return self._private.sign(message)

    def __repr__(self) -> str:
        return f"MLDSA44Key(public_key={self.public_key[:16].hex()}…)"


def verify_ed25519(public_key: bytes, message: bytes, signature: bytes) -> None:
    """Accept exactly what the module docstring says; raises SignatureInvalid otherwise, wrong lengths included.

    Releases the interpreter lock while it computes, so it can run in a thread.
    """
    # libsodium reads 32 bytes at the key's address whatever its length: the length check is a memory safety check.
    if len(public_key) != ED25519_KEY_BYTES:
        raise SignatureInvalid(f"an Ed25519 public key has {ED25519_KEY_BYTES} bytes, not {len(public_key)}")
    if len(signature) != ED25519_SIG_BYTES:
        raise SignatureInvalid(f"an Ed25519 signature has {ED25519_SIG_BYTES} bytes, not {len(signature)}")
    try:
        crypto_sign_open(signature + message, public_key)
    except BadSignatureError:
        raise SignatureInvalid("the Ed25519 signature does not verify") from None


def verify_mldsa44(public_key: bytes, message: bytes, signature: bytes) -> None:
    """Verify with the empty context; raises SignatureInvalid, wrong lengths included."""
    if len(public_key) != MLDSA44_KEY_BYTES:
        raise SignatureInvalid(f"an ML-DSA-44 public key has {MLDSA44_KEY_BYTES} bytes, not {len(public_key)}")
    if len(signature) != MLDSA44_SIG_BYTES:
        raise SignatureInvalid(f"an ML-DSA-44 signature has {MLDSA44_SIG_BYTES} bytes, not {len(signature)}")
    try:
        _mldsa44_public(bytes(public_key)).verify(signature, message)
    except InvalidSignature:
        raise SignatureInvalid("the ML-DSA-44 signature does not verify") from None


@lru_cache(maxsize=64)
def _mldsa44_public(public_key: bytes) -> MLDSA44PublicKey:
    # Every 1312-byte string is a public key of ML-DSA-44, so this cannot fail on the content.
    return MLDSA44PublicKey.from_public_bytes(public_key)


# A signature that holds only after multiplying by the cofactor 8: the public key has a component of order 8.
_COFACTOR_KEY = bytes.fromhex("988b8b06afc3abd50c44e1396f4587342176485abb80721cfde8385f5e9320ce")
_COFACTOR_SIGNATURE = bytes.fromhex(
    "f87a22889707d326b221b2dba4102625f99227c2febe06664c8d9409eb213e21"
    "f938102f4a4afc35570a94d81c0198f10c29379176bd552187ebf3245286dc0d"
)


def _check_library() -> None:
    """Raises RuntimeError when libsodium accepts what the rule refuses: such a node would fork from the others."""
    try:
        verify_ed25519(_COFACTOR_KEY, b"cofactor", _COFACTOR_SIGNATURE)
    except SignatureInvalid:
        return
    raise RuntimeError("this libsodium verifies Ed25519 with the cofactor; the log's rule is without it")


_check_library()
