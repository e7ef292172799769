"""Messages of the Open Inference Protocol v2 and of gRPC's health checks, made from the .proto files beside this one.

`generate.sh` makes them anew. Nothing else belongs here; what they mean to a model is in `grpc_codec`.
"""
