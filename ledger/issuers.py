"""What the ledger does for issuers besides logging their submissions: identifiers, keys, slots.

A binding is found out, never claimed: *self-certifying* where the identifier is the key (did:key), *published* where
the key stands in a document of the identifier's own host, else *vouched* by the operator who registers it. A later key
is *delegated* by the manage key that signs for it. The rules are `replay`'s; here are only the questions that need a
network or a counter.
"""

from __future__ import annotations

import hashlib
import unicodedata

from ledger.documents import Fetch, document_has_key, document_urls
from ledger.entry import (
    ADD,
    ALG_ED25519,
    BINDING_DELEGATED,
    BINDING_PUBLISHED,
    BINDING_SELF_CERTIFYING,
    BINDING_VOUCHED,
    NONE_INDEX,
    ROLE_ISSUE,
    ROLE_MANAGE,
    ROLE_STATUS,
    IssuerKey,
    StatusList,
    issuer_id,
)
from ledger.errors import LedgerError, MalformedInput, Overloaded, RuleViolation
from ledger.message import slots_message
from ledger.node import Node
from ledger.replay import Draft
from ledger.replay_state import KeyState
from ledger.sequencer import EntryWork, Outcome
from ledger.signing import verify_ed25519
from ledger.slots import SlotPermutation

MAX_SLOTS_REQUEST = 100_000
#: How far ahead a request's not_after may be, milliseconds: the window of a submission.
WINDOW_MS = 86_400_000

#: Unicode categories of what is not seen and yet makes two identifiers look like one: format characters (zero width,
#: directions), the separators of lines and paragraphs.
_UNSEEN = ("Cf", "Zl", "Zp")

NO_HASH = bytes(32)
NO_SIGNATURE = bytes(64)
_ROLE_NAMES = {ROLE_ISSUE: "issue", ROLE_STATUS: "status", ROLE_MANAGE: "manage"}


