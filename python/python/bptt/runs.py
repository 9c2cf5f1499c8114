"""The runs of the program `bptt`, to its bits: `train` and `resume`."""

from __future__ import annotations

import difflib
import json
import keyword
import os
import re
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

    Flags are those of the program with `_` in place of `-`: `hidden=128, cell="lstm", clip_norm=0.5, bidirectional=True`; `from_`
    stands for `--from`.
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
        if isinstance(path, str) and "\n" in path:
            raise ValueError(f"data: expected paths of texts, got a text ({path[:20]!r}...): write it to a file")
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
    for name in flags.keys() - _TRAIN.keys():
        near = difflib.get_close_matches(name, _TRAIN, 1)
        tip = f": did you mean {near[0]!r}?" if near else ""
        raise TypeError(f"train and resume have no flag {name!r}{tip}")
    if not isinstance(flags.get("out"), (type(None), str, os.PathLike)):
        raise TypeError(f"out: expected the path of a folder, got {flags['out']!r}")
    return Run(command("train", [*words_of(flags), "--", *data]))




def words_of(flags: Mapping[str, Any]) -> list[str]:
    """Flags as the command line has them: `None` and `False` leave one out, a list repeats it."""
    words = []
    for name, value in flags.items():
        flag = "--" + name.rstrip("_").replace("_", "-")
        for value in value if isinstance(value, (list, tuple)) else [value]:
            if value is True:
                words.append(flag)
            elif value is not None and value is not False:
                words.append(f"{flag}={os.fspath(value) if isinstance(value, os.PathLike) else value}")
    return words


def _as_keywords(text: str, name: str) -> str:
    """Words of the program with its flags as Python spells them."""
    for flag, *_ in _bptt.flags(name):
        text = re.sub(rf"--{flag}(?![a-z-])( <[^>]*>)?", _keyword(flag), text)
    return text


def _keyword(flag: str) -> str:
    name = flag.replace("-", "_")
    return name + "_" if keyword.iskeyword(name) else name


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
        raise ValueError(_as_keywords(text, name)) from None
    lines = b"".join(results).splitlines()
    return json.loads(lines[-1]) if lines else {}


# The flags of `bptt train` as Python spells them, and what they are for.
_TRAIN = {
    _keyword(flag): _as_keywords(f"{values}: {what}" if "|" in values else what, "train")
    for flag, values, what in _bptt.flags("train")
    if flag not in ("help", "log", "version")
}
for function in (train, resume):
    lines = "\n".join(f"        {name}: {what}" for name, what in _TRAIN.items() if name not in ("out", "resume"))
    function.__doc__ = f"{function.__doc__}\n    Flags:\n\n{lines}\n    "
