"""Tests of ledger.store against a real PostgreSQL."""
