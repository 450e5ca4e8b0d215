"""Tests of ledger.authenticity."""
