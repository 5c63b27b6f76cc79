"""Networks in the form in which single-file implementations write them, made small."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class NatureAgent(nn.Module):
    """A shared Nature CNN with linear heads, in-place rectifiers."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(4, 8, 8, stride=4),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 8, 4, stride=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 8, 2),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(32, 16),
            nn.ReLU(inplace=True),
        )
        self.actor, self.critic = nn.Linear(16, 3), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.network(x / 255.0)
        return self.actor(hidden), self.critic(hidden)


class MlpAgent(nn.Module):
    """Actor and critic apart, of the given nets."""

    def __init__(self, critic: nn.Module, actor: nn.Module) -> None:
        super().__init__()
        self.critic, self.actor = critic, actor

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"critic": self.critic(x), "actor": self.actor(x)}


def mlp_agent() -> MlpAgent:
    return MlpAgent(
        *(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, n)) for n in (1, 2))
    )


class ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        inputs = x
        x = self.conv0(F.relu(x))
        x = self.conv1(F.relu(x))
        return x + inputs


class ConvSequence(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.res_block0, self.res_block1 = ResidualBlock(outputs), ResidualBlock(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv(x), kernel_size=3, stride=2, padding=1)
        output: Tensor = self.res_block1(self.res_block0(x))
        return output


class ImpalaAgent(nn.Module):
    """Residual stages with functional rectifiers, then modules."""

    def __init__(self) -> None:
        super().__init__()
        stages = [ConvSequence(3, 4), ConvSequence(4, 6), ConvSequence(6, 6)]
        self.network = nn.Sequential(*stages, nn.Flatten(), nn.ReLU(), nn.Linear(24, 16), nn.ReLU())
        self.actor, self.critic = nn.Linear(16, 5), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.network(x.permute(0, 3, 1, 2) / 255.0)
        return self.actor(hidden), self.critic(hidden)


class NoisyLinear(nn.Module):
    """Noise in training, the mean weights in eval mode."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight_mu = nn.Parameter(torch.randn(outputs, inputs) / inputs**0.5)
        self.weight_sigma = nn.Parameter(torch.full((outputs, inputs), 0.1))
        self.bias_mu = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        noise = self.weight_sigma * torch.randn_like(self.weight_sigma) if self.training else 0.0
        return F.linear(x, self.weight_mu + noise, self.bias_mu)


class Rainbow(nn.Module):
    """Dueling streams of noisy layers over atoms; rectifiers as functions and as modules."""

    def __init__(self, actions: int = 3, atoms: int = 11) -> None:
        super().__init__()
        self.actions, self.atoms = actions, atoms
        self.conv1, self.conv2 = nn.Conv2d(4, 6, 5, stride=3), nn.Conv2d(6, 8, 3, stride=2)
        self.value = nn.Sequential(NoisyLinear(72, 10), nn.ReLU(), NoisyLinear(10, atoms))
        self.advantage = nn.Sequential(NoisyLinear(72, 10), nn.ReLU(), NoisyLinear(10, actions * atoms))

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu_(self.conv2(F.relu(self.conv1(x / 255.0)))).flatten(1)
        advantage = self.advantage(hidden).view(-1, self.actions, self.atoms)
        logits = self.value(hidden).unsqueeze(1) + advantage - advantage.mean(1, keepdim=True)
        return torch.softmax(logits, dim=-1)


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convnet = nn.Sequential(nn.Conv2d(9, 6, 3, stride=2), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.convnet(x / 255.0 - 0.5)
        return output.flatten(1)


class DrqCritic(nn.Module):
    """Two critics of state and action over a trunk of LayerNorm and tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.trunk = nn.Sequential(nn.Linear(384, 12), nn.LayerNorm(12), nn.Tanh())
        self.Q1, self.Q2 = self._head(), self._head()

    @staticmethod
    def _head() -> nn.Sequential:
        layers = (nn.Linear(14, 10), nn.ReLU(inplace=True), nn.Linear(10, 10), nn.ReLU(inplace=True), nn.Linear(10, 1))
        return nn.Sequential(*layers)

    def forward(self, observations: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        joined = torch.cat([self.trunk(self.encoder(observations)), action], dim=-1)
        return self.Q1(joined), self.Q2(joined)


class SimBaBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = x + self.fc2(torch.relu(self.fc1(self.norm(x))))
        return output


class SimBa(nn.Module):
    """Residual blocks of LayerNorm and an inverted bottleneck."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 6)
        self.blocks = nn.ModuleList([SimBaBlock(6), SimBaBlock(6)])
        self.norm, self.head = nn.LayerNorm(6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        output: Tensor = self.head(self.norm(x))
        return output
