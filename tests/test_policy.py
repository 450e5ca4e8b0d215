"""ledger.policy: c2sp.org/tlog-policy; quorums against a naive evaluator, intersection against brute force."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import chain, combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.checkpoint import Checkpoint, format_checkpoint
from ledger.cosignature import cosign
from ledger.errors import MalformedPolicy, QuorumNotMet, SignatureInvalid, Stale
from ledger.note import Note, SignatureLine, VerifierKey, format_vkey, sign_note
from ledger.policy import Evaluation, Policy, display_name, evaluate, format_policy, parse_policy
from ledger.signing import Ed25519Key, MLDSA44Key

ORIGIN = "example.com/log"
LOG = Ed25519Key.from_seed(b"\x01" * 32)
LOG_PQ = MLDSA44Key.from_seed(b"\x02" * 32)
LOG_VKEY = format_vkey(VerifierKey(ORIGIN, 1, LOG.public_key))
LOG_PQ_VKEY = format_vkey(VerifierKey(ORIGIN, 6, LOG_PQ.public_key))
HEAD = Checkpoint(ORIGIN, 1234, bytes(range(32)))
TEXT = format_checkpoint(HEAD)
NOW = 1_800_000_000


def key_of(number: int) -> Ed25519Key:
    return Ed25519Key.from_seed(b"witness" + number.to_bytes(25, "big"))


def pq_key_of(number: int) -> MLDSA44Key:
    return MLDSA44Key.from_seed(b"witness" + number.to_bytes(25, "big"))


def vkey(number: int) -> str:
    return format_vkey(VerifierKey(f"witness.example/{number}", 4, key_of(number).public_key))


def pq_vkey(number: int) -> str:
    return format_vkey(VerifierKey(f"witness.example/{number}", 6, pq_key_of(number).public_key))


def witnesses(count: int) -> str:
    return "".join(f"witness w{k} {vkey(k)}\n" for k in range(count))


def refused(text: str | bytes) -> str:
    with pytest.raises(MalformedPolicy) as caught:
        parse_policy(text)
    return caught.value.detail


X_AND_Y = (
    f"log {LOG_VKEY}\n\n"
    + "".join(f"witness X{k} {vkey(k)}\n" for k in (1, 2, 3))
    + "group X-witnesses 2 X1 X2 X3\n\n"
    + "".join(f"witness Y{k} {vkey(3 + k)}\n" for k in (1, 2, 3))
    + "group Y-witnesses any Y1 Y2 Y3\n\ngroup X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n"
)


def test_the_example_of_the_specification() -> None:
    """Two of the X and one of the Y, with keys filled in."""
    policy = parse_policy(X_AND_Y)
    assert [rule.vkey.name for rule in policy.logs] == [ORIGIN]
    assert list(policy.witnesses) == ["X1", "X2", "X3", "Y1", "Y2", "Y3"]
    assert policy.groups["X-and-Y"].threshold == 2
    assert policy.groups["Y-witnesses"].threshold == 1
    policy.check_quorum({"X1", "X3", "Y2"})
    for cosigned in (set(), {"X1", "Y1"}, {"X1", "X2", "X3"}, {"Y1", "Y2", "Y3"}):
        with pytest.raises(QuorumNotMet):
            policy.check_quorum(cosigned)


def test_reasons_name_what_is_missing() -> None:
    """The groups that lack members, the members, and the witnesses as data; groups that are met are not named."""
    policy = parse_policy(X_AND_Y)
    with pytest.raises(QuorumNotMet) as caught:
        policy.check_quorum({"X1", "Y1"})
    assert caught.value.detail == (
        "the quorum is not met: group X-and-Y has 1 of 2 needed, missing X-witnesses; "
        "group X-witnesses has 1 of 2 needed, missing X2, X3"
    )
    assert caught.value.members["missing"] == ["X2", "X3", "Y2", "Y3"]
    single = parse_policy(f"witness w {vkey(0)}\nquorum w\n")
    with pytest.raises(QuorumNotMet, match="witness w has not cosigned"):
        single.check_quorum([])
    single.check_quorum(["w", "stranger"])


def test_whitespace_comments_and_empty_lines() -> None:
    """Spaces and tabs separate and surround; lines of whitespace or beginning with # are ignored."""
    text = f"# a comment\n \t\n\t # another, ÿ\n\n  witness\t w \t {vkey(0)}\t \n#quorum none\n quorum  w \n"
    policy = parse_policy(text)
    assert policy == parse_policy(f"witness w {vkey(0)}\nquorum w\n")
    assert policy.logs == ()


