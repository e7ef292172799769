"""What a model without a package says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from seamark.errors import InvalidPackage
from seamark.package import Schema

__all__ = ["Label", "Outline", "classes_of", "made_up", "only_numbers"]

Label = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Outline:
    """names: the features in the model's order, empty where it knows none; width: how many there are.

    texts: the features (by name, or `x<i>` where there are none) that take texts, with the categories known.
    classes: in score order, empty for regression.
    """

    names: tuple[str, ...]
    width: int
    classes: tuple[Label, ...] = ()
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def task(self) -> str:
        if not self.classes:
            return "regression"
        return "binary" if len(self.classes) == 2 else "multiclass"


def classes_of(values: list[object], file: str) -> tuple[Label, ...]:
    """The classes as plain values; raises `InvalidPackage`."""
    if len(values) < 2:
        raise InvalidPackage(f"Cannot use {file}: it knows {len(values)} class; at least 2 are needed")
    labels: list[Label] = []
    for value in values:
        if not isinstance(value, str | int | float):
            raise InvalidPackage(
                f"Cannot use {file}: its class {str(value)[:60]!r} is not a text, number or truth value"
            )
        labels.append(value)
    return tuple(labels)


def made_up(width: int) -> tuple[str, ...]:
    """Names for features that have none."""
    return tuple(f"x{i}" for i in range(width))


def only_numbers(schema: Schema, file: str) -> None:
    """Refuses a schema with categories, for models that take none."""
    if schema.categories:
        raise InvalidPackage(f"Cannot use {file}: feature {schema.categories[0]!r} is a category; numbers are needed")
