"""Byte-pair encoding of words (Sennrich et al. 2016, algorithm 1; bytes as base: Radford et al. 2019, section 2.2).

Symbols are ids: 0..255 are the bytes, BYTES + i is what merge i makes of its pair. Left out: vocabulary, text and files
(`tokenization.py`).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush
from itertools import pairwise
from math import inf

Pair = tuple[int, int]

BYTES = 256
LONGEST_WORD = 64  # characters; longer runs are cut, since a word is searched anew for each of its merges
MIN_COUNT = 2  # a pair that occurs once says nothing about other texts

# GPT-2's rule in the terms of Python's `re`: English endings; letters, digits or other signs, with the space before
# them; and white space, which leaves its last space to the word behind. Each character belongs to exactly one word.
MANY = f"{{1,{LONGEST_WORD}}}"
WORD = re.compile(rf"'(?:s|t|re|ve|m|ll|d)| ?[^\W\d_]{MANY}| ?\d{MANY}| ?(?:[^\s\w]|_){MANY}|\s{MANY}(?!\S)|\s{MANY}")


def count_words(texts: Iterable[str]) -> Counter[str]:
    """How often each word occurs; no word reaches from one text into the next."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(WORD.findall(text))
    return counts


def learn_merges(words: Mapping[str, int], most: int) -> list[Pair]:
    """Up to `most` merges: each time the pair that is most frequent in words and their counts, now one symbol.

    Among equals the pair with the smallest ids wins, so the order of words does not matter. Only words that hold the
    pair are touched, and a heap knows the most frequent: a count that has fallen since is put back when it comes up.
    """
    spelled, weights = [list(word.encode()) for word in words], list(words.values())
    counts: Counter[Pair] = Counter()
    holders: defaultdict[Pair, set[int]] = defaultdict(set)
    for i, symbols in enumerate(spelled):
        for pair in pairwise(symbols):
            counts[pair] += weights[i]
            holders[pair].add(i)
    heap = [(-count, pair) for pair, count in counts.items()]
    heapify(heap)
    merges: list[Pair] = []
    while heap and len(merges) < most:
        negative, pair = heappop(heap)
        count = counts[pair]
        if count < MIN_COUNT:
            continue
        if count < -negative:
            heappush(heap, (-count, pair))
            continue
        made = BYTES + len(merges)
        merges.append(pair)
        grown: set[Pair] = set()  # only pairs with the new symbol become more frequent
        for i in holders.pop(pair):
            before, after = spelled[i], merged(spelled[i], pair, made)
            for old in pairwise(before):
                counts[old] -= weights[i]
            for new in pairwise(after):
                counts[new] += weights[i]
                if made in new:
                    holders[new].add(i)
                    grown.add(new)
            spelled[i] = after
        for new in grown:
            heappush(heap, (-counts[new], new))
    return merges


def merged(symbols: list[int], pair: Pair, made: int) -> list[int]:
    """Symbols with each `pair`, from the left, replaced by `made`."""
    out: list[int] = []
    i, last = 0, len(symbols) - 1
    while i <= last:
        if i < last and (symbols[i], symbols[i + 1]) == pair:
            out.append(made)
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return out


def spell(word: str, ranks: Mapping[Pair, int]) -> list[int]:
    """The symbols of a word after all merges, the first learned first; `ranks` numbers them in that order."""
    symbols = list(word.encode())
    while len(symbols) > 1:
        pair = min(pairwise(symbols), key=lambda pair: ranks.get(pair, inf))
        if pair not in ranks:
            break
        symbols = merged(symbols, pair, BYTES + ranks[pair])
    return symbols
