"""Verifying real submissions: honest ones pass, each kind of tampering fails with a code of its own."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from leaderboard import load_all, signing, verification
from leaderboard.verification import Check
from mlperf import tasks
from mlperf.__main__ import main
from mlperf.replays import tolerances, verifying
from tests.mlperf.tampering import DISTURBED, decided, failed, resealed, verify  # noqa: F401
from tinytorch import weights


@pytest.fixture
def copied(perceptron_board, tmp_path):
    """The path of the submission in a directory of one's own."""
    shutil.copytree(perceptron_board, tmp_path / "board")
    (path,) = (tmp_path / "board").rglob("*.json")
    return path


@pytest.fixture
def key(tmp_path):
    signing.generate(tmp_path / "keys" / "key.pem")
    return tmp_path / "keys" / "key.pem"


def test_an_honest_submission_is_signed_and_entered(copied, key, tmp_path, capsys):
    data = tasks.find("perceptron").data
    np.savez(tmp_path / "real.npz", x=data.x_train, y=1 - data.y_train)  # the other way round, for the reference too
    arguments = ("--key", key, "--verifier", "Grace", "--jobs", 2, "--hidden", tmp_path / "real.npz")
    code, line = verify(capsys, copied.parents[3], *arguments)
    (result,) = line["results"]
    assert set(result["failed"]) <= DISTURBED and code == bool(result["failed"])
    records, problems = verification.load_all(copied.parents[3])
    assert problems == ()
    ((record,),) = records.values()
    assert record.verifier == "grace" and record.result == result["result"] and record.sandboxed
    codes = {check.code: check for check in record.checks}
    assert {"HARNESS_MODIFIED", "CODE_HASH", "RETRAINING_MISMATCH", "LABELS_MISMATCH", "HIDDEN_QUALITY"} <= set(codes)
    assert codes["LABELS_MISMATCH"].measured == "0, exact"
    assert codes["RETRAINING_MISMATCH"].passed
    assert "withheld data, 300 samples" in codes["HIDDEN_QUALITY"].measured
    assert load_all(copied.parents[3]).problems == ()  # a record is no submission

    path, public = Path(result["record"]), signing.public_file(key)
    assert main(["verify", "--check", str(path), "--public", str(public)]) == 0
    assert main(["verify", "--check", str(copied.parents[3])]) == 0
    head = json.loads(capsys.readouterr().out.splitlines()[-1])["head"]
    assert line["head"] == {str(path.parent): head}
    path.write_text(path.read_text().replace('"ratio":', '"ratio":1'))
    assert main(["verify", "--check", str(path), "--public", str(public)]) == 1
    assert "NOT genuine: the signature does not fit" in capsys.readouterr().out
    assert main(["verify", "--check", str(copied.parents[3]), "--head", "0" * 63 + "1"]) == 1
    out = capsys.readouterr().out
    assert "with another content: it was exchanged" in out and "no line has the hash" in out


def test_an_edited_file(copied, key, capsys):
    copied.write_text(copied.read_text().replace('"Ada"', '"Bob"'))
    assert failed(capsys, copied, "--key", key) == {"HASH_MISMATCH"}
    assert not (copied.parents[3] / "verifications").exists()


def test_wrong_weights(copied, capsys):
    folder = copied.with_suffix(".files")
    model = tasks.find("perceptron").reference()
    for parameter in model.parameters():
        parameter.data += np.float32(0.01)
    weights.save(model, folder / "candidate.safetensors")
    assert failed(capsys, copied) == {"CHECKPOINT_HASH"}
    (folder / "candidate.safetensors").unlink()
    (folder / "more.txt").write_text("unasked")
    assert failed(capsys, copied) == {"CHECKPOINT_HASH", "FILE_HASH"}


