"""The HTTP service over `ledger`: routes, schemas, problem documents. Only `badge-ledger serve` imports it."""
