"""Side-by-side benchmark of model servers: `python -m benchmarks.serving`.

Belongs here: starting servers, checking their answers, loading and measuring them, comparing figures with goals.
Does not belong here: what only one server does; that is in `peers/`, one folder with its own environment each.

`catalogue` (what is measured) and `models`, `wires`, `environments`, `processes`, `wrk` (how) meet in `rounds`;
`figures`, `goals` and `tables` work on what was measured and start nothing.
"""
