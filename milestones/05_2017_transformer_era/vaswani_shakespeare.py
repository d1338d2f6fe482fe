"""2017 to 2019, Vaswani, Radford and others: a transformer that predicts the next character learns to write.

The size, the number of steps and the text are those of nanoGPT's recipe for a computer without an accelerator (Karpathy
2022), which gives a validation loss of 1.88. What differs: rotary positions, an output layer of its own, weights that
start as PyTorch's layers do, three times the rate. The settings were chosen on the last tenth of the training part; the
validation part was looked at once they stood.

With --quick: `attention_proof.py`, which needs no text.
"""

import sys
from pathlib import Path

import attention_proof  # of this folder
import numpy as np

from milestones import language, plots, script
from milestones.run import Achievement, Milestone, Run
from profiler import clock
from tinytorch import datasets, models, recipes
from tinytorch.core.losses import CrossEntropyLoss
from tinytorch.core.tensor import Tensor
from tinytorch.core.tokenization import CharTokenizer
from tinytorch.core.transformer import GPT
from tinytorch.perf.decoding import Decoder

HOW = recipes.LANGUAGE["gpt-shakespeare"]
EVERY, SOME = 100, 8  # after so many steps the loss on every eighth window of the validation part is drawn
PROMPT, WRITTEN, TEMPERATURE = "ROMEO:\n", 600, 0.8
WINDOW = 48  # characters that are read again where a text fills the model's positions
SHOWN = 24  # characters on the maps of attention
ROUNDS = 7  # of timing each way to write: six are the fewest that give an interval

MILESTONE = Milestone(
    name="gpt-shakespeare",
    title="2017 to 2019: the transformer era",
    claim="a GPT of 0.8 million parameters predicts the characters of unseen Shakespeare with a loss of at most 1.80",
    required=1.80,
    length=HOW.steps,
    quick_length=HOW.steps,
    folder=Path(__file__).parent,
    unit="steps",
    is_loss=True,
    needs="tinyshakespeare",
)


def achieve(run: Run) -> Achievement:
    text = datasets.tinyshakespeare()
    tokenizer = CharTokenizer()
    tokenizer.build_vocab(text.train)
    train, validation = (np.array(tokenizer.encode(part)) for part in (text.train, text.validation))
    np.random.seed(run.seed)
    model = models.gpt_shakespeare()

    rng, context, loss_fn = np.random.default_rng(run.seed), model.max_seq_len, CrossEntropyLoss()

    def batch() -> tuple[Tensor, Tensor]:
        x, y = datasets.windows(train, context, HOW.batch_size, rng)
        return Tensor(x), Tensor(y)

    x, y = datasets.all_windows(validation, context)
    trainer = language.trainer(model, HOW, run.length, loss_fn, *batch())
    curve = run.train_steps(
        trainer,
        iter(batch, None),
        "shakespeare",
        lambda: language.mean_loss(model, loss_fn, x[::SOME], y[::SOME]),
        EVERY,
    )
    reached = language.mean_loss(model, loss_fn, x, y)

    sample = tokenizer.decode(
        Decoder(model)
        .generate(tokenizer.encode(PROMPT), WRITTEN, temperature=TEMPERATURE, seed=run.seed, window=WINDOW)
        .data
    )
    print("\n" + "".join(f"    {line}\n" for line in sample.splitlines()))
    speeds, same = writing_speeds(model, np.array(tokenizer.encode(PROMPT)))
    for way, tokens_per_s in speeds.items():
        print(f"  {'writes':<12} {tokens_per_s:,.0f} tokens/s, {way}")
    print(f"  {'':<12} {'the same text in all three ways' if same else 'NOT the same text in all three ways'}")

    figure, (loss, writing) = plots.panels(MILESTONE.title, 2, [1.6, 1])
    plots.step_curve(loss, curve, EVERY, MILESTONE.required)
    plots.bars(writing, speeds, "writing, one text", "tokens/s")
    run.save_plot("shakespeare", figure)
    draw_attention(run, model, tokenizer, validation[:SHOWN])
    extra = {"sample": sample, "tokens_per_s": {way: round(speed) for way, speed in speeds.items()},
             "same_text": same, "windows": len(x), "text_sha256": text.sha256}  # fmt: skip
    study = language.study(trainer, x[: HOW.batch_size], y[: HOW.batch_size], x[:1], longer)
    return Achievement(model, x[:1], reached, extra, study)


def longer(context: int) -> GPT:
    """The same network for longer texts."""
    return GPT(66, 128, 4, 4, context, positions="rotary", start="pytorch")


def writing_speeds(model: GPT, prompt: np.ndarray) -> tuple[dict[str, float], bool]:
    """Tokens/s, greedily, until all positions of the model are filled, and whether each way writes the same text.

    The median of a few rounds, in which the ways take turns; what should be doubted of it is printed.
    """
    count, decoder = model.max_seq_len - len(prompt) + 1, Decoder(model)
    ways = {
        "without cache": lambda: model.generate(prompt, count, temperature=0, use_cache=False),
        "with cache": lambda: model.generate(prompt, count, temperature=0),
        "with cache, compiled": lambda: decoder.generate(prompt, count, temperature=0),
    }
    texts = {tuple(write().data.tolist()) for write in ways.values()}  # also captures what is needed
    times = clock.compare(ways, rounds=ROUNDS)
    for way, time in times.items():
        for doubt in time.doubts:
            print(f"  {'doubt':<12} {way}: {doubt}")
    return {way: 1e9 * count / time.median_ns for way, time in times.items()}, len(texts) == 1


def draw_attention(run: Run, model: GPT, tokenizer: CharTokenizer, ids: np.ndarray) -> None:
    """Where each head of each layer looks, while the model reads a few characters."""
    signs = ["↵" if sign == "\n" else "␣" if sign == " " else sign for sign in tokenizer.decode(ids)]
    figure, axes = plots.grid("where each head looks", model.num_layers, model.num_heads)
    for i, of_layer in enumerate(model.attention_maps(ids[None])):
        for j, weights in enumerate(of_layer[0]):
            plots.attention_map(axes[i][j], weights, signs, signs, f"layer {i + 1}, head {j + 1}")
    run.save_plot("attention", figure)


if __name__ == "__main__":
    sys.exit(script.main(MILESTONE, achieve, instead=(attention_proof.MILESTONE, attention_proof.achieve)))
