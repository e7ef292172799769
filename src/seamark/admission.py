"""Which packages a manifest lets in."""

from __future__ import annotations

from seamark.seen import ModelSeen
from seamark.spec import Model

__all__ = ["PICKLE", "admit"]

#: The format whose loading runs any code that it holds.
PICKLE = "joblib"


def admit(seen: ModelSeen, wish: Model) -> ModelSeen:
    """`seen` as it is, or an `error` where it is not what the manifest's `wish` allows to be served."""
    if seen.error:
        return seen
    cause = ""
    if wish.digest is not None and seen.digest != wish.digest:
        cause = f"its digest is {seen.digest[:12]}..., the manifest says {wish.digest[:12]}..."
    elif wish.format is not None and seen.format != wish.format:
        cause = f"it is {seen.format}, the manifest says {wish.format}"
    elif seen.format == PICKLE and not wish.trust_pickle:
        cause = "it is joblib, and loading that runs any code it holds; set spec.model.trustPickle to true to allow it"
    return ModelSeen(seen.uri, error=f"Cannot serve model package {seen.uri}: {cause}") if cause else seen
