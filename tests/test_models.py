"""The milestone nets: sizes, shapes and starts; and course code, which uses the framework under the course's names."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tinytorch import datasets, models

SIZES = {"perceptron": 3, "xor": 17, "mlp": 64 * 64 + 64 + 64 * 32 + 32 + 320 + 10, "cnn": 160 + 4640 + 1290}
IMAGES = {"mlp-mnist": (109_386, (784,)), "cnn-cifar10": (1_126_026, (3, 32, 32))}
DATA = {"perceptron": "clusters", "xor": "xor", "mlp": "digits", "cnn": "digits-images"}


@pytest.mark.parametrize("name", SIZES)
def test_parameters_and_shapes(name):
    model, x = models.MODELS[name](), datasets.load(DATA[name]).x_test[:5]
    assert sum(p.size for p in model.parameters()) == SIZES[name]
    y = model.predict(x)
    assert y.shape == ((5, 1) if name in ("perceptron", "xor") else (5, 10)) and y.dtype == np.float32
    if y.shape[1] == 1:
        assert (y > 0).all() and (y < 1).all()


@pytest.mark.parametrize("name", IMAGES)
def test_parameters_and_shapes_for_images(name):
    model, (size, shape) = models.MODELS[name](), IMAGES[name]
    assert sum(p.size for p in model.parameters()) == size
    y = model.predict(np.zeros((3, *shape), np.float32))
    assert y.shape == (3, 10) and y.dtype == np.float32


def test_language_models_give_logits_for_every_position():
    for name, capacity, vocabulary in (("transformer", 32, 28), ("gpt-shakespeare", 64, 66)):
        model = models.MODELS[name]()
        assert model.predict(np.zeros((2, capacity), int)).shape == (2, capacity, vocabulary)
        with pytest.raises(ValueError, match=f"the model has positions for {capacity}"):
            model.predict(np.zeros((2, capacity + 1), int))


@pytest.mark.parametrize("name", models.MODELS)
def test_numpys_seed_decides_the_start(name):
    np.random.seed(7)
    a = models.MODELS[name]().state_dict()
    np.random.seed(7)
    b = models.MODELS[name]().state_dict()
    for key, value in a.items():
        np.testing.assert_array_equal(value, b[key])


COURSE = '''
import numpy as np
from tinytorch.core.tensor import Tensor
from tinytorch.core.autograd import enable_autograd, no_grad
from tinytorch.core.activations import ReLU, Sigmoid, Tanh, GELU, Softmax
from tinytorch.core.layers import Layer, Linear, Dropout, Sequential, Flatten
from tinytorch.core.losses import MSELoss, CrossEntropyLoss, BinaryCrossEntropyLoss, log_softmax
from tinytorch.core.optimizers import SGD, Adam, AdamW
from tinytorch.core.training import Trainer, CosineSchedule, clip_grad_norm, CrossEntropyLoss
from tinytorch.core.dataloader import Dataset, TensorDataset, DataLoader, RandomHorizontalFlip, RandomCrop, Compose
from tinytorch.core.spatial import Conv2d, MaxPool2d, AvgPool2d, BatchNorm2d

enable_autograd()

class DigitCNN:
    """As course code writes models: no base class, parameters listed by hand."""
    def __init__(self):
        self.conv = Conv2d(in_channels=1, out_channels=4, kernel_size=3, padding=1)
        self.relu = ReLU()
        self.pool = MaxPool2d(kernel_size=2, stride=2)
        self.fc = Linear(4 * 4 * 4, 10)
        self.training = True
    def forward(self, x):
        x = self.pool(self.relu(self.conv(x)))
        return self.fc(x.reshape(x.shape[0], -1))
    def __call__(self, x):
        return self.forward(x)
    def parameters(self):
        return [*self.conv.parameters(), *self.fc.parameters()]

class MLP(Layer):
    def __init__(self):
        self.layers = [Linear(64, 32), ReLU(), Linear(32, 10)]
    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x

rng = np.random.default_rng(0)
np.random.seed(0)
images = Tensor(rng.random((32, 1, 8, 8)))
labels = Tensor(rng.integers(0, 10, 32))

model, loss_fn = DigitCNN(), CrossEntropyLoss()
optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
first = None
for epoch in range(15):
    loss = loss_fn(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    clip_grad_norm(model.parameters(), max_norm=5.0)
    optimizer.step()
    first = float(loss.data) if first is None else first
assert float(loss.data) < first, (first, loss)
with no_grad():
    probabilities = Softmax()(model(images), dim=-1)
assert np.allclose(probabilities.data.sum(axis=1), 1, atol=1e-5)

mlp = MLP()
trainer = Trainer(mlp, AdamW(mlp.parameters(), lr=0.01), CrossEntropyLoss(),
                  scheduler=CosineSchedule(max_lr=0.01, min_lr=0.001, total_epochs=5), grad_clip_norm=1.0)
loader = DataLoader(TensorDataset(Tensor(images.data.reshape(32, 64)), labels), batch_size=8, shuffle=True)
losses = [trainer.train_epoch(loader) for _ in range(5)]
assert losses[-1] < losses[0]
eval_loss, accuracy = trainer.evaluate(loader)
assert 0 <= accuracy <= 1 and trainer.history["train_loss"] == losses

w = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
y = (w @ Tensor([[1.0], [1.0]])).sum()
y.backward()
assert np.allclose(w.grad, 1)
print("course code runs")
'''


def test_course_code_runs_unchanged():
    done = subprocess.run([sys.executable, "-W", "error", "-c", COURSE], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "course code runs\n", "importing and training print nothing"
