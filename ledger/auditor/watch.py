"""What an audit cannot decide by itself, and people should know.

    bindings    a key that the log calls *published* has to stand in its host's document. Hosts change their pages and
                go away, so what is not there any more is an alarm, and never decides a cosignature
    notices     entries of identifiers that somebody watches: a key that one did not register is the first sign that
                somebody else speaks in one's name

Self-certifying bindings need nobody's document: `replay` checks them. This module asks; it fetches through what it is
handed, and knows no network.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterable

import msgspec

from ledger.assemble import Logged
from ledger.documents import Fetch, document_has_key, document_urls
from ledger.entry import ADD, BINDING_PUBLISHED, TYPE_NAMES, IssuerKey, StatusList, issuer_id
from ledger.errors import LedgerError
from ledger.replay import Replay
from ledger.replay_state import KeyState

#: How many published keys one round asks for, and how many at once: a long log must not hold up the audit, nor flood
#: anybody's host.
MAX_DOCUMENTS = 100
_AT_ONCE = 8


class Notice(msgspec.Struct, frozen=True):
    """An entry of a watched identifier; `what` is one sentence without the index."""

    index: int
    identifier: str
    what: str
    time_ms: int


class Watch:
    """Collects the entries of some identifiers. `take` empties what was collected."""

    def __init__(self, identifiers: Iterable[str]) -> None:
        """Raises MalformedEntry for what no identifier can be."""
        self._watched = {issuer_id(identifier): identifier for identifier in identifiers}
        self._notices: list[Notice] = []

    def __bool__(self) -> bool:
        """Whether anybody is watched."""
        return bool(self._watched)

    def __call__(self, logged: Logged) -> None:
        """Look at one unit of the log."""
        if not self._watched:
            return
        entry = logged.entry
        if logged.block is not None:
            identifier = self._watched.get(logged.block.submission.issuer)
            if identifier is not None:
                kinds = Counter(TYPE_NAMES[kind] for kind in logged.block.kinds)
                what = ", ".join(f"{count} {name}" for name, count in sorted(kinds.items()))
                self._note(logged, identifier, f"a submission under key {logged.block.submission.key}: {what}")
        elif isinstance(entry, IssuerKey) and issuer_id(entry.identifier) in self._watched:
            verb = "added" if entry.action == ADD else "retired"
            self._note(logged, entry.identifier, f"the key {entry.public_key.hex()} was {verb}")
        elif isinstance(entry, StatusList) and entry.issuer in self._watched:
            self._note(logged, self._watched[entry.issuer], f"status list {entry.list} was opened")

    def take(self) -> list[Notice]:
        """What was seen since the last call, in log order."""
        taken, self._notices = self._notices, []
        return taken

    def _note(self, logged: Logged, identifier: str, what: str) -> None:
        self._notices.append(Notice(logged.index, identifier, what, getattr(logged.entry, "time", 0)))


class Bindings:
    """Asks the hosts of published keys again, each key once until `forget`."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._asked: set[int] = set()

    def forget(self) -> None:
        """Ask for all of them again."""
        self._asked.clear()

    async def check(self, replay: Replay) -> list[str]:
        """One sentence for each published key that its host does not show; at most MAX_DOCUMENTS keys a call, and the
        next call goes on behind them."""
        first_keys = ((issuer, next(iter(issuer.keys.values()))) for issuer in replay.issuers.values())
        due = [
            (issuer.identifier, key)
            for issuer, key in first_keys
            if key.binding == BINDING_PUBLISHED and key.live and key.index not in self._asked
        ][:MAX_DOCUMENTS]
        gate = asyncio.Semaphore(_AT_ONCE)

        async def ask(identifier: str, key: KeyState) -> str | None:
            async with gate:
                return await self._ask(identifier, key.public_key, key.index)

        sentences = await asyncio.gather(*(ask(identifier, key) for identifier, key in due))
        self._asked.update(key.index for _, key in due)
        return [sentence for sentence in sentences if sentence is not None]

    async def _ask(self, identifier: str, public_key: bytes, index: int) -> str | None:
        reasons = []
        for url in document_urls(identifier):
            try:
                document = await self._fetch(url)
            except LedgerError as error:
                reasons.append(error.detail)
                continue
            if document_has_key(document, identifier, public_key):
                return None
            reasons.append(f"{url} (SHA-256 {hashlib.sha256(document).hexdigest()[:16]}...) does not name it")
        return f"key {index} is logged as published by {identifier}, and is not there now: {'; '.join(reasons)}"
