import json
from pathlib import Path

from tests.commands.invoke import Invoke
from tests.probe.series import write_series


def test_a_checkpoint_is_exported_beside_itself(probe: Invoke, tmp_path: Path) -> None:
    run = write_series(tmp_path / "run", steps=(0,))
    (checkpoint,) = (run / "checkpoints").iterdir()
    result = probe("export", str(checkpoint), "--to", "pt", "--json")
    written = checkpoint.with_suffix(".pt")
    assert json.loads(result.out) == {"path": str(written), "bytes": written.stat().st_size}


def test_an_unknown_format_is_named_with_the_known_ones(probe: Invoke, tmp_path: Path) -> None:
    result = probe("export", str(tmp_path / "a.h5"), "--to", "xls")
    assert result.code == 2 and "Unknown export format 'xls'" in result.error and "parquet" in result.error
