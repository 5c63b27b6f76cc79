"""A checkpoint of another library: the network from its file, from the user's factory, or from its shapes."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from probe.checkpoints.base import NONE, Checkpoint
from probe.checkpoints.building import Builder
from probe.checkpoints.content import Content, Policy
from probe.checkpoints.fitting import fitting_prefixes, load_tensors
from probe.checkpoints.formats import read_content
from probe.checkpoints.hints import Hints
from probe.checkpoints.identity import Identity
from probe.checkpoints.layout import Inputs, Layout, Shape, fitted, other_shape, scaled
from probe.checkpoints.normalisation import Normalisation
from probe.checkpoints.state_action import is_lone_critic, takes_actions
from probe.checkpoints.targets import without_targets
from probe.errors import ShapeError
from probe.module_guess import CRITIC, ENCODER, guess_modules
from probe.modules import ModuleMap

_GIVEN_ACTIONS = "its network of state and action is given the set's actions, as they are"
_SIDES = (84, 64, 96, 128, 224, 32)
"""Heights and widths that are tried where only the channels of an image are known."""


class ForeignCheckpoint(Checkpoint):
    """One file or folder of another library's; its tensors are read when they are asked for, and not kept."""

    def __init__(self, path: Path, hints: Hints) -> None:
        """Reads what the file says beside its tensors; `identify` completes it.

        Raises:
            FileError: it is missing, damaged, hostile, or of no known format.
        """
        self.path, self.hints = path, hints
        content = self._read()
        self.format, self.algorithm, self.stored_seed = content.format, content.algorithm, content.seed
        self.stored_step, self.stored_count, self.remarks = content.step, content.count, content.remarks
        self.names = tuple(content.tensors)
        self.shapes = str(sorted((name, tuple(tensor.shape)) for name, tensor in content.tensors.items()))
        self._known = None if hints.model else content.modules
        self._is_described = hints.model is None and content.program is None
        self._identity = Identity(path.stem, "", content.seed or 0, content.step or 0)
        self._layouts: dict[Inputs, Layout] = {}
        self._normalisation: Normalisation | None = None

    def identify(
        self,
        identity: Identity,
        layouts: dict[Inputs, Layout],
        normalisation: Normalisation | None = None,
        remarks: tuple[str, ...] = (),
    ) -> None:
        """Says which checkpoint of which run this is.

        Args:
            identity: Run, method, seed and step.
            layouts: What checkpoints of the same network share: how observations of a shape reach it.
            normalisation: How the agent saw its observations.
            remarks: What the user should know of the series.
        """
        self._identity, self._layouts, self._normalisation = identity, layouts, normalisation
        self.remarks = (*self.remarks, *remarks)

    @property
    def step(self) -> int:
        """What the content says, else the name."""
        return self._identity.step

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the file, its place in its series, and what the user said the network is."""
        return self._identity.digest(self.path, self.hints, self._normalisation)

    @property
    def description(self) -> dict[str, Any]:
        """Plain facts for tables; frames and updates are not known."""
        of, counts = self._identity, {"task": 0, "step": self.step, "frames": NONE, "updates": NONE}
        named = {"run": of.run, "method": of.method, "seed": of.seed, **counts, "algorithm": self.algorithm}
        return {**named, "format": self.format, "digest": self.digest}

    @cached_property
    def modules(self) -> ModuleMap:
        """Those that the format knows, else what the names tell; the user's own patterns come before."""
        paths = dict.fromkeys(name.rpartition(".")[0] for name in self.names)
        if self._known is not None:
            return self._known.with_chosen(self.hints.modules)
        otherwise = CRITIC if self.needs_actions and is_lone_critic(self._given) else ENCODER
        return guess_modules((path for path in paths if path), otherwise).with_chosen(self.hints.modules)

    @property
    def exploration(self) -> float | None:
        """With which probability the agent took a random action beside the best one, where its file says it."""
        return None if self._behaviour is None else self._behaviour.exploration

    def draw(self, outputs: Mapping[str, Tensor], generator: torch.Generator) -> Tensor | None:
        """Draws continuous actions as the policy that the file or its shapes tell; None of the user's own network."""
        return None if self._behaviour is None else self._behaviour.draw(outputs, generator)

    @property
    def action_shape(self) -> tuple[int, ...] | None:
        """Of a stored action that critics of SAC, TD3 and their kin take; None of the user's own network."""
        return None if self._behaviour is None else self._behaviour.action_shape

    @cached_property
    def needs_actions(self) -> bool:
        """Whether the user's own network, or the one that the file holds, takes a state and an action."""
        return not self._is_described and takes_actions(self._given)

    def with_actions(self, batch: Tensor, actions: Tensor) -> Tensor:
        """Joins observations and stored actions to what the network takes.

        Raises:
            ShapeError: the network cannot run on them.
        """
        flat = actions.flatten(1)
        if self.needs_actions:
            return torch.cat([self._prepared(batch, flat.shape[1]).flatten(1), flat], dim=1)
        assert self._behaviour is not None  # it has an action shape
        return self._behaviour.with_actions(self.prepare(batch), actions)

    @cached_property
    def _behaviour(self) -> Policy | None:
        """The policy that the file or its shapes tell."""
        return self._builder.policy(self._read()) if self._is_described else None

    def network(self) -> nn.Module:
        """Builds the network and loads the tensors, float32, in eval mode.

        Raises:
            FileError: the file does not tell the network, or its tensors do not fit.
            ConfigurationError: the user's factory does not make a network.
        """
        content = self._read()
        network = self._builder.network(content)
        if self.hints.model is not None or content.program is None:
            load_tensors(network, content.tensors, self.path, self.hints.model or "the network of its own description")
        return network.float().eval()

    def fresh(self, seed: int) -> nn.Module | None:
        """Returns the same architecture as its factory or library initialises it, or None where that is unknown."""
        if self.hints.model is not None:
            return self._builder.made(self._read(), seed).float().eval()
        network = self.network()
        initialise = getattr(network, "initialise", None)
        if initialise is None:
            return None
        initialise(torch.Generator().manual_seed(seed))
        return network

    def prepare(self, batch: Tensor) -> Tensor:
        """Returns the batch, float32, in the order of axes and the scale that the network takes; vectors normalised.

        Raises:
            ShapeError: the network cannot run on such observations, or how it takes them cannot be told.
        """
        if self.needs_actions:
            raise ShapeError(
                f"{self.path}: its network takes a state and an action, so it cannot act. It can be measured on sets "
                "that hold actions."
            )
        return self._prepared(batch, 0)

    def _prepared(self, batch: Tensor, width: int) -> Tensor:
        """Returns the batch as the network takes it beside actions of so many numbers."""
        inputs = tuple(batch.shape[1:]), width
        if inputs not in self._layouts:
            self._layouts[inputs] = self._layout(inputs)
        given = self._layouts[inputs].apply(batch)
        return given if self._normalisation is None else self._normalisation.apply(given)

    def notes(self, shape: Shape | None = None) -> tuple[str, ...]:
        """Returns what was assumed, for observations of a shape, as sentences."""
        assumed = [each for (known, _), layout in self._layouts.items() if known == shape for each in layout.assumed]
        given = (_GIVEN_ACTIONS,) if self.needs_actions else ()
        return (*self.remarks, *self._alike, *given, *assumed)

    @cached_property
    def _alike(self) -> tuple[str, ...]:
        """Says which of several parts of the file is taken that fit the user's network."""
        if self.hints.model is None:
            return ()
        content = self._read()
        fitting = fitting_prefixes(self._builder.made(content), content.tensors)
        return (f"{'*, '.join(fitting)}* fit the network alike: {fitting[0]}* is taken",) if len(fitting) > 1 else ()

    def facts(self) -> dict[str, Any]:
        """Returns what `probe inspect` shows of the network."""
        network = self.network()
        tensors = network.state_dict()
        shape = self.observation_shape
        return {
            "network": self.hints.model or getattr(network, "kind", type(network).__name__),
            "observation shape": shape or "not told by the file",
            "observations reach the network": self._layouts[shape, 0].words if shape is not None else "",
            "tensors": len(tensors),
            "parameters and buffers": sum(tensor.numel() for tensor in tensors.values()),
            "notes": "; ".join(self.notes(shape)) or "none",
        }

    @cached_property
    def observation_shape(self) -> Shape | None:
        """Of a stored observation: what the file says, else the first of the usual shapes that the network takes."""
        for shape in self._shapes(self.network()):
            with suppress(ShapeError):
                self.prepare(torch.zeros(1, *shape))
                return shape
        return None

    def _shapes(self, network: nn.Module) -> Iterator[Shape]:
        policy = self._read().policy
        if policy is not None and self.hints.model is None:
            yield policy.layout.shape or ()
        for layer in network.modules():
            if isinstance(layer, nn.Linear):
                yield (layer.in_features,)
            elif isinstance(layer, nn.Conv2d):
                yield from ((side, side, layer.in_channels) for side in _SIDES)

    @property
    def _builder(self) -> Builder:
        return Builder(self.path, self.hints, self._layouts)

    def _layout(self, inputs: Inputs) -> Layout:
        """Returns how observations reach the network."""
        shape, source = inputs[0], str(self.path)
        content = self._read()
        network = self._builder.network(content).float().eval()
        if self._is_described:
            layout = self._builder.policy(content).layout
            if layout.shape is not None and layout.shape != shape:
                raise ShapeError(other_shape(source, layout.shape, shape))
            return fitted(network, inputs, [layout], source)
        if len(shape) != 3:
            return fitted(network, inputs, [Layout(shape)], source)
        orders = [False, True] if self.hints.layout is None else [self.hints.layout == "chw"]
        found = fitted(network, inputs, [Layout(shape, channels_first=first) for first in orders], source)
        return scaled(network, inputs, found)

    def _read(self) -> Content:
        content = read_content(self.path, self.hints.trust_pickle)
        if self.hints.model is not None or content.policy is not None or content.program is not None:
            return content
        tensors, targets = without_targets(content.tensors)
        said = (f"target networks are left out: {', '.join(targets)}",) if targets else ()
        return replace(content, tensors=tensors, remarks=(*content.remarks, *said))

    @property
    def _given(self) -> nn.Module:
        """The user's own network, without the file's values, or the one that the file holds."""
        return self._builder.network(self._read())
