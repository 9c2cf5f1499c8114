"""Loads models of `bptt train` into PyTorch and back again, and checks that both compute the same.

    python3 examples/pytorch.py [MODEL.safetensors] [--bptt target/release/bptt]

Without MODEL, small ones of every kind are trained first. Needs torch, numpy and safetensors.
"""

import argparse
import itertools
import json
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import safetensors
    import safetensors.torch
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
except ImportError as error:
    print(f"skipped: this Python has no {error.name} (pip install torch numpy safetensors)")
    sys.exit(0)

# Both compute in the model's precision; a few dozen steps of rounding.
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}
CELLS = {"tanh": torch.nn.RNN, "relu": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
ANSWERS = {"cross-entropy": lambda u: torch.softmax(u, dim=-1), "binary": torch.sigmoid}


class Model(torch.nn.Module):
    """The names are those of the tensors in the file."""

    def __init__(self, n_x, n_h, n_y, cell="tanh", layers=1, bidirectional=False, tokens=None, tied=False):
        super().__init__()
        if tokens:  # --embedding n_x
            self.encoder = torch.nn.Embedding(tokens, n_x)
        options = {"nonlinearity": cell} if cell in ("tanh", "relu") else {}
        self.rnn = CELLS[cell](n_x, n_h, layers, bidirectional=bidirectional, batch_first=True, **options)
        self.decoder = torch.nn.Linear(n_h * (1 + bidirectional), n_y)
        if tied:  # --tie
            self.decoder.weight = self.encoder.weight

    def forward(self, x, lengths):
        if hasattr(self, "encoder"):
            x = self.encoder(x)
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        h, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=x.shape[1])
        return h


def load(path):
    """The module of a model file, its architecture, and what its logits become."""
    with safetensors.safe_open(path, "pt") as file:
        a = json.loads(file.metadata()["bptt"])["architecture"]
    (kind, size), head = *a["input"].items(), a["head"]
    tokens = size["tokens"] if kind == "embedding" else None
    n_x = size["size"] if kind == "embedding" else size
    model = Model(n_x, a["hidden"], head["outputs"], a["cell"], a["layers"], a["bidirectional"], tokens, head["tied"])
    weights = safetensors.torch.load_file(path)
    model = model.to(weights["decoder.bias"].dtype)
    model.load_state_dict(weights, strict=True)
    return model.eval(), a


def answers(model, a, x, lengths):
    """What the network answers: for every step, zero beyond a sequence's end, or once a sequence."""
    with torch.no_grad():
        h = model(x, lengths)
        if a["head"]["at"] == "last":
            # Both directions have read everything: one at the last step, the other at the first.
            n_h = a["hidden"]
            last = h[torch.arange(len(x)), lengths - 1]
            h = torch.cat([last[:, :n_h], h[:, 0, n_h:]], dim=1)[:, None]
        y = ANSWERS.get(a["head"]["loss"], lambda u: u)(model.decoder(h))
        if a["head"]["at"] == "every":
            y *= (torch.arange(x.shape[1]) < lengths[:, None])[..., None]
    return y.numpy()


def compare(bptt, path, folder):
    model, a = load(path)
    rng, dtype = np.random.default_rng(0), model.decoder.bias.dtype
    lengths = torch.tensor([7, 12, 1, 12, 3])
    (kind, size) = next(iter(a["input"].items()))
    if kind == "features":
        inputs = rng.normal(size=(5, 12, size))
        inputs = inputs.astype(np.float32 if dtype == torch.float32 else np.float64)
        x = torch.tensor(inputs)
    else:
        tokens = size["tokens"] if kind == "embedding" else size
        inputs = rng.integers(tokens, size=(5, 12))
        # Without an embedding, token ids are one-hot features to PyTorch.
        x = torch.tensor(inputs if kind == "embedding" else np.eye(tokens)[inputs])
        x = x if kind == "embedding" else x.to(dtype)
    np.savez(folder / "x.npz", inputs=inputs, lengths=lengths.numpy())
    theirs = answers(model, a, x, lengths)

    # And back: what PyTorch saves, without a word of ours in it; `save_model` writes a shared tensor once.
    back = folder / "back.safetensors"
    safetensors.torch.save_model(model, back)
    for file in [path, back]:
        bptt("predict", file, folder / "x.npz", "-o", folder / "ours.npz")
        ours = np.load(folder / "ours.npz")
        (name,) = [name for name in ours.files if name not in ("lengths", "mask")]
        if file == back and (a["cell"] == "relu" or a["head"]["loss"] != "cross-entropy" or a["head"]["at"] == "last"):
            continue  # that, a file without our metadata cannot say; it was read
        apart = np.abs(ours[name].reshape(theirs.shape) - theirs).max()
        words = "loaded" if file == path else "and back"
        print(f"{describe(a)}: {words}, {name} {list(theirs.shape)} at most {apart:.1e} apart")
        if not apart <= TOLERANCE[dtype]:
            sys.exit(f"expected at most {TOLERANCE[dtype]:.0e}")


def describe(a):
    words = [f"{a['layers']} x {a['cell']}", *["both directions"] * a["bidirectional"], *a["input"], *["tied"] * a["head"]["tied"]]
    return ", ".join(words + [a["head"]["loss"], a["head"]["at"]])


def every_kind(bptt, folder):
    """Trains a network of each kind for a few steps."""
    rng = np.random.default_rng(1)
    n, t = 32, 12
    x, values = rng.normal(size=(n, t, 3)).astype(np.float32), rng.normal(size=(n, t, 2)).astype(np.float32)
    sets = {
        "classes": dict(inputs=x, targets=rng.integers(4, size=(n, t))),
        "labels": dict(inputs=x, targets=(values > 0).astype(np.uint8)),
        "values": dict(inputs=x, targets=values),
        "once": dict(inputs=x, targets=rng.integers(4, size=n)),
        "ids": dict(inputs=rng.integers(6, size=(n, t)), targets=rng.integers(6, size=(n, t))),
    }
    for name, arrays in sets.items():
        np.savez(folder / f"{name}.npz", **arrays)
    kinds = ["ids", "ids --embedding 5", "ids --embedding {outputs} --tie", "classes", "classes --dtype f64", "once", "labels", "values"]
    for number, (cell, layers, both, kind) in enumerate(itertools.product(CELLS, [1, 2], [False, True], kinds)):
        # A tied decoder is as wide as what leaves the layers.
        name, *flags = kind.format(outputs=14 if both else 7).split()
        flags += ["--cell", cell, "--layers", layers, *["--bidirectional"] * both]
        run = folder / f"run{number}"
        bptt("train", folder / f"{name}.npz", "--hidden", 7, *flags, "--steps", 3, "--quiet", "-o", run)
        yield run / "model.safetensors"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?")
    parser.add_argument("--bptt", default="target/release/bptt", help="the program")
    arguments = parser.parse_args()

    def bptt(*words):
        subprocess.run([arguments.bptt, *map(str, words)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        try:
            for path in [arguments.model] if arguments.model else every_kind(bptt, folder):
                compare(bptt, path, folder)
        except subprocess.CalledProcessError as error:
            sys.exit(f"{' '.join(error.cmd)}: {error.stderr.decode()}")


if __name__ == "__main__":
    main()
