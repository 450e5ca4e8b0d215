"""Scripts, deployment and benchmarks. Nothing in ledger/ or api/ imports from here."""
