"""Optimizers: steps worked out by hand, state in and out, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tinytorch import SGD, Adam, AdamW, Linear, Optimizer, Tensor, optim

pytestmark = pytest.mark.usefixtures("backend")


def stepped(make, gradients, start=1.0):
    """Values of one weight after each step with the given gradients."""
    w = Tensor([start], requires_grad=True)
    optimizer, values = make([w]), []
    for g in gradients:
        w.grad = np.array([g], np.float32)
        optimizer.step()
        values.append(w.item())
    return values


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.9, 0.7]),  # w - 0.1 g
        ({"weight_decay": 0.5}, [0.85, 0.6075]),  # g + w/2: 1.5, then 2.425
        ({"momentum": 0.5}, [0.9, 0.65]),  # v: 1, then 2.5
        ({"momentum": 0.5, "nesterov": True}, [0.85, 0.525]),  # g + v/2: 1.5, then 2 + 1.25
        ({"momentum": 0.5, "weight_decay": 0.5}, [0.85, 0.5325]),  # v: 1.5, then 0.75 + 2.425
    ],
)
def test_sgd_by_hand(options, expected):
    assert stepped(lambda p: SGD(p, lr=0.1, **options), [1.0, 2.0]) == pytest.approx(expected, rel=1e-6)


def adam_by_hand(gradients, lr, decay=0.0, decoupled=False, beta1=0.9, beta2=0.999, eps=1e-8, w=1.0):
    """The published algorithm in Python numbers."""
    m = v = 0.0
    values = []
    for t, g in enumerate(gradients, 1):
        if decoupled:
            w -= lr * decay * w
        else:
            g += decay * w
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        w -= lr * (m / (1 - beta1**t)) / (math.sqrt(v / (1 - beta2**t)) + eps)
        values.append(w)
    return values


GRADIENTS = [1.0, -2.0, 0.5, 3.0]


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize(("kind", "decoupled"), [(Adam, False), (AdamW, True)])
def test_adam_follows_the_published_algorithm(kind, decoupled, decay):
    expected = adam_by_hand(GRADIENTS, 0.1, decay, decoupled)
    assert stepped(lambda p: kind(p, lr=0.1, weight_decay=decay), GRADIENTS) == pytest.approx(expected, rel=1e-5)


def test_adams_first_step_is_lr_whatever_the_gradients_size():
    for g in (1e-3, 1.0, 1e4):
        assert stepped(lambda p: Adam(p, lr=0.1), [g]) == pytest.approx([0.9], rel=1e-4)


def test_adams_options_reach_the_step():
    expected = adam_by_hand(GRADIENTS, 0.05, beta1=0.5, beta2=0.9, eps=0.1)
    made = stepped(lambda p: Adam(p, lr=0.05, betas=(0.5, 0.9), eps=0.1), GRADIENTS)
    assert made == pytest.approx(expected, rel=1e-5)


def test_parameters_without_gradient_stay():
    used, unused = Tensor([1.0], requires_grad=True), Tensor([1.0], requires_grad=True)
    optimizer = AdamW([used, unused], lr=0.1, weight_decay=0.5)
    used.grad = np.ones(1, np.float32)
    optimizer.step()
    assert used.item() < 1 and unused.item() == 1
    optimizer.zero_grad()
    assert used.grad is None


def test_steps_change_weights_in_place_and_leave_gradients():
    w = Tensor([1.0, 2.0], requires_grad=True)
    data, w.grad = w.data, np.array([1, 1], np.float32)
    SGD([w], lr=0.5, momentum=0.9, weight_decay=0.1).step()
    assert w.data is data
    np.testing.assert_array_equal(w.grad, [1, 1])


@pytest.mark.parametrize("make", [lambda p: SGD(p, momentum=0.9), Adam, AdamW, SGD])
def test_state_goes_on_where_it_stopped(make):
    def run(model, optimizer, batches):
        for x in batches:
            optimizer.zero_grad()
            (model(x) ** 2).mean().backward()
            optimizer.step()

    np.random.seed(0)
    batches = [Tensor.randn(4, 3, seed=i) for i in range(6)]
    straight = Linear(3, 2)
    halted = Linear(3, 2)
    halted.load_state_dict(straight.state_dict())
    run(straight, make(straight.parameters()), batches)

    first = make(halted.parameters())
    run(halted, first, batches[:3])
    state = first.state_dict()
    second = make(halted.parameters())
    second.load_state_dict(state)
    for m in state["moments"].values():
        m[...] = 0  # what was loaded is a copy
    run(halted, second, batches[3:])
    np.testing.assert_array_equal(halted.weight.data, straight.weight.data)


@pytest.mark.parametrize(
    ("moments", "text"),
    [
        ({"0.m": np.zeros(2), "0.v": np.zeros(2)}, r"moment 0.m \(2,\) fits no parameter; load the same model's state"),
        ({"1.m": np.zeros(1)}, "moment 1.m .* fits no parameter"),
        ({"-1.m": np.zeros(1)}, "moment -1.m .* fits no parameter"),
        ({"0.velocity": np.zeros(1)}, "Adam has no moment 'velocity', it has m, v; load the state of the same kind"),
        ({"0.m": np.zeros(1)}, "parameter 0 has only m; save the state again"),
        ({"m": np.zeros(1)}, "invalid literal"),
    ],
)
def test_a_wrong_state_changes_nothing(moments, text):
    w = Tensor([1.0], requires_grad=True)
    optimizer = Adam([w], lr=0.1)
    w.grad = np.ones(1, np.float32)
    optimizer.step()
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match=text):
        optimizer.load_state_dict({"step_count": 7, "lr": 3.0, "moments": moments})
    assert optimizer.state_dict() == before


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: SGD([]), r"SGD: no parameters given; pass model.parameters\(\)"),
        (lambda: Adam([Tensor([1.0])]), "Adam: parameter 0 requires no gradient; pass tensors with requires_grad=True"),
        (lambda: Adam([np.ones(1)]), "Adam: parameter 0 is a ndarray"),
        (lambda: SGD(Linear(1, 1).parameters(), lr=-1), "SGD: lr -1 and weight_decay 0.0 must not be negative"),
        (lambda: SGD(Linear(1, 1).parameters(), nesterov=True), "Nesterov needs a positive momentum"),
        (lambda: AdamW(Linear(1, 1).parameters(), betas=(1.0, 0.9)), r"AdamW: betas \(1.0, 0.9\) must be in \[0, 1\)"),
    ],
)
def test_bad_settings_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_an_optimizer_without_update_says_so():
    w = Tensor([1.0], requires_grad=True)
    w.grad = np.ones(1, np.float32)
    with pytest.raises(TypeError, match=r"Optimizer: no update\(\) defined; define update\(self, w, g, moments\)"):
        Optimizer([w], 0.1, 0.0).step()


def test_pytorchs_module_name():
    assert optim.SGD is SGD and optim.Adam is Adam and optim.AdamW is AdamW


# -- groups -----------------------------------------------------------------------------------------------------------


def test_decay_that_is_decoupled_does_not_pass_through_momentum():
    """v: 1, then 2.5; w: 0.95 - 0.1, then 0.95 * 0.85 - 0.25."""
    options = {"momentum": 0.5, "weight_decay": 0.5, "decoupled": True}
    assert stepped(lambda p: SGD(p, lr=0.1, **options), [1.0, 2.0]) == pytest.approx([0.85, 0.5575], rel=1e-6)
    plain = stepped(lambda p: SGD(p, lr=0.1, weight_decay=0.5, decoupled=True), [1.0, 2.0])
    assert plain == pytest.approx(stepped(lambda p: SGD(p, lr=0.1, weight_decay=0.5), [1.0, 2.0]))


@pytest.mark.parametrize("make", [lambda p: SGD(p, lr=0.1, momentum=0.9, weight_decay=0.5),
                                  lambda p: AdamW(p, lr=0.1, weight_decay=0.5)])  # fmt: skip
def test_groups_do_what_optimizers_of_their_own_would_do(make):
    def weights():
        return [Tensor(Tensor.randn(3, 2, seed=i).data.copy(), requires_grad=True) for i in range(3)]

    a, b = weights(), weights()
    together = make([{"params": a[:1]}, {"params": a[1:2], "weight_decay": 0.0}, {"params": a[2:], "lr": 0.2}])
    apart = [make([w]) for w in b]
    apart[1].weight_decay = 0.0
    for i in range(4):
        together.lr = 0.1 / (i + 1)  # the last group has twice that
        for w, mine, own, ratio in zip(a, b, apart, (1, 1, 2)):
            own.lr = ratio * together.lr
            w.grad = mine.grad = Tensor.randn(3, 2, seed=10 + i).data
            own.step()
        together.step()
    for w, mine in zip(a, b):
        np.testing.assert_array_equal(w.data, mine.data)


@pytest.mark.parametrize("groups, text", [
    ([{"params": "w", "momentum": 0.5}], r"SGD: group 0 is \['momentum', 'params'\]; give each group as a dict"),
    ([{"lr": 0.1}], r"SGD: group 0 is \['lr'\]; give each group as a dict with lr, params, weight_decay"),
    ([{"params": "w"}, Tensor([1.0])], "SGD: group 1 is Tensor; give each group as a dict"),
    ([{"params": "w", "lr": -1.0}], "SGD: group 0 has lr -1.0 and weight_decay None, which must not be negative"),
    ([{"params": "w"}, {"params": "w"}], "SGD: a parameter was given twice and would be updated twice"),
    ([{"params": []}], "SGD: no parameters given"),
])  # fmt: skip
def test_wrong_groups(groups, text):
    w = Tensor([1.0], requires_grad=True)
    filled = [
        {k: [w] if v == "w" else v for k, v in group.items()} if isinstance(group, dict) else group for group in groups
    ]
    with pytest.raises(ValueError, match=text):
        SGD(filled)
    with pytest.raises(ValueError, match=r"group 0 has lr 0.1, which keeps its ratio to lr 0; give a positive lr"):
        SGD([{"params": [w], "lr": 0.1}], lr=0)


def test_moments_are_laid_out_as_their_weights_whatever_a_state_was():
    """A captured step works on them where they lie."""
    w = Tensor(np.asfortranarray(np.ones((3, 2), np.float32)), requires_grad=True)
    optimizer = SGD([w], momentum=0.9)
    optimizer.load_state_dict({"step_count": 1, "lr": 0.1, "moments": {"0.velocity": np.ones((3, 2), np.float32)}})
    assert optimizer.moments[0]["velocity"].strides == w.data.strides
