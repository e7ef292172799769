"""Serves one model package over the Open Inference Protocol, v1 and v2 REST, as one process.

Belongs here: reading a package, its formats, the protocols, HTTP, and handing predictions to the monitor.
Does not belong here: counting, judging or keeping predictions; monitor, analyzer and collector do that.

The layers, top down: `server` (process) > `rest` (HTTP) > `v1`, `v2` (protocols) > `dataplane` (transport-free)
> `formats` (one module per model format).
"""
