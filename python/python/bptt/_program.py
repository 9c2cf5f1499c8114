"""Commands of the program `bptt`, their flags and paths as Python has them."""

from __future__ import annotations

import json
import keyword
import os
import re
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple, Union

import numpy as np

from bptt import _arrays, _bptt

PathLike = Union[str, "os.PathLike[str]"]


def path_of(name: str, given: Any) -> str:
    if not isinstance(given, (str, os.PathLike)):
        tip = "" if name != "data" else ": give each as an argument" if isinstance(given, (list, tuple)) else ": arrays are for RNNClassifier"
        raise TypeError(f"{name}: expected paths, got {type(given).__name__}{tip}")
    if isinstance(given, str) and "\n" in given:
        raise ValueError(f"{name}: expected paths, got a text ({given[:20]!r}...): write it to a file")
    return _arrays.path(name, given)


def words_of(flags: Mapping[str, Any]) -> list[str]:
    """Flags as the command line has them: `None` and `False` leave one out, a list repeats it."""
    words = []
    for name, value in flags.items():
        flag = "--" + name.rstrip("_").replace("_", "-")
        for value in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(value, (bool, np.bool_)):
                words.extend([flag] if value else [])
            elif value is not None:
                words.append(f"{flag}={os.fspath(value) if isinstance(value, os.PathLike) else value}")
    return words


def _as_keywords(text: str, name: str) -> str:
    """Words of the program with its flags as Python spells them."""
    for flag, *_ in _bptt.flags(name):
        text = re.sub(rf"--{flag}(?![a-z-])( <[^>]*>)?", _keyword(flag), text)
    # The program goes on with a run by a flag, Python by a function.
    return re.sub(r"\bgo on with it by resume\b", "go on with it by bptt.resume:", text).replace("give DATA,", "give the data,")


def _keyword(flag: str) -> str:
    name = flag.replace("-", "_")
    return name + "_" if keyword.iskeyword(name) else name


def command(name: str, words: list[str]) -> dict[str, Any]:
    """Runs a command of the program; returns the last of its results. Remarks go to `sys.stderr`, wherever that leads."""
    results: list[bytes] = []
    # What the user wrote stays as it is, if it looks like a flag too.
    own = [value for word in words for value in [word.partition("=")[2] if word.startswith("--") else word] if "--" in value]

    def in_python(text: str) -> str:
        for i, value in enumerate(own):
            text = text.replace(value, f"\0{i}\0")
        text = _as_keywords(text, name)
        for i, value in enumerate(own):
            text = text.replace(f"\0{i}\0", value)
        return text

    def show(is_result: bool, text: bytes) -> None:
        if is_result:
            results.append(text)
        elif sys.stderr is not None:
            sys.stderr.write(in_python(text.decode(errors="replace")))
            sys.stderr.flush()

    try:
        _bptt.run([name, "--log", "json", *words], show)
    except (ValueError, OSError, RuntimeError) as error:
        # The last lines of what is wrong with flags are for the command line.
        text = str(error)
        for end in ("\n\nUsage:", "\n\nFor more information"):
            text = text.split(end)[0]
        raise type(error)(in_python(text)) from None
    lines = b"".join(results).splitlines()
    return json.loads(lines[-1]) if lines else {}


class Flag(NamedTuple):
    """A flag of `bptt train` as Python spells it."""

    value: str
    help: str
    # Whether `resume` may be given another value than the run had.
    is_open: bool


def flags_of_train() -> dict[str, Flag]:
    found = {}
    for flag, value, what, is_open in _bptt.flags("train"):
        if flag not in ("help", "log", "version"):
            names = f"{value}: " if "|" in value else ""
            found[_keyword(flag)] = Flag(value, _as_keywords(names + what, "train"), is_open or flag == "quiet")
    return found
