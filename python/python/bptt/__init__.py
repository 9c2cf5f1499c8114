"""Recurrent neural networks, trained on CPUs at the speed of the machine's matrix multiply.

========================================  ==========================================================
`RNNClassifier`, `RNNRegressor`,          estimators in scikit-learn's way, on sequences of numbers
`RNNLabeler`
`bptt.torch`                              drop-in layers for PyTorch (imported on its own)
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
