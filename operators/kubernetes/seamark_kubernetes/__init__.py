"""The cluster's driver: kopf watches, the core decides, this applies.

What belongs here: reading and writing Kubernetes. What does not: any decision.
"""
