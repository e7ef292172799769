"""Objects of one kind, by the deployment that they belong to."""

from __future__ import annotations

from itertools import count

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from seamark_kubernetes.names import DEPLOYMENT
from seamark_kubernetes.shelf import Shelf

NAMESPACES, NAMES, DEPLOYMENTS = st.sampled_from("xy"), st.sampled_from("abc"), st.sampled_from(["m", "n", None])
VERSIONS = count(1)


def document(namespace, name, deployment, version=None):
    labels = {DEPLOYMENT: deployment} if deployment else {}
    version = str(next(VERSIONS)) if version is None else version
    return {"metadata": {"namespace": namespace, "name": name, "labels": labels, "resourceVersion": version}}


class AsADictionary(RuleBasedStateMachine):
    """Whatever happens, a shelf holds what a plain dictionary would, and names every deployment that it touched."""

    def __init__(self) -> None:
        super().__init__()
        self.shelf = Shelf()
        self.model = {}

    def views(self):
        found = {}
        for (namespace, name), known in self.model.items():
            deployment = known["metadata"]["labels"].get(DEPLOYMENT)
            if deployment:
                found.setdefault((namespace, deployment), {})[name] = known
        return found

    def changed(self, before):
        after = self.views()
        return {key for key in before | after if before.get(key) != after.get(key)}

    @rule(namespace=NAMESPACES, name=NAMES, deployment=DEPLOYMENTS)
    def put(self, namespace, name, deployment):
        before, new = self.views(), document(namespace, name, deployment)
        self.model[namespace, name] = new
        assert self.shelf.put(new) == self.changed(before)
        assert self.shelf.put(new) == set()

    @rule(namespace=NAMESPACES, name=NAMES)
    def remove(self, namespace, name):
        before = self.views()
        self.model.pop((namespace, name), None)
        assert self.shelf.remove((namespace, name)) == self.changed(before)

    @rule(
        scope=st.sampled_from(["x", "y", None]),
        objects=st.lists(st.tuples(NAMESPACES, NAMES, DEPLOYMENTS), unique_by=lambda object_: object_[:2]),
    )
    def replace(self, scope, objects):
        before = self.views()
        listed = [document(*object_) for object_ in objects if scope in (None, object_[0])]
        self.model = {where: known for where, known in self.model.items() if scope not in (None, where[0])}
        self.model |= {(new["metadata"]["namespace"], new["metadata"]["name"]): new for new in listed}
        assert self.shelf.replace(listed, scope) == self.changed(before)
        assert self.shelf.replace(listed, scope) == set()

    @invariant()
    def agrees(self):
        views = self.views()
        for namespace in "xy":
            for deployment in "mn":
                key = (namespace, deployment)
                wanted = views.get(key, {})
                assert self.shelf.objects(key) == [wanted[name] for name in sorted(wanted)]
                assert all(self.shelf.find(key, name) == wanted.get(name) for name in "abc")


TestAsADictionary = AsADictionary.TestCase


def test_an_object_without_a_namespace_or_labels_is_nobodys():
    shelf = Shelf()
    assert shelf.put({"metadata": {"name": "a", "labels": None}}) == set()
    assert shelf.objects(("", "a")) == []
