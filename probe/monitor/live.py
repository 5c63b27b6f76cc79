"""A network in the middle of its training, as the engine sees checkpoints."""

import copy
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from probe.checkpoints.base import Checkpoint
from probe.errors import ConfigurationError
from probe.measurement import state_digest
from probe.modules import ModuleMap

FORMAT = "monitor"
Run = Callable[[nn.Module, Tensor], Any]
"""(network, batch of an observation set) -> what the network returns."""


class Called(nn.Module):
    """A network under another forward: its modules, tensors and names are the network's own, without a prefix."""

    _network: nn.Module

    def __init__(self, network: nn.Module, run: Run) -> None:
        """Takes the network, which is not copied, and what is called instead of its forward."""
        super().__init__()
        self.__dict__["_network"] = network  # not a submodule, which would give all names a prefix
        self._modules, self._parameters, self._buffers = network._modules, network._parameters, network._buffers
        self._non_persistent_buffers_set = network._non_persistent_buffers_set
        self._run = run

    def train(self, mode: bool = True) -> "Called":
        """Sets the mode of the network itself too."""
        self._network.train(mode)
        self.training = mode
        return self

    def forward(self, batch: Tensor) -> Any:
        """Runs the network on a batch."""
        return self._run(self._network, batch)


class LiveCheckpoint(Checkpoint):
    """A copy of a network as it was at a step. It can forget the copy; what describes it stays."""

    def __init__(
        self, description: Mapping[str, Any], modules: ModuleMap, path: Path, network: nn.Module | None = None
    ) -> None:
        """Keeps what is given; `taken` makes the copy and the description."""
        self._description, self._modules, self._network = dict(description), modules, network
        self.path = path

    @classmethod
    def taken(
        cls, network: nn.Module, run: Run, facts: Mapping[str, Any], modules: ModuleMap, path: Path
    ) -> "LiveCheckpoint":
        """Copies a network as it is.

        Args:
            network: It is left as it is; hooks that are not PyTorch's own are not copied.
            run: How it is called.
            facts: run, method, seed, task and step.
            modules: Which module a layer belongs to.
            path: The analysis that it is measured for.

        Raises:
            ConfigurationError: the network cannot be copied.
        """
        called = Called(private_copy(network), run)
        identity = "|".join([state_digest(called), *(str(value) for value in facts.values())])
        digest = sha256(identity.encode()).hexdigest()
        algorithm = type(network).__name__
        counted = {"frames": -1, "updates": -1, "algorithm": algorithm, "format": FORMAT, "digest": digest}
        return cls({**facts, **counted}, modules, path, called)

    def forget(self) -> None:
        """Lets the copy of the network go."""
        self._network = None

    @property
    def step(self) -> int:
        """What the training counts."""
        return int(self._description["step"])

    @property
    def digest(self) -> str:
        """SHA-256 of the parameters and buffers, and of run, method, seed, task and step."""
        return str(self._description["digest"])

    @property
    def description(self) -> dict[str, Any]:
        """Plain facts for tables."""
        return dict(self._description)

    @property
    def modules(self) -> ModuleMap:
        """Which module a layer belongs to."""
        return self._modules

    def network(self) -> nn.Module:
        """Returns a private copy of the network, in eval mode.

        Raises:
            ConfigurationError: it was measured in an earlier process, or forgotten.
        """
        if self._network is None:
            raise ConfigurationError(
                f"{self.path}: the network of step {self.step} is gone, and a probe compares it with a later one. "
                "Choose another `out`, or leave out the probes that compare networks."
            )
        return copy.deepcopy(self._network).eval()

    def fresh(self, seed: int) -> nn.Module | None:
        """Returns None: how the network is made is not known."""
        return None

    def prepare(self, batch: Tensor) -> Tensor:
        """Returns the batch as it is: the Monitor's own forward turns it into what the network takes."""
        return batch


def private_copy(network: nn.Module) -> nn.Module:
    """Returns a copy without the hooks that others placed, which would hear of passes that are none of theirs.

    Raises:
        ConfigurationError: the network cannot be copied.
    """
    try:
        with _Detaching():
            copied = copy.deepcopy(network)
    except Exception as error:  # a module may hold anything
        raise ConfigurationError(
            f"The network {type(network).__name__} cannot be copied ({error}). Give the part of it that computes, "
            "such as the policy."
        ) from error
    for module in copied.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks):
            for key in [key for key, hook in hooks.items() if not _is_torchs(hook)]:
                del hooks[key]
    return copied


def _is_torchs(hook: Any) -> bool:
    """Whether PyTorch placed a hook, such as the one that makes a spectrally normalised weight."""
    home = getattr(hook, "__module__", None) or type(hook).__module__
    return home == "torch" or home.startswith("torch.")


class _Detaching(TorchFunctionMode):
    """Lets tensors be copied that have a history, such as a distribution that a policy keeps, without the history."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is Tensor.__deepcopy__ and not args[0].is_leaf:
            tensor, memo = args
            memo[id(tensor)] = tensor.detach().clone()
            return memo[id(tensor)]
        return func(*args, **(kwargs or {}))
