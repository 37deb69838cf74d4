"""Options from YAML files: bounded, and as they are written where they are people's words."""
