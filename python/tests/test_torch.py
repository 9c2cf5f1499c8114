"""`bptt.torch` against `torch.nn`: the same numbers, the same state dicts, the same gradients."""

from __future__ import annotations

import copy
import itertools
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import bptt.torch  # noqa: E402
from bptt._bptt import Layers32  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence  # noqa: E402

# Both sum in single precision in another order; the states are at most 1.
TOLERANCE = 1e-5

PAIRS = [("RNN", {}), ("RNN", {"nonlinearity": "relu"}), ("GRU", {}), ("LSTM", {})]
FORMS = [
    dict(zip(("num_layers", "bidirectional", "bias", "batch_first"), form))
    for form in itertools.product((1, 3), (False, True), (True, False), (False, True))
]


def pair(name: str, sizes: tuple[int, int] = (3, 6), **form: Any) -> tuple[Any, Any]:
    torch.manual_seed(1)
    stock = getattr(torch.nn, name)(*sizes, **form)
    ours = getattr(bptt.torch, name)(*sizes, **form)
    ours.load_state_dict(stock.state_dict(), strict=True)
    return stock, ours


def first(module: Any, *batch: int, seed: int = 7) -> Any:
    directions = module.num_layers * (1 + module.bidirectional)
    generator = torch.Generator().manual_seed(seed)
    dtype = next(module.parameters()).dtype
    new = [torch.randn(directions, *batch, module.hidden_size, generator=generator, dtype=dtype) for _ in range(2)]
    for state in new:
        state.requires_grad_()
    return tuple(new) if module.mode == "LSTM" else new[0]


def flat(result: Any) -> list[Any]:
    output, states = result
    data = output.data if hasattr(output, "batch_sizes") else output
    return [data, *(states if isinstance(states, tuple) else (states,))]


def run(module: Any, x: Any, hx: Any) -> list[Any]:
    """Results and all gradients of a loss of all of them."""
    module.zero_grad()
    data = x.data if hasattr(x, "batch_sizes") else x
    data.grad = None
    results = flat(module(x, hx))
    sum((result * torch.cos(3 * result)).sum() for result in results).backward()
    states = hx if isinstance(hx, tuple) else (hx,)
    gradients = [data.grad, *(state.grad for state in states if state is not None)]
    return [*(r.detach() for r in results), *gradients, *(p.grad for p in module.parameters())]


