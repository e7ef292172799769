"""The retraining Job: reads the log at fixed versions, fits candidates, writes a model package and a small result.

Belongs here: everything from labelled rows to a package. Does not belong here: deciding when to train, or what to
serve; the operator decides, and any other image with the same interface may take this one's place.
"""
