"""What a run or an estimator left in a file: `Model`."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bptt import _arrays, _bptt
from bptt._program import PathLike, command, words_of

if TYPE_CHECKING:
    import torch

__all__ = ["Model", "from_torch"]


class Model:
    """A network with what there is to know about it, from a `.safetensors` file or the folder of a run.

    >>> import bptt, numpy as np
    >>> X = np.random.default_rng(0).normal(size=(20, 5, 3))
    >>> model = bptt.RNNRegressor(hidden=4, epochs=1).fit(X, X[:, -1, 0]).model_
    >>> model.architecture["cell"], model.dtype
    ('lstm', 'f32')
    >>> model.predict(X).shape  # one answer a sequence, of one number
    (20, 1)
    """

    def __init__(self, core: _bptt.Model, path: Path | None = None) -> None:
        if not isinstance(core, _bptt.Model):
            raise TypeError(f"Model: a file is read by Model.load(path), got {type(core).__name__}")
        self._core, self.path = core, path

    @classmethod
    def load(cls, path: PathLike) -> Model:
        """Reads a model file, or the best model of the run in a folder."""
        found = Path(_arrays.path("path", path))
        if found.is_dir():
            found = found / "model.safetensors"
        return cls(_bptt.Model.read(os.fspath(found)), Path(os.path.abspath(found)))

    def save(self, path: PathLike) -> None:
        """Writes the file, all or not at all."""
        self._core.write(_arrays.path("path", path))

    @property
    def architecture(self) -> dict[str, Any]:
        """What the network is: input, cell, hidden, layers, bidirectional, head."""
        return cast(dict[str, Any], json.loads(self._core.architecture))

    @property
    def config(self) -> dict[str, Any]:
        """How it was trained; empty where the file does not say."""
        return json.loads(self._core.config) or {}

    @property
    def dtype(self) -> str:
        """`"f32"` or `"f64"`."""
        return self._core.dtype

    @property
    def tokens(self) -> str | None:
        """What a token of its text is, `"char"`, `"byte"` or `"word"`; `None` for a model of numbers."""
        found = self._core.tokens
        return None if found is None else found[0]

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """The weights under PyTorch's names, of modules called `rnn`, `decoder` and perhaps `encoder`."""
        return self._core.tensors()

    def sample(self, prompt: str = "", length: int = 500, *, temperature: float = 1.0, top_k: int | None = None, seed: int = 0) -> str:
        """The prompt and `length` more tokens of text, as `bptt sample` writes them."""
        if self.tokens is None:
            raise ValueError("sample: the model has no vocabulary: it was not trained on text")
        if not isinstance(prompt, str):
            raise TypeError(f"prompt: expected str, got {type(prompt).__name__}")
        length, seed = _arrays.count("length", length, 0), _arrays.count("seed", seed, 0, 2**64 - 1)
        temperature = _arrays.number("temperature", temperature)
        top_k = None if top_k is None else _arrays.count("top_k", top_k, 1)
        options = words_of(dict(prompt=prompt, length=length, temperature=temperature, top_k=top_k, seed=seed))
        with self._as_file() as path:
            return str(command("sample", [path, *options])["text"])

    def eval(self, *data: PathLike, threads: int | None = None) -> dict[str, Any]:
        """Loss and metrics on texts or one `.npz`, as `bptt eval` finds them."""
        if not data:
            raise TypeError("data: expected paths of texts or of one .npz, got none")
        paths = [_arrays.path("data", path) for path in data]
        threads = None if threads is None else _arrays.count("threads", threads, 1, 2**16)
        with self._as_file() as path:
            found = command("eval", [path, *words_of(dict(threads=threads)), "--", *paths])
        del found["event"]
        return found

    def logprobs(self, text: str | bytes) -> NDArray[np.float64]:
        """The logarithm of the probability that the model gives to each token of a text after the first."""
        if not isinstance(text, (str, bytes)):
            raise TypeError(f"text: expected str or bytes, got {type(text).__name__}")
        return self._core.logprobs(text.encode() if isinstance(text, str) else text)

    def encode(self, text: str | bytes) -> NDArray[np.uint32]:
        """The ids of the tokens of a text: what `predict`, `to_torch` and the exported model of a text read."""
        if not isinstance(text, (str, bytes)):
            raise TypeError(f"text: expected str or bytes, got {type(text).__name__}")
        return self._core.encode(text.encode() if isinstance(text, str) else text)

    def decode(self, ids: ArrayLike) -> str:
        """The text of ids `[T]`."""
        found = self._core.tokens
        return self._core.decode(_arrays.integers("ids", ids, found[1] if found else 2**32, 1).tolist())

    def predict(self, X: ArrayLike | Sequence[ArrayLike], *, threads: int = 0) -> NDArray[Any] | list[NDArray[Any]]:
        """What the network answers to sequences: probabilities of classes or labels, or numbers.

        `X` is `[N, T, n_x]`, of a model of tokens ids `[N, T]` (`encode`), or a list of `[T_i, n_x]` or `[T_i]`. The answers are
        `[N, T, n_y]`, of a list a list of `[T_i, n_y]`; of a network that answers once a sequence `[N, n_y]`. `threads`: 0 for all cores;
        no part of the result. It is the network alone: of an estimator with `standardize`, inputs and answers are standardised ones.
        """
        architecture = self.architecture
        (kind, size), at = next(iter(architecture["input"].items())), architecture["head"]["at"]
        lengths: list[int] | None = None
        if kind == "features":
            inputs, lengths = _arrays.sequences("X", X, np.dtype(_NUMPY[self.dtype]), size)
        else:
            inputs, lengths = _arrays.ids("X", X, size if kind == "tokens" else size["tokens"])
        answers = self._core.predict(inputs, _arrays.ends(inputs, lengths), _arrays.count("threads", threads, 0, 2**16))
        if at == "last":
            return answers[:, 0]
        if isinstance(X, np.ndarray) or lengths is None:
            return answers
        return [row[:length] for row, length in zip(answers, lengths)]

    def to_torch(self) -> torch.nn.Module:
        """A `torch.nn.Module` with the same weights: `encoder` (of an embedding), `rnn` and `decoder`, from inputs `[N, T, n_x]` (of
        tokens ids `[N, T]`) to scores `[N, T, n_y]`, before a softmax or sigmoid; at the last step alone `[N, n_y]`.

        >>> import bptt, torch
        >>> rnn = bptt.from_torch(torch.nn.GRU(3, 4, batch_first=True), torch.nn.Linear(4, 2))
        >>> rnn.to_torch()(torch.zeros(5, 7, 3)).shape
        torch.Size([5, 7, 2])
        """
        from bptt._to_torch import module

        return module(self.architecture, self.state_dict())

    def export(self, path: PathLike, to: str | None = None) -> None:
        """Writes the model for other programs, as `bptt export --to` does: `to` is `"onnx"`, `"npz"` (NumPy), `"c"` (a header with a
        step function) or `"rtneural"`; by default what the name of the file ends in: `.onnx`, `.npz`, `.h` or `.json`.

        The ONNX graph reads `inputs` `[N, T, n_x]` (of tokens ids `[N, T]`), `lengths` `[N]` (int32), and the states before the first
        step, `h0` and of an LSTM `c0` `[L D, N, hidden]`: zeros, unless you carry them. It answers `probabilities` and
        `logits`, or `values` that are numbers, and the last states `hn` and `cn`. It is the network alone: what an estimator with
        `standardize` reads is `(x - mean_) / scale_`, and the numbers of a regressor are `target_mean_ + target_scale_ * values`.
        """
        out = _arrays.path("path", path)
        if to is not None and not isinstance(to, str):
            raise TypeError(f"to: expected the name of a format, got {type(to).__name__}")
        with self._as_file() as model:
            try:
                command("export", [model, *words_of(dict(to=to, out=out))])
            except ValueError as error:
                raise ValueError(re.sub("^out: ", "path: ", str(error))) from None

    @contextmanager
    def _as_file(self) -> Iterator[str]:
        """A file with this model, for the program."""
        if self.path is not None:
            yield os.fspath(self.path)
            return
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.safetensors")
            self.save(path)
            try:
                yield path
            except (ValueError, OSError, RuntimeError) as error:
                # Nobody knows of that file.
                raise type(error)(str(error).replace(f"{path}: model: ", "model: ").replace(path, "the model")) from None

    def __repr__(self) -> str:
        return f"<bptt.Model: {self._core.summary}, {self._core.parameters:,} parameters in {self.dtype}>"

    def __reduce__(self) -> tuple[Any, ...]:
        tensors = {name: np.asarray(values) for name, values in self.state_dict().items()}
        if self.tokens is None:
            return _rebuilt, (tensors, self._core.architecture, self._core.config)
        # Of a vocabulary, only the file knows.
        with self._as_file() as path:
            return _read_bytes, (Path(path).read_bytes(),)


