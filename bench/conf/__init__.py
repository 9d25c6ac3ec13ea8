"""What a run is asked for: types, YAML, operating points, studies, plugins. Nothing here trains."""

from pathlib import Path

CONF = Path(__file__).parent  # the folder of the YAML files
