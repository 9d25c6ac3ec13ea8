"""The page `zoo.md`: `python -m bench.zoo`."""
