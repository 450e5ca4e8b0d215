"""Every lie of the threat model: the auditor stops at it, at the right index, with a file that convicts by itself."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ledger.auditor.audit import Auditor
from ledger.auditor.convict import Convicted, check_file
from ledger.auditor.follow import Follower
from ledger.auditor.source import FolderSource
from ledger.entry import StatusRoot, Submission, decode, encode, encode_issue, encode_status_event
from ledger.errors import LedgerError, UnknownEntry
from ledger.evidence import Kind
from ledger.mirror import Mirror
from ledger.note import Note, SignatureLine, VerifierKey, format_note, parse_note
from ledger.policy import WitnessRule
from tests.auditor.liar import Liar, log_policy, signer
from tests.builders import BuiltIssuer, BuiltKey, LogBuilder, demo_log, seeded_key
from tests.fakes import FakeClock

KEYS = signer().verifier_keys


def auditor(tmp_path: Path, *folders: Path, follower: Follower | None = None, now_ms: int | None = None) -> Auditor:
    log = demo_log()
    return Auditor(
        [FolderSource(folder) for folder in folders],
        log_policy(),
        follower or Follower(log.origin),
        clock=FakeClock(log.time if now_ms is None else now_ms),
        evidence=tmp_path / "evidence",
        max_age_s=600,
    )


def school(log: LogBuilder) -> BuiltIssuer:
    return log.issuers[0]


# The lies: each spoils an honest log, and says rule, index and the kind of evidence expected --------------------------

Lie = Callable[[Liar], tuple[str, int, Kind]]


def dropped_revocation(liar: Liar) -> tuple[str, int, Kind]:
    """A revocation is logged and missing from the status tree."""
    block = liar.log.block(school(liar.log), [school(liar.log).revoke(school(liar.log).slot(100))])
    liar.add(block)
    return "status-root", liar.seal(), "prefix"


def wrong_status_root(liar: Liar) -> tuple[str, int, Kind]:
    return "status-root", liar.seal(root=bytes(32)), "prefix"


def wrong_totals(liar: Liar) -> tuple[str, int, Kind]:
    return "status-root", liar.seal(issued=1), "prefix"


def forged_event(liar: Liar) -> tuple[str, int, Kind]:
    """An event that the issuer did not sign stands in the place of one that it signed."""
    issuer = school(liar.log)
    block = liar.log.block(issuer, [issuer.issue(issuer.slot(400)), issuer.issue(issuer.slot(401))])
    index = liar.add(block)
    liar.entries[index + 1] = encode_issue(issuer.id, issuer.slot(400), bytes(32))
    liar.seal()
    return "events-root", index, "excerpt"


def forged_submission(liar: Liar) -> tuple[str, int, Kind]:
    """The operator signs for the issuer, with a key of its own."""
    issuer = school(liar.log)
    mine = BuiltKey(seeded_key("operator"), issuer.keys[0].index, 7)
    index = liar.add(liar.log.block(issuer, [issuer.revoke(issuer.slot(100))], key=mine))
    liar.seal()
    return "signature", index, "excerpt"


def replayed_issue(liar: Liar) -> tuple[str, int, Kind]:
    """A submission that issued is logged once more."""
    return _replay(liar, lambda kinds: kinds == b"\x05", "slot-issued", 1)


def _replay(liar: Liar, wanted: Callable[[bytes], bool], rule: str, offset: int) -> tuple[str, int, Kind]:
    for at, data in enumerate(liar.entries):
        entry = decode(data)
        if isinstance(entry, Submission):
            events = liar.entries[at + 1 : at + 1 + entry.count]
            if wanted(bytes(event[1] for event in events)):
                # What is repeated gets the ledger's own time, which nobody signs.
                head = encode(msgspec.structs.replace(entry, time=liar.log.time, not_after=entry.not_after))
                index = liar.add(head, *events)
                liar.seal()
                return rule, index + offset, "excerpt"
    raise AssertionError("no such submission")


def replayed_suspension(liar: Liar) -> tuple[str, int, Kind]:
    """A suspension is logged again after it was lifted, while its nonce counts."""
    log, issuer = liar.log, school(liar.log)
    block = log.block(issuer, [issuer.suspend(issuer.slot(50))])
    log.append(block)
    log.submit(issuer, [issuer.reinstate(issuer.slot(50))])
    log.seal()
    liar.entries = list(log.entries)
    index = liar.add(block)
    liar.seal()
    return "nonce", index, "excerpt"


def replayed_key(liar: Liar) -> tuple[str, int, Kind]:
    """A key that was added and retired is added once more, by the very same entry."""
    keys = [data for data in liar.entries if data[1] == 2]
    index = liar.add(_later(liar, keys[2]))
    liar.seal()
    return "key-prev", index, "excerpt"


def _later(liar: Liar, data: bytes) -> bytes:
    return encode(msgspec.structs.replace(decode(data), time=liar.log.time))


def slot_issued_twice(liar: Liar) -> tuple[str, int, Kind]:
    issuer = school(liar.log)
    index = liar.add(liar.log.block(issuer, [issuer.issue(issuer.slot(3), b"\7" * 32)]))
    liar.seal()
    return "slot-issued", index + 1, "excerpt"


def revoked_lifted(liar: Liar) -> tuple[str, int, Kind]:
    """A revoked badge is reinstated."""
    issuer = school(liar.log)
    index = liar.add(liar.log.block(issuer, [issuer.reinstate(issuer.slot(7))]))
    liar.seal()
    return "illegal-transition", index + 1, "excerpt"


def revoked_before_issued(liar: Liar) -> tuple[str, int, Kind]:
    """What was never issued takes the whole log to show."""
    issuer = school(liar.log)
    index = liar.add(liar.log.block(issuer, [issuer.revoke(issuer.slot(90_000))]))
    liar.seal()
    return "illegal-transition", index + 1, "prefix"


def in_anothers_list(liar: Liar) -> tuple[str, int, Kind]:
    issuer, club = liar.log.issuers
    index = liar.add(liar.log.block(issuer, [issuer.issue(club.slot(5))]))
    liar.seal()
    return "not-owner", index + 1, "prefix"


def retired_key(liar: Liar) -> tuple[str, int, Kind]:
    """A key signs after its retirement."""
    issuer = school(liar.log)
    index = liar.add(liar.log.block(issuer, [issuer.issue(issuer.slot(500))], key=issuer.keys[1]))
    liar.seal()
    return "key-retired", index, "excerpt"


def key_outside_its_role(liar: Liar) -> tuple[str, int, Kind]:
    log, issuer = liar.log, school(liar.log)
    clerk = log.add_key(issuer, roles=1)
    log.seal()
    liar.entries = list(log.entries)
    index = liar.add(log.block(issuer, [issuer.revoke(issuer.slot(100))], key=clerk))
    liar.seal()
    return "key-role", index, "excerpt"


def unknown_key(liar: Liar) -> tuple[str, int, Kind]:
    """The key is one of another issuer."""
    issuer, club = liar.log.issuers
    index = liar.add(liar.log.block(issuer, [issuer.issue(issuer.slot(500))], key=club.keys[0]))
    liar.seal()
    return "unknown-key", index, "excerpt"


def key_added_by_the_operator(liar: Liar) -> tuple[str, int, Kind]:
    log, issuer = liar.log, school(liar.log)
    mine = seeded_key("operator")
    entry = log.key_entry(issuer, mine, roles=1)
    index = liar.add(encode(log.resigned(entry, mine, mine)))
    liar.seal()
    return "signature", index, "excerpt"


def key_without_possession(liar: Liar) -> tuple[str, int, Kind]:
    log, issuer = liar.log, school(liar.log)
    entry = log.key_entry(issuer, seeded_key("new"), roles=1)
    index = liar.add(encode(msgspec.structs.replace(entry, possession_sig=b"\1" * 64)))
    liar.seal()
    return "signature", index, "excerpt"


def timestamps_go_back(liar: Liar) -> tuple[str, int, Kind]:
    return "time-decreases", liar.seal(time=liar.log.time - 1), "excerpt"


def outside_its_window(liar: Liar) -> tuple[str, int, Kind]:
    """A submission is logged after the time up to which the issuer allowed it."""
    log, issuer = liar.log, school(liar.log)
    index = liar.add(log.block(issuer, [issuer.issue(issuer.slot(500))], not_after=log.time - 1))
    liar.seal()
    return "window", index, "excerpt"


def event_missing(liar: Liar) -> tuple[str, int, Kind]:
    """The second event of a submission is left out."""
    issuer = school(liar.log)
    index = liar.add(liar.log.block(issuer, [issuer.issue(issuer.slot(500)), issuer.issue(issuer.slot(501))]))
    del liar.entries[index + 2]
    return "count", liar.seal(), "excerpt"


def event_of_another_issuer(liar: Liar) -> tuple[str, int, Kind]:
    issuer, club = liar.log.issuers
    index = liar.add(liar.log.block(issuer, [club.issue(issuer.slot(500))]))
    liar.seal()
    return "foreign-issuer", index + 1, "excerpt"


def stray_event(liar: Liar) -> tuple[str, int, Kind]:
    issuer = school(liar.log)
    index = liar.add(encode_status_event(6, issuer.id, issuer.slot(100), 0))
    liar.seal()
    return "entry-order", index, "prefix"


def second_log_params(liar: Liar) -> tuple[str, int, Kind]:
    index = liar.add(liar.entries[0])
    liar.seal()
    return "entry-order", index, "excerpt"


def malformed_entry(liar: Liar) -> tuple[str, int, Kind]:
    index = liar.add(liar.entries[2][:-1])
    liar.seal()
    return "malformed-entry", index, "excerpt"


def list_opened_twice(liar: Liar) -> tuple[str, int, Kind]:
    lists = [data for data in liar.entries if data[1] == 3]
    index = liar.add(_later(liar, lists[0]))
    liar.seal()
    return "list-number", index, "excerpt"


def unsealed_head(liar: Liar) -> tuple[str, int, Kind]:
    issuer = school(liar.log)
    index = liar.add(liar.log.block(issuer, [issuer.issue(issuer.slot(500))]))
    return "head-unsealed", index + 1, "excerpt"


LIES: list[Lie] = [
    dropped_revocation,
    wrong_status_root,
    wrong_totals,
    forged_event,
    forged_submission,
    replayed_issue,
    replayed_suspension,
    replayed_key,
    slot_issued_twice,
    revoked_lifted,
    revoked_before_issued,
    in_anothers_list,
    retired_key,
    key_outside_its_role,
    unknown_key,
    key_added_by_the_operator,
    key_without_possession,
    timestamps_go_back,
    outside_its_window,
    event_missing,
    event_of_another_issuer,
    stray_event,
    second_log_params,
    malformed_entry,
    list_opened_twice,
    unsealed_head,
]


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_convicts_the_log(lie: Lie, tmp_path: Path) -> None:
    """The audit stops with the rule, index and kind of evidence of the lie, and the file proves it without the log."""
    liar = Liar(demo_log())
    rule, index, kind = lie(liar)
    folder = liar.publish(tmp_path / "log")
    with pytest.raises(Convicted) as caught:
        await auditor(tmp_path, folder, now_ms=liar.log.time).run()
    conviction = caught.value.conviction
    assert (conviction.rule, conviction.index, conviction.kind) == (rule, index, kind), conviction
    assert check_file(caught.value.path, KEYS) == conviction


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_is_found_by_an_audit_that_goes_on(lie: Lie, tmp_path: Path) -> None:
    """The same where the honest part was audited before the lie came."""
    liar = Liar(demo_log())
    before = Liar(liar.log)
    audit = auditor(tmp_path, before.publish(tmp_path / "log"), now_ms=liar.log.time)
    await audit.run()
    rule, index, kind = lie(liar)
    liar.publish(tmp_path / "log")
    with pytest.raises(Convicted) as caught:
        await audit.run()
    conviction = caught.value.conviction
    assert (conviction.rule, conviction.index, conviction.kind) == (rule, index, kind), conviction


async def test_an_honest_log_passes(tmp_path: Path) -> None:
    """Every head of an honest log passes, one after the other, and from the beginning."""
    liar = Liar(demo_log())
    audit = auditor(tmp_path, tmp_path / "log")
    for size in range(1, liar.size + 1):
        if liar.entries[size - 1][1] != 9 or size == 1:
            continue
        liar.publish(tmp_path / "log", size=size)
        audited = await audit.run()
        assert (audited.size, audited.root) == (size, liar.root(size))
    whole = await auditor(tmp_path, tmp_path / "log").run()
    assert (whole.issued, whole.revoked, whole.suspended) == (306, 2, 1)
    assert not whole.alarms


async def test_a_forked_head_of_the_same_size(tmp_path: Path) -> None:
    """Two heads of one size convict by themselves."""
    liar, other = Liar(demo_log()), Liar(demo_log())
    audit = auditor(tmp_path, liar.publish(tmp_path / "log"))
    await audit.run()
    other.entries[-1] = encode(msgspec.structs.replace(_root(other), time=other.log.time + 1))
    other.publish(tmp_path / "log")
    with pytest.raises(Convicted) as caught:
        await audit.run()
    assert (caught.value.conviction.rule, caught.value.conviction.kind) == ("fork", "heads")
    assert check_file(caught.value.path, KEYS).rule == "fork"


def _root(liar: Liar) -> StatusRoot:
    entry = decode(liar.entries[-1])
    assert isinstance(entry, StatusRoot)
    return entry


@pytest.mark.parametrize("grown", [1, 2, 3, 5, 300])
@pytest.mark.parametrize("rewritten", [4, 20, 255, 256, 310])
async def test_a_rewritten_entry_under_a_larger_head(rewritten: int, grown: int, tmp_path: Path) -> None:
    """A larger head with another past convicts, wherever the past was rewritten."""
    log = demo_log()
    honest = Liar(log)
    audit = auditor(tmp_path, honest.publish(tmp_path / "log"))
    await audit.run()
    liar = Liar(log)
    data = bytearray(liar.entries[rewritten])
    data[-1] ^= 1
    liar.entries[rewritten] = bytes(data)
    for _ in range(grown):
        liar.seal()
    liar.publish(tmp_path / "log")
    with pytest.raises(Convicted) as caught:
        await audit.run()
    assert (caught.value.conviction.rule, caught.value.conviction.kind) == ("fork", "heads")


@pytest.mark.parametrize("size", [2, 4, 8, 256])
async def test_a_fork_after_a_complete_subtree(size: int, tmp_path: Path) -> None:
    """Where the audited head is one complete subtree, the consistency proof leaves it out; the evidence does not."""
    log = LogBuilder()
    while log.size < size:
        log.seal()
    audit = auditor(tmp_path, Liar(log).publish(tmp_path / "log"))
    await audit.run()
    liar = Liar(log)
    liar.entries[1] = encode(msgspec.structs.replace(_root(Liar(log)), previous=2**64 - 1, time=log.time, issued=9))
    liar.seal()
    liar.publish(tmp_path / "log")
    with pytest.raises(Convicted) as caught:
        await audit.run()
    assert caught.value.conviction.rule == "fork"


async def test_a_head_rolled_back(tmp_path: Path) -> None:
    """A smaller tree, signed later than the larger one: the log's own timestamps convict it."""
    liar = Liar(demo_log())
    audit = auditor(tmp_path, liar.publish(tmp_path / "log"))
    await audit.run()
    small = max(k for k in range(liar.size - 1) if liar.entries[k][1] == 9) + 1
    liar.publish(tmp_path / "log", size=small, note=liar.note(small, liar.time_s() + 60))
    with pytest.raises(Convicted) as caught:
        await audit.run()
    assert (caught.value.conviction.rule, caught.value.conviction.kind) == ("rollback", "heads")


