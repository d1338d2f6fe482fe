"""Students' own code: read, built once, made again in each process that measures it."""
