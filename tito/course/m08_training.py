"""Module 08: the training loop."""

from __future__ import annotations

from tito.checks import Check, Module, Part, Raises

PARTS = (
    Part(
        "Trainer.accumulate", "", ">>> t = Trainer(Scale(1.0), None, MSELoss())\n"
        ">>> x = Tensor([3.0], requires_grad=True)\n>>> t.accumulate(x, Tensor([1.0]))\n4.0",
        "Model, loss, self.check_finite(loss.item(), x), backward. Of one of several batches the gradient counts "
        "for its "
        "share: divide the loss by `batches` before backward, and return it undivided.",
    ),
    Part(
        "Trainer.update", "", ">>> w = Linear(1, 1)\n>>> t = Trainer(w, SGD(w.parameters()), MSELoss())\n"
        ">>> t.update()\n"
        ">>> t.step\n1",
        "In this order: self.set_rate('step', self.step); clip_grad_norm or clip_grad_value on self.optimizer.params, "
        "where a limit is set; the optimizer's step; its zero_grad; self.stepped().",
    ),
    Part(
        "Trainer.train_epoch", "", ">>> w = Linear(1, 1)\n>>> t = Trainer(w, SGD(w.parameters(), lr=0.0), MSELoss())\n"
        ">>> t.train_epoch([]), t.epoch\n(0.0, 1)",
        "Training mode, self.set_rate('epoch', self.epoch), zero_grad; then for each batch self.learn(x, y), or with "
        "accumulation self.accumulate and self.update() after so many, and once more for what is left. The mean is "
        "over "
        "rows and not batches; append it and the optimizer's lr to self.history; count the epoch.",
    ),
    Part(
        "Trainer.evaluate", "", ">>> t = Trainer(Scale(1.0), None, CrossEntropyLoss())\n"
        ">>> t.evaluate([(Tensor([[9.0, 0.0], [9.0, 0.0]]), Tensor(np.array([0, 1])))])[1]\n0.5",
        "Remember self.model.training and bring it back; eval mode and no_grad meanwhile. A single output says yes "
        "above "
        "one half, of several the largest counts; a row is right where all its places are.",
    ),
)  # fmt: skip

