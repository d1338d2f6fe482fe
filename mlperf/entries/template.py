"""The entry that `python -m mlperf new` writes: one that works, and in comments three ways to go on from it.

What differs between tasks is how an answer looks, so the last two ways are written for a kind of answer each: rows of
numbers for classes, one probability, and texts.
"""

from __future__ import annotations

from typing import NamedTuple

from mlperf.tasks import Task

HEAD = '''\
"""An entry for `{model}`. Submit it with

    python -m mlperf submit --model {model} --entry {path}

and add --fast for a quick try that is not ranked, --dry-run to write nothing.

`optimize` is given the trained network and gives back what answers a query: called with an array shaped as
`context.example` it returns a NumPy array, {answer}. It runs once while the entry is built, and again in
every process that measures or replays it. What takes long or is random goes through `context.taught` and
`context.once`, which keep the result; what they keep travels with the submission.

`calibration` are training samples as the network reads them; `context.x_train` and `context.y_train` is the whole
training part. `python -m pydoc mlperf.entries.context` tells what else there is.
"""


def optimize(model, calibration, context):
    return context.accelerate({net})  # one compiled plan


# Three ways on. To take one, delete `optimize` above and the first two marks, "# ", of each line of one part below.
'''

STAGES = """

# -- 1. Other stages, other settings ----------------------------------------------------------------------------------
#
# def optimize(model, calibration, context):
#     net = context.prune(model, method="magnitude", amount=0.3)
#     net = context.quantize(net, percentile=99.9)  # grids without the most extreme values
#     return context.accelerate(net)
"""

KERNEL = """

# -- 2. A kernel of your own: here the last layer, in Numba ------------------------------------------------------------
#
# import numba
# import numpy as np
#
# from tinytorch.core.layers import Linear, Sequential
#
#
# @numba.njit(fastmath=True)
# def last_layer(x, weight, bias):  # (1, inputs), (inputs, outputs), (outputs,) -> (1, outputs)
#     y = np.empty((1, len(bias)), np.float32)
#     y[0] = bias
#     for i in range(len(weight)):
#         for j in range(len(bias)):
#             y[0, j] += x[0, i] * weight[i, j]
#     return {result}
#
#
# class Mine:
#     def __init__(self, model, context):
#         self.model = model  # shows the weights: they are counted, and compared between processes
#         at = max(i for i, layer in enumerate(model.layers) if isinstance(layer, Linear))
#         self.last = model.layers[at].weight.data, model.layers[at].bias.data
#         self.first = context.accelerate(Sequential(*model.layers[:at])).run if at else lambda x: x
#
#     def __call__(self, x):
#         return last_layer(self.first(x), *self.last)
#
#
# def optimize(model, calibration, context):
#     return Mine(model, context)
"""

KERNEL_OF_TEXT = """

# -- 2. A kernel of your own: here the choice of a token, in Numba -----------------------------------------------------
#
# import numba
# import numpy as np
#
# from tinytorch.core.generation import stream
# from tinytorch.perf.decoding import Decoder
#
#
# @numba.njit
# def likeliest(logits):  # (1, tokens) -> (1,)
#     best = 0
#     for i in range(1, logits.shape[1]):
#         if logits[0, i] > logits[0, best]:
#             best = i
#     return np.array([best])
#
#
# class Mine:
#     def __init__(self, net, context):
#         self.model = net.model  # shows the weights: they are counted, and compared between processes
#         self.forced = net.arm.forced  # texts (N, T) -> logits (N, T, tokens)
#         self.decoder, self.tokens = Decoder(net.model, threads=context.threads), context.answering.output_tokens
#
#     def stream(self, prompt):  # each token is timed
#         return stream(self.decoder, prompt.tolist(), self.tokens, likeliest)
#
#     def __call__(self, prompt):  # (1, prompt) -> (1, tokens)
#         return np.stack(list(self.stream(prompt)), axis=1)
#
#
# def optimize(model, calibration, context):
#     return Mine(context.quantize(model), context)
"""

NETWORK = """

# -- 3. A network of your own, trained once ----------------------------------------------------------------------------
#
# import numpy as np
#
# {imports}
# from tinytorch.perf.finetuning import finetune
#
#
# def optimize(model, calibration, context):
#     np.random.seed(context.seed)
#     mine = {network}
#
#     def teach(net):  # called while the entry is built; afterwards the weights that it left are loaded
#         return finetune(net, context.batches(context.seed), context.loss, epochs={epochs}, lr=0.01)
#
#     mine = context.taught("mine", mine, teach)
#     return context.accelerate({mine})
"""


class Words(NamedTuple):
    """What the parts say for one task. `result` is what the last layer makes of its sums, if a query is one pass."""

    answer: str
    imports: str
    network: str
    epochs: int
    result: str = "y"
    net: str = "context.quantize(model)"  # what `optimize` captures
    mine: str = "context.quantize(mine)"  # what the third way captures


LAYERS = "from tinytorch.core.layers import Linear, Sequential"
LOGITS, PROBABILITY = "(1, 10) logits", "(1, 1) probabilities"
SIGMOID = f"from tinytorch.core.activations import Sigmoid, Tanh\n# {LAYERS}"
RELU = f"from tinytorch.core.activations import ReLU\n# {LAYERS}"
IMAGES = RELU.replace("import Linear", "import Flatten, Linear")
PHOTOS = f"{IMAGES}\n# from tinytorch.core.spatial import BatchNorm2d, Conv2d, MaxPool2d"
GPT = "from tinytorch.core.transformer import GPT"
# Nets of 3 and 17 parameters only grow by int8.
EITHER = Words(
    PROBABILITY, SIGMOID, "Sequential(Linear(2, 4), Tanh(), Linear(4, 1), Sigmoid())", 400,
    "1 / (1 + np.exp(-y))", "model", "mine",
)  # fmt: skip
WORDS = {
    "perceptron": EITHER,
    "xor": EITHER,
    "mlp": Words(LOGITS, RELU, "Sequential(Linear(64, 32), ReLU(), Linear(32, 10))", 60),
    "cnn": Words(LOGITS, IMAGES, "Sequential(Flatten(), Linear(64, 128), ReLU(), Linear(128, 10))", 60),
    "mlp-mnist": Words(LOGITS, RELU, "Sequential(Linear(784, 64), ReLU(), Linear(64, 10))", 10),
    "cnn-cifar10": Words(
        LOGITS, PHOTOS,
        "Sequential(\n#         Conv2d(3, 32, 3, padding=1), BatchNorm2d(32), ReLU(), MaxPool2d(2),\n"
        "#         Conv2d(32, 64, 3, padding=1), BatchNorm2d(64), ReLU(), MaxPool2d(2), Flatten(), Linear(4096, 10),"
        "\n#     )", 5,
    ),
    "transformer": Words("(1, 16) tokens", GPT, "GPT(28, 48, 1, 4, 32)", 10),
    "gpt-shakespeare": Words("(1, 32) tokens", GPT, 'GPT(66, 64, 2, 4, 64, positions="rotary")', 1),
}  # fmt: skip


def written(task: Task, path: str) -> str:
    """The text of a first entry for a task, which will lie at `path`."""
    words = WORDS[task.name]
    kernel = KERNEL if task.answering.output_tokens is None else KERNEL_OF_TEXT
    text = "".join([HEAD, STAGES, kernel, NETWORK])
    return text.format(model=task.name, path=path, **words._asdict())
