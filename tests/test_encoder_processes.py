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
    from encoder.processes.group import leave_process_group_at_exit
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


FAILURE = """
    import sys, torch
    from encoder.processes.group import leave_process_group_at_exit
    leave_process_group_at_exit()
    torch.distributed.init_process_group("gloo", f"file://{sys.argv[1]}", rank=0, world_size=1)
    torch.distributed.destroy_process_group = lambda: print("waits for the others")
    raise ValueError(sys.argv[2])
"""


def run(script: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_process_that_failed_does_not_wait_for_the_others(tmp_path):
    done = run(FAILURE, str(tmp_path / "store"), "amiss")
    assert done.returncode == 1
    assert "ValueError: amiss" in done.stderr
    assert done.stdout == ""


def test_threads_of_the_group_end_before_the_interpreter(tmp_path):
    done = run(SCRIPT, str(tmp_path / "store"))
    assert done.returncode == 0, done.stderr
    before, at_exit = (int(line.rpartition(" ")[2]) for line in done.stdout.splitlines())
    assert before > at_exit == 1
