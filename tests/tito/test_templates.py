"""A student's file: our own source but for the parts that are to be written."""

import ast

import pytest

from tito import templates
from tito.course import find, modules

EACH = [(module, source) for module in modules() for source in module.sources]
each_file = pytest.mark.parametrize(("module", "source"), EACH, ids=lambda one: getattr(one, "slug", one))


def skeleton(text, emptied):
    """The tree of a source without docstrings of the module and of `emptied` functions, and without their bodies."""
    tree = ast.parse(text)
    tree.body = tree.body[1:]
    for name, node in templates.functions(tree):
        if name in emptied:
            node.body = [ast.Pass()]
    return ast.dump(tree)


@each_file
def test_all_but_the_parts_to_write_is_our_own(module, source):
    parts = {part.name for part in module.parts[source]}
    ours, theirs = templates.source_of(source), templates.written(module, source)
    assert skeleton(ours, parts) == skeleton(theirs, parts)
    assert max(map(len, theirs.splitlines())) <= 120


@each_file
def test_each_part_has_words_an_example_a_hint_and_says_that_it_is_to_be_written(module, source):
    text = templates.written(module, source)
    nodes = dict(templates.functions(ast.parse(text)))
    for part in module.parts[source]:
        node = nodes[part.name]
        doc, last = ast.get_docstring(node), node.body[-1]
        assert part.example.splitlines()[0] in doc and len(doc.split(">>>")[0].strip()) > 5
        assert ast.unparse(last) == f"raise NotImplementedError('{part.name} is yours to write')"
        assert "# Hint: " in ast.get_source_segment(text, node)


def test_the_head_says_what_to_do():
    text = templates.written(find("03"), "tinytorch.core.activations")
    assert "Module 03_activations: Can I bend a straight line" in text and "    tito module test 03\n" in text
    assert "ReLU.forward, Sigmoid.forward" in text


def test_where_a_part_stands():
    text = "class A:\n    def f(self):\n        pass\n\n\ndef g():\n    pass\n"
    assert (templates.line_of(text, "A.f"), templates.line_of(text, "g"), templates.line_of(text, "h")) == (2, 6, None)
    assert templates.line_of("def g(:", "g") is None
