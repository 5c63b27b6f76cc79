"""Which module (encoder, actor, critic) a part of somebody else's network is, told from its name."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from probe.modules import ModuleMap

ENCODER, ACTOR, CRITIC = "encoder", "actor", "critic"
_NAMES = {
    ENCODER: r"(.*_)?encoder|(.*_)?features?(_extractor)?|backbone|trunk|torso|representation",
    ACTOR: r"actors?|actor_.*|.*_actor|policy|policy_.*|(.*_)?pi|pi_.*|mu|action_.*|.*logits?",
    CRITIC: r"critics?\d*|critic_.*|.*_critic|values?|value_.*|v|vf\d*|v_(net|network|head|func)|"
    r"qf?_?\d*|qf_.*|q_(net|network|func|function|values?|head|net_?\d+)|qnet\w*|q_?networks?|advantages?|"
    r"advantage_.*|quantile_.*|baseline",
}
"""What a part of a path must be, all of it, to tell a module."""
_ATTENTION = re.compile(r"(^|\.)[^.]*att(n|ention).*")
"""Inside of it queries, keys and values are no critic's."""
_AFTER = re.compile(r"[:#].*|_(input_)?(relu|tanh|elu|gelu|silu|leaky_relu)(?=$|[:#]).*")
"""What a layer's id has after the path that tells: `fc1_relu` follows `fc1` in a network that was inferred."""


@dataclass(frozen=True)
class GuessedModules(ModuleMap):
    """Modules that are told from the names in a layer's id."""

    otherwise: str = ENCODER
    """The module of what no name tells."""

    def told(self, layer: str) -> str:
        """Returns the module of a layer of which nothing else is said."""
        return module_named(layer, self.otherwise)


def guess_modules(paths: Iterable[str], otherwise: str = ENCODER) -> ModuleMap:
    """Returns the modules of a network with submodules at these paths, as Stable-Baselines3 and CleanRL name them."""
    found = {module_named(path, otherwise) for path in paths} or {otherwise}
    return GuessedModules({module: () for module in (ENCODER, ACTOR, CRITIC) if module in found}, otherwise=otherwise)


def module_named(path: str, otherwise: str = ENCODER) -> str:
    """Returns the module that a path or a layer's id tells of; what no name tells is encoder, or `otherwise`.

    The innermost name that says one decides, so that a critic's own encoder is one; a name that says two says none.
    """
    for part in reversed(_ATTENTION.sub("", _AFTER.sub("", path)).lower().split(".")):
        told = [module for module, names in _NAMES.items() if re.fullmatch(names, part)]
        if len(told) == 1:
            return told[0]
    return otherwise
