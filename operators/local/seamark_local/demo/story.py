"""The story in five chapters, and what must be seen in each for the demo to pass.

The story acts only from outside: it writes manifests, sends traffic and labels, and reads what the platform did.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from seamark_local.demo import data
from seamark_local.demo.burst import Burst
from seamark_local.demo.platform import Platform
from seamark_local.demo.screen import Screen
from seamark_local.demo.traffic import Answer, Draw, Traffic

__all__ = ["MODEL", "Check", "Story", "Unmet"]

MODEL = "scanner"
RATE = 100.0
FAILED_FROM = 500
BACK_WITHIN = 5.0


class Unmet(Exception):  # noqa: N818 - names what happened: the story's expectation was not met
    """Something that must happen did not, in time or at all."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that had to be seen, and what was seen."""

    chapter: str
    claim: str
    passed: bool
    detail: str


@dataclass
class Story:
    """Runs the chapters against a started platform; `checks` and `samples` grow as it goes."""

    platform: Platform
    screen: Screen
    world: data.World
    packages: Path
    checks: list[Check] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    chapters: list[tuple[float, str]] = field(default_factory=list)
    traffic: Traffic = field(init=False)
    _seen: int = 0
    _sampled: float = 0.0

    def __post_init__(self) -> None:
        self.traffic = Traffic(self.platform.host, self.platform.port, MODEL, RATE, replay(self.world, self.world.live))

    def tell(self) -> None:
        """All chapters in order; raises `Unmet` at the first thing that did not happen in time."""
        self.serve()
        self.recalibrate()
        self.retrain()
        self.refuse_a_broken_model()
        self.survive_bad_rows()

    def serve(self) -> None:
        self._chapter("1 Serve v1, watch it, meet labels")
        self._await("v1 is deployed", lambda: self._event("Deployed"), 60)
        began = time.time()
        self.traffic.start()
        self._await("live quality is measured from labels", lambda: self._quality(labels=500), 60)
        self._linger(max(0.0, 30 - (time.time() - began)))
        self._claim(
            "live quality is measured from labels",
            lambda: (self._quality() or 0) > 0.9,
            lambda: f"accuracy {self._quality():.3f}",
        )
        self._no_failures("serving", began)

    def recalibrate(self) -> None:
        self._chapter("2 The scanner is recalibrated: the world drifts")
        alarms = self._events("Alarm")
        self._claim(
            "no alarm came before the shift",
            lambda: not alarms,
            lambda: f"{len(alarms)} alarms in 30 s of quiet traffic",
        )
        shifted = time.time()
        self.traffic.draw = replay(self.world, self.world.recalibrated())
        self._await("drift raises an alarm", lambda: self._event("Alarm"), 60)
        alarm = self._events("Alarm")[0]
        self._pass("drift raises an alarm", f"{alarm['time'] - shifted:.1f} s after the shift")

    def retrain(self) -> None:
        self._chapter("3 Retrain, shadow, canary, promote")
        steps: tuple[tuple[str, Callable[[], object], float], ...] = (
            ("retraining starts by itself", lambda: self._event("RetrainingStarted"), 60),
            ("retraining finishes", lambda: self._event("RetrainingFinished"), 120),
            ("the challenger runs as shadow", lambda: self._event("ShadowStarted"), 60),
            ("10 % of the traffic", lambda: self._weight(10), 90),
            ("50 % of the traffic", lambda: self._weight(50), 90),
            ("100 % of the traffic", lambda: self._weight(100), 90),
            ("the challenger is promoted", lambda: self._event("Promoted"), 60),
        )
        for claim, happened, seconds in steps:
            self._await(claim, happened, seconds)
            self._pass(claim, "")
        names = self._alarmed_features()
        self._claim(
            "the alarm names exactly the shifted features",
            lambda: set(names) == set(data.RECALIBRATED),
            lambda: ", ".join(names),
        )
        self._claim(
            "agreement was measured on mirrored requests",
            lambda: max((sample["pairs"] for sample in self.samples), default=0) >= 100,
            lambda: self._agreement(),
        )
        promoted = self._events("Promoted")[-1]["time"]
        self._await("the alarm clears", lambda: self._event("AlarmCleared"), 60)
        self._pass(
            "the alarm clears", f"{self._events('AlarmCleared')[-1]['time'] - promoted:.1f} s after the promotion"
        )
        self._await("quality recovers", lambda: self._quality(labels=300, above=0.9), 60)
        low = min((sample["quality"] for sample in self.samples if sample["quality"] is not None), default=0.0)
        self._pass("quality recovers", f"accuracy {low:.3f} at its lowest, {self._quality():.3f} now")
        self._no_failures("drift, retraining and rollout", 0.0)

    def refuse_a_broken_model(self) -> None:
        self._chapter("4 A broken model is put into the manifest")
        began = time.time()
        before = len(self._events("Promoted"))
        document = read_manifest()
        document["spec"]["model"]["uri"] = str(self.packages / "broken")
        document["spec"]["rollout"]["steps"] = [{"weight": 10}, {"hold": {"for": "20s"}}, {"weight": 50}]
        document["spec"]["rollout"]["gates"] = [
            gate for gate in document["spec"]["rollout"]["gates"] if gate["metric"] != "shadowAgreement"
        ]
        self.platform.apply(document)
        self._await("the broken model gets 10 %", lambda: self._weight(10, after=began), 60)
        self._await("the gates say Worse and it is rolled back", lambda: self._event("RolledBack"), 90)
        rolled = self._events("RolledBack")[-1]
        self._pass("the gates say Worse and it is rolled back", rolled["message"])
        self._linger(BACK_WITHIN + 1)
        strays = [a.time for a in self.traffic.since(began) if a.revision == rolled["revision"]]
        late = max(strays, default=rolled["time"]) - rolled["time"]
        self._claim(
            "all traffic is back on the champion within seconds",
            lambda: bool(strays) and late <= BACK_WITHIN,
            lambda: f"{len(strays)} answers by the broken model, the last {late:+.1f} s from the verdict",
        )
        self._claim("the broken model was never promoted", lambda: len(self._events("Promoted")) == before, lambda: "")
        self._no_failures("the broken model", began)

    def survive_bad_rows(self) -> None:
        self._chapter("5 A burst of NaN, wrong types and impossible values")
        began = time.time()
        burst = Burst(self.platform.host, self.platform.port, MODEL, self.world.recalibrated(), self.world.names)
        burst.start()
        try:
            self._await("contract violations are counted", lambda: self._event("ContractViolated"), 45)
            self._await("retraining is blocked", lambda: self._event("RetrainingBlocked"), 15)
            self._linger(3)
        finally:
            burst.stop()
        violations = self._events("ContractViolated")[-1]
        self._pass("contract violations are counted by feature and rule", violations["message"])
        self._pass("retraining is blocked while it lasts", self._events("RetrainingBlocked")[-1]["message"])
        self._claim(
            "callers of broken rows get a clear 4xx",
            lambda: burst.kept_the_protocol(),
            lambda: burst.story(),
        )
        started = [event for event in self._events("RetrainingStarted") if event["time"] >= began]
        self._claim("no retraining starts meanwhile", lambda: not started, lambda: "")
        self._no_failures("the burst", began)

    # --- seeing

    def _events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.platform.events if event["kind"] == kind]

    def _event(self, kind: str) -> bool:
        return bool(self._events(kind))

    def _weight(self, percent: int, after: float = 0.0) -> bool:
        return any(
            event["evidence"].get("weight") == percent
            for event in self._events("WeightChanged")
            if event["time"] >= after
        )

    def _champion(self) -> dict[str, Any]:
        revisions = self.platform.summary(MODEL).get("revisions", [])
        return next((revision for revision in revisions if revision["role"] == "champion"), {})

    def _quality(self, labels: int = 1, above: float = 0.0) -> float | None:
        champion = self._champion()
        quality: float | None = champion.get("quality")
        enough = champion.get("quality_rows", 0) >= labels
        return quality if quality is not None and enough and quality > above else None

    def _alarmed_features(self) -> list[str]:
        """The features of the first episode's last alarm, ranked."""
        cleared = next((e["time"] for e in self._events("AlarmCleared")), float("inf"))
        alarms = [event for event in self._events("Alarm") if event["time"] < cleared]
        findings = alarms[-1]["evidence"]["findings"] if alarms else []
        return [finding["feature"] for finding in findings if finding["kind"] == "feature"]

    def _agreement(self) -> str:
        best = max(self.samples, key=lambda sample: sample["pairs"], default=None)
        return f"{best['agreement']:.3f} on {best['pairs']} pairs" if best and best["pairs"] else "no pairs"

    # --- expecting

    def _chapter(self, title: str) -> None:
        self._current = title
        self.chapters.append((time.time(), title))
        self.screen.chapter(title)

    def _await(self, claim: str, happened: Callable[[], object], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        self.screen.waiting(claim)
        while not happened():
            if time.monotonic() > deadline:
                self._fail(claim, f"not seen within {seconds:.0f} s")
                raise Unmet(f"{claim}: not seen within {seconds:.0f} s")
            self._look()

    def _linger(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._look()

    def _look(self) -> None:
        """One glance at the platform: new events, a sample for the report, the table on the screen."""
        self.platform.check()
        for event in self.platform.refresh():
            self.screen.event(event)
        summary = self.platform.summary(MODEL)
        self.screen.show(summary)
        if time.monotonic() - self._sampled >= 0.5:
            self._sampled = time.monotonic()
            self.samples.append(self._sample(summary))
        time.sleep(0.1)

    def _sample(self, summary: dict[str, Any]) -> dict[str, Any]:
        champion = self._champion()
        drift = champion.get("drift") or {}
        evidence = self.platform.evidence(MODEL)
        pairs = (evidence.get("pairs") or {}).get("agree") or {"count": 0, "total": 0}
        recent = self.traffic.since(time.time() - 3)
        return {
            "time": time.time(),
            "quality": champion.get("quality") if champion.get("quality_rows", 0) >= 20 else None,
            "drift": drift["score"] / drift["threshold"] if drift.get("threshold") else None,
            "weights": {r["name"]: r["weight"] for r in summary.get("revisions", []) if r["weight"] or r["mirror"]},
            "mirrors": {r["name"]: r["mirror"] for r in summary.get("revisions", []) if r["mirror"]},
            "verdict": (summary.get("verdict") or {}).get("outcome"),
            "pairs": pairs["total"],
            "agreement": pairs["count"] / pairs["total"] if pairs["total"] else None,
            "p99": percentile([a.seconds for a in recent], 0.99),
            "failed": len([a for a in recent if failed(a)]),
        }

    def _no_failures(self, what: str, since: float) -> None:
        answers = self.traffic.since(since)
        bad = [answer for answer in answers if failed(answer)]
        self._claim(
            f"no request failed through {what}",
            lambda: bool(answers) and not bad,
            lambda: f"{len(bad)} of {len(answers)}",
        )

    def _claim(self, claim: str, holds: Callable[[], bool], detail: Callable[[], str]) -> None:
        if holds():
            self._pass(claim, detail())
        else:
            self._fail(claim, detail())

    def _pass(self, claim: str, detail: str) -> None:
        self._note(Check(self._current, claim, passed=True, detail=detail))

    def _fail(self, claim: str, detail: str) -> None:
        self._note(Check(self._current, claim, passed=False, detail=detail))

    def _note(self, check: Check) -> None:
        self.checks.append(check)
        self.screen.check(check.claim, check.passed, check.detail)


def failed(answer: Answer) -> bool:
    """A user's request failed: no answer, or one that is the server's fault."""
    return answer.status == 0 or answer.status >= FAILED_FROM


def percentile(values: Sequence[float], share: float) -> float | None:
    return float(np.quantile(values, share)) if values else None


def replay(world: data.World, rows: NDArray[np.float64]) -> Draw:
    """Draws held-out rows with replacement."""
    values = [[float(value) for value in row] for row in rows]
    labels = world.live_labels

    def draw(rng: random.Random) -> tuple[Sequence[float], str]:
        i = rng.randrange(len(values))
        return values[i], labels[i]

    return draw


def read_manifest() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "scanner.yaml").read_text())
    return document