async def test_an_old_head_shown_again_is_an_alarm(tmp_path: Path) -> None:
    """A server that is behind has signed nothing wrong: what it shows is compared, and people are told."""
    liar = Liar(demo_log())
    folder = liar.publish(tmp_path / "log")
    audit = auditor(tmp_path, folder)
    await audit.run()
    small = max(k for k in range(liar.size - 1) if liar.entries[k][1] == 9) + 1
    (folder / "checkpoint").write_bytes(liar.note(small, liar.time_s() - 60))
    audited = await audit.run()
    assert [alarm.kind for alarm in audited.alarms] == ["behind"]
    assert audited.size == liar.size


async def test_two_vantage_points_see_two_logs(tmp_path: Path) -> None:
    """One source shows another history than the other: convicted, whichever is larger."""
    log = demo_log()
    honest, liar = Liar(log), Liar(log)
    data = bytearray(liar.entries[30])
    data[-1] ^= 1
    liar.entries[30] = bytes(data)
    liar.seal()
    here, there = honest.publish(tmp_path / "here"), liar.publish(tmp_path / "there")
    for folders in ((here, there), (there, here)):
        with pytest.raises(Convicted) as caught:
            await auditor(tmp_path, *folders).run()
        assert caught.value.conviction.rule in {"fork", "events-root"}


