"""Watching plans: what is told of each step, that it costs nothing otherwise, and that all is as before afterwards."""

from __future__ import annotations

import gc
import json
import threading
import weakref

import numpy as np
import pytest
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

import profiler
import tinytorch
from kernels import simd
from tests.engine.nets import small_cnn
from tinytorch import GPT, Adam, CrossEntropyLoss, Decoder, Linear, Plan, ReLU, Sequential, models
from tinytorch.engine import saved
from tinytorch.engine.plan import PlanError, capture
from tinytorch.engine.watching import Ran, watch_plans, watchers
from tinytorch.perf.quantization import quantize

RNG = np.random.default_rng(0)
SHAPES = {
    "perceptron": (2,), "xor": (2,), "mlp": (64,), "cnn": (1, 8, 8), "mlp-mnist": (784,), "cnn-cifar10": (3, 32, 32),
}  # fmt: skip


def sample(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def small() -> tuple[Sequential, np.ndarray]:
    np.random.seed(0)
    return Sequential(Linear(8, 16), ReLU(), Linear(16, 3)), sample(5, 8)


def watched(run, *inputs) -> Ran:
    seen: list[Ran] = []
    with watch_plans(seen.append):
        run(*inputs)
    (ran,) = seen
    return ran


def test_each_step_says_whose_it_is_and_what_it_costs():
    model, x = small()
    ran = watched(tinytorch.compile(model, x), x)
    first, last = ran.notes
    assert first[:4] == ("0+1", "Linear+ReLU", "forward", "linear")
    packed = (-(-16 // simd.PANEL), 8, simd.PANEL)  # the weight, in panels as wide as the tiles of this path
    assert (first.shapes, first.out_shape, first.kernels) == (((5, 8), packed), (5, 16), ("product",))
    assert (first.flops, first.operations, first.arithmetic) == (2 * 5 * 8 * 16 + 5 * 16,) * 2 + ("float32",)
    assert last[:4] == ("2", "Linear", "forward", "linear") and last.flops == 2 * 5 * 16 * 3
    assert first.bytes >= 4 * (5 * 8 + 8 * 16 + 16 + 5 * 16)
    assert ran.threads == 1 and len(ran.marks_ns) == 3
    begins, ends = ran.spans_ns
    assert (begins <= ends).all() and (ends[:-1] <= begins[1:]).all() and (ends <= ran.marks_ns[1:]).all()


@pytest.mark.parametrize("name", models.MODELS)
def test_the_flops_of_all_steps_are_those_of_the_eager_model(name):
    np.random.seed(0)
    model = models.MODELS[name]()
    x = sample(3, *SHAPES[name]) if name in SHAPES else RNG.integers(0, 28, (3, 17))
    for plan in (capture(model.eval().predict, x), capture(model.predict, x, rewrite=None)):
        assert sum(note.flops for note in watched(plan, x).notes) == profiler.flops(model, x)


def test_batch_norm_in_the_weights_is_counted_and_not_executed():
    model, x = small_cnn(), sample(2, 2, 4, 4)
    notes = watched(capture(model.predict, x), x).notes
    assert sum(note.flops for note in notes) == profiler.flops(model, x)
    norm = 4 * 2 * 4 * 4 * 4  # FLOPs of the op
    (merged,) = [note for note in notes if note.layer.startswith("0+1") and note.flops]
    assert merged.kind == "Conv2d+BatchNorm2d+ReLU" and merged.flops - merged.operations == norm


def test_integers_are_told():
    model, x = small()
    notes = watched(tinytorch.compile(quantize(model, sample(64, 8)), x), x).notes
    assert {note.arithmetic for note in notes if note.operations} == {"int8"}
    assert [note.layer for note in notes if note.flops] == ["0+1", "2"]


def test_a_captured_step_has_phases():
    model, x = small()
    optimizer, y = Adam(model.parameters()), np.arange(5) % 3
    step = tinytorch.compile_step(model, optimizer, CrossEntropyLoss(), x, y)
    notes = watched(step, x, y).notes
    assert list(dict.fromkeys(note.phase for note in notes)) == ["forward", "backward", "update"]
    of = {(note.layer, note.phase) for note in notes}
    assert {("2", "forward"), ("2", "backward"), ("0", "update"), ("1", "backward")} <= of
    assert all(note.kind == "CrossEntropyLoss" for note in notes if note.op.startswith("cross_entropy"))


def test_names_in_a_decoder_are_those_of_the_model():
    np.random.seed(0)
    gpt = GPT(11, embed_dim=8, num_layers=2, num_heads=2, max_seq_len=8)
    decoder = Decoder(gpt)
    decoder.prefill([[1, 2]])
    decoder.decode([3])
    names = {name for name, _ in gpt.named_modules()}
    told = {part for note in watched(decoder.decode, [3]).notes for part in note.layer.split("+")}
    assert told <= names and any(part.startswith("blocks.1") for part in told)


@pytest.mark.parametrize("threads", [1, 2])
def test_answers_are_the_same_bits(threads):
    model, _ = small()
    for x in (sample(5, 8), sample(4000, 8)):
        plan = tinytorch.compile(model, x, threads=threads)
        expected = plan(x)
        with watch_plans(lambda ran: None):
            np.testing.assert_array_equal(plan(x), expected)
        np.testing.assert_array_equal(plan(x), expected)


def test_small_plans_are_seen_whoever_holds_their_method_and_are_quick_again_afterwards():
    model, x = small()
    plan = tinytorch.compile(model, x)
    call, quick, seen = plan.run, plan._question, list[Ran]()
    assert quick
    before = dict(vars(plan)), dict(vars(Plan))
    with pytest.raises(KeyError), watch_plans(seen.append):
        assert not plan._question
        call(x)
        made_meanwhile = tinytorch.compile(model, x)
        assert not made_meanwhile._question
        raise KeyError
    assert len(seen) >= 1 and not watchers
    assert made_meanwhile._question
    call(x)
    plan(x)
    count = len(seen)
    assert (dict(vars(plan)), dict(vars(Plan))) == before
    assert len(seen) == count


def test_watchers_inside_each_other():
    model, x = small()
    plan, outer, inner = tinytorch.compile(model, x), list[Ran](), list[Ran]()
    with watch_plans(outer.append):
        with watch_plans(inner.append):
            plan(x)
        plan(x)
        assert not plan._question
    plan(x)
    assert (len(outer), len(inner)) == (2, 1)
    assert outer[0].notes is outer[1].notes is inner[0].notes


def test_plans_in_other_threads_are_seen():
    model, x = small()
    plan, seen = tinytorch.compile(model, x), list[Ran]()
    with watch_plans(seen.append):
        threads = [threading.Thread(target=plan, args=(x,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(seen) == 4


def test_a_plan_in_a_file_keeps_its_names(tmp_path):
    model, x = small()
    plan = tinytorch.compile(model, x)
    plan.save(tmp_path / "plan")
    assert watched(Plan.load(tmp_path / "plan"), x).notes == watched(plan, x).notes


def edited(content: bytes, change) -> bytes:
    """A plan file with its description changed, and a checksum that fits."""
    arrays, metadata = load_arrays(content), saved.header(content)
    plan = json.loads(metadata[saved.METADATA])
    change(plan)
    text = json.dumps(plan)
    return save_arrays(arrays, {saved.METADATA: text, "sha256": saved.digest(text, arrays)})


def test_files_from_before_names_are_still_read(tmp_path):
    model, x = small()
    plan = tinytorch.compile(model, x)
    plan.save(tmp_path / "plan")
    old = edited((tmp_path / "plan").read_bytes(), lambda about: [node.pop("origins") for node in about["nodes"]])
    (tmp_path / "old").write_bytes(old)
    loaded = Plan.load(tmp_path / "old")
    np.testing.assert_array_equal(loaded(x), plan(x))
    assert [note.layer for note in watched(loaded, x).notes] == ["", ""]


@pytest.mark.parametrize("origin", [
    ["0", "Linear", "sideways", "linear", 1, True], ["0", "Linear", "forward", "linear", -1, True], ["0"],
    [0, "Linear", "forward", "linear", 1, True], ["0", "Linear", "forward", "linear", 1.5, True], 7,
])  # fmt: skip
def test_names_that_no_op_has_are_refused(origin, tmp_path):
    model, x = small()
    tinytorch.compile(model, x).save(tmp_path / "plan")
    wrong = edited((tmp_path / "plan").read_bytes(), lambda about: about["nodes"][0]["origins"].append(origin))
    (tmp_path / "wrong").write_bytes(wrong)
    with pytest.raises(PlanError, match=r"wrong: (linear is said to come from|its graph makes no sense)"):
        Plan.load(tmp_path / "wrong")


def test_a_plan_keeps_no_model_alive():
    model, x = small()
    plan, gone = tinytorch.compile(model, x), weakref.ref(model)
    assert watched(plan, x).notes
    del model
    gc.collect()
    assert gone() is None
