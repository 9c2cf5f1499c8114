"""What users give as arrays, as the library takes them; an error names the array."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def numbers(name: str, given: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Real numbers of any type, shape, order and byte order, finite, as rows of this type."""
    whole = _array(name, given)
    if whole.dtype.kind not in "biuf":
        raise ValueError(f"{name}: it holds {_odd(whole)}, expected real numbers")
    with np.errstate(over="ignore"):
        array = np.asarray(whole, dtype=dtype, order="C")
    if not np.isfinite(array).all():
        i = int(np.argmin(np.isfinite(array)))
        number, where = whole.flat[i], place(array, i)
        if np.isfinite(number):
            raise ValueError(f"{name}: it holds {number} at {where}, too large for {dtype}: scale it down, or use dtype='f64'")
        raise ValueError(f"{name}: it holds {number} at {where}, expected finite numbers")
    return array


def labels(name: str, given: Any) -> NDArray[Any]:
    """Whole numbers, other numbers or strings, none of them missing."""
    array = _plain(name, given, None if hasattr(given, "__array__") else object)
    if array.dtype.kind not in "biufU":
        array = _array(name, _of_one_kind(name, array).tolist())
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise _missing(name, array, int(np.argmax(np.isnan(array))))
    if array.dtype.kind in "iu" and array.size and int(array.max()) >= 2**63:
        raise ValueError(f"{name}: it holds {array.max()}, expected labels: whole numbers below 2**63, or strings")
    return array.astype(np.int64) if array.dtype.kind == "u" else array


def _of_one_kind(name: str, objects: NDArray[Any]) -> NDArray[Any]:
    """Labels that are all strings, or all numbers."""
    some: dict[bool, Any] = {}
    for i, label in enumerate(objects.flat):
        is_none = label is None or label is np.ma.masked or type(label).__name__ in ("NAType", "NaTType")
        if is_none or isinstance(label, (float, np.floating, np.datetime64)) and label != label:
            raise _missing(name, objects, i)
        if isinstance(label, (str, int, float, np.number, np.bool_)):
            some.setdefault(isinstance(label, str), label)
        elif not hasattr(label, "__array__") or isinstance(label, np.generic):
            found = f"a {type(label).__name__} at {place(objects, i)}"
            raise ValueError(f"{name}: it holds {found}, expected labels: numbers or strings")
    if len(some) > 1:
        raise ValueError(f"{name}: it holds both strings and numbers ({some[True]!r} and {some[False]!r}), expected labels of one kind")
    if any(isinstance(label, int) and not -(2**63) <= label < 2**63 for label in objects.flat):
        raise ValueError(f"{name}: it holds {max(objects.flat)}, expected labels: whole numbers below 2**63, or strings")
    return objects


def _missing(name: str, array: NDArray[Any], i: int) -> ValueError:
    return ValueError(f"{name}: a label is missing at {place(array, i)} ({array.flat[i]}), expected one for each")


def place(array: NDArray[Any], i: int) -> list[int]:
    """Where an element is, counted through all of them."""
    return [int(i) for i in np.unravel_index(i, array.shape)]


def _odd(array: NDArray[Any]) -> str:
    """What an array holds that is no number, and where."""
    if array.dtype != object:
        return str(array.dtype)
    is_number = [isinstance(x, (int, float, np.number)) for x in array.flat]
    i = is_number.index(False) if False in is_number else 0
    where, found = place(array, i), array.flat[i]
    if hasattr(found, "toarray"):
        return f"a sparse {type(found).__name__} at {where}: give its toarray()"
    said = repr(found)[:40] if isinstance(found, (int, float, str, type(None))) else f"a {type(found).__name__}"
    return f"{said} at {where}"


def sequences(name: str, given: Any, dtype: np.dtype[Any], n_x: int | None = None) -> tuple[NDArray[Any], list[int] | None]:
    """`[N, T, n_x]`, and of a list of `[T_i, n_x]` the lengths: padded with zeros then."""
    lengths: list[int] | None = None
    if is_ragged(given):
        rows = [numbers(f"{name}[{i}]", row, dtype) for i, row in enumerate(given)]
        for i, row in enumerate(rows):
            if row.ndim != 2 or 0 in row.shape or row.shape[1] != (n_x or rows[0].shape[-1]):
                expected = n_x or (rows[0].shape[-1] if rows[0].ndim == 2 else "n_x")
                raise ValueError(f"{name}[{i}]: the shape is {list(row.shape)}, expected [T, {expected}] with T at least 1")
        lengths = [len(row) for row in rows]
        array = padded(rows, max(lengths))
    else:
        array = numbers(name, given, dtype)
    if array.ndim != 3 or 0 in array.shape or (n_x or array.shape[2]) != array.shape[2]:
        expected = f"[N, T, {n_x or 'n_x'}] with each at least 1, or a list of [T, {n_x or 'n_x'}]"
        raise ValueError(f"{name}: the shape is {list(array.shape)}, expected {expected}")
    return array, lengths


def ends(array: NDArray[Any], lengths: list[int] | None) -> list[int] | None:
    """Where sequences end, if not all at the last step."""
    return None if lengths is None or all(length == array.shape[1] for length in lengths) else lengths