async def test_mirrors_that_agree(tmp_path: Path) -> None:
    """A mirror that lags behind is a prefix, and passes."""
    liar = Liar(demo_log())
    small = max(k for k in range(liar.size - 1) if liar.entries[k][1] == 9) + 1
    here = liar.publish(tmp_path / "here")
    there = liar.publish(tmp_path / "there", size=small)
    audited = await auditor(tmp_path, there, here).run()
    assert audited.size == liar.size
    assert not audited.alarms


async def test_what_is_served_and_not_signed_convicts_nobody(tmp_path: Path) -> None:
    """Bytes that are not under the signed head: a mismatch, whichever file they stand in, and no evidence."""
    liar = Liar(demo_log())
    folder = liar.publish(tmp_path / "log")
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "checkpoint"]
    assert len(files) >= 4
    for path in files:
        whole = path.read_bytes()
        for position in (0, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:position] + bytes((whole[position] ^ 1,)) + whole[position + 1 :])
            with pytest.raises(LedgerError) as caught:
                await auditor(tmp_path, folder).run()
            assert not isinstance(caught.value, Convicted), (path, position)
        path.write_bytes(whole)
    assert not (tmp_path / "evidence").exists() or not list((tmp_path / "evidence").iterdir())
    await auditor(tmp_path, folder).run()


