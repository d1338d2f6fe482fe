"""The command as a user meets it: exit codes, words, files."""

from __future__ import annotations

import json

import pytest

from benchmarks import __main__ as command
from benchmarks import accuracy, contest, libraries
from benchmarks.__main__ import main
from tests.benchmarks.results import gemm, latency
from tinytorch.datasets import DataError


@pytest.fixture
def measured(monkeypatch):
    """Let the command find these results instead of measuring, peers installed or not."""

    def use(*results):
        asked = []
        monkeypatch.setattr(libraries, "missing", lambda *which: [])
        monkeypatch.setattr(command, "measure", lambda *how: asked.append(how) or list(results))
        return asked

    return use


def test_tables_json_and_plots(measured, tmp_path, capsys):
    asked = measured(gemm(), latency())
    code = main(["kernels", "--quick", "--threads", "1", "--json", str(tmp_path / "a.json"), "--plot", str(tmp_path)])
    out = capsys.readouterr().out
    assert code == 1  # the latency of torch is not ten times ours
    assert asked == [(["kernels"], [1], True)]
    assert "kernels, 1 thread\n" in out and "inference, 1 thread\n" in out
    assert json.loads(out.splitlines()[-1])["missed"][0]["name"] == "mlp latency: torch eager / ours"
    assert len(json.loads((tmp_path / "a.json").read_text())["results"]) == 2
    assert (tmp_path / "benchmarks_targets.png").exists()


def test_all_reached_is_zero_and_nothing_judged_is_not(measured):
    measured(gemm())
    assert main(["--threads", "1"]) == 0
    measured()
    assert main(["--threads", "1"]) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["kernel"],
         "unknown group kernel; known: kernels, sparse, inference, training, transformer, overhead, accuracy"),
        (["--threads", "two"], "--threads is 'two'; give numbers with commas between them, such as 1,2"),
        (["--threads", "0"], "--threads is 0; this process may use 1 to"),
        (["--threads", "1,4096"], "--threads is 1,4096; this process may use 1 to"),
    ],
)
def test_wrong_usage(arguments, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err


def test_missing_peers_say_what_installs_them(monkeypatch, capsys):
    monkeypatch.setattr(libraries, "NEEDED", {"torch": ("a_package_nobody_has",)})
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert "the peers are missing: a_package_nobody_has; install them with: pip install -e '.[peers]'" in err


def test_the_race_needs_pytorch_alone(monkeypatch, capsys):
    monkeypatch.setattr(libraries, "NEEDED", {"torch": ("json",), "onnxruntime": ("a_package_nobody_has",)})
    monkeypatch.setattr(command, "measure", lambda *how: [gemm()])
    assert main(["accuracy"]) == 0
    monkeypatch.setattr(libraries, "NEEDED", {"torch": ("a_package_nobody_has",)})
    with pytest.raises(SystemExit) as stopped:
        main(["accuracy"])
    assert stopped.value.code == 2
    assert "the peers are missing: a_package_nobody_has" in capsys.readouterr().err


def test_a_race_comes_where_it_is_asked_for_with_the_most_threads(monkeypatch):
    asked = []
    monkeypatch.setattr(accuracy, "measure", lambda *how: asked.append(how) or latency())
    assert len(command.measure(["accuracy"], [1, 2], True)) == 1
    assert asked == [(2, True)]
    assert command.measure(["sparse"], [], True) == [] and len(asked) == 1


def test_missing_data_is_told_with_what_to_do(measured, monkeypatch, capsys):
    measured()

    def fail(*how):
        raise DataError("cifar10: there is no cifar-10-binary.tar.gz; put it into a folder")

    monkeypatch.setattr(command, "measure", fail)
    assert main(["accuracy"]) == 2
    assert capsys.readouterr().err == "benchmarks: cifar10: there is no cifar-10-binary.tar.gz; put it into a folder\n"


def test_a_failed_run(measured, monkeypatch, capsys):
    measured()

    def fail(*how):
        raise RuntimeError("benchmarks: the process of torch ended")

    monkeypatch.setattr(command, "measure", fail)
    assert main([]) == 1
    assert "the process of torch ended" in capsys.readouterr().err


def test_help_shows_examples(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    assert "python -m benchmarks kernels inference --quick" in capsys.readouterr().out


def test_measuring_overhead(monkeypatch):
    """The whole way with the smallest group."""
    pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(contest, "QUICK", contest.Effort(rounds=1, block_ns=1_000_000))
    chain, call, imports = command.measure(["overhead"], [1], quick=True)
    assert set(chain.times_ns) == {"tinytorch eager", "torch eager", "numpy eager"}
    assert {"tinytorch plan", "onnxruntime float32", "torch eager"} < set(call.times_ns)
    assert set(imports.times_ns) == {f"{name} import" for name in ("tinytorch", "torch", "onnxruntime", "numpy")}
    assert imports.times_ns["torch import"][0] > imports.times_ns["numpy import"][0]
