"""The laptop driver: the same decisions as on a cluster, applied to processes and Envoy.

Belongs here: the supervisor (what a kubelet is), the operator loop, Envoy's files, the command line, the demo.
Does not belong here: anything that decides; that is `seamark.decide`.
"""
