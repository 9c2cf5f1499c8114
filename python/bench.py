"""Stock `torch.nn` layers against the same model after `bptt.torch.replace`: whole training steps of a user's loop.

    python3 python/bench.py [SECONDS]     # for each shape, 3 by default

Forward, cross-entropy, backward and an update of SGD, on 2 threads, timed in turn; medians.
"""

from __future__ import annotations

import copy
import statistics
import sys
import time

import torch

import bptt.torch

THREADS = 2
SHAPES = {"small": (64, 100, 32, 128, 32), "charlm": (64, 100, 64, 256, 64), "large": (128, 100, 128, 512, 128)}


class Model(torch.nn.Module):
    def __init__(self, cell: type[torch.nn.RNNBase], n_x: int, n_h: int, n_y: int) -> None:
        super().__init__()
        self.rnn = cell(n_x, n_h, batch_first=True)
        self.decoder = torch.nn.Linear(n_h, n_y)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.decoder(self.rnn(x)[0])
        return scores


def step(model: Model, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """Milliseconds and the loss."""
    begin = time.perf_counter()
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())
    loss.backward()
    optimizer.step()
    return 1e3 * (time.perf_counter() - begin), loss.item()


def main(seconds: float) -> None:
    torch.set_num_threads(THREADS)
    print(f"torch {torch.__version__}, {THREADS} threads, ms a step")
    print(f"{'cell':5} {'shape':24} {'stock':>8} {'bptt':>8} {'ratio':>7}")
    for cell in (torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN):
        for name, (n, t, n_x, n_h, n_y) in SHAPES.items():
            torch.manual_seed(0)
            x, y = torch.randn(n, t, n_x), torch.randint(n_y, (n, t))
            stock = Model(cell, n_x, n_h, n_y)
            models = [stock, bptt.torch.replace(copy.deepcopy(stock))]
            optimizers = [torch.optim.SGD(model.parameters(), lr=0.01) for model in models]
            times: list[list[float]] = [[], []]
            losses = [step(model, optimizer, x, y)[1] for model, optimizer in zip(models, optimizers)]
            assert abs(losses[0] - losses[1]) < 1e-4, losses
            end = time.monotonic() + seconds
            while time.monotonic() < end or len(times[0]) < 3:
                for of, model, optimizer in zip(times, models, optimizers):
                    of.append(step(model, optimizer, x, y)[0])
            before, after = map(statistics.median, times)
            shape = f"{name} {(n, t, n_x, n_h, n_y)}".replace(" (", "(", 1)
            print(f"{cell.__name__:5} {shape:24} {before:8.1f} {after:8.1f} {before / after:6.2f}x", flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 3.0)
