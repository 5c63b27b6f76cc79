"""Layers -> modules."""

from probe.modules import UNKNOWN, ModuleMap


def test_a_layer_belongs_to_the_module_at_its_head() -> None:
    modules = ModuleMap.of(("encoder", "actor"))
    assert modules.module_of("encoder.relu1") == "encoder"
    assert modules.module_of("actor:relu") == "actor"
    assert modules.module_of("encoder2.relu") == UNKNOWN


def test_the_first_matching_pattern_wins() -> None:
    modules = ModuleMap({"critic": ("value*",), "rest": ("*",)})
    assert modules.module_of("value_net.0") == "critic"
    assert modules.module_of("policy") == "rest"
