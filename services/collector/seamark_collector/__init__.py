"""Keeps the prediction log and its labels: takes batches and feedback over HTTP, acknowledges what is durable.

Belongs here: the two inlets, the one writer, and the upkeep of the Delta tables.
Does not belong here: joining labels with predictions, or judging either; readers do that.
"""
