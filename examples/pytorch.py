"""Loads a model of `bptt train` into PyTorch, and checks that it computes what `bptt predict` does.

    python3 examples/pytorch.py [MODEL.safetensors] [--bptt target/release/bptt]

Without MODEL, a small one is trained first. Needs torch, numpy and safetensors.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import safetensors.torch
    import torch
except ImportError as error:
    print(f"skipped: this Python has no {error.name} (pip install torch numpy safetensors)")
    sys.exit(0)

# Both compute in the model's precision; a few dozen steps of rounding.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-13}


class Model(torch.nn.Module):
    """The names are those of the tensors in the file."""

    def __init__(self, n_x, n_h, n_y):
        super().__init__()
        self.rnn = torch.nn.RNN(n_x, n_h, batch_first=True)
        self.decoder = torch.nn.Linear(n_h, n_y)

    def forward(self, x, state=None):
        h, state = self.rnn(x, state)
        return torch.softmax(self.decoder(h), dim=-1), state


def load(path):
    weights = safetensors.torch.load_file(path)
    n_h, n_x = weights["rnn.weight_ih_l0"].shape
    model = Model(n_x, n_h, len(weights["decoder.bias"]))
    model = model.to(weights["decoder.bias"].dtype)
    model.load_state_dict(weights)
    return model.eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?")
    parser.add_argument("--bptt", default="target/release/bptt", help="the program")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        bptt = lambda *words: subprocess.run([arguments.bptt, *map(str, words)], check=True, stdout=subprocess.DEVNULL)
        path = arguments.model
        if path is None:
            bptt("train", "--hidden", 24, "--steps", 200, "--quiet", "-o", folder / "run")  # Reber's grammar
            path = folder / "run" / "model.safetensors"
        model = load(path)

        # Token ids are one-hot features to PyTorch.
        n_x = model.rnn.input_size
        ids = np.random.default_rng(0).integers(n_x, size=(5, 40))
        np.savez(folder / "ids.npz", inputs=ids)
        try:
            bptt("predict", path, folder / "ids.npz", "-o", folder / "ours.npz")
            x = np.eye(n_x)[ids]
        except subprocess.CalledProcessError:
            print("the model reads features, not token ids: drawing those")
            x = np.random.default_rng(0).normal(size=(5, 40, n_x)).astype(np.float32)
            np.savez(folder / "x.npz", inputs=x)
            bptt("predict", path, folder / "x.npz", "-o", folder / "ours.npz")
        ours = np.load(folder / "ours.npz")["probabilities"]

        dtype = model.decoder.bias.dtype
        with torch.no_grad():
            theirs, _ = model(torch.tensor(x, dtype=dtype))
        apart = np.abs(ours - theirs.numpy()).max()
        print(f"PyTorch {torch.__version__}: probabilities {list(ours.shape)}, at most {apart:.1e} apart")
        if not apart <= TOLERANCE[dtype]:
            sys.exit(f"expected at most {TOLERANCE[dtype]:.0e}")


if __name__ == "__main__":
    main()
