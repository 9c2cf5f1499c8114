"""What every peer shares: read the data and weights that compare.py wrote, say the loss, time steps when told to.

    python3 PEER.py FOLDER THREADS CELL

One line of JSON when ready: {"version": ..., "loss": ...}, the loss before any update. Then for each line of standard
input, a number of seconds: whole training steps for so long, and {"step_ms": median}. Until its input ends.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

# The learning rate of compare.py's contenders, ours included: too small to matter within the seconds of a run.
LR = 1e-3


def threads():
    return int(sys.argv[2])


def cell():
    return sys.argv[3]


def load():
    """x [N, T, n_x], classes [N, T], and the weights by name, gates one under the other in PyTorch's order."""
    folder = Path(sys.argv[1])
    data = np.load(folder / "set.npz")
    return data["inputs"], data["targets"], dict(np.load(folder / "weights.npz"))


def serve(version, loss, step):
    """`loss()` of the weights as they are; `step()` one training step, returning when its arithmetic is done."""
    print(json.dumps({"version": version, "loss": float(loss())}), flush=True)
    step()
    step()
    for line in sys.stdin:
        end, times = time.perf_counter() + float(line), []
        while not times or time.perf_counter() < end:
            begin = time.perf_counter()
            step()
            times.append(time.perf_counter() - begin)
        print(json.dumps({"step_ms": 1e3 * statistics.median(times)}), flush=True)
