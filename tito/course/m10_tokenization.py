"""Module 10: text as numbers, by characters and by byte pairs."""

from __future__ import annotations

from tito.checks import Check, Module, Part, Raises

CHARACTERS = (
    Part(
        "CharTokenizer.build_vocab", "", ">>> t = CharTokenizer()\n>>> t.build_vocab('banana')\n>>> t.vocab\n"
        "['<UNK>', 'a', 'b', 'n']",
        "The union of the sets of characters of all texts (self.check_text looks at each), sorted, given to self.use.",
    ),
    Part(
        "CharTokenizer.encode", "", ">>> CharTokenizer('ab').encode('abc')\n[1, 2, 0]",
        "self.char_to_id has an id for each character known, self.unk_id stands for every other.",
    ),
    Part(
        "CharTokenizer.decode", "IndexError for an id that there is not.",
        ">>> CharTokenizer('ab').decode([2, 1])\n'ba'",
        "self.check_ids(ids, self.vocab_size) is the list of ids; self.id_to_char has their characters.",
    ),
    Part(
        "BPETokenizer.encode", "", ">>> BPETokenizer().encode('hi')\n[104, 105]",
        "WORD.findall cuts a text into words; spell(word, self.ranks) gives a word's ids. Words come again: keep "
        "what was "
        "found in self.known, and not more than CACHED of them.",
    ),
    Part(
        "BPETokenizer.decode", "", ">>> BPETokenizer().decode([104, 105])\n'hi'",
        "self.vocab has the bytes of each id; join all bytes first, decode then, with errors='replace': a character "
        "may "
        "be cut in two.",
    ),
)  # fmt: skip

PAIRS = (
    Part(
        "merged", "", ">>> merged([1, 2, 1, 2, 3], (1, 2), 9)\n[9, 9, 3]",
        "Walk from the left; where the pair begins, take `made` and go two on.",
    ),
    Part(
        "spell", "", ">>> spell('aaa', {(97, 97): 0})\n[256, 97]",
        "Begin with the bytes. As long as a neighbouring pair has a rank, merge the pair with the smallest; its "
        "symbol is "
        "BYTES + rank.",
    ),
)  # fmt: skip

CHECKS = (
    Check("CharTokenizer.build_vocab", "every character has an id, in their order, behind <UNK>", (
        ("t = CharTokenizer()\nt.build_vocab('a')\nt.vocab", ["<UNK>", "a"]),
        ("t = CharTokenizer()\nt.build_vocab('banana')\nt.vocab", ["<UNK>", "a", "b", "n"]),
        ("t = CharTokenizer()\nt.build_vocab(['ba', 'c'])\nt.vocab_size", 4),
        ("t = CharTokenizer()\nt.build_vocab(5)", Raises("TypeError")),
    )),
    Check("CharTokenizer.encode", "an id for each character, 0 for one that is unknown", (
        ("CharTokenizer('ab').encode('')", []),
        ("CharTokenizer('ab').encode('ab')", [1, 2]),
        ("CharTokenizer('ab').encode('bxa')", [2, 0, 1]),
        ("CharTokenizer().encode('a')", Raises("ValueError", "build_vocab")),
    )),
    Check("CharTokenizer.decode", "ids become the text they were", (
        ("CharTokenizer('ab').decode([1])", "a"),
        ("CharTokenizer('ab').decode([2, 1, 0])", "ba<UNK>"),
        ("t = CharTokenizer('héo l')\nt.decode(t.encode('hé lo'))", "hé lo"),
        ("CharTokenizer('ab').decode([3])", Raises("IndexError")),
    )),
    Check("merged", "each pair becomes one symbol, from the left", (
        ("merged([], (1, 2), 9)", []),
        ("merged([1, 2], (1, 2), 9)", [9]),
        ("merged([1, 1, 1], (1, 1), 9)", [9, 1]),
        ("merged([1, 2, 1, 2, 3], (1, 2), 9)", [9, 9, 3]),
        ("merged([2, 1, 3], (1, 2), 9)", [2, 1, 3]),
        ("a = [1, 2]\nmerged(a, (1, 2), 9)\na", [1, 2]),
    )),
    Check("spell", "merges are applied in the order in which they were learned", (
        ("spell('a', {})", [97]),
        ("spell('ab', {(97, 98): 0})", [256]),
        ("spell('aaa', {(97, 97): 0})", [256, 97]),
        ("spell('abc', {(98, 99): 0, (97, 98): 1})", [97, 256]),
        ("spell('abab', {(97, 98): 0, (256, 256): 1})", [257]),
        ("spell('é', {})", [195, 169]),
    )),
    Check("BPETokenizer.encode", "words are spelled with what was learned", (
        ("BPETokenizer().encode('')", []),
        ("BPETokenizer().encode('hi')", [104, 105]),
        ("t = BPETokenizer()\nt.train('aa aa aa', 258)\nt.encode('aa')", [256]),
        ("t = BPETokenizer()\nt.train('aa aa aa', 258)\nt.encode('aa aa') == t.encode('aa') + t.encode(' aa')", True),
        ("t = BPETokenizer()\nt.encode('aa')\nt.train('aa aa', 257)\nt.encode('aa')", [256]),
    )),
    Check("BPETokenizer.decode", "any text comes back as it was, and half a character is no crash", (
        ("BPETokenizer().decode([104, 105])", "hi"),
        ("t = BPETokenizer()\nt.train('hello hello', 260)\nt.decode(t.encode('hello, \\u00e9\\u4e16 \\U0001f600'))",
         "hello, \u00e9\u4e16 \U0001f600"),
        ("BPETokenizer().decode([195])", "\ufffd"),
        ("BPETokenizer().decode([195, 169])", "é"),
        ("BPETokenizer().decode([256])", Raises("IndexError")),
    )),
)  # fmt: skip

MODULE = Module(
    10, "tokenization", "Can I turn any text into numbers, and back?",
    {"tinytorch.core.tokenization": CHARACTERS, "tinytorch.core.byte_pairs": PAIRS},
    "from tinytorch.core.byte_pairs import merged, spell\n"
    "from tinytorch.core.tokenization import BPETokenizer, CharTokenizer",
    CHECKS,
)  # fmt: skip