def test_a_comment_begins_a_line() -> None:
    """A # behind an item is an item."""
    refused(f"witness w {vkey(0)}\nquorum w # why\n")
    policy = parse_policy(f"witness #w {vkey(0)} #url\nquorum #w\n")
    assert policy.witnesses["#w"].url == "#url"


def test_urls_are_kept() -> None:
    """Opaque, at most one."""
    policy = parse_policy(f"log {LOG_VKEY} https://log.example/\nwitness w {vkey(0)} https://ü.example\nquorum w\n")
    assert policy.logs[0].url == "https://log.example/"
    assert policy.witnesses["w"].url == "https://ü.example"
    refused(f"log {LOG_VKEY} a b\nquorum none\n")
    refused(f"witness w {vkey(0)} a b\nquorum w\n")


@pytest.mark.parametrize("octet", [o for o in range(256) if o not in {9, 10} and (o < 0x20 or o == 0x7F)])
def test_control_octets_are_refused_everywhere(octet: int) -> None:
    """In comments too; CR LF line ends are refused with them."""
    for text in (b"#%c\nquorum none\n" % octet, b"quorum none%c\n" % octet):
        assert "control characters" in refused(text)


def test_every_other_octet_is_allowed_in_comments_and_names() -> None:
    """0x20 to 0x7E and 0x80 to 0xFF; names are compared as octets, whatever they mean in Unicode."""
    allowed = bytes([*range(0x20, 0x7F), *range(0x80, 0x100)])
    parse_policy(b"#" + allowed + b"\nquorum none\n")
    names = [b"K", "\u212a".encode(), b"\xff", b"\xc3", "ü".encode(), b"u\xcc\x88", b"\xc2\xa0", b"\xe2\x80\x83"]
    text = b"".join(b"witness %s %s\n" % (name, vkey(k).encode()) for k, name in enumerate(names))
    policy = parse_policy(text + b"group g all " + b" ".join(names) + b"\nquorum g\n")
    assert [name.encode("utf-8", "surrogateescape") for name in policy.witnesses] == names
    assert display_name(list(policy.witnesses)[2]) == "\\xff"
    assert parse_policy(format_policy(policy)) == policy
    with pytest.raises(QuorumNotMet, match=r"\\xff") as caught:
        policy.check_quorum([])
    caught.value.detail.encode()