_NUMPY = {"f32": "float32", "f64": "float64"}


def _rebuilt(tensors: dict[str, NDArray[Any]], architecture: str, config: str) -> Model:
    return Model(_bptt.Model.from_tensors(tensors, architecture, config))


def _read_bytes(content: bytes) -> Model:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        path.write_bytes(content)
        return Model(_bptt.Model.read(os.fspath(path)))


def from_torch(
    rnn: torch.nn.Module,
    decoder: torch.nn.Module,
    encoder: torch.nn.Module | None = None,
    *,
    tokens: bool = False,
    loss: str = "cross-entropy",
    at: str = "every",
) -> Model:
    """The model of an `nn.RNN`, `nn.GRU` or `nn.LSTM`, an `nn.Linear` that answers from its outputs, and perhaps the `nn.Embedding`
    that it reads. `tokens`: its inputs are one-hot rows of ids. `loss`: `"cross-entropy"`, `"binary"`, `"mse"`, `"huber"`; `at`:
    `"every"` step is answered, or once a sequence the `"last"`: from the state after it, of both directions from the states that each
    comes to (`torch.cat(list(h_n[-2:]), 1)`, and not `output[:, -1]`).

    >>> import torch
    >>> from_torch(torch.nn.LSTM(3, 8), torch.nn.Linear(8, 2))
    <bptt.Model: 1 layer of 8 lstm units, 3 features, 2 classes, 402 parameters in f32>
    """
    from bptt._to_torch import parts

    _arrays.one_of("loss", loss, ("cross-entropy", "binary", "mse", "huber"))
    _arrays.one_of("at", at, ("every", "last"))
    _arrays.flag("tokens", tokens)
    tensors, architecture = parts(rnn, decoder, encoder)
    if encoder is None and tokens:
        architecture["input"] = {"tokens": next(iter(architecture["input"].values()))}
    architecture["head"] |= {"loss": loss, "at": at}
    return _rebuilt(tensors, json.dumps(architecture), "null")
