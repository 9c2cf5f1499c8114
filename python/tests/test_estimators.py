"""The estimators: what they learn, take, refuse and remember."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest

import bptt

FAST: dict[str, Any] = dict(hidden=8, lr=0.02, random_state=0)
RNG = np.random.default_rng(3)

# Of each sequence whether its last step is positive, of each step its sign.
DENSE = RNG.normal(size=(60, 6, 2))
RAGGED = [row[: 2 + i % 5] for i, row in enumerate(DENSE)]


def signs(rows: Any) -> Any:
    return [np.where(row[:, 0] > 0, "up", "down") for row in rows]


@pytest.mark.parametrize("X", [DENSE, RAGGED])
@pytest.mark.parametrize("cell", ["lstm", "gru", "tanh", "relu"])
def test_classes_of_sequences(X: Any, cell: str) -> None:
    y = np.array([row[-1] for row in signs(X)])
    model = bptt.RNNClassifier(cell=cell, epochs=60, **FAST).fit(X, y)
    assert model.score(X, y) > 0.95
    proba = model.predict_proba(X)
    assert proba.shape == (60, 2) and np.allclose(proba.sum(1), 1, atol=1e-5)
    assert (model.classes_[proba.argmax(1)] == model.predict(X)).all()
    assert model.predict(X[:7]).tolist() == model.predict(X)[:7].tolist()


def test_classes_of_steps() -> None:
    for X in (DENSE, RAGGED):
        y = signs(X)
        y = np.array(y) if X is DENSE else y
        model = bptt.RNNClassifier(epochs=40, bidirectional=True, **FAST).fit(X, y)
        assert model.score(X, y) > 0.95
        found = model.predict(X)
        assert [len(row) for row in found] == [len(row) for row in X]
        assert model.model_.architecture["head"]["at"] == "every"
        assert [p.shape for p in model.predict_proba(X)] == [(len(row), 2) for row in X]


def test_numbers_of_sequences_and_steps() -> None:
    for X in (DENSE, RAGGED):
        last = np.array([row[-1, 0] * 300 + 1000 for row in X])
        model = bptt.RNNRegressor(epochs=60, standardize=True, **FAST).fit(X, last)
        assert model.score(X, last) > 0.9
        assert model.predict(X).shape == (60,)
        two = np.stack([last, -last], 1)
        assert bptt.RNNRegressor(epochs=2, **FAST).fit(X, two).predict(X).shape == (60, 2)
        steps = [row.cumsum(0) for row in X]
        steps = np.array(steps) if X is DENSE else steps
        model = bptt.RNNRegressor(epochs=80, **FAST).fit(X, steps)
        assert model.score(X, steps) > 0.85
        assert [row.shape for row in model.predict(X)] == [row.shape for row in X]
    flat = DENSE[:, :, 0]
    assert bptt.RNNRegressor(epochs=1, at="every", **FAST).fit(DENSE, flat).predict(DENSE).shape == (60, 6, 1)
    assert bptt.RNNRegressor(epochs=1, **FAST).fit(DENSE, flat).predict(DENSE).shape == (60, 6)
    one = [row[:, 0] for row in RAGGED]
    assert bptt.RNNRegressor(epochs=1, **FAST).fit(RAGGED, one).predict(RAGGED)[3].shape == (5, 1)


def test_labels() -> None:
    for X in (DENSE, RAGGED):
        steps = [row > 0 for row in X]
        model = bptt.RNNLabeler(epochs=40, **FAST).fit(X, np.array(steps) if X is DENSE else steps)
        assert model.score(X, steps if X is RAGGED else np.array(steps)) > 0.9
        last = np.array([row[-1] for row in steps])
        model = bptt.RNNLabeler(epochs=50, **FAST).fit(X, last)
        assert model.score(X, last) > 0.9 and model.predict(X).shape == (60, 2)


def test_the_same_seed_gives_the_same_bits_on_any_number_of_threads() -> None:
    y = DENSE[:, -1, 0]
    fits = [bptt.RNNRegressor(epochs=3, n_jobs=n, dropout=0.2, **FAST).fit(DENSE, y) for n in (1, 2, None, -1)]
    weights = [fit.model_.state_dict() for fit in fits]
    for other in weights[1:]:
        assert all((other[name] == weights[0][name]).all() for name in other)
    other = bptt.RNNRegressor(**{**FAST, "random_state": 1}, epochs=3, dropout=0.2).fit(DENSE, y)
    assert (other.model_.state_dict()["decoder.weight"] != weights[0]["decoder.weight"]).any()


def test_validation_and_patience() -> None:
    y, noise = DENSE[:, -1, 0], RNG.normal(size=60)
    model = bptt.RNNRegressor(epochs=200, patience=3, **FAST).fit(DENSE, noise, validation_data=(DENSE[::-1], noise))
    assert model.stop_reason_ == "no-improvement"
    assert len(model.history_["valid_loss"]) < 200
    # What is kept is the best, not the last.
    found = ((model.predict(DENSE[::-1]) - noise) ** 2).mean()
    losses = model.history_["valid_loss"]
    assert abs(found / min(losses) - 1) < 1e-3 or abs(found / 2 / min(losses) - 1) < 1e-3
    model = bptt.RNNRegressor(epochs=4, validation_fraction=0.25, **FAST).fit(RAGGED, y)
    assert len(model.history_["valid_loss"]) == 4
    with pytest.raises(ValueError, match="patience.*validation"):
        bptt.RNNRegressor(patience=3).fit(DENSE, y)


def test_standardizing_does_not_see_padding(tmp_path: Any) -> None:
    shifted = [row * [50.0, 0.0] + [1e4, 7.0] for row in RAGGED]
    y = np.array([row[-1, 0] > 1e4 for row in shifted])
    model = bptt.RNNClassifier(epochs=60, standardize=True, **FAST).fit(shifted, y)
    assert model.score(shifted, y) > 0.9
    flat = np.concatenate(shifted)
    state = model.model_.config["estimator"]
    assert np.allclose(state["inputs"]["mean"], flat.mean(0), rtol=1e-6)
    assert np.allclose(state["inputs"]["deviation"], [flat[:, 0].std(), 1], rtol=1e-6)


@pytest.mark.parametrize("kind", [bptt.RNNClassifier, bptt.RNNRegressor, bptt.RNNLabeler])
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_files_and_pickles_answer_as_what_was_saved(kind: Any, dtype: str, tmp_path: Any) -> None:
    y = (DENSE[:, -1] > 0).astype(int)
    y = y if kind is bptt.RNNLabeler else y[:, 0] + 5
    fitted = kind(epochs=2, standardize=True, dtype=dtype, **FAST).fit(RAGGED, y)
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    for again in (kind.load(path), bptt.load(path), pickle.loads(pickle.dumps(fitted))):
        assert type(again) is kind
        assert (again.predict(RAGGED) == fitted.predict(RAGGED)).all()
        assert again.get_params() == fitted.get_params()
        assert again.score(RAGGED, y) == fitted.score(RAGGED, y)
    other = bptt.RNNLabeler if kind is not bptt.RNNLabeler else bptt.RNNRegressor
    with pytest.raises(ValueError, match="expected a"):
        other.load(path)
    assert bptt.Model.load(path).dtype == dtype
    assert json.loads(json.dumps(bptt.Model.load(path).config))["estimator"]["class"] == kind.__name__


def test_scikit_learn_knows_them() -> None:
    pytest.importorskip("sklearn")
    from sklearn.base import clone, is_classifier, is_regressor
    from sklearn.exceptions import NotFittedError
    from sklearn.model_selection import GridSearchCV, cross_val_score

    y = DENSE[:, -1, 0] > 0
    classifier = bptt.RNNClassifier(epochs=15, **FAST)
    assert is_classifier(classifier) and is_regressor(bptt.RNNRegressor())
    assert clone(classifier).get_params() == classifier.get_params()
    assert cross_val_score(classifier, DENSE, y, cv=3).mean() > 0.7
    assert cross_val_score(classifier, RAGGED, y, cv=3).shape == (3,)
    assert cross_val_score(classifier, DENSE, y, cv=3, scoring="roc_auc").mean() > 0.7
    search = GridSearchCV(classifier, {"cell": ["gru", "tanh"], "hidden": [2, 8]}, cv=2).fit(DENSE, y)
    assert search.best_params_["hidden"] in (2, 8)
    assert cross_val_score(bptt.RNNRegressor(epochs=5, **FAST), DENSE, DENSE[:, -1, 0], cv=3).shape == (3,)
    assert cross_val_score(bptt.RNNLabeler(epochs=5, **FAST), DENSE, DENSE > 0, cv=3).shape == (3,)
    with pytest.raises(NotFittedError, match="fit"):
        classifier.predict(DENSE)
    assert "epochs=15" in repr(classifier)


def test_without_scikit_learn() -> None:
    code = """