def test_names_of_signed_notes_may_be_witness_names() -> None:
    """A vkey with a name that is not ASCII reads the same as bytes and as text."""
    key = format_vkey(VerifierKey("ü.example", 4, key_of(0).public_key))
    text = f"witness ü.example {key}\nquorum ü.example\n"
    assert parse_policy(text) == parse_policy(text.encode())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no quorum line"),
        ("quorum none", "newline"),
        ("witness w {v}\nquorum w\n#", "newline"),
        ("witness w {v}\n", "no quorum line"),
        ("quorum none\nquorum none\n", "twice"),
        ("witness w {v}\nquorum w\nquorum none\n", "twice"),
        ("quorum w\nwitness w {v}\n", "preceding"),
        ("quorum unknown\n", "preceding"),
        ("quorum\n", "items"),
        ("quorum none none\n", "items"),
        ("Quorum none\n", "unknown keyword"),
        ("policy x\nquorum none\n", "unknown keyword"),
        ("log\nquorum none\n", "items"),
        ("log {v}\nquorum none\n", "algorithm 4"),
        ("log x\nquorum none\n", "line 1"),
        ("witness w\nquorum w\n", "items"),
        ("witness w {l}\nquorum w\n", "algorithm 1"),
        ("witness none {v}\nquorum none\n", "predefined"),
        ("witness w {v}\nwitness w {v1}\nquorum w\n", "defined twice"),
        ("witness w {v}\nwitness x {v}\nquorum w\n", "listed twice"),
        ("log {l}\nlog {l}\nquorum none\n", "listed twice"),
        ("witness w {v}\ngroup w any w\nquorum w\n", "defined twice"),
        ("witness w {v}\ngroup none any w\nquorum none\n", "predefined"),
        ("witness w {v}\ngroup g any\nquorum g\n", "items"),
        ("witness w {v}\ngroup g any none\nquorum g\n", "preceding"),
        ("witness w {v}\ngroup g any g\nquorum g\n", "preceding"),
        ("witness w {v}\ngroup g any x\nwitness x {v1}\nquorum g\n", "preceding"),
        ("witness w {v}\ngroup g any w w\nquorum g\n", "member twice"),
        ("witness w {v}\ngroup g any w\ngroup h any w\nquorum g\n", "member twice"),
        ("witness w {v}\ngroup g 0 w\nquorum g\n", "at least 1"),
        ("witness w {v}\ngroup g 2 w\nquorum g\n", "larger than 1"),
        ("witness w {v}\ngroup g 01 w\nquorum g\n", "decimal"),
        ("witness w {v}\ngroup g +1 w\nquorum g\n", "decimal"),
        ("witness w {v}\ngroup g -1 w\nquorum g\n", "decimal"),
        ("witness w {v}\ngroup g ALL w\nquorum g\n", "decimal"),
        ("witness w {v}\ngroup g 1.0 w\nquorum g\n", "decimal"),
        ("witness w {v}\ngroup g ١ w\nquorum g\n", "decimal"),
        ("witness\u00a0w {v}\nquorum w\n", "unknown keyword"),
    ],
)
def test_malformed_policies(text: str, reason: str) -> None:
    """Each with a reason that says what is wrong, and a line where there is one."""
    assert reason in refused(text.format(v=vkey(0), v1=vkey(1), l=LOG_VKEY))


def test_errors_name_the_line() -> None:
    """Counted from 1, comments and empty lines included."""
    assert refused("#\n\nnonsense\nquorum none\n").startswith("line 3 of the policy: ")


def test_one_public_key_under_two_names_or_algorithms_is_a_duplicate() -> None:
    """Duplicates are told by the key itself, not by name or id; a log and a witness may share one."""
    other = format_vkey(VerifierKey("other", 4, key_of(0).public_key))
    assert "listed twice" in refused(f"witness a {vkey(0)}\nwitness b {other}\nquorum a\n")
    other = format_vkey(VerifierKey("other", 1, LOG.public_key))
    assert "listed twice" in refused(f"log {LOG_VKEY}\nlog {other}\nquorum none\n")
    shared = format_vkey(VerifierKey(ORIGIN, 4, LOG.public_key))
    parse_policy(f"log {LOG_VKEY}\nwitness w {shared}\nquorum w\n")


def test_two_keys_with_one_name_and_id_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Key ids have 32 bits: a collision would leave it open whose signature a line is."""
    one, two = (format_vkey(VerifierKey("n", 4, key_of(k).public_key)) for k in (0, 1))
    text = f"witness a {one}\nwitness b {two.replace(two[2:10], one[2:10])}\nquorum a\n"
    monkeypatch.setattr(VerifierKey, "key_id", property(lambda key: bytes.fromhex(one[2:10])))
    assert "have the id" in refused(text)


@pytest.mark.parametrize("count", [32, 256])
def test_as_many_of_each_as_promised(count: int) -> None:
    """32 logs, witnesses and groups (nested as deep as they go) are the specification's wish, 256 the limit here."""
    logs = "".join(f"log {format_vkey(VerifierKey(f'l{k}', 1, key_of(1000 + k).public_key))}\n" for k in range(count))
    text = logs + witnesses(count)
    for k in range(count):
        text += f"group g{k} all w{k}" + (f" g{k - 1}\n" if k else "\n")
    policy = parse_policy(text + f"quorum g{count - 1}\n")
    policy.check_quorum([f"w{k}" for k in range(count)])
    policy.quorums_intersect()
    with pytest.raises(QuorumNotMet, match="group g0 has 0 of 1 needed, missing w0"):
        policy.check_quorum([f"w{k}" for k in range(1, count)])
    assert parse_policy(format_policy(policy)) == policy