def assert_same(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    for i, (ours, theirs) in enumerate(zip(found, expected)):
        assert ours.shape == theirs.shape, i
        assert ours.dtype == theirs.dtype, i
        size = max(1.0, theirs.abs().max().item())
        assert (ours - theirs).abs().max().item() <= TOLERANCE * size, i


@pytest.mark.parametrize("name,how", PAIRS)
@pytest.mark.parametrize("form", FORMS)
def test_results_and_gradients(name: str, how: dict[str, Any], form: dict[str, Any]) -> None:
    stock, ours = pair(name, **how, **form)
    x = torch.randn(*((4, 5) if stock.batch_first else (5, 4)), 3, requires_grad=True)
    assert_same(run(ours, x, first(ours, 4)), run(stock, x, first(stock, 4)))
    assert_same(run(ours, x, None), run(stock, x, None))
    assert list(ours.state_dict()) == list(stock.state_dict())
    stock.load_state_dict(ours.state_dict(), strict=True)


@pytest.mark.parametrize("name,how", PAIRS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_packed_sequences(name: str, how: dict[str, Any], bidirectional: bool, batch_first: bool) -> None:
    stock, ours = pair(name, num_layers=2, bidirectional=bidirectional, batch_first=batch_first, **how)
    sequences = [torch.randn(length, 3) for length in (2, 7, 1, 5)]
    lengths = [len(sequence) for sequence in sequences]
    for sort in (True, False):
        some = sequences if not sort else sorted(sequences, key=len, reverse=True)
        x = pack_sequence(some, enforce_sorted=sort)
        x.data.requires_grad_()
        assert_same(run(ours, x, first(ours, 4)), run(stock, x, first(stock, 4)))
        back = [pad_packed_sequence(module(x)[0], batch_first=True) for module in (ours, stock)]
        assert_same(list(back[0]), list(back[1]))
        if not sort:
            assert back[0][1].tolist() == lengths
    padded = torch.randn(*((4, 9) if batch_first else (9, 4)), 3)
    x = pack_padded_sequence(padded, lengths, batch_first=batch_first, enforce_sorted=False)
    assert_same(flat(ours(x)), flat(stock(x)))


@pytest.mark.parametrize("name,how", PAIRS)
def test_unbatched(name: str, how: dict[str, Any]) -> None:
    stock, ours = pair(name, num_layers=2, bidirectional=True, **how)
    x = torch.randn(5, 3, requires_grad=True)
    assert_same(run(ours, x, first(ours)), run(stock, x, first(stock)))


@pytest.mark.parametrize("name,how", PAIRS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_gradients_are_central_differences(name: str, how: dict[str, Any], bidirectional: bool) -> None:
    _, ours = pair(name, (2, 3), num_layers=2, bidirectional=bidirectional, **how)
    ours = ours.double()
    names, weights = zip(*ours.named_parameters())
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    hx = first(ours, 2)
    states = hx if isinstance(hx, tuple) else (hx,)

    def call(x: Any, *rest: Any) -> Any:
        states, weights = rest[: rest_states], rest[rest_states:]
        given = states if len(states) > 1 else states[0]
        output = torch.func.functional_call(ours, dict(zip(names, weights)), (x, given))
        return tuple(flat(output))

    rest_states = len(states)
    assert torch.autograd.gradcheck(call, (x, *states, *weights))


def test_dropout_is_between_layers_in_training_alone() -> None:
    stock, ours = pair("LSTM", (3, 50), num_layers=2, dropout=0.5)
    x = torch.randn(20, 8, 3)
    torch.manual_seed(5)
    one = ours(x)[0]
    torch.manual_seed(5)
    assert torch.equal(ours(x)[0], one)
    assert not torch.equal(ours(x)[0], one)
    # Nothing is dropped of what leaves the highest layer, and layer 0 is as without dropout.
    assert (one == 0).sum() == 0
    assert torch.allclose(ours(x)[1][0][0], stock(x)[1][0][0], atol=TOLERANCE)
    # Many masks come to the same mean.
    means = [module(x.repeat(1, 300, 1))[0].detach().view(20, 300, 8, 50).mean(1) for module in (ours, stock)]
    assert (means[0] - means[1]).abs().max() < 0.08
    ours.eval(), stock.eval()
    assert_same(flat(ours(x)), flat(stock(x)))


def test_gradients_with_dropout_are_central_differences() -> None:
    _, ours = pair("GRU", (2, 3), num_layers=3, dropout=0.4)
    ours = ours.double()
    x = torch.randn(4, 2, 2, dtype=torch.float64, requires_grad=True)

    def call(x: Any) -> Any:
        torch.manual_seed(3)
        return ours(x)[0]

    assert torch.autograd.gradcheck(call, (x,))


def test_two_calls_before_going_back_and_twice_back() -> None:
    stock, ours = pair("LSTM")
    x, y = torch.randn(5, 4, 3), torch.randn(2, 1, 3)
    found = []
    for module in (ours, stock):
        one, two = module(x)[0], module(y)[0]
        loss = (one**2).sum() + (two**3).sum()
        loss.backward(retain_graph=True)
        loss.backward()
        found.append([parameter.grad for parameter in module.parameters()])
    assert_same(*found)


def test_without_gradients_and_with_frozen_weights() -> None:
    stock, ours = pair("GRU")
    x = torch.randn(5, 4, 3)
    with torch.no_grad():
        assert_same(flat(ours(x)), flat(stock(x)))
    for module in (ours, stock):
        module.weight_hh_l0.requires_grad_(False)
        module(x)[0].sum().backward()
    assert ours.weight_hh_l0.grad is None
    assert_same([ours.weight_ih_l0.grad], [stock.weight_ih_l0.grad])


def test_views_of_outputs_and_strides_of_inputs() -> None:
    stock, ours = pair("LSTM")
    x = torch.randn(3, 4, 5).permute(2, 1, 0)
    assert_same(flat(ours(x)), flat(stock(x)))
    assert ours(x)[0].view(-1, 6).shape == (20, 6)
    assert_same([ours(x.flip(0)[::2])[0]], [stock(x.flip(0)[::2])[0]])


class Model(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.encoder = torch.nn.Embedding(11, 4)
        self.layers = torch.nn.ModuleList([torch.nn.LSTM(4, 6, batch_first=True), torch.nn.RNN(6, 5, batch_first=True)])
        self.decoder = torch.nn.Linear(5, 11)

    def forward(self, ids: Any) -> Any:
        x = self.encoder(ids)
        for layer in self.layers:
            x, _ = layer(x)
        return self.decoder(x)


def test_replace_trains_the_same_weights() -> None:
    torch.manual_seed(2)
    stock = Model()
    ours = copy.deepcopy(stock)
    losses = []
    ids = torch.randint(11, (6, 9))
    for model in (stock, ours):
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        if model is ours:
            assert bptt.torch.replace(model) is model
            assert [type(layer).__module__ for layer in model.layers] == ["bptt.torch"] * 2
            assert "(0): bptt.torch.LSTM(4, 6, batch_first=True)" in repr(model)
        of_model = []
        for _ in range(10):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
            loss.backward()
            optimizer.step()
            of_model.append(loss.item())
        losses.append(of_model)
    assert losses[0][-1] < losses[0][0]
    assert max(abs(a - b) for a, b in zip(*losses)) < 1e-4
    again = pickle.loads(pickle.dumps(ours))
    assert torch.equal(again(ids), ours(ids))
    assert torch.equal(copy.deepcopy(ours)(ids), ours(ids))


@pytest.mark.skipif(not bptt.torch._PAUSES, reason="PyTorch is built with another OpenMP than GCC's")
def test_pytorchs_idle_threads_leave_the_cores_to_ours() -> None:
    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    before, x = torch.get_num_threads(), torch.randn(1000, 1000)
    torch.set_num_threads(3)
    try:
        exponentials = x.exp()
        busy = threads()
        bptt.torch._have_the_cores()
        assert threads() <= busy - 2
        assert torch.equal(x.exp(), exponentials)
    finally:
        torch.set_num_threads(before)


def test_what_bptt_lacks_is_refused_by_name() -> None:
    with pytest.raises(NotImplementedError, match="proj_size"):
        bptt.torch.LSTM(3, 6, proj_size=2)
    with pytest.raises(NotImplementedError, match="proj_size"):
        bptt.torch.replace(torch.nn.Sequential(torch.nn.GRU(2, 3), torch.nn.LSTM(3, 6, proj_size=2)))
    lstm = bptt.torch.LSTM(3, 6)
    x = torch.randn(5, 4, 3)
    with pytest.raises(NotImplementedError, match="input.*float16"):
        lstm(x.half())
    with pytest.raises(ValueError, match="float64.*weight_ih_l0"):
        lstm(x.double())
    with pytest.raises(NotImplementedError, match="input.*meta"):
        lstm(x.to("meta"))
    with pytest.raises(NotImplementedError, match="weight_ih_l0.*bfloat16"):
        bptt.torch.LSTM(3, 6).bfloat16()(x)
    with pytest.raises(NotImplementedError, match="input.*sparse"):
        lstm(x.to_sparse())
    for bad, words in [
        (x[..., :2], "input_size 3"),
        (x[0, 0], "axes"),
        (torch.randn(0, 4, 3), "empty"),
    ]:
        with pytest.raises(ValueError, match=words):
            lstm(bad)
    with pytest.raises(TypeError, match="input"):
        lstm([1.0])
    h = torch.zeros(1, 4, 6)
    for hx, words in [(h, "pair"), ((h,), "pair"), ((h, h[:, :2]), "c_0"), ((h.double(), h), "h_0")]:
        with pytest.raises(ValueError, match=words):
            lstm(x, hx)
    with pytest.raises(TypeError, match="c_0"):
        lstm(x, (h, None))
    with pytest.raises(NotImplementedError, match="dropout: it is 1"):
        bptt.torch.GRU(3, 6, num_layers=2, dropout=1.0)
    for model, words in [
        (torch.nn.LSTM(3, 6).half(), "weight_ih_l0.*float16"),
        (torch.nn.LSTM(3, 6, device="meta"), "weight_ih_l0.*meta.*no numbers yet"),
        (torch.nn.GRU(3, 6, 2, dropout=1.0), "dropout"),
    ]:
        whole = torch.nn.Sequential(torch.nn.RNN(3, 3), model)
        with pytest.raises(NotImplementedError, match=words):
            bptt.torch.replace(whole)
        assert type(whole[0]) is torch.nn.RNN
    with pytest.raises(NotImplementedError, match=r"to_dense\(\)"):
        lstm(x.to_sparse())
    with pytest.raises(NotImplementedError, match="nested tensor.*PackedSequence"):
        lstm(torch.nested.nested_tensor([x[0], x[1]], layout=torch.jagged))
    lstm.weight_hh_l0 = None
    with pytest.raises(TypeError, match="weight_hh_l0: expected a Tensor, got NoneType"):
        lstm(x)
    with pytest.raises(NotImplementedError, match="encoder: max_norm"):
        bptt.from_torch(torch.nn.GRU(3, 4), torch.nn.Linear(4, 2), torch.nn.Embedding(5, 3, max_norm=0.1))
    for broken in (torch.nn.GRU(3, 4, device="meta"), torch.nn.GRU(3, 4).to(torch.complex64)):
        with pytest.raises(NotImplementedError, match="^rnn: its weights are .*expected dense real numbers"):
            bptt.from_torch(broken, torch.nn.Linear(4, 2))
    normed = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(4, 2))
    found = bptt.from_torch(torch.nn.GRU(3, 4), normed).state_dict()["decoder.weight"]
    assert np.allclose(found, normed.weight.detach().numpy())
    with pytest.raises(ValueError, match="loss: 'nll' is not one of 'cross-entropy'"):
        bptt.from_torch(torch.nn.GRU(3, 4), torch.nn.Linear(4, 2), loss="nll")


def test_negated_views() -> None:
    stock, ours = pair("GRU", (3, 5))
    x = torch.view_as_complex(torch.randn(4, 7, 3, 2)).conj().imag
    assert x.is_neg() and torch.allclose(ours(x)[0], stock(x)[0], atol=1e-6)
    loss = ours(x)[0]
    (g,) = torch.autograd.grad(loss, [ours.weight_hh_l0], torch.view_as_complex(torch.ones(4, 7, 5, 2)).conj().imag)
    (expected,) = torch.autograd.grad(stock(x)[0], [stock.weight_hh_l0], -torch.ones(4, 7, 5))
    assert torch.allclose(g, expected, atol=1e-5)


def test_steps_that_do_not_fit_into_memory_are_refused() -> None:
    with pytest.raises(ValueError, match="needs .* of memory"):
        Layers32("tanh", (1, 2**19, 1), (False, True), 1)


def test_no_onnx_without_inputs(tmp_path: Path) -> None:
    to = tmp_path / "model.onnx"
    with pytest.raises(RuntimeError, match="bptt.torch.GRU cannot be traced into ONNX"):
        torch.onnx.export(bptt.torch.GRU(2, 3), (torch.zeros(4, 1, 2),), str(to), dynamo=False)
    assert not to.exists()


def test_no_sequences_give_no_answers() -> None:
    x = torch.zeros(7, 0, 3)
    for theirs in (torch.nn.LSTM(3, 4), torch.nn.GRU(3, 4), torch.nn.RNN(3, 4)):
        ours = bptt.torch.replace(copy.deepcopy(theirs))
        assert ours(x)[0].shape == theirs(x)[0].shape == (7, 0, 4)
    with pytest.raises(ValueError, match="no empty axis"):
        ours(torch.zeros(0, 2, 3))
