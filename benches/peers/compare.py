#!/usr/bin/env python3
"""Times bptt and its peers in turn on the same weights and data, and prints one table.

    python3 -m venv target/peers && target/peers/bin/pip install -r benches/peers/requirements.txt
    target/peers/bin/python benches/peers/compare.py             all shapes with tanh, about ten minutes
    target/peers/bin/python benches/peers/compare.py --shape charlm --cell lstm
    target/peers/bin/python benches/peers/compare.py --readme    the same, and the table goes into README.md

Each shape: random weights and data are written once; every contender says its loss on them, and all must agree; then in
rounds each takes whole training steps (forward, loss, BPTT, update) for some seconds while the others wait, so that a
machine whose speed drifts slows all of them. Figures are medians over the rounds of medians. Peers get what helps them: the
better of one thread and all, compiled and warmed up, and an allocator that keeps its pages. A peer that is not installed
is left out: oneDNN needs g++ and libdnnl-dev, the crates candle, burn and rust-lstm two minutes of cargo. Results are kept in
target/peers.json, so that shapes can be run one at a time.
"""

import argparse
import datetime
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RESULTS = ROOT / "target" / "peers.json"
INSTALL = f"{sys.executable} -m pip install -r {HERE.relative_to(ROOT) / 'requirements.txt'}"

try:
    import numpy as np
except ModuleNotFoundError:
    sys.exit(f"compare.py: NumPy is missing, which writes the data for all; install it with: {INSTALL}")

SHAPES = {
    "notebook": (10, 50, 3, 100, 5),
    "small": (64, 100, 32, 128, 32),
    "charlm": (64, 100, 64, 256, 64),
    "mid": (256, 64, 64, 256, 64),
    "large": (128, 100, 128, 512, 128),
    "long": (32, 1000, 32, 256, 32),
    "big": (1024, 100, 64, 256, 32),
}
# Each cell's gates.
CELLS = {"tanh": 1, "gru": 3, "lstm": 4}
# Name, module that must be there (none for what is compiled), script, whether the number of threads is ours to choose, cells.
PEERS = [
    ("PyTorch", "torch", "pytorch.py", True, CELLS),
    ("PyTorch by hand", "torch", "pytorch_by_hand.py", True, ["tanh"]),
    ("JAX", "jax", "with_jax.py", False, CELLS),
    ("oneDNN", None, "onednn.cpp", True, CELLS),
    ("NumPy", "numpy", "with_numpy.py", True, CELLS),
    ("candle", None, "rust", False, ["gru", "lstm"]),
    ("burn", None, "rust", False, ["gru", "lstm"]),
    ("rust-lstm", None, "rust", False, ["lstm"]),
]
ONEDNN, CRATES = ROOT / "target" / "onednn", ROOT / "target" / "peers-rust"
# How far apart two losses may be.
AGREEMENT = 1e-4
MARKS = ("<!-- SPEED -->", "<!-- /SPEED -->")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", action="append", choices=SHAPES, help="again for more [all]")
    parser.add_argument("--cell", action="append", choices=CELLS, help="again for more [tanh]")
    parser.add_argument("--rounds", type=int, default=3, help="[3]")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each contender in each round [1]")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="[all cores]")
    parser.add_argument("--bptt", type=Path, help="the program [built for release now]")
    parser.add_argument("--readme", action="store_true", help="write the table of all results kept into README.md")
    args = parser.parse_args()
    if args.rounds < 1 or args.threads < 1 or not args.seconds > 0:
        parser.error("--rounds, --threads and --seconds must be above 0")
    if args.bptt is None:
        subprocess.run(["cargo", "build", "--release", "--quiet", "--bin", "bptt"], cwd=ROOT, check=True)
        args.bptt = ROOT / "target" / "release" / "bptt"
    peers = installed()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for cell, shape in itertools.product(args.cell or ["tanh"], args.shape or SHAPES):
        key = f"{cell} {shape}"
        print(f"{key} {SHAPES[shape]}", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            results[key] = compare(args, cell, shape, [peer for peer in peers if cell in peer[4]], Path(folder))
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1))
        print_one(key, results[key])
    if args.readme:
        into_readme(results)


def installed():
    """The peers that are there; a line for each that is not."""
    found = []
    for peer in PEERS:
        name, module, script, *_ = peer
        if module:
            test, install = [sys.executable, "-c", f"import {module}"], INSTALL
        elif script == "rust":
            test = ["cargo", "build", "--release", "--manifest-path", HERE / "rust" / "Cargo.toml", "--target-dir", CRATES]
            install = "nothing: cargo could not build benches/peers/rust"
        else:
            ONEDNN.parent.mkdir(exist_ok=True)
            test = ["g++", "-O3", "-march=native", "-fopenmp", HERE / script, "-o", ONEDNN, "-ldnnl"]
            install = "apt-get install g++ libdnnl-dev"
        if done(test):
            found.append(peer)
        else:
            print(f"without {name}: install it with: {install}", file=sys.stderr)
    return found


