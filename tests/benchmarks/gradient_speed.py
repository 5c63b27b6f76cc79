"""The probes that share a pass: gradients against forward and backward, pre-activations against the bare forward.

One backward pass gives the gradient of the joint loss. Losses that are told apart take one each; what these alone cost,
without a probe, is printed beside it. An analysis takes the gradients in the pass that measures the statistics: what
the probes cost it is the difference that they make there. By themselves they run where an earlier analysis has the
statistics already.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import h5py
import numpy as np
import torch

from probe.checkpoints import open_series
from probe.datasets.collect import collect
from probe.datasets.sampling import Sampling
from probe.examination import ProbeItem, pass_for, subject_of
from probe.measurement import WorkItem, measure
from probe.memory import keep_freed_memory
from probe.observations import open_observations
from probe.passes import share_pass
from probe.policies import log_probabilities
from probe.probes.base import Probe
from probe.probes.gradient_dormancy import GradientDormancy
from probe.probes.layer_norms import LayerNorms
from probe.probes.saturation import Saturation
from probe.subject import Subject
from tests.benchmarks.analyze_speed import interleaved
from tests.benchmarks.workers_speed import ENVIRONMENT, write_checkpoints

SAMPLES = 2_560
ROUNDS = 7
THREADS = 2
GRADIENTS: Sequence[Probe] = (LayerNorms(), GradientDormancy())
EACH_LOSS: Sequence[Probe] = (LayerNorms(losses="each"), GradientDormancy(losses="each"))
PRE_ACTIVATIONS: Sequence[Probe] = (LayerNorms(), Saturation())


def main() -> None:
    """Prints each ratio, the median of interleaved rounds."""
    # A process of its own: the thread count must stand before PyTorch's first parallel work.
    subprocess.run([sys.executable, "-m", __name__], check=True)


def _measured() -> None:
    keep_freed_memory()  # as `probe analyze` does
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        items = _items(folder)
        forms: dict[str, Callable[[], None]] = {
            "forward": lambda: _forward(subject_of(items[0])),
            "forward and backward": lambda: _forward_and_backward(subject_of(items[0]), separate=False),
            "forward and a backward a loss": lambda: _forward_and_backward(subject_of(items[0]), separate=True),
            "gradient probes": lambda: _probed(subject_of(items[0]), GRADIENTS),
            "gradient probes, losses told apart": lambda: _probed(subject_of(items[0]), EACH_LOSS),
            "pre-activation probes": lambda: _probed(subject_of(items[1]), PRE_ACTIVATIONS),
            "default probes": lambda: _measured_with(items[0], ()),
            "default and gradient probes": lambda: _measured_with(items[0], GRADIENTS),
            "default and pre-activation probes": lambda: _measured_with(items[1], PRE_ACTIVATIONS),
        }
        batch = items[0].data.pass_size
        seconds = interleaved(forms)
    print(
        f"  bare forward, conv64, batch {batch}, {THREADS} threads: {SAMPLES / median(seconds['forward']):,.0f} obs./s"
    )
    both, bare = seconds["default and gradient probes"], seconds["default probes"]
    seconds["gradient probes, in an analysis"] = [each - other for each, other in zip(both, bare, strict=True)]
    for name, base, target in (
        ("forward and backward", "forward", None),
        ("forward and a backward a loss", "forward and backward", None),
        ("gradient probes", "forward and backward", 1.5),
        ("gradient probes, in an analysis", "forward and backward", None),
        ("gradient probes, losses told apart", "forward and backward", None),
        ("gradient probes, losses told apart", "forward and a backward a loss", None),
        ("default and gradient probes", "forward and backward", None),
        ("default probes", "forward", None),
        ("pre-activation probes", "forward", None),
        ("default and pre-activation probes", "forward", 2.5),
    ):
        ratios = [each / other for each, other in zip(seconds[name], seconds[base], strict=True)]
        aim = "" if target is None else f"; target {target}x"
        print(f"  {name}: {median(ratios):.2f}x the {base} ({min(ratios):.2f} to {max(ratios):.2f}{aim})")


def _items(folder: Path) -> list[WorkItem]:
    """Measures a checkpoint on a set where every observation has a return, and on one where none has."""
    write_checkpoints(folder, 1)
    collect(ENVIRONMENT, folder / "known.h5", Sampling(samples=SAMPLES, stride=1))
    shutil.copy(folder / "known.h5", folder / "unknown.h5")
    rng = np.random.default_rng(0)
    for name, returns in (("known", rng.standard_normal(SAMPLES)), ("unknown", np.full(SAMPLES, np.nan))):
        with h5py.File(folder / f"{name}.h5", "r+") as file:
            file["returns"][...] = returns
    (checkpoint,) = open_series([folder])[0].checkpoints
    sets = [open_observations(folder / f"{name}.h5") for name in ("known", "unknown")]
    items = [WorkItem(checkpoint, each, each.digest, None, folder / f"{each.path.stem}.a.h5") for each in sets]
    for item in items:
        measure(item)
    return items


@torch.no_grad()
def _forward(subject: Subject) -> None:
    network = subject.network()
    for batch in subject.batches():
        network(batch)


def _forward_and_backward(subject: Subject, separate: bool) -> None:
    """The gradient of the sum of both losses, or of each."""
    network = subject.network()
    batch = subject.observations.pass_size
    returns = torch.from_numpy(subject.column("returns")).split(batch)
    actions = torch.from_numpy(subject.column("actions").astype(np.int64)).split(batch)
    for observations, target, action in zip(subject.batches(), returns, actions, strict=True):
        outputs = network(observations)
        critic = (outputs["critic"] - target).square().sum()
        actor = -(log_probabilities(outputs["actor"], action) * target).sum()
        parameters = list(network.parameters())
        if separate:
            torch.autograd.grad(critic, parameters, retain_graph=True, allow_unused=True)
            torch.autograd.grad(actor, parameters, allow_unused=True)
        else:
            torch.autograd.grad(critic + actor, parameters)


def _measured_with(item: WorkItem, probes: Sequence[Probe]) -> None:
    pass_for((item, tuple(ProbeItem(probe, item) for probe in probes)))


def _probed(subject: Subject, probes: Sequence[Probe]) -> None:
    share_pass(subject, probes)
    for probe in probes:
        probe.measure(subject)


if __name__ == "__main__":
    _measured()
