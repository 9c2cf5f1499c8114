"""Recurrent neural networks, trained on CPUs at the speed of the machine's matrix multiply.

========================================  ==========================================================
`RNNClassifier`, `RNNRegressor`,          estimators in scikit-learn's way, on sequences of numbers
`RNNLabeler`
`bptt.torch`                              drop-in layers for PyTorch (imported on its own)
`train`, `resume`                         the runs of the program `bptt train`
`Model`                                   what a run or an estimator left in a file
========================================  ==========================================================
"""

import warnings as _warnings

from bptt._bptt import machine as _machine
from bptt.estimators import RNNClassifier, RNNLabeler, RNNRegressor, load
from bptt.models import Model, from_torch
from bptt.runs import Run, resume, train

__version__ = _machine()[0]

if any(f"{name} kernels" in _machine()[1] for name in ("Prescott", "Core2", "Penryn", "Nehalem")) and "avx" in _machine()[2]:
    _warnings.warn(
        f"{_machine()[1]}: OpenBLAS does not know this processor and computes several times slower than it could: set"
        " OPENBLAS_CORETYPE=Haswell (or SkylakeX, with AVX-512) before Python starts",
        RuntimeWarning,
        stacklevel=2,
    )

__all__ = [
    "Model",
    "RNNClassifier",
    "RNNLabeler",
    "RNNRegressor",
    "Run",
    "from_torch",
    "load",
    "resume",
    "train",
]
