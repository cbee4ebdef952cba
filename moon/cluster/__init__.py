"""Where models are registered and deployed: interfaces with a local form, and the manifests of the cluster form."""
