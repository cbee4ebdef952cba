"""Pictures: safe decoding, boxes and the detectors of the thing being sold."""
