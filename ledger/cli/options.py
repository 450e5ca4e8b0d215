"""Options that several commands share, and the values that they read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from ledger.cli.app import option
from ledger.errors import InputError, LedgerError

if TYPE_CHECKING:
    IntType = click.ParamType[int]
else:
    IntType = click.ParamType  # generic only in newer releases of click

#: Names of the reasons, as people type them, and the numbers of the wire format.
REASONS: Final = {
    "unspecified": 0,
    "issued-in-error": 1,
    "superseded": 2,
    "withdrawn": 3,
    "fraud": 4,
    "holders-request": 5,
    "key-compromised": 6,
}
ROLES: Final = {"issue": 1, "status": 2, "manage": 4}
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class Duration(IntType):
    """ "90s", "15m", "24h", "7d", "2w": seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"([0-9]{1,9})([smhdw])", str(value), re.ASCII)
        if match is None:
            self.fail(f"{value!r} is not a duration such as 90s, 15m, 24h or 7d", param, ctx)
        return int(match[1]) * _UNITS[match[2]]


class Moment(IntType):
    """ "2026-05-03T12:00Z", "2026-05-03": milliseconds since the Unix epoch."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from ledger.moment import parse_moment

        if isinstance(value, int):
            return value
        try:
            return parse_moment(str(value))
        except LedgerError:
            self.fail(f"{value!r} is not a date and time with its zone such as 2026-05-03T12:00Z", param, ctx)


class Reason(IntType):
    """A reason by name or number."""

    name = "reason"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).lower().replace("_", "-").replace(" ", "-").replace("'", "")
        if text in REASONS:
            return REASONS[text]
        if not re.fullmatch(r"[0-6]", text, re.ASCII):
            names = ", ".join(f"{name} ({number})" for name, number in REASONS.items())
            self.fail(f"{value!r} is not one of {names}", param, ctx)
        return int(text)


class Roles(IntType):
    """Roles of a key, separated by commas: the sum of their bits."""

    name = "roles"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        names = [name.strip() for name in str(value).split(",")]
        if not set(names) <= set(ROLES) or len(set(names)) != len(names):
            self.fail(f"{value!r} is not a choice of {','.join(ROLES)}", param, ctx)
        return sum(ROLES[name] for name in names)


url_option = option("--url", required=True, metavar="URL", help="The ledger.")
key_option = option(
    "--key", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The issuer's private key file."
)
policy_option = option(
    "--policy", type=click.Path(dir_okay=False, path_type=Path), help="Trust policy: log, witnesses, quorum."
)
log_key_option = option("--log-key", metavar="VKEY", help="Instead of a policy: trust this log without witnesses.")
profile_option = option(
    "--profile",
    type=click.Choice(["short", "full"]),
    default="full",
    help="full: with the issuer's signature and key; short: smaller, status only.",
)

Profile = Literal["short", "full"]


def load_policy(path: Path | None, log_key: str | None = None) -> Any:
    """The policy of --policy or --log-key, None without either. Raises MalformedPolicy, InputError for both at once."""
    from ledger.cli.files import read_bounded
    from ledger.policy import MAX_POLICY_BYTES, parse_policy

    if path is not None and log_key is not None:
        raise InputError("--policy and --log-key are two answers to one question: give one of them")
    if log_key is not None:
        return parse_policy(f"log {log_key}\nquorum none\n")
    if path is None:
        return None
    data = read_bounded(path, MAX_POLICY_BYTES)
    try:
        policy = parse_policy(data)
        policy.quorums_intersect()
    except LedgerError as error:
        raise type(error)(f"{path}: {error.detail}") from error
    return policy
