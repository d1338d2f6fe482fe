"""Files that were damaged or made up: none crashes its reader, each is listed with its reason or is the same still."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from leaderboard.proof import prove
from leaderboard.selftest.made import submission
from leaderboard.selftest.outcome import Outcome, Tick
from leaderboard.store import load_all
from leaderboard.verdict import ID_DIGITS, canonical, content_sha256

Chance = random.Random
Mutation = Callable[[bytes, Chance], bytes]

VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 2**63, -(2**63), 10**400, 1e308, 5e-324, "", "x" * 5000, "NaN", "\u202e\x00\x1b[31m",
    "=cmd()", "<script>", [], {}, [[]], [None] * 3, {"a": {"b": []}}, [0] * 40,
)  # fmt: skip


def flip(data: bytes, chance: Chance) -> bytes:
    """One to eight bits are other ones."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def truncate(data: bytes, chance: Chance) -> bytes:
    """The end is missing."""
    return data[: chance.randrange(len(data))]


def splice(data: bytes, chance: Chance) -> bytes:
    """A piece is missing, doubled, or junk."""
    begin = chance.randrange(len(data))
    end = min(len(data), begin + chance.randint(1, 200))
    piece = chance.choice((b"", data[begin:end] * 2, chance.randbytes(end - begin)))
    return data[:begin] + piece + data[end:]


def _places(content: Any) -> list[tuple[Any, Any]]:
    """(container, key) of every value in a JSON document."""
    found: list[tuple[Any, Any]] = []
    rest = [content]
    while rest:
        one = rest.pop()
        if isinstance(one, dict | list):
            keys = list(one) if isinstance(one, dict) else list(range(len(one)))
            found += [(one, key) for key in keys]
            rest += [one[key] for key in keys]
    return found


def _deed(data: bytes, chance: Chance) -> Any:
    content = json.loads(data)
    places = _places(content)
    for _ in range(chance.randint(1, 3)):
        container, key = chance.choice(places)
        kind = chance.randrange(4)
        if isinstance(container, dict):
            if kind == 0:
                container.pop(key, None)
            elif kind == 1:
                container[chance.choice(("extra", "__class__", "\u202e", key + " "))] = chance.choice(VALUES)
            else:
                container[key] = chance.choice(VALUES)
        elif key < len(container):
            if kind == 0:
                del container[key]
            elif kind == 1:
                container.insert(key, chance.choice(VALUES))
            else:
                container[key] = chance.choice(VALUES)
    return content


def values(data: bytes, chance: Chance) -> bytes:
    """Values are replaced, removed or added; the hash does not fit."""
    return json.dumps(_deed(data, chance)).encode()


def sealed(data: bytes, chance: Chance) -> bytes:
    """The same, with a hash that fits, as a careful forger would do it."""
    content = _deed(data, chance)
    try:
        content["integrity"]["content_sha256"] = content_sha256(content)
        content["submission_id"] = content["integrity"]["content_sha256"][:ID_DIGITS]
    except (ValueError, TypeError, KeyError, AttributeError):
        pass  # nothing to seal it with
    return json.dumps(content).encode()


def swapped(data: bytes, chance: Chance) -> bytes:
    """Two values have changed places, or the keys stand in another order."""
    content = json.loads(data)
    if chance.random() < 0.3:
        return json.dumps(dict(chance.sample(list(content.items()), len(content)))).encode()
    (one, key), (other, name) = chance.sample(_places(content), 2)
    one[key], other[name] = other[name], one[key]
    try:
        return json.dumps(content).encode()
    except (ValueError, RecursionError):  # one had been put into itself
        return b"{}"


def nested(data: bytes, chance: Chance) -> bytes:
    """Something deep in place of a value."""
    depth = chance.choice((50, 500, 5000, 100_000))
    deep = chance.choice((b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth, b"[" * depth))
    return _in_place_of_a_number(data, chance, deep)


def numbers(data: bytes, chance: Chance) -> bytes:
    """A number that is none, or too large, in place of one."""
    odd = (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-0", b"1e-999", b"9" * 5000, b"0x10", b"01", b"+1", b".5")
    return _in_place_of_a_number(data, chance, chance.choice(odd))


def _in_place_of_a_number(data: bytes, chance: Chance, instead: bytes) -> bytes:
    start = data.index(b'"ref_block_ns":[', chance.randrange(len(data) // 4))
    begin = data.index(b"[", start) + 1
    return data[:begin] + instead + data[data.index(b",", begin) :]


def doubled(data: bytes, chance: Chance) -> bytes:
    """A key stands twice in one object, the second time perhaps with another value."""
    content = json.loads(data)
    key = chance.choice(list(content))
    value = chance.choice((content[key], chance.choice(VALUES)))
    return b"{" + json.dumps({key: value}).encode()[1:-1] + b"," + data.strip()[1:]


def encoded(data: bytes, chance: Chance) -> bytes:
    """Another encoding, or a byte-order mark."""
    text = data.decode().replace("honest", "h\xf6nest")
    return chance.choice(
        (
            b"\xef\xbb\xbf" + data,
            text.encode("utf-16"),
            text.encode("utf-16-le"),
            text.encode("utf-32"),
            text.encode("latin-1", "replace"),
            text.encode("utf-7"),
            data.replace(b'"', b'"\xff', 1),
            data.replace(b'"ada"', b'"\\ud800"'),
            data.replace(b'"ada"', b'"ada\x00"'),
        )
    )


MUTATIONS: tuple[Mutation, ...] = (
    flip, truncate, splice, values, sealed, swapped, nested, numbers, doubled, encoded,
)  # fmt: skip


def mutants(scratch: Path, times: int, seed: int, tick: Tick) -> Outcome:
    """Damaged copies beside the honest file: each is listed with a reason, is the same still, or stands for itself."""
    chance, lost, board = Chance(seed), [], scratch / "mutants"
    honest = submission("mutated")
    data = canonical(honest.model_dump(mode="json")) + b"\n"
    board.mkdir()
    (board / "0.json").write_bytes(data)
    expected: dict[str, str] = {}
    for number in range(1, times + 1):
        mutation = MUTATIONS[number % len(MUTATIONS)]
        mutant = mutation(data, chance)
        name = f"{number}.json"
        (board / name).write_bytes(mutant)
        expected[name] = mutation.__name__
        try:
            one, faults = prove(mutant)
        except Exception as error:
            lost.append(f"{name} ({mutation.__name__}, seed {seed}): {type(error).__name__} {error}"[:200])
            continue
        finally:
            tick()
        if one is None and not (faults and all(code and reason for code, reason in faults)):
            lost.append(f"{name} ({mutation.__name__}): refused without a reason")
        if one is not None and one.submission_id == honest.submission_id and one != honest:
            lost.append(f"{name} ({mutation.__name__}): taken for the honest one, which it is not")
    if not lost:
        loaded = load_all(board)
        listed = {problem.path for problem in loaded.problems}
        files = {path.name for path in board.iterdir()}
        unlisted = len(files - listed)
        if honest not in loaded.submissions:
            lost.append("the honest submission is hidden")
        if unlisted != len(loaded.submissions):
            lost.append(f"{unlisted} files without a reason for {len(loaded.submissions)} submissions")
    kinds = len(MUTATIONS)
    return Outcome(f"damaged files, {kinds} kinds", times, "listed with their reasons, or the same still", tuple(lost))
