"""One retraining, from the log to the Job's result."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from seamark.errors import Conflict, InvalidPackage, UserError
from seamark_trainer import candidates, package, snapshot
from seamark_trainer.dataset import keeps_contract
from seamark_trainer.environment import Job
from seamark_trainer.package import Package
from seamark_trainer.remote import Collector
from seamark_trainer.source import Delta, Source
from seamark_trainer.training import Plan, train

__all__ = ["retrain"]

log = logging.getLogger(__name__)


def retrain(job: Job) -> dict[str, Any]:
    """The Job's result. A package that an earlier run of the same Job made is reported again, not made again.

    Raises `UserError` whose message says why this model cannot be retrained.
    """
    try:
        return _report(_made_before(job) or _make(job))
    except UserError as error:
        raise UserError(f"Cannot retrain {job.deployment}: {error}") from error


def _folder(job: Job) -> Path:
    return job.output / job.name


def _made_before(job: Job) -> Package | None:
    if not _folder(job).exists():
        return None
    found = package.read(_folder(job))
    if found.manifest.lineage.get("job") != job.name:
        raise Conflict(f"{_folder(job)} holds another package")
    log.info("event=found_again package=%s", found.folder)
    return found


def _make(job: Job) -> Package:
    champion = _champion(job)
    schema = champion.manifest.schema
    _candidates_fit(job, schema.task)
    revision = f"{job.deployment}-{champion.digest[:8]}"
    found = snapshot.read(
        _source(job),
        schema,
        champion=revision,
        since=job.since,
        max_rows=job.config.max_rows,
    )
    kept = keeps_contract(found.data, champion.profile)
    data = found.data.take(np.flatnonzero(kept))
    excluded = Counter({"label is not a class": found.unknown, "breaks the contract": int(np.count_nonzero(~kept))})
    log.info("event=read rows=%d excluded=%s version=%s", data.rows, dict(excluded), found.data_version)
    plan = Plan(
        name=champion.manifest.name,
        version=job.name,
        folder=_folder(job),
        candidates=job.config.candidates,
        seed=job.config.seed,
        min_rows=job.config.min_rows,
        excluded=excluded,
        lineage={
            "job": job.name,
            "parent": champion.digest,
            "dataVersion": found.data_version,
            "since": job.since,
            "labels": found.labels,
            "rows": data.rows,
            "excluded": sum(excluded.values()),
        },
    )
    try:
        return train(data, plan)
    except Conflict:
        # Another run of the same Job was quicker; its package is the Job's package.
        again = _made_before(job)
        if again is None:
            raise
        return again


def _source(job: Job) -> Source:
    if job.data.startswith(("http://", "https://")):
        return Collector(job.data, job.namespace, job.deployment, job.token)
    return Delta(job.data, job.namespace, job.deployment)


def _champion(job: Job) -> Package:
    try:
        return package.read(job.champion)
    except InvalidPackage as error:
        raise InvalidPackage(f"the champion's package is unreadable: {error}") from error


def _candidates_fit(job: Job, task: str) -> None:
    for name in job.config.candidates:
        if name not in candidates.known(task):
            allowed = ", ".join(candidates.known(task))
            raise UserError(f"candidate {name[:60]!r} is unknown; for {task} there are {allowed}")


def _report(made: Package) -> dict[str, Any]:
    manifest = made.manifest
    return {
        "package": made.folder.absolute().as_uri(),
        "digest": made.digest,
        "version": manifest.version,
        "rows": manifest.lineage["rows"],
        "dataVersion": manifest.lineage["dataVersion"],
        "metrics": dict(manifest.metrics),
    }
