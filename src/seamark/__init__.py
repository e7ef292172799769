"""The decision core: what to serve, what to believe, what to do next.

Belongs here: values and pure functions on them, with the standard library, numpy and scipy only.
Does not belong here: clocks, files, sockets, clients, frameworks. Services and operators own those.
"""