def test_more_than_256_of_each_are_refused() -> None:
    """With the kind in the reason; also a file longer than 4 MiB."""
    logs = "".join(f"log {format_vkey(VerifierKey('l', 1, key_of(k).public_key))}\n" for k in range(257))
    assert "256 logs" in refused(logs + "quorum none\n")
    assert "256 witnesses" in refused(witnesses(257) + "quorum none\n")
    groups = "".join(f"group g{k} any {'w0' if not k else f'g{k - 1}'}\n" for k in range(257))
    assert "256 groups" in refused(witnesses(1) + groups + "quorum none\n")
    assert "longer" in refused(b"#" * (4 << 20) + b"\nquorum none\n")


def test_every_truncation_of_a_policy_is_refused_or_lacks_its_quorum() -> None:
    """A file that was cut off never reads as a weaker policy, though prefixes of names may be names."""
    text = witnesses(2) + "group w any w0 w1\nquorum w1\n"
    for length in range(len(text)):
        refused(text[:length])


# Quorums against a naive evaluator --------------------------------------------------------------------------------


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Up to 8 witnesses, some of them post-quantum, in a random forest of groups."""
    count = draw(st.integers(1, 8))
    quantum = draw(st.sets(st.integers(0, count - 1)))
    lines = [f"log {LOG_PQ_VKEY}"]
    lines += [f"witness w{k} {pq_vkey(k) if k in quantum else vkey(k)}" for k in range(count)]
    roots = [f"w{k}" for k in range(count)]
    for number in range(draw(st.integers(0, 6))):
        if not roots:
            break
        members = draw(st.lists(st.sampled_from(roots), min_size=1, max_size=5, unique=True))
        roots = [name for name in roots if name not in members]
        k = draw(st.one_of(st.integers(1, len(members)).map(str), st.sampled_from(["all", "any"])))
        name = f"g{number}"
        lines.append(f"group {name} {k} {' '.join(members)}")
        roots.append(name)
    names = [f"w{k}" for k in range(count)] + [line.split()[1] for line in lines if line.startswith("group")]
    lines.append(f"quorum {draw(st.sampled_from([names[-1], *names, 'none']))}")
    return parse_policy("\n".join(lines) + "\n")


def naive(policy: Policy, name: str, cosigned: Collection[str]) -> bool:
    """The definition, by recursion."""
    if name == "none":
        return True
    if name in policy.witnesses:
        return name in cosigned
    members = [naive(policy, member, cosigned) for member in policy.groups[name].members]
    return members.count(True) >= policy.groups[name].threshold


def subsets(names: Collection[str]) -> Iterator[tuple[str, ...]]:
    return chain.from_iterable(combinations(sorted(names), size) for size in range(len(names) + 1))


@given(policies())
@settings(deadline=None)
def test_check_quorum_is_the_naive_one(policy: Policy) -> None:
    """On every set of witnesses; where it refuses, adding what it calls missing is enough."""
    for cosigned in subsets(policy.witnesses):
        if naive(policy, policy.quorum, cosigned):
            policy.check_quorum(cosigned)
            continue
        with pytest.raises(QuorumNotMet) as caught:
            policy.check_quorum(cosigned)
        assert naive(policy, policy.quorum, {*cosigned, *caught.value.members["missing"]})
        assert not set(caught.value.members["missing"]) & set(cosigned)


def disjoint_by_force(policy: Policy, shared: Collection[str]) -> bool:
    """Whether some split of the witnesses outside `shared` makes a quorum on either side, `shared` on both."""
    rest = set(policy.witnesses) - set(shared)
    return policy.quorum != "none" and any(
        naive(policy, policy.quorum, {*side, *shared}) and naive(policy, policy.quorum, {*rest - set(side), *shared})
        for side in subsets(rest)
    )


@given(policies())
@settings(deadline=None)
def test_intersection_is_exact(policy: Policy) -> None:
    """Refused iff brute force finds two disjoint quorums; those it names are quorums and are disjoint."""
    if not disjoint_by_force(policy, ()):
        policy.quorums_intersect()
        return
    with pytest.raises(MalformedPolicy, match="need not intersect") as caught:
        policy.quorums_intersect()
    first, second = ({*part.split("}")[0].split(", ")} for part in caught.value.detail.split("{")[1:])
    assert not first & second
    assert naive(policy, policy.quorum, first)
    assert naive(policy, policy.quorum, second)


@given(policies())
@settings(deadline=None)
def test_post_quantum_is_exact(policy: Policy) -> None:
    """With an ML-DSA-44 log: iff no split of the ML-DSA-44 witnesses, Ed25519 ones forged on both sides, makes two."""
    forged = {name for name, rule in policy.witnesses.items() if rule.vkey.algorithm == 4}
    assert policy.is_post_quantum() is not disjoint_by_force(policy, forged)


@given(policies())
@settings(deadline=None)
def test_formatting_round_trips(policy: Policy) -> None:
    """A policy reads back from its text, which is then a fixed point."""
    assert parse_policy(format_policy(policy)) == policy
    assert format_policy(parse_policy(format_policy(policy))) == format_policy(policy)


@pytest.mark.parametrize(
    ("rule", "intersect"),
    [
        ("group g 2 w0 w1 w2\nquorum g\n", True),
        ("group g 2 w0 w1 w2 w3\nquorum g\n", False),
        ("group g any w0\nquorum g\n", True),
        ("group g any w0 w1\nquorum g\n", False),
        ("quorum w0\n", True),
        ("quorum none\n", True),
        ("group a any w0 w1\ngroup g all a w2\nquorum g\n", True),
        ("group a any w0 w1\ngroup b any w2 w3\ngroup g all a b\nquorum g\n", False),
    ],
)
def test_intersection_examples(rule: str, intersect: bool) -> None:
    """Majorities intersect, halves do not; one group that does is enough where all are needed."""
    policy = parse_policy(witnesses(4) + rule)
    if intersect:
        policy.quorums_intersect()
    else:
        with pytest.raises(MalformedPolicy):
            policy.quorums_intersect()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"log {LOG_PQ_VKEY}\nquorum none\n", True),
        (f"log {LOG_VKEY}\nquorum none\n", False),
        (f"log {LOG_VKEY}\nlog {LOG_PQ_VKEY}\nquorum none\n", False),
        ("quorum none\n", False),
        (f"log {LOG_PQ_VKEY}\nwitness w {vkey(0)}\nquorum w\n", False),
        (f"log {LOG_PQ_VKEY}\nwitness w {pq_vkey(0)}\nquorum w\n", True),
        (f"log {LOG_PQ_VKEY}\nwitness w {pq_vkey(0)}\nwitness v {vkey(1)}\ngroup g all v w\nquorum g\n", True),
        (f"log {LOG_PQ_VKEY}\nwitness w {pq_vkey(0)}\nwitness v {vkey(1)}\ngroup g any v w\nquorum g\n", False),
    ],
)
def test_post_quantum_examples(text: str, expected: bool) -> None:
    """Logs and witnesses both; an Ed25519 witness may be demanded besides, not instead."""
    assert parse_policy(text).is_post_quantum() is expected


# Evaluation -------------------------------------------------------------------------------------------------------


LOG_LINE = sign_note(TEXT, ORIGIN, LOG)


def witness_line(number: int, age_s: int = 0) -> SignatureLine:
    return cosign(HEAD, f"witness.example/{number}", key_of(number), NOW - age_s)


def run(
    text: str, *lines: SignatureLine, max_age_s: int | None = None, log_line: SignatureLine | None = LOG_LINE
) -> Evaluation:
    signatures = lines if log_line is None else (log_line, *lines)
    return evaluate(parse_policy(text), HEAD, Note(TEXT, signatures), now_s=NOW, max_age_s=max_age_s)


TWO_OF_THREE = f"log {LOG_VKEY}\n" + witnesses(3) + "group g 2 w0 w1 w2\nquorum g\n"
WITH_AUDITORS = (
    f"log {LOG_VKEY}\n"
    + witnesses(5)
    + "group auditors any w0 w1\ngroup g 2 w2 w3 w4\ngroup q all auditors g\nquorum q\n"
)


def test_quorum_none_has_no_time() -> None:
    """The caller falls back on the log's own time."""
    found = run(f"log {LOG_VKEY}\nquorum none\n")
    assert found == Evaluation(VerifierKey(ORIGIN, 1, LOG.public_key), {}, (), None, ())


