"""Drop-in layers for PyTorch: `RNN`, `GRU` and `LSTM` as `torch.nn` has them, computed by bptt on the CPU.

Constructor, parameters and their names, arguments and results are those of `torch.nn`, of which these are subclasses; state
dicts load either way. What they do not have (`proj_size`, other devices than the CPU, other types than float32 and float64) they
refuse by name. Derivatives of derivatives, `torch.func`, `torch.jit` and `torch.export` need `torch.nn`'s own.

>>> import torch, bptt.torch
>>> model = torch.nn.LSTM(8, 16, num_layers=2, bidirectional=True, batch_first=True)
>>> x = torch.randn(4, 10, 8)
>>> before, _ = model(x)
>>> model = bptt.torch.replace(model)  # the same weights, the same numbers
>>> after, (h, c) = model(x)
>>> after.shape, h.shape, bool(torch.allclose(before, after, atol=1e-5))
(torch.Size([4, 10, 32]), torch.Size([4, 4, 16]), True)
"""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from bptt._bptt import Layers32, Layers64

__all__ = ["GRU", "LSTM", "RNN", "replace"]

_M = TypeVar("_M", bound=torch.nn.Module)
_Engine = Layers32 | Layers64
_Kind = tuple[str, tuple[int, int, int], tuple[bool, bool], int, torch.dtype]

# Engines that wait for the next call of a module, and their kind. An engine holds what the way back needs, so a module that is
# called twice before it goes back has two.
_waiting: weakref.WeakKeyDictionary[torch.nn.Module, list[tuple[_Kind, _Engine]]] = weakref.WeakKeyDictionary()

# Their threads do not live on in a forked process.
os.register_at_fork(after_in_child=_waiting.clear)


def _pauses() -> list[Any]:
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            paths = {line.split()[-1] for line in maps if "/libgomp" in line}
        found = [ctypes.CDLL(path) for path in sorted(paths)]
        return [library.omp_pause_resource_all for library in found if hasattr(library, "omp_pause_resource_all")]
    except OSError:
        return []


# PyTorch's threads look out for more work for some milliseconds after each operation, and keep the cores from ours. OpenMP gives
# its idle threads up if it is asked to, and starts them anew when it needs them, in some hundredths of a millisecond.
_PAUSES = _pauses()
_SOFT = 1


def _have_the_cores() -> None:
    for pause in _PAUSES:
        pause(_SOFT)


class _Lease:
    """An engine for one call of a module and its way back; it waits for the next call when nobody needs it any more."""

    def __init__(self, module: _Layers, kind: _Kind) -> None:
        waiting = _waiting.setdefault(module, [])
        self.module, self.kind = weakref.ref(module), kind
        # Whether it holds what the way back needs.
        self.is_fresh = False
        while waiting:
            found, self.engine = waiting.pop()
            if found == kind:
                return
        new = Layers32 if kind[-1] == torch.float32 else Layers64
        self.engine = new(*kind[:4])

    def __del__(self) -> None:
        module = self.module()
        if module is not None and hasattr(self, "engine"):
            _waiting.setdefault(module, []).append((self.kind, self.engine))


class _Run(torch.autograd.Function):
    """Hidden states and last states from inputs, first states and weights."""

    @staticmethod
    def forward(
        ctx: Any,
        lease: _Lease,
        how: tuple[bool, list[int] | None, tuple[float, int] | None],
        x: Tensor,
        state: Tensor,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor]:
        hidden, last = _forward(lease, how, x, state, weights)
        ctx.lease, ctx.how = lease, how
        ctx.save_for_backward(x, state, *weights)
        return hidden, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_hidden: Tensor, d_last: Tensor) -> tuple[Tensor | None, ...]:
        x, state, *weights = ctx.saved_tensors
        lease, (batch_first, _, _) = ctx.lease, ctx.how
        if not lease.is_fresh:
            # Gone back before: what that overwrote is computed again.
            _forward(lease, ctx.how, x, state, weights)
        lease.is_fresh = False
        d_rows = d_hidden if batch_first else d_hidden.transpose(0, 1)
        _have_the_cores()
        d_x, d_state, d_weights = lease.engine.backward(_numbers(d_rows), _numbers(d_last))
        d_inputs = torch.from_numpy(d_x)
        shaped = (torch.from_numpy(d).view_as(w) for d, w in zip(d_weights, weights))
        return (None, None, d_inputs if batch_first else d_inputs.transpose(0, 1), torch.from_numpy(d_state), *shaped)


def _forward(
    lease: _Lease,
    how: tuple[bool, list[int] | None, tuple[float, int] | None],
    x: Tensor,
    state: Tensor,
    weights: Any,
) -> tuple[Tensor, Tensor]:
    batch_first, lengths, dropout = how
    _, (_, hidden_size, _), (bidirectional, _), _, _ = lease.kind
    hidden = torch.empty(*x.shape[:2], hidden_size * (1 + bidirectional), dtype=x.dtype)
    last = state.detach().resolve_neg().clone(memory_format=torch.contiguous_format)
    rows, to = (x, hidden) if batch_first else (x.transpose(0, 1), hidden.transpose(0, 1))
    arrays = [_numbers(w) for w in weights]
    lease.is_fresh = False
    _have_the_cores()
    lease.engine.forward(_numbers(rows), to.numpy(), last.numpy(), arrays, lengths, dropout)
    lease.is_fresh = True
    return hidden, last


