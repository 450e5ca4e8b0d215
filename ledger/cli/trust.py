"""That receipts which a server hands out, or which lie in a folder, prove what they say. One signature check a head is
not enough for that: a proven head says nothing of the status that a receipt shows under it.

Not here: whether a receipt is new enough, or its badge valid. That is the verifier's to ask (`ledger.verdict`).
"""

from __future__ import annotations

from ledger.cli.identity import Log
from ledger.clock import Clock
from ledger.errors import ProofInvalid
from ledger.note import find_lines
from ledger.policy import Policy
from ledger.receipt import Receipt, checkpoint_of, with_signatures
from ledger.tlogproof import TlogProof, verify_tlog_proof
from ledger.verify import Proven, verify_receipt


class ReceiptChecker:
    """Verifies receipts of one log by the policy that was given, else by the log's own keys."""

    def __init__(self, log: Log, policy: Policy | None, clock: Clock) -> None:
        self._log = log
        self._policy = policy
        self._clock = clock

    def check(
        self, receipt: Receipt, *, commitment: bytes | None = None, issuer: bytes | None = None
    ) -> tuple[Receipt, Proven]:
        """The receipt as `trimmed`, and what it proves; any age will do. Raises as `verify_receipt` does, also for a
        receipt of another log."""
        if receipt.origin != self._log.origin:
            raise ProofInvalid(f"the receipt is of the log {receipt.origin!r}, not of {self._log.origin!r}")
        # Judged at the head's own time where this machine's clock is behind: issuers' clocks decide nothing.
        now_s = max(receipt.status_root_entry().time, self._clock.now_ms()) // 1000
        proven = verify_receipt(
            receipt, policy=self._policy or self._log.keys, now_s=now_s, commitment=commitment, issuer=issuer
        )
        return self.trimmed(receipt), proven

    def trimmed(self, receipt: Receipt) -> Receipt:
        """The receipt with the signatures that the policy knows, so that it is no larger than its reader needs."""
        if self._policy is None:
            return receipt
        _, note = checkpoint_of(receipt)
        known = [line for _, line in find_lines(note, set(self._policy.verifier_keys()))]
        return with_signatures(receipt, known or receipt.signatures)

    def check_tlog_proof(self, leaf: bytes, proof: TlogProof) -> None:
        """That the proof leads from the leaf hash to a head that the policy accepts. Raises VerificationError."""
        verify_tlog_proof(leaf, proof, self._policy or self._log.keys, now_s=self._clock.now_ms() // 1000)
