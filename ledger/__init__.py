"""The badge ledger: a transparency log for digital badges. Start reading at docs/life-of-an-entry.md."""

__version__ = "0.1.0"
