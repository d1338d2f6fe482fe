"""A student's file, made from our own source: the parts to be written are empty, everything else stands as it is.

So it cannot drift from what it replaces. A part keeps its signature and docstring; a worked example, which is run as a
test against our own code, and a hint come with it.
"""

from __future__ import annotations

import ast
import importlib.util
import textwrap
from collections.abc import Iterator
from pathlib import Path

from tito.checks import Module, Part

WIDTH = 120
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def source_of(module: str) -> str:
    """The text of one of our modules, which is not imported."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None, module
    return Path(spec.origin).read_text(encoding="utf-8")


def functions(tree: ast.Module) -> Iterator[tuple[str, FunctionNode]]:
    """All functions and methods with their qualified names."""
    stack: list[tuple[str, ast.AST]] = [("", tree)]
    while stack:
        prefix, node = stack.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, FunctionNode):
                yield f"{prefix}{child.name}", child
            elif isinstance(child, ast.ClassDef):
                stack.append((f"{prefix}{child.name}.", child))


def line_of(text: str, name: str) -> int | None:
    """The line at which a part begins in a file; None where there is none, or the file is no Python."""
    try:
        found = dict(functions(ast.parse(text)))
    except SyntaxError:
        return None
    return found[name].lineno if name in found else None


def written(module: Module, source: str) -> str:
    """The text of the student's file that is to replace `source`."""
    text = source_of(source)
    tree, lines = ast.parse(text), text.splitlines()
    nodes = dict(functions(tree))
    for part in sorted(module.parts[source], key=lambda part: nodes[part.name].lineno, reverse=True):
        node = nodes[part.name]
        lines[node.body[0].lineno - 1 : node.end_lineno] = body(part, node)
    own, below = ast.get_docstring(tree, clean=False), tree.body[0].end_lineno
    head = [*f'"""{own}'.rstrip().splitlines(), "", *banner(module, source), '"""']
    return "\n".join([*head, *lines[below:]]) + "\n"


def banner(module: Module, source: str) -> list[str]:
    """What stands at the top: what to do, and the command that tells whether it is done."""
    parts = ", ".join(part.name for part in module.parts[source])
    text = f"Yours to write, wherever it says NotImplementedError: {parts}. Everything else is there already."
    about = f"Module {module.slug}: {module.question}"
    return [about, "", *textwrap.wrap(text, WIDTH), "", f"    tito module test {module.number:02}"]


def body(part: Part, node: FunctionNode) -> list[str]:
    """A part's docstring, example, hint and the error that says that it is not written yet."""
    indent = " " * (node.col_offset + 4)
    width = WIDTH - len(indent)
    words = ast.get_docstring(node) or ""
    texts = list(filter(None, (words, part.about))) or ["What the class says."]
    told = [line for text in texts for line in (*wrapped(text, width - 3), "")]
    doc = ['"""' + told[0], *told[1:], *part.example.strip().splitlines(), '"""']
    hint = textwrap.wrap(f"Hint: {part.hint}", width - 2)
    made = [*doc, *(f"# {line}" for line in hint), f'raise NotImplementedError("{part.name} is yours to write")']
    return [f"{indent}{line}".rstrip() for line in made]


def wrapped(text: str, width: int) -> list[str]:
    """Lines of a docstring as they are, those that are too long broken."""
    return [part for line in text.splitlines() for part in (textwrap.wrap(line, width) or [""])]
