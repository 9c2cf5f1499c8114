"""JAX: lax.scan and grad under jit, the weights donated. It uses all cores; how many is not ours to say."""

import jax
import jax.numpy as jnp
import worker

inputs, targets, weights = worker.load()
x = jnp.asarray(inputs.transpose(1, 0, 2))  # [T, N, n_x]
classes = jnp.asarray(targets.T)
w = {name: jnp.asarray(value) for name, value in weights.items()}


def loss_of(w, x, classes):
    def cell(h, z):
        h = jnp.tanh(z + h @ w["wh"].T)
        return h, h

    h0 = jnp.zeros((x.shape[1], w["wh"].shape[0]), x.dtype)
    _, h = jax.lax.scan(cell, h0, x @ w["wx"].T + w["bh"])
    log_y = jax.nn.log_softmax(h @ w["wy"].T + w["by"])
    return -jnp.take_along_axis(log_y, classes[..., None], -1).mean()


def update(w, x, classes):
    gradients = jax.grad(loss_of)(w, x, classes)
    return jax.tree.map(lambda p, g: p - worker.LR * g, w, gradients)


jit_update = jax.jit(update, donate_argnums=0)


def loss():
    return jax.jit(loss_of)(w, x, classes)


def step():
    global w
    w = jax.block_until_ready(jit_update(w, x, classes))


worker.serve(jax.__version__, loss, step)
