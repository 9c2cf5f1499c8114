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


@pytest.mark.parametrize("path,count", [("README.md", 1), ("python/README.md", 4)])
def test_examples(path: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    examples = [code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "class " not in code]
    assert len(examples) == count
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text("It was a dark and stormy night, and it was long. " * 100)
    rng = np.random.default_rng(0)
    names: dict[str, Any] = dict(bptt=bptt, X=rng.normal(size=(20, 5, 3)), y=np.arange(20) % 2, X_new=rng.normal(size=(4, 6, 3)))
    if importlib.util.find_spec("torch") is not None:
        nn = importlib.import_module("torch.nn")
        names["model"] = nn.Sequential(nn.LSTM(3, 4))
    if importlib.util.find_spec("matplotlib") is None:
        monkeypatch.setitem(sys.modules, "matplotlib", MagicMock())
        monkeypatch.setitem(sys.modules, "matplotlib.pyplot", MagicMock())
    else:
        monkeypatch.setenv("MPLBACKEND", "agg")
    train, resume = bptt.train, bptt.resume
    monkeypatch.setattr(bptt, "train", lambda *data, **flags: train(*data, **{**flags, "steps": 5, "hidden": 8, "quiet": True}))
    monkeypatch.setattr(bptt, "resume", lambda folder, **flags: resume(folder, **{**flags, "steps": 8, "quiet": True}))
    for example in examples:
        if importlib.util.find_spec("torch") is None:
            example = "".join(line for line in example.splitlines(True) if "torch" not in line)
        if "onnxruntime" not in example or importlib.util.find_spec("onnxruntime") is not None:
            exec(compile(example, path, "exec"), names)
    assert names["classifier"].history_["epoch"]
    assert names["run"].result["steps"] == (8 if path.startswith("python") else 5)
    if "answers" in names:
        expected = names["classifier"].predict_proba(names["X"][250:251])
        assert np.abs(names["answers"] - expected).max() < 1e-5
