"""What users give as arrays, as the library takes them; an error names the array."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def numbers(name: str, given: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Real numbers of any type, shape, order and byte order, finite, as rows of this type."""
    array = _array(name, given)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name}: it holds {array.dtype}, expected real numbers")
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, dtype=dtype)
    if not np.isfinite(array).all():
        place = np.unravel_index(int(np.argmin(np.isfinite(array))), array.shape)
        where = [int(i) for i in place]
        raise ValueError(f"{name}: it holds {array[place]} at {where}, expected finite numbers")
    return array


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
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name}: it holds {array.dtype}, expected integer ids")
    if array.ndim != axes or 0 in array.shape:
        raise ValueError(f"{name}: the shape is {list(array.shape)}, expected {axes} axes and no empty one")
    if array.min() < 0 or array.max() >= limit:
        raise ValueError(f"{name}: it holds ids from {array.min()} to {array.max()}, expected 0 to {limit - 1}")
    return np.ascontiguousarray(array, dtype=np.uint32)


def _array(name: str, given: Any) -> NDArray[Any]:
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise ValueError(f"{name}: elements of it are masked, expected numbers throughout (sequences may be of different lengths)")
    try:
        array = np.asarray(given)
        if array.dtype == object and array.ndim == 0:
            raise TypeError(f"got {type(given).__name__}")
        # Numbers in an array of objects are numbers; anything else is refused below.
        return np.asarray(array.tolist()) if array.dtype == object else array
    except Exception as error:
        raise ValueError(f"{name}: it is no array of numbers ({error})") from error


def count(name: str, given: Any, least: int) -> int:
    """A whole number from `least` up."""
    try:
        number = operator.index(given)
    except TypeError:
        number = least - 1
    if isinstance(given, bool) or not least <= number < 2**53:
        raise ValueError(f"{name}: {given!r} is not a whole number from {least} up")
    return number


def number(name: str, given: Any, *, below: float = np.inf, positive: bool = False) -> float:
    """A number from 0 to less than `below`; `positive`: and above 0."""
    is_number = isinstance(given, (int, float, np.integer, np.floating)) and not isinstance(given, bool)
    if not is_number or not 0 <= given < below or positive and given <= 0:
        low = "above 0" if positive else "from 0 up"
        raise ValueError(f"{name}: {given!r} is not a finite number {low}" + ("" if below == np.inf else f" and below {below}"))
    return float(given)


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
