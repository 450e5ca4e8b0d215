"""ledger.keyfile: key files that only their owner can read, whole or not there."""

from __future__ import annotations

import io
import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from ledger.errors import KeyFileError
from ledger.keyfile import (
    PrivateKey,
    create_key,
    format_key,
    load_issuer_key,
    load_key,
    load_log_key,
    load_log_mldsa44_key,
    load_salt_key,
    parse_key,
    replace_key,
    save_issuer_key,
    save_log_key,
    save_salt_key,
)
from ledger.signing import Ed25519Key, MLDSA44Key

SEED = b"secret-secret-secret-secret-seed"
EVERY_KIND = [
    PrivateKey("issuer-ed25519", SEED),
    PrivateKey("issuer-ed25519", SEED, issuer="did:web:exämple.com", key_index=2**63 - 1),
    PrivateKey("log-ed25519", SEED, name="example.com/log"),
    PrivateKey("witness-ed25519", SEED, name="witness.example/w"),
    PrivateKey("log-mldsa44", SEED, name="example.com/log"),
    PrivateKey("witness-mldsa44", SEED, name="witness.example/w"),
    PrivateKey("salt", SEED),
]
kinds = pytest.mark.parametrize("key", EVERY_KIND, ids=lambda key: key.kind)


def refused(path: Path) -> str:
    with pytest.raises(KeyFileError) as caught:
        load_key(path)
    assert str(path) in caught.value.detail
    return caught.value.detail


def write(path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


@kinds
def test_every_kind_is_kept(tmp_path: Path, key: PrivateKey) -> None:
    """What is created loads back the same, with mode 0600, and nothing else is left in the directory."""
    path = tmp_path / "a.key"
    create_key(path, key)
    assert load_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_nlink == 1
    assert os.listdir(tmp_path) == ["a.key"]


def test_the_format() -> None:
    """Fields in their order, as the module says."""
    key = Ed25519Key.from_seed(bytes(32))
    text = format_key(PrivateKey("issuer-ed25519", bytes(32), issuer="did:key:z6Mk", key_index=7))
    assert key.public_key.hex() == "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"
    assert text == (
        "badge-ledger private key v1\nkind: issuer-ed25519\npublic: O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik=\n"
        "issuer: did:key:z6Mk\nkey-index: 7\nseed: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
    )


def test_convenience(tmp_path: Path) -> None:
    """The functions for each role keep what they are given, and refuse a key of another role."""
    ed, pq = Ed25519Key.from_seed(SEED), MLDSA44Key.from_seed(SEED)
    save_issuer_key(tmp_path / "issuer", ed, issuer="https://school.example", key_index=3)
    save_log_key(tmp_path / "log", "example.com/log", ed)
    save_log_key(tmp_path / "pq", "example.com/log", pq)
    save_salt_key(tmp_path / "salt", SEED)
    assert load_issuer_key(tmp_path / "issuer").public_key == ed.public_key
    origin, log = load_log_key(tmp_path / "log")
    assert (origin, log.public_key) == ("example.com/log", ed.public_key)
    origin, quantum = load_log_mldsa44_key(tmp_path / "pq")
    assert (origin, quantum.public_key) == ("example.com/log", pq.public_key)
    assert load_salt_key(tmp_path / "salt") == SEED
    for load in (load_issuer_key, load_log_key, load_log_mldsa44_key, load_salt_key):
        accepted = []
        for name in ("issuer", "log", "pq", "salt"):
            try:
                load(tmp_path / name)
            except KeyFileError:
                continue
            accepted.append(name)
        assert len(accepted) == 1


def test_verifier_keys() -> None:
    """Note keys have the algorithm of their kind; the others sign no notes."""
    algorithms = {key.kind: key.verifier_key().algorithm for key in EVERY_KIND if key.name}
    assert algorithms == {"log-ed25519": 1, "witness-ed25519": 4, "log-mldsa44": 6, "witness-mldsa44": 6}
    for key in EVERY_KIND:
        if not key.name:
            with pytest.raises(KeyFileError, match="signs no notes"):
                key.verifier_key()
    with pytest.raises(KeyFileError, match="no Ed25519 key"):
        PrivateKey("salt", SEED).ed25519()
    with pytest.raises(KeyFileError, match="no Ed25519 key"):
        PrivateKey("log-mldsa44", SEED, name="n").ed25519()
    with pytest.raises(KeyFileError, match="no ML-DSA-44 key"):
        PrivateKey("log-ed25519", SEED, name="n").mldsa44()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path, umask: int) -> None:
    """0600 always, and never more for a moment: the file is created with it."""
    before = os.umask(umask)
    try:
        create_key(tmp_path / "k", EVERY_KIND[0])
    finally:
        os.umask(before)
    assert (tmp_path / "k").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o601, 0o602, 0o604, 0o610, 0o620, 0o640, 0o644, 0o666, 0o777])
