"""Which layer an op belongs to: dotted name and class, told from what the seam says of a call.

Left out: what a layer is (`core.layers`); one is asked only for its `named_modules` and `named_parameters`.
"""

from __future__ import annotations

from typing import Any

from tinytorch.engine.dispatch import Event

Where = tuple[str, str]  # name, class
OUTSIDE: Where = ("", "")


class Names:
    """Names within `model`. Without one they are those within the outermost layer that was running, behind its class:
    `GPT.blocks.0.mlp`, and `Sequential#2.0` for the second of that class. A layer of no known model has its class for a
    name.
    """

    def __init__(self, model: Any = None) -> None:
        self.model = model
        self.roots: dict[int, Any] = {}  # kept, so that no id is used twice
        self.layers: dict[int, Where] = {}
        self.parameters: dict[int, Where] = {}
        self.makers: dict[int, Where] = {}  # id of a forward op's result -> its layer, while it lives
        if model is not None:
            self.learn(model, "")

    def learn(self, root: Any, prefix: str) -> None:
        self.roots[id(root)] = root
        names: dict[str, Where] = {}
        for name, layer in root.named_modules():
            there = ".".join(filter(None, (prefix, name)))
            names[name] = self.layers.setdefault(id(layer), (there, type(layer).__name__))
        for name, parameter in root.named_parameters():
            self.parameters.setdefault(id(parameter.data), names[name.rpartition(".")[0]])

    def of(self, event: Event) -> Where:
        """The innermost layer that was running; in backward the one whose gradient is computed, in an update the one
        whose parameter it is. To be asked once for each event, in their order.
        """
        if event.phase == "backward":
            return self.makers.get(id(event.source), OUTSIDE)
        if event.phase == "update":
            return self.parameters.get(id(event.arrays[0]), OUTSIDE)
        where = self.makers[id(event.out)] = self.of_layer(event.scope, event.root)
        return where

    def of_layer(self, scope: Any, root: Any) -> Where:
        if scope is None:
            return OUTSIDE
        where = self.layers.get(id(scope))
        if where is None and self.model is None and id(root) not in self.roots:
            kind = type(root).__name__
            same = 1 + sum(type(other).__name__ == kind for other in self.roots.values())
            self.learn(root, kind if same == 1 else f"{kind}#{same}")
            where = self.layers.get(id(scope))
        kind = type(scope).__name__
        return where or (kind, kind)
