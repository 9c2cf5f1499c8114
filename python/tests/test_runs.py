"""Runs of the program inside of Python: its bits, its words, its Ctrl-C; and the models that they leave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bptt
from bptt._bptt import machine as _machine

TEXT = "so it goes. and then it went on, as it always does.\n" * 40
SMALL: dict[str, Any] = dict(hidden=12, batch=4, seq_len=10, steps=30, threads=2, shards=2, report_every=10)


@pytest.fixture(scope="module")
def text(tmp_path_factory: Any) -> Path:
    path: Path = tmp_path_factory.mktemp("data") / "book.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def run(text: Path, tmp_path_factory: Any) -> bptt.Run:
    return bptt.train(text, out=tmp_path_factory.mktemp("run"), cell="lstm", layers=2, dropout=0.1, quiet=True, **SMALL)


@pytest.fixture(scope="module")
def program() -> str:
    """The program, as `.ci/run` has built it."""
    root = Path(__file__).resolve().parents[2]
    target = Path(os.environ.get("CARGO_TARGET_DIR", root / "target"))
    found = [path for path in (target / "debug" / "bptt", target / "release" / "bptt") if path.exists()]
    if not found:
        pytest.skip("the program is not built: cargo build")
    return str(found[0])


def said(program: str, *words: Any) -> Any:
    # The program may begin again with better kernels than OpenBLAS chose; here they are those of this process.
    kernels = _machine()[1].rsplit(" kernels")[0].split()[-1]
    env = {**os.environ, "OPENBLAS_CORETYPE": kernels}
    done = subprocess.run([program, *map(str, words), "--log", "json"], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_run_has_the_bits_of_the_program(program: str, text: Path, run: bptt.Run, tmp_path: Path) -> None:
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    result = said(program, "train", text, *flags, "--cell=lstm", "--layers=2", "--dropout=0.1", "--out", tmp_path)
    for name in ("model.safetensors", "last.safetensors"):
        assert (tmp_path / name).read_bytes() == (run.folder / name).read_bytes()
    same = set(result) - {"seconds", "tokens_per_second", "model"}
    assert {name: result[name] for name in same} == {name: run.result[name] for name in same}
    assert [report["step"] for report in run.history] == [10, 20, 30]
    model = run.model
    assert model.sample("so ", 40, seed=3) == said(program, "sample", tmp_path, "--prompt=so ", "--length=40", "--seed=3")["text"]
    found = said(program, "eval", tmp_path, text)
    del found["event"]
    assert model.eval(text) == found


def test_resumed_runs_have_the_bits_of_one_in_one_piece(text: Path, run: bptt.Run, tmp_path: Path) -> None:
    flags = {**SMALL, "steps": 20}
    bptt.train(text, out=tmp_path, cell="lstm", layers=2, dropout=0.1, quiet=True, **flags)
    again = bptt.resume(tmp_path, steps=30, quiet=True)
    assert again.result["steps"] == 30 and "30 steps" in repr(again)
    assert (again.folder / "last.safetensors").read_bytes() != b""
    ours, theirs = again.model.state_dict(), run.model.state_dict()
    assert all((ours[name] == theirs[name]).all() for name in theirs)


def test_logprobs_are_those_of_the_loss(run: bptt.Run, tmp_path: Path) -> None:
    text = TEXT[:1500]
    path = tmp_path / "part.txt"
    path.write_text(text)
    logprobs = run.model.logprobs(text)
    assert logprobs.shape == (1499,) and (logprobs < 0).all()
    assert abs(-logprobs.mean() - run.model.eval(path)["loss"]) < 1e-6
    assert (run.model.logprobs(text.encode()) == logprobs).all()
    # What comes later changes nothing before it, wherever the pieces end.
    assert np.abs(run.model.logprobs(text[:1100]) - logprobs[:1099]).max() == 0
    for bad, words in [("a", "two tokens"), ("", "two tokens"), ("ß" * 5, "ß")]:
        with pytest.raises(ValueError, match=words):
            run.model.logprobs(bad)


def test_predictions_are_those_of_the_program(program: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    x, lengths = rng.normal(size=(20, 7, 3)).astype(np.float32), rng.integers(1, 8, 20)
    data = tmp_path / "set.npz"
    np.savez(data, inputs=x, targets=np.sign(x[:, :, :1]).astype(np.float32), lengths=lengths)
    run = bptt.train(data, out=tmp_path / "run", hidden=6, steps=5, cell="gru", loss="mse", quiet=True)
    said(program, "predict", run.folder, data, "--out", tmp_path / "out.npz")
    expected = np.load(tmp_path / "out.npz")["values"]
    found = run.model.predict([row[:length] for row, length in zip(x, lengths)])
    assert all((ours == theirs[: len(ours)]).all() for ours, theirs in zip(found, expected))
    assert (run.model.predict(x[:, :3]) == np.stack([run.model.predict(x)[:, t] for t in range(3)], 1)).all()
    one = run.model.predict(x, threads=1)
    assert (one == run.model.predict(x, threads=2)).all()
    with pytest.raises(ValueError, match=r"X: the shape is \[20, 7, 2\], expected \[N, T, 3\]"):
        run.model.predict(x[:, :, :2])


def test_models_of_text_read_ids(run: bptt.Run) -> None:
    n = run.model.architecture["input"]["tokens"]
    y = run.model.predict(np.array([[0, 1, 2], [3, 2, 1]]))
    assert y.shape == (2, 3, n) and np.allclose(y.sum(-1), 1, atol=1e-5)
    for bad in ([[n]], [[-1]], [[0.5]], [0], []):
        with pytest.raises(ValueError, match="X"):
            run.model.predict(bad)
    assert run.model.tokens == "char" and run.model.config["cell"] == "lstm"
    assert "2 layers of 12 lstm units" in repr(run.model)


def test_pickled_models_keep_their_vocabulary(run: bptt.Run) -> None:
    import pickle

    again = pickle.loads(pickle.dumps(run.model))
    assert again.path is None
    assert again.sample("so ", 20) == run.model.sample("so ", 20)


def test_errors_are_the_programs_in_its_words(text: Path, run: bptt.Run, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere.txt"):
        bptt.train(tmp_path / "nowhere.txt", out=tmp_path / "a")
    with pytest.raises(ValueError, match="holds a run already"):
        bptt.train(text, out=run.folder)
    with pytest.raises(ValueError, match="'0' for 'hidden': expected a whole number") as wrong:
        bptt.train(text, hidden=0)
    assert "Usage" not in str(wrong.value) and "--" not in str(wrong.value)
    with pytest.raises(TypeError, match="no flag 'hiden': did you mean 'hidden'"):
        bptt.train(text, hiden=8)
    with pytest.raises(TypeError, match="no flag 'nowhere'$"):
        bptt.resume(run.folder, nowhere=8)
    for name in ("x--hidden y", "--seq-len", "dir/ --lr x.txt"):
        with pytest.raises(FileNotFoundError, match=f"{name}: No such file"):
            bptt.train(text, out=tmp_path / "c", valid=name)
    with pytest.raises(ValueError, match="holds a run already .*go on with it by bptt.resume: "):
        bptt.train(text, out=run.folder)
    with pytest.raises(TypeError, match="out: a run stays in its folder"):
        bptt.resume(run.folder, out="x")
    with pytest.raises(TypeError, match=r"resume: a run is gone on with by bptt.resume\(folder\)"):
        bptt.train(text, resume="x")
    for wrong, words in [(None, "folder: expected paths, got NoneType"), (3, "folder: expected paths, got int")]:
        with pytest.raises(TypeError, match=words):
            bptt.resume(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="data: expected paths, got list: give each as an argument"):
        bptt.train([text])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="data: .*NoneType"):
        run.model.eval(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="out: expected paths, got int"):
        bptt.train(text, out=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected paths, got a text"):
        bptt.train("It was\na dark")
    help = str(bptt.train.__doc__)
    assert "    bidirectional: " in help and "    cell: tanh|relu|gru|lstm: " in help and "--init" not in help
    with pytest.raises(FileNotFoundError, match="^from_: .*no-model"):
        bptt.train(text, out=tmp_path / "b", from_=tmp_path / "no-model")
    with pytest.raises(ValueError, match="length: -1 is not a whole number from 0 up"):
        run.model.sample(length=-1)
    for prompt in (b"so", 5, ["so"], True, None):
        with pytest.raises(TypeError, match="prompt: expected str"):
            run.model.sample(prompt)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="data: expected paths"):
        run.model.eval()
    with pytest.raises(TypeError, match=r"a file is read by Model.load\(path\)"):
        bptt.Model("run")  # type: ignore[arg-type]
    for flags, words in [
        (dict(seed=-1), "'-1' for 'seed': expected a whole number from 0 to"),
        (dict(patience=-1), "'-1' for 'patience': expected a whole number from 0 to"),
        (dict(min_count=-1), "'-1' for 'min_count': expected a whole number from 0 up"),
        (dict(tie=1), "^tie: 1 is not True or False"),
        (dict(hidden=False), "^hidden: False is no value for it, expected N$"),
        (dict(cell=True), r"^cell: True is no value for it, expected tanh\|relu\|gru\|lstm$"),
        (dict(hidden=[8]), r"^hidden: \[8\] is no value for it"),
        (dict(steps=2**64), "from 1 to 9007199254740992"),
        (dict(valid=""), "^valid: it is empty"),
    ]:
        with pytest.raises(ValueError, match=words):
            bptt.train(text, **flags)
    with pytest.raises(RuntimeError, match=r"bytes allowed \(`memory`\)"):
        bptt.train(text, memory="1", **SMALL)
    with pytest.raises(TypeError, match="no flag 'data': give the paths of the data before the flags"):
        bptt.train(data=text)
    assert "[default: tanh]" in help and "new folder in `runs`" in help
    again = str(bptt.resume.__doc__)
    assert "    lr: " in again and "    hidden: " not in again and "[default" not in again
    with pytest.raises(TypeError, match="paths.*ndarray.*RNNClassifier"):
        bptt.train(np.zeros(3))  # type: ignore[arg-type]
    numbers = bptt.RNNRegressor(hidden=2, epochs=1).fit(np.zeros((2, 3, 1)), np.ones(2)).model_
    with pytest.raises(ValueError, match="has no vocabulary"):
        numbers.sample()
    with pytest.raises(ValueError, match="bidirectional: a text is predicted from what came before"):
        bptt.train(text, bidirectional=True)
    with pytest.raises(ValueError, match="no run to go on with"):
        bptt.resume(tmp_path)
    with pytest.raises(FileNotFoundError):
        bptt.Model.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        bptt.load(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"PK\3\4 no model of ours")
    with pytest.raises(ValueError, match="bad.safetensors.*archive"):
        bptt.Model.load(tmp_path / "bad.safetensors")
    with pytest.raises(ValueError, match="no estimator"):
        bptt.load(run.folder)
    with pytest.raises(ValueError, match="expected one of `onnx`, `npz`, `c`, `rtneural`$"):
        run.model.export(tmp_path / "model", to="onxx")
    with pytest.raises(ValueError, match="path: .*model.foo ends in none of .onnx, .npz, .h, .json"):
        run.model.export(tmp_path / "model.foo")
    run.model.export(tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as arrays:
        assert "rnn.weight_hh_l0" in arrays
    with pytest.raises(ValueError, match="temperature"):
        run.model.sample(temperature=-1)
    with pytest.raises(OSError, match="not/there"):
        run.model.save(tmp_path / "not/there")


def test_a_run_goes_on_from_elsewhere(tmp_path: Path, monkeypatch: Any) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("book.txt").write_text(TEXT)
    run = bptt.train("book.txt", out="run", quiet=True, **SMALL)
    monkeypatch.chdir(tmp_path / "there")
    assert run.model.tokens == "char" and len(run.history) == 3
    with pytest.raises(FileNotFoundError, match="config.json says that the run was trained on book.txt"):
        bptt.resume("../here/run", steps=40, quiet=True)
    assert bptt.resume("../here/run", "../here/book.txt", steps=40, quiet=True).result["steps"] == 40


def test_tokens_and_text(run: bptt.Run) -> None:
    model = run.model
    ids = model.encode("so it goes")
    assert ids.dtype == np.uint32 and model.decode(ids) == "so it goes"
    whole, part = model.predict([ids, ids[:4]])
    assert (len(whole), len(part)) == (10, 4) and np.allclose(whole[:4], part, atol=1e-6)
    for wrong, words in [([10**6], "ids from"), ([-1], "ids from"), ([0.5], "integer ids"), ([[1]], "1 axes")]:
        with pytest.raises(ValueError, match=words):
            model.decode(wrong)
    with pytest.raises(ValueError, match="is not among the"):
        model.encode("ß")
    with pytest.raises(ValueError, match="has no vocabulary"):
        bptt.RNNRegressor(hidden=2, epochs=1).fit(np.zeros((2, 3, 1)), np.ones(2)).model_.encode("so")


def test_errors_of_models_without_a_file_name_none(tmp_path: Path) -> None:
    model = bptt.RNNRegressor(cell="tanh", hidden=2, epochs=1).fit(np.zeros((2, 3, 1)), np.ones(2)).model_
    for path, words in [
        ("a.json", "^model: RTNeural has no vanilla cell"),
        ("no/a.onnx", r"cannot write .*no/a.onnx: No such file or directory \(os error 2\)$"),
        ("a.txt", r"^path: .*a.txt ends in none of"),
    ]:
        with pytest.raises((ValueError, OSError), match=words) as wrong:
            model.export(tmp_path / path)
        assert "tmp-" not in str(wrong.value) and "model.safetensors" not in str(wrong.value)
    with pytest.raises(ValueError, match="path: it is empty"):
        model.save("")
    with pytest.raises(ValueError, match="path: it is empty"):
        bptt.Model.load("")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("what", ["sample('so', 10**8)", "logprobs(TEXT * 4000)", "eval(LONG)", "predict(IDS)"])
def test_ctrl_c_ends_a_long_answer(run: bptt.Run, tmp_path: Path, what: str) -> None:
    long = tmp_path / "long.txt"
    long.write_text(TEXT * 4000)
    code = f"""
