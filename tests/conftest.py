"""One thread a process: the tests' networks are small, and threads beside other processes cost more."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
