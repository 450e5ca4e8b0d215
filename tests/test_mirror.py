"""A mirror holds the log byte for byte, at every moment, and nothing that contradicts it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ledger.auditor.audit import Auditor, Mismatch
from ledger.auditor.follow import Follower
from ledger.auditor.source import FolderSource
from ledger.checkpoint import Checkpoint
from ledger.cosignature import cosign
from ledger.entry import decode, encode
from ledger.errors import InputError, SignatureInvalid, Unavailable
from ledger.mirror import Mirror
from ledger.note import Note, VerifierKey, format_note, parse_note
from ledger.tiles import Tile
from tests.auditor.liar import Liar, log_policy, signer
from tests.builders import LogBuilder, demo_log, seeded_key
from tests.fakes import FakeClock

KEYS = signer().verifier_keys


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def mirror(tmp_path: Path) -> Mirror:
    return Mirror(FolderSource(tmp_path / "log"), tmp_path / "copy", KEYS)


def heads(liar: Liar) -> list[int]:
    return [k + 1 for k, entry in enumerate(liar.entries) if entry[1] == 9]


async def test_a_copy_is_the_log(tmp_path: Path) -> None:
    """From nothing to the newest head: the same files with the same bytes."""
    Liar(demo_log()).publish(tmp_path / "log")
    found = await mirror(tmp_path).update()
    assert files(tmp_path / "copy") == files(tmp_path / "log")
    assert found.entries == found.checkpoint.size
    assert (await mirror(tmp_path).update()).entries == 0


async def test_a_copy_grows_with_the_log(tmp_path: Path) -> None:
    """Through every head, by a new process each time: at each one a whole log, without what is partial no more."""
    liar = Liar(demo_log())
    for size in heads(liar):
        liar.publish(tmp_path / "log", size=size)
        await mirror(tmp_path).update()
        audit = Auditor(
            [FolderSource(tmp_path / "copy")],
            log_policy(),
            Follower(liar.log.origin),
            clock=FakeClock(liar.log.time),
            evidence=tmp_path,
        )
        assert (await audit.run()).size == size
    copy, log = files(tmp_path / "copy"), files(tmp_path / "log")
    assert copy.items() <= log.items()
    assert {name for name in log if ".p/" not in name} <= copy.keys()
    assert not any(name.startswith("tile/0/000.p/") for name in copy)


async def test_what_contradicts_the_copy_leaves_it_as_it_was(tmp_path: Path) -> None:
    """A rewritten past, another head of the same size, an older head, a byte that is wrong: refused, and no new byte
    that a reader of the checkpoint would see."""
    log = demo_log()
    liar = Liar(log)
    small = heads(liar)[-2]
    liar.publish(tmp_path / "log", size=small)
    await mirror(tmp_path).update()
    before = files(tmp_path / "copy")

    rewritten = Liar(log)
    data = bytearray(rewritten.entries[10])
    data[-1] ^= 1
    rewritten.entries[10] = bytes(data)
    other = Liar(log)
    root = decode(other.entries[small - 1])
    other.entries[small - 1] = encode(msgspec.structs.replace(root, time=log.time - 1))
    for spoilt, size in ((rewritten, rewritten.size), (other, small), (liar, heads(liar)[-3])):
        spoilt.publish(tmp_path / "log", size=size)
        with pytest.raises(Mismatch):
            await mirror(tmp_path).update()
        after = files(tmp_path / "copy")
        assert {name: after[name] for name in before} == before

    liar.publish(tmp_path / "log")
    bundle = max(p for p in (tmp_path / "log" / "tile" / "entries").rglob("*") if p.is_file())
    whole = bundle.read_bytes()
    bundle.write_bytes(whole[:-1] + bytes((whole[-1] ^ 1,)))
    with pytest.raises(Mismatch):
        await mirror(tmp_path).update()
    assert files(tmp_path / "copy")["checkpoint"] == before["checkpoint"]
    bundle.write_bytes(whole)
    assert (await mirror(tmp_path).update()).checkpoint.size == liar.size


async def test_only_what_the_log_signed(tmp_path: Path) -> None:
    liar = Liar(demo_log())
    liar.publish(tmp_path / "log")
    note = bytearray(liar.note())
    note[-5] ^= 1
    (tmp_path / "log" / "checkpoint").write_bytes(bytes(note))
    with pytest.raises(SignatureInvalid):
        await mirror(tmp_path).update()
    assert not (tmp_path / "copy" / "checkpoint").exists()


async def test_a_folder_that_is_no_copy_of_this_log(tmp_path: Path) -> None:
    """Another log's, or with tiles that are damaged: refused before anything is written."""
    Liar(demo_log()).publish(tmp_path / "log")
    await mirror(tmp_path).update()
    with pytest.raises(InputError):
        await Mirror(FolderSource(tmp_path / "log"), tmp_path / "copy", signer("other.example").verifier_keys).update()
    tile = next(
        p for p in (tmp_path / "copy" / "tile" / "0").rglob("*") if p.is_file() and p.parent.name.endswith(".p")
    )
    data = tile.read_bytes()
    tile.write_bytes(bytes((data[0] ^ 1,)) + data[1:])
    with pytest.raises(InputError):
        await mirror(tmp_path).update()


