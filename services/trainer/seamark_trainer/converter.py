"""From scikit-learn to ONNX, with inputs that readers of packages know how to feed."""

from __future__ import annotations

import warnings
from typing import Any

from seamark.package import NUMBER, Schema

__all__ = ["convert"]


def convert(estimator: Any, schema: Schema, *, together: bool, labelled: bool, scored: bool = True) -> bytes:
    """The content of an ONNX file; raises whatever the converter raises.

    together: one float input `features` (rows x features, in the schema's order), for numbers only; else one input
    (rows x 1) for each feature, of its name. labelled and scored: which of its two outputs, the label and the
    probabilities (rows x classes), a classifier keeps. A regressor answers `variable` (rows x 1).
    """
    with warnings.catch_warnings():
        # The converter hands booleans to onnx as integers, which onnx announces to refuse one day.
        warnings.simplefilter("ignore", DeprecationWarning)
        model = _converted(estimator, schema, together, scored)
        graph = model.graph
        if not together:
            names = {entry.name: feature.name for entry, feature in zip(graph.input, schema.features, strict=True)}
            _rename(graph, names)
        if schema.task != "regression":
            kept = [output for output, wanted in zip(graph.output, (labelled, scored), strict=True) if wanted]
            del graph.output[:]
            graph.output.extend(kept)
        content: bytes = model.SerializeToString()
    return content


def _converted(estimator: Any, schema: Schema, together: bool, scored: bool) -> Any:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    if together:
        inputs = [("features", FloatTensorType([None, len(schema.features)]))]
    else:
        types = {
            feature: FloatTensorType if feature.type == NUMBER else StringTensorType for feature in schema.features
        }
        inputs = [(feature.name, types[feature]([None, 1])) for feature in schema.features]
    # Classifiers without probabilities do not know the option.
    options = {id(estimator): {"zipmap": False}} if schema.task != "regression" and scored else None
    return to_onnx(estimator, initial_types=inputs, options=options)


def _rename(graph: Any, inputs: dict[str, str]) -> None:
    """Give inputs the features' names, which the converter alters; an inner value of such a name makes way."""
    inner = {name for node in graph.node for name in node.output} | {entry.name for entry in graph.initializer}
    names = {name: f"{name}__inner" for name in inner & set(inputs.values())} | inputs
    for entry in (*graph.input, *graph.output, *graph.initializer):
        entry.name = names.get(entry.name, entry.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    del graph.value_info[:]
