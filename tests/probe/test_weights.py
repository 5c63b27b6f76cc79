"""Weight layers in every form in which PyTorch keeps a weight."""

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from probe.networks.spectral import SpectralNorm, add_spectral_norm
from probe.weights import hidden_layers, named_tensors, owner, weight_layers


@pytest.fixture(autouse=True)
def seed() -> None:
    """Vectors that no iteration has turned yet can be nearly orthogonal to the weight: sigma is rounding then."""
    torch.manual_seed(0)


def legacy(layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.spectral_norm(layer)


def ours(layer: nn.Module) -> nn.Module:
    add_spectral_norm(layer)
    norm = layer.parametrizations["weight"][0]  # type: ignore[index]
    assert isinstance(norm, SpectralNorm)
    norm.restart(layer.parametrizations["weight"].original, torch.Generator().manual_seed(1))  # type: ignore[index]
    return layer


FORMS = [parametrizations.spectral_norm, legacy, ours]
LAYERS = [lambda: nn.Linear(6, 4), lambda: nn.Conv2d(3, 5, 3)]


def forward_weight(layer: nn.Module) -> Tensor:
    """The weight that the layer's own forward pass used, read off after it."""
    shape = (2, 6) if isinstance(layer, nn.Linear) else (2, 3, 7, 7)
    layer(torch.ones(shape))
    return layer.weight.detach()


@pytest.mark.parametrize("normalise", FORMS)
@pytest.mark.parametrize("make", LAYERS)
def test_stored_vectors_give_the_sigma_that_the_layer_divides_by(
    make: Callable[[], nn.Module], normalise: Callable[[nn.Module], nn.Module]
) -> None:
    layer = normalise(make()).eval()
    (found,) = weight_layers(layer)
    assert found.stored is not None and dict(layer.named_parameters())[found.parameter].equal(found.raw)
    torch.testing.assert_close(found.effective, forward_weight(layer))
    torch.testing.assert_close(found.raw / found.stored.sigma, found.effective)


@pytest.mark.parametrize("normalise", [parametrizations.spectral_norm, legacy])
def test_a_square_transposed_convolution_is_reshaped_along_its_output(
    normalise: Callable[[nn.Module], nn.Module],
) -> None:
    layer = normalise(nn.ConvTranspose2d(4, 4, 3)).eval()
    (found,) = weight_layers(layer)
    assert found.stored is not None and found.units == 4
    estimate = found.stored.u.double() @ found.matrix(found.raw) @ found.stored.v.double()
    assert found.stored.sigma == pytest.approx(estimate.item())
    torch.testing.assert_close(found.raw / found.stored.sigma, found.effective)


def test_looking_does_not_iterate() -> None:
    for normalise in FORMS:
        layer = normalise(nn.Linear(6, 4)).eval()
        before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
        weight_layers(layer)
        assert all(tensor.equal(before[name]) for name, tensor in layer.state_dict().items())


def test_a_stale_weight_is_not_believed() -> None:
    layer = legacy(nn.Linear(6, 4)).eval()
    layer(torch.ones(1, 6))
    layer.load_state_dict({name: 2 * tensor for name, tensor in layer.state_dict().items()})
    (found,) = weight_layers(layer)
    torch.testing.assert_close(found.effective, forward_weight(layer))


def test_a_plain_and_a_weight_normalised_layer_have_no_vectors() -> None:
    plain, normed = nn.Linear(6, 4), parametrizations.weight_norm(nn.Linear(6, 4))
    for layer in (plain, normed):
        (found,) = weight_layers(layer)
        assert found.stored is None
        torch.testing.assert_close(found.effective, layer.weight.detach())


def test_a_shared_module_is_one_layer() -> None:
    shared = nn.Linear(3, 3)
    assert [each.path for each in weight_layers(nn.Sequential(shared, nn.ReLU(), shared))] == ["0"]


def test_hidden_layers_are_those_before_a_nonlinearity_in_call_order() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    described = {
        "b": {"label": "0#2", "position": 2},
        "a": {"label": "1", "position": 0},
        "c": {"label": "0", "position": 1},
        "d": {"label": "d", "position": 3},
    }
    assert [each.path for each in hidden_layers(network, described)] == ["1", "0"]


RECURRENT: list[tuple[Callable[[], nn.Module], list[str]]] = [
    (lambda: nn.LSTM(6, 4), ["weight_ih_l0", "weight_hh_l0"]),
    (
        lambda: nn.GRU(6, 4, 2, bidirectional=True),
        [f"weight_{kind}_l{depth}{way}" for depth in (0, 1) for way in ("", "_reverse") for kind in ("ih", "hh")],
    ),
    (lambda: nn.LSTM(6, 4, proj_size=2), ["weight_ih_l0", "weight_hh_l0", "weight_hr_l0"]),
    (lambda: nn.LSTMCell(6, 4), ["weight_ih", "weight_hh"]),
    (lambda: nn.RNNCell(6, 4), ["weight_ih", "weight_hh"]),
]


@pytest.mark.parametrize(("make", "names"), RECURRENT)
def test_every_weight_of_a_recurrent_module_is_a_layer_of_its_own_name(
    make: Callable[[], nn.Module], names: list[str]
) -> None:
    network = nn.ModuleDict({"memory": make(), "head": nn.Linear(4, 2)})
    layers = weight_layers(network)
    assert [each.path for each in layers] == [*(f"memory.{name}" for name in names), "head"]
    for layer in layers:
        assert layer.raw.equal(network.get_parameter(layer.parameter)) and layer.effective is layer.raw
        assert layer.units == len(layer.raw) and layer.is_whole_map == (layer.path == "head")
    assert set(named_tensors(network)) == {name for name, _ in network.named_parameters()}
    assert [each.path for each in weight_layers(make())] == names


@pytest.mark.parametrize("normalise", [parametrizations.spectral_norm, nn.utils.spectral_norm])
@pytest.mark.filterwarnings("ignore")
def test_a_spectrally_normalised_recurrent_weight_shows_its_vectors(normalise: Callable[..., nn.Module]) -> None:
    memory = normalise(nn.LSTM(6, 4), name="weight_hh_l0").eval()
    plain, normed = weight_layers(memory)
    assert plain.stored is None and normed.stored is not None and normed.path == "weight_hh_l0"
    torch.testing.assert_close(normed.raw / normed.stored.sigma, normed.effective)
    memory(torch.ones(3, 2, 6))
    torch.testing.assert_close(normed.effective, memory.weight_hh_l0.detach())
    assert "weight_hh_l0" in named_tensors(memory)


def test_all_weights_of_a_recurrent_module_are_hidden_and_stand_where_it_runs() -> None:
    network = nn.ModuleDict({"dense": nn.Linear(6, 6), "memory": nn.LSTM(6, 4), "head": nn.Linear(4, 2)})
    described = {"dense:relu": {"label": "dense", "position": 0}, "memory": {"label": "memory", "position": 1}}
    paths = [each.path for each in hidden_layers(network, described)]
    assert paths == ["dense", "memory.weight_ih_l0", "memory.weight_hh_l0"]


def test_parameters_belong_to_their_layer_parametrised_or_not() -> None:
    assert owner("encoder.conv1.parametrizations.weight.original") == "encoder.conv1"
    assert owner("encoder.conv1.bias") == "encoder.conv1" and owner("bias") == ""
    assert owner("parametrizations.weight.original") == "" and owner("memory.weight_hh_l0") == "memory"


def test_the_tensors_are_the_parameters_and_the_weights_that_differ() -> None:
    network = nn.Sequential(parametrizations.spectral_norm(nn.Linear(3, 2)), nn.Linear(2, 2))
    names = set(named_tensors(network))
    assert names == {name for name, _ in network.named_parameters()} | {"0.weight"}