import sys
sys.modules["sklearn"] = None
import numpy as np, bptt
model = bptt.RNNRegressor(hidden=4, epochs=1)
assert model.get_params()["hidden"] == 4 and repr(model) == "RNNRegressor(hidden=4, epochs=1)", model
assert model.set_params(hidden=5).hidden == 5
try: model.set_params(hiden=5)
except ValueError as error: assert "hiden" in str(error)
try: model.predict(np.zeros((1, 1, 1)))
except ValueError as error: assert "fit" in str(error)
X = np.ones((9, 2, 1)); X[0] = 0
model.fit(X, X[:, 0, 0]).predict(X)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def wrong() -> Any:
    """X, y and what the error says."""
    y = DENSE[:, 0, 0]
    nan, ends = DENSE.copy(), DENSE.copy()
    nan[3, 2, 1], ends[0, 0, 0] = np.nan, np.inf
    gap = [row.copy() for row in RAGGED]
    gap[4][1, 0] = np.nan
    steps = [row[:, 0] for row in RAGGED]
    yield nan, y, r"X: it holds nan at \[3, 2, 1\]"
    yield ends, y, r"X: it holds inf at \[0, 0, 0\]"
    yield gap, y, r"X\[4\]: it holds nan at \[1, 0\]"
    yield DENSE[0], y, r"X: the shape is \[6, 2\]"
    yield DENSE[:, :0], y, r"X: the shape is \[60, 0, 2\]"
    yield [*RAGGED[:5], np.zeros((4, 3))], y[:6], r"X\[5\]: the shape is \[4, 3\], expected \[T, 2\]"
    yield [*RAGGED[:5], np.zeros((0, 2))], y[:6], r"X\[5\]: the shape is \[0, 2\]"
    yield [*RAGGED[:5], np.zeros(2)], y[:6], r"X\[5\]: the shape is \[2\]"
    yield DENSE.astype(complex), y, "X: it holds complex128"
    yield DENSE.astype(str), y, "X: it holds <U"
    yield "text", y, "X: it holds"
    yield None, y, "X"
    yield [], [], "X: the shape is"
    yield DENSE, y[:5], r"y: the shape is \[5\], expected \[60"
    yield DENSE, np.where(y > 1, np.nan, y), "y: it holds nan"
    yield DENSE, None, "y"
    yield RAGGED, steps[:-1], r"y has 59 sequences"
    yield RAGGED, [*steps[:-1], steps[0]], r"y\[59\] has 2 steps, expected those of X: 6"
    yield RAGGED, DENSE, "y: X is a list"
    yield DENSE, [*steps], "y"
    yield DENSE, object(), "y"


