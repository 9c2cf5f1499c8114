"""The runs of the program `bptt`, to its bits: `train` and `resume`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from bptt import _bptt

if TYPE_CHECKING:
    from bptt.models import Model

__all__ = ["Run", "resume", "train"]

PathLike = Union[str, "os.PathLike[str]"]


class Run:
    """A run that has ended: its folder, what it came to, and the model it left.

    `result` is what `bptt train` says at its end (`stop_reason`, `steps`, `train_loss`, `valid_loss`, ...), `history` has its reports.
    """

    def __init__(self, result: dict[str, Any]) -> None:
        self.result = result
        self.folder = Path(result["model"]).parent

    @property
    def history(self) -> list[dict[str, Any]]:
        """A report each: `step`, `epoch`, `tokens`, `train_loss`, `valid_loss`, `lr`, `grad_norm`, ..."""
        with open(self.folder / "history.jsonl", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    @property
    def model(self) -> Model:
        """The best by validation, else the last."""
        from bptt.models import Model

        return Model.load(self.folder)

    def __repr__(self) -> str:
        result = self.result
        return f"<bptt.Run in {self.folder}: {result['steps']} steps, {result['stop_reason']}, validation loss {result['valid_loss']}>"


def train(*data: PathLike, out: PathLike | None = None, **flags: Any) -> Run:
    """Trains a network on texts or one `.npz`, as `bptt train` does; without data on the Reber grammar.

    Flags are those of the program with `_` in place of `-`: `hidden=128, cell="lstm", clip_norm=0.5, bidirectional=True`.
    `quiet=True` shows nothing. Ctrl-C ends the run as it ends the program: the checkpoint is written, then `KeyboardInterrupt`
    raised; `resume` goes on from there.

    >>> import tempfile
    >>> run = train(out=tempfile.mkdtemp(), cell="gru", hidden=8, steps=5, threads=1, quiet=True)
    >>> run.result["steps"], run.model.tokens
    (5, 'char')
    """
    for path in data:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(
                f"data: expected paths of texts or of one .npz, got {type(path).__name__}: arrays are for RNNClassifier and its like"
            )
    return _train([os.fspath(path) for path in data], dict(out=out, **flags))


def resume(folder: PathLike, **flags: Any) -> Run:
    """Goes on with the run in a folder; `steps` and `epochs` may be raised, and `lr`, `schedule` and others be other ones.

    >>> import tempfile
    >>> run = train(out=tempfile.mkdtemp(), hidden=8, steps=5, threads=1, quiet=True)
    >>> resume(run.folder, steps=9, quiet=True).result["steps"]
    9
    """
    return _train([], dict(resume=os.fspath(folder), **flags))


def _train(data: list[str], flags: Mapping[str, Any]) -> Run:
    return Run(command("train", [*words_of(flags), "--", *data]))


def words_of(flags: Mapping[str, Any]) -> list[str]:
    """Flags as the command line has them: `None` and `False` leave one out, a list repeats it."""
    words = []
    for name, value in flags.items():
        flag = "--" + name.replace("_", "-")
        for value in value if isinstance(value, (list, tuple)) else [value]:
            if value is True:
                words.append(flag)
            elif value is not None and value is not False:
                words.append(f"{flag}={os.fspath(value) if isinstance(value, os.PathLike) else value}")
    return words


def command(name: str, words: list[str]) -> dict[str, Any]:
    """Runs a command of the program; returns the last of its results. Remarks go to `sys.stderr`, wherever that leads."""
    results: list[bytes] = []

    def show(is_result: bool, text: bytes) -> None:
        if is_result:
            results.append(text)
        elif sys.stderr is not None:
            sys.stderr.write(text.decode(errors="replace"))
            sys.stderr.flush()

    try:
        _bptt.run([name, "--log", "json", *words], show)
    except ValueError as error:
        # The last lines of what is wrong with flags are for the command line.
        text = str(error)
        for end in ("\n\nUsage:", "\n\nFor more information"):
            text = text.split(end)[0]
        raise ValueError(text) from None
    lines = b"".join(results).splitlines()
    return json.loads(lines[-1]) if lines else {}