import _thread, numpy as np, signal, threading, time, bptt
# It may be ignored, as in a background job of a shell.
signal.signal(signal.SIGINT, signal.default_int_handler)
TEXT, LONG, IDS = {TEXT!r}, {str(long)!r}, np.zeros((2000, 4000), np.uint32)
model = bptt.Model.load({str(run.folder)!r})
threading.Timer(1, _thread.interrupt_main).start()
begin = time.monotonic()
try: model.{what}
except KeyboardInterrupt: print("interrupted", time.monotonic() - begin < 3)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert found.stdout == "interrupted True\n", found.stderr


def test_a_run_that_diverges_says_so(tmp_path: Path) -> None:
    data = tmp_path / "set.npz"
    x = np.random.default_rng(0).normal(size=(40, 30, 2))
    np.savez(data, inputs=x, targets=1e30 * x)
    with pytest.raises(RuntimeError, match="diverged"):
        bptt.train(data, out=tmp_path / "run", cell="relu", optimizer="gd", lr=1e12, steps=50, hidden=4, clip_norm=1e30, quiet=True)


def test_progress_is_shown_where_python_shows_errors(text: Path, tmp_path: Path, capsys: Any) -> None:
    bptt.train(text, out=tmp_path / "run", **SMALL)
    shown = capsys.readouterr()
    assert shown.out == "" and "step      30" in shown.err
    # A program that shows its lines, as a notebook does, may fail to: the run ends with its exception.
    stderr = sys.stderr

    class Broken:
        def write(self, _: str) -> int:
            raise ZeroDivisionError

        def flush(self) -> None: ...

    try:
        sys.stderr = Broken()  # type: ignore[assignment]
        with pytest.raises(ZeroDivisionError):
            bptt.train(text, out=tmp_path / "two", **{**SMALL, "steps": 10**6})
    finally:
        sys.stderr = stderr


