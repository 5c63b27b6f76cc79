"""A run of Lightning itself; as a script it writes five checkpoints and the last, and as a file it is a `--model`."""

import sys
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(4, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, 2)

    def forward(self, observations: Tensor) -> Tensor:
        values: Tensor = self.fc3(F.relu(self.fc2(F.relu(self.fc1(observations)))))
        return values


class Module(lightning.LightningModule):
    def __init__(self, hidden: int, learning_rate: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = Net(hidden)

    def forward(self, observations: Tensor) -> Tensor:
        values: Tensor = self.net(observations)
        return values

    def training_step(self, batch: list[Tensor]) -> Tensor:
        return self(batch[0]).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), self.hparams["learning_rate"])


if __name__ == "__main__":
    keep = ModelCheckpoint(every_n_train_steps=2, save_top_k=-1, save_last=True)
    trainer = lightning.Trainer(
        max_steps=10, default_root_dir=Path(sys.argv[1]), callbacks=[keep], logger=True, accelerator="cpu"
    )
    trainer.fit(Module(24), DataLoader(TensorDataset(torch.randn(40, 4)), batch_size=4))
