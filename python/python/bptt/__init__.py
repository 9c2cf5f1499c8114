"""Recurrent neural networks, trained on CPUs at the speed of the machine's matrix multiply.

========================================  ==========================================================
`RNNClassifier`, `RNNRegressor`,          estimators in scikit-learn's way, on sequences of numbers
`RNNLabeler`
`bptt.torch`                              drop-in layers for PyTorch (imported when it is asked for)
`train`, `resume`                         the runs of the program `bptt train`
`Model`                                   what a run or an estimator left in a file
========================================  ==========================================================
"""

from bptt import _kernels as _kernels  # before any other: it chooses what they compute with
from bptt._bptt import machine as _machine
from bptt.estimators import RNNClassifier, RNNLabeler, RNNRegressor, load
from bptt.models import Model, from_torch
from bptt.runs import Run, resume, train

__version__ = _machine()[0]


def __getattr__(name: str) -> object:
    # Without PyTorch, everything else works; with it, nobody waits for its import who does not ask for it.
    if name == "torch":
        import importlib

        return importlib.import_module("bptt.torch")
    raise AttributeError(f"module 'bptt' has no attribute {name!r}")


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
