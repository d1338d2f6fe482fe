"""The command as a user meets it: exit codes, words, and what is left on disk."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from leaderboard import StoreError, load_all
from mlperf.__main__ import main
from mlperf.commands import submit
from mlperf.confinement.hearing import Refused, WorkerError
from tests.mlperf.disturbed import DISTURBED

ROOT = Path(submit.__file__).parents[1]
FIELDS = {
    "submission", "model", "status", "ratio", "ratio_lo", "latency_us_p50", "latency_us_p90", "quality",
    "reference_quality", "quality_interval", "badge", "bytes", "reference_bytes",
}  # fmt: skip


def run(*arguments, cwd=ROOT):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(
        [sys.executable, "-m", "mlperf", *arguments],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_submit_end_to_end(tmp_path):
    process = run(
        "submit", "--model", "mlp", "--fast", "--submitter", "Grace", "--leaderboard", str(tmp_path / "board")
    )
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1, err  # practice is never ranked, so never VALID
    for phase in ("compile kernels", "pipeline", "measure"):
        assert phase in err
    for word in ("quantize", "integer arithmetic", "one plan", "PRACTICE_ONLY", "Grace"):
        assert word in out
    last = json.loads(out.splitlines()[-1])
    assert set(last) >= FIELDS
    assert (last["model"], last["status"]) == ("mlp", "INVALID")
    assert {"PRACTICE_ONLY"} <= set(last["reasons"]) <= {"PRACTICE_ONLY", *DISTURBED}
    assert last["ratio"] > 2
    assert last["quality"] >= 0.99 * last["reference_quality"]
    assert last["bytes"] < last["reference_bytes"] / 2
    loaded = load_all(tmp_path / "board")
    assert not loaded.problems
    (kept,) = loaded.submissions
    assert Path(last["submission"]).read_text().endswith("}\n")
    assert kept.derived.ratio == last["ratio"]
    assert [stage.stage for stage in kept.pipeline] == ["profile", "quantize", "prune", "cache", "accelerate"]
    assert not kept.pipeline[1].emulated
    assert kept.pipeline[1].calibration_n == 256
    assert kept.candidate.pruned
    assert not kept.candidate.retrained
    assert kept.raw.workers[0].compiled_while_timed == 0
    assert len({worker.hash_seed for worker in kept.raw.workers}) == len(kept.raw.workers)


def test_ctrl_c_leaves_nothing_behind(tmp_path):
    process = run("submit", "--model", "perceptron", "--fast", "--leaderboard", str(tmp_path / "board"))
    seen = ""
    while "measure" not in seen:
        seen += process.stderr.read(1)
        assert process.poll() is None, seen
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped; nothing was written" in err
    assert not list(tmp_path.rglob("*"))


def test_list_shows_all_tasks(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = ["perceptron", "xor", "mlp", "cnn", "transformer", "gpt-shakespeare", "mlp-mnist", "cnn-cifar10"]
    assert [line.split()[0] for line in lines[2:]] == names


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["submit", "--model", "resnet"], "unknown model 'resnet'; known: perceptron, xor, mlp, cnn"),
        (["submit", "--model", "mlp", "--skip", "fly"], "unknown stage 'fly'; known: profile, quantize, prune"),
        (["submit", "--model", "mlp", "--recipe", "none.toml"], "recipe none.toml: cannot be read"),
        (["submit", "--model", "mlp", "--fast", "--division", "closed"], "--fast is always division practice"),
        (["submit", "--model", "mlp", "--division", "free"], "closed.*open.*practice"),
        (["submit", "--model", "mlp", "--threads", "0"], "--threads is 0; this process may use 1 to"),
        (["submit", "--model", "mlp", "--submitter", ""], "--submitter has 0 characters"),
        (["submit", "--model", "mlp", "--turbo"], "(?s)--model MODEL.*--skip STAGE.*unrecognized arguments: --turbo"),
        (["fly"], "choose from .*submit"),
        ([], "required: "),
    ],
)
def test_what_is_unknown_is_said_with_exit_code_2(arguments, text, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert re.search(text, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("TINYTORCH_BACKEND", "TINYTORCH_BACKEND: unknown backend 'fast'; known: numpy, numba"),
        ("KERNELS_SIMD", "KERNELS_SIMD: unknown path 'fast'; known: avx512, avx2, generic"),
    ],
)
def test_what_the_environment_names_wrongly_is_said_with_exit_code_2(variable, text, tmp_path):
    command_line = [sys.executable, "-m", "mlperf", "submit", "--model", "mlp", "--leaderboard", str(tmp_path)]
    done = subprocess.run(command_line, env={**os.environ, variable: "fast"}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "") and text in done.stderr and "Traceback" not in done.stderr


def test_a_task_without_its_text_says_so_before_anything_is_compiled(tmp_path):
    here = str(tmp_path)
    nowhere = {**os.environ, "TINYTORCH_DATA": here, "XDG_CACHE_HOME": here, "HTTPS_PROXY": "http://0.0.0.0:1"}
    command_line = [sys.executable, "-m", "mlperf", "submit", "--model", "gpt-shakespeare", "--leaderboard", here]
    done = subprocess.run(command_line, env=nowhere, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("mlperf: --model gpt-shakespeare needs data: tinyshakespeare: ")
    assert "TINYTORCH_DATA" in done.stderr
    assert "Traceback" not in done.stderr and "compile" not in done.stderr
    listed = subprocess.run([sys.executable, "-m", "mlperf", "list"], env=nowhere, capture_output=True, text=True)
    assert re.search("gpt-shakespeare +tinyshakespeare +no data", listed.stdout) and not listed.returncode


def test_a_text_task_end_to_end(tmp_path):
    process = run("submit", "--model", "transformer", "--fast", "--leaderboard", str(tmp_path))
    out, err = process.communicate(timeout=600)
    assert process.returncode == 1, err
    last = json.loads(out.splitlines()[-1])
    assert set(last) >= FIELDS | {"ttft_ms_p50", "tokens_per_s"}
    assert {"PRACTICE_ONLY"} <= set(last["reasons"]) <= {"PRACTICE_ONLY", *DISTURBED}
    assert last["quality"] >= 0.99 * last["reference_quality"] and last["ratio"] > 4
    for word in ("blocks.1.attention", "lm_head", "reads 32 positions instead of 392", "two plans", "tokens/s"):
        assert word in out
    loaded = load_all(tmp_path)
    assert not loaded.problems
    (kept,) = loaded.submissions
    assert kept.task.output_tokens == 16 and set(kept.generation.tokens) == {16}
    assert kept.generation.prompts == 32 and kept.generation.greedy_agreement == 1
    assert [stage.enabled for stage in kept.pipeline] == [True] * 5
    assert kept.pipeline[3].flops < kept.pipeline[2].flops / 10  # what the cache saves


def test_channels_of_a_text_task_cannot_be_removed(tmp_path, capsys):
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[prune]\nmethod = 'channels'\n")
    with pytest.raises(SystemExit) as stopped:
        main(["submit", "--model", "transformer", "--recipe", str(recipe), "--leaderboard", str(tmp_path)])
    assert stopped.value.code == 2
    assert 'prune it by magnitude: method = "magnitude" or "blocks"' in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_found_before_measuring(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(submit, "compile_all", lambda: pytest.fail("measured first"))
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(SystemExit) as stopped:
        main(["submit", "--model", "mlp", "--leaderboard", str(tmp_path / "file" / "board")])
    assert stopped.value.code == 2
    assert "is no writable directory; choose another" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130),
        (WorkerError("worker 0 ended without a result"), 1),
        (StoreError("no space left"), 1),
        (Refused("OUTPUT_TYPE", "the entry answered with str"), 1),
        (FileNotFoundError("there is no such weights file"), 1),
    ],
)
def test_exit_codes_of_runs_that_end_early(error, code, monkeypatch, capsys):
    def fail(options):
        raise error

    monkeypatch.setattr(submit, "run", fail)
    assert main(["submit", "--model", "mlp"]) == code
    said = capsys.readouterr().err
    assert "mlperf: " in said
    told = "OUTPUT_TYPE: the entry answered with str\nReturn the array itself"
    assert (told in said and "(python -m mlperf explain OUTPUT_TYPE)" in said) == isinstance(error, Refused)
