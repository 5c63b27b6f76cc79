"""Which checkpoint of which run a file of another library is, and the digest that tells it from others."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from probe.checkpoints.factory import source_digest
from probe.checkpoints.hints import Hints
from probe.checkpoints.hub import weight_files
from probe.checkpoints.normalisation import Normalisation

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Identity:
    """Which checkpoint of which run a file is."""

    run: str
    method: str
    seed: int
    step: int

    def digest(self, path: Path, hints: Hints, normalisation: Normalisation | None) -> str:
        """Returns the SHA-256 over the file, its place in its series, and what the user said the network is."""
        sha = hashlib.sha256()
        for part in weight_files(path) if path.is_dir() else (path,):
            with part.open("rb") as file:
                while block := file.read(_BLOCK):
                    sha.update(block)
        said: list[Any] = [
            hints.model,
            repr(sorted(hints.model_args.items())),
            hints.layout,
            source_digest(hints.model) if hints.model else "",
            None if normalisation is None else normalisation.identity,
        ]
        sha.update(json.dumps([*asdict(self).values(), *said]).encode())
        return sha.hexdigest()