def _numbers(tensor: Tensor) -> NDArray[Any]:
    found: NDArray[Any] = tensor.detach().resolve_neg().numpy()
    return found


class _Layers(torch.nn.RNNBase):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _check(self)

    def _get_name(self) -> str:
        return f"bptt.torch.{type(self).__name__}"

    def forward(self, input: Tensor | PackedSequence, hx: Any = None) -> Any:
        """`output, h_n`, or of an LSTM `output, (h_n, c_n)`, as `torch.nn` says."""
        if torch.onnx.is_in_onnx_export():
            raise RuntimeError(f"bptt.torch.{type(self).__name__} cannot be traced into ONNX: export torch.nn's, with this state_dict")
        packed = input if isinstance(input, PackedSequence) else None
        lengths: list[int] | None = None
        if packed is not None:
            # As they are: sorted, the longest first.
            data = PackedSequence(packed.data, packed.batch_sizes)
            x, steps = pad_packed_sequence(data, batch_first=self.batch_first)
            lengths = steps.tolist()
        elif isinstance(input, Tensor):
            x = input
        else:
            raise TypeError(f"input: expected a Tensor or a PackedSequence, got {type(input).__name__}")
        self._check_tensor("input", x)
        if x.dim() not in (2, 3):
            raise ValueError(f"input: expected 2 axes (unbatched) or 3, got {x.dim()} of {tuple(x.shape)}")
        if x.shape[-1] != self.input_size:
            raise ValueError(f"input: the last axis is {x.shape[-1]}, expected input_size {self.input_size}")
        if x.dim() == 3 and x.shape[0 if self.batch_first else 1] == 0:
            # Nothing to compute.
            return super().forward(input, hx)
        if 0 in x.shape:
            raise ValueError(f"input: the shape is {tuple(x.shape)}, expected no empty axis")
        batched = x.dim() == 3
        if not batched:
            x = x.unsqueeze(0 if self.batch_first else 1)
        n = x.shape[0 if self.batch_first else 1]
        states = self._states(x, hx, n, batched, packed)
        weights = tuple(w for name in self._names() for w in (getattr(self, name),))
        for name, weight in zip(self._names(), weights):
            self._check_tensor(name, weight)
            if weight.dtype != x.dtype:
                raise ValueError(f"input: it is {x.dtype}, and {name} is {weight.dtype}: expected the same")
        hidden, last = self._run(x, self._joined(states, n), lengths, weights)
        finals = self._apart(last, n)
        if packed is not None:
            out: Any = pack_padded_sequence(hidden, torch.tensor(lengths), batch_first=self.batch_first)
            out = PackedSequence(out.data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
            if packed.unsorted_indices is not None:
                finals = [state.index_select(1, packed.unsorted_indices) for state in finals]
        elif batched:
            out = hidden
        else:
            out = hidden.squeeze(0 if self.batch_first else 1)
            finals = [state.squeeze(1) for state in finals]
        return out, (tuple(finals) if self._is_lstm() else finals[0])

    def _run(self, x: Tensor, state: Tensor, lengths: list[int] | None, weights: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        dropout = None
        if self.training and self.dropout > 0 and self.num_layers > 1:
            # PyTorch's generator says which: its seed makes runs repeatable.
            dropout = (float(self.dropout), int(torch.randint(2**62, ()).item()))
        cell = {"LSTM": "lstm", "GRU": "gru", "RNN_TANH": "tanh", "RNN_RELU": "relu"}[self.mode]
        kind: _Kind = (
            cell,
            (self.input_size, self.hidden_size, self.num_layers),
            (self.bidirectional, self.bias),
            torch.get_num_threads(),
            x.dtype,
        )
        found: tuple[Tensor, Tensor] = _Run.apply(
            _Lease(self, kind), (self.batch_first, lengths, dropout), x, state, *weights
        )
        return found

    def _is_lstm(self) -> bool:
        return bool(self.mode == "LSTM")

    def _names(self) -> list[str]:
        """The names of the weights, layer by layer."""
        return [name for layer in self._all_weights for name in layer]

    def _states(self, x: Tensor, hx: Any, n: int, batched: bool, packed: PackedSequence | None) -> list[Tensor]:
        """The first states, `[L D, N, H]` each."""
        directions = self.num_layers * (1 + self.bidirectional)
        names = ["h_0", "c_0"] if self._is_lstm() else ["h_0"]
        if hx is None:
            return [x.new_zeros(directions, n, self.hidden_size) for _ in names]
        given = tuple(hx) if self._is_lstm() and isinstance(hx, (tuple, list)) else (hx,)
        if len(given) != len(names):
            raise ValueError(f"hx: expected the pair (h_0, c_0), got {type(hx).__name__} of {len(given)}")
        states = []
        for name, state in zip(names, given):
            self._check_tensor(name, state)
            expected = (directions, n, self.hidden_size) if batched else (directions, self.hidden_size)
            if tuple(state.shape) != expected:
                raise ValueError(f"{name}: the shape is {tuple(state.shape)}, expected {expected}")
            if state.dtype != x.dtype:
                raise ValueError(f"{name}: it is {state.dtype}, and the input is {x.dtype}: expected the same")
            state = state if batched else state.unsqueeze(1)
            if packed is not None and packed.sorted_indices is not None:
                state = state.index_select(1, packed.sorted_indices)
            states.append(state)
        return states

    def _joined(self, states: list[Tensor], n: int) -> Tensor:
        """States `[L D, N, H]` as rows `[N, W]`: of each layer and direction h, and of an LSTM c."""
        return torch.stack(states, 1).permute(2, 0, 1, 3).reshape(n, -1)

    def _apart(self, rows: Tensor, n: int) -> list[Tensor]:
        """The other way."""
        parts = 2 if self._is_lstm() else 1
        split = rows.view(n, self.num_layers * (1 + self.bidirectional), parts, self.hidden_size)
        return [split[:, :, part].transpose(0, 1).contiguous() for part in range(parts)]

    @staticmethod
    def _check_tensor(name: str, tensor: Tensor) -> None:
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name}: expected a Tensor, got {type(tensor).__name__}")
        if tensor.is_nested:
            raise NotImplementedError(f"{name}: it is a nested tensor, and bptt computes on dense ones: use a PackedSequence")
        if tensor.device.type != "cpu":
            tip = "it has no numbers yet" if tensor.device.type == "meta" else "use .cpu()"
            raise NotImplementedError(f"{name}: it is on {tensor.device}, and bptt computes on the CPU: {tip}")
        if tensor.layout != torch.strided:
            raise NotImplementedError(f"{name}: its layout is {tensor.layout}, and bptt computes on dense tensors: use .to_dense()")
        if tensor.dtype not in (torch.float32, torch.float64):
            raise NotImplementedError(f"{name}: it is {tensor.dtype}, and bptt computes in float32 or float64: convert it")


def _check(module: torch.nn.RNNBase) -> None:
    if module.proj_size:
        raise NotImplementedError(f"proj_size: it is {module.proj_size}, and bptt has no projections: leave it 0")
    if module.dropout >= 1 and module.num_layers > 1:
        raise NotImplementedError(f"dropout: it is {module.dropout}, and bptt leaves some of what a layer says: choose less than 1")


class RNN(_Layers, torch.nn.RNN):
    """`torch.nn.RNN` computed by bptt.

    Input `[T, N, input_size]` (or `[N, T, input_size]` with `batch_first`, `[T, input_size]` of one sequence, or a
    `PackedSequence`); output `[T, N, D hidden_size]` and `h_n [D num_layers, N, hidden_size]`.

    >>> import torch
    >>> rnn = RNN(3, 5, nonlinearity="relu")
    >>> output, h = rnn(torch.randn(7, 2, 3))
    >>> output.shape, h.shape
    (torch.Size([7, 2, 5]), torch.Size([1, 2, 5]))
    """


class GRU(_Layers, torch.nn.GRU):
    """`torch.nn.GRU` computed by bptt; shapes as of `RNN`.

    >>> import torch
    >>> output, h = GRU(3, 5, num_layers=2, batch_first=True)(torch.randn(2, 7, 3))
    >>> output.shape, h.shape
    (torch.Size([2, 7, 5]), torch.Size([2, 2, 5]))
    """


class LSTM(_Layers, torch.nn.LSTM):
    """`torch.nn.LSTM` computed by bptt; shapes as of `RNN`, with `(h_n, c_n)` in place of `h_n`.

    >>> import torch
    >>> output, (h, c) = LSTM(3, 5, bidirectional=True)(torch.randn(7, 2, 3))
    >>> output.shape, c.shape
    (torch.Size([7, 2, 10]), torch.Size([2, 2, 5]))
    """


_OURS: dict[type, type] = {torch.nn.RNN: RNN, torch.nn.GRU: GRU, torch.nn.LSTM: LSTM}


def replace(model: _M) -> _M:
    """Has every `nn.RNN`, `nn.GRU` and `nn.LSTM` in a model computed by bptt, and returns the model.

    The modules stay where they are with their weights, hooks and optimisers: only their class changes. Subclasses of somebody's
    own are left alone. Nothing is changed if one of them cannot be.

    >>> import torch
    >>> model = torch.nn.ModuleDict({"rnn": torch.nn.GRU(3, 5), "head": torch.nn.Linear(5, 2)})
    >>> type(replace(model)["rnn"]).__module__
    'bptt.torch'
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    found = [module for module in model.modules() if type(module) in _OURS]
    for module in found:
        assert isinstance(module, torch.nn.RNNBase)
        _check(module)
        for name, weight in module.named_parameters():
            _Layers._check_tensor(name, weight)
    for module in found:
        module.__class__ = _OURS[type(module)]
    return model
