"""Whether a badge is authentic: its own signature, under a key of the issuer that it names; the status lists of others.

One vocabulary (`ledger.authenticity.model`) around what the libraries do. Importing it is cheap: a library is loaded
when a badge needs it.
"""

from __future__ import annotations

from ledger.authenticity.model import Authenticity, ListFinding, ListState, OwnSignature

__all__ = ["Authenticity", "ListFinding", "ListState", "OwnSignature"]
