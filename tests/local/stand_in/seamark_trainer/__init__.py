"""A stand-in for the trainer, put before the real one on PYTHONPATH: it misbehaves as its Job's number says.

It has the real one's interface (environment variables in, result file and exit status out), and hands over to the
real one where `standIn` of the trainer's config names nothing for the Job.
"""
