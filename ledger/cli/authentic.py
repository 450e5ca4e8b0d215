"""What `verify` and `inspect` share to check a badge's own signature: options, keys, contexts, the network if asked.

Offline by default. `--online` lets issuers' keys, the status lists of others and hosted badges be fetched, guarded
against private networks; each host is named on standard error before it is asked. Libraries are loaded when a
badge needs them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli.app import option
from ledger.errors import InputError, LedgerError

if TYPE_CHECKING:
    from ledger.authenticity import Authenticity, ListFinding
    from ledger.authenticity.contexts import Contexts
    from ledger.authenticity.keys import KeySource, Pin
    from ledger.authenticity.model import NotChecked
    from ledger.badges import Badge
    from ledger.cli.output import Output
    from ledger.verdict_findings import HostedState

MAX_PINS: Final = 100
#: Status lists that are kept during a run; a badge's host answers with 1 MiB at most.
_MAX_ANSWERS: Final = 64


#: The parameters that `authentic_options` adds to a command, and an Authenticator takes.
AUTHENTIC: Final = ("online", "contexts", "pin", "cache")


def authentic_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--online, --cache, --pin and --contexts."""
    for add in (
        option(
            "--contexts",
            type=click.Path(file_okay=False, path_type=Path),
            metavar="DIR",
            help="Folder with more JSON-LD contexts, named in its index.json. None is ever fetched.",
        ),
        option(
            "--pin",
            multiple=True,
            metavar="ID=FILE",
            help="An issuer's keys: a DID document, JWK, PEM, Multikey, or Open Badges profile.",
        ),
        option(
            "--cache",
            type=click.Path(file_okay=False, path_type=Path),
            metavar="DIR",
            help="Folder to keep keys in that --online fetched, for a day.",
        ),
        option("--online", is_flag=True, help="Ask the badges' hosts for keys and status; says which hosts."),
    ):
        function = add(function)
    return function


class Authenticator:
    """Checks badges' own signatures and, online, what their hosts and the lists of others say.

    Raises InputError for options that cannot be used, when the first badge needs them.
    """

    def __init__(
        self, output: Output, *, online: bool, contexts: Path | None, pin: Sequence[str], cache: Path | None
    ) -> None:
        if len(pin) > MAX_PINS:
            raise InputError(f"--pin is given {len(pin)} times, more than {MAX_PINS}")
        if cache is not None and not online:
            raise InputError("--cache keeps what --online fetches, and is given without it")
        self.online = online
        self._output = output
        self._now_s = output.clock.now_ms() // 1000
        self._directory = contexts
        self._cache = cache
        self._pins = [_read_pin(text) for text in pin]
        self._said: set[str] = set()
        self._answers: dict[str, bytes | NotChecked] = {}

    def check(self, badge: Badge) -> Authenticity:
        """What its own signature comes to."""
        from ledger.authenticity import Authenticity
        from ledger.badges import FORM_JSON

        if badge.form == FORM_JSON and "proof" not in badge.document:
            return Authenticity("none")  # without loading what checks signatures
        from ledger.authenticity.check import check

        return check(badge, keys=self._keys, contexts=self._contexts, now_s=self._now_s)

    def lists(
        self, badge: Badge, base: str, own: Authenticity, max_age_s: int | None = None
    ) -> tuple[ListFinding, ...]:
        """What status lists of others say of the badge; offline nothing, since they are not asked. `base`: where this
        ledger's own are, without scheme; `own`: what `check` found; `max_age_s`: of a list that names no end."""
        from ledger.verdict_findings import foreign_entries

        entries = foreign_entries(badge, base)
        if not self.online or not entries:
            return ()
        from ledger.authenticity.lists import check_foreign_status

        return check_foreign_status(
            badge,
            entries,
            fetch=self._fetch_once,
            keys=self._keys,
            contexts=self._contexts,
            now_s=self._now_s,
            own=own,
            max_age_s=max_age_s,
        )

    def hosted(self, badge: Badge) -> HostedState | None:
        """What the address of a hosted badge answers; None offline and for a badge that has none."""
        if not self.online or badge.hosted_at is None or badge.id is None:
            return None
        from ledger.authenticity.model import NotChecked
        from ledger.verdict_findings import judge_hosted

        try:
            return judge_hosted(badge, 200, self._fetch(badge.id))
        except NotChecked as error:
            return judge_hosted(badge, error.status or 0, b"")

    def follow(self, url: str) -> bytes:
        """What the address of a badge answers; only online. Raises InputError."""
        from ledger.authenticity.model import NotChecked

        try:
            return self._fetch(url)
        except NotChecked as error:
            raise InputError(_it(error, url)) from None

    @cached_property
    def _contexts(self) -> Contexts:
        from ledger.authenticity.contexts import bundled_contexts

        try:
            return bundled_contexts(self._directory)
        except LedgerError as error:
            raise type(error)(f"{self._directory}: {error.detail}") from error

    @cached_property
    def _keys(self) -> KeySource:
        if not self.online:
            from ledger.authenticity.keys import offline_keys

            return offline_keys(self._pins)
        from ledger.authenticity.online import online_keys

        return online_keys(self._pins, now_s=self._now_s, cache_dir=self._cache, fetch=self._fetch)

    def _fetch(self, address: str) -> bytes:
        """The body at an address; whom this tells what is looked at is said first. Raises NotChecked."""
        from ledger.authenticity import online
        from ledger.authenticity.model import NotChecked, shown
        from ledger.badges import strip_personal

        host = re.split("[/?#]", address.partition("://")[2], maxsplit=1)[0].rpartition("@")[2]
        if host not in self._said:
            self._said.add(host)
            self._output.note(f"online: asking {host}")
        try:
            return online.guarded_fetch(address)
        except NotChecked as error:
            # The address can name the recipient, and the reason repeats it.
            reason = str(error).replace(shown(address), shown(strip_personal(address)))
            raise NotChecked(reason, status=error.status) from None

    def _fetch_once(self, address: str) -> bytes:
        """`_fetch`, each list once in a run: badges of one issuer share theirs. Raises NotChecked."""
        from ledger.authenticity.model import NotChecked

        answer = self._answers.get(address)
        if answer is None:
            try:
                answer = self._fetch(address)
            except NotChecked as error:
                answer = error
            if len(self._answers) >= _MAX_ANSWERS:
                self._answers.pop(next(iter(self._answers)))
            self._answers[address] = answer
        if isinstance(answer, NotChecked):
            raise NotChecked(_it(answer, address), status=answer.status)
        return answer


def _it(error: NotChecked, address: str) -> str:
    """The reason with "it" for the address, in a sentence that has named the address."""
    from ledger.authenticity.model import shown
    from ledger.badges import strip_personal

    return str(error).replace(shown(strip_personal(address)), "it")


def _read_pin(text: str) -> Pin:
    """ID=FILE, cut at the last "=": addresses have some more often than names of files. Raises InputError."""
    from ledger.authenticity.keys import MAX_DOCUMENT_BYTES, parse_pin
    from ledger.cli.files import read_bounded

    identifier, separator, file = text.rpartition("=")
    if not separator or not identifier or not file:
        raise InputError(f"--pin {text}: write ID=FILE, an issuer's identifier and a file with its keys")
    data = read_bounded(Path(file), MAX_DOCUMENT_BYTES)
    try:
        return parse_pin(identifier, data)
    except LedgerError as error:
        raise type(error)(f"{file}: {error.detail}") from error
