"""What the fork server of test_resume.py loads once for all its children: modules, and Procgen's images."""

import torch

import tests.trainers.test_resume  # noqa: F401
from probe.datasets.environments import EnvironmentSpec, make
from probe.statistics import sums

# PyTorch and numba import most of themselves when they are first used.
torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], fused=True)
sums.batch_sums(torch.zeros(1, 1))
make(EnvironmentSpec(id="procgen:coinrun"), 1, 0).close()