def test_ctrl_c_leaves_a_checkpoint(text: Path, tmp_path: Path) -> None:
    code = f"""
import bptt
try:
    bptt.train({str(text)!r}, out={str(tmp_path / "run")!r}, hidden=12, batch=4, seq_len=10, steps=10**7, checkpoint_every=10**7,
               report_every=100)
except KeyboardInterrupt:
    print("ended", bptt.resume.__name__)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell has what it starts in the background ignore this signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    history = tmp_path / "run" / "history.jsonl"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (history.exists() and history.stat().st_size):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert out == "ended resume\n", err
    assert "interrupted at step" in err
    reached = json.loads(history.read_text().splitlines()[-1])["step"]
    assert bptt.resume(tmp_path / "run", steps=10**7, epochs=1, quiet=True).result["steps"] >= reached


def test_other_threads_run_while_one_trains(text: Path, tmp_path: Path) -> None:
    done = threading.Event()
    counted = 0

    def work() -> None:
        bptt.train(text, out=tmp_path / "run", quiet=True, **{**SMALL, "steps": 400, "hidden": 64, "report_every": 400})
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    longest, last = 0.0, time.monotonic()
    while thread.is_alive():
        time.sleep(0.001)
        now = time.monotonic()
        longest, last, counted = max(longest, now - last), now, counted + 1
    assert done.is_set() and counted > 10, (counted, longest)


def test_numpys_own_blas_keeps_its_threads() -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")

    def threads() -> dict[str, int]:
        found = threadpoolctl.threadpool_info()
        return {blas["filepath"]: blas["num_threads"] for blas in found if "numpy" in blas["filepath"]}

    with threadpoolctl.threadpool_limits(3):
        before = threads()
        x = np.random.default_rng(0).normal(size=(20, 5, 3))
        bptt.RNNRegressor(hidden=4, epochs=1).fit(x, x[:, 0])
        assert threads() == before


def test_openblas_chooses_kernels_for_this_processor() -> None:
    """Loaded when it knew only an old processor, it is told to choose again, and nobody else is."""
    if _machine()[2] not in ("avx2", "avx512"):
        pytest.skip("the processor is one that every OpenBLAS has kernels for")
    maps = Path("/proc/self/maps").read_text().split()
    libraries = {path for path in maps if "openblas" in path and not any(other in path for other in ("numpy", "scipy", "bptt.libs"))}
    if len(libraries) != 1:
        pytest.skip("OpenBLAS is no library of its own here")
    # Without scikit-learn, which takes longer to import than all else.
    report = "import sys; sys.modules['sklearn'] = None; import bptt; print(bptt._machine()[1])"
    code = f"""
