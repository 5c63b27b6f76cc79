"""Which module (encoder, actor, critic) a part of a foreign network is, guessed from its name."""

import re
from collections.abc import Iterable

from probe.checkpoints.stacks import ACTIVATIONS
from probe.modules import ModuleMap

_CERTAIN = {
    "encoder": r"(obs_|image_|pixel_|shared_)?encoder|features?(_extractor)?|backbone|trunk|torso|representation",
    "actor": r"actors?|actor_.*|.*_actor|policy|policy_.*|pi|pi_.*|mu|action_.*|.*logits?",
    "critic": r"critics?|critic_?\d+|critic_.*|.*_critic|values?|value_.*|v|vf\d*|v_(net|network|head|func)|"
    r"qf?_?\d*|qf_.*|q_(net|network|func|function|values?|head|net_?\d+)|qnet\w*|q_?networks?|advantages?|advantage_.*|baseline",
}
_LIKELY = {"encoder": r"networks?|cnn|convs?\d*|conv_?(net|layers|seqs|block)\w*|conv\d*|body|base|embed\w*|stem"}
"""Names that say something only where no other part of the path does."""


def guess_modules(names: Iterable[str]) -> ModuleMap:
    """Returns the modules that the dotted names of parameters or submodules tell; a map without any where none does.

    The innermost telling part of a path decides: the critic's own encoder is an encoder.
    """
    parts: dict[str, list[str]] = {"encoder": [], "actor": [], "critic": []}
    for name in names:
        role, path = _role(name.split(".")[:-1])
        if role and path not in parts[role]:
            parts[role].append(path)
    return ModuleMap({role: _patterns(paths) for role, paths in parts.items() if paths})


def _role(parts: list[str]) -> tuple[str, str]:
    for place in range(len(parts) - 1, -1, -1):
        for role, words in _CERTAIN.items():
            if re.fullmatch(words, parts[place].lower()):
                return role, ".".join(parts[: place + 1])
    for place, part in enumerate(parts):
        for role, words in _LIKELY.items():
            if re.fullmatch(words, part.lower()):
                return role, ".".join(parts[: place + 1])
    return "", ""


def _patterns(paths: Iterable[str]) -> tuple[str, ...]:
    # `fc1_relu` is what a rebuilt network calls the nonlinearity after `fc1`.
    ends = (".*", "", ":*", "_input_relu", *(f"_{name}" for name in ACTIVATIONS))
    return tuple(f"{path}{end}" for path in paths for end in ends)
