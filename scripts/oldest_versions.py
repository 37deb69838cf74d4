"""The oldest versions that pyproject.toml allows, as constraints of an installer (`make test-oldest`)."""

import re
from pathlib import Path

project = (Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8").partition("[project]")[2]
for name, floor in re.findall(r'"([\w-]+)(?:\[\w+\])?>=([\d.]+)', project):
    print(f"{name}=={floor}.*")
