"""The service as its callers meet it: every route, every refusal, and the whole log checked after each scenario."""
