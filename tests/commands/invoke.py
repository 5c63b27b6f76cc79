"""Running the `probe` command as a user does, in this process."""

import sys
from dataclasses import dataclass

import pytest

from probe.commands.app import main


@dataclass(frozen=True)
class Outcome:
    """Exit code and what was printed."""

    code: int
    out: str
    error: str


class Invoke:
    """Calls `probe` with arguments and returns the outcome."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: object) -> Outcome:
        self._monkeypatch.setattr(sys, "argv", ["probe", *map(str, arguments)])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = self._capsys.readouterr()
        code = ended.value.code
        return Outcome(0 if code is None else int(code), printed.out, printed.err)
