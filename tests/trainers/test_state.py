from pathlib import Path
from typing import Any

import pytest
import torch

from probe.errors import FileError
from probe.trainers.state import load_state, save_state


def test_everything_comes_back_as_it_was(tmp_path: Path) -> None:
    state: dict[str, Any] = {
        "tensor": torch.randn(2, 3).to(memory_format=torch.contiguous_format),
        "scalar": torch.tensor(3.0),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "bytes": b"\x00\xffabc",
        "nested": {"list": [1, 2.5, None, True, "x", torch.arange(3)], "empty": {}, "0": {"step": torch.tensor(1)}},
    }
    save_state(tmp_path / "s.safetensors", state)
    back = load_state(tmp_path / "s.safetensors")
    for name in ("tensor", "scalar", "half"):
        assert torch.equal(back[name], state[name]) and back[name].dtype == state[name].dtype
    assert back["bytes"] == state["bytes"]
    assert back["nested"]["list"][:5] == [1, 2.5, None, True, "x"]
    assert torch.equal(back["nested"]["list"][5], torch.arange(3)) and back["nested"]["empty"] == {}


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_truncated_state_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "s.safetensors"
    save_state(path, {"a": torch.zeros(100)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FileError, match="not a whole state"):
        load_state(path)


def test_another_safetensors_file_is_no_state(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(FileError, match="a state of format 1 is expected"):
        load_state(tmp_path / "other.safetensors")


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot be written"):
        save_state(tmp_path / "file" / "s.safetensors", {})
