"""NumPy, as one writes it from the formulas: a loop over the time steps forward, a loop backward."""

import numpy as np
import worker

inputs, targets, w = worker.load()
wx, wh, wy, bh, by = (w[name] for name in ["wx", "wh", "wy", "bh", "by"])
x = np.ascontiguousarray(inputs.transpose(1, 0, 2))  # [T, N, n_x]
t, n, _ = x.shape
n_y, n_h = wy.shape
target = np.eye(n_y, dtype=x.dtype)[targets.T]  # [T, N, n_y]


def forward():
    h, y = [np.zeros((n, n_h), x.dtype)], []
    for i in range(t):
        h.append(np.tanh(x[i] @ wx.T + h[i] @ wh.T + bh))
        u = h[-1] @ wy.T + by
        e = np.exp(u - u.max(1, keepdims=True))
        y.append(e / e.sum(1, keepdims=True))
    return h, y


def loss():
    _, y = forward()
    return -(target * np.log(np.array(y))).sum() / (t * n)


def step():
    h, y = forward()
    dwx, dwh, dwy, dbh, dby = (np.zeros_like(p) for p in (wx, wh, wy, bh, by))
    dz = np.zeros((n, n_h), x.dtype)
    for i in reversed(range(t)):
        du = (y[i] - target[i]) / (t * n)
        dz = (du @ wy + dz @ wh) * (1 - h[i + 1] ** 2)
        dwy += du.T @ h[i + 1]
        dby += du.sum(0)
        dwh += dz.T @ h[i]
        dwx += dz.T @ x[i]
        dbh += dz.sum(0)
    for p, g in zip((wx, wh, wy, bh, by), (dwx, dwh, dwy, dbh, dby)):
        p -= p.dtype.type(worker.LR) * g


worker.serve(np.__version__, loss, step)
