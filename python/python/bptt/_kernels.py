"""Kernels of OpenBLAS for this processor: what the program does as it begins.

An OpenBLAS that is older than the processor chooses kernels of 2004 for it, several times slower than those it has. It is told
to choose again, by a variable that it alone sees: NumPy has an OpenBLAS of its own, and reads the same one as it is loaded.
"""

import os
import warnings

from bptt._bptt import better_kernels, choose_kernels

_VARIABLE = "OPENBLAS_CORETYPE"


def choose() -> None:
    better = better_kernels()
    if better is None:
        return
    os.environ[_VARIABLE] = better
    try:
        could = choose_kernels()
    finally:
        del os.environ[_VARIABLE]
    if not could:
        warnings.warn(
            "OpenBLAS does not know this processor and computes several times slower than it could: set"
            f" {_VARIABLE}={better} before Python starts",
            RuntimeWarning,
            stacklevel=2,
        )


choose()
