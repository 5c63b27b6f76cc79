import pytest

from tests.commands.invoke import Invoke


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Invoke:
    return Invoke(monkeypatch, capsys)
