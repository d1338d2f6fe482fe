"""From text to ids and back: single characters, and byte pairs that are learned from a text.

Left out: how pairs are learned (`byte_pairs.py`), and special tokens, which models that want them add behind a
vocabulary.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tinytorch.core.byte_pairs import BYTES, LONGEST_WORD, WORD, Pair, count_words, learn_merges, spell
from tinytorch.engine.ops.index import check_ids as check_range
from tinytorch.files import write_atomically

FORMAT = "tinytorch byte pairs 1"
LONGEST_TOKEN = 1 + 4 * LONGEST_WORD  # bytes: a space and letters of four
CACHED = 1 << 16  # words whose ids are kept


class Tokenizer:
    """Base of tokenizers: define `encode` and `decode`. Ids are 0..vocab_size - 1."""

    vocab_size: int

    def encode(self, text: str) -> list[int]:
        raise TypeError(f"{type(self).__name__}: no encode() defined; a tokenizer turns text into a list of ids")

    def decode(self, ids: Any) -> str:
        raise TypeError(f"{type(self).__name__}: no decode() defined; a tokenizer turns ids into text")

    def check_text(self, text: Any) -> str:
        """`text` if it is one. TypeError, and ValueError for half a surrogate pair, which no UTF-8 can hold."""
        if not isinstance(text, str):
            kind = type(text).__name__
            raise TypeError(f"{type(self).__name__}: the text is {kind}, not str; decode or join it first")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{type(self).__name__}: character {text[error.start]!r} at position {error.start} is half a surrogate "
                "pair and no text; read the source as UTF-8"
            ) from None
        return text

    def check_ids(self, ids: Any, count: int) -> list[int]:
        """A row of ids, in a list, an array or a tensor, as a list. IndexError for one outside 0..count - 1."""
        array = np.asarray(ids)
        if array.ndim != 1:
            raise ValueError(f"{type(self).__name__}.decode: ids are {array.shape}: decode one row at a time")
        if array.size and array.dtype.kind not in "iu":
            raise TypeError(f"{type(self).__name__}.decode: ids are {array.dtype}: they must be integers")
        check_range(f"{type(self).__name__}.decode", array, count, "vocabulary size")
        return array.tolist()


class CharTokenizer(Tokenizer):
    """One id for each character of the vocabulary. Id 0 is `<UNK>`, which stands for every other character.

    `vocab` lists the characters in the order of their ids, `char_to_id` and `id_to_char` map them. So a text with
    unknown characters does not come back as it was: they are decoded to `<UNK>`.
    """

    UNK = "<UNK>"
    unk_id = 0

    def __init__(self, vocab: Iterable[str] | None = None) -> None:
        characters = [character for character in vocab or () if character != self.UNK]
        for character in characters:
            if not isinstance(character, str) or len(character) != 1:
                raise ValueError(f"CharTokenizer: {character!r} is no single character; give texts to build_vocab()")
        self.use(characters)

    def use(self, characters: Iterable[str]) -> None:
        """Know these characters, each once, and no others."""
        self.vocab = list(dict.fromkeys([self.UNK, *characters]))
        self.char_to_id = {character: i for i, character in enumerate(self.vocab)}
        self.id_to_char = dict(enumerate(self.vocab))
        self.vocab_size = len(self.vocab)

    def build_vocab(self, corpus: str | Iterable[str]) -> None:
        """Know the characters of a text, or of several; sorted, so that the order of texts does not matter."""
        texts = [corpus] if isinstance(corpus, str) else corpus
        self.use(sorted(set().union(*map(self.check_text, texts))))

    def encode(self, text: str) -> list[int]:
        """An id for each character. ValueError as long as no character is known."""
        if self.vocab_size == 1:
            raise ValueError("CharTokenizer: no character is known yet; call build_vocab(corpus) first")
        return [self.char_to_id.get(character, self.unk_id) for character in self.check_text(text)]

    def decode(self, ids: Any) -> str:
        return "".join(map(self.id_to_char.__getitem__, self.check_ids(ids, self.vocab_size)))


class BPETokenizer(Tokenizer):
    """Byte pairs: ids 0..255 are the bytes of UTF-8, each other one is a pair of earlier ids that occurred often.

    Sennrich et al. 2016 on words as GPT-2 cuts them (Radford et al. 2019, section 2.2). Since every byte has an id,
    decode(encode(text)) == text for any text, whatever was trained. `vocab` lists the bytes of each id, `merges` the
    pairs: merge i makes id 256 + i. `vocab_size` is what is asked for, 256 at least, and after training what came of
    it: less where the corpus has no more pairs that occur twice.
    """

    def __init__(self, vocab_size: int = 1000) -> None:
        self.asked = self.vocab_size = self.checked_size(vocab_size)
        self.use([])

    @staticmethod
    def checked_size(vocab_size: int) -> int:
        if not isinstance(vocab_size, int | np.integer) or vocab_size < 1:
            raise ValueError(f"BPETokenizer: vocab_size is {vocab_size!r}; choose 257 or more, 256 are the bytes")
        return max(BYTES, int(vocab_size))

    def use(self, merges: list[Pair]) -> None:
        """Take these merges in place of any others."""
        self.merges = merges
        self.ranks = {pair: i for i, pair in enumerate(merges)}
        self.vocab = [bytes([i]) for i in range(BYTES)]
        for left, right in merges:
            self.vocab.append(self.vocab[left] + self.vocab[right])
        self.known: dict[str, list[int]] = {}

    def train(self, corpus: str | Iterable[str], vocab_size: int | None = None) -> None:
        """Learn merges from a text, or from several, in place of those there were."""
        if vocab_size is not None:
            self.asked = self.checked_size(vocab_size)
        texts = [corpus] if isinstance(corpus, str) else corpus
        self.use(learn_merges(count_words(map(self.check_text, texts)), self.asked - BYTES))
        self.vocab_size = len(self.vocab)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for word in WORD.findall(self.check_text(text)):
            spelled = self.known.get(word)
            if spelled is None:
                if len(self.known) >= CACHED:
                    self.known.clear()
                spelled = self.known[word] = spell(word, self.ranks)
            ids += spelled
        return ids

    def decode(self, ids: Any) -> str:
        """The text. Bytes that are none, as when a model stops within a character, become U+FFFD."""
        return b"".join(map(self.vocab.__getitem__, self.check_ids(ids, len(self.vocab)))).decode(errors="replace")

    # -- files --------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike) -> None:
        """Write the merges as JSON: there whole, or not at all."""
        write_atomically(path, json.dumps({"format": FORMAT, "merges": self.merges}).encode())

    @classmethod
    def load(cls, path: str | os.PathLike) -> BPETokenizer:
        """The tokenizer that was saved. ValueError for any other file, FileNotFoundError for none."""
        try:
            content = Path(path).read_bytes()
        except FileNotFoundError:
            raise FileNotFoundError(f"BPETokenizer.load: there is no {path}; save() writes it") from None
        try:
            merges = read_merges(content)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"BPETokenizer.load: {path} is damaged or none of ours: {error}; train and save() it again"
            ) from None
        tokenizer = cls(BYTES + len(merges))
        tokenizer.use(merges)
        return tokenizer


def read_merges(content: bytes) -> list[Pair]:
    """The merges in a file. ValueError unless each is a new pair of ids that exist by then, of a length words have."""
    read = json.loads(content)
    if not isinstance(read, dict) or read.get("format") != FORMAT or not isinstance(read.get("merges"), list):
        raise ValueError(f'it is no object with "format": "{FORMAT}" and a list of merges')
    merges: dict[Pair, None] = {}  # a dict, since it keeps the order and knows at once what it holds
    lengths = [1] * BYTES
    for i, pair in enumerate(read["merges"]):
        if not isinstance(pair, list) or len(pair) != 2 or not all(type(id) is int for id in pair):
            raise ValueError(f"merge {i} is no pair of ids")
        left, right = pair
        if not 0 <= min(pair) <= max(pair) < len(lengths) or (left, right) in merges:
            raise ValueError(f"merge {i} is {left}, {right}: it must be a new pair of ids below {len(lengths)}")
        lengths.append(lengths[left] + lengths[right])
        if lengths[-1] > LONGEST_TOKEN:
            raise ValueError(f"merge {i} makes a token of {lengths[-1]} bytes, the longest has {LONGEST_TOKEN}")
        merges[left, right] = None
    return list(merges)
