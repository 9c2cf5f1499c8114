"""Estimators in scikit-learn's way: `RNNClassifier`, `RNNRegressor`, `RNNLabeler`.

`X` is `[N, T, n_x]`, or of sequences of different lengths a list of `[T_i, n_x]`. `y` has an answer for each sequence, or one for
each step: then it is a list of arrays too where `X` is. They are scikit-learn's own estimators where that is installed: `clone`,
`cross_val_score`, `GridSearchCV` and pipelines work.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any, ClassVar, Optional, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from bptt import _arrays, _bptt
from bptt._program import PathLike
from bptt._scikit import Base, Classifier, NotFitted, Regressor
from bptt.models import Model

__all__ = ["RNNClassifier", "RNNLabeler", "RNNRegressor", "load"]

_E = TypeVar("_E", bound="_Estimator")

# Parts that a batch is cut into. A part of the result within rounding, so it does not follow the machine: threads do.
_SHARDS = 4

_NUMPY = {"f32": "float32", "f64": "float64"}
_CELLS = ("tanh", "relu", "gru", "lstm")
_OPTIMIZERS = ("gd", "momentum", "nesterov", "rmsprop", "adam", "adamw")
_SCHEDULES = ("constant", "cosine", "halve-on-plateau")
_INITS = ("orthogonal", "glorot", "identity", "pytorch")

_VALIDATION = ("validation_data[0]", "validation_data[1]")

_Rows = tuple[NDArray[Any], Optional[list[int]]]


class _Estimator(Base):
    """
    Parameters (the network):

        cell: "lstm", "gru", "tanh" or "relu"
        hidden: units of each layer and direction
        layers: how many stand on each other
        bidirectional: whether each reads sequences from both ends
        at: "every" step has an answer, only the "last", or "auto", as `y` looks
        init: of the weights: "orthogonal", "glorot", "identity" or "pytorch"
        dtype: "f32" or "f64"

    Parameters (its training):

        epochs: times the training data is gone through
        batch_size: sequences in an update
        lr: the learning rate
        optimizer: "adam", "adamw", "rmsprop", "momentum", "nesterov" or "gd"
        schedule: of the rate: "constant", "cosine" or "halve-on-plateau" (of the validation loss)
        clip_norm: the longest gradient of an update, `None` for any
        weight_decay: of weights and biases
        dropout: the part of what leaves each layer that is left out while training
        patience: stop after so many epochs without a better validation loss; 0 never
        validation_fraction: the part of the training data that is kept for validation where `fit` is given none
        standardize: bring every feature, and a regressor's targets, to mean 0 and deviation 1, as they are in the training data; numbers
            far from 0, such as times, are told apart by it, where "f32" rounds them to the same
        random_state: a seed, or a generator to draw it from: the same one, the same bits
        n_jobs: threads, no part of the result; `None` or -1 for all cores
        verbose: a line for each epoch

    After `fit`:

        model_: the `Model`
        history_: a list for each number that is reported once an epoch: "epoch", "train_loss", with validation "valid_loss", ...
        stop_reason_: "finished", "no-improvement" or "interrupted"; after `load` "loaded", and `history_` is empty
        n_features_in_: numbers at each step
        mean_, scale_: with `standardize`, those of each feature
        target_mean_, target_scale_: of a regressor with `standardize`, those of each number of an answer
    """

    _loss: ClassVar[str]
    # Numbers in an answer, and the precision in which numbers are read.
    _k: int
    _reads: np.dtype[Any]

    def __init_subclass__(cls) -> None:
        # `help` shows a class the parameters that all of them have.
        cls.__doc__ = f"{cls.__doc__}\n{_Estimator.__doc__}"
        super().__init_subclass__()

    def __init__(
        self,
        *,
        cell: str = "lstm",
        hidden: int = 64,
        layers: int = 1,
        bidirectional: bool = False,
        epochs: int = 50,
        batch_size: int = 32,
        lr: float = 0.005,
        optimizer: str = "adam",
        schedule: str = "constant",
        clip_norm: float | None = 1.0,
        weight_decay: float = 0.0,
        dropout: float = 0.0,
        patience: int = 0,
        validation_fraction: float = 0.0,
        standardize: bool = False,
        at: str = "auto",
        init: str = "orthogonal",
        dtype: str = "f32",
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.cell = cell
        self.hidden = hidden
        self.layers = layers
        self.bidirectional = bidirectional
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.optimizer = optimizer
        self.schedule = schedule
        self.clip_norm = clip_norm
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.standardize = standardize
        self.at = at
        self.init = init
        self.dtype = dtype
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    def fit(self: _E, X: Any, y: Any, validation_data: tuple[Any, Any] | None = None) -> _E:
        """Trains a new network; `validation_data` is a pair `(X, y)`. Keeps the best weights by validation, else the last; so does
        Ctrl-C, before its `KeyboardInterrupt` is raised."""
        options = self._options()
        # Before they are standardised, a large mean would leave little of numbers in single precision.
        self._reads = np.dtype("float64" if self.standardize else _NUMPY[self.dtype])
        x, lengths = self._sequences("X", X)
        n_x = x.shape[2]
        targets, per_step = self._targets("y", y, x, lengths, None)
        valid: tuple[_Rows, NDArray[Any]] | None = None
        if validation_data is not None:
            if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
                raise ValueError("validation_data: expected a pair (X, y)")
            rows = self._sequences(_VALIDATION[0], validation_data[0], n_x)
            answers, _ = self._targets(_VALIDATION[1], validation_data[1], *rows, per_step)
            valid = rows, answers
        elif self.validation_fraction > 0:
            (x, lengths), targets, valid = _split(x, lengths, targets, self.validation_fraction, options["seed"])
        if valid is None and (self.patience or self.schedule == "halve-on-plateau"):
            raise ValueError(
                "patience, schedule='halve-on-plateau': the validation loss decides: give validation_data or validation_fraction"
            )

        self.n_features_in_ = n_x
        self._per_step = per_step
        self._outputs = self._n_outputs(targets)
        self._x_scale = _scale("X", x, lengths) if self.standardize else None
        # A regressor's targets of one answer a sequence have no steps that could lie beyond an end.
        self._y_scale = _scale("y", targets, lengths if per_step else None) if self.standardize and self._loss == "mse" else None

        kind = np.dtype(_NUMPY[self.dtype])

        def arrays(names: Sequence[str], rows: _Rows, targets: NDArray[Any]) -> _bptt.Arrays:
            x, y = _scaled(names[0], rows[0], self._x_scale, kind), _scaled(names[1], targets, self._y_scale, kind)
            return x, y, _arrays.ends(*rows), None

        options["architecture"] = {
            "input": {"features": n_x},
            "cell": self.cell,
            "hidden": int(self.hidden),
            "layers": int(self.layers),
            "bidirectional": bool(self.bidirectional),
            "head": {"outputs": self._outputs, "loss": self._loss, "at": "every" if per_step else "last"},
        }
        options["config"] = {"estimator": self._state()}
        core, reports, self.stop_reason_, raised = _bptt.fit(
            arrays(("X", "y"), (x, lengths), targets),
            None if valid is None else arrays(_VALIDATION, *valid),
            self.dtype == "f64",
            json.dumps(options),
            self._show if self.verbose else None,
        )
        self.model_ = Model(core)
        self.history_ = _columns(json.loads(reports))
        if raised is not None:
            raise raised
        return self

    @property
    def mean_(self) -> NDArray[Any]:
        """With `standardize`: the mean of each feature in the training data."""
        return self._standard("mean_")[0]

    @property
    def scale_(self) -> NDArray[Any]:
        """With `standardize`: the deviation of each feature in the training data."""
        return self._standard("scale_")[1]

    def _standard(self, name: str, of: str = "_x_scale") -> tuple[NDArray[Any], NDArray[Any]]:
        found: tuple[NDArray[Any], NDArray[Any]] | None = vars(self).get(of)
        if found is None:
            raise AttributeError(f"{name}: there is one after `fit` with standardize=True")
        return found

    def _show(self, report: str) -> None:
        seen = json.loads(report)
        valid = "" if seen["valid_loss"] is None else f"  valid {seen['valid_loss']:.4f}"
        print(f"epoch {round(seen['epoch'])}/{self.epochs}  train {seen['train_loss']:.4f}{valid}", file=sys.stderr, flush=True)

    def _options(self) -> dict[str, Any]:
        """How to train, checked."""
        _arrays.one_of("cell", self.cell, _CELLS)
        _arrays.one_of("at", self.at, ("auto", "every", "last"))
        _arrays.one_of("dtype", self.dtype, ("f32", "f64"))
        for name in ("hidden", "layers"):
            _arrays.count(name, getattr(self, name), 1)
        for name in ("bidirectional", "standardize"):
            _arrays.flag(name, getattr(self, name))
        if not isinstance(self.verbose, (bool, np.bool_)):
            _arrays.count("verbose", self.verbose, 0)
        _arrays.number("validation_fraction", self.validation_fraction, below=1)
        clip = None if self.clip_norm is None else _arrays.number("clip_norm", self.clip_norm, positive=True)
        return {
            "epochs": _arrays.count("epochs", self.epochs, 1),
            "batch_size": _arrays.count("batch_size", self.batch_size, 1),
            "lr": _arrays.number("lr", self.lr, positive=True),
            "optimizer": _arrays.one_of("optimizer", self.optimizer, _OPTIMIZERS),
            "schedule": _arrays.one_of("schedule", self.schedule, _SCHEDULES),
            "clip_norm": clip,
            "weight_decay": _arrays.number("weight_decay", self.weight_decay),
            "dropout": _arrays.number("dropout", self.dropout, below=1),
            "patience": min(_arrays.count("patience", self.patience, 0), 2**32 - 1),
            "init": _arrays.one_of("init", self.init, _INITS),
            "seed": _seed(self.random_state),
            "threads": self._threads(),
            "shards": _SHARDS,
        }

    def _threads(self) -> int:
        if self.n_jobs is None or isinstance(self.n_jobs, (int, np.integer)) and self.n_jobs == -1:
            return 0
        try:
            # More than any machine has make no difference.
            return min(_arrays.count("n_jobs", self.n_jobs, 1), 2**16)
        except ValueError as error:
            raise ValueError(f"{error}, or -1 or None for all cores") from None

    def _kind(self) -> np.dtype[Any]:
        """The precision of the network."""
        return np.dtype(_NUMPY[self.model_.dtype])

    def _sequences(self, name: str, X: Any, n_x: int | None = None) -> _Rows:
        return _arrays.sequences(name, X, self._reads, n_x)

    def _targets(
        self, name: str, y: Any, x: NDArray[Any], lengths: list[int] | None, per_step: bool | None, known: bool = True
    ) -> tuple[NDArray[Any], bool]:
        """The targets `[N, T or 1, ...]`, and whether there is one for each step; unless all are to be `known`, among them classes that
        training did not see."""
        n, t = x.shape[:2]
        # What was fitted counts, whatever is said since.
        at = self.at if per_step is None else "every" if per_step else "last"
        rows: list[NDArray[Any]] = []
        if _arrays.is_ragged(y) and (lengths is not None or at == "every"):
            alone = [i for i, row in enumerate(y) if not _arrays.is_row(row)]
            if alone and len(alone) < len(y):
                raise ValueError(f"{name}[{alone[0]}]: it is one answer, and others are lists with one for each step: expected all alike")
            rows = [] if alone else [self._values(f"{name}[{i}]", row) for i, row in enumerate(y)]
        is_every = at == "every"
        if at == "last" and len({len(row) for row in rows}) > 1:
            raise ValueError(f"{name}: there are answers for each step, expected one for each sequence (at='last')")
        if rows and at != "last":
            ends = lengths or [t] * n
            fits = len(rows) == n and all(len(row) == end for row, end in zip(rows, ends))
            if fits:
                if len({row.dtype.kind == "U" for row in rows}) > 1:
                    raise ValueError(f"{name}: it holds both strings and numbers, expected labels of one kind")
                rows = [row if row.ndim == self._axes + 1 else row[:, None] for row in rows]
                if any(row.ndim != self._axes + 1 or row.shape[1:] != rows[0].shape[1:] for row in rows):
                    raise ValueError(f"{name}: the answers have different sizes, expected as many numbers at every step")
                flat = self._encoded(name, np.concatenate(rows)[None], per_step is None, known)[0]
                return _arrays.padded(np.split(flat, np.cumsum(ends)[:-1]), t), True
            if is_every or any(len(row) != len(rows[0]) for row in rows):
                i = next((i for i, (row, end) in enumerate(zip(rows, ends)) if len(row) != end), min(len(rows), n))
                what = f"{name}[{i}] has {len(rows[i])} steps" if i < len(rows) else f"{name} has {len(rows)} sequences"
                raise ValueError(f"{what}, expected those of X: {ends[i] if i < n and i < len(rows) else n}")
        array = self._values(name, y)
        found = list(array.shape)
        last = 1 + self._axes
        every = array.ndim == last + 1 if at == "auto" else is_every
        if self._axes:
            # A number without an axis of its own is one.
            if array.ndim == last - 1 or every and array.ndim == last:
                array = array[..., None]
        expected = [n, t] if every else [n]
        if array.ndim != last + every or list(array.shape[: len(expected)]) != expected or 0 in array.shape:
            could_be = [[n], [n, t]] if at == "auto" else [expected]
            shapes = " or ".join(
                f"a list of [T{', k' if self._axes else ''}]"
                if len(shape) == 2 and lengths is not None
                else str(shape)[:-1] + (", k]" if self._axes else "]")
                for shape in could_be
            )
            tip = ""
            if not self._axes and found[:-1] in could_be:
                as_array = name if isinstance(y, np.ndarray) else f"np.asarray({name})"
                if found[-1] == 1:
                    tip = f": give {as_array}[..., 0]"
                elif array.dtype.kind != "U" and array.size and np.isin(array, (0, 1)).all() and (array.sum(-1) == 1).all():
                    tip = f": of one-hot rows give {as_array}.argmax(-1)"
            raise ValueError(f"{name}: the shape is {found}, expected {shapes} as X{tip}")
        if every and lengths is not None:
            raise ValueError(f"{name}: X is a list of sequences, expected a list of answers for each of them")
        return self._encoded(name, array if every else array[:, None], per_step is None, known), every

    # Axes of an answer: none of a class, one of labels or numbers.
    _axes: ClassVar[int] = 1

    def _values(self, name: str, y: Any) -> NDArray[Any]:
        return _arrays.numbers(name, y, self._reads)

    def _encoded(self, name: str, y: NDArray[Any], is_training: bool, known: bool) -> NDArray[Any]:
        """Targets as the network has them."""
        if not is_training and y.shape[2] != self._k:
            raise ValueError(f"{name}: there are {y.shape[2]} numbers in an answer, expected {self._k} as in y")
        self._k = y.shape[2]
        return y

    def _n_outputs(self, targets: NDArray[Any]) -> int:
        return int(targets.shape[2])

    def _answers(self, X: Any) -> NDArray[Any] | list[NDArray[Any]]:
        """What the network says, `[N, n_y]` or `[N, T, n_y]`, of a list of sequences a list."""
        self._check_fitted()
        x, lengths = self._sequences("X", X, self.n_features_in_)
        y = self.model_._core.predict(_scaled("X", x, self._x_scale, self._kind()), _arrays.ends(x, lengths), self._threads())
        if self._y_scale is not None:
            y = y * self._y_scale[1] + self._y_scale[0]
        if not self._per_step:
            return y[:, 0]
        return y if lengths is None else [row[:length] for row, length in zip(y, lengths)]

    def _check_fitted(self) -> None:
        if not hasattr(self, "model_"):
            raise NotFitted(f"this {type(self).__name__} has learnt nothing yet: call fit first")

    def _flat(self, X: Any, y: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        """Answers and targets of all sequences, and of all their steps, one under the other, as they are encoded."""
        self._check_fitted()
        x, lengths = self._sequences("X", X, self.n_features_in_)
        targets, _ = self._targets("y", y, x, lengths, self._per_step, known=False)
        if not self._per_step:
            return np.asarray(self._answers(X)), targets[:, 0]
        ends = lengths or [x.shape[1]] * len(x)
        return np.concatenate(list(self._answers(X))), np.concatenate([row[:end] for row, end in zip(targets, ends)])

    def save(self, path: PathLike) -> None:
        """Writes the model file, with all that `load` needs: every program that reads models of bptt reads it too. With `standardize` it
        is the network alone: its inputs are `(x - mean_) / scale_`, and what a regressor answers is `target_mean_ + target_scale_ * y`.
        (Of a subclass of your own, what it adds is not stored: its `load` makes one without arguments.)"""
        self._check_fitted()
        self.model_.save(path)

    def export(self, path: PathLike, to: str | None = None) -> None:
        """Writes the model for other programs, as `Model.export` does; what its inputs and answers are with `standardize` is said of
        `save`."""
        self._check_fitted()
        self.model_.export(path, to)

    @classmethod
    def load(cls: type[_E], path: PathLike) -> _E:
        """The estimator that `save` wrote."""
        model, kind, state = _read(path)
        if not issubclass(cls, kind) and not issubclass(kind, cls):
            raise ValueError(f"{os.fspath(path)}: it is a {kind.__name__}, expected a {cls.__name__}")
        return cast("_E", _restored(cls if issubclass(cls, kind) else kind, model, state))

    def _state(self) -> dict[str, Any]:
        """What the model file says of the estimator, as JSON has it."""
        # Of a subclass of somebody's own too, those of ours.
        params = {name: getattr(self, name) for name in RNNRegressor().get_params()}
        if not isinstance(params["random_state"], (int, np.integer)):
            params["random_state"] = None
        plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in params.items()}

        def scale(given: tuple[NDArray[Any], NDArray[Any]] | None) -> dict[str, list[float]] | None:
            return None if given is None else {"mean": given[0].tolist(), "deviation": given[1].tolist()}

        return {
            "class": next(kind.__name__ for kind in type(self).__mro__ if kind.__name__ in _CLASSES),
            "params": plain,
            "inputs": scale(self._x_scale),
            "targets": scale(self._y_scale),
        }

    def _restore(self, model: Model, state: dict[str, Any]) -> None:
        architecture = model.architecture
        self.model_, self.history_, self.stop_reason_ = model, cast("dict[str, list[Any]]", {}), "loaded"
        self.n_features_in_ = architecture["input"]["features"]
        self._per_step = architecture["head"]["at"] == "every"
        self._outputs = self._k = architecture["head"]["outputs"]

        def scale(given: dict[str, list[float]] | None) -> tuple[NDArray[Any], NDArray[Any]] | None:
            return None if given is None else (np.array(given["mean"]), np.array(given["deviation"]))

        self._x_scale, self._y_scale = scale(state["inputs"]), scale(state["targets"])
        self._reads = np.dtype("float64") if self._x_scale is not None else self._kind()


class RNNClassifier(Classifier, _Estimator):
    """One of several classes for each sequence, or for each step.

    `y`: any labels, `[N]`, or one a step, `[N, T]` or a list of `[T_i]`. `classes_` has them in order.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.normal(size=(length, 2)) for length in rng.integers(3, 9, 60)]  # sequences of different lengths
    >>> y = np.where([x[-1, 0] > 0 for x in X], "up", "down")
    >>> classifier = RNNClassifier(hidden=8, epochs=40, lr=0.02, random_state=0).fit(X, y)
    >>> classifier.predict(X).shape, classifier.predict_proba(X).shape, classifier.score(X, y) > 0.9
    ((60,), (60, 2), True)
    >>> classifier.classes_.tolist(), len(classifier.history_["train_loss"])
    (['down', 'up'], 40)
    """

    _loss = "cross-entropy"
    _axes = 0

    def _values(self, name: str, y: Any) -> NDArray[Any]:
        array = _arrays.labels(name, y)
        if array.dtype.kind not in "biufU":
            raise ValueError(f"{name}: it holds {array.dtype}, expected labels: numbers or strings")
        if array.dtype.kind == "f" and not (np.isfinite(array) & (array == np.round(array))).all():
            number = array[~(array == np.round(array)) | ~np.isfinite(array)][0]
            raise ValueError(f"{name}: it holds {number}, expected labels: whole numbers or strings (RNNRegressor is for numbers)")
        return array

    def _encoded(self, name: str, y: NDArray[Any], is_training: bool, known: bool) -> NDArray[Any]:
        y = y[..., 0] if y.ndim > 2 else y
        if is_training:
            self.classes_ = np.unique(y)
        if (y.dtype.kind == "U") != (self.classes_.dtype.kind == "U"):
            raise ValueError(f"{name}: it holds {y.dtype}, and the classes are {self.classes_.dtype}")
        ids = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        unknown = self.classes_[ids] != y
        if known and unknown.any():
            raise ValueError(f"{name}: {y[unknown][0].item()!r} is not one of the {len(self.classes_)} classes of y")
        # One that is never answered.
        return np.where(unknown, len(self.classes_), ids).astype(np.uint32)

    def _n_outputs(self, targets: NDArray[Any]) -> int:
        if len(self.classes_) < 2:
            raise ValueError(f"y: there is one class only ({self.classes_[0].item()!r}), expected two or more")
        return len(self.classes_)

    def predict(self, X: Any) -> NDArray[Any] | list[NDArray[Any]]:
        """The likeliest classes, in the form of `y`."""
        return _each(self._answers(X), lambda p: self.classes_[p.argmax(-1)])

    def predict_proba(self, X: Any) -> NDArray[Any] | list[NDArray[Any]]:
        """Probabilities in the order of `classes_`: `[N, C]`, or of each step `[N, T, C]`, a list of `[T_i, C]`."""
        return self._answers(X)

    def score(self, X: Any, y: Any) -> float:
        """The part of the sequences, or of all their steps, whose class is right; one that training did not see never is."""
        answers, targets = self._flat(X, y)
        return float((answers.argmax(-1) == targets).mean())

    def _state(self) -> dict[str, Any]:
        return super()._state() | {"classes": self.classes_.tolist(), "kind": self.classes_.dtype.str}

    def _restore(self, model: Model, state: dict[str, Any]) -> None:
        super()._restore(model, state)
        self.classes_ = np.array(state["classes"], dtype=state.get("kind"))


class RNNRegressor(Regressor, _Estimator):
    """Numbers for each sequence, or for each step.

    `y`: `[N]` or `[N, k]`; one a step, `[N, T, k]` or a list of `[T_i]` or `[T_i, k]` (with `at="every"` also `[N, T]`). Answers have
    the form of `y`, with an axis for `k`. The loss is the mean squared error, of standardised targets where `standardize` is set.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(80, 12, 1))
    >>> y = X.cumsum(1) / 3  # of each step, the sum so far
    >>> regressor = RNNRegressor(hidden=16, epochs=60, standardize=True, random_state=0).fit(X, y)
    >>> regressor.predict(X).shape, regressor.score(X, y) > 0.9
    ((80, 12, 1), True)
    """

    _loss = "mse"

    @property
    def target_mean_(self) -> NDArray[Any]:
        """With `standardize`: the mean of each number of an answer in the training data."""
        return self._standard("target_mean_", "_y_scale")[0]

    @property
    def target_scale_(self) -> NDArray[Any]:
        """With `standardize`: the deviation of each number of an answer in the training data."""
        return self._standard("target_scale_", "_y_scale")[1]

    def predict(self, X: Any) -> NDArray[Any] | list[NDArray[Any]]:
        """The numbers, `[N, k]` (`[N]` of one), or `[N, T, k]`, a list of `[T_i, k]`."""
        answers = self._answers(X)
        if not self._per_step and self._outputs == 1:
            return cast("NDArray[Any]", answers)[:, 0]
        return answers

    def score(self, X: Any, y: Any) -> float:
        """The coefficient of determination R2, the mean of those of all numbers."""
        answers, targets = self._flat(X, y)
        targets = targets.astype(np.float64)
        rest = ((targets - answers) ** 2).sum(0)
        whole = ((targets - targets.mean(0)) ** 2).sum(0)
        return float(np.mean(np.where(whole > 0, 1 - rest / np.where(whole > 0, whole, 1), np.where(rest > 0, 0.0, 1.0))))


class RNNLabeler(_Estimator):
    """Several labels at once, each there or not, for each sequence or each step: notes of a chord, faults of a machine.

    `y`: zeros and ones, `[N, k]`; one row a step, `[N, T, k]` or a list of `[T_i, k]`. (One class out of several at each
    step, such as the part of speech of a word, is `RNNClassifier`'s.)

    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(100, 6, 2))
    >>> labeler = RNNLabeler(hidden=16, epochs=30, random_state=0).fit(X, X > 0)
    >>> labeler.predict(X).shape, labeler.predict_proba(X[:3]).shape, labeler.score(X, X > 0) > 0.9
    ((100, 6, 2), (3, 6, 2), True)
    """

    _loss = "binary"

    def _values(self, name: str, y: Any) -> NDArray[Any]:
        array = super()._values(name, y)
        wrong = ~np.isin(array, (0, 1))
        if wrong.any():
            i = int(np.argmax(wrong))
            raise ValueError(f"{name}: it holds {array.flat[i]} at {_arrays.place(array, i)}, expected 0 or 1: whether a label is there or not")
        return array

    def predict(self, X: Any) -> NDArray[Any] | list[NDArray[Any]]:
        """1 where a label is there as likely as not, else 0."""
        return _each(self._answers(X), lambda p: (p >= 0.5).astype(np.int64))

    def predict_proba(self, X: Any) -> NDArray[Any] | list[NDArray[Any]]:
        """The probability of each label."""
        return self._answers(X)

    def score(self, X: Any, y: Any) -> float:
        """The part of all labels that is right."""
        answers, targets = self._flat(X, y)
        return float(((answers >= 0.5) == (targets >= 0.5)).mean())


_CLASSES: dict[str, type[_Estimator]] = {kind.__name__: kind for kind in (RNNClassifier, RNNRegressor, RNNLabeler)}


def load(path: PathLike) -> RNNClassifier | RNNRegressor | RNNLabeler:
    """The estimator that its `save` wrote to this file.

    >>> import numpy as np, os, tempfile
    >>> X = np.random.default_rng(0).normal(size=(20, 5, 3))
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> fitted = RNNRegressor(hidden=4, epochs=2, standardize=True).fit(X, X[:, -1])
    >>> fitted.save(path)
    >>> bool((load(path).predict(X) == fitted.predict(X)).all())
    True
    """
    model, kind, state = _read(path)
    return cast("RNNClassifier | RNNRegressor | RNNLabeler", _restored(kind, model, state))


def _read(path: PathLike) -> tuple[Model, type[_Estimator], dict[str, Any]]:
    """The model in a file, the class of ours that its estimator is of, and what the file says of it."""
    model = Model.load(path)
    state = model.config.get("estimator")
    if not isinstance(state, dict) or state.get("class") not in _CLASSES:
        raise ValueError(f"{os.fspath(path)}: it holds a model and no estimator: read it by bptt.Model.load")
    return model, _CLASSES[state["class"]], state


def _restored(kind: type[_E], model: Model, state: dict[str, Any]) -> _E:
    estimator = kind()
    for name, value in state["params"].items():
        setattr(estimator, name, value)
    estimator._restore(model, state)
    return estimator


def _each(answers: NDArray[Any] | list[NDArray[Any]], what: Any) -> NDArray[Any] | list[NDArray[Any]]:
    if isinstance(answers, list):
        return [what(row) for row in answers]
    return cast("NDArray[Any]", what(answers))


def _seed(random_state: Any) -> int:
    """A seed, as scikit-learn takes one: a number, a generator to draw it from, or nothing for NumPy's own."""
    if random_state is None:
        return int(np.random.randint(2**31))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    return _arrays.count("random_state", random_state, 0, 2**64 - 1)


