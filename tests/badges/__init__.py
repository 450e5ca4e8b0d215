"""Tests of ledger.badges."""