import ctypes, os
os.environ["OPENBLAS_CORETYPE"] = "Prescott"
ctypes.CDLL({libraries.pop()!r})
del os.environ["OPENBLAS_CORETYPE"]
{report}
assert "OPENBLAS_CORETYPE" not in os.environ
"""
    env = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert "SkylakeX kernels" in done.stdout or "Haswell kernels" in done.stdout
    env["OPENBLAS_CORETYPE"] = "Nehalem"
    chosen = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, env=env)
    assert "Nehalem kernels" in chosen.stdout, chosen


def test_torch_and_back(run: bptt.Run) -> None:
    torch = pytest.importorskip("torch")
    ids = np.array([[0, 1, 2, 3], [3, 2, 1, 0]])
    module = run.model.to_torch()
    probabilities = torch.softmax(module(torch.from_numpy(ids)), -1).detach().numpy()
    assert np.abs(probabilities - run.model.predict(ids)).max() < 1e-5
    rng = np.random.default_rng(2)
    x = rng.normal(size=(5, 6, 3)).astype(np.float32)
    for stock in (
        torch.nn.RNN(3, 4, nonlinearity="relu", num_layers=2, batch_first=True),
        torch.nn.GRU(3, 4, bidirectional=True, batch_first=True),
        torch.nn.LSTM(3, 4, batch_first=True).double(),
    ):
        decoder = torch.nn.Linear(4 * (1 + stock.bidirectional), 2).to(stock.weight_hh_l0.dtype)
        for at in ("every", "last"):
            model = bptt.from_torch(stock, decoder, loss="mse", at=at)
            again = model.to_torch()(torch.from_numpy(x).to(decoder.weight.dtype)).detach().numpy()
            assert np.abs(again - model.predict(x)).max() < 1e-5
        assert np.abs(decoder(stock(torch.from_numpy(x).to(decoder.weight.dtype))[0]).detach().numpy() - again[:, None]).shape == (5, 6, 2)
    embedding = torch.nn.Embedding(7, 4)
    tied = torch.nn.Linear(4, 7)
    tied.weight = embedding.weight
    model = bptt.from_torch(torch.nn.GRU(4, 4), tied, embedding)
    assert model.architecture["head"]["tied"] and model.predict([[0, 6]]).shape == (1, 2, 7)
    assert bptt.from_torch(torch.nn.LSTM(7, 4), torch.nn.Linear(4, 7), tokens=True).predict([[0, 6]]).shape == (1, 2, 7)
    with pytest.raises(NotImplementedError, match="proj_size"):
        bptt.from_torch(torch.nn.LSTM(3, 4, proj_size=2), torch.nn.Linear(2, 2))
    with pytest.raises(NotImplementedError, match="bias=False"):
        bptt.from_torch(torch.nn.LSTM(3, 4, bias=False), torch.nn.Linear(4, 2))
    with pytest.raises(ValueError, match="decoder.*expected 4"):
        bptt.from_torch(torch.nn.LSTM(3, 4), torch.nn.Linear(3, 2))
    with pytest.raises(TypeError, match="rnn"):
        bptt.from_torch(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    broken = torch.nn.Linear(4, 2)
    broken.weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match="decoder.weight"):
        bptt.from_torch(torch.nn.LSTM(3, 4), broken)
