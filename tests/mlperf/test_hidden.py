"""Hidden test data: others for every secret, of the task's own form, and a gate that allows for luck and no more."""

import numpy as np
import pytest

from leaderboard import Quality
from mlperf import tasks
from mlperf.metrics import RightAnswers
from mlperf.replays import hidden
from mlperf.replays.hidden import deficit, drawn, withheld
from tinytorch.datasets import DataError, Split, all_windows

NAMES = ("perceptron", "xor", "mlp", "cnn", "transformer")


def secret(byte):
    return bytes([byte]) * 32


@pytest.mark.parametrize("name", NAMES)
def test_the_secret_alone_decides_and_the_form_is_the_tasks(name):
    task = tasks.find(name)
    one, again, other = drawn(task, secret(1)), drawn(task, secret(1)), drawn(task, secret(2))
    np.testing.assert_array_equal(one.x, again.x)
    np.testing.assert_array_equal(one.y, again.y)
    assert one.x.shape != other.x.shape or not np.array_equal(one.x, other.x)
    data = task.data
    assert (one.x.dtype, one.x.shape[1:]) == (data.x_test.dtype, data.x_test.shape[1:])
    assert (one.y.dtype, one.y.shape[1:]) == (data.y_test.dtype, data.y_test.shape[1:])
    known = {row.tobytes() for part in (data.x_train, data.x_test) for row in part}
    assert not known & {row.tobytes() for row in one.x}


@pytest.mark.parametrize("name", ["perceptron", "xor", "mlp", "cnn"])
def test_the_reference_is_nearly_as_good_on_it(name):
    """Else it would say nothing about the candidate."""
    task = tasks.find(name)
    unseen, arm = drawn(task, secret(3)), task.answering.reference(task.reference())
    told = task.metric.told(arm, task.answering.queries(unseen.x), unseen.x, unseen.y)
    assert task.metric.score(told, unseen.y).value > 0.85


def test_bytes_stay_bytes():
    images = np.zeros((4, 3, 8, 8), np.uint8)
    images[:, :, 3:5, 3:5] = 255

    class Pictures:
        data = Split("pictures", images, np.arange(4), images, np.arange(4))

    found = hidden.deformed(Pictures, np.random.default_rng(0))
    assert found.x.dtype == np.uint8 and found.x.shape == images.shape
    assert found.x.max() > 100 and not np.array_equal(found.x, images)


def test_a_text_is_cut_at_other_places():
    ids = np.arange(1001)
    x, y = all_windows(ids, 10)

    class Text:
        data = Split("text", x, y, x, y)

    found = hidden.cuts(Text, np.random.default_rng(0))
    np.testing.assert_array_equal(found.x + 1, found.y)
    assert found.x.shape[1] == 10 and set(found.x[:, 0] % 10) != {0}


def quality(n, ref, ref_only, opt_only):
    opt = ref - ref_only + opt_only
    return Quality(
        n=n, ref_correct=ref, opt_correct=opt, ref_only=ref_only, opt_only=opt_only, value=opt / n, ref_value=ref / n
    )


def test_luck_is_allowed_for_and_a_collapse_is_not():
    none = np.zeros(0)
    assert not deficit(quality(360, 350, 8, 3), none, none, 99).is_proof  # 1.5 short; sqrt(11) is 3.3
    assert deficit(quality(360, 350, 40, 3), none, none, 99).is_proof  # 33.5 short; 3 sqrt(43) is 19.7
    assert deficit(quality(2000, 1990, 1000, 5), none, none, 95).is_proof
    assert not deficit(quality(360, 350, 0, 0), none, none, 99).is_proof


def test_how_often_luck_fails_a_candidate_exactly_at_the_gate():
    """Simulated: each of its answers is wrong where the reference's is right with one chance in a hundred."""
    rng, metric, alarms = np.random.default_rng(5), RightAnswers("any", lambda x: x), 0
    truth = np.zeros(360, int)
    for _ in range(2000):
        ref = (rng.random(360) < 0.03).astype(int)
        opt = np.where(rng.random(360) < 0.02, rng.integers(0, 2, 360), ref)
        alarms += deficit(metric.quality(ref, opt, truth), ref, opt, 99).is_proof
    assert alarms <= 20  # one per cent


def test_a_loss_is_judged_by_the_spread_of_its_texts():
    rng = np.random.default_rng(0)
    ref = 1.6 + 0.2 * rng.standard_normal(500)
    mean = Quality(n=500, value=1.0, ref_value=1.0)
    assert not deficit(mean, ref, ref * 1.01, 99).is_proof
    assert not deficit(mean, ref, ref + 0.017 + 0.05 * rng.standard_normal(500), 99).is_proof
    assert deficit(mean, ref, ref * 1.05, 99).is_proof


def test_withheld_data_are_checked(tmp_path):
    task, path = tasks.find("perceptron"), tmp_path / "real.npz"
    x, y = np.zeros((5, 2), np.float32), np.zeros(5, np.int64)
    np.savez(path, x=x, y=y)
    assert withheld(task, path).source == "withheld data, 5 samples"
    np.savez(path, x=x[:, :1], y=y)
    with pytest.raises(DataError, match=r"x is \(5, 1\) float32; perceptron needs \(N, 2\) float32"):
        withheld(task, path)
    np.savez(path, x=x, y=y[:4])
    with pytest.raises(DataError, match=r"y is \(4,\) int64; perceptron needs \(N,\) int64, as many in x as in y"):
        withheld(task, path)
    np.savez(path, x=x)
    with pytest.raises(DataError, match=r"cannot be read: .*np\.savez\(path, x=\.\.\., y=\.\.\.\) makes one"):
        withheld(task, path)
    path.write_text("no")
    with pytest.raises(DataError, match="cannot be read"):
        withheld(task, path)
