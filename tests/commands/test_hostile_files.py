"""Checkpoints that were made to do harm are refused with exit code 2, and nothing of them runs or stays behind."""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.commands.invoke import Invoke
from tests.probe.series import write_observations


class Payload:
    """Leaves evidence when it is unpickled."""

    def __init__(self, evidence: str) -> None:
        self.evidence = evidence

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(self.evidence),)


EVIDENCE = "it-ran"


def state_dict() -> dict[str, Tensor]:
    return {"fc1.weight": torch.zeros(8, 4), "fc2.weight": torch.zeros(2, 8)}


def pickled_code(path: Path) -> None:
    torch.save({**state_dict(), "extra": Payload(EVIDENCE)}, path)


def bare_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Payload(EVIDENCE)))


def old_format(path: Path) -> None:
    torch.save({**state_dict(), "extra": Payload(EVIDENCE)}, path, _use_new_zipfile_serialization=False)


def whole_module(path: Path) -> None:
    torch.save(nn.Linear(4, 2), path)


def members(path: Path, changed: Callable[[zipfile.ZipFile], object], compression: int = zipfile.ZIP_STORED) -> None:
    """Writes a state_dict and lets more be written to its zip file."""
    buffer = io.BytesIO()
    torch.save(state_dict(), buffer)
    with zipfile.ZipFile(buffer) as read, zipfile.ZipFile(path, "w", compression) as write:
        for name in read.namelist():
            write.writestr(name, read.read(name))
        changed(write)


def path_traversal(path: Path) -> None:
    members(path, lambda archive: archive.writestr("../../escaped.txt", "out"))


def absolute_path(path: Path) -> None:
    members(path, lambda archive: archive.writestr("/tmp/escaped.txt", "out"))


def decompression_bomb(path: Path) -> None:
    members(path, lambda archive: archive.writestr("archive/data/9", bytes(64 << 20)), zipfile.ZIP_DEFLATED)


def two_of_one_name(path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        members(path, lambda archive: archive.writestr(archive.namelist()[0], "other"))


def huge_tensor(path: Path) -> None:
    torch.save({"fc1.weight": torch.zeros(1).expand(1 << 20, 1 << 20)}, path)


def huge_in_old_format(path: Path) -> None:
    torch.save({"fc1.weight": torch.zeros(1).expand(1 << 20, 1 << 20)}, path, _use_new_zipfile_serialization=False)


def shared_lists(path: Path) -> None:
    """A few bytes that are 2^60 entries to whoever walks through them."""
    nested: Any = {"a": 1.0}
    for _ in range(60):
        nested = {"a": nested, "b": nested}
    torch.save(nested, path)


def truncated(path: Path) -> None:
    torch.save(state_dict(), path)
    path.write_bytes(path.read_bytes()[:-200])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut_in_a_member(path: Path) -> None:
    torch.save(state_dict(), path)
    content = bytearray(path.read_bytes())
    place = content.index(b"ccollections" if b"ccollections" in content else b"fc1")
    content[place : place + 3] = b"\xff\xff\xff"
    path.write_bytes(content)


def scripted(path: Path) -> None:
    torch.jit.script(nn.Linear(4, 2)).save(str(path))


def exported(path: Path) -> None:
    # The member by which PyTorch tells these archives; tests/probe/checkpoints/test_programs.py has whole ones.
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/archive_format", "pt2")


def oversized_header(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 1 << 62) + b"{}")


def header_beyond_the_end(path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 30], "data_offsets": [0, 1 << 32]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def negative_shape(path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [-1, 4], "data_offsets": [0, 16]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))


