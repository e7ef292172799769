"""The analyzer's config as the operator gives it, read by the analyzer's own reader."""

from __future__ import annotations

import json
from typing import Any

import pytest

from seamark.spec import ModelDeployment, parse
from seamark.state import Revision, RolloutState, State
from seamark_analyzer.settings import parse_settings
from seamark_kubernetes.watched import Watched, document

OLD, NEW = "churn-11111111", "churn-22222222"
DIGESTS = {OLD: "1" * 64, NEW: "2" * 64}
TARGETS = {OLD: ["http://10.0.0.2:9010/metrics", "http://10.0.0.1:9010/metrics"], NEW: ["http://10.0.0.3:9010/metrics"]}


def spec(**monitoring: Any) -> ModelDeployment:
    return parse(
        {
            "apiVersion": "seamark.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": "churn", "namespace": "team"},
            "spec": {"model": {"uri": "pvc://models/churn"}, "monitoring": monitoring},
        }
    )


def revision(name: str, phase: Any = "Serving") -> Revision:
    return Revision(name, "pvc://models/churn", DIGESTS[name], "spec", 1.0, phase=phase)


def state(**changes: Any) -> State:
    return State(**{"revisions": (revision(OLD), revision(NEW)), "champion": OLD, **changes})


def test_a_rollout_is_described_whole() -> None:
    rollout = RolloutState(NEW, started=5.0, ready_since=7.5)
    watched = Watched(
        "team", "churn", spec(window="1h", interval="1m", falseAlarms="2/1d"), state(rollout=rollout), TARGETS
    )
    assert document([watched]) == {
        "models": {
            "team/churn": {
                "namespace": "team",
                "deployment": "churn",
                "window": 3600.0,
                "interval": 60.0,
                "falseAlarms": {"count": 2.0, "seconds": 86400.0},
                "minEffect": 0.1,
                "qualityMetric": "accuracy",
                "champion": OLD,
                "challenger": NEW,
                "since": 7.5,
                "revisions": {
                    OLD: {"package": "", "digest": DIGESTS[OLD], "role": "champion", "targets": sorted(TARGETS[OLD])},
                    NEW: {"package": "", "digest": DIGESTS[NEW], "role": "challenger", "targets": TARGETS[NEW]},
                },
            }
        }
    }


def test_a_shadow_is_called_so() -> None:
    shadowed = state(revisions=(revision(OLD), revision(NEW, "Shadow")), rollout=RolloutState(NEW, started=5.0))
    (model,) = document([Watched("team", "churn", spec(), shadowed, TARGETS)])["models"].values()
    assert (model["revisions"][NEW]["role"], model["since"]) == ("shadow", None)


def test_what_is_not_served_or_not_known_is_not_watched() -> None:
    targets = {OLD: [], "churn-33333333": ["http://10.0.0.9:9010/metrics"]}
    (model,) = document([Watched("team", "churn", spec(), state(), targets)])["models"].values()
    assert list(model["revisions"]) == [OLD]
    assert model["revisions"][OLD]["targets"] == []


def test_the_same_is_said_in_the_same_words_whatever_the_order() -> None:
    one = Watched("team", "churn", spec(), state(), TARGETS)
    other = Watched("other", "churn", spec(), state(), dict(reversed(TARGETS.items())))
    assert json.dumps(document([one, other])) == json.dumps(document([other, one]))
    assert list(document([one, other])["models"]) == ["other/churn", "team/churn"]


@pytest.mark.parametrize(
    "known",
    [State(), state(), state(rollout=RolloutState(NEW, started=5.0)), state(champion=NEW, previous=OLD)],
)
def test_the_analyzer_understands_it(known: State) -> None:
    content = document([Watched("team", "churn", spec(), known, TARGETS), Watched("b", "churn", spec(), known, {})])
    models = parse_settings(json.dumps(content).encode()).models
    assert set(models) == {"team/churn", "b/churn"}
    assert models["team/churn"].deployment == "churn"
    assert {name: source.digest for name, source in models["team/churn"].revisions.items()} == {
        revision.name: revision.digest for revision in known.revisions
    }


def test_without_deployments_there_is_nothing_to_watch() -> None:
    assert document([]) == {"models": {}}