def test_the_freshness_is_the_latest_time_at_which_the_quorum_holds() -> None:
    """Of two needed, the older one's; a third moves it."""
    assert run(TWO_OF_THREE, witness_line(0, 100), witness_line(1, 10)).timestamp_s == NOW - 100
    found = run(TWO_OF_THREE, witness_line(0, 100), witness_line(1, 10), witness_line(2, 20))
    assert found.timestamp_s == NOW - 20
    assert found.witnesses == {"w0": NOW - 100, "w1": NOW - 10, "w2": NOW - 20}
    assert run(f"log {LOG_VKEY}\n{witnesses(1)}quorum w0\n", witness_line(0, 5)).timestamp_s == NOW - 5


def test_cosignatures_are_dropped_before_the_quorum_is_counted() -> None:
    """Exactly at the limit counts, one second past it does not, and then the quorum is stale, by name."""
    lines = (witness_line(0, 600), witness_line(1, 10))
    assert run(TWO_OF_THREE, *lines, max_age_s=600).dropped == ()
    with pytest.raises(Stale, match=r"w0 cosigned 600 s ago, more than 599 s") as caught:
        run(TWO_OF_THREE, *lines, max_age_s=599)
    assert caught.value.members["missing"] == ["w0", "w2"]
    found = run(TWO_OF_THREE, *lines, witness_line(2, 0), max_age_s=599)
    assert found.witnesses == {"w1": NOW - 10, "w2": NOW}
    assert found.timestamp_s == NOW - 10
    assert found.dropped == ("w0 cosigned 600 s ago, more than 599 s",)