@pytest.mark.parametrize("X,y,words", list(wrong()))
def test_what_is_wrong_is_named(X: Any, y: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        bptt.RNNRegressor(epochs=1, **FAST).fit(X, y)


def test_wrong_classes_labels_and_validation_data() -> None:
    y = np.arange(60) % 3
    classifier = bptt.RNNClassifier(epochs=1, **FAST)
    with pytest.raises(ValueError, match="one class only"):
        classifier.fit(DENSE, y * 0)
    with pytest.raises(ValueError, match=r"validation_data\[1\]: 3 is not one of the 3 classes"):
        classifier.fit(DENSE, y, (DENSE, y + 3))
    with pytest.raises(ValueError, match="validation_data: expected a pair"):
        classifier.fit(DENSE, y, DENSE)
    with pytest.raises(ValueError, match=r"validation_data\[0\]: the shape is \[60, 6, 1\], expected \[N, T, 2\]"):
        classifier.fit(DENSE, y, (DENSE[:, :, :1], y))
    with pytest.raises(ValueError, match="U"):
        classifier.fit(DENSE, y).score(DENSE, y.astype(str))
    with pytest.raises(ValueError, match=r"it holds [-\d.]+ at \[0, 0, 0\], expected 0 or 1"):
        bptt.RNNLabeler(epochs=1).fit(DENSE, DENSE)
    with pytest.raises(ValueError, match=r"X: the shape is \[60, 6, 1\], expected \[N, T, 2\]"):
        classifier.predict(DENSE[:, :, :1])


BAD: dict[str, Any] = dict(
    cell="lsmt",
    hidden=0,
    layers=1.5,
    epochs=-1,
    batch_size=0,
    lr=float("nan"),
    optimizer="sgd",
    schedule=None,
    clip_norm=0,
    weight_decay=-1,
    dropout=1.0,
    patience=-1,
    validation_fraction=1.0,
    at="first",
    init="zeros",
    dtype="f16",
    random_state=-3,
    n_jobs=0,
)


@pytest.mark.parametrize("name", BAD)
def test_parameters_out_of_range_are_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}"):
        bptt.RNNRegressor(**{**FAST, name: BAD[name]}).fit(DENSE, DENSE[:, 0, 0])
    with pytest.raises(ValueError, match="hidden"):
        bptt.RNNRegressor(hidden=1 << 25).fit(DENSE, DENSE[:, 0, 0])