def is_ragged(given: Any) -> bool:
    """Whether it is a list of arrays, each a sequence, and not nested lists of numbers; or a column of arrays."""
    if hasattr(given, "__array__"):
        return getattr(given, "dtype", None) == object and given.ndim == 1 and len(given) > 0
    return isinstance(given, (list, tuple)) and len(given) > 0 and any(hasattr(row, "__array__") or _is_list(row) for row in given)


def is_row(given: Any) -> bool:
    """Whether it has elements, as an array or a list."""
    return _is_list(given) or hasattr(given, "__array__") and np.ndim(given) > 0


def _is_list(given: Any) -> bool:
    return isinstance(given, (list, tuple))


def padded(rows: Sequence[NDArray[Any]], steps: int) -> NDArray[Any]:
    """Sequences under each other, with zeros behind their ends."""
    array = np.zeros((len(rows), steps, *rows[0].shape[1:]), dtype=rows[0].dtype)
    for to, row in zip(array, rows):
        to[: len(row)] = row
    return array


def integers(name: str, given: Any, limit: int, axes: int) -> NDArray[np.uint32]:
    """Ids from 0 to below the limit."""
    array = _array(name, given)
    if array.dtype.kind not in "iu" and array.size:
        raise ValueError(f"{name}: it holds {array.dtype}, expected integer ids (of a text, those of encode)")
    if array.ndim != axes or 0 in array.shape:
        raise ValueError(f"{name}: the shape is {list(array.shape)}, expected {axes} axes and no empty one")
    if array.min() < 0 or array.max() >= limit:
        raise ValueError(f"{name}: it holds ids from {array.min()} to {array.max()}, expected 0 to {limit - 1}")
    return np.ascontiguousarray(array, dtype=np.uint32)


def ids(name: str, given: Any, limit: int) -> tuple[NDArray[np.uint32], list[int] | None]:
    """Ids `[N, T]`, and of a list of `[T_i]` the lengths: padded with zeros then."""
    if is_ragged(given) and len({np.shape(row) for row in given}) > 1:
        rows = [integers(f"{name}[{i}]", row, limit, 1) for i, row in enumerate(given)]
        lengths = [len(row) for row in rows]
        return padded(rows, max(lengths)), lengths
    return integers(name, given, limit, 2), None


def _array(name: str, given: Any) -> NDArray[Any]:
    array = _plain(name, given)
    # Numbers in an array of objects are numbers; anything else is refused by its caller.
    return _plain(name, array.tolist()) if array.dtype == object else array


def _plain(name: str, given: Any, dtype: Any = None) -> NDArray[Any]:
    """What NumPy makes of it."""
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise ValueError(f"{name}: elements of it are masked, expected numbers throughout (sequences may be of different lengths)")
    if hasattr(given, "toarray"):
        raise ValueError(f"{name}: it is a sparse {type(given).__name__}, expected a dense array: give its toarray()")
    try:
        array = np.asarray(given, dtype=dtype)
        if array.dtype == object and array.ndim == 0:
            raise TypeError(f"got {type(given).__name__}")
        return array
    except Exception as error:
        raise ValueError(f"{name}: it is no array of numbers ({error})") from error


def count(name: str, given: Any, least: int, most: int = 2**53) -> int:
    """A whole number from `least` to `most`."""
    if not isinstance(given, (int, np.integer)) or isinstance(given, bool) or not least <= given <= most:
        too_large = isinstance(given, (int, np.integer)) and given > most
        raise ValueError(f"{name}: {given!r} is not a whole number from {least} " + (f"to {most}" if too_large else "up"))
    return int(given)


def number(name: str, given: Any, *, below: float = np.inf, positive: bool = False) -> float:
    """A number from 0 to less than `below`; `positive`: and above 0."""
    try:
        is_number = isinstance(given, (int, float, np.integer, np.floating)) and not isinstance(given, bool)
        number = float(given) if is_number else np.nan
    except OverflowError:
        number = np.inf
    if not 0 <= number < below or positive and number <= 0:
        low = "above 0" if positive else "from 0 up"
        raise ValueError(f"{name}: {given!r} is not a finite number {low}" + ("" if below == np.inf else f" and below {below}"))
    return number


def path(name: str, given: Any) -> str:
    """The path of a file."""
    if not isinstance(given, (str, bytes, os.PathLike)):
        raise TypeError(f"{name}: expected the path of a file, got {type(given).__name__}")
    found = os.fsdecode(given)
    if not found:
        raise ValueError(f"{name}: it is empty, expected the path of a file")
    return found


def flag(name: str, given: Any) -> bool:
    """True or False."""
    if not isinstance(given, (bool, np.bool_)):
        raise ValueError(f"{name}: {given!r} is not True or False")
    return bool(given)


def one_of(name: str, given: Any, known: Sequence[str]) -> str:
    """One of some names."""
    if not isinstance(given, str) or given not in known:
        raise ValueError(f"{name}: {given!r} is not one of {', '.join(map(repr, known))}")
    return given
