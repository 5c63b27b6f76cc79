"""Where a network is injected to ask about one module, and whether its trunk has to be split for that."""

from dataclasses import dataclass
from typing import Literal

from probe.errors import ConfigurationError
from probe.networks import NetworkSpec
from probe.networks.branches import ENCODER
from probe.networks.cuts import heads, hidden_cuts
from probe.trainers.detect.splitting import split_specification

Module = Literal["actor", "critic", "both"]


@dataclass(frozen=True)
class Placement:
    """What is injected."""

    module: Module
    """Whose plasticity is asked about; `both`: actor and critic, as one function."""
    cut: str
    """Path of the stage from which on it is injected, in the network that the arms have."""
    split: str = ""
    """Stage of the encoder from which on each head gets the trunk for itself, in every arm; empty: it stays shared."""

    @property
    def notes(self) -> list[str]:
        """What the user should be told."""
        if not self.split:
            return []
        return [f"Actor and critic share what comes from {self.split} on: in every arm each gets it for itself first."]


def place(spec: NetworkSpec, module: Module | None = None, layer: str | None = None) -> Placement:
    """Finds where to inject.

    Args:
        spec: The network's.
        module: What to ask about; None: both, or the only head there is.
        layer: Path of a stage; None: the last before a hidden nonlinearity of every head that is injected, and where
            the network was injected before, that place.

    Raises:
        ConfigurationError: there is no such module or stage, or what runs from it on is linear: injecting it would
            change nothing, since W + W1 - W2 gives W1 exactly the gradient that W had.
    """
    there = heads(spec)
    asked: Module = module or ("both" if len(there) > 1 else "critic")
    chosen = there if asked == "both" else [asked]
    if not set(chosen) <= set(there) or (asked == "both" and len(there) < 2):
        raise ConfigurationError(
            f"--inject {asked}: the network has no other head than {', '.join(there)}. Choose --inject {there[0]}."
        )
    known = hidden_cuts(spec, chosen)
    if spec.injections:
        known = [path for path in known if path == spec.injections[0].cut]
    if layer is not None and layer not in known:
        where = f"Choose {' or '.join(known)}." if known else "There is no such place for this module."
        raise ConfigurationError(
            f"--cut {layer}: what runs from there on is linear, or not all of the {asked}; injecting it would change "
            f"nothing, or something else. {where}"
        )
    if not known:
        raise ConfigurationError(
            f"--inject {asked}: there is no hidden nonlinear layer to inject, or the network was injected elsewhere "
            "before. Choose another module."
        )
    cut = layer or known[-1]
    shared = [name for name, each in spec.modules.items() if each.reads == ENCODER]
    if asked == "both" or len(shared) < 2 or not cut.startswith(f"{ENCODER}."):
        return Placement(asked, cut)
    if spec.injections:
        raise ConfigurationError(
            f"--inject {asked}: actor and critic were injected as one function before. Choose --inject both."
        )
    split_specification(spec, cut)  # says why, where it cannot be
    return Placement(asked, f"{asked}.{cut.partition('.')[2]}", split=cut)
