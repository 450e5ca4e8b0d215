"""Trust policies: c2sp.org/tlog-policy. Which logs, which witnesses, and how many of them must have cosigned.

    log <vkey> [<url>]                    algorithm 1 or 6; the key's name is the log's origin
    witness <name> <vkey> [<url>]         algorithm 4 or 6
    group <name> all|any|<k> <name>...    witnesses a checkpoint if at least k of its members do
    quorum <name>|none                    exactly once

One definition per line, each line ended by a newline (a file that was cut off must not read as a weaker policy), items
separated by spaces and tabs, lines that begin with # ignored. Octets: tab, newline, 0x20 to 0x7E, 0x80 to 0xFF. Names
are opaque octets, held as `str` with surrogate escapes where they are not UTF-8: `display_name` makes them printable.
Names are used after their definition only. Each is a member of at most one group, so groups form trees, and whether two
quorums can be disjoint is decided exactly by counting.

Two things go beyond the specification: the members of a group named `auditors` are those that replay the log, and an
`evaluate` with a maximal age drops cosignatures that are too old (or in the future) before it counts the quorum.

What this module does not do: read a clock, find a log by its URL, or decide what a missing audit means.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from ledger.checkpoint import Checkpoint, format_checkpoint
from ledger.cosignature import verify_cosignature
from ledger.errors import LedgerError, MalformedPolicy, QuorumNotMet, SignatureInvalid, Stale
from ledger.note import (
    ED25519,
    ED25519_COSIGNATURE,
    MLDSA44_COSIGNATURE,
    Note,
    VerifierKey,
    find_lines,
    format_vkey,
    parse_vkey,
    verify_line,
)
from ledger.text import parse_decimal

#: The specification asks for 32 of each.
MAX_LOGS: Final = 256
MAX_WITNESSES: Final = 256
MAX_GROUPS: Final = 256
MAX_POLICY_BYTES: Final = 4 << 20

#: The predefined name of the quorum that needs no cosignature.
NONE: Final = "none"
AUDITORS: Final = "auditors"

_OCTETS: Final = frozenset(b"\t\n") | frozenset(range(0x20, 0x7F)) | frozenset(range(0x80, 0x100))


class LogRule(msgspec.Struct, frozen=True):
    """A log whose checkpoints are accepted: key (algorithm 1 or 6) and the URL if one is given."""

    vkey: VerifierKey
    url: str | None = None


class WitnessRule(msgspec.Struct, frozen=True):
    """A known witness: key (algorithm 4 or 6) and the URL if one is given."""

    vkey: VerifierKey
    url: str | None = None


class Group(msgspec.Struct, frozen=True):
    """At least `threshold` (1 to the number of members) of `members`, names of witnesses or earlier groups."""

    threshold: int
    members: tuple[str, ...]


class Policy(msgspec.Struct, frozen=True):
    """A policy as `parse_policy` makes it; the dictionaries are in the order of definition and never changed."""

    logs: tuple[LogRule, ...]
    witnesses: dict[str, WitnessRule]
    groups: dict[str, Group]
    quorum: str

    def check_quorum(self, cosigned: Collection[str]) -> None:
        """Check that the witnesses named in `cosigned` are a quorum. Raises QuorumNotMet, naming what is missing."""
        met = self._met(cosigned)
        if self.quorum != NONE and not met[self.quorum]:
            missing = [name for name in self._leaves(self.quorum) if name not in cosigned]
            raise QuorumNotMet(
                f"the quorum is not met: {self._lacking(met)}", missing=[display_name(name) for name in missing]
            )

    def quorums_intersect(self) -> None:
        """Check that any two quorums share a witness: else two of them can be shown two different heads.

        Raises MalformedPolicy naming two quorums without a common witness. Exact for every policy. A policy with
        `quorum none` passes: it claims no protection by witnesses in the first place.
        """
        pair = self._disjoint(frozenset())
        if pair is not None:
            first, second = ("{" + ", ".join(display_name(name) for name in side) + "}" for side in pair)
            raise MalformedPolicy(f"two quorums need not intersect: {first} and {second} can be shown two heads")

    def is_post_quantum(self) -> bool:
        """Whether the policy holds against an attacker who can forge every Ed25519 signature.

        So it is if every log has an ML-DSA-44 key and any two quorums share a witness that has one too. `quorum none`
        demands nothing from witnesses: there the logs decide.
        """
        if not self.logs or any(rule.vkey.algorithm != MLDSA44_COSIGNATURE for rule in self.logs):
            return False
        forged = {name for name, rule in self.witnesses.items() if rule.vkey.algorithm != MLDSA44_COSIGNATURE}
        return self._disjoint(forged) is None

    def demands_audit(self) -> bool:
        """Whether every quorum has a member of the group `auditors` in it: what it accepts has been replayed."""
        if AUDITORS not in self.groups or self.quorum == NONE:
            return False
        others = self.witnesses.keys() - set(self._leaves(AUDITORS))
        return not self._met(others)[self.quorum]

    def explain(self) -> list[tuple[str, str]]:
        """The quorum in words, from the top: (displayable name, what it takes) for it and each group under it; empty
        for `quorum none`."""
        if self.quorum in self.witnesses:
            return [(display_name(self.quorum), "this witness")]
        rows, stack = [], [self.quorum]
        while stack:
            name = stack.pop()
            group = self.groups.get(name)
            if group is None:
                continue
            members = ", ".join(display_name(member) for member in group.members)
            count = len(group.members)
            many = "all" if group.threshold == count > 1 else f"{group.threshold} of {count}"
            rows.append((display_name(name), members if count == 1 else f"{many}: {members}"))
            stack.extend(reversed(group.members))
        return rows

    def verifier_keys(self) -> list[VerifierKey]:
        """The keys of all logs and witnesses."""
        return [rule.vkey for rule in self.logs] + [rule.vkey for rule in self.witnesses.values()]

    def _met(self, cosigned: Collection[str]) -> dict[str, bool]:
        # Groups name only earlier names, so one pass in the order of definition decides all of them.
        met = {name: name in cosigned for name in self.witnesses}
        for name, group in self.groups.items():
            met[name] = sum(met[member] for member in group.members) >= group.threshold
        return met

    def _leaves(self, name: str) -> list[str]:
        """The witnesses under a name, in the order of definition of the policy."""
        stack, found = [name], []
        while stack:
            top = stack.pop()
            group = self.groups.get(top)
            if group is None:
                found.append(top)
            else:
                stack.extend(reversed(group.members))
        return found

    def _lacking(self, met: Mapping[str, bool]) -> str:
        """A sentence on every group that is not met, from the quorum downwards."""
        if self.quorum in self.witnesses:
            return f"witness {display_name(self.quorum)} has not cosigned"
        parts, stack = [], [self.quorum]
        while stack:
            name = stack.pop()
            group = self.groups.get(name)
            if group is None or met[name]:
                continue
            absent = [member for member in group.members if not met[member]]
            parts.append(
                f"group {display_name(name)} has {len(group.members) - len(absent)} of {group.threshold} needed,"
                f" missing {', '.join(display_name(member) for member in absent)}"
            )
            stack.extend(reversed(absent))
        return "; ".join(parts)

    def _disjoint(self, shared: Collection[str]) -> tuple[list[str], list[str]] | None:
        """Two quorums that have no witness in common but those in `shared`; None if there are none.

        Groups form trees, so a witness counts in one place only. Call a name *splittable* if two disjoint sets of
        witnesses under it can both satisfy it: a shared witness is, another is not, and a group of which s members are
        splittable and u are not is if u >= 2 max(0, k - s): the u members are dealt out between the two sides.
        """
        if self.quorum == NONE:
            return None
        splittable = {name: name in shared for name in self.witnesses}
        for name, rule in self.groups.items():
            both = sum(splittable[member] for member in rule.members)
            splittable[name] = len(rule.members) - both >= 2 * max(0, rule.threshold - both)
        if not splittable[self.quorum]:
            return None
        sides: tuple[list[str], list[str]] = ([], [])
        stack: list[tuple[str, tuple[int, ...]]] = [(self.quorum, (0, 1))]
        while stack:
            name, wanted = stack.pop()
            group = self.groups.get(name)
            if group is None:
                for side in wanted:
                    sides[side].append(name)
                continue
            needed = dict.fromkeys(wanted, group.threshold)
            # Splittable members first: they serve both sides at once.
            for member in sorted(group.members, key=lambda m: not splittable[m]):
                takers = tuple(side for side in wanted if needed[side])
                if not splittable[member]:
                    takers = takers[:1]
                if takers:
                    stack.append((member, takers))
                for side in takers:
                    needed[side] -= 1
        return sides


class Evaluation(msgspec.Struct, frozen=True):
    """What a policy makes of a checkpoint that it accepts.

    `log`: the key by which the log signed. `witnesses`: for each witness that counts, the time of its newest
    cosignature in seconds. `audited_by`: displayable names of the members of the group `auditors` that witnessed it
    freshly. `timestamp_s`: the latest time such that the witnesses who cosigned then or later are a quorum, or None
    for `quorum none`, where the caller falls back on the log's own time. `dropped`: why cosignatures did not count.
    """

    log: VerifierKey
    witnesses: dict[str, int]
    audited_by: tuple[str, ...]
    timestamp_s: int | None
    dropped: tuple[str, ...]


def evaluate(
    policy: Policy, checkpoint: Checkpoint, note: Note, *, now_s: int, max_age_s: int | None, future_s: int = 60
) -> Evaluation:
    """Accept a checkpoint or raise. `note` is the signed note whose text the checkpoint is (else ValueError).

    1. Every signature by a key that the policy knows must verify: SignatureInvalid refuses the whole note.
    2. One of them is by a log of the policy whose key is named as the origin: SignatureInvalid.
    3. Cosignatures older than `max_age_s` (None: no limit) or more than `future_s` after `now_s` are dropped.
    4. The rest is a quorum: QuorumNotMet, or Stale if it failed only because cosignatures are too old.
    """
    if note.text != format_checkpoint(checkpoint):
        raise ValueError("the note is of another checkpoint")
    names = {rule.vkey: name for name, rule in policy.witnesses.items()}
    logs = [rule.vkey for rule in policy.logs if rule.vkey.name == checkpoint.origin]
    signed: set[VerifierKey] = set()
    cosigned: dict[str, int] = {}
    too_old: set[str] = set()
    dropped: list[str] = []
    for key, line in find_lines(note, set(policy.verifier_keys())):
        signed.add(key)
        if key.algorithm == ED25519:
            verify_line(note.text, key, line)
            continue
        timestamp_s = verify_cosignature(checkpoint, key, line)
        name = names.get(key)
        if name is None:
            continue
        if timestamp_s == 0:
            # As of subtrees: part of a tree that was seen, and no word on whether it was the largest.
            dropped.append(f"{display_name(name)} cosigned without a time")
            continue
        if timestamp_s > now_s + future_s:
            dropped.append(f"{display_name(name)} cosigned {timestamp_s - now_s} s in the future")
        elif max_age_s is not None and timestamp_s < now_s - max_age_s:
            dropped.append(f"{display_name(name)} cosigned {now_s - timestamp_s} s ago, more than {max_age_s} s")
            too_old.add(name)
        else:
            cosigned[name] = max(timestamp_s, cosigned.get(name, 0))
    log = next((key for key in logs if key in signed), None)
    if log is None:
        reason = "did not sign it" if logs else "is not in the policy"
        raise SignatureInvalid(f"no acceptable signature by the log: {checkpoint.origin[:80]!r} {reason}")
    _check_fresh_quorum(policy, cosigned, too_old, dropped)
    met = policy._met(cosigned)
    auditors = policy.groups[AUDITORS].members if AUDITORS in policy.groups else ()
    return Evaluation(
        log=log,
        witnesses=cosigned,
        audited_by=tuple(display_name(name) for name in auditors if met[name]),
        timestamp_s=_quorum_time(policy, cosigned),
        dropped=tuple(dropped),
    )


def parse_policy(text: str | bytes) -> Policy:
    """Read a policy of at most 4 MiB, 256 logs, 256 witnesses and 256 groups. Raises MalformedPolicy with the line."""
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    if len(data) > MAX_POLICY_BYTES:
        raise MalformedPolicy(f"the policy is longer than {MAX_POLICY_BYTES} bytes")
    if not _OCTETS.issuperset(data):
        raise MalformedPolicy("the policy holds control characters other than tab and newline")
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    if lines.pop():
        raise MalformedPolicy("the last line of the policy does not end in a newline: it may have been cut off")
    reader = _Reader()
    for number, line in enumerate(lines, 1):
        items = [item for item in line.replace("\t", " ").split(" ") if item]
        if not items or items[0].startswith("#"):
            continue
        try:
            reader.read(items[0], items[1:])
        except LedgerError as error:
            raise MalformedPolicy(f"line {number} of the policy: {error.detail}") from error
    return reader.finish()


def format_policy(policy: Policy) -> bytes:
    """The bytes of a policy file that `parse_policy` reads back as the same policy."""
    lines = [_join("log", format_vkey(rule.vkey), rule.url) for rule in policy.logs]
    lines += [_join("witness", name, format_vkey(rule.vkey), rule.url) for name, rule in policy.witnesses.items()]
    for name, group in policy.groups.items():
        threshold = "all" if group.threshold == len(group.members) else str(group.threshold)
        lines.append(_join("group", name, threshold, *group.members))
    lines.append(_join("quorum", policy.quorum))
    return "".join(line + "\n" for line in lines).encode("utf-8", "surrogateescape")


def display_name(name: str) -> str:
    """A name of a policy as printable Unicode: octets that are not UTF-8 appear as \\xNN."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class _Reader:
    """The definitions read so far."""

    def __init__(self) -> None:
        self.logs: list[LogRule] = []
        self.witnesses: dict[str, WitnessRule] = {}
        self.groups: dict[str, Group] = {}
        self.quorum: str | None = None
        self.keys: dict[tuple[str, bytes], VerifierKey] = {}
        self.members: set[str] = set()

    def read(self, keyword: str, items: list[str]) -> None:
        if keyword == "log" and len(items) in (1, 2):
            self._log(*items)
        elif keyword == "witness" and len(items) in (2, 3):
            self._witness(*items)
        elif keyword == "group" and len(items) >= 3:
            self._group(items[0], items[1], tuple(items[2:]))
        elif keyword == "quorum" and len(items) == 1:
            if self.quorum is not None:
                raise MalformedPolicy("the quorum is defined twice")
            if items[0] != NONE:
                self._check_defined(items[0])
            self.quorum = items[0]
        elif keyword in ("log", "witness", "group", "quorum"):
            raise MalformedPolicy(f"a {keyword} line with {len(items)} items after the keyword")
        else:
            raise MalformedPolicy(f"unknown keyword {display_name(keyword)[:40]!r}")

    def finish(self) -> Policy:
        if self.quorum is None:
            raise MalformedPolicy("the policy has no quorum line")
        return Policy(tuple(self.logs), self.witnesses, self.groups, self.quorum)

    def _log(self, vkey: str, url: str | None = None) -> None:
        key = self._key(vkey, (ED25519, MLDSA44_COSIGNATURE), "a log")
        if any(rule.vkey.public_key == key.public_key for rule in self.logs):
            raise MalformedPolicy(f"the public key of log {key.name!r} is listed twice")
        if len(self.logs) == MAX_LOGS:
            raise MalformedPolicy(f"more than {MAX_LOGS} logs")
        self.logs.append(LogRule(key, url))

    def _witness(self, name: str, vkey: str, url: str | None = None) -> None:
        self._check_new(name)
        key = self._key(vkey, (ED25519_COSIGNATURE, MLDSA44_COSIGNATURE), "a witness")
        if any(rule.vkey.public_key == key.public_key for rule in self.witnesses.values()):
            raise MalformedPolicy(f"the public key of witness {display_name(name)} is listed twice")
        if len(self.witnesses) == MAX_WITNESSES:
            raise MalformedPolicy(f"more than {MAX_WITNESSES} witnesses")
        self.witnesses[name] = WitnessRule(key, url)

    def _group(self, name: str, threshold: str, members: tuple[str, ...]) -> None:
        self._check_new(name)
        for member in members:
            self._check_defined(member)
            if member in self.members:
                raise MalformedPolicy(f"{display_name(member)} is listed as a group member twice")
            self.members.add(member)
        if threshold in ("all", "any"):
            k = len(members) if threshold == "all" else 1
        else:
            k = parse_decimal(threshold, max_value=len(members), what="the threshold of a group")
        if k < 1:
            raise MalformedPolicy("the threshold of a group is at least 1")
        if len(self.groups) == MAX_GROUPS:
            raise MalformedPolicy(f"more than {MAX_GROUPS} groups")
        self.groups[name] = Group(k, members)

    def _check_new(self, name: str) -> None:
        if name == NONE:
            raise MalformedPolicy("the name none is predefined")
        if name in self.witnesses or name in self.groups:
            raise MalformedPolicy(f"the name {display_name(name)} is defined twice")

    def _check_defined(self, name: str) -> None:
        if name not in self.witnesses and name not in self.groups:
            raise MalformedPolicy(f"{display_name(name)} is not defined on a preceding line")

    def _key(self, vkey: str, algorithms: tuple[int, ...], what: str) -> VerifierKey:
        key = parse_vkey(vkey)
        if key.algorithm not in algorithms:
            raise MalformedPolicy(f"the key of {what} has algorithm {key.algorithm}, not one of {algorithms}")
        # Key ids have 32 bits: with two keys of one name and id, whose signature a line is cannot be told.
        if self.keys.setdefault((key.name, key.key_id), key) != key:
            raise MalformedPolicy(f"two keys named {key.name!r} have the id {key.key_id.hex()}")
        return key


def _check_fresh_quorum(
    policy: Policy, cosigned: Mapping[str, int], too_old: Collection[str], dropped: Collection[str]
) -> None:
    try:
        policy.check_quorum(cosigned)
    except QuorumNotMet as error:
        detail = "; ".join([error.detail, *dropped])
        if policy._met({*cosigned, *too_old})[policy.quorum]:
            raise Stale(detail, **error.members) from error
        raise QuorumNotMet(detail, **error.members) from error


def _quorum_time(policy: Policy, cosigned: Mapping[str, int]) -> int | None:
    """The latest time at which the quorum holds: a group's is the k-th newest among its members."""
    if policy.quorum == NONE:
        return None
    times: dict[str, int] = {name: cosigned.get(name, -1) for name in policy.witnesses}
    for name, group in policy.groups.items():
        times[name] = sorted((times[member] for member in group.members), reverse=True)[group.threshold - 1]
    return times[policy.quorum]


def _join(*items: str | None) -> str:
    return " ".join(item for item in items if item is not None)
