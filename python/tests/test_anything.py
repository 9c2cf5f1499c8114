"""Whatever is given to it, the package answers or raises one of Python's own exceptions: no panic comes through."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import pytest

import bptt
from bptt import _bptt

# What may be raised; a panic of Rust is none of them. `ImportError`: where there is no torch.
EXPECTED = (ValueError, TypeError, OSError, RuntimeError, OverflowError, AttributeError, MemoryError, ImportError)

HUGE = 2**70
THINGS: list[Any] = [
    None,
    True,
    0,
    -1,
    3,
    HUGE,
    0.5,
    float("nan"),
    float("inf"),
    1 + 2j,
    "",
    "lstm",
    "\0",
    "\ud800",
    "nan",
    "-1",
    str(2**70),
    b"x",
    [],
    [[]],
    [[[]]],
    [[1.0]],
    [[[1.0]]],
    [[1.0], [1.0, 2.0]],
    (),
    {},
    {"a": 1},
    object(),
    np.zeros(0),
    np.zeros((0, 3, 2)),
    np.zeros((2, 0, 2)),
    np.zeros((2, 3, 0)),
    np.zeros((2, 3, 2)),
    np.zeros((2, 3, 2), np.float16),
    np.zeros((2, 3, 2), ">f4"),
    np.zeros((2, 3, 2), np.float32)[::-1, ::2, ::-1],
    np.broadcast_to(np.float32(1), (2, 3, 2)),
    np.array([[[1, None]]], dtype=object),
    np.array(["a", "b"]),
    np.array(7),
    np.zeros((2, 3), np.int64),
    np.full((2, 3), -5),
    np.zeros((2, 3), np.uint32),
    np.array([True, False]),
    np.datetime64("2026-01-01"),
    np.zeros(2, dtype=[("a", "f4")]),
    np.ma.masked_all((2, 3, 2)),
    np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (2, 3, 2), (0, 0, 0)),
]


def survives(call: Any) -> None:
    try:
        call()
    except EXPECTED:
        pass


@pytest.fixture(scope="module")
def model() -> bptt.Model:
    x = np.random.default_rng(0).normal(size=(6, 4, 2))
    return bptt.RNNRegressor(hidden=3, epochs=1, random_state=0).fit(x, x).model_


@pytest.mark.parametrize("kind", [bptt.RNNClassifier, bptt.RNNRegressor, bptt.RNNLabeler])
def test_estimators(kind: Any) -> None:
    x = np.random.default_rng(0).normal(size=(6, 4, 2))
    y = (x[:, 0, :] > 0).astype(int) if kind is bptt.RNNLabeler else np.arange(6) % 2
    small: dict[str, Any] = dict(hidden=2, epochs=1, batch_size=3, random_state=0, n_jobs=1)
    fitted = kind(**small).fit(x, y)
    for thing in THINGS:
        survives(lambda: kind(**small).fit(thing, y))
        survives(lambda: kind(**small).fit(x, thing))
        survives(lambda: kind(**small).fit([*x], thing))
        survives(lambda: kind(**small).fit(thing, thing))
        survives(lambda: kind(**small).fit(x, y, thing))
        survives(lambda: kind(**small).fit(x, y, (thing, y)))
        survives(lambda: kind(**small).fit(x, y, (x, thing)))
        survives(lambda: fitted.predict(thing))
        survives(lambda: fitted.score(x, thing))
        survives(lambda: kind.load(thing))
    for name, thing in itertools.product(fitted.get_params(), THINGS):
        # Sizes that are allowed and absurd take time, not sense.
        if name not in ("epochs", "hidden", "layers") or thing is not True:
            survives(lambda: kind(**{**small, name: thing}).fit(x, y))


def test_models_and_runs(model: bptt.Model, tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for thing in THINGS:
        survives(lambda: model.predict(thing))
        survives(lambda: model.predict(np.zeros((2, 3, 2)), threads=thing))
        survives(lambda: model.logprobs(thing))
        survives(lambda: model.sample(thing))
        survives(lambda: model.sample("a", thing))
        survives(lambda: model.eval(thing))
        survives(lambda: model.export(thing, thing))
        survives(lambda: model.export(thing, "onnx"))
        survives(lambda: model.export(tmp_path / "model", thing))
        survives(lambda: model.save(thing))
        survives(lambda: model.eval("none.npz", threads=thing))
        for name in ("length", "temperature", "top_k", "seed"):
            survives(lambda: model.sample("a", **{name: thing}))
        survives(lambda: bptt.Model.load(thing))
        survives(lambda: bptt.load(thing))
        survives(lambda: bptt.resume(thing))
        survives(lambda: bptt.from_torch(thing, thing)) if thing is not None else None
        if thing is not None:
            survives(lambda: bptt.train(thing, steps=1, hidden=2, quiet=True))
        for flag in ("hidden", "lr", "cell", "valid", "threads", "memory", "seed", "nothing", "out", "quiet"):
            survives(lambda: bptt.train("none.txt", **{"quiet": True, flag: thing}))
            survives(lambda: bptt.resume("none", **{"quiet": True, flag: thing}))


def test_the_rust_below(model: bptt.Model) -> None:
    """Nobody calls it but our own Python; it holds all the same."""
    random_ = random.Random(5)
    core = model._core
    tensors = core.tensors()
    good = (
        np.zeros((2, 3, 2), np.float32),
        np.zeros((2, 3, 4), np.float32),
        np.zeros((2, 4), np.float32),
        [np.zeros(n, np.float32) for n in (8, 16, 4, 4)],
        None,
        None,
    )
    layers = _bptt.Layers32("tanh", (2, 4, 1), (False, True), 1)
    layers.forward(*good)
    with pytest.raises(ValueError, match="forward"):
        _bptt.Layers32("tanh", (2, 4, 1), (False, True), 1).backward(good[1], good[2])
    layers.backward(good[1], good[2])
    with pytest.raises(ValueError, match="forward"):
        layers.backward(good[1], good[2])
    for _ in range(2000):
        given = [random_.choice(THINGS) if random_.random() < 0.3 else thing for thing in good]
        survives(lambda: layers.forward(*given))
        survives(lambda: layers.backward(*random_.choices(THINGS, k=2)))
        survives(lambda: core.predict(*random_.choices(THINGS, k=3)))
    for thing in THINGS:
        for one in itertools.product(("lstm", thing), ((2, 3, 1), thing), ((True, True), thing), (1, thing)):
            # A thread each would be a lot of them.
            if not (isinstance(thing, int) and thing > 8):
                survives(lambda: _bptt.Layers64(*one))
        survives(lambda: layers.forward(*good[:4], thing))
        survives(lambda: layers.forward(*good[:5], thing))
        survives(lambda: layers.forward(*good[:5], (thing, thing)))
        survives(lambda: layers.forward(*good[:3], [thing] * 4))
        survives(lambda: _bptt.Model.read(thing))
        survives(lambda: _bptt.Model.from_tensors(thing, core.architecture, "null"))
        survives(lambda: _bptt.Model.from_tensors({**tensors, "rnn.weight_ih_l0": thing}, core.architecture, "null"))
        survives(lambda: _bptt.Model.from_tensors(tensors, thing, "null"))
        survives(lambda: _bptt.run(thing, print))
        survives(lambda: _bptt.run(["sample", thing], thing))
        survives(lambda: _bptt.fit((thing, thing, None, None), None, False, "{}"))


@pytest.mark.filterwarnings("ignore::UserWarning")  # of what PyTorch deprecates
def test_torch_layers() -> None:
    torch = pytest.importorskip("torch")
    import bptt.torch
    from torch.nn.utils.rnn import PackedSequence, pack_sequence

    x = torch.randn(3, 2, 2)
    tensors = [
        *(x.to(kind) for kind in (torch.float16, torch.bfloat16, torch.complex64, torch.int64, torch.bool)),
        x.double(),
        x.to("meta"),
        x.to_sparse(),
        x.flip(0)[::2].transpose(0, 1),
        x[:1].expand(3, 2, 2),
        torch.zeros(1).expand(2**40, 2, 2),
        torch.zeros(1).expand(1, 2**40, 2),
        torch.as_strided(torch.zeros(9), (3, 2, 2), (0, 1, 1)),
        torch.full((3, 2, 2), float("nan")),
        torch.full((3, 2, 2), float("inf")),
        torch.full((3, 2, 2), 3e38, requires_grad=True),
        torch.from_numpy(np.zeros((3, 2, 2), np.float32)[:, ::-1].copy()[:, ::1]),
        *(torch.zeros(shape) for shape in [(), (0,), (2,), (3, 2), (0, 2, 2), (3, 0, 2), (3, 2, 0), (3, 2, 2, 2), (1, 3, 3), (1, 3)]),
        torch.nested.nested_tensor([x[0], x[1]]),
        torch.quantize_per_tensor(x, 0.1, 0, torch.qint8),
        pack_sequence([x[:, 0], x[:2, 1]]),
        pack_sequence([x[:1, 0], x[:3, 1]], enforce_sorted=False),
        PackedSequence(x[:, 0], torch.tensor([2, 1])),
        PackedSequence(x[:, 0], torch.tensor([1, 2])),
        PackedSequence(x[:, 0], torch.tensor([3, 0])),
        PackedSequence(x[:, 0], torch.tensor([-1, 4])),
        PackedSequence(x[:, 0], torch.tensor([2**40, 1])),
        PackedSequence(x[:, 0], torch.tensor([2, 1]), torch.tensor([5, 7]), torch.tensor([5, 7])),
        PackedSequence(x[:0, 0], torch.tensor([], dtype=torch.int64)),
        PackedSequence(x[:, 0].to("meta"), torch.tensor([2, 1])),
    ]
    things = [*THINGS, *tensors]
    for kind in (bptt.torch.RNN, bptt.torch.GRU, bptt.torch.LSTM):
        for thing in THINGS:
            survives(lambda: kind(thing, 3))
            survives(lambda: kind(2, thing))
            for name in ("num_layers", "bias", "batch_first", "dropout", "bidirectional", "proj_size", "device", "dtype", "nonlinearity"):
                # Of so many layers, PyTorch itself would make a list.
                if name != "num_layers" or thing is not HUGE:
                    survives(lambda: kind(2, 3, **{name: thing})(x))
        layers = kind(2, 3, num_layers=2, bidirectional=True, dropout=0.1)
        for thing in things:
            survives(lambda: sum(t.sum() for t in [layers(thing)[0]]).backward())
            survives(lambda: layers(x, thing))
            survives(lambda: layers(x, (thing, thing)))
            survives(lambda: layers(tensors[-8], thing))
            survives(lambda: layers(x)[0].backward(thing))
            survives(lambda: bptt.torch.replace(thing))
            survives(lambda: bptt.torch.replace(torch.nn.Sequential(thing)))
            for name in ("hidden_size", "input_size", "num_layers", "bidirectional", "bias", "batch_first", "dropout"):
                if not isinstance(thing, (torch.Tensor, np.ndarray, PackedSequence)) and thing is not HUGE:
                    broken = kind(2, 3)
                    setattr(broken, name, thing)
                    survives(lambda: broken(x))
        for tensor in tensors:
            if type(tensor) is torch.Tensor:
                for name in ("weight_ih_l0", "weight_hh_l1_reverse", "bias_hh_l0"):
                    broken = kind(2, 3, num_layers=2, bidirectional=True)
                    survives(lambda: setattr(broken, name, torch.nn.Parameter(tensor, requires_grad=False)))
                    survives(lambda: broken(x)[0].sum().backward())
    # Behind its back: what goes back over arrays that have changed since.
    lstm = bptt.torch.LSTM(2, 3)
    out = lstm(x)[0]
    with torch.no_grad():
        lstm.weight_ih_l0.zero_()
    survives(lambda: out.sum().backward())
    with torch.inference_mode():
        survives(lambda: lstm(x))
    for call in (torch.func.vmap(lambda x: lstm(x)[0]), torch.func.grad(lambda x: lstm(x)[0].sum())):
        survives(lambda: call(x))


def test_several_threads_share_a_model(model: bptt.Model) -> None:
    from concurrent.futures import ThreadPoolExecutor

    x = np.random.default_rng(1).normal(size=(8, 5, 2))
    expected = model.predict(x)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: model.predict(x), range(20)):
            assert (found == expected).all()
