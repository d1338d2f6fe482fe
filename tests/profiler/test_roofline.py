"""The roofline by hand, on a made-up machine whose figures are round."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from profiler import roofline
from profiler.roofline import Ceilings, Level, attainable_ns, bound, levels, share_of_roofline

K, M = 1 << 10, 1 << 20
MACHINE = Ceilings(
    cpu="Quick 9", simd="avx2", threads=2, float32_flops_per_s=100e9, int8_ops_per_s=400e9, call_ns=1000, step_ns=10,
    bandwidth=((16 * K, 400e9), (64 * K, 200e9), (M, 100e9), (4 * M, 80e9), (64 * M, 30e9), (128 * M, 20e9)),
    caches=(("L1", 32 * K), ("L2", M), ("L3", 16 * M)), measured_utc="2026-01-02T03:04:05Z",
)  # fmt: skip
ARITHMETIC = st.sampled_from(("float32", "int8"))
COUNTS = st.integers(0, 10**15)
CALLS = st.integers(1, 10**6)


# -- one op ------------------------------------------------------------------------------------------------------------


def test_arithmetic_takes_its_time():
    assert attainable_ns(MACHINE, 100_000, 0, "float32") == pytest.approx(1000)
    assert attainable_ns(MACHINE, 100_000, 0, "int8") == pytest.approx(250)


@pytest.mark.parametrize(
    "nbytes, rate",
    [(1, 400e9), (16 * K, 400e9), (32 * K, 300e9), (64 * K, 200e9), (256 * K, 150e9), (16 * M, 55e9), (M * K, 20e9)],
)
def test_memory_takes_its_time_at_the_size_of_the_working_set(nbytes, rate):
    """Between two sizes half of the powers of two are half of the way; beyond the ends it is the end's."""
    assert attainable_ns(MACHINE, 0, nbytes, "float32") == pytest.approx(1e9 * nbytes / rate)


def test_the_working_set_is_what_one_call_moves():
    assert attainable_ns(MACHINE, 0, 64 * M, "float32") == pytest.approx(64 * M / 30)
    assert attainable_ns(MACHINE, 0, 64 * M, "float32", calls=4096) == pytest.approx(64 * M / 400)


def test_the_longer_of_the_two_counts():
    assert attainable_ns(MACHINE, 100_000, 16 * K, "float32") == pytest.approx(1000)
    assert attainable_ns(MACHINE, 1, 16 * K, "float32") == pytest.approx(16 * K / 400)


def test_share():
    assert share_of_roofline(MACHINE, 100_000, 16 * K, "float32", ns=4000) == pytest.approx(0.25)
    assert share_of_roofline(MACHINE, 0, 0, "float32", ns=300) == 0
    with pytest.raises(ValueError, match="share_of_roofline: it took 0 ns; give the time that was measured"):
        share_of_roofline(MACHINE, 1, 1, "float32", ns=0)


@pytest.mark.parametrize(
    "operations, nbytes, arithmetic, calls, form, expected",
    [
        (10**6, 16 * K, "float32", 1, "eager", "compute"),  # 10 us, 41 ns, 1 us
        (10**6, 16 * K, "float32", 11, "eager", "overhead"),  # 10 us, 41 ns, 11 us
        (10**6, 16 * K, "float32", 11, "plan", "compute"),  # 10 us, 41 ns, 110 ns
        (10**6, 16 * K, "float32", 11, "script", "overhead"),
        (10**6, M, "float32", 1, "eager", "memory"),  # 10 us, 10.5 us
        (10**6, M, "float32", 64, "plan", "compute"),  # in pieces of 16 KiB 2.6 us
        (10**6, M, "int8", 1, "plan", "memory"),
        (0, 0, "float32", 1, "plan", "overhead"),
    ],
)
def test_bound(operations, nbytes, arithmetic, calls, form, expected):
    assert bound(MACHINE, operations, nbytes, arithmetic, calls, form) == expected


