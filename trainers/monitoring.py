"""Every layer of a network while it trains: how active it is, whether it has collapsed, and what comes before that."""

from collections.abc import Mapping
from typing import Any

import torch

from probe.events import Image
from probe.headline import DORMANCY_THRESHOLD
from probe.inputs import blank_observation
from probe.modules import FROZEN
from probe.probes.collapse import Collapse
from probe.probes.dormancy import dormant_units
from probe.probes.fau import fraction_of_active_units
from probe.statistics.layer import LayerStatistics
from probe.trainers import diagnostics
from probe.trainers.base import Metrics, Trainer
from probe.trainers.feature_maps import FeatureMaps
from probe.trainers.schedule import period_ended
from probe.trainers.settings import MonitorSettings
from probe.trainers.spikes import Spikes

MEAN, FAU = "activation/mean_abs/", "activation/fau/"
DORMANT = f"activation/dormant_{DORMANCY_THRESHOLD}/"
COLLAPSED = "activation/collapsed/"
"""Prefixes of a layer's label; `COLLAPSED` is 1 or 0."""
_KINDS = (MEAN, FAU, DORMANT, COLLAPSED)
SHARE, BALANCE = "actions/share_", "actions/balance"
"""How often each action was chosen in the last update; and the entropy of these shares over that of equal ones."""
_SPIKING = ("loss/", "policy/entropy")
_PICTURE = "feature_maps/"
_COLLAPSE = Collapse()
_SIGNS = {
    "silent": "all its outputs are 0",
    "dormant": f"{_COLLAPSE.dormant_share:.0%} or more of its units are dormant at tau {_COLLAPSE.tau}",
    "fau": f"less than {_COLLAPSE.least_fau:.0%} of its outputs are above 0",
    "constant": f"{_COLLAPSE.constant_share:.0%} or more of its units hardly vary",
}
"""The signs of the probe that 64 observations can show; a rank needs ten for each unit."""


class ActivationMonitor:
    """Reads a trainer's network on its latest observations; changes neither."""

    def __init__(self, settings: MonitorSettings, update_steps: int, trainer: Trainer) -> None:
        """Finds the layers by a pass over a blank observation; with `every` 0 there is nothing to do.

        Args:
            settings: when and on how much.
            update_steps: steps of one update.
            trainer: before its first update or state.
        """
        self._settings, self._update_steps = settings, update_steps
        self._layers: dict[str, str] = {}
        self._spikes = Spikes(name for name in trainer.columns if name.startswith(_SPIKING) and settings.every)
        self._pictures = FeatureMaps()
        self.collapsed: dict[str, str] = {}
        """Layers that had collapsed at the last reading, with the reason."""
        self.columns: tuple[str, ...] = ()
        """What `read` reports, as names of metrics.csv."""
        if settings.every:
            self._layers = _labels(trainer)
            of_layers = tuple(f"{kind}{label}" for label in self._layers.values() for kind in _KINDS)
            actions = range(0 if trainer.actions is None else trainer.network.spec.actions.size)
            shares = (*(f"{SHARE}{action}" for action in actions), *((BALANCE,) if actions else ()))
            self.columns = (*of_layers, *shares, *self._spikes.columns)

    def read(self, trainer: Trainer, metrics: Metrics) -> Metrics:
        """Returns what is to be logged of the update that has just ended, whose metrics are given.

        Layers are read where a reading is due; a layer that was not collapsed at the reading before is told of in the
        trainer's notes.
        """
        found = self._spikes.of(metrics)
        if period_ended(trainer.step, self._update_steps, self._settings.every):
            found |= self._read_layers(trainer) | _balance(trainer)
        return found

    def draw(self, trainer: Trainer) -> dict[str, Image]:
        """Returns pictures of the convolutions' outputs by name, where they are due."""
        if not period_ended(trainer.step, self._update_steps, self._settings.images_every):
            return {}
        drawn = self._pictures.draw(trainer.network, trainer.observations(1)[0], self._layers)
        return {f"{_PICTURE}{label}": picture for label, picture in drawn.items()}

    def _read_layers(self, trainer: Trainer) -> Metrics:
        observations = trainer.observations(self._settings.samples)
        layers = diagnostics.collected(trainer.network, observations, rank=False).layers
        found: Metrics = {}
        collapsed = {}
        for layer, label in self._layers.items():
            statistics = layers.get(layer)
            if statistics is None or not statistics.finite:
                continue
            signs = _COLLAPSE.signs(statistics)
            reasons = [words for sign, words in _SIGNS.items() if signs[sign][0]]
            if reasons:
                collapsed[label] = reasons[0]
            values = (*_activity(statistics), float(label in collapsed))
            found |= {f"{kind}{label}": value for kind, value in zip(_KINDS, values, strict=True)}
        trainer.notes += [
            f"{label} has collapsed at step {trainer.step:,}: {why}."
            for label, why in collapsed.items()
            if label not in self.collapsed
        ]
        self.collapsed = collapsed
        return found

    def get_state(self) -> dict[str, Any]:
        """Returns what the next readings depend on."""
        return {
            "spikes": self._spikes.get_state(),
            "pictures": self._pictures.get_state(),
            "collapsed": dict(self.collapsed),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continues where `get_state` was called."""
        self._spikes.set_state(state["spikes"])
        self._pictures.set_state(state["pictures"])
        self.collapsed = dict(state["collapsed"])


def _activity(statistics: LayerStatistics) -> tuple[float, float, float]:
    """Returns a layer's mean |h|, its fraction of active units and its dormant fraction."""
    dormant = dormant_units(statistics.mean_abs, DORMANCY_THRESHOLD).double().mean().item()
    active = fraction_of_active_units(statistics.positive, statistics.count)
    return statistics.mean_abs.mean().item(), active, dormant


def _balance(trainer: Trainer) -> Metrics:
    if trainer.actions is None:
        return {}
    size = trainer.network.spec.actions.size
    shares = torch.bincount(trainer.actions, minlength=size).double() / len(trainer.actions)
    even = torch.tensor(size).double().log()
    balance = torch.special.entr(shares).sum() / even if size > 1 else torch.ones(())
    return {BALANCE: balance.item(), **{f"{SHARE}{action}": share for action, share in enumerate(shares.tolist())}}


def _labels(trainer: Trainer) -> dict[str, str]:
    """Returns the labels of the layers that learn, by id, in call order."""
    network = trainer.network
    seen = diagnostics.collected(network, blank_observation(network.spec.observation_shape), rank=False)
    modules = network.spec.module_map
    return {
        layer: described.label for layer, described in seen.descriptions.items() if modules.module_of(layer) != FROZEN
    }
