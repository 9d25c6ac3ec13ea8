"""What a run is asked for: types, YAML, operating points, studies, plugins. Nothing here trains."""