async def test_an_unknown_entry_stops_without_convicting(tmp_path: Path) -> None:
    """A type of a later version breaks no rule that this version knows: stop, do not accuse."""
    liar = Liar(demo_log())
    liar.add(b"\x01\x63 what a later version writes")
    liar.seal()
    with pytest.raises(UnknownEntry):
        await auditor(tmp_path, liar.publish(tmp_path / "log")).run()


async def test_the_logs_own_signature_is_older_than_its_entries(tmp_path: Path) -> None:
    liar = Liar(demo_log())
    folder = liar.publish(tmp_path / "log", note=liar.note(time_s=liar.log.time // 1000 - 1))
    with pytest.raises(Convicted) as caught:
        await auditor(tmp_path, folder).run()
    assert (caught.value.conviction.rule, caught.value.conviction.kind) == ("head-time", "excerpt")


@pytest.mark.parametrize(("skew_ms", "kind"), [(600_001, "stale"), (-600_001, "clock")])
async def test_the_time_of_the_head_against_ones_own_clock(skew_ms: int, kind: str, tmp_path: Path) -> None:
    """Ten minutes either way: an alarm, since it is nobody's word but one's own clock's."""
    liar = Liar(demo_log())
    folder = liar.publish(tmp_path / "log")
    audited = await auditor(tmp_path, folder, now_ms=liar.log.time + skew_ms).run()
    assert [alarm.kind for alarm in audited.alarms] == [kind]
    limit = skew_ms - 1 if skew_ms > 0 else skew_ms + 1
    assert not (await auditor(tmp_path, folder, now_ms=liar.log.time + limit).run()).alarms


async def test_a_head_of_any_size_takes_no_memory(tmp_path: Path) -> None:
    """A log can sign a head of 2^62 entries: the audit reads what is there, and stops where nothing is."""
    liar = Liar(demo_log())
    head = signer().sign(1 << 62, bytes(32), liar.time_s())
    folder = liar.publish(tmp_path / "log", note=head)
    tracemalloc.start()
    try:
        with pytest.raises(LedgerError):
            await auditor(tmp_path, folder).run()
        with pytest.raises(LedgerError):
            await Mirror(FolderSource(folder), tmp_path / "copy", KEYS).update()
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


async def test_a_long_name_saves_no_log(tmp_path: Path) -> None:
    """An origin has up to 255 bytes, more than a file's name may have with what else stands in it."""
    origin = "a" * 240 + ".example"
    liar = Liar(LogBuilder(origin))
    index = liar.seal(root=bytes(32))
    audit = Auditor(
        [FolderSource(liar.publish(tmp_path / "log"))],
        log_policy(origin),
        Follower(origin),
        clock=FakeClock(liar.log.time),
        evidence=tmp_path / "evidence",
    )
    with pytest.raises(Convicted) as caught:
        await audit.run()
    assert caught.value.conviction.index == index
    assert len(caught.value.path.name) < 120


async def test_a_pipe_in_the_folder_holds_nobody_up(tmp_path: Path) -> None:
    """Whoever can write into a mirror's folder cannot make its reader wait for ever."""
    folder = Liar(demo_log()).publish(tmp_path / "log")
    (folder / "checkpoint").unlink()
    os.mkfifo(folder / "checkpoint")
    with pytest.raises(LedgerError, match="no regular file"):
        await auditor(tmp_path, folder).run()


async def test_a_line_that_does_not_verify_is_an_alarm(tmp_path: Path) -> None:
    """A line under a witness's name that somebody added: whoever hands out the note can do that; the audit passes."""
    liar = Liar(demo_log())
    witness = VerifierKey("w.example/w", 4, seeded_key("w").public_key)
    garbage = SignatureLine(witness.name, witness.key_id, bytes(72))
    note = parse_note(liar.note())
    folder = liar.publish(tmp_path / "log", note=format_note(Note(note.text, (*note.signatures, garbage))))
    policy = log_policy()
    audit = auditor(tmp_path, folder)
    rules = {"w": WitnessRule(witness)}
    audit._policy = msgspec.structs.replace(policy, witnesses=rules, quorum="w")
    audited = await audit.run()
    assert [alarm.kind for alarm in audited.alarms] == ["quorum"]
