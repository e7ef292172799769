"""From labelled rows to a package: split, fit, choose, export, describe. The one path for first and later models."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np

from seamark import profile
from seamark.errors import UserError
from seamark.package import Manifest, ModelFile, Schema
from seamark_trainer import candidates, scoring
from seamark_trainer.card import card
from seamark_trainer.dataset import Dataset, split
from seamark_trainer.export import Exported, export
from seamark_trainer.importance import importance
from seamark_trainer.package import Package, write

__all__ = ["Plan", "train"]

log = logging.getLogger(__name__)

#: The newest share of rows, kept from fitting.
HELD_OUT = 0.3
_LIBRARIES = ("numpy", "scikit-learn", "skl2onnx", "onnx", "onnxruntime", "skops")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to make. No candidates: the task's defaults. excluded counts rows left out, by cause, for the card."""

    name: str
    version: str
    folder: Path
    candidates: Sequence[str] = ()
    seed: int = 0
    min_rows: int = 100
    lineage: Mapping[str, Any] = field(default_factory=dict)
    excluded: Mapping[str, int] = field(default_factory=dict)


def train(data: Dataset, plan: Plan) -> Package:
    """Fit the plan's candidates on the older rows and package the one that answers the newest best.

    The profile's features and labels are all rows of `data`, its outputs the held-out rows only: a model is surer of
    rows it was fitted on than of any it will meet. Raises `UserError` where these rows cannot make a model.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it ships no types

    data = replace(data, schema=_nullable(data))
    fitting, held = split(data, HELD_OUT)
    _can_learn(data, fitting, plan.min_rows)
    with threadpool_limits(limits=1):
        chosen = _choose(fitting, held, plan)
        exported = export(chosen, held.matrix())
        weights = importance(exported.answers, held, plan.seed)
        reference = _profile(data, held, exported, weights)
    manifest = _manifest(plan, data, held, chosen, exported, reference)
    return write(plan.folder, manifest, exported.content, reference, card(manifest, weights, plan.excluded))


def _nullable(data: Dataset) -> Schema:
    """A feature stays nullable, and becomes so when it is missing from rows that the model is made of."""
    numbers = {name: bool(np.isnan(data.numbers[:, i]).any()) for i, name in enumerate(data.schema.numbers)}
    categories = {name: None in values for name, values in zip(data.schema.categories, data.categories, strict=True)}
    missing = {**numbers, **categories}
    features = tuple(replace(f, nullable=f.nullable or missing[f.name]) for f in data.schema.features)
    return replace(data.schema, features=features)


def _can_learn(data: Dataset, fitting: Dataset, min_rows: int) -> None:
    if data.rows < min_rows:
        raise UserError(f"{data.rows} labelled rows, at least {min_rows} are needed")
    if data.schema.task == "regression":
        return
    present = np.unique(fitting.labels.astype(np.int64))
    if len(present) < 2:
        only = f" {data.schema.classes[present[0]]!r}" if len(present) else ""
        raise UserError(f"all {fitting.rows} rows to fit on have one class{only}; at least two are needed")
    for index, name in enumerate(data.schema.classes):
        if index not in present:
            raise UserError(f"none of {fitting.rows} rows to fit on has class {name!r}; each class is needed")


def _choose(fitting: Dataset, held: Dataset, plan: Plan) -> candidates.Fitted:
    """The candidate with the smallest loss on the held-out rows; the first of equals."""
    matrix, best, least = held.matrix(), None, np.inf
    for name in plan.candidates or candidates.defaults(fitting.schema.task):
        fitted = candidates.fit(name, fitting, plan.seed)
        loss = scoring.loss(held.schema, fitted.answers(matrix), held.labels)
        log.info("event=candidate name=%s loss=%.6g rows=%d", name, loss, fitting.rows)
        if loss < least:
            best, least = fitted, loss
    if best is None:
        raise UserError("no candidate gives finite answers")
    return best


def _profile(data: Dataset, held: Dataset, exported: Exported, weights: dict[str, float]) -> profile.Profile:
    def build(rows: Dataset) -> profile.Profile:
        outputs = scoring.as_logged(rows.schema, exported.answers(rows.matrix()))
        return profile.build(rows.schema, rows.numbers, rows.categories, outputs, rows.labels, weights)

    return replace(build(data), outputs=build(held).outputs)


def _manifest(
    plan: Plan,
    data: Dataset,
    held: Dataset,
    chosen: candidates.Fitted,
    exported: Exported,
    reference: profile.Profile,
) -> Manifest:
    answers = exported.answers(held.matrix())
    counts = {"rows": float(held.rows), "trainingRows": float(data.rows - held.rows)}
    metrics = scoring.measure(data.schema, answers, held.labels)
    champion = scoring.measure_champion(data.schema, held.champion, held.labels)
    return Manifest(
        name=plan.name,
        version=plan.version,
        model=ModelFile(exported.file, exported.format, hashlib.sha256(exported.content).hexdigest()),
        schema=data.schema,
        profile_sha256=hashlib.sha256(reference.to_json()).hexdigest(),
        framework={"name": "scikit-learn", **{library: installed(library) for library in _LIBRARIES}},
        lineage=plan.lineage,
        metrics={**metrics, **champion, **counts},
        hyperparameters=chosen.hyperparameters,
        created=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    )