def test_files_open_to_others_are_refused(tmp_path: Path, mode: int) -> None:
    """Any permission for group or others, with the mode and the remedy."""
    assert "chmod 600" in refused(write(tmp_path / "k", format_key(EVERY_KIND[0]), mode))


def test_what_is_no_key_file_is_told_so_first(tmp_path: Path) -> None:
    """Before anything is said of permissions: to make another file private would be the wrong advice."""
    for content in ("", "-----BEGIN PRIVATE KEY-----\n", "{}", b"\xff"):
        detail = refused(write(tmp_path / "k", content, 0o644))
        assert "is no key file" in detail
        assert "chmod" not in detail


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_files_of_the_owner_alone_are_read(tmp_path: Path, mode: int) -> None:
    """Read-only too."""
    assert load_key(write(tmp_path / "k", format_key(EVERY_KIND[0]), mode)) == EVERY_KIND[0]


def test_links_are_not_followed(tmp_path: Path) -> None:
    """Neither reading nor creating nor replacing goes through a symbolic link, dangling or not."""
    real = tmp_path / "real"
    create_key(real, EVERY_KIND[0])
    link, dangling = tmp_path / "link", tmp_path / "dangling"
    link.symlink_to(real)
    dangling.symlink_to(tmp_path / "nowhere")
    for path in (link, dangling):
        refused(path)
        with pytest.raises(KeyFileError):
            create_key(path, EVERY_KIND[0])
        with pytest.raises(KeyFileError):
            replace_key(path, EVERY_KIND[0])
        assert path.is_symlink()
    assert not (tmp_path / "nowhere").exists()


def test_a_link_in_the_way_of_the_temporary_file_is_not_followed(tmp_path: Path) -> None:
    """Somebody who guesses that name gains nothing: the link is removed and its target stays as it was."""
    victim = write(tmp_path / "victim", "untouched", 0o644)
    (tmp_path / f".k.{os.getpid()}.tmp").symlink_to(victim)
    create_key(tmp_path / "k", EVERY_KIND[0])
    assert victim.read_text() == "untouched"
    assert load_key(tmp_path / "k") == EVERY_KIND[0]


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    """A directory, a pipe without a writer (which must not hang), a missing file."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "regular file" in refused(tmp_path / "pipe")
    (tmp_path / "directory").mkdir(mode=0o700)
    assert "regular file" in refused(tmp_path / "directory")
    refused(tmp_path / "missing")
    refused(tmp_path / "missing" / "k")
    with pytest.raises(KeyFileError):
        create_key(tmp_path / "missing" / "k", EVERY_KIND[0])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_of_other_users_are_refused(tmp_path: Path) -> None:
    """Whoever owns the file can change the key in it."""
    path = write(tmp_path / "k", format_key(EVERY_KIND[0]))
    os.chown(path, 12345, 12345)
    assert "user 12345" in refused(path)


def test_creating_never_replaces(tmp_path: Path) -> None:
    """Not even a file of the same key; what was there stays, byte for byte, and no temporary file is left."""
    path = write(tmp_path / "k", "something", 0o644)
    for key in EVERY_KIND:
        with pytest.raises(KeyFileError):
            create_key(path, key)
    assert path.read_text() == "something"
    assert os.listdir(tmp_path) == ["k"]


def test_replacing_fills_in_but_keeps_the_key(tmp_path: Path) -> None:
    """Issuer and index can be added; another seed, kind or name is refused and changes nothing."""
    path = tmp_path / "k"
    create_key(path, PrivateKey("issuer-ed25519", SEED))
    registered = PrivateKey("issuer-ed25519", SEED, issuer="https://school.example", key_index=9)
    replace_key(path, registered)
    assert load_key(path) == registered
    assert path.stat().st_mode & 0o777 == 0o600
    for other in (PrivateKey("issuer-ed25519", bytes(32)), PrivateKey("salt", SEED)):
        with pytest.raises(KeyFileError, match="another key"):
            replace_key(path, other)
    with pytest.raises(KeyFileError):
        replace_key(tmp_path / "missing", registered)
    assert load_key(path) == registered
    assert os.listdir(tmp_path) == ["k"]


@pytest.mark.parametrize("failing", ["fsync", "write", "link", "replace", "fchmod"])
def test_a_failure_leaves_the_old_file_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    """When the disk fails at any step: creating leaves nothing behind, replacing the file from before."""
    existing = tmp_path / "old"
    create_key(existing, PrivateKey("issuer-ed25519", SEED))

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, fail)
        if failing != "replace":
            with pytest.raises(KeyFileError, match="No space left"):
                create_key(tmp_path / "new", EVERY_KIND[0])
        if failing != "link":
            with pytest.raises(KeyFileError, match="No space left"):
                replace_key(existing, PrivateKey("issuer-ed25519", SEED, key_index=1))
    assert os.listdir(tmp_path) == ["old"]
    assert load_key(existing) == PrivateKey("issuer-ed25519", SEED)


def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that takes fewer bytes than asked is continued, as is a short read."""
    write_all, read_all = os.write, os.read
    monkeypatch.setattr(os, "write", lambda fd, data: write_all(fd, data[:7]))
    monkeypatch.setattr(os, "read", lambda fd, size: read_all(fd, min(size, 5)))
    create_key(tmp_path / "k", EVERY_KIND[1])
    assert load_key(tmp_path / "k") == EVERY_KIND[1]


