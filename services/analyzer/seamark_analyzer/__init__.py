"""The analyzer: turns counters and the prediction log into evidence and drift scores.

Belongs here: reading monitors and the log, comparing with the profile, serving what was found.
Does not belong here: what to do about it (the core decides) and how counts are compared (`seamark.drift`).
"""
