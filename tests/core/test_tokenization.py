"""Tokenizers: nothing is lost, the same corpus gives the same merges, and bad text, ids and files are named."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tinytorch import BPETokenizer, CharTokenizer, Tensor, Tokenizer
from tinytorch.core.byte_pairs import BYTES, LONGEST_WORD, WORD, count_words, learn_merges
from tinytorch.core.tokenization import read_merges

CORPUS = [
    "the cat sat on the mat, the hat and the bat; that's what they'd said.",
    "Then the rat that ate the oats sat there\n\n  and then\tthat was that. 1999 and 1997!",
    "Äpfel, naïve café, 東京と京都、 "
    "\U0001f600\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 \x00\x7f_under_score",
]
TRAINED = BPETokenizer(400)
TRAINED.train(CORPUS)
TEXTS = st.one_of(st.text(), st.text(alphabet="the cat\n'sd_7é\u200d\U0001f600 "))
NASTY = [
    "", " ", "\r\n", "\x00\x1c\x85\u2028", "\U0010ffff", "e\u0301", "\U0001f468\u200d\U0001f469", "a" * 500, " " * 300,
]  # fmt: skip


# -- characters -------------------------------------------------------------------------------------------------------


def test_characters_have_ids_in_sorted_order():
    tokenizer = CharTokenizer()
    tokenizer.build_vocab(["hello", "all"])
    assert tokenizer.vocab == ["<UNK>", "a", "e", "h", "l", "o"] and tokenizer.vocab_size == 6
    assert tokenizer.char_to_id["h"] == 3 and tokenizer.id_to_char[3] == "h" and tokenizer.unk_id == 0
    assert tokenizer.encode("hello") == [3, 2, 4, 4, 5]
    for ids in ([3, 2, 4, 4, 5], (3, 2, 4, 4, 5), np.array([3, 2, 4, 4, 5]), Tensor(np.array([3, 2, 4, 4, 5]))):
        assert tokenizer.decode(ids) == "hello"
    tokenizer.build_vocab("ab")
    assert tokenizer.vocab == ["<UNK>", "a", "b"] and tokenizer.encode("") == []


def test_a_given_vocabulary_keeps_its_order_and_holds_each_once():
    for given_ in (["b", "a", "b"], "bab", ("<UNK>", "b", "a")):
        assert CharTokenizer(given_).vocab == ["<UNK>", "b", "a"]
    with pytest.raises(ValueError, match=r"'ab' is no single character; give texts to build_vocab\(\)"):
        CharTokenizer(["ab"])
    with pytest.raises(ValueError, match="7 is no single character"):
        CharTokenizer([7])


@given(TEXTS, TEXTS)
def test_known_characters_come_back_and_others_become_unknown(text, other):
    tokenizer = CharTokenizer()
    tokenizer.build_vocab(text + "x")
    assert tokenizer.decode(tokenizer.encode(text)) == text
    ids = tokenizer.encode(other)
    assert len(ids) == len(other) and max(ids, default=0) < tokenizer.vocab_size
    assert [i == 0 for i in ids] == [character not in text + "x" for character in other]
    assert tokenizer.decode(ids) == "".join(c if c in text + "x" else "<UNK>" for c in other)


def test_without_a_vocabulary_nothing_is_encoded():
    tokenizer = CharTokenizer()
    for corpus in (None, "", []):
        if corpus is not None:
            tokenizer.build_vocab(corpus)
        with pytest.raises(ValueError, match=r"no character is known yet; call build_vocab\(corpus\) first"):
            tokenizer.encode("a")


# -- byte pairs -------------------------------------------------------------------------------------------------------


@given(TEXTS)
def test_any_text_comes_back_whatever_was_trained(text):
    for tokenizer in (TRAINED, BPETokenizer(), ON_ITSELF := BPETokenizer(300)):
        if tokenizer is ON_ITSELF:
            tokenizer.train(text)
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert len(ids) <= len(text.encode()) and max(ids, default=0) < len(tokenizer.vocab) <= tokenizer.vocab_size


@pytest.mark.parametrize("text", NASTY, ids=ascii)
def test_nasty_texts_come_back(text):
    assert TRAINED.decode(TRAINED.encode(text)) == text
    assert BPETokenizer().encode(text) == list(text.encode())


@given(TEXTS)
@example("a" * 1000)
def test_words_hold_every_character_once_and_are_short(text):
    words = WORD.findall(text)
    assert "".join(words) == text and all(len(word) <= LONGEST_WORD + 1 for word in words)


def test_words_are_cut_as_gpt2_cuts_them():
    text = "Hello  world's 123 foo_bar!\n\n I'll say: naïve\t東京"
    assert WORD.findall(text) == [
        "Hello", " ", " world", "'s", " 123", " foo", "_", "bar", "!", "\n\n", " I", "'ll", " say", ":", " naïve",
        "\t", "東京",
    ]  # fmt: skip


def plain(words, most):
    """The algorithm as it is told: count all pairs, replace the most frequent, count again."""
    spelled, merges = {tuple(word.encode()): n for word, n in words.items()}, []
    while len(merges) < most:
        counts = Counter()
        for word, n in spelled.items():
            for pair in pairwise(word):
                counts[pair] += n
        best = min(counts, key=lambda pair: (-counts[pair], pair), default=None)
        if best is None or counts[best] < 2:
            break
        changed = {}
        for word, n in spelled.items():
            out = []
            for symbol in word:
                if out and (out[-1], symbol) == best:
                    out[-1] = BYTES + len(merges)
                else:
                    out.append(symbol)
            changed[tuple(out)] = changed.get(tuple(out), 0) + n
        spelled = changed
        merges.append(best)
    return merges, spelled


@given(st.dictionaries(st.text(alphabet="abcé", min_size=1, max_size=12), st.integers(1, 5), max_size=12))
@example({"aaaa": 2, "aaa": 3})
@example({"abab": 1, "baba": 1})
def test_merges_are_those_of_the_plain_algorithm(words):
    merges = learn_merges(words, 30)
    expected, spelled = plain(words, 30)
    assert merges == expected
    tokenizer = BPETokenizer()
    tokenizer.use(merges)
    for word in words:  # a word of the corpus is spelled as it was when training ended
        assert tuple(tokenizer.encode(word)) in spelled


@given(st.lists(TEXTS, max_size=6), st.randoms(use_true_random=False))
def test_merges_depend_on_the_texts_alone(texts, random):
    first, second = BPETokenizer(320), BPETokenizer(320)
    first.train(texts)
    random.shuffle(texts)
    second.train(iter(texts))
    assert first.merges == second.merges and first.vocab == second.vocab


def test_a_trained_text_becomes_shorter():
    ids = TRAINED.encode(CORPUS[0])
    assert len(ids) < 0.6 * len(CORPUS[0])
    assert TRAINED.vocab[TRAINED.encode(" the")[0]] == b" the" and len(TRAINED.encode(" the")) == 1
    assert all(type(i) is int for i in ids)
    larger = BPETokenizer()
    larger.train(CORPUS, 300)
    assert larger.merges == TRAINED.merges[:44]


def test_the_size_is_what_is_asked_for_and_then_what_came_of_it():
    assert BPETokenizer().vocab_size == 1000 and BPETokenizer(100).vocab_size == 256
    tokenizer = BPETokenizer(vocab_size=100)
    tokenizer.train(["hello", "world", "hello", "hell"])
    assert tokenizer.vocab_size == len(tokenizer.vocab) == 256 and not tokenizer.merges
    tokenizer.train(["hello", "world", "hello", "hell"], vocab_size=1000)
    assert tokenizer.vocab[256:] == [b"el", b"hel", b"hell", b"hello"] and tokenizer.vocab_size == 260
    tokenizer.train("hello hello" * 3)  # still 1000 asked for
    assert tokenizer.vocab_size > 260
    tokenizer.train("")
    assert tokenizer.vocab_size == 256 and tokenizer.decode(tokenizer.encode("hello")) == "hello"


def test_what_was_spelled_before_training_is_forgotten():
    tokenizer = BPETokenizer(300)
    assert len(tokenizer.encode("that")) == 4
    tokenizer.train(CORPUS)
    assert len(tokenizer.encode("that")) < 4


def test_words_are_remembered_up_to_a_limit(monkeypatch):
    monkeypatch.setattr("tinytorch.core.tokenization.CACHED", 3)
    text = "one two three four five one"
    assert TRAINED.decode(TRAINED.encode(text)) == text and len(TRAINED.known) <= 3


def test_half_a_character_is_shown_as_such():
    assert TRAINED.decode([0xE6, 0x9D, ord("a")]) == "\ufffda"


SHAKESPEARE = Path(os.environ.get("TINYTORCH_DATA", "")) / "tinyshakespeare" / "input.txt"


@pytest.mark.skipif(not SHAKESPEARE.is_file(), reason="TINYTORCH_DATA with tinyshakespeare/input.txt is not set")
def test_a_megabyte_of_shakespeare():
    text = SHAKESPEARE.read_text(encoding="utf-8")
    tokenizer = BPETokenizer(1256)
    start = perf_counter()
    tokenizer.train(text)
    assert perf_counter() - start < 30 and len(tokenizer.merges) == 1000
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text and len(text) / len(ids) > 2.5
    assert len(set(tokenizer.vocab)) == 1256
    assert tokenizer.merges[:60] == plain(count_words([text]), 60)[0]


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokenizer", [CharTokenizer("abc"), TRAINED], ids=["char", "bpe"])
def test_bad_ids_and_texts_are_named(tokenizer):
    name, size = type(tokenizer).__name__, tokenizer.vocab_size
    for bad in (size, -1):
        message = f"{name}.decode: id {bad} at position (2,) is outside 0..{size - 1}; the vocabulary size is {size}"
        with pytest.raises(IndexError, match=re.escape(message)):
            tokenizer.decode([1, 2, bad])
    with pytest.raises(ValueError, match=r"decode: ids are \(1, 2\): decode one row at a time"):
        tokenizer.decode([[1, 2]])
    with pytest.raises(TypeError, match="decode: ids are float64: they must be integers"):
        tokenizer.decode([1.0])
    assert tokenizer.decode([]) == "" and tokenizer.encode("") == []
    with pytest.raises(TypeError, match=f"{name}: the text is bytes, not str; decode or join it first"):
        tokenizer.encode(b"abc")
    with pytest.raises(ValueError, match=rf"{name}: character '\\ud800' at position 1 is half a surrogate pair"):
        tokenizer.encode("a\ud800")
    for learn in (CharTokenizer().build_vocab, BPETokenizer().train):
        with pytest.raises(TypeError, match="the text is int, not str"):
            learn(["a", 7])


@pytest.mark.parametrize("size", [0, -5, 2.5, "300"])
def test_sizes_that_are_none(size):
    for ask in (lambda: BPETokenizer(size), lambda: BPETokenizer().train("a", size)):
        with pytest.raises(ValueError, match=f"vocab_size is {size!r}; choose 257 or more"):
            ask()


def test_a_half_made_tokenizer_says_what_is_missing():
    with pytest.raises(TypeError, match=r"Tokenizer: no encode\(\) defined"):
        Tokenizer().encode("a")
    with pytest.raises(TypeError, match=r"Tokenizer: no decode\(\) defined"):
        Tokenizer().decode([1])


# -- files ------------------------------------------------------------------------------------------------------------


def test_a_saved_tokenizer_is_the_same(tmp_path):
    TRAINED.save(tmp_path / "bpe.json")
    loaded = BPETokenizer.load(tmp_path / "bpe.json")
    assert loaded.merges == TRAINED.merges and loaded.vocab == TRAINED.vocab and loaded.vocab_size == TRAINED.vocab_size
    assert [loaded.encode(text) for text in CORPUS] == [TRAINED.encode(text) for text in CORPUS]
    assert os.listdir(tmp_path) == ["bpe.json"]
    with pytest.raises(FileNotFoundError, match=r"BPETokenizer.load: there is no .*none.json; save\(\) writes it"):
        BPETokenizer.load(tmp_path / "none.json")
    with pytest.raises(OSError, match="cannot write"):
        TRAINED.save(tmp_path / "none" / "bpe.json")


def test_the_longest_token_can_be_saved(tmp_path):
    """A space and letters of four bytes, as many as a word can have."""
    word = " " + "\U00010400" * LONGEST_WORD
    tokenizer = BPETokenizer(2000)
    tokenizer.train(word * 2)
    assert len(tokenizer.encode(word)) == 1
    tokenizer.save(tmp_path / "bpe.json")
    assert BPETokenizer.load(tmp_path / "bpe.json").encode(word) == tokenizer.encode(word)


def saved(merges, format="tinytorch byte pairs 1"):
    return json.dumps({"format": format, "merges": merges}).encode()


BAD = {
    "nothing": (b"", "Expecting value"),
    "no text": (b"\xff\xfe\x00", "decode"),
    "a list": (b"[]", "no object with"),
    "another format": (saved([], "other"), "no object with"),
    "no merges": (b'{"format": "tinytorch byte pairs 1"}', "no object with"),
    "no pair": (saved([[1, 2, 3]]), "merge 0 is no pair of ids"),
    "a fraction": (saved([[1, 2], [1.0, 2]]), "merge 1 is no pair of ids"),
    "a truth": (saved([[True, 2]]), "merge 0 is no pair of ids"),
    "an id to come": (saved([[1, 2], [257, 1]]), "merge 1 is 257, 1: it must be a new pair of ids below 257"),
    "below zero": (saved([[-1, 2]]), "merge 0 is -1, 2"),
    "twice": (saved([[1, 2], [1, 2]]), "merge 1 is 1, 2: it must be a new pair"),
    "doubling": (saved([[97, 97]] + [[256 + i] * 2 for i in range(60)]), "merge 8 makes a token of 512 bytes, .* 257"),
    "deep": (b"[" * 100_000, "recursion"),
    "a long number": (b'{"format": ' + b"9" * 5000 + b"}", "digits"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_damaged_file_is_one_clear_error(tmp_path, name):
    content, why = BAD[name]
    path = tmp_path / "bpe.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"bpe.json is damaged or none of ours: .*{why}.*; train and save"):
        BPETokenizer.load(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 300) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["format", "merges", "x"]), inner),
    max_leaves=12,
)
SAVED = saved(TRAINED.merges)


@given(st.one_of(
    st.binary(max_size=60), JSON.map(lambda value: json.dumps(value).encode()), JSON.map(saved),
    st.lists(st.lists(st.integers(-1, 270), min_size=2, max_size=2)).map(saved),
    st.tuples(st.integers(0, len(SAVED) - 1), st.binary(max_size=3), st.integers(0, 5)).map(
        lambda cut: SAVED[: cut[0]] + cut[1] + SAVED[cut[0] + cut[2] :]
    ),
))  # fmt: skip
def test_any_bytes_are_a_tokenizer_or_an_error(content):
    try:
        merges = read_merges(content)
    except ValueError:
        return
    tokenizer = BPETokenizer()
    tokenizer.use(merges)
    assert all(tokenizer.decode(tokenizer.encode(text)) == text for text in CORPUS)
