"""2017, Vaswani and others: attention is all you need. A small GPT writes strings backwards, and shows how.

Each letter of the answer stands elsewhere in the question, so the position that writes it has to look there: on the map
of attention a line falls from right to left. The settings were chosen on other random strings; the test part was
looked at once they stood.
"""

import sys
from pathlib import Path

import numpy as np

from milestones import language, plots, script
from milestones.run import Achievement, Milestone, Run
from tinytorch import GPT, datasets, models, recipes
from tinytorch.core.dataloader import DataLoader, TensorDataset
from tinytorch.core.losses import answer_loss

HOW = recipes.LANGUAGE["transformer"]
LONGEST = 16  # letters of a question, and tokens of each answer
EVERY = 50  # steps, after which the loss on test strings is drawn
SIGNS = "·abcdefghijklmnopqrstuvwxyz|"  # of padding, letters and separator

MILESTONE = Milestone(
    name="transformer",
    title="2017: attention",
    claim="two layers write at least 99 % of 500 unseen strings of 4 to 16 letters backwards, without a single mistake",
    required=0.99,
    length=HOW.steps,
    quick_length=400,
    folder=Path(__file__).parent,
    unit="steps",
)


def on_the_line(maps: list[np.ndarray], answers: np.ndarray) -> np.ndarray:
    """For each layer and head, the mean weight that a letter's place in the question has when it is written."""
    place = np.arange(LONGEST)
    looked = np.stack(maps)[..., LONGEST + place, LONGEST - 1 - place]  # (layers, N, heads, 16)
    return np.moveaxis(looked, 2, 1)[:, :, answers != 0].mean(-1)


def achieve(run: Run) -> Achievement:
    data = datasets.load("reversal")
    np.random.seed(run.seed)
    model = models.transformer()

    strings = TensorDataset(*datasets.read_through(data.x_train, data.y_train))
    batches = DataLoader(strings, HOW.batch_size, shuffle=True, drop_last=True, seed=run.seed)
    unseen, _ = datasets.read_through(data.x_test, data.y_test)
    trainer = language.trainer(model, HOW, run.length, answer_loss, *strings[: HOW.batch_size])

    def held_out() -> float:
        return language.mean_loss(model, answer_loss, unseen, data.y_test)

    curve = run.train_steps(trainer, language.forever(batches), "reversal", held_out, EVERY)
    model.eval()
    written = model.generate(data.x_test, LONGEST, temperature=0).data[:, -LONGEST:]
    right = (written == data.y_test).all(1)

    shares = on_the_line(model.attention_maps(unseen), data.y_test)
    layer, head = np.unravel_index(shares.argmax(), shares.shape)
    print(f"  {'attention':<12} head {head + 1} of layer {layer + 1} looks at the letter to be written with "
          f"{shares.max():.1%} of its weight")  # fmt: skip
    lengths = (data.y_test != 0).sum(1)
    figure, (loss, *axes) = plots.panels(MILESTONE.title, 3, [1, 1.6, 1.6])
    plots.step_curve(loss, curve, EVERY)
    loss.set_yscale("log")
    for drawn, i in zip(axes, (lengths.argmax(), np.abs(lengths - 7).argmin())):
        weights = model.attention_maps(unseen[i : i + 1])[layer][0, head, LONGEST:]
        wrote, looked = ([SIGNS[token] for token in row] for row in (written[i], unseen[i]))
        plots.attention_map(drawn, weights, wrote, looked, f"{''.join(looked[:LONGEST]).strip('·')} backwards")
        drawn.set(xlabel=f"looks at (head {head + 1} of layer {layer + 1})", ylabel="to write")
    run.save_plot("reversal", figure)
    extra = {"held_out_loss": curve.watched[run.length], "weight_on_the_letter": round(float(shares.max()), 4)}
    study = language.study(trainer, *strings[: HOW.batch_size], data.x_test[:1], longer)
    return Achievement(model, data.x_test[:1], float(right.mean()), extra, study)


def longer(context: int) -> GPT:
    """The same network for longer strings."""
    return GPT(28, 64, 2, 4, context)


if __name__ == "__main__":
    sys.exit(script.main(MILESTONE, achieve))