async def test_a_folder_of_other_things(tmp_path: Path) -> None:
    """Nothing is written among them; what a first round that was cut off, or a file system, leaves is no hindrance."""
    Liar(demo_log()).publish(tmp_path / "log")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "alice.json").write_text("{}")
    with pytest.raises(InputError, match=r"is no mirror, and holds 'alice\.json'"):
        await mirror(tmp_path).update()
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["alice.json"]
    (tmp_path / "copy" / "alice.json").unlink()
    for name in ("tile", ".well-known", "lost+found"):
        (tmp_path / "copy" / name).mkdir()
    assert (await mirror(tmp_path).update()).checkpoint.size


class Failing(FolderSource):
    """Fails at the bundle with this number, once."""

    def __init__(self, folder: Path, number: int) -> None:
        super().__init__(folder)
        self.number = number

    async def tile(self, tile: Tile) -> bytes:
        if tile.index == self.number:
            self.number = -1
            raise Unavailable("gone")
        return await super().tile(tile)


@pytest.mark.parametrize("number", range(5))
async def test_a_copy_that_broke_off_goes_on(number: int, tmp_path: Path) -> None:
    """Wherever it breaks off, the checkpoint names nothing that is not there, and the next round ends at the log."""
    log = LogBuilder()
    issuer = log.issuer("https://school.example/", lists=1)
    log.seal()
    Liar(log).publish(tmp_path / "log")
    await mirror(tmp_path).update()
    log.issue(issuer, [issuer.slot(k) for k in range(1_100)])
    log.seal()
    liar = Liar(log)
    liar.publish(tmp_path / "log")
    copy = Mirror(Failing(tmp_path / "log", number), tmp_path / "copy", KEYS)
    with pytest.raises(Unavailable):
        await copy.update()
    assert (await copy.update()).checkpoint.size == liar.size
    log_files, copied = files(tmp_path / "log"), files(tmp_path / "copy")
    assert all(copied[name] == data for name, data in log_files.items() if "/000.p/" not in name)


@pytest.mark.parametrize("small", [256, 300])
async def test_a_source_that_lies_first_and_tells_the_truth_later(small: int, tmp_path: Path) -> None:
    """Forged entries under a genuine head are refused and leave nothing that a later round could take for its own."""
    log = LogBuilder()
    issuer = log.issuer("https://school.example/", lists=1)
    log.seal()
    log.issue(issuer, [issuer.slot(k) for k in range(small - log.size - 2)])
    log.seal()
    middle = Liar(log)
    log.issue(issuer, [issuer.slot(1000 + k) for k in range(400)])
    log.seal()
    newest = Liar(log)
    forged = Liar(log)
    for k in range(small, forged.size - 1):
        forged.entries[k] = b"\x01\x05" + b"forged".ljust(72)
    Liar(log).publish(tmp_path / "log", size=5)
    await mirror(tmp_path).update()
    before = files(tmp_path / "copy")
    forged.publish(tmp_path / "log", note=newest.note())
    with pytest.raises(Mismatch):
        await mirror(tmp_path).update()
    assert files(tmp_path / "copy") == before
    middle.publish(tmp_path / "log")
    found = await mirror(tmp_path).update()
    assert found.checkpoint.size == middle.size
    for name, data in files(tmp_path / "copy").items():
        assert b"forged" not in data, name
    audit = Auditor(
        [FolderSource(tmp_path / "copy")], log_policy(), Follower(log.origin), clock=FakeClock(0), evidence=tmp_path
    )
    assert (await audit.run()).size == middle.size


async def test_no_signature_is_taken_away(tmp_path: Path) -> None:
    """The same head with fewer lines leaves the copy's; with a witness's line that does not verify it is refused."""
    witness = VerifierKey("w.example/w", 4, seeded_key("w").public_key)
    liar = Liar(demo_log())
    note = parse_note(liar.note())
    line = cosign(Checkpoint(liar.log.origin, liar.size, liar.root()), witness.name, seeded_key("w"), 1_750_000_000)
    full = format_note(Note(note.text, (*note.signatures, line)))
    liar.publish(tmp_path / "log", note=full)
    copy = Mirror(FolderSource(tmp_path / "log"), tmp_path / "copy", KEYS, [witness])
    await copy.update()
    (tmp_path / "log" / "checkpoint").write_bytes(liar.note())
    await copy.update()
    assert (tmp_path / "copy" / "checkpoint").read_bytes() == full
    bad = msgspec.structs.replace(line, signature=bytes(72))
    (tmp_path / "log" / "checkpoint").write_bytes(format_note(Note(note.text, (*note.signatures, bad))))
    with pytest.raises(SignatureInvalid):
        await copy.update()
    assert (tmp_path / "copy" / "checkpoint").read_bytes() == full
