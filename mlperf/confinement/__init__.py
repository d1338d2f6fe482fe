"""Foreign code under limits and in a sandbox, and what it reports heard with caution."""
