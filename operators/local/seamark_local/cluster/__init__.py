"""The command line's way into a cluster: it reads what the operator reports, and asks it by annotation, with kubectl.

Nothing here decides or changes anything but the annotation of a command, and nothing needs a Kubernetes client library.
"""
