// oneDNN's recurrent primitives with a decoder of its own sgemm: one whole training step, as the other peers take it.
//
//     onednn FOLDER CELL N T n_x n_h n_y     (problem.bin in FOLDER, as compare.py writes it; OMP_NUM_THREADS threads)
//
// It talks as worker.py does. GRU is the one whose reset gate comes after the product ("linear before reset"), as PyTorch's.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <unordered_map>
#include <vector>

using namespace dnnl;
using Vec = std::vector<float>;
using Md = memory::desc;
using Tag = memory::format_tag;

// As in worker.py.
const float LR = 1e-3f;

static engine eng(engine::kind::cpu, 0);
static stream str(eng);

static Md md(memory::dims dims, Tag tag) { return Md(dims, memory::data_type::f32, tag); }

// A matrix product of row-major matrices, op(A) [m, k] times op(B) [k, n].
static void gemm(char ta, char tb, int m, int n, int k, const float *a, const float *b, float beta, float *c) {
    dnnl_sgemm(ta, tb, m, n, k, 1.0f, a, ta == 'N' ? k : m, b, tb == 'N' ? n : k, beta, c, n);
}

// The primitives of one cell, and the memory that they want beside the caller's.
struct Recurrence {
    primitive forward, backward;
    Md weights_layer, weights_iter, weights_layer_back, weights_iter_back, diff_layer, diff_iter, workspace;
};

template <class Forward, class Backward>
static Recurrence make(typename Forward::desc fd, typename Backward::desc bd) {
    typename Forward::primitive_desc f(fd, eng);
    typename Backward::primitive_desc b(bd, eng, f);
    return {Forward(f),          Backward(b),
            f.weights_layer_desc(), f.weights_iter_desc(),
            b.weights_layer_desc(), b.weights_iter_desc(),
            b.diff_weights_layer_desc(), b.diff_weights_iter_desc(), f.workspace_desc()};
}

static Recurrence recurrence(const std::string &cell, int N, int T, int I, int H, int G, int B) {
    const auto dir = rnn_direction::unidirectional_left2right;
    const auto kind = prop_kind::forward_training, back = prop_kind::backward;
    Md x = md({T, N, I}, Tag::tnc), h = md({T, N, H}, Tag::tnc), h0 = md({1, 1, N, H}, Tag::ldnc), none;
    Md wl = md({1, 1, I, G, H}, Tag::any), wi = md({1, 1, H, G, H}, Tag::any), b = md({1, 1, B, H}, Tag::ldgo);
    if (cell == "lstm")
        return make<lstm_forward, lstm_backward>(
            {kind, dir, x, h0, h0, wl, wi, b, h, none, none},
            {back, dir, x, h0, h0, wl, wi, b, h, none, none, x, h0, h0, wl, wi, b, h, none, none});
    if (cell == "gru")
        return make<lbr_gru_forward, lbr_gru_backward>(
            {kind, dir, x, h0, wl, wi, b, h, none},
            {back, dir, x, h0, wl, wi, b, h, none, x, h0, wl, wi, b, h, none});
    const auto tanh = algorithm::eltwise_tanh;
    return make<vanilla_rnn_forward, vanilla_rnn_backward>(
        {kind, tanh, dir, x, h0, wl, wi, b, h, none},
        {back, tanh, dir, x, h0, wl, wi, b, h, none, x, h0, wl, wi, b, h, none});
}

