"""Which module (encoder, actor, critic) a part of somebody else's network is, told from its name."""

import re

from torch import nn

from probe.modules import ModuleMap

ENCODER, ACTOR, CRITIC = "encoder", "actor", "critic"
_ENCODERS = re.compile(r"encoder|features?_extractor|backbone")
"""Found anywhere in a path it decides, so that an actor's own encoder is one."""
_WORDS = {
    **dict.fromkeys(("actor", "policy", "pi", "mu", "action"), ACTOR),
    **dict.fromkeys(("critic", "value", "q", "qf", "v", "vf", "qnet", "advantage", "quantile"), CRITIC),
}


def guess_modules(network: nn.Module) -> ModuleMap:
    """Returns modules told from names, as those of Stable-Baselines3 and CleanRL; what no name tells is encoder."""
    patterns: dict[str, list[str]] = {ENCODER: [":*"], ACTOR: [], CRITIC: []}
    for name, child in network.named_children():
        _enter(patterns, name, child)
    return ModuleMap({module: tuple(several) for module, several in patterns.items() if several})


def module_named(path: str) -> str:
    """Returns the module that a path tells of: an encoder's name anywhere in it, else the last name that says one."""
    if _ENCODERS.search(path):
        return ENCODER
    for part in reversed(path.split(".")):
        words = (word.rstrip("0123456789") for word in part.lower().split("_"))
        told = {_WORDS[word] for word in words if word in _WORDS}
        if len(told) == 1:
            return told.pop()
    return ENCODER


def _enter(patterns: dict[str, list[str]], path: str, module: nn.Module) -> None:
    own = module_named(path)
    if {module_named(f"{path}.{name}" if name else path) for name, _ in module.named_modules()} == {own}:
        patterns[own] += [path, f"{path}[.:#]*"]
        return
    patterns[own] += [path, f"{path}[:#]*"]
    for name, child in module.named_children():
        _enter(patterns, f"{path}.{name}", child)
