"""A package of a model that somebody already has: `python -m seamark_trainer.packaging`.

Belongs here: reading the model and a sample of its input, finding its schema, and offering ONNX where it answers alike.
Does not belong here: fitting anything, or writing folders (`seamark_trainer.package`).
"""
