"""TorchScript and torch.export archives, whose own loaders can run code: only on the user's word."""

import re
import warnings
from pathlib import Path

import torch

from probe.checkpoints.content import Content
from probe.errors import FileError


def read_program(path: Path, kind: str, trust: bool) -> Content:
    """Loads an archive; of TorchScript the tensors, of torch.export the network too.

    Args:
        path: The archive.
        kind: `torchscript` or `torch-export`.
        trust: The user's explicit word.

    Raises:
        FileError: it was not given, or the archive is damaged.
    """
    if not trust:
        what = "a TorchScript" if kind == "torchscript" else "a torch.export"
        raise FileError(
            f"{path}: {what} archive, and loading one can run code that stands in it. Save a state_dict, or give "
            "--trust-pickle if you trust the file."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind == "torchscript":
                # Hooks cannot be placed in compiled code, but the tensors are all there.
                return Content(format=kind, tensors=dict(torch.jit.load(str(path), map_location="cpu").state_dict()))  # type: ignore[no-untyped-call]
            program = torch.export.load(str(path))
            return Content(format=kind, tensors=dict(program.state_dict), program=torch.export.unflatten(program))
    except Exception as error:  # the archive is anyone's, and so is what goes wrong
        words = re.split(r"[\n.]", str(error).strip())[0][:160]
        raise FileError(f"{path}: cannot be loaded ({type(error).__name__}: {words}). Export it again.") from error
