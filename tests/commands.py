"""Commands run in this process, as a shell would run them."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from recsvc.cli import main as cli
from tests.prepared import QUICK


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Commands:
    """Runs commands in this process on one database."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        for name, value in QUICK.items():
            self.set(f"RECSVC_{name.upper()}", str(value))

    def set(self, name: str, value: str) -> None:
        self._monkeypatch.setenv(name, value)

    def __call__(self, *arguments: object) -> Outcome:
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main([str(argument) for argument in arguments])
        out, err = self._capsys.readouterr()
        code = caught.value.code
        return Outcome(code if isinstance(code, int) else 0, out, err)
