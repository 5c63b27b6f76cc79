"""The tables of the reproductions come out of the committed logs."""

from pathlib import Path

import pytest

from docs.reproduction import table

README = Path(table.__file__).with_name("README.md")


def test_every_line_of_the_table_is_what_the_committed_runs_give(capsys: pytest.CaptureFixture[str]) -> None:
    table.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert len(lines) == 2 + 7 + 6
    assert not set(lines) - set(README.read_text().splitlines())