int main(int argc, char **argv) {
    if (argc != 8) {
        fprintf(stderr, "usage: onednn FOLDER CELL N T n_x n_h n_y\n");
        return 2;
    }
    const std::string folder = argv[1], cell = argv[2];
    const int N = atoi(argv[3]), T = atoi(argv[4]), I = atoi(argv[5]), H = atoi(argv[6]), Y = atoi(argv[7]);
    const int G = cell == "lstm" ? 4 : cell == "gru" ? 3 : 1, B = cell == "gru" ? 4 : G, R = N * T;

    // The problem: floats one array after another.
    std::ifstream file(folder + "/problem.bin", std::ios::binary);
    auto read = [&](size_t n) {
        Vec v(n);
        if (!file.read((char *)v.data(), n * sizeof(float))) {
            fprintf(stderr, "onednn: %s/problem.bin is too short\n", folder.c_str());
            exit(1);
        }
        return v;
    };
    Vec wx = read(G * H * I), wh = read(G * H * H), wy = read(Y * H), bx = read(G * H), bh = read(G * H), by = read(Y);
    Vec inputs = read(R * I), classes = read(R);

    // Gates in oneDNN's order: update before reset, which PyTorch has the other way round; inputs before gates.
    const int order[4] = {cell == "gru" ? 1 : 0, cell == "gru" ? 0 : 1, 2, 3};
    Vec wl(I * G * H), wi(H * G * H), bias(B * H);
    for (int g = 0; g < G; g++)
        for (int o = 0; o < H; o++) {
            const int row = order[g] * H + o;
            for (int i = 0; i < I; i++) wl[(i * G + g) * H + o] = wx[row * I + i];
            for (int i = 0; i < H; i++) wi[(i * G + g) * H + o] = wh[row * H + i];
            const bool apart = cell == "gru" && g == 2;
            bias[g * H + o] = bx[row] + (apart ? 0 : bh[row]);
            if (apart) bias[3 * H + o] = bh[row];
        }
    Vec x(R * I);
    std::vector<int> y(R);
    for (int n = 0; n < N; n++)
        for (int t = 0; t < T; t++) {
            std::copy_n(&inputs[(n * T + t) * I], I, &x[(t * N + n) * I]);
            y[t * N + n] = (int)classes[n * T + t];
        }

    Recurrence r = recurrence(cell, N, T, I, H, G, B);
    Vec h(R * H), dh(R * H), dx(R * I), u(R * Y), dwl(wl.size()), dwi(wi.size()), dbias(bias.size()), dwy(wy.size()), dby(Y);
    auto over = [](const Md &d, Vec &v) { return memory(d, eng, v.data()); };
    memory x_m = over(md({T, N, I}, Tag::tnc), x), dx_m = over(md({T, N, I}, Tag::tnc), dx);
    memory h_m = over(md({T, N, H}, Tag::tnc), h), dh_m = over(md({T, N, H}, Tag::tnc), dh);
    // States of zero, given as such: without them, this version's gradient of the recurrent weights is another one.
    Vec zero(N * H), d_first(N * H), d_first_c(N * H);
    const Md first = md({1, 1, N, H}, Tag::ldnc);
    memory h0_m = over(first, zero), c0_m = over(first, zero), dh0_m = over(first, d_first), dc0_m = over(first, d_first_c);
    memory b_m = over(md({1, 1, B, H}, Tag::ldgo), bias), db_m = over(md({1, 1, B, H}, Tag::ldgo), dbias);
    const Md plain_l = md({1, 1, I, G, H}, Tag::ldigo), plain_i = md({1, 1, H, G, H}, Tag::ldigo);
    memory wl_m = over(plain_l, wl), wi_m = over(plain_i, wi), dwl_m = over(plain_l, dwl), dwi_m = over(plain_i, dwi);
    memory wl_f(r.weights_layer, eng), wi_f(r.weights_iter, eng), wl_b(r.weights_layer_back, eng), wi_b(r.weights_iter_back, eng);
    memory dwl_b(r.diff_layer, eng), dwi_b(r.diff_iter, eng), work(r.workspace, eng);

    // The mean cross-entropy; `u` becomes its gradient.
    auto loss = [&]() {
        reorder(wl_m, wl_f).execute(str, wl_m, wl_f);
        reorder(wi_m, wi_f).execute(str, wi_m, wi_f);
        r.forward.execute(str, {{DNNL_ARG_SRC_LAYER, x_m}, {DNNL_ARG_SRC_ITER, h0_m}, {DNNL_ARG_SRC_ITER_C, c0_m}, {DNNL_ARG_WEIGHTS_LAYER, wl_f}, {DNNL_ARG_WEIGHTS_ITER, wi_f},
                                {DNNL_ARG_BIAS, b_m}, {DNNL_ARG_DST_LAYER, h_m}, {DNNL_ARG_WORKSPACE, work}});
        str.wait();
        gemm('N', 'T', R, Y, H, h.data(), wy.data(), 0, u.data());
        double sum = 0;
#pragma omp parallel for reduction(+ : sum)
        for (int row = 0; row < R; row++) {
            float *v = &u[(size_t)row * Y], most = -INFINITY, total = 0;
            for (int k = 0; k < Y; k++) most = std::max(most, v[k] += by[k]);
            const float right = v[y[row]] - most;
            for (int k = 0; k < Y; k++) total += v[k] = expf(v[k] - most);
            sum += logf(total) - right;
            for (int k = 0; k < Y; k++) v[k] = (v[k] / total - (k == y[row])) / R;
        }
        return sum / R;
    };
    auto update = [](Vec &w, const Vec &g) {
        for (size_t i = 0; i < w.size(); i++) w[i] -= LR * g[i];
    };
    auto step = [&]() {
        loss();
        gemm('T', 'N', Y, H, R, u.data(), h.data(), 0, dwy.data());
        gemm('N', 'N', R, H, Y, u.data(), wy.data(), 0, dh.data());
        std::fill(dby.begin(), dby.end(), 0);
        for (int row = 0; row < R; row++)
            for (int k = 0; k < Y; k++) dby[k] += u[(size_t)row * Y + k];
        reorder(wl_m, wl_b).execute(str, wl_m, wl_b);
        reorder(wi_m, wi_b).execute(str, wi_m, wi_b);
        // The primitive adds to these.
        std::fill(dbias.begin(), dbias.end(), 0);
        for (memory *m : {&dwl_b, &dwi_b}) std::fill_n((char *)m->get_data_handle(), m->get_desc().get_size(), 0);
        r.backward.execute(str, {{DNNL_ARG_SRC_LAYER, x_m}, {DNNL_ARG_SRC_ITER, h0_m}, {DNNL_ARG_SRC_ITER_C, c0_m}, {DNNL_ARG_WEIGHTS_LAYER, wl_b}, {DNNL_ARG_WEIGHTS_ITER, wi_b},
                                 {DNNL_ARG_BIAS, b_m}, {DNNL_ARG_DST_LAYER, h_m}, {DNNL_ARG_WORKSPACE, work},
                                 {DNNL_ARG_DIFF_SRC_LAYER, dx_m}, {DNNL_ARG_DIFF_SRC_ITER, dh0_m}, {DNNL_ARG_DIFF_SRC_ITER_C, dc0_m}, {DNNL_ARG_DIFF_WEIGHTS_LAYER, dwl_b},
                                 {DNNL_ARG_DIFF_WEIGHTS_ITER, dwi_b}, {DNNL_ARG_DIFF_BIAS, db_m}, {DNNL_ARG_DIFF_DST_LAYER, dh_m}});
        reorder(dwl_b, dwl_m).execute(str, dwl_b, dwl_m);
        reorder(dwi_b, dwi_m).execute(str, dwi_b, dwi_m);
        str.wait();
        update(wl, dwl), update(wi, dwi), update(bias, dbias), update(wy, dwy), update(by, dby);
    };

    const version_t *v = version();
    printf("{\"version\": \"%d.%d.%d\", \"loss\": %.9g}\n", v->major, v->minor, v->patch, loss());
    fflush(stdout);
    step(), step();
    using Clock = std::chrono::steady_clock;
    for (double seconds; std::cin >> seconds;) {
        std::vector<double> times;
        const auto begin = Clock::now();
        auto now = begin;
        while (times.empty() || std::chrono::duration<double>(now - begin).count() < seconds) {
            const auto before = now;
            step();
            now = Clock::now();
            times.push_back(std::chrono::duration<double, std::milli>(now - before).count());
        }
        std::sort(times.begin(), times.end());
        const size_t n = times.size();
        // The loss too: that it falls says that the gradients are gradients.
        printf("{\"step_ms\": %.9g, \"loss\": %.9g}\n", (times[(n - 1) / 2] + times[n / 2]) / 2, loss());
        fflush(stdout);
    }
}
