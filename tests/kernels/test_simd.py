"""The choice of instruction set, and the kernels on each that this machine has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import kernels
from kernels import cpu, simd

ROOT = Path(kernels.__file__).parent.parent
FEATURES = cpu.host_features()
AVX512 = cpu.PATHS["avx512"].features
CHECKS = ["test_matmul.py::test_gradients", "test_matmul.py::test_any_strides", "test_matmul.py::test_linear",
          "test_conv.py::test_shapes_of_the_nets", "test_pool.py::test_channels_around_a_vector",
          "test_norm_fused.py::test_as_one_after_the_other", "test_norm_fused.py::test_special_numbers",
          "test_layout.py::test_panels_of_a_matrix_and_of_its_transpose",
          "test_attention.py::test_forward_and_gradient", "test_decoding.py::test_queries_to_a_cache",
          "test_limits.py"]  # fmt: skip


def test_the_widest_path_is_chosen():
    assert cpu.choose_path(None, AVX512 | {"avx2", "fma"}) == "avx512"
    assert cpu.choose_path("", frozenset({"avx2", "fma"})) == "avx2"
    assert cpu.choose_path(None, frozenset({"avx2"})) == "generic"
    assert cpu.choose_path("generic", AVX512) == "generic"


def test_unknown_and_impossible_paths():
    with pytest.raises(ValueError, match="KERNELS_SIMD: unknown path 'mmx'; known: avx512, avx2, generic"):
        cpu.choose_path("mmx", AVX512)
    with pytest.raises(ValueError, match=r"KERNELS_SIMD=avx512: this CPU lacks avx512bw.*; it can run: avx2, generic"):
        cpu.choose_path("avx512", frozenset({"avx2", "fma"}))


def test_tiles_fit_the_registers():
    for path in cpu.PATHS.values():
        assert 2 * path.heights[0] + 3 <= path.registers
        assert path.heights[-1] == 1 and list(path.heights) == sorted(path.heights, reverse=True)
        assert path.lanes & (path.lanes - 1) == 0


def test_a_masked_tile_is_one_vector():
    with pytest.raises(ValueError, match="a masked tile has 1 vector, not 2"):
        simd.tile(4, 2, masked=True)


@pytest.mark.parametrize("path", [name for name in cpu.PATHS if cpu.PATHS[name].features <= FEATURES])
def test_kernels_on_every_path(path):
    """The kernels that use vectors by hand, in a process of their own: the path is fixed when they are imported."""
    if path == cpu.PATH:
        pytest.skip("all other tests run on this path")
    tests = [str(Path("tests/kernels") / check) for check in CHECKS]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests], cwd=ROOT,
        env={**os.environ, "KERNELS_SIMD": path}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


@pytest.mark.skipif(cpu.PATH != "avx512", reason="other paths are as wide as LLVM's own vectors")
@pytest.mark.parametrize("first", ["numba.njit(lambda: 1)", "import kernels.cpu; numba.njit(lambda: 1)"])
def test_who_uses_numba_before_the_kernels_is_warned(first):
    code = f"import numba; {first}; import kernels.cpu; print(numba.njit(lambda: 1).targetctx.codegen().magic_tuple())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    early = not first.startswith("import")
    assert ("-prefer-256-bit" in done.stdout) != early
    assert ("Put `import kernels.cpu` before the first @njit" in done.stderr) == early
