"""Where a task's data come from when they are not just embedded, and which copies of them are known.

Results compare only on the very same data, so every task names its data by a digest. Embedded sets and the text exist
in one form. Of the image sets there are copies that differ from the published files (decoded from recompressed images,
say), and who has one should neither be refused nor be compared with the rest. So the digest of the copy that was used
is part of such a task's version, which decides who is ranked with whom, and a copy that is not the published one is
named in the submission. Which one is published follows from the files' own checksums: nobody needs to have seen it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tinytorch import datasets
from tinytorch.core.tokenization import CharTokenizer
from tinytorch.datasets import Images, Split
from tinytorch.datasets.catalogue import PUBLISHED
from tinytorch.datasets.download import cache, find, placed_folders


def shakespeare() -> Split:
    """Tiny Shakespeare in windows: characters (N, 64) int64, and those a place further on; the last 10 % are the test.

    DataError where the text is not to be had.
    """
    text, tokenizer = datasets.tinyshakespeare(), CharTokenizer()
    tokenizer.build_vocab(text.train)
    parts = (datasets.all_windows(np.array(tokenizer.encode(part)), 64) for part in (text.train, text.validation))
    (x_train, y_train), (x_test, y_test) = parts
    return Split(text.name, x_train, y_train, x_test, y_test)


def fresh_strings(seed: int) -> Split:
    """The task's data with other strings as the test part: drawn anew, and in neither of its own parts."""
    data, drawn = datasets.load("reversal"), datasets.reversal(seed + 1, train=0)
    known = {x.tobytes() for part in (data.x_train, data.x_test) for x in part}
    new = np.array([x.tobytes() not in known for x in drawn.x_test])
    return Split(f"{data.name} drawn with {seed + 1}", data.x_train, data.y_train, drawn.x_test[new], drawn.y_test[new])


def mnist() -> Split:
    """MNIST's images in bytes. DataError where they are not to be had."""
    return in_bytes(datasets.mnist())


def cifar10() -> Split:
    """CIFAR-10's images in bytes. DataError where they are not to be had."""
    return in_bytes(datasets.cifar10())


def here(dataset: str) -> bool:
    """Whether a data set is embedded or its files lie where they are looked for; nothing is downloaded."""
    return dataset not in PUBLISHED or all(map(find, PUBLISHED[dataset].files))


def published(dataset: str) -> bool:
    """Whether the files at hand are the published ones, by the checksums that their publishers give."""
    return all(place is not None and place.published for place in map(find, PUBLISHED[dataset].files))


def places(dataset: str) -> list[str]:
    """Files and folders in which a data set lies or may lie on this machine; those of sets drawn from a seed: none."""
    if dataset in PUBLISHED:
        return [str(folder) for folder in (*placed_folders(None), cache())]
    if dataset.startswith("digits"):
        import sklearn.datasets

        return [str(Path(sklearn.datasets.__file__).parent / "data")]
    return []


def in_bytes(images: Images) -> Split:
    """Both parts as they are, uint8 (N, C, H, W); what they are named after here stays behind."""
    return Split(images.name, images.x_train, images.y_train, images.x_test, images.y_test)