def test_cosignatures_from_the_future_are_dropped() -> None:
    """Sixty seconds of clock difference are allowed; with or without a maximal age."""
    for max_age_s in (None, 600):
        assert run(TWO_OF_THREE, witness_line(0, -60), witness_line(1), max_age_s=max_age_s).timestamp_s == NOW
        with pytest.raises(QuorumNotMet, match="w0 cosigned 61 s in the future"):
            run(TWO_OF_THREE, witness_line(0, -61), witness_line(1), max_age_s=max_age_s)


def test_missing_is_not_stale() -> None:
    """Stale only if fresh copies of what is there would do."""
    with pytest.raises(QuorumNotMet):
        run(TWO_OF_THREE, witness_line(0, 600), max_age_s=10)
    with pytest.raises(QuorumNotMet):
        run(TWO_OF_THREE)


def test_without_a_maximal_age_old_ones_count() -> None:
    """But not time zero, which makes no statement about the largest tree (what signs subtrees signs so)."""
    lines = [cosign(HEAD, f"witness.example/{k}", key_of(k), k + 1) for k in (0, 1)]
    found = run(TWO_OF_THREE, *lines)
    assert found.witnesses == {"w0": 1, "w1": 2}
    assert found.timestamp_s == 1
    lines = [cosign(HEAD, f"witness.example/{k}", key_of(k), k) for k in (0, 1)]
    with pytest.raises(QuorumNotMet, match="w0 cosigned without a time"):
        run(TWO_OF_THREE, *lines)


def test_the_newest_of_several_cosignatures_counts() -> None:
    """A witness may have cosigned twice; all must verify, the newest that is not in the future counts."""
    lines = [witness_line(0, age_s) for age_s in (500, 50, 5, 20, -500)] + [witness_line(1, 7)]
    found = run(TWO_OF_THREE, *lines, max_age_s=100)
    assert found.witnesses == {"w0": NOW - 5, "w1": NOW - 7}
    assert len(found.dropped) == 2


