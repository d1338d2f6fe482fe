"""What may be found against an honest run on a machine that other programs use: the rules that go by times."""

DISTURBED = {
    "BLOCK_TOO_SHORT", "CACHING_SUSPECTED", "CLOCK_INCONSISTENT", "NOISY", "NOT_STEADY", "RATIO_MISMATCH",
    "REFERENCE_OUT_OF_BAND", "SEED_SENSITIVE", "WEIGHTS_IGNORED",
}  # fmt: skip
