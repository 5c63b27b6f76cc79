"""The network that a specification describes, and the one function that builds it."""

import torch
from torch import Tensor, nn

from probe.errors import ShapeError
from probe.networks.initialise import initialise
from probe.networks.specification import NetworkSpec
from probe.networks.stages import Shape, build_stages


class Network(nn.Module):
    """Modules by name (encoder, actor, critic), each run once per forward pass."""

    def __init__(self, spec: NetworkSpec) -> None:
        """Builds the modules of `spec`; `build` draws the parameters."""
        super().__init__()
        self.spec = spec
        shape: Shape = spec.observation_shape
        start = (shape[2], shape[0], shape[1]) if spec.is_image else shape
        features = start
        for name, module in spec.modules.items():
            built, out = build_stages(module.stages, features if module.reads == "encoder" else start)
            self.add_module(name, built)
            features = out if name == "encoder" else features

    def forward(self, observations: Tensor, actions: Tensor | None = None) -> dict[str, Tensor]:
        """Runs every module once on observations as they are stored.

        Args:
            observations: uint8 (batch, height, width, channel), or float32 (batch, feature).
            actions: unused by networks whose critic needs no action.

        Returns:
            Outputs of the modules but the encoder: `actor` logits (batch, action), `critic` values (batch,).

        Raises:
            ShapeError: the observations are not of the specification's shape.
        """
        scaled = self.scale(observations)
        encoded = self.get_submodule("encoder")(scaled)
        outputs: dict[str, Tensor] = {}
        for name, module in self.spec.modules.items():
            if name != "encoder":
                output = self.get_submodule(name)(encoded if module.reads == "encoder" else scaled)
                outputs[name] = output.squeeze(-1) if name == "critic" else output
        return outputs

    def scale(self, observations: Tensor) -> Tensor:
        """Returns images as floats in [0, 1], channels first in channels-last memory; vectors as they are."""
        expected = self.spec.observation_shape
        if tuple(observations.shape[1:]) != expected:
            raise ShapeError(
                f"Network '{self.spec.name}' expects observations of shape {('batch', *expected)}, got "
                f"{tuple(observations.shape)}. Collect them from the environment that the network was made for."
            )
        kind = observations.device.type
        # 0..255 are exact in bfloat16, so the cast can come before the division.
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
        if not self.spec.is_image:
            return observations.to(dtype)
        return observations.permute(0, 3, 1, 2).to(dtype) / 255.0


def build(spec: NetworkSpec, generator: torch.Generator) -> Network:
    """Builds the network of `spec` and draws its parameters from `generator`; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        network = Network(spec)
    for name, module in spec.modules.items():
        initialise(network.get_submodule(name), module.stages, generator)
    return network
