"""The rules for issuer_key entries (docs/protocol.md, "Entries"), as one function from an issuer's state to its next.

    first key   add; prev zeros; signer none; manage_sig zeros; binding 1 to 3; roles with *manage*.
                Self-certifying exactly if the identifier begins did:key:, and then it is did:key of the public key
    later       prev = leaf hash of the issuer's key entry before; binding 4; the public key never added before;
                signer = a live *manage* key of the issuer, which signs the same bytes as the new key does
    retire      names a live key and repeats its roles; possession_sig zeros; a live *manage* key must remain
    evidence    zeros for bindings 1 and 4

Whether published evidence is what the identifier's host serves, and whether an operator may vouch, is not judged here:
the log states the binding, and verdicts show it.
"""

from __future__ import annotations

from dataclasses import replace

from ledger.entry import (
    ADD,
    BINDING_DELEGATED,
    BINDING_SELF_CERTIFYING,
    BINDING_VOUCHED,
    NONE_INDEX,
    ROLE_MANAGE,
    ZERO32,
    ZERO64,
    IssuerKey,
    did_key,
    issuer_id,
)
from ledger.errors import RuleViolation, SignatureInvalid
from ledger.message import key_message
from ledger.replay_state import IssuerState, KeyState
from ledger.signing import verify_ed25519

DID_KEY_PREFIX = "did:key:"


def next_issuer(
    issuer: IssuerState | None, unit: IssuerKey, *, index: int, origin: str, data: bytes, leaf: bytes, trusted: bool
) -> IssuerState:
    """The issuer after the key entry `unit` at log index `index`; `issuer` is None before its first.

    `data` are the entry's bytes, `leaf` its leaf hash; `trusted` leaves out both signatures. Raises RuleViolation with
    the rule that fails.
    """
    _Check(issuer, unit, index, origin, trusted).run()
    identifier = issuer_id(unit.identifier)
    if issuer is None:
        key = KeyState(index, identifier, unit.roles, unit.public_key, True, unit.binding, unit.time, data)
        return IssuerState(identifier, unit.identifier, leaf, {index: key}, {unit.public_key: index})
    if unit.action == ADD:
        parent = issuer.keys[unit.signer]
        key = KeyState(index, identifier, unit.roles, unit.public_key, True, parent.binding, unit.time, data, parent)
        added = {**issuer.added, unit.public_key: index}
        return replace(issuer, last_leaf=leaf, keys={**issuer.keys, index: key}, added=added)
    retired = issuer.keys[issuer.added[unit.public_key]]
    return replace(issuer, last_leaf=leaf, keys={**issuer.keys, retired.index: replace(retired, live=False)})


class _Check:
    """One key entry against its issuer: each method raises RuleViolation or returns."""

    def __init__(self, issuer: IssuerState | None, unit: IssuerKey, index: int, origin: str, trusted: bool) -> None:
        self.issuer = issuer
        self.unit = unit
        self.index = index
        self.origin = origin
        self.trusted = trusted

    def run(self) -> None:
        # Signatures come last: they cost more than everything before them.
        if self.issuer is None:
            self._first()
            self._possession()
            return
        signer = self._signer(self.issuer)
        if self.unit.action == ADD:
            self._added(self.issuer)
            self._possession()
        else:
            self._retired(self.issuer)
        self._verify(signer.public_key, self.unit.manage_sig, "the manage signature does not verify")

    def _require(self, holds: bool, rule: str, detail: str) -> None:
        if not holds:
            raise RuleViolation(detail, rule=rule, index=self.index)

    def _first(self) -> None:
        unit = self.unit
        self._require(unit.action == ADD, "unknown-issuer", "a key is retired of an issuer that has none")
        self._require(unit.prev == ZERO32, "key-prev", "the first key entry of an issuer has a prev of zeros")
        self._require(unit.signer == NONE_INDEX, "unknown-key", "the first key of an issuer has no signer")
        self._require(unit.manage_sig == ZERO64, "signature", "the first key of an issuer has no manage signature")
        self._require(bool(unit.roles & ROLE_MANAGE), "key-role", "the first key of an issuer has the role manage")
        self._require(unit.binding <= BINDING_VOUCHED, "binding", "the first key of an issuer cannot be delegated")
        is_did_key = unit.identifier.startswith(DID_KEY_PREFIX)
        self._require(
            is_did_key == (unit.binding == BINDING_SELF_CERTIFYING),
            "binding",
            "a first key is self-certifying exactly if its identifier is a did:key",
        )
        if is_did_key:
            self._require(
                unit.identifier == did_key(unit.public_key), "binding", "the did:key names another public key"
            )
            self._require(unit.evidence == ZERO32, "binding", "a self-certifying key has evidence of zeros")

    def _signer(self, issuer: IssuerState) -> KeyState:
        unit = self.unit
        self._require(unit.prev == issuer.last_leaf, "key-prev", "prev is not the issuer's key entry before this one")
        self._require(unit.binding == BINDING_DELEGATED, "binding", "a later key entry of an issuer is delegated")
        self._require(unit.evidence == ZERO32, "binding", "a delegated key has evidence of zeros")
        signer = issuer.keys.get(unit.signer)
        if signer is None:
            raise RuleViolation(
                f"the signer {unit.signer} is no key of the issuer", rule="unknown-key", index=self.index
            )
        self._require(signer.live, "key-retired", f"the signer {unit.signer} is retired")
        lacking = f"the signer {unit.signer} may not manage keys: it has not the role manage"
        self._require(bool(signer.roles & ROLE_MANAGE), "key-role", lacking)
        return signer

    def _added(self, issuer: IssuerState) -> None:
        known = issuer.added.get(self.unit.public_key)
        self._require(known is None, "key-duplicate", f"entry {known} added this public key already")

    def _retired(self, issuer: IssuerState) -> None:
        unit = self.unit
        added = issuer.added.get(unit.public_key)
        if added is None:
            raise RuleViolation("the key to retire is none of the issuer's", rule="unknown-key", index=self.index)
        key = issuer.keys[added]
        self._require(key.live, "key-retired", f"the key added by entry {added} is retired already")
        self._require(unit.roles == key.roles, "key-role", f"the roles are not those of the add entry {added}")
        self._require(unit.possession_sig == ZERO64, "signature", "a retire entry has no possession signature")
        is_last = bool(key.roles & ROLE_MANAGE) and issuer.managers == 1
        self._require(not is_last, "last-manage", "the last live manage key of an issuer stays")

    def _possession(self) -> None:
        unit = self.unit
        self._verify(unit.public_key, unit.possession_sig, "the possession signature does not verify")

    def _verify(self, public_key: bytes, signature: bytes, detail: str) -> None:
        if self.trusted:
            return
        unit = self.unit
        message = key_message(
            self.origin, unit.action, unit.prev, unit.identifier, unit.roles, unit.algorithm, unit.public_key
        )
        try:
            verify_ed25519(public_key, message, signature)
        except SignatureInvalid as error:
            raise RuleViolation(detail, rule="signature", index=self.index) from error