def test_weights_that_no_recipe_made_though_every_hash_fits(copied, tmp_path, capsys):
    """Trained on the test data, say: same size, same answers, same speed."""
    model = tasks.find("perceptron").reference()
    for parameter in model.parameters():
        parameter.data *= np.float32(1.0001)
    weights.save(model, tmp_path / "better.safetensors")
    digest, text = weights.sha256(tmp_path / "better.safetensors"), (tmp_path / "better.safetensors").read_bytes()

    def change(content):
        content["candidate"]["checkpoint_sha256"] = digest

    forged = resealed(copied, change, {"candidate.safetensors": text})
    assert failed(capsys, forged) == {"RETRAINING_MISMATCH"}
    assert failed(capsys, forged, "--no-retrain") <= DISTURBED


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        (lambda c: c["candidate"].update(code_sha256="1" * 64), {"CODE_HASH"}),
        (lambda c: c["harness"]["files_sha256"].update({"mlperf/worker.py": "1" * 64}), {"HARNESS_MODIFIED"}),
        (lambda c: c.update(benchmark_version="1.0"), {"BENCHMARK_VERSION"}),
        (lambda c: c["task"].update(quality_floor=0.1), {"BENCHMARK_VERSION"}),
        (lambda c: c["task"].update(dataset_sha256="1" * 64), {"DATASET_HASH"}),
        (lambda c: c["reference"].update(checkpoint_sha256="1" * 64), {"REFERENCE_HASH"}),
        (lambda c: c["reference"].update(bytes=10**6), {"REFERENCE_HASH"}),
        (lambda c: c["candidate"].update(bytes_stored=1), {"FILE_HASH"}),
        (lambda c: c["candidate"].pop("form"), {"NOT_REPLAYABLE"}),
        (lambda c: c["candidate"].update(threads=2), {"RETRAINING_MISMATCH"}),
        (lambda c: c["candidate"].update(retrained=True), {"RETRAINING_MISMATCH"}),
        (lambda c: c["pipeline"][2]["config"].update(amount=7), {"NOT_REPLAYABLE"}),
        (lambda c: c.update(model="elsewhere"), {"NOT_REPLAYABLE"}),
    ],
)  # fmt: skip
def test_what_a_file_claims_and_is_not_so(copied, capsys, change, codes):
    assert failed(capsys, resealed(copied, change)) == codes


def test_made_up_times_and_answers(copied, capsys):
    """Whoever makes up raw data consistently is found by the replay alone."""

    def change(content):
        for worker in content["raw"]["workers"]:
            worker["opt_block_ns"] = [ns // 2 for ns in worker["opt_block_ns"]]
            worker["inner_opt"] *= 3
        content["quality"].update(labels_sha256="1" * 64)

    assert failed(capsys, resealed(copied, change)) >= {"RATIO_MISMATCH", "LABELS_MISMATCH"}


def test_a_seed_is_told_only_on_request_and_is_the_recorded_one(copied, key, capsys):
    copied.write_text(copied.read_text())
    forged = resealed(copied, lambda content: content["candidate"].update(code_sha256="1" * 64))
    capsys.readouterr()
    main(["verify", str(forged), "--key", str(key)])
    assert "Secret seed" not in capsys.readouterr().out
    main(["verify", str(forged), "--key", str(key), "--show-seed"])
    told = capsys.readouterr().out
    (record,) = verification.load_all(forged.parents[3]).records[forged.stem]
    seed = bytes.fromhex(told.split("Secret seed: ")[1].split()[0])
    assert len(seed) == 32
    assert verifying.Secret(seed).sha256 == record.secret_seed_sha256


def test_no_verdict_on_a_machine_that_does_something_else_beside(copied, key, capsys, monkeypatch):
    checks = [
        Check(code="NOISY", passed=None, measured=0.9, required="quiet"),
        Check(code="RATIO_MISMATCH", passed=False, measured="2x", required="4x"),
    ]
    monkeypatch.setattr(tolerances, "TIMED", {"RATIO_MISMATCH"})
    monkeypatch.setattr(verifying, "measured", lambda *_: tried.append(1) or (None, checks))
    tried = []
    code, line = verify(capsys, copied, "--key", key)
    assert (code, line["undecided"], line["results"][0]["result"]) == (1, 1, "UNDECIDED") and len(tried) == 3
    assert not (copied.parents[3] / "verifications").exists()
    checks[1] = checks[1].model_copy(update={"code": "LABELS_MISMATCH"})  # no clock had a part in that
    assert failed(capsys, copied) == {"LABELS_MISMATCH"} and len(tried) == 4


def test_withheld_data_must_be_of_the_tasks_form(copied, tmp_path, capsys):
    data = tasks.find("perceptron").data
    np.savez(tmp_path / "real.npz", x=data.x_train[:, :1], y=data.y_train)
    assert main(["verify", str(copied), "--hidden", str(tmp_path / "real.npz")]) == 2
    assert "x is (300, 1) float32; perceptron needs (N, 2) float32" in capsys.readouterr().err


def test_what_cannot_be_verified_is_refused_before_anything_runs(copied, key, tmp_path, capsys):
    for arguments, words in (
        ([], "name a submission or a directory of them"),
        ([str(tmp_path / "nowhere")], "no file or directory"),
        ([str(tmp_path / "keys")], "no submissions below"),
        ([str(copied), "--jobs", "0"], "--jobs is 0; at least 1"),
        ([str(copied), "--key", str(tmp_path / "none.pem")], "`python -m mlperf keygen` makes a pair"),
        (["--check", str(copied), str(copied)], "--check RECORD|DIR takes no other path"),
        (["--check", str(tmp_path / "nowhere")], "no record"),
    ):
        with pytest.raises(SystemExit) as error:
            main(["verify", *arguments])
        assert error.value.code == 2
        assert words in capsys.readouterr().err
    key.chmod(0o644)
    with pytest.raises(SystemExit):
        main(["verify", str(copied), "--key", str(key)])
    assert "others may use it (mode 0644)" in capsys.readouterr().err
