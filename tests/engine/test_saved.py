"""Plans in files: what comes back is the same plan, and what is damaged does not come back."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

import tinytorch
from tests.engine.nets import small_cnn
from tinytorch import Conv2d, Flatten, Linear, MaxPool2d, Plan, ReLU, Sequential, Tensor
from tinytorch.core.autograd import no_grad
from tinytorch.core.tensor import apply
from tinytorch.engine import ops, saved
from tinytorch.engine.plan import PlanError, capture
from tinytorch.perf.compression import block_prune, magnitude_prune
from tinytorch.perf.quantization import quantize
from tinytorch.perf.weighted import executed

RNG = np.random.default_rng(0)


def image(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def net() -> Sequential:
    return Sequential(
        Conv2d(2, 4, 3, padding=1), ReLU(), MaxPool2d(2), Conv2d(4, 3, 3, padding=1), ReLU(), Flatten(), Linear(12, 3)
    )


def built(kind: str):
    x = image(3, 2, 4, 4)
    model = {
        "f32": lambda: net(),
        "norm": small_cnn,
        "int8": lambda: quantize(net(), x),
        "weights only": lambda: quantize(net(), x, activations=False),
        "sparse": lambda: magnitude_prune(net(), 0.7),
        "blocks": lambda: block_prune(net(), 0.5, "layer"),
        "blocks int8": lambda: executed(quantize(block_prune(net(), 0.5, "layer"), x), "blocks"),
        "sparse int8": lambda: quantize(magnitude_prune(net(), 0.7), x),
    }[kind]()
    return tinytorch.compile(model, x), x


@pytest.mark.parametrize(
    "kind", ["f32", "norm", "int8", "weights only", "sparse", "sparse int8", "blocks", "blocks int8"]
)
def test_a_plan_comes_back_as_it_was(tmp_path, kind):
    plan, x = built(kind)
    size = plan.save(tmp_path / "p.plan")
    assert size == plan.nbytes == (tmp_path / "p.plan").stat().st_size
    again = tinytorch.load_plan(tmp_path / "p.plan")
    assert str(again) == str(plan) and again.threads == plan.threads
    np.testing.assert_array_equal(again(x), plan(x))
    assert again.nbytes == plan.nbytes


def test_int8_makes_the_file_smaller(tmp_path):
    wide = Sequential(Linear(256, 128), ReLU(), Linear(128, 10))
    x = image(8, 256)
    assert tinytorch.compile(quantize(wide, x), x).nbytes * 3 < tinytorch.compile(wide, x).nbytes


def test_compile_takes_a_tensor():
    x = image(2, 2, 4, 4)
    model = net()
    np.testing.assert_allclose(tinytorch.compile(model, Tensor(x))(x), model.predict(x), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("seed", range(40))
def test_a_flipped_bit_or_a_cut_is_noticed(tmp_path, seed):
    rng, path = np.random.default_rng(seed), tmp_path / "p.plan"
    plan, x = built("int8" if seed % 2 else "f32")
    plan.save(path)
    content = bytearray(path.read_bytes())
    if seed % 4 < 2:
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    else:
        content = content[: rng.integers(len(content))]
    path.write_bytes(content)
    try:
        again = Plan.load(path)
    except PlanError as error:
        assert "p.plan: " in str(error) and "save the plan again" in str(error)
    else:  # a space inside the header may turn into another that means the same
        np.testing.assert_array_equal(again(x), plan(x))


def forged(plan: Plan, change) -> bytes:
    """The plan's file with its description changed and a checksum that fits."""
    content = saved.to_bytes(plan.graph, 1)
    arrays, text = load_arrays(content), saved.header(content)[saved.METADATA]
    about = json.loads(text)
    change(about)
    text = json.dumps(about)
    return save_arrays(arrays, {saved.METADATA: text, "sha256": saved.digest(text, arrays)})


def set_in(*path):
    *way, last, value = path

    def change(about):
        for key in way:
            about = about[key]
        about[last] = value

    return change