def _split(
    x: NDArray[Any], lengths: list[int] | None, targets: NDArray[Any], part: float, seed: int
) -> tuple[_Rows, NDArray[Any], tuple[_Rows, NDArray[Any]]]:
    n = len(x)
    if n < 2:
        raise ValueError("X: there is one sequence, expected two at least to keep some for validation")
    order = np.random.RandomState(seed % 2**32).permutation(n)
    kept = min(max(round(part * n), 1), n - 1)

    def some(rows: NDArray[Any]) -> tuple[_Rows, NDArray[Any]]:
        return (x[rows], None if lengths is None else [lengths[i] for i in rows]), targets[rows]

    valid, train = some(np.sort(order[:kept])), some(np.sort(order[kept:]))
    return train[0], train[1], valid


def _scale(name: str, rows: NDArray[Any], lengths: list[int] | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mean and deviation of each number over all steps; of what never changes, the deviation is left at 1."""
    if lengths is None:
        flat = rows.reshape(-1, rows.shape[-1])
    else:
        flat = np.concatenate([row[:length] for row, length in zip(rows, lengths)])
    flat = flat.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = flat.mean(0), flat.std(0)
    if not (np.isfinite(mean).all() and np.isfinite(deviation).all()):
        raise ValueError(f"{name}: it is too large for its mean and deviation (standardize=True), expected smaller numbers: scale it down")
    # Rounding makes a number that never changes deviate a little from its mean.
    constant = deviation <= 1e-12 * np.abs(mean)
    return mean, np.where(constant, 1.0, deviation)


def _scaled(name: str, rows: NDArray[Any], scale: tuple[NDArray[Any], NDArray[Any]] | None, kind: np.dtype[Any]) -> NDArray[Any]:
    """Standardised numbers in the precision of the network; ids of classes as they are."""
    if scale is None:
        return rows if rows.dtype.kind == "u" else rows.astype(kind, copy=False)
    with np.errstate(over="ignore"):
        return _arrays.numbers(f"{name}, standardised", (rows - scale[0]) / scale[1], kind)


def _columns(reports: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """A list for each number of the reports; `nan` where one has none."""
    names = dict.fromkeys(name for report in reports for name in report)
    columns = {name: [report.get(name) for report in reports] for name in names}
    return {name: [np.nan if x is None else x for x in column] for name, column in columns.items() if any(x is not None for x in column)}
