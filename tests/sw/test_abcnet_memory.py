"""Memory that training keeps: in processes of their own, because it is the process that changes."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import torch
from sw.abcnet import memory
torch.set_num_threads(1)
kept = sys.argv[1] == "keep" and memory.keep()
layer = torch.nn.Conv2d(32, 32, 3, padding=1)
x, grad = (torch.randn(64, 32, 16, 16, requires_grad=need) for need in (True, False))
for step in range(15):
    if step == 5:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    x.grad = None
    layer(x).backward(grad)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    out = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True).stdout
    kept, count = out.split()
    return kept == "True", int(count)


def test_memory_that_is_kept_is_not_cleared_again():
    kept, count = faults("keep")
    if not kept:
        pytest.skip("this C library has no such setting")
    assert count < 100
    assert faults("default")[1] > 1000
