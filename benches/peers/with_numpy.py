"""NumPy, as one writes it from the formulas: a loop over the time steps forward, a loop backward."""

import numpy as np
import worker

inputs, targets, w = worker.load()
wx, wh, wy, bx, bh, by = (w[name] for name in ["wx", "wh", "wy", "bx", "bh", "by"])
x = np.ascontiguousarray(inputs.transpose(1, 0, 2))  # [T, N, n_x]
t, n, _ = x.shape
n_y, n_h = wy.shape
target = np.eye(n_y, dtype=x.dtype)[targets.T]  # [T, N, n_y]


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


# Of each cell: (x, h, c) to (h, c, what the way back needs), and from there with (dh, dc) to the gradients of the sums of the
# inputs and of the states, and to what of dh and dc goes to the step before by itself.


def tanh(x, h, c):
    h = np.tanh(x @ wx.T + bx + h @ wh.T + bh)
    return h, c, h


def tanh_back(h, dh, dc):
    da = dh * (1 - h**2)
    return da, da, 0, dc


def gru(x, h, c):
    (a_r, a_z, a_n), (q_r, q_z, q_n) = (np.split(sums, 3, 1) for sums in (x @ wx.T + bx, h @ wh.T + bh))
    r, z = sigmoid(a_r + q_r), sigmoid(a_z + q_z)
    new = np.tanh(a_n + r * q_n)
    return new + z * (h - new), c, (r, z, new, q_n, h)


def gru_back(kept, dh, dc):
    r, z, new, q, h = kept
    dn = dh * (1 - z) * (1 - new**2)
    dr, dz = dn * q * r * (1 - r), dh * (h - new) * z * (1 - z)
    return np.concatenate([dr, dz, dn], 1), np.concatenate([dr, dz, dn * r], 1), dh * z, dc


def lstm(x, h, c):
    i, f, g, o = np.split(x @ wx.T + bx + h @ wh.T + bh, 4, 1)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    new = f * c + i * g
    s = np.tanh(new)
    return o * s, new, (i, f, g, o, c, s)


def lstm_back(kept, dh, dc):
    i, f, g, o, c, s = kept
    dc = dc + dh * o * (1 - s**2)
    da = np.concatenate([dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2), dh * s * o * (1 - o)], 1)
    return da, da, 0, dc * f


cell, cell_back = {"tanh": (tanh, tanh_back), "gru": (gru, gru_back), "lstm": (lstm, lstm_back)}[worker.cell()]


def forward():
    h, y, kept = [np.zeros((n, n_h), x.dtype)], [], []
    c = np.zeros((n, n_h), x.dtype)
    for i in range(t):
        new, c, of_step = cell(x[i], h[i], c)
        h.append(new)
        kept.append(of_step)
        u = h[-1] @ wy.T + by
        e = np.exp(u - u.max(1, keepdims=True))
        y.append(e / e.sum(1, keepdims=True))
    return h, y, kept


def loss():
    _, y, _ = forward()
    return -(target * np.log(np.array(y))).sum() / (t * n)


def step():
    h, y, kept = forward()
    weights = wx, wh, wy, bx, bh, by
    dwx, dwh, dwy, dbx, dbh, dby = gradients = [np.zeros_like(p) for p in weights]
    dh = dc = np.zeros((n, n_h), x.dtype)
    for i in reversed(range(t)):
        du = (y[i] - target[i]) / (t * n)
        dwy += du.T @ h[i + 1]
        dby += du.sum(0)
        da, dq, passed, dc = cell_back(kept[i], du @ wy + dh, dc)
        dwh += dq.T @ h[i]
        dwx += da.T @ x[i]
        dbx += da.sum(0)
        dbh += dq.sum(0)
        dh = dq @ wh + passed
    for p, g in zip(weights, gradients):
        p -= p.dtype.type(worker.LR) * g


worker.serve(np.__version__, loss, step)
