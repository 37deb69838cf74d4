"""How one of several processes ends: no thread may outlive the interpreter."""

import os
import subprocess
import sys
import textwrap

SCRIPT = """
    import atexit, os, sys
    import torch

    def threads():
        return len(os.listdir("/proc/self/task"))

    atexit.register(lambda: print("at exit", threads()))  # the first one registered runs last
    from encoder.processes import leave_process_group_at_exit
    leave_process_group_at_exit()
    torch.distributed.init_process_group("gloo", f"file://{sys.argv[1]}", rank=0, world_size=1)
    import torch._dynamo  # as Accelerate does; takes the group into default arguments if nobody did before

    class Run:
        pass

    run = Run()
    run.itself = run
    run.model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))
    run.model(torch.ones(1, 2)).sum().backward()
    del run
    print("before", threads())
"""


def test_threads_of_the_group_end_before_the_interpreter(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path / "store")],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    before, at_exit = (int(line.rpartition(" ")[2]) for line in done.stdout.splitlines())
    assert before > at_exit == 1
