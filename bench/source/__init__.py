"""Quantizers alone on sources whose rate-distortion function is known: `python -m bench.source`."""
