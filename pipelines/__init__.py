"""KFP pipelines: wiring only. The same functions are compiled for a cluster and run on this machine."""
