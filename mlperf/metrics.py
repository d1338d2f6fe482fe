"""How good answers are: right ones counted, or a loss averaged. What a task asks of them stands in `tasks.py`.

A worker tells what an arm answered in numbers that fit into a report (`told`); judging them against the truth happens
where the truth is. The gates are the leaderboard's.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from leaderboard import Quality
from mlperf.harness import Arm, Progress, answers, unseen

TEXTS_AT_ONCE = 64  # so many texts' logits are in memory at a time


class Score(NamedTuple):
    """Quality on `n` samples: the metric's value, and how many answers were right where they are counted."""

    value: float
    n: int
    correct: int | None = None

    def __str__(self) -> str:
        return f"{self.value:.4f}" if self.correct is None else f"{self.correct}/{self.n}"


@dataclass(frozen=True)
class Metric(ABC):
    """`name` is what tables say; only an arm's logits are judged where it is asked, with the truth beside it."""

    name: str
    higher_is_better: ClassVar[bool]
    needs_truth: ClassVar[bool] = False

    @abstractmethod
    def told(
        self, arm: Arm, samples: Sequence[np.ndarray], texts: np.ndarray, truth: np.ndarray, progress: Progress = unseen
    ) -> np.ndarray:
        """What an arm makes of a test set, a number or a row of numbers a sample, in order.

        `samples` are the queries (1, ...), `texts` (N, ...) the inputs they were made from and `truth` (N, ...) what is
        right; a metric uses what it needs.
        """

    @abstractmethod
    def score(self, told: np.ndarray, truth: np.ndarray) -> Score:
        """The quality of what was told."""

    @abstractmethod
    def chance(self, truth: np.ndarray) -> float:
        """The metric's value for the best answer that knows nothing of a sample."""

    @abstractmethod
    def quality(self, ref: np.ndarray, opt: np.ndarray, truth: np.ndarray) -> Quality:
        """What both arms told, as a submission keeps it."""

    def worst(self, told: Sequence[np.ndarray], truth: np.ndarray) -> int:
        """Which of several has the least quality."""
        sign = 1 if self.higher_is_better else -1
        return min(range(len(told)), key=lambda i: sign * self.score(told[i], truth).value)

    def bound(self, floor: float) -> str:
        """A floor in words."""
        return f">= {floor:.0%}" if self.higher_is_better else f"<= {floor:.2f}"


@dataclass(frozen=True)
class RightAnswers(Metric):
    """The share of answers that are right as a whole; `labels` makes integers (N, ...) from outputs (N, ...)."""

    labels: Callable[[np.ndarray], np.ndarray]
    higher_is_better = True

    def told(
        self, arm: Arm, samples: Sequence[np.ndarray], texts: np.ndarray, truth: np.ndarray, progress: Progress = unseen
    ) -> np.ndarray:
        """The labels of all answers, asked one by one as when timed."""
        return self.labels(answers(arm, samples, progress))

    def right(self, told: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """Whether each answer equals the truth, in every place where it has several."""
        return (told == truth).reshape(len(truth), -1).all(1)

    def score(self, told: np.ndarray, truth: np.ndarray) -> Score:
        right = self.right(told, truth)
        return Score(float(right.mean()), len(right), int(right.sum()))

    def chance(self, truth: np.ndarray) -> float:
        """Of always giving the most frequent answer."""
        return float(np.unique(truth, axis=0, return_counts=True)[1].max() / len(truth))

    def quality(self, ref: np.ndarray, opt: np.ndarray, truth: np.ndarray) -> Quality:
        ref_right, opt_right = self.right(ref, truth), self.right(opt, truth)
        return Quality(
            n=len(opt_right),
            ref_correct=int(ref_right.sum()),
            opt_correct=int(opt_right.sum()),
            ref_only=int((ref_right & ~opt_right).sum()),
            opt_only=int((opt_right & ~ref_right).sum()),
            value=float(opt_right.mean()),
            ref_value=float(ref_right.mean()),
            labels_sha256=sha256_of(opt),
            labels=packed(opt),
        )


@dataclass(frozen=True)
class MeanLoss(Metric):
    """Mean cross-entropy of the next token, in nats, over all positions of all texts.

    Each text is fed through the code that is timed, whatever that would have said itself.
    """

    higher_is_better = False
    needs_truth = True

    def told(
        self, arm: Arm, samples: Sequence[np.ndarray], texts: np.ndarray, truth: np.ndarray, progress: Progress = unseen
    ) -> np.ndarray:
        """The mean loss of each text (N, T), whose next tokens are `truth` (N, T)."""
        if arm.forced is None:
            raise TypeError(f"metric {self.name}: the arm gives no logits for a text; it needs `forced`")
        losses = []
        with arm.around():
            for start in range(0, len(texts), TEXTS_AT_ONCE):
                some = slice(start, start + TEXTS_AT_ONCE)
                losses.append(cross_entropy(arm.forced(texts[some]), truth[some]).mean(1))
                progress(min(start + TEXTS_AT_ONCE, len(texts)), len(texts))
        return np.concatenate(losses)

    def score(self, told: np.ndarray, truth: np.ndarray) -> Score:
        return Score(float(told.mean()), len(truth))

    def chance(self, truth: np.ndarray) -> float:
        """Of knowing how frequent each token is, and no text before it: the entropy of the tokens, in nats."""
        share = np.unique(truth, return_counts=True)[1] / truth.size
        return float(-(share * np.log(share)).sum())

    def quality(self, ref: np.ndarray, opt: np.ndarray, truth: np.ndarray) -> Quality:
        return Quality(n=len(opt), value=float(opt.mean()), ref_value=float(ref.mean()))


def sha256_of(integers: Any) -> str:
    """A digest of whole numbers."""
    return hashlib.sha256(np.asarray(integers, "<i8").tobytes()).hexdigest()


def packed(integers: np.ndarray) -> str:
    """Whole numbers as a submission keeps them."""
    return base64.b64encode(zlib.compress(integers.astype("<i8").tobytes(), 9)).decode()


def unpacked(text: str, like: np.ndarray) -> np.ndarray:
    """Numbers kept by `packed`, in the shape of `like`. ValueError where they are not as many, or none at all."""
    size = like.size * 8
    try:
        reader = zlib.decompressobj()
        content = reader.decompress(base64.b64decode(text, validate=True), size + 1)
    except (zlib.error, ValueError) as error:
        raise ValueError(f"labels cannot be unpacked: {error}") from None
    if len(content) != size:
        raise ValueError(f"labels unpack to {'more than' * (len(content) > size)} {len(content)} bytes, not {size}")
    return np.frombuffer(content, "<i8").reshape(like.shape)


def cross_entropy(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """-log softmax(logits (..., V))[targets (...)], in float64, whatever the arm computed with: float64 (...)."""
    logits = logits.astype(np.float64)
    logits -= logits.max(-1, keepdims=True)
    chosen = np.take_along_axis(logits, targets[..., None], -1)[..., 0]
    return np.log(np.exp(logits).sum(-1)) - chosen
