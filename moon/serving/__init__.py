"""The model server: embeddings and product search over KServe, REST and gRPC."""
