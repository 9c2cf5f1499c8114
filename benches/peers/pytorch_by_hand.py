"""PyTorch with backpropagation written out: its matrix products and nothing of its autograd, buffers kept.

The best that we could do with PyTorch's operators: one product over all steps wherever the equations allow it, in-place
operations, no graph.
"""

import torch
import worker

torch.set_num_threads(worker.threads())
torch.set_grad_enabled(False)
inputs, targets, w = worker.load()
w["bh"] += w["bx"]
wx, wh, wy, bh, by = (torch.from_numpy(w[name]) for name in ["wx", "wh", "wy", "bh", "by"])
x = torch.from_numpy(inputs).transpose(0, 1).contiguous()  # [T, N, n_x]
classes = torch.from_numpy(targets).T.contiguous().flatten()[:, None]  # [T N, 1]
t, n, n_x = x.shape
n_y, n_h = wy.shape

h = torch.zeros(t + 1, n, n_h)  # h[0] the initial state
u = torch.empty(t * n, n_y)
dz = torch.empty(t, n, n_h)
flat_x, flat_h, flat_before = x.view(-1, n_x), h[1:].view(-1, n_h), h[:-1].view(-1, n_h)
flat_z, flat_dz = h[1:].view(-1, n_h), dz.view(-1, n_h)


def forward():
    torch.addmm(bh, flat_x, wx.T, out=flat_z)
    for i in range(t):
        h[i + 1].addmm_(h[i], wh.T).tanh_()
    torch.addmm(by, flat_h, wy.T, out=u)


def loss():
    forward()
    return -torch.log_softmax(u, 1).gather(1, classes).mean()


def step():
    forward()
    du = torch.softmax(u, 1)
    du.scatter_add_(1, classes, torch.full_like(classes, -1, dtype=du.dtype)).div_(t * n)
    torch.mm(du, wy, out=flat_dz)
    for i in reversed(range(t)):
        if i + 1 < t:
            dz[i].addmm_(dz[i + 1], wh)
        # dz (1 - h^2), in one pass
        torch.ops.aten.tanh_backward.grad_input(dz[i], h[i + 1], grad_input=dz[i])
    wy.addmm_(du.T, flat_h, alpha=-worker.LR)
    wh.addmm_(flat_dz.T, flat_before, alpha=-worker.LR)
    wx.addmm_(flat_dz.T, flat_x, alpha=-worker.LR)
    by.sub_(du.sum(0), alpha=worker.LR)
    bh.sub_(flat_dz.sum(0), alpha=worker.LR)


worker.serve(torch.__version__, loss, step)