def done(command):
    """Whether a command could be run and went well."""
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def compare(args, cell, shape, peers, folder):
    """All contenders at one cell and shape: {"bptt": {...}, "PyTorch": {"gflops": ..., ...}, ...}."""
    write_problem(cell, shape, folder)
    n, t, n_x, n_h, n_y = SHAPES[shape]
    flops = 6 * n * t * n_h * (CELLS[cell] * (n_h + n_x) + n_y)
    loss = json_of([args.bptt, "eval", folder / "model.safetensors", folder / "set.npz", "--log", "json"])["loss"]
    print(f"  loss {loss:.6f}  bptt", file=sys.stderr)
    workers = []
    try:
        for name, _, script, chooses, _ in peers:
            for threads in {1, args.threads} if chooses else {args.threads}:
                workers.append(Worker(name, command(name, script, folder, threads, cell, shape), threads))
                theirs = workers[-1].loss
                print(f"  loss {theirs:.6f}  {name}, {threads} threads", file=sys.stderr)
                if not abs(theirs - loss) <= AGREEMENT:
                    sys.exit(f"compare.py: {name}'s loss is {theirs}, ours {loss}: not the same work, nothing to compare")
        ours = []
        for _ in range(args.rounds):
            bench = [args.bptt, "bench", "--shape", shape, "--cell", cell, "--threads", args.threads, "--seconds", args.seconds]
            ours.append(json_of([*bench, "--log", "json", "--quiet"]))
            for worker in workers:
                worker.time(args.seconds)
    finally:
        for worker in workers:
            worker.end()
    median = lambda key: statistics.median(line[key] for line in ours)
    result = {
        "machine": machine(),
        "threads": args.threads,
        "date": datetime.date.today().isoformat(),
        "bptt": {
            "step_ms": median("step_ms"),
            "gflops": median("gflops"),
            "roof_gflops": median("roof_gflops"),
            "roof_fraction": median("roof_fraction"),
            "loss": loss,
        },
    }
    for worker in workers:
        step = statistics.median(worker.times)
        line = {"step_ms": step, "gflops": flops / step / 1e6, "loss": worker.loss}
        line |= {"threads": worker.threads, "version": worker.version}
        if worker.name not in result or step < result[worker.name]["step_ms"]:
            result[worker.name] = line
    return result


def command(name, script, folder, threads, cell, shape):
    """What starts a peer."""
    if script.endswith(".py"):
        return [sys.executable, HERE / script, folder, str(threads), cell]
    program = [CRATES / "release" / "peers", name] if script == "rust" else [ONEDNN]
    return [*program, folder, cell, *map(str, SHAPES[shape])]


