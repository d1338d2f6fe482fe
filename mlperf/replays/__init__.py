"""Measuring a submission again: what may be told without running it, what is run, and what may differ."""
