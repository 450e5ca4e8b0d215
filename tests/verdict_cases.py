"""Badges that were anchored, and their receipts: what tests of verdicts start from. Pure, no clock."""

from __future__ import annotations

import json
from typing import Any

from ledger.badges import Badge, commitment, derive_salt, read
from ledger.policy import Policy
from ledger.receipt import Receipt
from ledger.verdict import Verdict, decide
from tests.builders import ORIGIN
from tests.receipt_builder import Anchored, anchored, build, policy

SCHOOL = "https://school.example/badges"
SALT_KEY = bytes(range(32))
TRUST = policy(ORIGIN)
AUDITED = policy(ORIGIN, auditors=["south"])
DAY_S = 86_400
PROOF = {"type": "DataIntegrityProof", "cryptosuite": "eddsa-rdfc-2022", "proofValue": "z" + "2" * 87}


def badge(*, signed: bool = False, issuer: str | None = SCHOOL, **members: Any) -> Badge:
    """An Open Badges 3.0 credential; without an issuer, a hosted Open Badges 2.0 assertion, which need not name one."""
    if issuer is None:
        document: dict[str, Any] = {
            "@context": "https://w3id.org/openbadges/v2",
            "type": "Assertion",
            "id": "https://school.example/assertions/1",
            "recipient": {"type": "email", "hashed": True, "identity": "sha256$" + "0" * 64},
            "badge": "https://school.example/classes/1",
            "verification": {"type": "HostedBadge"},
            "issuedOn": "2025-01-01T00:00:00Z",
        }
    else:
        document = {
            "@context": ["https://www.w3.org/ns/credentials/v2"],
            "type": ["VerifiableCredential", "OpenBadgeCredential"],
            "issuer": {"id": issuer},
            "credentialSubject": {"type": "AchievementSubject", "achievement": {"name": "Sailing"}},
        }
    if signed:
        document["proof"] = PROOF
    return read(json.dumps(document | members).encode())


class Case:
    """A badge that was anchored, and its receipt."""

    def __init__(self, given: Badge | None = None, *, full: bool = True, **scene: Any) -> None:
        self.badge = badge() if given is None else given
        self.salt = None if self.badge.signed else derive_salt(SALT_KEY, self.badge)
        self.scene: Anchored = anchored(commitment(self.badge, self.salt), **scene)
        self.receipt: Receipt = build(self.scene.log, self.scene.index, full=full, salt=self.salt)

    def decide(
        self, trust: Policy = TRUST, *, age_s: int = 0, max_age_s: int | None = DAY_S, **changes: Any
    ) -> Verdict:
        arguments: dict[str, Any] = {"badge": self.badge, "receipt": self.receipt, "policy": trust}
        arguments |= {"now_s": self.scene.time_s + age_s, "max_age_s": max_age_s}
        return decide(**(arguments | changes))
