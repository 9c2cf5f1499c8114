"""The runs of the program `bptt`, to its bits: `train` and `resume`."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bptt._program import PathLike, command, flags_of_train, path_of, words_of
from bptt.models import Model

__all__ = ["Run", "resume", "train"]


class Run:
    """A run that has ended: its folder, what it came to, and the model it left.

    `result` is what `bptt train` says at its end (`stop_reason`, `steps`, `train_loss`, `valid_loss`, ...), `history` has its reports.
    """

    def __init__(self, result: dict[str, Any]) -> None:
        self.result = result
        # Wherever its user goes from here.
        self.folder = Path(os.path.abspath(result["model"])).parent

    @property
    def history(self) -> list[dict[str, Any]]:
        """A report each: `step`, `epoch`, `tokens`, `train_loss`, `valid_loss`, `lr`, `grad_norm`, ..."""
        with open(self.folder / "history.jsonl", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    @property
    def model(self) -> Model:
        """The best by validation, else the last."""
        return Model.load(self.folder)

    def __repr__(self) -> str:
        result = self.result
        return f"<bptt.Run in {self.folder}: {result['steps']} steps, {result['stop_reason']}, validation loss {result['valid_loss']}>"


def train(*data: PathLike, out: PathLike | None = None, **flags: Any) -> Run:
    """Trains a network on texts or one `.npz`, as `bptt train` does; without data on the Reber grammar.

    Without `out`, the run goes to a new folder in `runs`, named after the data. Flags are those of the program with `_` in place of `-`:
    `hidden=128, cell="lstm", clip_norm=0.5, bidirectional=True`; `from_` stands for `--from`. Mind that the program's default is a tanh
    network.
    `quiet=True` shows nothing. Ctrl-C ends the run as it ends the program: the checkpoint is written, then `KeyboardInterrupt`
    raised; `resume` goes on from there.

    >>> import tempfile
    >>> run = train(out=tempfile.mkdtemp(), cell="gru", hidden=8, steps=5, threads=1, quiet=True)
    >>> run.result["steps"], run.model.tokens
    (5, 'char')
    """
    if "resume" in flags:
        raise TypeError("resume: a run is gone on with by bptt.resume(folder)")
    return _train(data, dict(out=out, **flags))


def resume(folder: PathLike, *data: PathLike, **flags: Any) -> Run:
    """Goes on with the run in a folder; `steps` and `epochs` may be raised, and `lr`, `schedule` and others be other ones. `data`, where
    the files that it was trained on are not where they were, seen from here.

    >>> import tempfile
    >>> run = train(out=tempfile.mkdtemp(), hidden=8, steps=5, threads=1, quiet=True)
    >>> resume(run.folder, steps=9, quiet=True).result["steps"]
    9
    """
    if "out" in flags:
        raise TypeError("out: a run stays in its folder: leave it out")
    return _train(data, dict(resume=path_of("folder", folder), **flags))


def _train(data: Sequence[PathLike], flags: Mapping[str, Any]) -> Run:
    paths = [path_of("data", path) for path in data]
    for name in flags.keys() - _TRAIN.keys() - {"resume"}:
        near = difflib.get_close_matches(name, _TRAIN, 1)
        tip = f": did you mean {near[0]!r}?" if near else ""
        if name == "data":
            tip = ": give the paths of the data before the flags, as train('book.txt', ...)"
        raise TypeError(f"train and resume have no flag {name!r}{tip}")
    for name, value in flags.items():
        if value is not None and name != "resume":
            _check_kind(name, value, _TRAIN[name].value)
    return Run(command("train", [*words_of(flags), "--", *paths]))


def _check_kind(name: str, value: Any, expected: str) -> None:
    """Refuses what the command line would take for something else; `expected` is what the value of a flag is called there."""
    is_bool = isinstance(value, (bool, np.bool_))
    if expected == "":
        if not is_bool:
            raise ValueError(f"{name}: {value!r} is not True or False")
    elif name in ("out", "from_", "valid"):
        for path in value if name == "valid" and isinstance(value, (list, tuple)) else [value]:
            path_of(name, path)
    elif is_bool or not isinstance(value, (str, int, float, np.number, os.PathLike)):
        raise ValueError(f"{name}: {value!r} is no value for it, expected {expected}")


_TRAIN = flags_of_train()
_SHOWN = {name: flag for name, flag in _TRAIN.items() if name not in ("out", "resume")}
_AGAIN = {name: re.sub(r" \[default: .*\]$", "", flag.help, flags=re.DOTALL) for name, flag in _SHOWN.items() if flag.is_open}
for function, title, helps in (
    (train, "Flags", {name: flag.help for name, flag in _SHOWN.items()}),
    (resume, "Flags, of which those that are left out are as the run has them", _AGAIN),
):
    lines = "\n".join(f"        {name}: {help}" for name, help in helps.items())
    function.__doc__ = f"{function.__doc__}\n    {title}:\n\n{lines}\n    "
