"""How the network of another library's file is built: by the user's factory, by the file, or from its shapes."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from probe.checkpoints.calling import callable_network
from probe.checkpoints.chains import recognised
from probe.checkpoints.content import Content, Policy
from probe.checkpoints.factory import make_network
from probe.checkpoints.hints import Hints
from probe.checkpoints.layout import Inputs, Layout
from probe.errors import FileError, UnknownNameError

_ACTIVATION = "activation"
"""The one argument of a network that is inferred."""


@dataclass(frozen=True)
class Builder:
    """Builds the network of one file."""

    path: Path
    hints: Hints
    layouts: dict[Inputs, Layout]
    """How observations of a shape reach the network; what it is called by reads this later, too."""

    def network(self, content: Content) -> nn.Module:
        """Returns the network without the file's values.

        Raises:
            FileError: the file does not tell it.
            ConfigurationError: the user's factory does not make one.
        """
        if self.hints.model is not None:
            return self.made(content)
        if content.program is not None:
            return callable_network(content.program, str(self.path), self.layouts)
        return self.policy(content).build(content.tensors)

    def made(self, content: Content, seed: int = 0) -> nn.Module:
        """Returns what the user's factory makes after the global random stream was seeded."""
        assert self.hints.model is not None
        made = make_network(self.hints.model, self.hints.model_args, content.arguments, seed)
        return callable_network(made, f"--model {self.hints.model}", self.layouts)

    def policy(self, content: Content) -> Policy:
        """Returns what the file or the shapes say that the network is.

        Raises:
            FileError: they tell nothing.
            UnknownNameError: the user gave an argument that is not inferred.
        """
        if content.policy is not None:
            return content.policy
        if unknown := [name for name in self.hints.model_args if name != _ACTIVATION]:
            raise UnknownNameError("argument of a network without --model", unknown[0], [_ACTIVATION])
        chain = recognised(content.tensors, self.hints.model_args.get(_ACTIVATION))
        if chain is None:
            raise FileError(
                f"{self.path}: the shapes of its {len(content.tensors)} tensors tell no MLP, Nature DQN or IMPALA "
                "network. Give the network with --model package.module:factory or --model file.py:Class."
            )
        return chain