def test_arrays_of_any_kind_give_the_same_model() -> None:
    x = (DENSE * 8).round().astype(np.float32) / 8
    y = x[:, 0, 0]

    def weights(X: Any, y: Any) -> Any:
        return bptt.RNNRegressor(epochs=2, **FAST).fit(X, y).model_.state_dict()["rnn.weight_ih_l0"]

    expected = weights(x, y)
    frozen = x.copy()
    frozen.flags.writeable = False
    doubled = np.zeros((60, 12, 4), np.float32)
    doubled[:, ::2, 1::2] = x
    forms = [
        frozen,
        np.asfortranarray(x),
        x[:, ::-1][:, ::-1],
        doubled[:, ::2, 1::2],
        x.astype(np.float16),
        x.astype(np.float64),
        x.astype(">f4"),
        x.astype(">f8"),
        x.astype(object),
        x.tolist(),
        [row.tolist() for row in x],
        list(x),
    ]
    for form in forms:
        assert (weights(form, y) == expected).all(), type(form)
        assert (weights(x, np.asarray(form)[:, 0, 0]) == expected).all()


def test_progress_goes_to_stderr(capsys: Any) -> None:
    bptt.RNNRegressor(epochs=2, verbose=True, **FAST).fit(DENSE, DENSE[:, 0, 0])
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.splitlines()[1].startswith("epoch 2/2  train ")


def test_numpy_integers_are_numbers_of_units() -> None:
    sizes = {"hidden": np.int64(4), "layers": np.int64(2)}
    fitted = bptt.RNNRegressor(epochs=1, **FAST | sizes).fit(DENSE, DENSE[:, 0, 0])
    assert fitted.model_.architecture["hidden"] == 4


