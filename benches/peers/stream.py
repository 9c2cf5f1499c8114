#!/usr/bin/env python3
"""Streaming: one sequence, one time step after another, of an LSTM with 128 inputs, 128 units and 10 classes, in single precision
on one thread; and the least it could take, which is reading the weights.

    target/peers/bin/python benches/peers/stream.py

The same weights for all: a model of bptt's, exported to ONNX for onnxruntime, its tensors for PyTorch's LSTMCell and for candle. All
must agree on the first answer. In rounds each takes steps for a second while the others wait; figures are medians over the rounds of
medians, in microseconds. bptt is timed by `cargo bench --bench inference -- cells`. What compare.py needs, and onnxruntime and
safetensors.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from compare import CRATES, ROOT

N_X, N_H, N_Y = 128, 128, 10
ROUNDS, SECONDS = 5, 1.0
AGREEMENT = 1e-5


def main():
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        x, first = model(Path(folder))
        contenders = {"onnxruntime": onnxruntime, "PyTorch LSTMCell": pytorch, "candle": candle}
        steps = {name: make(Path(folder), x) for name, make in contenders.items()}
        for name, step in steps.items():
            answer = step(0.0)[0]
            if abs(answer - first) > AGREEMENT:
                sys.exit(f"stream.py: {name} answers {answer} where bptt answers {first}")
        times = {name: [] for name in ["bptt", "the weights read", *steps]}
        for _ in range(ROUNDS):
            for name, what in [("bptt", "step"), ("the weights read", "weights")]:
                times[name].append(bench(what))
            for name, step in steps.items():
                times[name].append(step(SECONDS)[1])
    medians = {name: statistics.median(found) for name, found in times.items()}
    for name, median in medians.items():
        print(f"{name:20} {1e6 * median:8.2f} us  {median / medians['bptt']:6.2f} of bptt's")


def model(folder):
    """A model in a folder, as bptt's, as ONNX and as numbers; a row of inputs, and how probable it makes the first class."""
    program = ROOT / "target" / "release" / "bptt"
    subprocess.run(["cargo", "build", "--release", "--quiet", "--bin", "bptt"], cwd=ROOT, check=True)
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(N_Y, 1, N_X)).astype(np.float32)
    np.savez(folder / "set.npz", inputs=inputs, targets=np.arange(N_Y)[:, None])
    sizes = ["--cell", "lstm", "--hidden", str(N_H)]
    train = [program, "train", folder / "set.npz", *sizes, "--steps", "1", "-q", "-o", folder / "run"]
    subprocess.run(train, check=True, stdout=subprocess.DEVNULL)
    export = [program, "export", folder / "run", "-o", folder / "model.onnx"]
    subprocess.run(export, check=True, stdout=subprocess.DEVNULL)
    subprocess.run([program, "predict", folder / "run", folder / "set.npz", "-o", folder / "y.npz"], check=True, stdout=subprocess.DEVNULL)
    return inputs[:1], float(np.load(folder / "y.npz")["probabilities"][0, 0, 0])


def tensors(folder):
    from safetensors.numpy import load_file

    return load_file(folder / "run" / "model.safetensors")


def timed(step):
    """A function that takes steps for so many seconds, and returns the answer to the first and the median time of one."""

    def run(seconds):
        first, times, end = step(), [], time.perf_counter() + seconds
        while time.perf_counter() < end:
            begin = time.perf_counter()
            step()
            times.append(time.perf_counter() - begin)
        return first, statistics.median(times) if times else None

    return run


def onnxruntime(folder, x):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    state = [np.zeros((1, 1, N_H), np.float32)] * 2
    lengths = np.ones(1, np.int32)

    def step():
        nonlocal state
        inputs = {"inputs": x, "lengths": lengths, "h0": state[0], "c0": state[1]}
        answer, *state = session.run(["probabilities", "hn", "cn"], inputs)
        return float(answer.reshape(-1)[0])

    return timed(step)


def pytorch(folder, x):
    import torch

    torch.set_num_threads(1)
    cell, decoder = torch.nn.LSTMCell(N_X, N_H), torch.nn.Linear(N_H, N_Y)
    found = {name: torch.from_numpy(tensor) for name, tensor in tensors(folder).items()}
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    cell.load_state_dict({name: found[f"rnn.{name}_l0"] for name in names})
    decoder.load_state_dict({name: found[f"decoder.{name}"] for name in ("weight", "bias")})
    x, state = torch.from_numpy(x[:, 0]), None

    @torch.inference_mode()
    def step():
        nonlocal state
        state = cell(x, state)
        return torch.softmax(decoder(state[0]), -1)[0, 0].item()

    return timed(step)


def candle(folder, x):
    build = ["cargo", "build", "--release", "--quiet", "--manifest-path", ROOT / "benches/peers/rust/Cargo.toml", "--target-dir", CRATES]
    subprocess.run(build, check=True)
    found = tensors(folder)
    names = ["rnn.weight_ih_l0", "rnn.weight_hh_l0", "decoder.weight", "rnn.bias_ih_l0", "rnn.bias_hh_l0", "decoder.bias"]
    numbers = [found[name] for name in names] + [x, np.zeros(1)]
    (folder / "problem.bin").write_bytes(np.concatenate([part.ravel() for part in numbers]).astype("<f4").tobytes())
    sizes = map(str, (1, 1, N_X, N_H, N_Y))
    command = [CRATES / "release" / "peers", "candle-stream", folder, "lstm", *sizes]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    first = json.loads(process.stdout.readline())["loss"]

    def run(seconds):
        process.stdin.write(f"{seconds}\n")
        process.stdin.flush()
        return first, json.loads(process.stdout.readline())["step_ms"] / 1e3

    return run


def bench(what):
    """The median time of bptt's step, or of reading its weights, in seconds."""
    times = ["--warm-up-time", "0.3", "--measurement-time", str(SECONDS)]
    command = ["cargo", "bench", "--quiet", "--bench", "inference", "--", f"inference/cells/{what}/lstm", *times]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    found = ROOT / "target" / "criterion" / "inference_cells" / what / "lstm" / "new" / "estimates.json"
    return json.loads(found.read_text())["median"]["point_estimate"] / 1e9


if __name__ == "__main__":
    main()