class Worker:
    """A peer in a process of its own, idle until it is told to take steps."""

    def __init__(self, name, command, threads):
        self.name, self.threads, self.times = name, threads, []
        # glibc: keep freed memory, so that big arrays are not new pages at every step.
        env = os.environ | {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
        env |= {key: str(threads) for key in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")}
        self.process = subprocess.Popen(command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        ready = self.line()
        self.loss, self.version = ready["loss"], ready["version"]

    def line(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"compare.py: {self.name} ended with status {self.process.wait()}; what it said stands above")
        return json.loads(line)

    def time(self, seconds):
        print(seconds, file=self.process.stdin, flush=True)
        self.times.append(self.line()["step_ms"])

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def write_problem(cell, shape, folder):
    """set.npz, and the same weights as weights.npz for the peers and as model.safetensors for bptt; both once more as plain
    floats in problem.bin, for what reads no .npz."""
    n, t, n_x, n_h, n_y = SHAPES[shape]
    rng, gates = np.random.default_rng(0), CELLS[cell]
    orthogonal = [np.linalg.qr(rng.standard_normal((n_h, n_h)))[0] for _ in range(gates)]
    w = {
        "wx": rng.standard_normal((gates * n_h, n_x)) * (2 / (n_h + n_x)) ** 0.5,
        "wh": np.concatenate(orthogonal),
        "wy": rng.standard_normal((n_y, n_h)) * (2 / (n_h + n_y)) ** 0.5,
        "bx": rng.uniform(-0.1, 0.1, gates * n_h),
        "bh": rng.uniform(-0.1, 0.1, gates * n_h),
        "by": rng.uniform(-0.1, 0.1, n_y),
    }
    w = {name: np.ascontiguousarray(value, np.float32) for name, value in w.items()}
    np.savez(folder / "weights.npz", **w)
    inputs = rng.uniform(-1, 1, (n, t, n_x)).astype(np.float32)
    targets = rng.integers(0, n_y, (n, t))
    # bptt infers n_y from the largest class; see that it is there.
    targets[0, 0] = n_y - 1
    np.savez(folder / "set.npz", inputs=inputs, targets=targets)
    floats = [*w.values(), inputs, targets]
    (folder / "problem.bin").write_bytes(b"".join(array.astype(np.float32).tobytes() for array in floats))

    names = {"rnn.weight_ih_l0": "wx", "rnn.weight_hh_l0": "wh", "rnn.bias_ih_l0": "bx", "rnn.bias_hh_l0": "bh"}
    tensors = {ours: w[name] for ours, name in names.items()} | {"decoder.weight": w["wy"], "decoder.bias": w["by"]}
    header, data = {}, b""
    for name, value in tensors.items():
        begin, data = len(data), data + value.tobytes()
        header[name] = {"dtype": "F32", "shape": value.shape, "data_offsets": [begin, len(data)]}
    header = json.dumps(header).encode()
    header += b" " * (-len(header) % 8)
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data)


def json_of(command):
    """The last line of JSON that a command of ours prints."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"compare.py: {command[0]} {command[1]} ended with status {done.returncode}; what it said stands above")
    return json.loads(done.stdout.splitlines()[-1])


def machine():
    """The processor's name, family and model: hypervisors like to leave the name blank."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = fields.get("model name", platform.machine())
    if "cpu family" in fields:
        name += f" (family {fields['cpu family']}, model {fields['model']})"
    return name + (", AVX-512" if "avx512f" in fields.get("flags", "") else "")


def names(result):
    return [name for name, *_ in PEERS if name in result]


def print_one(key, result):
    ours = result["bptt"]
    print(f"{key:<14}{'bptt':<17}{ours['step_ms']:>10.3f} ms{ours['gflops']:>8.1f} GFLOP/s, "
          f"{100 * ours['roof_fraction']:.0f} % of the roof of {ours['roof_gflops']:.0f}")
    for name in names(result):
        theirs = result[name]
        ratio = theirs["step_ms"] / ours["step_ms"]
        print(f"{'':<14}{name:<17}{theirs['step_ms']:>10.3f} ms{theirs['gflops']:>8.1f} GFLOP/s, "
              f"bptt is {ratio:.2f} times as fast  ({theirs['version']}, {theirs['threads']} threads)")
    sys.stdout.flush()


def markdown(results):
    keys = [key for cell in CELLS for shape in SHAPES if (key := f"{cell} {shape}") in results]
    peers = [name for name, *_ in PEERS if any(name in results[key] for key in keys)]
    rows = [f"| cell, shape (N, T, n_x, n_h, n_y) | bptt, ms a step | of the roof | {' | '.join(peers)} |"]
    rows.append("|---" * (3 + len(peers)) + "|")
    least = []
    for key in keys:
        result, ours = results[key], results[key]["bptt"]
        cells = []
        for name in peers:
            if name not in result:
                cells.append("")
                continue
            ratio = result[name]["step_ms"] / ours["step_ms"]
            cells.append(f"{ratio:.1f}x")
            least.append((ratio, key, name))
        sizes = ", ".join(str(size) for size in SHAPES[key.split()[1]])
        fraction = f"{100 * ours['roof_fraction']:.0f} %"
        rows.append(f"| {key} ({sizes}) | {ours['step_ms']:.3g} | {fraction} | {' | '.join(cells)} |")
    versions = {f"{name} {result[name]['version']}" for result in results.values() for name in peers if name in result}
    machines = {f"{r['machine']}, {r['threads']} threads" for r in results.values()}
    ahead = "; ".join(f"{name} with {key}, {ratio:.2f}x" for ratio, key, name in sorted(least)[:3])
    text = (
        f"{'; '.join(sorted(machines))}; {', '.join(sorted(versions))}; f32; measured "
        f"{max(r['date'] for r in results.values())}. Peers' columns say how many times as long as ours their step takes. "
        f"We are least ahead of {ahead}."
    )
    return "\n".join(rows) + "\n\n" + text + "\n"


def into_readme(results):
    readme = ROOT / "README.md"
    text = readme.read_text()
    if text.count(MARKS[0]) != 1 or text.count(MARKS[1]) != 1:
        sys.exit(f"compare.py: README.md must have {MARKS[0]} and {MARKS[1]} once each, for the table to stand between")
    before, rest = text.split(MARKS[0])
    _, after = rest.split(MARKS[1])
    readme.write_text(f"{before}{MARKS[0]}\n\n{markdown(results)}\n{MARKS[1]}{after}")


if __name__ == "__main__":
    main()
