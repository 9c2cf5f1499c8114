"""The examples of both READMEs, run whole; what they only name (a text, a model, data) is small here."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

import bptt

ROOT = Path(__file__).parents[2]
EXAMPLES = [
    (path, example)
    for path in ("README.md", "python/README.md")
    for example in re.findall(r"```python\n(.*?)```", (ROOT / path).read_text(encoding="utf-8"), re.DOTALL)
    if "bptt." in example
]


def test_there_are_examples() -> None:
    assert [path for path, _ in EXAMPLES] == ["README.md"] + 3 * ["python/README.md"]


@pytest.mark.parametrize("path,example", EXAMPLES)
def test_example(path: str, example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text("It was a dark and stormy night, and it was long. " * 100)
    rng = np.random.default_rng(0)
    names: dict[str, Any] = dict(bptt=bptt, X=rng.normal(size=(20, 5, 3)), y=np.arange(20) % 2, X_new=rng.normal(size=(4, 6, 3)))
    if "torch" in example:
        torch = pytest.importorskip("torch")
        importlib.import_module("bptt.torch")
        names["model"] = torch.nn.Sequential(torch.nn.LSTM(3, 4))
    if importlib.util.find_spec("matplotlib") is None:
        monkeypatch.setitem(sys.modules, "matplotlib", MagicMock())
        monkeypatch.setitem(sys.modules, "matplotlib.pyplot", MagicMock())
    else:
        monkeypatch.setenv("MPLBACKEND", "agg")
    train, resume = bptt.train, bptt.resume
    monkeypatch.setattr(bptt, "train", lambda *data, **flags: train(*data, **{**flags, "steps": 5, "hidden": 8, "quiet": True}))
    monkeypatch.setattr(bptt, "resume", lambda folder, **flags: resume(folder, **{**flags, "steps": 8, "quiet": True}))
    exec(compile(example, path, "exec"), names)
    if "run" in names:
        assert names["run"].result["steps"] == 5
    if "classifier" in names:
        assert names["classifier"].history_["epoch"]
