"""Time and memory of this code beside that of other libraries: `python -m bench.speed`."""
