"""The modules: our own code passes each checkpoint; the untouched file and typical wrong answers do not."""

import doctest
import importlib

import numpy as np
import pytest

import tinytorch
from leaderboard.measured import Blocks
from tests.tito.answers import checked, own, untouched
from tests.tito.wrong_answers import WRONG
from tinytorch.core.layers import Scale
from tinytorch.perf.weighted import weighted_layers
from tito.checks import Raises
from tito.course import NAMES, UnknownModule, find, modules
from tito.milestones import NEEDS

each_module = pytest.mark.parametrize("module", modules(), ids=lambda module: module.slug)


def test_there_are_twenty_in_the_course_s_order():
    assert [module.number for module in modules()] == list(range(1, 21))
    assert [module.name for module in modules()] == list(NAMES)
    assert [find(name).number for name in ("spatial", "transformers", "acceleration")] == [9, 13, 18]
    assert NEEDS == {1: 4, 2: 6, 3: 8, 4: 9, 5: 13, 6: 19}
    sources = [source for module in modules() for source in module.sources]
    assert len(sources) == len(set(sources))


@pytest.mark.parametrize("word", ["2", "02", "tensor", "02_tensor", "2_tensor"])
def test_a_module_is_found_by_number_name_or_both(word):
    assert find(word).slug == "02_tensor"


@pytest.mark.parametrize("word", ["0", "21", "", "tensors", "02_layers", "-2", "²", "02_", "x" * 1000])
def test_what_is_no_module_is_said_with_those_there_are(word):
    with pytest.raises(UnknownModule, match="known by number, name or both: 01_setup, 02_tensor") as error:
        find(word)
    assert len(str(error.value)) < 600


@each_module
def test_each_asks_one_question_and_points_at_every_part(module):
    assert module.question.startswith("Can I ") and module.question.endswith("?")
    parts = [part.name for parts in module.parts.values() for part in parts]
    assert set(parts) == {check.part for check in module.checks}
    for check in module.checks:
        assert check.cases and not isinstance(check.cases[0], str), f"{check.says}: one case needs a comma behind it"
        assert any(not isinstance(expected, Raises) for _, expected in check.cases) or "error" in check.says


@each_module
def test_worked_examples_are_true(module):
    space = {**{name: getattr(tinytorch, name) for name in tinytorch.__all__}, "np": np}
    space |= {"Scale": Scale, "weighted_layers": weighted_layers, "Blocks": Blocks}
    for source in module.sources:
        space |= {name: value for name, value in vars(importlib.import_module(source)).items() if name[:2] != "__"}
    exec(module.names, space)
    for parts in module.parts.values():
        for part in parts:
            test = doctest.DocTestParser().get_doctest(part.example, dict(space), part.name, None, None)
            assert test.examples, f"{part.name} has no worked example"
            told = []
            doctest.DocTestRunner(verbose=False).run(test, out=told.append)
            assert not told, "".join(told)


def test_our_own_code_passes_every_checkpoint(tmp_path):
    found = checked([(module, own(module, tmp_path / module.slug)) for module in modules()])
    for module, checks in zip(modules(), found):
        assert len(checks) == len(module.checks)
        assert not [says for _, says, failed in checks if failed], module.slug


def test_nothing_passes_on_the_untouched_file(tmp_path):
    found = checked([(module, untouched(module, tmp_path / module.slug)) for module in modules()])
    for module, checks in zip(modules(), found):
        assert len(checks) == len(module.checks)
        assert not [says for _, says, failed in checks if not failed], module.slug


def test_three_wrong_answers_to_each_are_found_where_they_are(tmp_path):
    assert list(WRONG) == [module.slug for module in modules()]
    wrong = [(find(slug), change) for slug, changes in WRONG.items() for change in changes]
    assert len(wrong) == 60
    jobs = [(module, own(module, tmp_path / str(i), change)) for i, (module, change) in enumerate(wrong)]
    for (module, change), checks in zip(wrong, checked(jobs)):
        blamed = {part for part, _, failed in checks if failed}
        assert change[3] in blamed, f"{module.slug}: {change[2]!r} in {change[3]} was not found, but {blamed}"