def test_unknown_arithmetic():
    with pytest.raises(ValueError, match=r"^roofline: unknown arithmetic 'float64'; known: float32, int8$"):
        attainable_ns(MACHINE, 1, 1, "float64")


@given(COUNTS, COUNTS, ARITHMETIC, CALLS, st.floats(1, 1e6))
def test_no_share_is_above_one_where_it_took_as_long_as_it_has_to(operations, nbytes, arithmetic, calls, slower):
    least = attainable_ns(MACHINE, operations, nbytes, arithmetic, calls)
    if least > 0:
        assert 0 < share_of_roofline(MACHINE, operations, nbytes, arithmetic, least * slower, calls) <= 1


@given(COUNTS, COUNTS, COUNTS, COUNTS, ARITHMETIC, CALLS)
def test_more_work_never_takes_less_time(operations, nbytes, more_operations, more_bytes, arithmetic, calls):
    least = attainable_ns(MACHINE, operations, nbytes, arithmetic, calls)
    assert least <= attainable_ns(MACHINE, operations + more_operations, nbytes, arithmetic, calls)
    assert least <= attainable_ns(MACHINE, operations, nbytes + more_bytes, arithmetic, calls)


# -- the picture -------------------------------------------------------------------------------------------------------


def test_levels():
    assert levels(MACHINE) == (
        Level("L1", 32 * K, 400e9), Level("L2", M, 200e9), Level("L3", 16 * M, 80e9), Level("main memory", None, 30e9)
    )  # fmt: skip


def test_a_cache_without_a_working_set_of_its_own_is_left_out():
    made = MACHINE.model_copy(update={"caches": (("L1", 48 * K), ("L2", 60 * K), ("L3", 16 * M))})
    assert [level.name for level in levels(made)] == ["L1", "L3", "main memory"]


def test_levels_where_the_system_tells_none():
    made = MACHINE.model_copy(update={"caches": ()})
    assert levels(made) == (Level("nearest cache", 16 * K, 400e9), Level("main memory", None, 20e9))


def test_main_memory_where_none_was_free_to_measure_it():
    made = MACHINE.model_copy(update={"bandwidth": MACHINE.bandwidth[:4]})
    assert levels(made)[-1] == Level("main memory", None, 80e9)


def test_the_roof_meets_its_slopes():
    roof = roofline.roof(MACHINE, "int8")
    assert (roof.arithmetic, roof.peak_per_s) == ("int8", 400e9)
    assert [roof.ridge(level) for level in roof.levels] == pytest.approx([1, 2, 5, 400 / 30])
    for level in roof.levels:
        assert roof.attainable_per_s(roof.ridge(level), level) == pytest.approx(400e9)
        assert roof.attainable_per_s(roof.ridge(level) / 8, level) == pytest.approx(50e9)
        assert roof.attainable_per_s(1000, level) == 400e9


# -- as data, in words -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, says",
    [
        ({"more": 1}, "more"),
        ({"threads": 0}, "threads"),
        ({"call_ns": float("nan")}, "call_ns"),
        ({"bandwidth": ()}, "bandwidth"),
        ({"bandwidth": ((4, 1.0), (4, 2.0))}, r"bandwidth: sizes have to grow, and are \[4, 4\]"),
        ({"caches": (("L1", 2), ("L2", 1))}, r"caches: sizes have to grow, and are \[2, 1\]"),
    ],
)
def test_what_cannot_be_is_refused(change, says):
    with pytest.raises(ValidationError, match=says):
        Ceilings(**MACHINE.model_dump() | change)


def test_they_are_written_and_read_as_they_are():
    assert Ceilings.model_validate_json(MACHINE.model_dump_json()) == MACHINE
    with pytest.raises(ValidationError, match="frozen"):
        MACHINE.threads = 3


def test_table(golden):
    doubtful = MACHINE.model_copy(update={"doubts": ("somebody else was busy",)})
    golden("ceilings", roofline.table(doubtful) + "\n")
