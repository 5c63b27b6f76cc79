"""The callback in a real Lightning training."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

lightning = pytest.importorskip("lightning.pytorch")

from probe.integrations.lightning import MonitorCallback  # noqa: E402
from probe.results import open_analysis  # noqa: E402


class Regression(lightning.LightningModule):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.body(x)
        return output

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        loss = self(batch[0]).square().mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.01)


def rows() -> Tensor:
    return torch.randn(48, 4, generator=torch.Generator().manual_seed(0))


def fitted(folder: Path, *callbacks: Any, **options: Any) -> dict[str, Tensor]:
    torch.manual_seed(0)
    module = Regression()
    logger = lightning.loggers.CSVLogger(folder, name="", version="")
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        callbacks=list(callbacks),
        logger=logger,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        log_every_n_steps=1,
        **options,
    )
    trainer.fit(module, DataLoader(TensorDataset(rows()), batch_size=8, shuffle=True))
    return {**module.state_dict(), "stream": torch.get_rng_state()}


@pytest.mark.filterwarnings("ignore")
def test_fitting_is_bit_for_bit_what_it_is_without_the_callback(tmp_path: Path) -> None:
    alone = fitted(tmp_path / "alone")
    watched = fitted(tmp_path / "watched", MonitorCallback(rows(), out=tmp_path / "a.h5", every=4))
    assert all(torch.equal(alone[name], watched[name]) for name in alone)
    with open_analysis(tmp_path / "a.h5") as analysis:
        assert sorted({each["step"] for each in analysis.checkpoints}) == [0, 4, 8, 12]
        assert {each["layer"] for each in analysis.layers} == {"body.2"}
    assert "network/dead/encoder" in (tmp_path / "watched" / "metrics.csv").read_text().splitlines()[0]


@pytest.mark.filterwarnings("ignore")
def test_with_accumulated_gradients_a_step_is_measured_once(tmp_path: Path) -> None:
    fitted(tmp_path, MonitorCallback(rows(), ["fau"], out=tmp_path / "a.h5", every=1), accumulate_grad_batches=3)
    with open_analysis(tmp_path / "a.h5") as analysis:
        assert [each["step"] for each in analysis.checkpoints] == [0, 1, 2, 3, 4]