class Issuers:
    """Issuer requests on one node. `fetch` reads published documents; None finds no published binding."""

    def __init__(self, node: Node, fetch: Fetch | None = None) -> None:
        self._node = node
        self._fetch = fetch
        self._permutations: dict[int, SlotPermutation] = {}
        self._nonces: dict[bytes, int] = {}

    async def find_binding(self, identifier: str, public_key: bytes) -> tuple[int, bytes]:
        """(binding, evidence) of a first key."""
        if identifier.startswith("did:key:"):
            return BINDING_SELF_CERTIFYING, NO_HASH
        for url in document_urls(identifier) if self._fetch is not None else []:
            try:
                document = await self._fetch(url)  # type: ignore[misc]
            except LedgerError:
                continue
            if document_has_key(document, identifier, public_key):
                return BINDING_PUBLISHED, hashlib.sha256(document).digest()
        return BINDING_VOUCHED, NO_HASH

    async def register(
        self, identifier: str, public_key: bytes, roles: int, possession_sig: bytes, evidence: bytes | None = None
    ) -> Outcome:
        """Log an identifier's first key. The same registration again gets the first answer. Raises MalformedInput for
        an identifier that does not read as what it is, besides what the rules refuse."""
        issuer = issuer_id(identifier)
        await self._node.sequencer.refresh()  # another node may have registered it
        repeated = await self._registered(issuer, public_key, roles)
        if repeated is not None:
            return repeated
        _check_visible(identifier)
        binding, found = await self.find_binding(identifier, public_key)
        if binding == BINDING_VOUCHED and evidence is not None:
            found = evidence

        def make(_: Draft, time_ms: int) -> IssuerKey:
            return IssuerKey(
                time=time_ms,
                action=ADD,
                prev=NO_HASH,
                identifier=identifier,
                roles=roles,
                algorithm=ALG_ED25519,
                public_key=public_key,
                binding=binding,
                evidence=found,
                signer=NONE_INDEX,
                possession_sig=possession_sig,
                manage_sig=NO_SIGNATURE,
            )

        try:
            outcome, _ = await self._node.append(EntryWork(make))
        except RuleViolation:
            # The same registration, sent twice at once: the other one was first.
            await self._node.sequencer.refresh()
            repeated = await self._registered(issuer, public_key, roles)
            if repeated is None:
                raise
            return repeated
        return outcome

    async def _registered(self, issuer: bytes, public_key: bytes, roles: int) -> Outcome | None:
        """The first answer to this registration, if it is in the log."""
        known = self._node.sequencer.replay.issuers.get(issuer)
        for key in known.keys.values() if known is not None else ():
            if not key.delegated and key.public_key == public_key and key.roles == roles and key.live:
                await self._node.settle()
                return Outcome(key.index, 1, key.index + 1, repeated=True)
        return None

    async def change_key(
        self,
        issuer: bytes,
        *,
        action: int,
        public_key: bytes,
        roles: int,
        prev: bytes,
        possession_sig: bytes,
        manage_sig: bytes,
        signer: int,
    ) -> Outcome:
        """Log a further key of an issuer, or the retirement of one, signed by a manage key."""
        known = self._node.sequencer.replay.issuers.get(issuer)
        if known is None:
            raise RuleViolation("the ledger knows no such issuer", rule="unknown-issuer")
        identifier = known.identifier

        def make(_: Draft, time_ms: int) -> IssuerKey:
            return IssuerKey(
                time=time_ms,
                action=action,
                prev=prev,
                identifier=identifier,
                roles=roles,
                algorithm=ALG_ED25519,
                public_key=public_key,
                binding=BINDING_DELEGATED,
                evidence=NO_HASH,
                signer=signer,
                possession_sig=possession_sig,
                manage_sig=manage_sig,
            )

        outcome, _ = await self._node.append(EntryWork(make))
        return outcome

    async def hand_out_slots(
        self, issuer: bytes, *, key: int, not_after: int, nonce: bytes, count: int, signature: bytes
    ) -> list[int]:
        """`count` unused slots of the issuer's lists, in random order; opens lists as needed, within the cap."""
        if not 1 <= count <= MAX_SLOTS_REQUEST:
            raise MalformedInput(f"count is not 1 to {MAX_SLOTS_REQUEST}")
        await self._node.sequencer.refresh()  # another node may have issued in slots that the issuer chose
        self._check_request(issuer, key, not_after, nonce, count, signature)
        replay = self._node.sequencer.replay
        slots: list[int] = []
        while len(slots) < count:
            taken = await self._node.store.hand_out_slots(issuer, count - len(slots))
            for number, first, n in taken:
                permutation = self._permutations.get(number)
                if permutation is None:
                    permutation = self._permutations[number] = SlotPermutation(self._node.slot_key, number)
                # The issuer may have chosen some of these slots by itself before.
                slots += [s for s in permutation.slots(range(first, first + n)) if not replay.is_issued(s)]
            if not taken:
                await self._open_list(issuer)
        await self._node.settle()
        return slots

    def _check_request(
        self, issuer: bytes, key: int, not_after: int, nonce: bytes, count: int, signature: bytes
    ) -> None:
        state = self.live_key(issuer, key, ROLE_ISSUE)
        now = self._node.clock.now_ms()
        if not now <= not_after <= now + WINDOW_MS:
            raise RuleViolation("not_after is not between now and 24 hours from now", rule="window")
        message = slots_message(self._node.options.origin, issuer, key, not_after, nonce, count)
        try:
            verify_ed25519(state.public_key, message, signature)
        except LedgerError as error:
            raise RuleViolation("the signature of the slots request does not verify", rule="signature") from error
        self._nonces = {n: until for n, until in self._nonces.items() if until >= now}
        if issuer + nonce in self._nonces:
            raise RuleViolation("this slots request has been answered before", rule="nonce")
        if len(self._nonces) >= 100_000:
            raise Overloaded("too many slots requests in a day; nothing changed", retry_after_s=600)
        self._nonces[issuer + nonce] = not_after

    def live_key(self, issuer: bytes, key: int, role: int) -> KeyState:
        """The issuer's live key at log index `key` with this role. Raises RuleViolation."""
        known = self._node.sequencer.replay.issuers.get(issuer)
        state = None if known is None else known.keys.get(key)
        if state is None:
            raise RuleViolation(f"entry {key} is no key of this issuer", rule="unknown-key")
        if not state.live:
            raise RuleViolation(f"key {key} has been retired", rule="key-retired")
        if not state.roles & role:
            raise RuleViolation(f"key {key} has not the role {_ROLE_NAMES[role]}", rule="key-role")
        return state

    async def _open_list(self, issuer: bytes) -> None:
        cap = self._node.options.max_lists_per_issuer

        def make(draft: Draft, time_ms: int) -> StatusList:
            state = draft.issuer(issuer)
            if state is not None and len(state.lists) >= cap:
                raise RuleViolation(f"this issuer has {cap} status lists, the most this ledger opens", rule="list-cap")
            return StatusList(time_ms, draft.list_count, issuer)

        await self._node.append(EntryWork(make))


def _check_visible(identifier: str) -> None:
    """The log's rules admit such identifiers, and verifiers show them as escapes; this ledger registers none."""
    unseen = next((c for c in identifier if unicodedata.category(c) in _UNSEEN), None)
    if unseen is not None:
        raise MalformedInput(f"the identifier holds U+{ord(unseen):04X}, which nobody sees: it would pass for another")