@pytest.mark.parametrize("change, says", [
    (set_in("version", 2), "it has version 2, this program reads 1: update the older"),
    (set_in("nodes", 0, "op", "exec"), "it uses the op 'exec', unknown here"),
    (set_in("nodes", 0, "op", "linear"), "p.plan: "),
    (set_in("nodes", 0, "shape", [3, 4, 9, 9]), r"conv2d would give \(3, 4, 2, 2\), the file says \(3, 4, 9, 9\)"),
    (set_in("nodes", 1, "inputs", 0, 99), "its graph makes no sense"),
    (set_in("nodes", 1, "inputs", 1, "c77"), "its graph makes no sense"),
    (set_in("nodes", 0, "params", "stride", [0, 0]), "stride"),
    (set_in("nodes", 0, "params", "secret", 1), "its graph makes no sense"),
    (set_in("output", 50), "its graph makes no sense"),
    (set_in("inputs", 0, "dtype", "object"), "p.plan: "),
    (set_in("nodes", []), "p.plan: "),
    (set_in("threads", 0), "it asks for 0 threads; 1 to 4096 can be given"),
    (set_in("threads", float("inf")), "its graph makes no sense"),
    (set_in("inputs", 0, "shape", 0, float("inf")), "its graph makes no sense"),
    (set_in("nodes", 0, "params", "margin", [-1, 1]), r"conv2d has margin \(-1, 1\), which no rewrite gives"),
    (set_in("nodes", 0, "params", "margin", [1, 2**40]), "has margin"),
    (set_in("nodes", 0, "params", "margin", 3), "has margin"),
    (set_in("nodes", 0, "params", "activation", "tanh"), "conv2d has activation 'tanh', which no rewrite gives"),
    (set_in("nodes", 0, "params", "pool", 2), "conv2d has pool 2"),
    (set_in("nodes", 0, "params", "grid", [0.1, 3]), "conv2d has grid"),
    (set_in("nodes", 0, "params", "grid", {"grid": [0.1, 256]}), "conv2d has grid"),
    (set_in("nodes", 0, "params", "grid", {"grid": [float("nan"), 3]}), "conv2d has grid"),
])  # fmt: skip
def test_a_forged_file_is_refused(tmp_path, change, says):
    plan, _ = built("f32")
    (tmp_path / "p.plan").write_bytes(forged(plan, change))
    with pytest.raises(PlanError, match=says):
        Plan.load(tmp_path / "p.plan")


def test_an_output_in_bytes_is_refused(tmp_path):
    plan, _ = built("int8")
    (tmp_path / "p.plan").write_bytes(forged(plan, set_in("output", 1)))
    with pytest.raises(PlanError, match=r"p.plan: plan: its output is uint8; plans answer in float32"):
        Plan.load(tmp_path / "p.plan")


def every_place(about, at=()):
    """The paths to all that a description consists of."""
    if at:
        yield at
    for key in about if isinstance(about, dict) else range(len(about)) if isinstance(about, list) else ():
        yield from every_place(about[key], (*at, key))


NONSENSE = [
    None, -1, 0, 1, 7, 2**31, 2**63, 1.5, float("inf"), "x", "c0", "uint8", [], [2, 2], [-1, -1], {}, True,
    {"grid": [0, 300]}, {"slice": [None, None, -1]},
]  # fmt: skip


@pytest.mark.parametrize("kind", ["f32", "norm", "int8", "sparse int8"])
def test_nonsense_anywhere_in_a_forged_file_is_refused_or_harmless(tmp_path, kind):
    """The checksum fits, so only the checks behind it stand between the file and the kernels."""
    plan, _ = built(kind)
    places = list(every_place(json.loads(saved.header(saved.to_bytes(plan.graph, 1))[saved.METADATA])))
    rng, refused = np.random.default_rng(0), 0
    for _ in range(150):
        place, value = places[rng.integers(len(places))], NONSENSE[rng.integers(len(NONSENSE))]
        (tmp_path / "p.plan").write_bytes(forged(plan, set_in(*place, value)))
        try:
            again = Plan.load(tmp_path / "p.plan")
        except PlanError:
            refused += 1
        else:
            answer = again(*(np.ones(v.shape, v.dtype) for v in again.graph.inputs))
            assert answer.shape == again.graph.output.shape
    assert refused > 100


def test_a_missing_file_and_a_folder_that_is_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no such plan; make one with plan.save\(path\)"):
        tinytorch.load_plan(tmp_path / "none")
    with pytest.raises(OSError, match="choose a directory that exists"):
        built("f32")[0].save(tmp_path / "no" / "p.plan")


def test_ids_and_slices_come_back_and_ids_are_still_checked(tmp_path):
    table = image(7, 4)

    def look_up(ids: np.ndarray) -> np.ndarray:
        with no_grad():
            return apply(ops.embedding, Tensor(table), Tensor(ids))[..., 1:3].data

    plan, ids = capture(look_up, np.arange(5)), np.array([6, 0, 1, 1, 2])
    plan.save(tmp_path / "p.plan")
    again = Plan.load(tmp_path / "p.plan")
    np.testing.assert_array_equal(again(ids), table[ids][:, 1:3])
    with pytest.raises(IndexError, match="embedding: id 7"):
        again(ids + 1)
    # a forged file whose ids are a constant of it
    content = saved.to_bytes(plan.graph, 1)
    arrays, text = load_arrays(content), saved.header(content)[saved.METADATA]
    about = json.loads(text)
    arrays["ids"], about["nodes"][0]["inputs"][1] = np.full(5, 9), "ids"
    text = json.dumps(about)
    (tmp_path / "p.plan").write_bytes(save_arrays(arrays, {saved.METADATA: text, "sha256": saved.digest(text, arrays)}))
    with pytest.raises(PlanError, match="embedding: id 9 at position"):
        Plan.load(tmp_path / "p.plan")


def test_weights_are_no_plan(tmp_path):
    from tinytorch import weights

    weights.save(net(), tmp_path / "w")
    with pytest.raises(PlanError, match="no whole plan file"):
        tinytorch.load_plan(tmp_path / "w")
