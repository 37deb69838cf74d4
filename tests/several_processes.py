"""Starting a script as several processes."""

import sys
from pathlib import Path


def torchrun(processes: int, logs: Path) -> list[str]:
    """The command before the script: on a port that is free, leaving nothing outside ``logs``."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*launcher, "--nproc_per_node", str(processes), "--log-dir", str(logs)]
