"""One badge after the other to its verdict: where its document and its receipt are found, and what is asked about it.

badge     the file itself; an image that holds only an address: --document, or what the address answers (--online)
receipt   --receipt; else in the folder --receipts, or beside the badge, by its name; else the one baked into the
          image; else, beside the badge, any that is for this very badge
          for a past moment the dated one of that moment comes first
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ledger.cli.authentic import Authenticator
from ledger.cli.files import (
    MAX_BADGE_FILE_BYTES,
    dated_suffix,
    find_receipt,
    read_any_receipt,
    read_badge,
    read_bounded,
    receipt_name,
    receipts_beside,
)
from ledger.errors import BadgeElsewhere, InputError, LedgerError, NotFound
from ledger.receipt import Receipt
from ledger.verdict import Verdict, decide
from ledger.verdict_findings import foreign_entries

if TYPE_CHECKING:
    from ledger.badges import Badge
    from ledger.dated import DatedReceipt
    from ledger.policy import Policy


@dataclass(frozen=True)
class Judged:
    """A badge file, the file that its receipt came from (the image itself, if it was baked in), and the verdict."""

    path: Path
    receipt: Path
    verdict: Verdict


@dataclass(frozen=True)
class Verifier:
    """What is the same for every badge of a run. `now_s` in seconds, `max_age_s` too; paths as the user gave them."""

    authenticator: Authenticator
    policy: Policy
    now_s: int
    max_age_s: int | None = None
    status_base: str | None = None
    receipt: Path | None = None
    receipts: Path | None = None
    document: Path | None = None
    #: The moment that is asked about, milliseconds; None for the present.
    at_ms: int | None = None

    def judge(self, path: Path, folder: Path = Path()) -> Judged:
        """The verdict on the badge in a file; `folder` is where it lies below the one that was given.

        Raises InputError and NotFound, with the file's name, for what is no badge or has no receipt.
        """
        badge = read_hosted(path, self.authenticator, self.document)
        source, found = self._receipt(path, folder, badge)
        receipt = found if isinstance(found, Receipt) else found.receipt
        base = self._base(badge, receipt)
        own = self.authenticator.check(badge)
        lists = self.authenticator.lists(badge, base, own, self.max_age_s)
        hosted = self.authenticator.hosted(badge)
        if not isinstance(found, Receipt):
            from ledger.verdict_dated import decide_dated

            verdict = decide_dated(
                badge,
                found,
                self.policy,
                self.now_s,
                self.max_age_s,
                asked_ms=self.at_ms,
                authenticity=own,
                lists=lists,
                hosted=hosted,
                status_base=base,
            )
        elif self.at_ms is not None:
            raise InputError(f"{source}: it is of no past moment: badge-ledger receipt {path} --at fetches one that is")
        else:
            verdict = decide(
                badge,
                receipt,
                self.policy,
                self.now_s,
                self.max_age_s,
                authenticity=own,
                lists=lists,
                hosted=hosted,
                status_base=base,
            )
        return Judged(path, source, verdict)

    def _base(self, badge: Badge, receipt: Receipt) -> str:
        """Where the ledger's status lists stand, without scheme: as was said; else below the log's name or, if that is
        where the badge says that they are, below the address that the policy gives the log."""
        if self.status_base is not None:
            return self.status_base
        origin = f"{receipt.origin}/status/"
        for rule in self.policy.logs:
            if rule.url is None or rule.vkey.name != receipt.origin:
                continue
            base = f"{rule.url.partition('://')[2].rstrip('/')}/status/"
            if len(foreign_entries(badge, base)) < len(foreign_entries(badge, origin)):
                return base
        return origin

    def _receipt(self, path: Path, folder: Path, badge: Badge) -> tuple[Path, Receipt | DatedReceipt]:
        if self.receipt is not None:
            return self.receipt, read_any_receipt(self.receipt)
        places = [path.parent] if self.receipts is None else dict.fromkeys((self.receipts / folder, self.receipts))
        for place in places:
            if self.at_ms is not None and (dated := place / receipt_name(path, dated_suffix(self.at_ms))).is_file():
                return dated, read_any_receipt(dated)
            for found in receipts_beside(path, place):
                return found, read_any_receipt(found)
        baked = baked_in(path, badge)
        if baked is not None:
            return path, baked
        if self.receipts is not None:
            raise NotFound(f"{path}: no receipt in {self.receipts}, nor in the badge itself")
        return find_receipt(path, badge)


def read_hosted(path: Path, authenticator: Authenticator, document: Path | None = None) -> Badge:
    """The badge in the file, or the one at its address where the file holds no more than that.

    Raises MalformedBadge and other InputErrors that name the file.
    """
    from ledger.badges import read, strip_personal

    try:
        badge = read_badge(path)
    except BadgeElsewhere as elsewhere:
        url = elsewhere.url
    else:
        if document is not None:
            raise InputError(f"{path}: it holds the badge itself, so --document has no use")
        return badge
    where = strip_personal(url)
    if document is not None:
        badge = read_badge(document)
    elif authenticator.online:
        try:
            badge = read(authenticator.follow(url))
        except LedgerError as error:
            raise InputError(f"{path}: {where}, to which it leads: {error.detail}") from error
    else:
        raise InputError(
            f"{path}: it holds only the address of a badge, {where}: give the document that lies there with "
            "--document, or --online to have it fetched"
        )
    if badge.id is not None and strip_personal(badge.id) != where:
        raise InputError(f"{path}: the document gives another address as its own than {where}, to which the file leads")
    return badge


def baked_in(path: Path, badge: Badge) -> Receipt | None:
    """The receipt in an image. Raises InputError with the file's name for one that cannot be read."""
    if badge.wrapping == "plain" and path.suffix.lower() not in (".png", ".svg"):
        return None
    from ledger.badges.bake import baked_receipt
    from ledger.receipt_json import load

    try:
        text = baked_receipt(read_bounded(path, MAX_BADGE_FILE_BYTES))
        return None if text is None else load(text)
    except LedgerError as error:
        raise InputError(f"{path}: the receipt in it: {error.detail}") from error
