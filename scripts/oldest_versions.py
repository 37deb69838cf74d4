"""Prints the oldest versions that pyproject.toml allows, as constraints for an installer (`make test-oldest`)."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
for requirement in [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]:
    if floor := re.match(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", requirement):
        print(f"{floor[1]}=={floor[2]}.*")
