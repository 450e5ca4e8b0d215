"""The issuance itself: reserve slots, sign, write down, send. Never twice, wherever it is interrupted.

    1  badges whose receipt lies in the folder already are done; one that does not verify is fetched anew
    2  what the journal says was sent comes first: the identical bytes again, until the ledger answers for good
    3  the rest gets slots (its own, where the badge names one in this ledger's lists), is signed in submissions of
       `batch` events, written down, sent

What is in the log is handed on, is proven and gets its receipts (`ledger.cli.writing`) while the next submission is
under way. Until the proof, where it stands is the ledger's word, and the journal has it open.

A refusal of a submission means that it is not in the log: the ledger looks for it by its bytes before it checks
anything else. Only when the window of a submission has long passed may the ledger have forgotten it; then the state of
a slot tells, because slots are never forgotten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ledger.block import Block, sign_submission
from ledger.cli.files import is_for, read_badge, read_bounded, write_atomically
from ledger.cli.identity import WINDOW_MS, Identity, Log, new_nonce
from ledger.cli.journal import Journal, Sent
from ledger.cli.reading import Item
from ledger.cli.reservation import reserve
from ledger.cli.trust import ReceiptChecker
from ledger.cli.workers import together
from ledger.cli.writing import Logged
from ledger.entry import encode_issue
from ledger.errors import LedgerError, NotFound, OperationError, RuleViolation, VerificationError
from ledger.receipt import MAX_RECEIPT_BYTES, Receipt, with_salt
from ledger.receipt_json import format_json, load
from ledger.text import format_base64

if TYPE_CHECKING:
    from ledger.client import LedgerClient, OnRetry, Profile
    from ledger.policy import Policy

#: Rounds of drawing new slots for a submission whose slots turn out to be taken.
_SLOT_ROUNDS: Final = 3
#: How many events at fault a refusal names at the most.
_MAX_POSITIONS: Final = 100
_FETCHES: Final = 16
#: Refusals of single badges: the others of the submission are sent without them.
_OF_SINGLE_BADGES: Final = ("slot-issued", "not-owner", "duplicate", "duplicate-commitment")


class Issuance:
    """One run over one folder. `advance` is told of each of the two steps of a badge: it is logged, it has its receipt;
    `on_logged` of the submissions whose receipts are to be written."""

    def __init__(
        self,
        client: LedgerClient,
        log: Log,
        identity: Identity,
        journal: Journal,
        out: Path,
        *,
        batch: int,
        profile: Profile,
        policy: Policy | None,
        patience_s: float,
        on_logged: Callable[[Logged], None],
        advance: Callable[[int], None] = lambda steps: None,
        on_retry: OnRetry | None = None,
    ) -> None:
        self._client = client
        self._log = log
        self._identity = identity
        self._journal = journal
        self._out = out
        self._batch = batch
        self._profile: Profile = profile
        self._patience_s = patience_s
        self._on_logged = on_logged
        self._advance = advance
        self._on_retry = on_retry
        self._checker = ReceiptChecker(log, policy, client.clock)

    async def run(self, items: Iterable[Item]) -> None:
        """Bring every open item into the log. Raises LedgerError for what concerns them all; then run it again."""
        standing = self._journal.standing()
        groups: dict[bytes, list[Item]] = {}
        doubtful: list[tuple[Item, VerificationError]] = []
        for item in items:
            try:
                if item.result is None and not self._is_present(item, standing):
                    groups.setdefault(item.commitment, []).append(item)
            except VerificationError as error:
                doubtful.append((item, error))
        gate = asyncio.Semaphore(_FETCHES)
        await together([self._replace(item, error, gate) for item, error in doubtful])
        known: dict[int, list[list[Item]]] = {}
        for commitment, group in groups.items():
            if commitment in standing:
                known.setdefault(standing[commitment].number, []).append(group)
        for number, mine in known.items():
            sent = self._journal.sent[number]
            before = sent.first_index is not None
            if sent.open:
                await self._settle(sent)
            if sent.first_index is not None:
                self._done(sent, mine, before=before)
                for group in mine:
                    del groups[group[0].commitment]
        todo = list(groups.values())
        for start in range(0, len(todo), self._batch):
            await self._issue(todo[start : start + self._batch])

    def _done(self, sent: Sent, groups: list[list[Item]], *, before: bool) -> None:
        self._on_logged(Logged(sent, groups, before, self._journal))
        self._advance(sum(map(len, groups)))

    # Sending ------------------------------------------------------------------------------------------------------

    async def _issue(self, groups: list[list[Item]]) -> None:
        """Sign and send one submission of one event for each group of equal badges."""
        rounds = 0
        while groups and rounds < _SLOT_ROUNDS:
            sent = self._journal.send(self._sign(groups, await self._slots(groups)))
            try:
                await self._send(sent)
            except RuleViolation as error:
                self._journal.void(sent, error.rule)
                groups = await self._without_refused(groups, error)
                # Badges that are in the log already are found and done with, however many rounds that takes.
                rounds += not error.rule.startswith("duplicate")
                continue
            self._done(sent, groups, before=False)
            return
        for item in (item for group in groups for item in group):
            item.fail("its slot is taken")

    def _sign(self, groups: list[list[Item]], slots: list[int]) -> Block:
        issuer = self._identity.issuer
        events = b"".join(
            encode_issue(issuer, slot, group[0].commitment) for slot, group in zip(slots, groups, strict=True)
        )
        return sign_submission(
            self._log.origin,
            self._identity.key,
            issuer,
            self._identity.index,
            events,
            self._client.clock.now_ms() + WINDOW_MS,
            new_nonce(),
        )

    async def _send(self, sent: Sent) -> None:
        answer = await self._client.submit(
            sent.body,
            not_after_ms=sent.block.submission.not_after,
            patience_s=self._patience_s,
            on_retry=self._on_retry,
        )
        if answer.count != sent.block.count:
            raise OperationError(f"the ledger answered for {answer.count} events, not {sent.block.count}")
        sent.first_index = answer.first_index

    async def _slots(self, groups: list[list[Item]]) -> list[int]:
        """A slot for each group: its badge's own, else a reserved one that no badge of this submission names."""
        own = {group[0].slot for group in groups if group[0].slot is not None}
        missing = sum(group[0].slot is None for group in groups)
        free: list[int] = []
        while len(free) < missing:
            got = await reserve(self._client, self._log, self._identity, missing - len(free))
            drawn_before = set(free)
            free += [slot for slot in got if slot not in own and slot not in drawn_before]
        drawn = iter(free)
        return [group[0].slot if group[0].slot is not None else next(drawn) for group in groups]

    async def _without_refused(self, groups: list[list[Item]], error: RuleViolation) -> list[list[Item]]:
        """What is left of a refused submission when the badges that were at fault are out. Raises the refusal if it
        is about the submission as a whole."""
        if error.rule not in _OF_SINGLE_BADGES:
            raise error
        refused = {k for k in error.positions if k < len(groups)}
        if error.rule.startswith("duplicate"):
            if not refused:
                raise error
            # A refusal names so many at the most: where it is full, all behind them are asked for as well.
            rest = groups[max(refused) + 1 :] if len(refused) >= _MAX_POSITIONS else []
            gate = asyncio.Semaphore(_FETCHES)
            await asyncio.gather(
                *(self._adopt(groups[k], gate, certain=True) for k in sorted(refused)),
                *(self._adopt(group, gate, certain=False) for group in rest),
            )
            return [group for group in groups if group[0].result is None]
        for k in refused:
            if groups[k][0].slot is not None:
                for item in groups[k]:
                    item.fail(f"the slot that the badge names cannot be used: {error.detail}")
        return [group for group in groups if group[0].result is None]

    async def _adopt(self, group: list[Item], gate: asyncio.Semaphore, *, certain: bool) -> None:
        """If the badge is in the log already, by another run: take that receipt. `certain`: the ledger says it is."""
        async with gate:
            try:
                found = [load(data) for data in await self._client.receipts(group[0].commitment, self._profile)]
            except NotFound:
                found = []
        wanted = (group[0].commitment, self._identity.issuer)
        entries = [(receipt, receipt.issue_entry()) for receipt in found]
        mine = [receipt for receipt, issue in entries if (issue.commitment, issue.issuer) == wanted]
        if not mine and not certain:
            return
        if not mine:
            for item in group:
                item.fail("the ledger says that it has this badge, and shows no receipt for it")
            return
        self._take(group, mine[-1])

    async def _replace(self, item: Item, error: VerificationError, gate: asyncio.Semaphore) -> None:
        """Fetch anew what lies in the folder and does not verify. A badge that the ledger does not know is not issued
        in its place: the receipt may be right and the ledger wrong."""
        await self._adopt([item], gate, certain=False)
        if item.result is None:
            item.fail(f"{self._out / item.receipt} does not verify, and the ledger has no other: {error.detail}")

    async def _settle(self, sent: Sent) -> None:
        """Find out what became of a submission that was sent by an earlier run."""
        try:
            await self._send(sent)
        except RuleViolation as error:
            if self._client.clock.now_ms() > sent.block.submission.not_after:
                sent.first_index = await self._find_old(sent)
            if sent.first_index is None:
                self._journal.void(sent, error.rule)

    async def _find_old(self, sent: Sent) -> int | None:
        """Where a submission stands whose window is over, None if it is not in the log: its first slot tells."""
        state = await self._client.slot(sent.block.slots[0])
        if state.state == "unissued":
            return None
        for data in await self._client.receipts(sent.block.commitments()[0], "short"):
            receipt = load(data)
            if receipt.issue == sent.block.entry(0):
                return receipt.index - 1
        return None

    # Receipts that are there ---------------------------------------------------------------------------------------

    def _take(self, group: list[Item], receipt: Receipt) -> None:
        """Verify the ledger's receipt, and write it for each file of the badge."""
        receipt, _ = self._checker.check(receipt, commitment=group[0].commitment, issuer=self._identity.issuer)
        for item in group:
            write_atomically(self._out / item.receipt, format_json(with_salt(receipt, item.salt)))
            item.slot, item.index, item.result = receipt.issue_entry().slot, receipt.index, "present"
        self._advance(2 * len(group))

    def _is_present(self, item: Item, standing: dict[bytes, Sent]) -> bool:
        """Whether the receipt's file exists: then the badge is done, or the file is another badge's and stays. Raises
        VerificationError for a receipt of this badge in this log that does not verify."""
        path = self._out / item.receipt
        if not path.exists():
            return False
        try:
            data = read_bounded(path, MAX_RECEIPT_BYTES)
            sent = standing.get(item.commitment)
            if sent is not None:
                # What this program verified and wrote names its issue entry so: no need to read the rest of a hundred
                # thousand.
                position = sent.position(item.commitment)
                if b'"issue":"' + format_base64(sent.block.entry(position)).encode() + b'"' in data:
                    item.slot, item.result = sent.block.slots[position], "present"
                    self._advance(2)
                    return True
            receipt = load(data)
            issue = receipt.issue_entry()
        except LedgerError as error:
            item.fail(f"a file is in the place of its receipt: {path}: {error.detail.removeprefix(f'{path}: ')}")
            return True
        if (issue.commitment, issue.issuer) != (item.commitment, self._identity.issuer):
            item.fail(f"{path} is {_in_its_place(item, receipt)}")
        elif receipt.origin != self._log.origin:
            item.fail(f"{path} is the receipt of this badge in the log {receipt.origin!r}: take another --out")
        else:
            self._checker.check(receipt)
            item.slot, item.result = issue.slot, "present"
            self._advance(2)
        return True


def _in_its_place(item: Item, receipt: Receipt) -> str:
    """What the receipt is that stands where the badge's own should: perhaps its own too, salted in another way."""
    same = False
    if item.path:
        with suppress(LedgerError):
            same = is_for(receipt, read_badge(Path(item.path)))
    if not same:
        return "the receipt of another badge: move it away or take another --out"
    if receipt.salt is None:
        how, find = "without a salt", "without --salt"
    elif item.salt is None:
        how, find = "with a salt", "with --salt"
    else:
        how, find = "with another salt key", "with that --salt-key"
    return f"the receipt of this badge, issued {how}: {find} it is found; another --out issues the badge a second time"
