"""moon: multimodal product embeddings, from a catalogue and a purchase log to a served embedding space."""

__version__ = "0.1.0"
