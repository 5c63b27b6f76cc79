"""The network that a specification describes, and the one function that builds it."""

from typing import cast

import torch
from torch import Tensor, nn

from probe.errors import ConfigurationError, ShapeError
from probe.modules import FROZEN
from probe.networks.branches import ENCODER, FrozenPair, copy_layout, copy_values, parts_of, run, stages_from, through
from probe.networks.initialise import initialise
from probe.networks.injected_linear import InjectedLinear
from probe.networks.specification import Injection, NetworkSpec
from probe.networks.stages import Shape, build_stages


class Network(nn.Module):
    """Modules by name (encoder, actor, critic), each run once per forward pass.

    After an injection, what runs from its cut on is there three times: the modules' own stages are the copy that
    learns, and the module `frozen` holds what learnt before and what is subtracted.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        """Builds the modules of `spec`; `build` draws the parameters."""
        super().__init__()
        self.spec = spec
        shape: Shape = spec.observation_shape
        self._shapes = {"observations": (shape[2], shape[0], shape[1]) if spec.is_image else shape}
        for name, module in spec.modules.items():
            built, out = build_stages(module.stages, self._shapes[module.reads])
            self.add_module(name, built)
            if name == ENCODER:
                self._shapes[ENCODER] = out
        if spec.injections:  # else no empty module appears among the others
            self.add_module(FROZEN, nn.ModuleList(self._new_pair(injection) for injection in spec.injections))

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
        outputs = self._injected_outputs(scaled) if self.spec.injections else self._outputs(scaled)
        return {name: output.squeeze(-1) if name == "critic" else output for name, output in outputs.items()}

    def inject(self, cut: str, fresh: "Network", step: int, all_learn: bool = False) -> None:
        """Freezes what learns from a cut on; adds a new copy that learns, and its frozen negative: the function stays.

        The parameters that learn remain the same objects, with new values. Source: Nikishin et al. 2023,
        arXiv:2305.15555.

        Args:
            cut: path of a stage of a module; that of the first injection where there has been one.
            fresh: a newly drawn network of the same specification.
            step: when this is.
            all_learn: whether nothing is frozen: the ablation in which all three parts learn.

        Raises:
            ConfigurationError: there is no such stage, or an earlier injection was made at another one.
        """
        earlier = self.spec.injections
        if earlier and cut != earlier[0].cut:
            raise ConfigurationError(
                f"The network was injected at '{earlier[0].cut}' before and cannot be at '{cut}' now. Inject it there."
            )
        injection = Injection(cut=cut, step=step, all_learn=all_learn)
        with torch.random.fork_rng(devices=[]):
            pair = self._new_pair(injection).to(next(self.parameters()).device)
        own = self.branch(cut)
        copy_layout(own, parts_of(pair.original))
        copy_values(fresh.branch(cut), own)
        copy_layout(own, parts_of(pair.subtracted))
        self.add_module(FROZEN, nn.ModuleList([*self.pairs, pair.train(self.training)]))
        self.spec = self.spec.model_copy(update={"injections": (*earlier, injection)})

    def inject_output(self, module: str, fresh: "Network") -> InjectedLinear:
        """Gives a module's output, a linear layer, a new pair and returns the layer; the function stays.

        Args:
            module: such as `actor`.
            fresh: a newly drawn network of the same specification.

        Raises:
            ConfigurationError: the output is no plain linear layer.
        """
        *before, last = self.spec.modules[module].stages
        if last.kind not in ("linear", "injected_linear") or last.options.get("spectral_norm"):
            raise ConfigurationError(
                f"The output '{module}.{last.name}' is no plain linear layer, and only such a one can have a pair."
            )
        layers = [each.get_submodule(f"{module}.{last.name}") for each in (self, fresh)]
        with torch.random.fork_rng(devices=[]):
            injected = InjectedLinear.of(cast(nn.Linear, layers[0]))
        injected.inject(cast(nn.Linear, layers[1]))
        stages = (*before, last.model_copy(update={"kind": "injected_linear"}))
        changed = self.spec.modules[module].model_copy(update={"stages": stages})
        self.spec = self.spec.model_copy(update={"modules": {**self.spec.modules, module: changed}})
        return injected

    @property
    def pairs(self) -> list[nn.Module]:
        """The frozen pairs of branches that injections have left, in order."""
        return list(self.get_submodule(FROZEN).children()) if self.spec.injections else []

    def branch(self, cut: str) -> dict[str, list[nn.Module]]:
        """Returns the stages that learn and run from a cut on, by module."""
        return {
            name: [self.get_submodule(f"{name}.{stage.name}") for stage in stages]
            for name, stages in stages_from(self.spec, cut).items()
        }

    def frozen_copies(self, path: str) -> list[nn.Module]:
        """Returns the frozen copies of a layer; none where no injection reached it."""
        pairs = [branch for pair in self.pairs for branch in pair.children()]
        names = {name for branch in pairs for name, _ in branch.named_modules()}
        return [branch.get_submodule(path) for branch in pairs if path in names]

    def _outputs(self, scaled: Tensor) -> dict[str, Tensor]:
        encoded = self.get_submodule(ENCODER)(scaled)
        return {
            name: self.get_submodule(name)(encoded if module.reads == ENCODER else scaled)
            for name, module in self.spec.modules.items()
            if name != ENCODER
        }

    def _injected_outputs(self, scaled: Tensor) -> dict[str, Tensor]:
        cut = self.spec.injections[0].cut
        at, own = cut.partition(".")[0], self.branch(cut)
        read = {"observations": scaled}
        if at != ENCODER:
            read[ENCODER] = self.get_submodule(ENCODER)(scaled)
        features = through(self._stages_before(cut), read[self.spec.modules[at].reads])
        learning = run(own, features)
        pairs = [[run(parts_of(branch), features) for branch in pair.children()] for pair in self.pairs]
        outputs, subtracted = pairs[0][0], [pair[1] for pair in pairs]
        for added, less in zip([*(pair[0] for pair in pairs[1:]), learning], subtracted, strict=True):
            # The difference first: it is exactly 0 at injection, so the sum is exactly what it was.
            outputs = {name: outputs[name] + (added[name] - less[name]) for name in outputs}
        return {
            name: outputs[name] if name in outputs else self.get_submodule(name)(read[module.reads])
            for name, module in self.spec.modules.items()
            if name != ENCODER
        }

    def _stages_before(self, cut: str) -> list[nn.Module]:
        module = cut.partition(".")[0]
        stages = list(self.get_submodule(module).children())
        return stages[: len(stages) - len(stages_from(self.spec, cut)[module])]

    def _new_pair(self, injection: Injection) -> FrozenPair:
        module, stages = injection.cut.partition(".")[0], stages_from(self.spec, injection.cut)
        before = self.spec.modules[module].stages[: -len(stages[module])]
        _, shape = build_stages(before, self._shapes[self.spec.modules[module].reads])
        return FrozenPair(stages, shape, injection.all_learn)

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
    for injection, pair in zip(spec.injections, network.pairs, strict=True):
        original, subtracted = pair.children()
        for name, stages in stages_from(spec, injection.cut).items():
            initialise(original.get_submodule(name), stages, generator)
        # A new pair cancels itself out, so that an injected network starts as the one without injections.
        subtracted.load_state_dict(original.state_dict())
    return network
