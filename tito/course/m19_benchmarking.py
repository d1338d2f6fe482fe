"""Module 19: benchmarking, how far a time can be trusted."""

from __future__ import annotations

from tito.checks import Check, Module, Part, Raises

PARTS = (
    Part(
        "Estimate.of", "", ">>> Estimate.of([3, 1, 2])\nEstimate(median=2, low=1, high=3)",
        "Sort; ends_cut(n) values may be left out at either end of the interval.",
    ),
    Part(
        "ends_cut", "", ">>> ends_cut(5), ends_cut(6), ends_cut(9)\n(0, 0, 1)",
        "Each more that is cut off adds one more binomial coefficient to the outcomes that the interval misses, twice; "
        "stop before they are more than a twentieth of 2**count. Integers alone: no rounding.",
    ),
    Part(
        "is_steady", "", ">>> is_steady([9, 9, 9, 9, 5, 5, 5, 5])\nFalse",
        "The medians of the last STEADY_SAMPLES and of as many before them differ by STEADY_CHANGE of the earlier "
        "at most; "
        "fewer samples are not steady.",
    ),
    Part(
        "too_short", "", ">>> too_short(1000, 5) is None\nTrue",
        "None if the timer adds at most TIMER_SHARE of the sample; else a sentence, with duration() for both times.",
    ),
)  # fmt: skip

CHECKS = (
    Check("ends_cut", "an interval that covers the median in 95 of 100 measurements, as short as may be", (
        ("ends_cut(1)", 0),
        ("ends_cut(6)", 0),
        ("ends_cut(9)", 1),
        ("[ends_cut(n) for n in (8, 11, 12, 17, 20, 31)]", [0, 1, 2, 4, 5, 9]),
        ("ends_cut(1000)", 468),
    )),
    Check("Estimate.of", "a median and its interval, from the order of samples alone", (
        ("tuple(Estimate.of([5.0]))", (5.0, 5.0, 5.0)),
        ("tuple(Estimate.of([3.0, 1.0, 2.0]))", (2.0, 1.0, 3.0)),
        ("tuple(Estimate.of(list(range(9))))", (4, 1, 7)),
        ("tuple(Estimate.of([1.0] * 9 + [1000.0]))", (1.0, 1.0, 1.0)),
        ("Estimate.of([])", Raises("ValueError", "no samples")),
    )),
    Check("is_steady", "the last samples agree with those before them", (
        ("is_steady([])", False),
        ("is_steady([5.0] * 7)", False),
        ("is_steady([5.0] * 8)", True),
        ("is_steady([9.0] * 4 + [5.0] * 4)", False),
        ("is_steady([9.0] * 4 + [5.0] * 8)", True),
        ("is_steady([5.0] * 4 + [5.4] * 4)", True),
        ("is_steady([5.0, 5.0, 5.0, 99.0] + [5.0] * 4)", True),
    )),
    Check("too_short", "a sample that the timer disturbs is doubted", (
        ("too_short(1000, 5)", None),
        ("too_short(1000, 10)", None),
        ("type(too_short(1000, 11)).__name__", "str"),
        ("'timer' in too_short(1000, 500)", True),
    )),
)  # fmt: skip

MODULE = Module(
    19, "benchmarking", "Can I trust a time that I measured?",
    {"profiler.doubts": PARTS}, "from profiler.doubts import Estimate, ends_cut, is_steady, too_short", CHECKS,
)  # fmt: skip