@kinds
def test_every_truncation_and_changed_byte_is_refused(key: PrivateKey) -> None:
    """A damaged file never loads as another key (sampled where the ML-DSA-44 key is long)."""
    text = format_key(key)
    step = 1 if len(text) < 500 else 41
    for position in range(0, len(text), step):
        with pytest.raises(KeyFileError):
            parse_key(text[:position])
        for character in "\nAz1 ":
            changed = text[:position] + character + text[position + 1 :]
            if changed == text:
                continue
            try:
                found = parse_key(changed)
            except KeyFileError:
                continue
            assert (found.kind, found.seed) == (key.kind, key.seed)
            assert found != key


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("badge-ledger private key v1", "badge-ledger private key v2"),
        ("kind: issuer-ed25519", "kind: issuer"),
        ("kind: issuer-ed25519\n", ""),
        ("kind: issuer-ed25519", "kind: salt"),
        ("kind: issuer-ed25519", "kind:issuer-ed25519"),
        ("kind: issuer-ed25519\n", "kind: issuer-ed25519\nkind: issuer-ed25519\n"),
        ("kind: issuer-ed25519\n", "kind: issuer-ed25519\nname: n\n"),
        ("seed: ", "comment: x\nseed: "),
        ("seed: ", "public2: x\nseed: "),
        ("key-index: 7", "key-index: 07"),
        ("key-index: 7", "key-index: -1"),
        ("key-index: 7", "key-index: 9223372036854775808"),
        ("issuer: did:key:z6Mk\nkey-index: 7\n", "key-index: 7\nissuer: did:key:z6Mk\n"),
        ("issuer: did:key:z6Mk", "issuer: "),
        ("issuer: did:key:z6Mk", "issuer: a\tb"),
        ("issuer: did:key:z6Mk", "issuer: " + "x" * 2049),
        ("\n", "\r\n"),
        ("O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik=", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ("public: O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik=\n", ""),
        ("seed: AAAA", "seed: "),
        ("AAAA=\n", "AAAB=\n"),
        ("AAAA=\n", "AAAA=\n\n"),
        ("AAAA=\n", "AAAA="),
    ],
)
def test_malformed_files(old: str, new: str) -> None:
    """Unknown, missing, repeated and misplaced fields, other values, other line ends."""
    text = format_key(PrivateKey("issuer-ed25519", bytes(32), issuer="did:key:z6Mk", key_index=7))
    assert old in text
    with pytest.raises(KeyFileError):
        parse_key(text.replace(old, new))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"x" * 20_000, b"-----BEGIN PRIVATE KEY-----\n"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    """Empty, not UTF-8, too long, of another program."""
    refused(write(tmp_path / "k", content))


def test_impossible_keys() -> None:
    """Fields that the kind does not have, or has to have."""
    makers: list[Callable[[], PrivateKey]] = [
        lambda: PrivateKey("other", SEED),
        lambda: PrivateKey("salt", SEED[:-1]),
        lambda: PrivateKey("log-ed25519", SEED),
        lambda: PrivateKey("salt", SEED, name="n"),
        lambda: PrivateKey("log-ed25519", SEED, name="a b"),
        lambda: PrivateKey("log-mldsa44", SEED, name="n" * 256),
        lambda: PrivateKey("salt", SEED, issuer="did:key:z6Mk"),
        lambda: PrivateKey("log-ed25519", SEED, name="n", key_index=1),
        lambda: PrivateKey("issuer-ed25519", SEED, issuer=""),
        lambda: PrivateKey("issuer-ed25519", SEED, key_index=-1),
    ]
    for make in makers:
        with pytest.raises(KeyFileError):
            make()


def test_the_seed_is_never_shown() -> None:
    """Not by repr, not by rich, not by an error about a damaged seed line."""
    key = EVERY_KIND[2]
    encoded = format_key(key).split("seed: ")[1].strip()
    console = Console(file=io.StringIO(), width=200)
    console.print(key)
    shown = [repr(key), str(key), f"{[key]}", console.file.getvalue()]  # type: ignore[attr-defined]
    with pytest.raises(KeyFileError) as caught:
        parse_key(format_key(key).replace(encoded, encoded[:-2] + "="))
    shown += [caught.value.detail, "".join(traceback.format_exception(caught.value))]
    for text in shown:
        assert "secret" not in text
        assert encoded[:12] not in text
