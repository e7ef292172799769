"""Makes a package of a model that came without one: a schema from what the model says of itself, and no rules."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from seamark.errors import InvalidPackage
from seamark.package import CATEGORY, NUMBER, Feature, Manifest, ModelFile, Schema
from seamark.profile import Column, Profile
from seamark_predictor import formats
from seamark_predictor.formats.outline import Outline, made_up
from seamark_predictor.model import Model, TensorModel
from seamark_predictor.package import Package
from seamark_predictor.rows import Rows

__all__ = ["BareModel", "around", "tabular", "tensors"]

#: Features each tried with a missing value, when not all of them can be missing at once.
_TRIED = 500
#: Numbers for a typical row: some models fail on 0 (a logarithm), none on all of these.
_TYPICAL = (0.0, 1.0, 0.5)


@dataclass(frozen=True, slots=True)
class BareModel:
    """A model file's bytes. columns: its features where somebody wrote them down, else empty: the model must know."""

    content: bytes
    file: str
    format: str
    sha256: str
    columns: tuple[Feature, ...] = ()


def tabular(bare: BareModel, *, name: str, digest: str) -> tuple[Package, Model]:
    """The model and a package around it; raises `InvalidPackage`. The package's `model` is empty: it is loaded."""
    reader = formats.module(bare.format)
    native = reader.read(bare.content, bare.file, bare.format)
    return around(native, reader, bare, name=name, digest=digest)


def around(native: Any, reader: Any, bare: BareModel, *, name: str, digest: str) -> tuple[Package, Model]:
    """As `tabular`, for a native model that was read already; reader: the format's module."""
    outline = _outline(native, reader, bare.file)
    schema = Schema(outline.task, _features(outline, bare), outline.classes)
    model: Model = reader.serve(native, schema, bare.file, bare.format)
    profile, typical = _typical(model, schema, outline, bare.file)
    nullable = _nullable(model, schema, typical)
    features = tuple(replace(feature, nullable=feature.name in nullable) for feature in schema.features)
    profile_digest = "0" * 64
    file = ModelFile(bare.file, bare.format, bare.sha256)
    manifest = Manifest(name, digest[:8], file, replace(schema, features=features), profile_digest)
    return Package(manifest, profile, (), digest, b""), model


def _outline(native: Any, reader: Any, file: str) -> Outline:
    try:
        found: Outline = reader.outline(native, file)
    except InvalidPackage:
        raise
    except Exception as error:
        # Classes of other packages may lack or refuse anything that is asked of them.
        raise InvalidPackage(f"Cannot use {file}: {type(error).__name__}: {str(error)[:300]}") from error
    return found


def tensors(content: bytes, file: str) -> TensorModel:
    """An ONNX model with its own inputs and outputs; raises `InvalidPackage`."""
    from seamark_predictor.formats import onnx, onnx_tensors

    return onnx_tensors.OnnxTensors(onnx.read(content, file, "onnx"), file)


def _features(outline: Outline, bare: BareModel) -> tuple[Feature, ...]:
    """Names and types: the model's own, then those written down beside it, then made up."""
    written = bare.columns
    if not outline.names and written and len(written) != outline.width:
        raise InvalidPackage(
            f"Cannot use {bare.file}: it takes {outline.width} features; its signature names {len(written)}"
        )
    if not outline.names:
        names = tuple(feature.name for feature in written) or made_up(outline.width)
        own = dict(zip(made_up(outline.width), names, strict=True))
        texts = {own.get(name, name) for name in outline.texts}
    else:
        names = _written_names(outline.names, written, bare.file)
        texts = set(outline.texts)
    if len(set(names)) < len(names):
        raise InvalidPackage(f"Cannot use {bare.file}: two of its features have one name")
    types = {feature.name: feature.type for feature in written}
    return tuple(Feature(name, types.get(name, CATEGORY if name in texts else NUMBER)) for name in names)


def _written_names(names: Sequence[str], written: Sequence[Feature], file: str) -> tuple[str, ...]:
    """The model's order and the signature's spelling: LightGBM writes `_` for blanks in names."""
    if not written:
        return tuple(names)
    spelled = {feature.name: feature.name for feature in written}
    spelled |= {re.sub(r"\s", "_", name): name for name in spelled if re.sub(r"\s", "_", name) not in spelled}
    unknown = [name for name in names if name not in spelled]
    if unknown:
        raise InvalidPackage(f"Cannot use {file}: it takes feature {unknown[0]!r}, which its signature does not name")
    return tuple(spelled[name] for name in names)


def _typical(model: Model, schema: Schema, outline: Outline, file: str) -> tuple[Profile, Rows]:
    """A row that the model answers, and a profile that holds no more than such a row."""
    texts = dict(zip(schema.categories, _known(schema, outline), strict=True))
    problem: Exception | None = None
    for number in _TYPICAL:
        row = Rows(
            np.full((1, len(schema.numbers)), number),
            [[known[0] if known else ""] for known in texts.values()],
        )
        try:
            _answers(model, row)
        except Exception as error:
            # A model may raise anything.
            problem = problem or error
            continue
        columns = tuple(_column(feature, number, texts.get(feature.name, ())) for feature in schema.features)
        return Profile(rows=0, features=columns), row
    raise InvalidPackage(f"Cannot use {file}: it fails on a typical row: {str(problem)[:300]}") from problem


def _known(schema: Schema, outline: Outline) -> Iterator[tuple[str, ...]]:
    names = outline.names or made_up(outline.width)
    for feature, own in zip(schema.features, names, strict=True):
        if feature.type == CATEGORY:
            yield outline.texts.get(own, ())


def _column(feature: Feature, number: float, texts: tuple[str, ...]) -> Column:
    if feature.type == CATEGORY:
        return Column(feature.name, CATEGORY, values=texts, counts=(0,) * (len(texts) + 2))
    return Column(feature.name, NUMBER, counts=(0, 0), low=number, high=number)


def _answers(model: Model, row: Rows) -> None:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        output = model.predict(row)
    if not np.isfinite(output.prediction).all():
        raise ValueError("it gives NaN or an infinite number")
    if output.probabilities is not None and not np.isfinite(output.probabilities).all():
        raise ValueError("it gives NaN or infinite probabilities")


def _nullable(model: Model, schema: Schema, typical: Rows) -> set[str]:
    """The features that the model answers without: all, or those of the first ones that it does, tried one by one."""
    names = [feature.name for feature in schema.features]
    if _takes(model, schema, typical, names):
        return set(names)
    return {name for name in names[:_TRIED] if _takes(model, schema, typical, [name])}


def _takes(model: Model, schema: Schema, typical: Rows, missing: Sequence[str]) -> bool:
    numbers = typical.numbers.copy()
    numbers[:, [i for i, name in enumerate(schema.numbers) if name in missing]] = np.nan
    texts: list[list[str | None]] = [
        [None] if name in missing else list(values)
        for name, values in zip(schema.categories, typical.categories, strict=True)
    ]
    try:
        _answers(model, Rows(numbers, texts))
    except Exception:
        # Whatever it raises: it does not take it.
        return False
    return True