def test_a_known_key_with_a_bad_signature_refuses_the_note() -> None:
    """Even a witness that the quorum does not need, and whatever its age; an unknown key does not matter."""
    good = (witness_line(0), witness_line(1))
    bad = SignatureLine("witness.example/2", witness_line(2).key_id, witness_line(2).signature[:-1] + b"\0")
    with pytest.raises(SignatureInvalid, match=r"witness\.example/2"):
        run(TWO_OF_THREE, *good, bad)
    with pytest.raises(SignatureInvalid):
        run(TWO_OF_THREE, *good, SignatureLine(bad.name, bad.key_id, bytes(72)), max_age_s=1)
    with pytest.raises(SignatureInvalid):
        run(TWO_OF_THREE, *good, log_line=SignatureLine(ORIGIN, LOG_LINE.key_id, bytes(64)))
    stranger = SignatureLine("witness.example/2", b"\0\1\2\3", bytes(72))
    assert run(TWO_OF_THREE, *good, stranger).witnesses == {"w0": NOW, "w1": NOW}


def test_the_log_must_have_signed() -> None:
    """No line by it, a key of another origin, no log in the policy: refused, with the reason."""
    lines = (witness_line(0), witness_line(1))
    with pytest.raises(SignatureInvalid, match="did not sign"):
        run(TWO_OF_THREE, *lines, log_line=None)
    with pytest.raises(SignatureInvalid, match="not in the policy"):
        run(TWO_OF_THREE.replace(f"log {LOG_VKEY}\n", ""), *lines)
    other = format_vkey(VerifierKey("example.com/other", 1, LOG.public_key))
    with pytest.raises(SignatureInvalid, match="not in the policy"):
        run(TWO_OF_THREE.replace(LOG_VKEY, other), *lines, log_line=sign_note(TEXT, "example.com/other", LOG))


def test_any_listed_log_key_will_do() -> None:
    """The first in the policy's order that signed, Ed25519 or ML-DSA-44; its own time is no witness's."""
    both = f"log {LOG_PQ_VKEY}\nlog {LOG_VKEY}\nquorum none\n"
    pq_line = cosign(HEAD, ORIGIN, LOG_PQ, NOW - 10**6)
    assert run(both).log.algorithm == 1
    found = run(both, pq_line, max_age_s=10)
    assert (found.log.algorithm, found.witnesses, found.timestamp_s, found.dropped) == (6, {}, None, ())
    with pytest.raises(SignatureInvalid):
        run(both, SignatureLine(ORIGIN, pq_line.key_id, bytes(8 + 2420)))


def test_post_quantum_witnesses_count() -> None:
    """A 0x06 cosignature under a policy that asks for it."""
    text = f"log {LOG_VKEY}\nwitness w {pq_vkey(7)}\nquorum w\n"
    line = cosign(HEAD, "witness.example/7", pq_key_of(7), NOW - 3)
    assert run(text, line).timestamp_s == NOW - 3
    with pytest.raises(QuorumNotMet):
        run(text, witness_line(7))


def test_auditors_are_the_fresh_members_of_the_group_of_that_name() -> None:
    """One that is too old has not audited; without the group, or with a witness of that name, nobody has."""
    others = (witness_line(2), witness_line(3))
    assert run(WITH_AUDITORS, witness_line(0), witness_line(1, 99), *others).audited_by == ("w0", "w1")
    assert run(WITH_AUDITORS, witness_line(0), witness_line(1, 99), *others, max_age_s=50).audited_by == ("w0",)
    aside = WITH_AUDITORS.replace("quorum q", "quorum g")
    assert run(aside, *others).audited_by == ()
    assert run(aside, *others, witness_line(1)).audited_by == ("w1",)
    assert run(TWO_OF_THREE, witness_line(0), witness_line(1)).audited_by == ()
    single = f"log {LOG_VKEY}\nwitness auditors {vkey(0)}\nquorum auditors\n"
    assert run(single, witness_line(0)).audited_by == ()