@pytest.mark.parametrize("name", ["bidirectional", "standardize"])
def test_flags_are_true_or_false(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: 'no' is not True or False"):
        bptt.RNNRegressor(epochs=1, **FAST | {name: "no"}).fit(DENSE, DENSE[:, 0, 0])


def test_standardised_numbers_are_finite() -> None:
    y = DENSE[:, 0, 0]
    regressor = bptt.RNNRegressor(epochs=1, standardize=True, **FAST).fit(DENSE, y)
    with pytest.raises(ValueError, match="^X, standardised: it holds .*, too large for float32: .*dtype=.f64."):
        regressor.predict(DENSE * 1e39)
    with pytest.raises(ValueError, match=r"^validation_data\[1\], standardised: it holds .*, too large"):
        regressor.fit(DENSE, y, validation_data=(DENSE, y * 1e39))
    for name, x, y in [("X", DENSE * 1e200, y), ("y", DENSE, y * 1e200)]:
        with pytest.raises(ValueError, match=f"^{name}: it is too large for its mean and deviation"):
            regressor.fit(x.astype(np.float64), y.astype(np.float64))


def test_masked_elements_are_refused() -> None:
    with pytest.raises(ValueError, match="^X: elements of it are masked"):
        bptt.RNNRegressor(epochs=1, **FAST).fit(np.ma.masked_array(DENSE, DENSE > 1), DENSE[:, 0, 0])


def test_labels_are_names_and_whole_numbers() -> None:
    classifier = bptt.RNNClassifier(epochs=1, **FAST)
    labels = (DENSE[:, 0, 0] > 0) * 2.0
    assert classifier.fit(DENSE, labels).classes_.tolist() == [0, 2]
    with pytest.raises(ValueError, match=r"^y: it holds [02].5, expected labels: .*RNNRegressor"):
        classifier.fit(DENSE, labels + 0.5)
    with pytest.raises(ValueError, match=r"^y: the shape is \[60, 1\], expected \[60\] or \[60, 6\] as X: give y\[..., 0\]$"):
        classifier.fit(DENSE, labels[:, None])
    with pytest.raises(ValueError, match=r"^y: the shape is \[60, 3\], expected .*: of one-hot rows give y.argmax\(-1\)$"):
        classifier.fit(DENSE, np.eye(3)[labels.astype(int)])
    with pytest.raises(ValueError, match=r"one class only \('up'\)"):
        classifier.fit(DENSE, ["up"] * 60)
    with pytest.raises(ValueError, match=r"as X$"):
        classifier.fit(DENSE, np.zeros((60, 5), int))


@pytest.mark.parametrize("missing", [None, float("nan"), np.datetime64("NaT")])
def test_missing_labels_are_no_class(missing: Any) -> None:
    classifier = bptt.RNNClassifier(epochs=1, **FAST)
    labels: list[Any] = ["up", "down"] * 30
    labels[7] = missing
    whole = np.arange(60) % 2 * 1.0
    whole[7] = np.nan
    for y in (labels, np.array(labels, dtype=object), Labels(labels), whole):
        with pytest.raises(ValueError, match=r"^y: a label is missing at \[7\]"):
            classifier.fit(DENSE, y)
    with pytest.raises(ValueError, match=r"missing at \[7, 0\]"):
        classifier.fit(DENSE, [[label] * 6 for label in labels])


class Labels:
    """A column of labels, as pandas has it."""

    def __init__(self, labels: list[Any]) -> None:
        self.labels = labels

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(self.labels, dtype=object)


def test_labels_are_of_one_kind() -> None:
    classifier = bptt.RNNClassifier(epochs=1, **FAST)
    for y in (["a", 1] * 30, [True, "a"] * 30, [row for pair in zip(np.zeros((30, 6), int), np.full((30, 6), "a")) for row in pair]):
        with pytest.raises(ValueError, match="^y: it holds both strings and numbers"):
            classifier.fit(DENSE, y)
    assert classifier.fit(DENSE, np.array(["a", "b"] * 30, dtype=object)).classes_.tolist() == ["a", "b"]
    for y, words in [
        (["a", b"a"] * 30, r"a bytes at \[1\]"),
        (np.array([2**63 + 1, 2] * 30, "u8"), r"below 2\*\*63"),
        ([2**63 + 1, -1] * 30, r"below 2\*\*63"),
        ([2**70, -1] * 30, r"below 2\*\*63"),
        (None, "got NoneType"),
        (Sparse(), "sparse"),
    ]:
        with pytest.raises(ValueError, match=f"^y: .*{words}"):
            classifier.fit(DENSE, y)


def test_labels_of_sequences_in_any_column() -> None:
    y = ["a", "b"] * 30
    classifier = bptt.RNNClassifier(epochs=1, **FAST)
    for column in (np.array(y, dtype=object), Labels(y), np.array([1, 2] * 30, dtype=object)):
        assert len(classifier.fit(RAGGED, column).classes_) == 2 and classifier.score(RAGGED, column) > 0
    steps = signs(RAGGED)
    with pytest.raises(ValueError, match=r"^y\[3\]: it is one answer, and others are lists"):
        classifier.fit(RAGGED, [*steps[:3], "up", *steps[4:]])
    with pytest.raises(ValueError, match=r"^y: the shape is \[59\], expected \[60\] or a list of \[T\] as X"):
        classifier.fit(RAGGED, y[:-1])
    with pytest.raises(ValueError, match=r"^y: there are answers for each step, expected one for each sequence \(at='last'\)"):
        classifier.set_params(at="last").fit(RAGGED, steps)


@pytest.mark.parametrize("kind", ["i1", "u8", "f4", "?", "<U3"])
def test_labels_come_back_as_they_were(kind: str, tmp_path: Any) -> None:
    y = np.array([1, 0] * 30).astype(kind)
    classifier = bptt.RNNClassifier(epochs=1, **FAST).fit(DENSE, y)
    classifier.save(tmp_path / "model.safetensors")
    loaded = bptt.RNNClassifier.load(tmp_path / "model.safetensors")
    assert loaded.classes_.dtype == classifier.classes_.dtype and (loaded.classes_ == classifier.classes_).all()
    classifier.set_params(at="every")
    assert classifier.score(DENSE, y) == loaded.score(DENSE, y)


def test_classes_that_training_did_not_see_are_wrong_answers() -> None:
    y = np.array([row[-1] for row in signs(DENSE)])
    classifier = bptt.RNNClassifier(epochs=40, **FAST).fit(DENSE, y)
    before = classifier.score(DENSE, y)
    y = y.astype("<U8")
    y[:6] = "sideways"
    assert classifier.score(DENSE, y) <= before - 5 / 60
    with pytest.raises(ValueError, match="'sideways' is not one of the 2 classes"):
        classifier.fit(DENSE[10:], y[10:], (DENSE, y))


def test_answers_of_the_network_become_those_of_the_regressor() -> None:
    y = DENSE[:, -1] * [3.0, 700.0] + [5.0, -1000.0]
    regressor = bptt.RNNRegressor(epochs=5, standardize=True, **FAST).fit(DENSE, y)
    values = regressor.model_.predict((DENSE - regressor.mean_) / regressor.scale_)
    assert np.allclose(regressor.target_mean_ + regressor.target_scale_ * values, regressor.predict(DENSE), rtol=1e-4)
    with pytest.raises(AttributeError, match="target_scale_: there is one after `fit` with standardize=True"):
        bptt.RNNRegressor().target_scale_


class Own(bptt.RNNRegressor):
    """A subclass of somebody's own."""


class Further(bptt.RNNRegressor):
    """One with a parameter more."""

    def __init__(self, hidden: int = 3, *, more: int = 0) -> None:
        super().__init__(hidden=hidden, epochs=1)
        self.more = more


def test_subclasses_are_saved_and_loaded(tmp_path: Any) -> None:
    own = Own(epochs=1, **FAST).fit(DENSE, DENSE[:, 0])
    own.save(tmp_path / "own.safetensors")
    assert type(Own.load(tmp_path / "own.safetensors")) is Own
    assert type(bptt.load(tmp_path / "own.safetensors")) is bptt.RNNRegressor
    Further(2, more=3).fit(DENSE, DENSE[:, 0]).save(tmp_path / "further.safetensors")
    further = Further.load(tmp_path / "further.safetensors")
    assert (further.hidden, further.more, further.epochs) == (2, 0, 1) and type(further) is Further
    with pytest.raises(ValueError, match="it is a RNNRegressor, expected a RNNClassifier"):
        bptt.RNNClassifier.load(tmp_path / "further.safetensors")


def test_what_does_not_fit_into_memory_is_refused() -> None:
    for params in (dict(hidden=10**6), dict(hidden=2**24, layers=256)):
        with pytest.raises(ValueError, match="needs .* of memory, .*: choose fewer hidden units or layers"):
            bptt.RNNClassifier(epochs=1, **FAST | params).fit(DENSE, [0, 1] * 30)


def test_numbers_that_are_none() -> None:
    for name, value, words in [
        ("hidden", np.array(3), "not a whole number from 1 up"),
        ("hidden", 2**64, "not a whole number from 1 to"),
        ("n_jobs", np.array([1, 2]), "not a whole number from 1 up, or -1 or None for all cores"),
        ("lr", 10**400, "not a finite number above 0"),
        ("verbose", "yes", "not a whole number"),
        ("random_state", 2**64, f"not a whole number from 0 to {2**64 - 1}"),
    ]:
        with pytest.raises(ValueError, match=f"^{name}: .* is {words}"):
            bptt.RNNRegressor(**dict(epochs=1, **FAST) | {name: value}).fit(DENSE, DENSE[:, 0])  # type: ignore[arg-type]
    large = bptt.RNNRegressor(epochs=1, hidden=2, random_state=2**64 - 1, n_jobs=10**9).fit(DENSE, DENSE[:, 0])
    # NumPy's own scalars are numbers too.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bptt.RNNRegressor(lr=np.float32(0.01), hidden=np.int64(2), epochs=1).fit(DENSE, DENSE[:, 0])  # type: ignore[arg-type]
    # What it was fitted with counts.
    before = large.predict(DENSE)
    assert (large.set_params(dtype="f64").predict(DENSE) == before).all()
    large.set_params(dtype="f32")
    for X, words in [
        (np.full((4, 5, 2), 1e300), r"^X: it holds 1e\+300 at \[0, 0, 0\], too large for float32"),
        ([[[0.0, None]]] * 4, r"^X.*: it holds None at"),
        (np.full((4, 5, 2), 10**400, dtype=object), "^X: "),
        (np.array(3.0), r"^X: the shape is \[\]"),
        (Sparse(), r"^X: it is a sparse Sparse.*give its toarray\(\)"),
        ([Sparse()] * 4, r"^X: .*sparse"),
    ]:
        with pytest.raises(ValueError, match=words):
            large.fit(X, np.zeros((4, 1)))


class Sparse:
    """A matrix of scipy's."""

    def toarray(self) -> Any:
        return np.zeros((5, 2))


class Column(list[Any]):
    """A column of arrays, as pandas has it."""

    dtype, ndim = np.dtype(object), 1

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise ValueError("it is made of rows")


def test_columns_of_sequences() -> None:
    y = [row[-1, 0] > 0 for row in RAGGED]
    fitted = bptt.RNNClassifier(epochs=2, **FAST).fit(Column(RAGGED), y)
    assert (fitted.predict(Column(RAGGED)) == fitted.predict(RAGGED)).all()


def test_ctrl_c_keeps_what_was_learnt() -> None:
    code = """
import _thread, numpy as np, signal, bptt
# It may be ignored, as in a background job of a shell.
signal.signal(signal.SIGINT, signal.default_int_handler)
class Slow(bptt.RNNRegressor):
    def _show(self, report):
        if '"step":20,' in report: _thread.interrupt_main()
X = np.random.default_rng(0).normal(size=(8, 5, 2))
model = Slow(hidden=4, epochs=10**6, verbose=True)
try: model.fit(X, X[:, 0, 0])
except KeyboardInterrupt: print(model.stop_reason_, len(model.history_["epoch"]) >= 20, model.predict(X).shape)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert found.stdout == "interrupted True (8,)\n", found.stderr


def test_help_explains_every_parameter() -> None:
    for kind in (bptt.RNNClassifier, bptt.RNNRegressor, bptt.RNNLabeler):
        for name in kind().get_params():
            assert f"        {name}: " in str(kind.__doc__)