NET = "m = Linear(1, 1)\nm.weight.data[...] = 2\nm.bias.data[...] = 0\no = SGD(m.parameters(), lr=0.1)\n"
T = f"{NET}t = Trainer(m, o, MSELoss())\n"
ONE = "(Tensor([[1.0]]), Tensor([[0.0]]))"
FOUR = "[(Tensor([[1.0]]), Tensor([[0.0]])), (Tensor([[1.0], [0.0], [0.0]]), Tensor([[0.0], [0.0], [0.0]]))]"
CHECKS = (
    Check("Trainer.accumulate", "gradients add up, and the loss is returned", (
        (f"{T}t.accumulate(*{ONE})", 4),
        (f"{T}t.accumulate(*{ONE})\nm.weight.grad", [[4]]),
        (f"{T}t.accumulate(*{ONE})\nt.accumulate(*{ONE})\nm.weight.grad", [[8]]),
        (f"{T}t.accumulate(*{ONE}, batches=4)", 4),
        (f"{T}t.accumulate(*{ONE}, batches=4)\nm.weight.grad", [[1]]),
        (f"{T}m.weight.data[...] = np.nan\nt.accumulate(*{ONE})", Raises("NonFiniteLoss")),
    )),
    Check("Trainer.update", "one step of the optimizer, and gradients are forgotten", (
        (f"{T}t.accumulate(*{ONE})\nt.update()\nm.weight", [[1.6]]),
        (f"{T}t.accumulate(*{ONE})\nt.update()\nm.weight.grad", None),
        (f"{T}t.update()\nt.update()\nt.step", 2),
    )),
    Check("Trainer.update", "gradients are clipped before the step", (
        (f"{NET}t = Trainer(m, o, MSELoss(), grad_clip_value=1.0)\nt.accumulate(*{ONE})\nt.update()\n"
         "m.weight", [[1.9]]),
        (f"{NET}m.bias = None\no = SGD(m.parameters(), lr=0.1)\nt = Trainer(m, o, MSELoss(), grad_clip_norm=2.0)\n"
         f"t.accumulate(*{ONE})\nt.update()\nm.weight", [[1.8]]),
    )),
    Check("Trainer.train_epoch", "every batch makes a step, and the mean loss is over rows", (
        (f"{T}t.train_epoch([{ONE}])", 4),
        (f"{T}t.train_epoch([{ONE}])\nm.weight", [[1.6]]),
        (f"{T}o.lr = 0.0\nt.train_epoch({FOUR})", 2),
        (f"{T}t.train_epoch({FOUR})\nt.step", 2),
        (f"{T}t.train_epoch([{ONE}])\nt.history['train_loss']", [4]),
        (f"{T}t.train_epoch([{ONE}])\nt.history['learning_rates']", [0.1]),
        (f"{T}t.train_epoch([])\nt.train_epoch([])\nt.epoch", 2),
    )),
    Check("Trainer.train_epoch", "it trains in training mode, from no gradients", (
        (f"{T}m.eval()\nt.train_epoch([{ONE}])\nm.training", True),
        (f"{T}m.weight.grad = np.float32([[100]])\nt.train_epoch([{ONE}])\nm.weight", [[1.6]]),
    )),
    Check("Trainer.train_epoch", "gradients of several batches make one step, and what is left makes the last", (
        (f"{T}t.train_epoch([{ONE}] * 4, accumulation_steps=2)\nt.step", 2),
        (f"{T}t.train_epoch([{ONE}] * 3, accumulation_steps=2)\nt.step", 2),
        (f"{T}t.train_epoch([{ONE}] * 2, accumulation_steps=2)\nm.weight", [[1.6]]),
    )),
    Check("Trainer.evaluate", "mean loss and share of right answers, without training", (
        (f"{T}t.evaluate([{ONE}])[0]", 4),
        (f"{T}t.evaluate({FOUR})[0]", 2),
        (f"{T}t.evaluate([{ONE}])\nm.weight", [[2]]),
        (f"{T}t.evaluate([{ONE}])\nm.weight.grad", None),
        ("t = Trainer(Scale(1.0), None, CrossEntropyLoss())\n"
         "t.evaluate([(Tensor([[9.0, 0.0], [9.0, 0.0], [0.0, 9.0]]), Tensor(np.array([0, 1, 1])))])[1]", 2 / 3),
        ("t = Trainer(Scale(1.0), None, MSELoss())\nt.evaluate([(Tensor([[0.9], [0.2]]), Tensor([[1.0], [1.0]]))])[1]",
         0.5),
        (f"{T}t.evaluate([])", (0, 0)),
    )),
    Check("Trainer.evaluate", "the model's mode is as before, and evaluation is asked for meanwhile", (
        (f"{T}m.train()\nt.evaluate([{ONE}])\nm.training", True),
        (f"{T}m.eval()\nt.evaluate([{ONE}])\nm.training", False),
        ("d = Dropout(1.0)\nt = Trainer(d, None, MSELoss())\nt.evaluate([(Tensor([[1.0]]), Tensor([[1.0]]))])[0]", 0),
    )),
    Check("Trainer.train_epoch", "training makes a model right", (
        ("x = np.random.rand(64, 2).astype(np.float32)\nm = Linear(2, 1)\n"
         "t = Trainer(m, SGD(m.parameters(), lr=0.5), MSELoss())\n"
         "batches = [(Tensor(x), Tensor(x @ np.float32([[1], [-2]]) + 3))]\n"
         "for _ in range(300):\n    loss = t.train_epoch(batches)\nloss < 1e-3", True),
    )),
)  # fmt: skip

MODULE = Module(
    8, "training", "Can I train a network and tell how good it is?",
    {"tinytorch.core.training": PARTS},
    "from tinytorch.core.layers import Dropout, Linear, Scale\n"
    "from tinytorch.core.losses import CrossEntropyLoss, MSELoss\nfrom tinytorch.core.optimizers import SGD\n"
    "from tinytorch.core.tensor import Tensor\nfrom tinytorch.core.training import Trainer",
    CHECKS,
)  # fmt: skip
