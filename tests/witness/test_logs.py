"""The log list: the witness network's format, and what is refused."""

from __future__ import annotations

import pytest

from ledger.errors import MalformedInput
from ledger.note import VerifierKey, format_vkey
from ledger.witness import WitnessedLog, parse_log_list
from tests.witness.logs import Log

ONE, TWO = Log("one.example/log"), Log("an origin with spaces", name="two.example")
V1, V1_PQ = map(format_vkey, ONE.keys)
V2 = format_vkey(TWO.keys[0])
#: As the format's own page shows it: comments, blank lines, white space around lines.
LIST = f"""#
# List:      10qps-100klogs
#
logs/v0

# 1st list item
vkey {V1}
qpd 86400
contact https://one.example/contact

\t vkey {V2} \t
 origin an origin with spaces
qpd 24
contact sysadmin (at) two.example
"""


def test_a_list_is_read() -> None:
    """Origin from the key's name or its own line."""
    assert parse_log_list(LIST.encode()) == {
        "one.example/log": WitnessedLog("one.example/log", ONE.keys[:1], 86_400),
        "an origin with spaces": WitnessedLog("an origin with spaces", TWO.keys[:1], 24),
    }
    assert parse_log_list(b"logs/v0\n") == {}


def test_a_key_of_the_witness_networks_own_list() -> None:
    """As published there."""
    vkey = "keyserver.geomys.org+16b31509+ARLJ+pmTj78HzTeBj04V+LVfB+GFAQyrg54CRIju7Nn8"
    (log,) = parse_log_list(f"logs/v0\nvkey {vkey}\nqpd 1440\ncontact x\n".encode()).values()
    assert (log.origin, log.qpd, format_vkey(log.keys[0])) == ("keyserver.geomys.org", 1440, vkey)


def test_several_keys_of_one_log() -> None:
    """Items with one origin are one log; the largest qpd counts. An extension of ours, as keys of algorithm 6 are."""
    text = f"logs/v0\nvkey {V1}\nqpd 5\ncontact x\nvkey {V1_PQ}\nqpd 7\ncontact x\n"
    assert parse_log_list(text.encode()) == {"one.example/log": WitnessedLog("one.example/log", ONE.keys, 7)}


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("logs/v0", "logs/v1", "does not begin with"),
        ("logs/v0", "", "does not begin with"),
        (LIST, "", "does not begin with"),
        (LIST, "# nothing\n", "does not begin with"),
        ("qpd 86400", "qpd 0", "line 8 .* qpd is 0"),
        ("qpd 86400", "qpd 2147483648", "larger than"),
        ("qpd 86400", "qpd 086400", "leading zeros"),
        ("qpd 86400", "qpd -1", "leading zeros"),
        ("qpd 86400", "qpd", "without a value"),
        ("qpd 86400\n", "", "contact stands where origin"),
        ("qpd 86400", "qpd 86400\nqpd 86400", "line 9 .* qpd stands where contact"),
        ("qpd 86400", "qpd 86400\norigin x", "origin stands where contact"),
        ("qpd 24", "origin y", "origin stands where qpd"),
        ("contact https://one.example/contact\n", "", "line 10 .* vkey stands where contact"),
        ("contact sysadmin (at) two.example\n", "", "cut off"),
        ("two.example\n", "two.example", "cut off"),
        ("qpd 24", "url https://two.example", "unknown keyword 'url'"),
        (V1, V1[:-4], "line 7 .* has 29 bytes"),
        (V1, V1.replace("+", "+0", 1), "id of a verifier key"),
        (V1, "", "without a value"),
        (f"vkey {V1}\n", "", "qpd stands where vkey"),
        ("contact https", f"contact x\nvkey {V1}\nqpd 1\ncontact https", "same name and id"),
    ],
)
def test_another_list_is_refused(old: str, new: str, sentence: str) -> None:
    """With the line."""
    assert old in LIST
    with pytest.raises(MalformedInput, match=sentence):
        parse_log_list(LIST.replace(old, new, 1).encode())


def test_bytes_that_are_no_text_are_refused() -> None:
    """And a list that is too long."""
    with pytest.raises(MalformedInput, match="UTF-8"):
        parse_log_list(b"logs/v0\n# \xff\n")
    with pytest.raises(MalformedInput, match="longer"):
        parse_log_list(b"#" * ((32 << 20) + 1))


def test_a_log_has_bounds() -> None:
    """One key at least, sixteen at most; an origin on one line."""
    key = ONE.keys[0]
    many = tuple(VerifierKey(f"k{k}", 1, key.public_key) for k in range(17))
    for origin, keys, qpd in (("", (key,), 1), ("a\nb", (key,), 1), ("a", (), 1), ("a", many, 1), ("a", (key,), 2**31)):
        with pytest.raises(MalformedInput):
            WitnessedLog(origin, keys, qpd)
