"""Recipes: what round-trips, and what is refused with which words."""

import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlperf.recipe import STAGES, Recipe, RecipeError, load

shares = st.floats(0, 0.999)
recipes = st.fixed_dictionaries(
    {},
    optional={
        "profile": st.fixed_dictionaries({"calls": st.integers(1, 10_000)}, optional={"enabled": st.booleans()}),
        "quantize": st.fixed_dictionaries(
            {},
            optional={
                "enabled": st.booleans(),
                "activations": st.booleans(),
                "samples": st.integers(1, 100_000),
                "percentile": st.floats(50, 100, exclude_min=True),
                "seed": st.integers(0, 2**32 - 1),
            },
        ),
        "prune": st.fixed_dictionaries(
            {"method": st.sampled_from(["magnitude", "channels"]), "amount": shares},
            optional={"scope": st.sampled_from(["global", "layer"])},
        ),
        "accelerate": st.fixed_dictionaries({"enabled": st.booleans()}),
    },
).map(Recipe().updated)


@given(recipes)
def test_json_round_trip(recipe):
    assert Recipe().updated(json.loads(recipe.to_json())) == recipe


@given(recipes)
def test_toml_round_trip(recipe):
    assert Recipe().updated(tomllib.loads(recipe.to_toml())) == recipe


def test_a_file_changes_only_what_it_names(tmp_path):
    default = Recipe().updated({"prune": {"amount": 0.4}})
    (tmp_path / "mine.toml").write_text("[prune]\nmethod = 'channels'\n[quantize]\nenabled = false\n")
    (tmp_path / "mine.json").write_text('{"prune": {"method": "channels"}, "quantize": {"enabled": false}}')
    mine = load(tmp_path / "mine.toml", default)
    assert (mine.prune.method, mine.prune.amount, mine.quantize.enabled) == ("channels", 0.4, False)
    assert mine.cache == default.cache
    assert load(tmp_path / "mine.json", default) == mine


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"quantise": {}}, "unknown stage 'quantise'; known: profile, quantize, prune, cache, accelerate"),
        (
            {"prune": {"amuont": 0.5}},
            "unknown setting 'prune.amuont'; known: enabled, method, amount, scope, finetune_epochs, finetune_lr, seed",
        ),
        ({"prune": {"amount": 1}}, "prune.amount is 1: .*less than 1"),
        ({"prune": {"method": "random"}}, "prune.method is 'random': .*'magnitude', 'blocks' or 'channels'"),
        ({"quantize": {"samples": "many"}}, "quantize.samples is 'many': .*integer"),
        ({"cache": 3}, "cache is 3: .*dictionary"),
    ],
)
def test_impossible_settings_are_named(content, text):
    with pytest.raises(RecipeError, match=text):
        Recipe().updated(content)


def test_all_errors_are_named_at_once():
    with pytest.raises(RecipeError, match=r"(?s)quantize\.seed is -1.*prune\.amount is 2"):
        Recipe().updated({"quantize": {"seed": -1}, "prune": {"amount": 2.0}})


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.toml", "[prune", "not TOML"),
        ("a.json", '{"prune":', "not JSON"),
        ("a.json", "[]", "not a table of stages; known stages: profile"),
        ("a.yaml", "prune: {}", "unknown kind of file '.yaml'; known: .json, .toml"),
        ("a.toml", "[prune]\namount = 5.0", r"a\.toml: prune.amount is 5.0"),
    ],
)
def test_files_that_are_no_recipes(tmp_path, name, content, text):
    (tmp_path / name).write_text(content)
    with pytest.raises(RecipeError, match=text):
        load(tmp_path / name, Recipe())


def test_a_missing_file_and_one_that_is_no_text(tmp_path):
    with pytest.raises(RecipeError, match=r"none\.toml: cannot be read: No such file"):
        load(tmp_path / "none.toml", Recipe())
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match=r"binary\.json: cannot be read"):
        load(tmp_path / "binary.json", Recipe())


def test_skipping_switches_off_only_the_stages_named():
    recipe = Recipe().skipping(["prune", "cache"])
    assert [name for name in STAGES if getattr(recipe, name).enabled] == ["profile", "quantize", "accelerate"]
    with pytest.raises(RecipeError, match="unknown stage 'fly'; known: profile, quantize, prune, cache, accelerate"):
        recipe.skipping(["fly"])
