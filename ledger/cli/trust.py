"""That receipts which a server hands out lead to heads that the log signed; one signature check for each head."""

from __future__ import annotations

from ledger.cli.identity import Log
from ledger.errors import ProofInvalid
from ledger.note import find_lines
from ledger.policy import Policy, evaluate
from ledger.receipt import Receipt, checkpoint_of, with_signatures


class HeadChecker:
    """Checks receipts of one log. It does not replace `verify`: of a receipt's statements it proves only the head's."""

    def __init__(self, log: Log, policy: Policy | None) -> None:
        self._log = log
        self._policy = policy
        self._heads: set[tuple[int, bytes]] = set()

    def check(self, receipt: Receipt) -> Receipt:
        """The receipt, if its proof leads to a head that the log signed; with the signatures that the policy knows, so
        that it is no larger than its reader needs. Raises VerificationError."""
        checkpoint, note = checkpoint_of(receipt)
        if checkpoint.origin != self._log.origin:
            raise ProofInvalid(f"the receipt is of the log {checkpoint.origin!r}, not of {self._log.origin!r}")
        if (checkpoint.size, checkpoint.root) not in self._heads:
            evaluate(self._log.keys, checkpoint, note, now_s=0, max_age_s=None)
            self._heads.add((checkpoint.size, checkpoint.root))
        if self._policy is None:
            return receipt
        known = [line for _, line in find_lines(note, set(self._policy.verifier_keys()))]
        return with_signatures(receipt, known or receipt.signatures)
