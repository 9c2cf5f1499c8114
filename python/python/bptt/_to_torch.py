"""Models as PyTorch's modules, and back. Imports torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_CELLS = {"tanh": torch.nn.RNN, "relu": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}


class Network(torch.nn.Module):
    """`encoder` (of an embedding), `rnn`, `decoder`."""

    def __init__(self, architecture: dict[str, Any], dtype: torch.dtype) -> None:
        super().__init__()
        (self.reads, size), head = next(iter(architecture["input"].items())), architecture["head"]
        self.at, n_x = head["at"], size
        if self.reads == "embedding":
            self.encoder = torch.nn.Embedding(size["tokens"], size["size"], dtype=dtype)
            n_x = size["size"]
        self.n_x, hidden, directions = n_x, architecture["hidden"], 1 + architecture["bidirectional"]
        cell = architecture["cell"]
        options: dict[str, Any] = {"nonlinearity": cell} if cell in ("tanh", "relu") else {}
        self.rnn = _CELLS[cell](
            n_x,
            hidden,
            architecture["layers"],
            bidirectional=architecture["bidirectional"],
            batch_first=True,
            dtype=dtype,
            **options,
        )
        self.decoder = torch.nn.Linear(directions * hidden, head["outputs"], dtype=dtype)
        if head["tied"]:
            self.decoder.weight = self.encoder.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the answers, before a softmax or sigmoid."""
        if self.reads == "embedding":
            x = self.encoder(x)
        elif self.reads == "tokens":
            x = torch.nn.functional.one_hot(x, self.n_x).to(self.decoder.weight.dtype)
        output, state = self.rnn(x)
        if self.at == "last":
            h = state[0] if isinstance(state, tuple) else state
            output = torch.cat(list(h[-(1 + self.rnn.bidirectional) :]), 1)
        scores: torch.Tensor = self.decoder(output)
        return scores


def module(architecture: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Network:
    """The network of a model."""
    state = {name: torch.from_numpy(values) for name, values in tensors.items()}
    network = Network(architecture, next(iter(state.values())).dtype)
    network.load_state_dict(state, strict=True)
    return network


def parts(rnn: Any, decoder: Any, encoder: Any) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The tensors of three modules, and what network they are."""
    for name, given, kinds in [
        ("rnn", rnn, (torch.nn.RNN, torch.nn.GRU, torch.nn.LSTM)),
        ("decoder", decoder, (torch.nn.Linear,)),
        ("encoder", encoder, (torch.nn.Embedding, type(None))),
    ]:
        if not isinstance(given, kinds):
            expected = ", ".join(kind.__name__ for kind in kinds if kind is not type(None))
            raise TypeError(f"{name}: expected one of torch.nn's {expected}, got {type(given).__name__}")
    for name, given in (("rnn", rnn), ("decoder", decoder), ("encoder", encoder)):
        for weight in given.parameters() if given is not None else ():
            if weight.device.type == "meta" or weight.layout != torch.strided or not weight.dtype.is_floating_point:
                what = f"{weight.dtype}, {weight.layout}, on {weight.device}"
                raise NotImplementedError(f"{name}: its weights are {what}, expected dense real numbers")
    if rnn.proj_size:
        raise NotImplementedError(f"rnn: proj_size is {rnn.proj_size}, and bptt has no projections")
    if not rnn.bias:
        raise NotImplementedError("rnn: it has bias=False, and the layers of bptt have biases")
    if encoder is not None and encoder.max_norm is not None:
        raise NotImplementedError(f"encoder: max_norm is {encoder.max_norm}, and bptt reads rows as they are: leave it None")
    outputs = rnn.hidden_size * (1 + rnn.bidirectional)
    if decoder.in_features != outputs:
        raise ValueError(f"decoder: it reads {decoder.in_features} numbers, expected {outputs}, the outputs of rnn")
    n_x: dict[str, Any] = {"features": rnn.input_size}
    tensors = {f"rnn.{name}": value for name, value in rnn.state_dict().items()}
    # As they are computed, where they are made of others.
    tensors["decoder.weight"] = decoder.weight
    tensors["decoder.bias"] = decoder.weight.new_zeros(decoder.out_features) if decoder.bias is None else decoder.bias
    if encoder is not None:
        if encoder.embedding_dim != rnn.input_size:
            raise ValueError(f"encoder: its rows are {encoder.embedding_dim} numbers, expected {rnn.input_size}, the inputs of rnn")
        n_x = {"embedding": {"tokens": encoder.num_embeddings, "size": encoder.embedding_dim}}
        tensors["encoder.weight"] = encoder.weight
    modes = {"RNN_TANH": "tanh", "RNN_RELU": "relu", "GRU": "gru", "LSTM": "lstm"}
    architecture = {
        "input": n_x,
        "cell": modes[rnn.mode],
        "hidden": rnn.hidden_size,
        "layers": rnn.num_layers,
        "bidirectional": rnn.bidirectional,
        "head": {"outputs": decoder.out_features, "tied": encoder is not None and encoder.weight is decoder.weight},
    }
    double = any(value.dtype == torch.float64 for value in tensors.values())
    kind = np.float64 if double else np.float32
    arrays = {name: value.detach().cpu().to(torch.float64).numpy().astype(kind) for name, value in tensors.items()}
    return arrays, architecture
