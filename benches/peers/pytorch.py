"""PyTorch as its users write it: nn.RNN, nn.GRU or nn.LSTM, nn.Linear, cross-entropy, autograd, SGD."""

import torch
import worker

torch.set_num_threads(worker.threads())
inputs, targets, w = worker.load()
n_x, n_h = w["wx"].shape[1], w["wh"].shape[1]
n_y = len(w["by"])

# Time-major, PyTorch's default and its faster layout.
x = torch.from_numpy(inputs).transpose(0, 1).contiguous()
classes = torch.from_numpy(targets).T.contiguous().flatten()

rnn = {"tanh": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[worker.cell()](n_x, n_h)
decoder = torch.nn.Linear(n_h, n_y)
with torch.no_grad():
    for parameter, name in [
        (rnn.weight_ih_l0, "wx"),
        (rnn.weight_hh_l0, "wh"),
        (rnn.bias_ih_l0, "bx"),
        (rnn.bias_hh_l0, "bh"),
        (decoder.weight, "wy"),
        (decoder.bias, "by"),
    ]:
        parameter.copy_(torch.from_numpy(w[name]))
optimizer = torch.optim.SGD([*rnn.parameters(), *decoder.parameters()], lr=worker.LR)


def loss():
    h, _ = rnn(x)
    return torch.nn.functional.cross_entropy(decoder(h).flatten(0, 1), classes)


def step():
    optimizer.zero_grad()
    loss().backward()
    optimizer.step()


worker.serve(torch.__version__, lambda: loss().item(), step)