def test_a_group_among_the_auditors_counts_when_it_is_met() -> None:
    """A member of a group is a witness or a group, here too."""
    text = f"log {LOG_VKEY}\n" + witnesses(3) + "group both all w0 w1\ngroup auditors any both w2\nquorum auditors\n"
    assert run(text, witness_line(0), witness_line(1)).audited_by == ("both",)
    assert run(text, witness_line(0), witness_line(2)).audited_by == ("w2",)


def test_names_in_an_evaluation_can_be_written_as_json() -> None:
    """Auditors' names that are no UTF-8 are escaped."""
    text = f"log {LOG_VKEY}\n".encode() + b"witness \xff " + vkey(0).encode() + b"\ngroup auditors any \xff\n"
    policy = parse_policy(text + b"quorum auditors\n")
    found = evaluate(policy, HEAD, Note(TEXT, (LOG_LINE, witness_line(0))), now_s=NOW, max_age_s=None)
    assert found.audited_by == ("\\xff",)


def test_note_and_checkpoint_belong_together() -> None:
    """A checkpoint that is not the note's text is the caller's mistake, never silently accepted."""
    other = Checkpoint(ORIGIN, 1235, HEAD.root)
    with pytest.raises(ValueError, match="another checkpoint"):
        evaluate(parse_policy(TWO_OF_THREE), other, Note(TEXT, (LOG_LINE,)), now_s=NOW, max_age_s=None)


@given(policies(), st.lists(st.integers(0, 5), min_size=8, max_size=8), st.sets(st.integers(0, 7)))
@settings(deadline=None, max_examples=40)
def test_the_quorum_time_is_the_naive_one(policy: Policy, ages: list[int], absent: set[int]) -> None:
    """The largest t such that those who cosigned at t or later are a quorum, by trying every t."""
    times: dict[str, int] = {}
    lines = [cosign(HEAD, ORIGIN, LOG_PQ, NOW)]
    for name, rule in policy.witnesses.items():
        number = int(name[1:])
        if number not in absent:
            times[name] = NOW - ages[number]
            key = key_of(number) if rule.vkey.algorithm == 4 else pq_key_of(number)
            lines.append(cosign(HEAD, rule.vkey.name, key, times[name]))
    holds = [t for t in times.values() if naive(policy, policy.quorum, [n for n, at in times.items() if at >= t])]
    note = Note(TEXT, tuple(lines))
    if policy.quorum == "none":
        assert evaluate(policy, HEAD, note, now_s=NOW, max_age_s=None).timestamp_s is None
    elif holds:
        assert evaluate(policy, HEAD, note, now_s=NOW, max_age_s=None).timestamp_s == max(holds)
    else:
        with pytest.raises(QuorumNotMet):
            evaluate(policy, HEAD, note, now_s=NOW, max_age_s=None)


@pytest.mark.parametrize(
    ("quorum", "rows", "audit"),
    [
        ("none", [], False),
        ("a", [("a", "this witness")], False),
        ("two", [("two", "2 of 3: a, b, c")], False),
        ("auditors", [("auditors", "d")], True),
        ("top", [("top", "all: two, auditors"), ("two", "2 of 3: a, b, c"), ("auditors", "d")], True),
        ("any", [("any", "1 of 2: two, auditors"), ("two", "2 of 3: a, b, c"), ("auditors", "d")], False),
    ],
)
def test_a_policy_in_words(quorum: str, rows: list[tuple[str, str]], audit: bool) -> None:
    """The quorum from the top down; and whether what it accepts was replayed by somebody, decided, not guessed."""
    witnesses = "".join(
        f"witness {name} {format_vkey(VerifierKey(name, 4, bytes([k]) * 32))}\n" for k, name in enumerate("abcd")
    )
    groups = "group two 2 a b c\ngroup auditors any d\n"
    groups += f"group {quorum} {'all' if quorum == 'top' else 'any'} two auditors\n" if quorum in ("top", "any") else ""
    policy = parse_policy(f"{witnesses}{groups}quorum {quorum}\n")
    assert (policy.explain(), policy.demands_audit()) == (rows, audit)
