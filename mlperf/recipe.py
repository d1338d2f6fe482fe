"""What the five stages are told to do: validated settings that round-trip as JSON and TOML.

A recipe file names stages and only the settings that differ from the default; what it does not name stays as the
default is.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class RecipeError(ValueError):
    """A recipe that cannot be used; the text says where and lists what is known."""


class Stage(BaseModel):
    """Common to all stages: `enabled = false` switches one off."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    enabled: bool = True


class Profile(Stage):
    """Where the reference spends its time: medians over `calls` queries."""

    calls: Annotated[int, Field(ge=1, le=10_000)] = 50


class Quantize(Stage):
    """int8 weights; with `activations`, layer inputs on uint8 grids measured with `samples` training samples."""

    activations: bool = True
    samples: Annotated[int, Field(ge=1, le=100_000)] = 256
    percentile: Annotated[float, Field(gt=50, le=100)] = 100.0
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class Prune(Stage):
    """Leave out a share `amount`: the smallest weights ("magnitude"), whole blocks of them or whole channels.

    With `finetune_epochs`, what is left is then trained on the training split, which only the open division may.
    The default amount was chosen for mlp and cnn by validation splits of the training part (`mlperf/tuning.py`).
    """

    method: Literal["magnitude", "blocks", "channels"] = "magnitude"
    amount: Annotated[float, Field(ge=0, lt=1)] = 0.4
    scope: Literal["global", "layer"] = "global"
    finetune_epochs: Annotated[int, Field(ge=0, le=10_000)] = 0
    finetune_lr: Annotated[float, Field(gt=0, le=1)] = 0.01
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class Cache(Stage):
    """Prepare each layer once: packed weights, folded batch norm, shape-derived tables."""


class Accelerate(Stage):
    """Capture the whole model into one plan; with `tune`, arithmetic and threads are chosen by timing them."""

    tune: bool = True


class Recipe(BaseModel):
    """The pipeline's settings, one table per stage, in the order in which the stages run."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    profile: Profile = Profile()
    quantize: Quantize = Quantize()
    prune: Prune = Prune()
    cache: Cache = Cache()
    accelerate: Accelerate = Accelerate()

    def skipping(self, stages: Iterable[str]) -> Self:
        """The same recipe with these stages switched off. RecipeError for an unknown one."""
        changed = {}
        for name in stages:
            if name not in STAGES:
                raise RecipeError(f"unknown stage {name!r}; known: {', '.join(STAGES)}")
            changed[name] = getattr(self, name).model_copy(update={"enabled": False})
        return self.model_copy(update=changed)

    def updated(self, content: dict[str, Any]) -> Recipe:
        """The same recipe with what `content` names changed. RecipeError for unknown or impossible settings."""
        merged: dict[str, Any] = self.model_dump()
        for name, settings in content.items():
            known = merged.get(name)
            merged[name] = {**known, **settings} if isinstance(known, dict) and isinstance(settings, dict) else settings
        try:
            return Recipe.model_validate(merged)
        except ValidationError as error:
            raise RecipeError("; ".join(map(explain, error.errors()))) from None

    def to_json(self) -> str:
        return self.model_dump_json(indent=2) + "\n"

    def to_toml(self) -> str:
        """Tables of plain values, whose JSON form is also their TOML form."""
        tables = []
        for name, settings in self.model_dump().items():
            tables.append(
                "\n".join([f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in settings.items())])
            )
        return "\n\n".join(tables) + "\n"


STAGES = tuple(Recipe.model_fields)


def explain(error: Any) -> str:
    """One validation error as a sentence that names the setting and, where it is unknown, the known ones."""
    path = [str(step) for step in error["loc"]]
    if error["type"] != "extra_forbidden":
        return f"{'.'.join(path)} is {error['input']!r}: {error['msg']}"
    if len(path) == 1:
        return f"unknown stage {path[0]!r}; known: {', '.join(STAGES)}"
    known = type(getattr(Recipe(), path[0])).model_fields
    return f"unknown setting {'.'.join(path)!r}; known: {', '.join(known)}"


def load(path: Path | str, default: Recipe) -> Recipe:
    """A recipe from a `.json` or `.toml` file, starting from `default`. RecipeError says what is wrong with it."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RecipeError(f"recipe {path}: cannot be read: {reason}") from None
    parse = {".json": json.loads, ".toml": tomllib.loads}.get(path.suffix)
    if parse is None:
        raise RecipeError(f"recipe {path}: unknown kind of file {path.suffix!r}; known: .json, .toml")
    try:
        content = parse(text)
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"recipe {path}: not {path.suffix[1:].upper()}: {error}") from None
    if not isinstance(content, dict):
        raise RecipeError(f"recipe {path}: not a table of stages; known stages: {', '.join(STAGES)}")
    try:
        return default.updated(content)
    except RecipeError as error:
        raise RecipeError(f"recipe {path}: {error}") from None
