"""The main job on one machine, told as a story: `seamark demo`.

Belongs here: the data, the traffic, the story's chapters with what each must show, the report.
Does not belong here: anything the platform does; the demo only uses it from outside, as a user would.
"""