def sb3_with_code(path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({**state_dict(), "extra": Payload(EVIDENCE)}, buffer)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", "{}")
        archive.writestr("policy.pth", buffer.getvalue())


def sb3_without_fields(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", "[" * 100_000)
        archive.writestr("policy.pth", b"")


def any_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no checkpoint")


def pipe(path: Path) -> None:
    os.mkfifo(path)  # reading it waits for ever


HOSTILE: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "pickled code": (pickled_code, "a.pt", "building them can run code"),
    "a pickle of nothing but code": (bare_pickle, "a.pth", "run code"),
    "pickled code in PyTorch's old format": (old_format, "a.bin", "run code"),
    "a whole module": (whole_module, "a.pt", "torch.nn.modules.linear.Linear"),
    "path traversal": (path_traversal, "a.pt", "'../../escaped.txt' leads out of the file"),
    "an absolute path": (absolute_path, "a.ckpt", "'/tmp/escaped.txt' leads out of the file"),
    "a decompression bomb": (decompression_bomb, "a.pt", "a decompression bomb"),
    "two members of one name": (two_of_one_name, "a.pt", "two members of one name"),
    "a tensor without bytes": (huge_tensor, "a.pt", "a bomb"),
    "a tensor without bytes, old format": (huge_in_old_format, "a.pt", "a bomb"),
    "lists of lists": (shared_lists, "a.pt", "holds no state_dict"),
    "a truncated file": (truncated, "a.pt", "not a whole zip file"),
    "an empty file": (empty, "a.pt", "not a whole file of `torch.save`"),
    "a damaged member": (cut_in_a_member, "a.pt", "a.pt"),
    "TorchScript": (scripted, "a.pt", "a TorchScript archive, and loading one can run code"),
    "torch.export": (exported, "a.pt2", "a torch.export archive, and loading one can run code"),
    "an oversized header": (oversized_header, "a.safetensors", "not a whole safetensors file"),
    "a header beyond the end": (header_beyond_the_end, "a.safetensors", "not a whole safetensors file"),
    "a negative shape": (negative_shape, "a.safetensors", "not a whole safetensors file"),
    "code in the tensors of a policy": (sb3_with_code, "a.zip", "run code"),
    "fields without end": (sb3_without_fields, "a.zip", "its fields are damaged"),
    "a pipe": (pipe, "a.pt", "a pipe, socket or device"),
    "a zip of something else": (any_zip, "a.zip", "no checkpoint of a known format"),
}
"""What makes the file, its name, and words of the message."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_observations(tmp_path_factory.mktemp("data") / "o.h5", samples=20)


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused(
    probe: Invoke, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    make, name, words = HOSTILE[case]
    monkeypatch.chdir(tmp_path)
    make(tmp_path / name)
    before = sorted(tmp_path.rglob("*"))
    for arguments in (("inspect", name), ("analyze", name, "--data", data, "--out", "out.h5")):
        outcome = probe(*arguments)
        assert outcome.code == 2, outcome.error
        assert words in outcome.error and name in outcome.error and "Traceback" not in outcome.error
        assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["o.npy", "o.h5"])
def test_a_pipe_is_no_observation_set(probe: Invoke, tmp_path: Path, name: str) -> None:
    pipe(tmp_path / name)
    torch.save(state_dict(), tmp_path / "a.pt")
    outcome = probe("analyze", tmp_path / "a.pt", "--data", tmp_path / name, "--out", tmp_path / "out.h5")
    assert (outcome.code, "an observation set is a file, this is none" in outcome.error) == (2, True)


def test_a_pipe_among_checkpoints_is_named(probe: Invoke, data: Path, tmp_path: Path) -> None:
    torch.save(state_dict(), tmp_path / "step_1.pt")
    pipe(tmp_path / "step_2.pt")
    outcome = probe("analyze", tmp_path, "--data", data, "--out", tmp_path / "out.h5")
    assert (outcome.code, "step_2.pt: a pipe, socket or device" in outcome.error) == (2, True)


def test_trust_is_the_users_explicit_word(probe: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickled_code(tmp_path / "a.pt")
    assert probe("inspect", "a.pt", "--trust-pickle").code == 0
    assert (tmp_path / EVIDENCE).exists()
