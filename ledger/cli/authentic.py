"""What `verify` needs to check a badge's own signature, offline: options, keys, contexts.

Libraries are loaded when a badge needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli.app import option
from ledger.errors import InputError, LedgerError

if TYPE_CHECKING:
    from ledger.authenticity import Authenticity
    from ledger.authenticity.contexts import Contexts
    from ledger.authenticity.keys import KeySource, Pin
    from ledger.badges import Badge
    from ledger.cli.output import Output

MAX_PINS: Final = 100


def authentic_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--pin and --contexts, as parameters `pin` and `contexts`."""
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
    ):
        function = add(function)
    return function


class Authenticator:
    """Checks badges' own signatures.

    Raises InputError for options that cannot be used, when the first badge needs them.
    """

    def __init__(self, output: Output, *, contexts: Path | None, pin: Sequence[str]) -> None:
        if len(pin) > MAX_PINS:
            raise InputError(f"--pin is given {len(pin)} times, more than {MAX_PINS}")
        self._output = output
        self._now_s = output.clock.now_ms() // 1000
        self._directory = contexts
        self._pins = [_read_pin(text) for text in pin]

    def check(self, badge: Badge) -> Authenticity:
        """What its own signature comes to."""
        from ledger.authenticity import Authenticity
        from ledger.badges import FORM_JSON

        if badge.form == FORM_JSON and "proof" not in badge.document:
            return Authenticity("none")  # without loading what checks signatures
        from ledger.authenticity.check import check

        return check(badge, keys=self._keys, contexts=self._contexts, now_s=self._now_s)

    @cached_property
    def _contexts(self) -> Contexts:
        from ledger.authenticity.contexts import bundled_contexts

        try:
            return bundled_contexts(self._directory)
        except LedgerError as error:
            raise type(error)(f"{self._directory}: {error.detail}") from error

    @cached_property
    def _keys(self) -> KeySource:
        from ledger.authenticity.keys import offline_keys

        return offline_keys(self._pins)


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
