// The same-size dilated convolution and its backward pass, compiled for one shape of layer:
//   C input maps, K output maps, SIDE taps a side (odd), numbers of type T (float or double).
//
// Images are NHWC: the maps of a pixel lie side by side. Three ideas make it fast.
//  - A vector holds output maps, and a tile of neighbouring pixels stays in registers: per tap and
//    input map there is one load of weights, and one multiply-add for each pixel.
//  - Where K leaves half a vector or more empty, the vector holds 2 or 4 input maps side by side
//    as well (`share`); they are added up when the tile is done. In a layer from one map to one
//    the vector holds pixels of a row.
//  - An image is cut into parts that see the same taps. A tap outside the image is never read, so
//    there is no padding and no test in a loop, and a large dilation costs less, not more.
//
// Every sum has a fixed order, which depends neither on the number of threads nor on the time.

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <numeric>
#include <utility>

namespace {

using Int = std::ptrdiff_t;

#if defined(__AVX512F__)
constexpr int BYTES = 64, REGISTERS = 32;
#elif defined(__AVX__)
constexpr int BYTES = 32, REGISTERS = 16;
#elif defined(__aarch64__)
constexpr int BYTES = 16, REGISTERS = 32;
#else
constexpr int BYTES = 16, REGISTERS = 16;
#endif
constexpr int LANES = BYTES / sizeof(T), TAPS = SIDE * SIDE, HALF = SIDE / 2;
constexpr int HELD = REGISTERS - 4;  // registers for sums; the others hold weights and pixels

template <int N> struct Vector { typedef T type __attribute__((vector_size(N * sizeof(T)))); };
template <> struct Vector<1> { typedef T type; };
using Vec = Vector<LANES>::type;

#define UNROLL _Pragma("GCC unroll 32")
#define INLINE inline __attribute__((always_inline))

template <int N = LANES> INLINE typename Vector<N>::type load(const T* from) {
    typename Vector<N>::type v;
    std::memcpy(&v, from, sizeof v);
    return v;
}
template <int N = LANES> INLINE void store(T* to, Vec v) { std::memcpy(to, &v, N * sizeof(T)); }

// v v: twice as many lanes, until all are full
template <int N, int... I>
INLINE Vec doubled(typename Vector<N>::type v, std::integer_sequence<int, I...>) {
    auto twice = __builtin_shufflevector(v, v, I...);
    if constexpr (2 * N == LANES) return twice;
    else return doubled<2 * N>(twice, std::make_integer_sequence<int, 4 * N>{});
}
// 0 1 2 3 -> 0 1 0 1 0 1 ...: the first S of N numbers over and over; no others are read
template <int S, int N = S> INLINE Vec repeat(const T* from) {
    if constexpr (S == 1) {
        return *from - Vec{};  // minus, as adding +0 would change the sign of -0
    } else if constexpr (S * sizeof(T) == 8) {  // one load broadcasts them
        long long both = 0;
        std::memcpy(&both, from, N * sizeof(T));
        typedef long long Wide __attribute__((vector_size(BYTES)));
        return (Vec)(both - Wide{});
    } else {
        typename Vector<S>::type v{};
        if constexpr (N == S) v = load<S>(from);
        else
            UNROLL for (int i = 0; i < N; i++) v[i] = from[i];
        return doubled<S>(v, std::make_integer_sequence<int, 2 * S>{});
    }
}
// 0 1 2 3 -> 0 0 1 1 2 2 ...: each of the first LANES / S numbers S times
template <int S, int... I> INLINE Vec stretch(Vec v, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(v, v, (I / S)...);
}
template <int S> INLINE Vec stretch(const T* from) {
    return stretch<S>(load(from), std::make_integer_sequence<int, LANES>{});
}
// 0 1 2 3 -> 0+1 2+3 ...: sums of S neighbours, in the first LANES / S lanes
template <int... I> INLINE Vec add_pairs(Vec v, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(v, v, (2 * I % LANES)...) +
           __builtin_shufflevector(v, v, (2 * I % LANES + 1)...);
}
template <int S> INLINE Vec fold(Vec v) {
    if constexpr (S == 1) return v;
    else return fold<S / 2>(add_pairs(v, std::make_integer_sequence<int, LANES>{}));
}

// Numbers in memory that is aligned to vectors, with room for a vector's read behind them.
struct Free {
    void operator()(T* p) const { ::operator delete[](p, std::align_val_t(64)); }
};
using Buffer = std::unique_ptr<T[], Free>;
Buffer buffer(Int size) {
    void* memory = ::operator new[]((size + LANES) * sizeof(T), std::align_val_t(64));
    Buffer made(static_cast<T*>(memory));
    std::fill_n(made.get(), size + LANES, T(0));
    return made;
}

// How the weights of a layer from IN to OUT maps are packed into vectors.
template <int IN, int OUT> struct Packing {
    static constexpr int rest = OUT % LANES;
    static constexpr int share =  // input maps side by side in the vector of the last maps
        rest == 0 || 2 * rest > LANES || IN < 2 ? 1 : 4 * rest > LANES || IN < 3 ? 2 : 4;
    static constexpr int full = OUT / LANES + (rest > 0 && share == 1);  // vectors of one input map
    static constexpr int groups = (IN + share - 1) / share;
    static constexpr Int maps = (full + (share > 1)) * LANES;  // numbers a bias takes
    static constexpr Int size = Int(TAPS) * (IN * full + (share > 1) * groups) * LANES;

    // The vector of output map k and input map c at a tap, and the lane in it.
    static constexpr Int at(int tap, int c, int k) {
        if (k < full * LANES) return ((Int(tap) * IN + c) * full) * LANES + k;
        Int shared = Int(TAPS) * IN * full + Int(tap) * groups + c / share;
        return shared * LANES + (k - full * LANES) * share + c % share;
    }
    static constexpr Int bias_at(int k) {
        return k < full * LANES ? k : full * LANES + (k - full * LANES) * share;
    }
};

// Pixels begin..end along an axis that see the same taps: `count` of them, from `first` on.
struct Part {
    Int begin, end;
    int first, count;
};
struct Parts {
    Part part[2 * SIDE + 1];
    int size = 0;

    Parts(Int length, Int dilation) {
        Int cuts[2 * SIDE + 2] = {0, length};
        int found = 2;
        for (int tap = 0; tap < SIDE; tap++) {
            Int step = (tap - HALF) * dilation;
            for (Int cut : {-step, length - step})
                if (cut > 0 && cut < length) cuts[found++] = cut;
        }
        std::sort(cuts, cuts + found);
        for (int i = 0; i + 1 < found; i++) {
            if (cuts[i] == cuts[i + 1]) continue;
            Part p{cuts[i], cuts[i + 1], SIDE, 0};
            for (int tap = SIDE - 1; tap >= 0; tap--) {
                Int seen = p.begin + (tap - HALF) * dilation;
                if (seen >= 0 && seen < length) p.first = tap, p.count++;
            }
            part[size++] = p;
        }
    }
    // what of them lies in begin..end
    Parts within(Int begin, Int end) const {
        Parts cut = *this;
        cut.size = 0;
        for (Part p : *this) {
            p.begin = std::max(p.begin, begin);
            p.end = std::min(p.end, end);
            if (p.begin < p.end) cut.part[cut.size++] = p;
        }
        return cut;
    }
    const Part* begin() const { return part; }
    const Part* end() const { return part + size; }
};

// ---- the convolution: y[p] = sum over t of weight[t] x[p + d t] + bias ----

template <int IN, int OUT> struct Conv {
    using P = Packing<IN, OUT>;
    const T* x;  // one image (H, W, IN)
    T* y;        // (H, W, OUT)
    const T *weight, *bias;  // packed
    Int W, dilation;
    bool relu;

    // R x Q pixels from (h, w) on, in B vectors of output maps from vector V on, S input maps each
    template <int S, int V, int B, int R, int Q>
    INLINE void tile(const Part& rows, const Part& columns, Int h, Int w) const {
        constexpr int groups = IN / S;
        constexpr Int stride = (S == 1 ? P::full : 1) * LANES;  // from one input map to the next
        const T* const packed = weight + P::at(0, 0, V * LANES);
        const Int pitch = W * IN;
        Vec sum[R][Q][B];
        UNROLL for (int r = 0; r < R; r++)
            UNROLL for (int q = 0; q < Q; q++)
                UNROLL for (int b = 0; b < B; b++) sum[r][q][b] = load(bias + (V + b) * LANES);
        for (int i = rows.first; i < rows.first + rows.count; i++)
            for (int j = columns.first; j < columns.first + columns.count; j++) {
                const T* seen = x + ((h + (i - HALF) * dilation) * W + w + (j - HALF) * dilation) * IN;
                const T* tap = packed + (i * SIDE + j) * (S == 1 ? IN : P::groups) * stride;
                for (int c = 0; c < groups; c++, tap += stride)
                    add<S, S, B, R, Q>(sum, seen + c * S, pitch, tap);
                if constexpr (IN % S > 0) add<S, IN % S, B, R, Q>(sum, seen + groups * S, pitch, tap);
            }
        UNROLL for (int r = 0; r < R; r++)
            UNROLL for (int q = 0; q < Q; q++)
                UNROLL for (int b = 0; b < B; b++) {
                    Vec v = fold<S>(sum[r][q][b]);
                    if (relu) v = v < Vec{} ? Vec{} : v;  // NaN stays NaN
                    T* to = y + ((h + r) * W + w + q) * OUT + (V + b) * LANES;
                    constexpr int last = OUT - (V + B - 1) * LANES, left = last < LANES ? last : LANES;
                    if (b < B - 1) store(to, v);
                    else store<left>(to, v);
                }
    }
    template <int S, int N, int B, int R, int Q>
    INLINE void add(Vec (&sum)[R][Q][B], const T* seen, Int pitch, const T* tap) const {
        Vec w[B];
        UNROLL for (int b = 0; b < B; b++) w[b] = load(tap + b * LANES);
        UNROLL for (int r = 0; r < R; r++)
            UNROLL for (int q = 0; q < Q; q++) {
                Vec pixel = repeat<S, N>(seen + r * pitch + q * IN);
                UNROLL for (int b = 0; b < B; b++) sum[r][q][b] += w[b] * pixel;
            }
    }

    // A strip of Q columns. The last tile overlaps the one before it, which does no harm.
    template <int S, int V, int B, int Q>
    void strip(const Part& rows, const Part& columns, Int w) const {
        constexpr int most = Q == 1 ? 8 : Q == 2 ? 6 : 4;
        constexpr int fit = HELD / B / Q, R = fit < 1 ? 1 : fit < most ? fit : most;
        if (rows.end - rows.begin >= R)
            for (Int h = rows.begin; h < rows.end; h += R)
                tile<S, V, B, R, Q>(rows, columns, std::min(h, rows.end - R), w);
        else
            for (Int h = rows.begin; h < rows.end; h++) tile<S, V, B, 1, Q>(rows, columns, h, w);
    }
    template <int S, int V, int B, int Q>
    void strip(int q, const Part& rows, const Part& columns, Int w) const {
        if (q == Q) strip<S, V, B, Q>(rows, columns, w);
        else if constexpr (Q > 1) strip<S, V, B, Q - 1>(q, rows, columns, w);
    }
    template <int S, int V, int B> void block(const Part& rows, const Parts& columns) const {
        constexpr Int widest = S > 2 ? HELD / 4 : B == 1 ? HELD / 2 : HELD / B;
        for (const Part& part : columns)
            for (Int w = part.begin; w < part.end;) {  // strips of nearly equal width
                Int left = part.end - w, strips = (left + widest - 1) / widest;
                Int width = (left + strips - 1) / strips;
                strip<S, V, B, widest>(int(width), rows, part, w);
                w += width;
            }
    }
    template <int V> void blocks(const Part& rows, const Parts& columns) const {
        constexpr int B = P::full - V >= 2 ? 2 : 1;
        if constexpr (V < P::full) {
            block<1, V, B>(rows, columns);
            blocks<V + B>(rows, columns);
        } else if constexpr (P::share > 1) {
            block<P::share, V, 1>(rows, columns);
        }
    }
    void run(const Parts& rows, const Parts& columns) const {
        for (const Part& part : rows) blocks<0>(part, columns);
    }
};

// The same for a layer from one map to one: a vector holds neighbouring pixels of a row.
template <> struct Conv<1, 1> {
    using P = Packing<1, 1>;
    const T* x;
    T* y;
    const T *weight, *bias;
    Int W, dilation;
    bool relu;

    // R rows of N pixels from (h, w) on
    template <int N, int R> INLINE void tile(const Part& rows, const Part& columns, Int h, Int w) const {
        using V = typename Vector<N>::type;
        V sum[R];
        UNROLL for (int r = 0; r < R; r++) sum[r] = *bias - V{};
        for (int i = rows.first; i < rows.first + rows.count; i++)
            for (int j = columns.first; j < columns.first + columns.count; j++) {
                const T* seen = x + (h + (i - HALF) * dilation) * W + w + (j - HALF) * dilation;
                const V tap = weight[P::at(i * SIDE + j, 0, 0)] - V{};
                UNROLL for (int r = 0; r < R; r++) sum[r] += tap * load<N>(seen + r * W);
            }
        UNROLL for (int r = 0; r < R; r++) {
            if (relu) sum[r] = sum[r] < V{} ? V{} : sum[r];
            std::memcpy(y + (h + r) * W + w, &sum[r], sizeof sum[r]);
        }
    }
    // Columns that see the same taps, in the widest vectors that fit; the last of them overlaps.
    template <int N> void block(const Part& rows, const Part& columns) const {
        constexpr int R = 4;
        if constexpr (N > 1)
            if (columns.end - columns.begin < N) return block<N / 2>(rows, columns);
        for (Int from = columns.begin; from < columns.end; from += N) {
            Int w = std::min(from, columns.end - N);
            if (rows.end - rows.begin >= R)
                for (Int h = rows.begin; h < rows.end; h += R)
                    tile<N, R>(rows, columns, std::min(h, rows.end - R), w);
            else
                for (Int h = rows.begin; h < rows.end; h++) tile<N, 1>(rows, columns, h, w);
        }
    }
    void run(const Parts& rows, const Parts& columns) const {
        for (const Part& part : rows)
            for (const Part& pixels : columns) block<LANES>(part, pixels);
    }
};

// ---- the gradient of the weights: sums[t] += sum over p of x[p + d t] grad[p]^T ----

template <int IN, int OUT> struct Corr {
    using P = Packing<IN, OUT>;
    const T *x, *grad;  // one image (H, W, IN) and (H, W, OUT); behind grad there is room for a vector
    T* sums;            // packed as weights
    Int H, W, dilation;

    // J neighbouring taps from (i, j) on, G groups of S input maps from c on, over rows x columns
    template <int S, int V, int B, int J, int G, int N>
    void add(int i, int j, int c, Int top, Int bottom, Int left, Int right) const {
        constexpr Int stride = (S == 1 ? P::full : 1) * LANES;
        constexpr Int tap = (S == 1 ? IN : P::groups) * stride;
        T* const to = sums + P::at(0, 0, V * LANES) + (i * SIDE + j) * tap + c / S * stride;
        const Int step = dilation * IN;
        Vec sum[J][G][B];
        UNROLL for (int t = 0; t < J; t++)
            UNROLL for (int g = 0; g < G; g++)
                UNROLL for (int b = 0; b < B; b++)
                    sum[t][g][b] = load(to + t * tap + g * stride + b * LANES);
        for (Int h = top; h < bottom; h++) {
            const T* from = grad + (h * W + left) * OUT + V * LANES;
            const T* seen =
                x + ((h + (i - HALF) * dilation) * W + left + (j - HALF) * dilation) * IN + c;
            for (Int w = left; w < right; w++, from += OUT, seen += IN) {
                Vec v[B];
                UNROLL for (int b = 0; b < B; b++) v[b] = stretch<S>(from + b * LANES);
                UNROLL for (int t = 0; t < J; t++) {
                    UNROLL for (int g = 0; g < G - 1; g++) {
                        Vec pixel = repeat<S>(seen + t * step + g * S);
                        UNROLL for (int b = 0; b < B; b++) sum[t][g][b] += v[b] * pixel;
                    }
                    Vec pixel = repeat<S, N>(seen + t * step + (G - 1) * S);
                    UNROLL for (int b = 0; b < B; b++) sum[t][G - 1][b] += v[b] * pixel;
                }
            }
        }
        UNROLL for (int t = 0; t < J; t++)
            UNROLL for (int g = 0; g < G; g++)
                UNROLL for (int b = 0; b < B; b++)
                    store(to + t * tap + g * stride + b * LANES, sum[t][g][b]);
    }
    template <int S, int V, int B, int J>
    void taps(int count, int i, const Part& columns, Int top, Int bottom) const {
        if (count == J)
            add<S, V, B, J, (IN + S - 1) / S, (IN - 1) % S + 1>(
                i, columns.first, 0, top, bottom, columns.begin, columns.end);
        else if constexpr (J > 1) taps<S, V, B, J - 1>(count, i, columns, top, bottom);
    }
    template <int S, int V, int B> void block(Int begin, Int end) const {
        constexpr int groups = (IN + S - 1) / S, tail = (IN - 1) % S + 1;
        constexpr bool all = SIDE > 1 && SIDE <= 5 && groups * B * SIDE <= HELD;
        constexpr int most = HELD / B, chunks = (groups + most - 1) / most;
        constexpr int G = (groups + chunks - 1) / chunks, last = groups - (chunks - 1) * G;
        for (int i = 0; i < SIDE; i++) {
            Int down = (i - HALF) * dilation;
            Int top = std::max(begin, -down), bottom = std::min(end, H - down);
            if (top >= bottom) continue;
            if constexpr (all) {  // few maps: the sums of a row of taps fit into the registers
                for (const Part& part : Parts(W, dilation))
                    taps<S, V, B, SIDE>(part.count, i, part, top, bottom);
            } else {
                for (int j = 0; j < SIDE; j++) {
                    Int across = (j - HALF) * dilation;
                    Int left = std::max<Int>(0, -across), right = std::min(W, W - across);
                    if (left >= right) continue;
                    for (int n = 0; n < chunks - 1; n++)
                        add<S, V, B, 1, G, S>(i, j, n * G * S, top, bottom, left, right);
                    add<S, V, B, 1, last, tail>(
                        i, j, (chunks - 1) * G * S, top, bottom, left, right);
                }
            }
        }
    }
    template <int V> void blocks(Int begin, Int end) const {
        constexpr int B = P::full - V >= 2 ? 2 : 1;
        if constexpr (V < P::full) {
            block<1, V, B>(begin, end);
            blocks<V + B>(begin, end);
        } else if constexpr (P::share > 1) {
            block<P::share, V, 1>(begin, end);
        }
    }
    // the rows begin..end of the image
    void run(Int begin, Int end) const { blocks<0>(begin, end); }
};

// The same for a layer from one map to one: a vector holds neighbouring pixels of a row.
template <> struct Corr<1, 1> {
    using P = Packing<1, 1>;
    const T *x, *grad;
    T* sums;
    Int H, W, dilation;

    // The sum for one tap, which looks `seen` numbers further, in the widest vectors that fit.
    template <int N> T tap(Int seen, Int top, Int bottom, Int left, Int right) const {
        if constexpr (N == 1) {
            T sum = 0;
            for (Int h = top; h < bottom; h++) sum += grad[h * W + left] * x[h * W + left + seen];
            return sum;
        } else {
            if (right - left < N) return tap<N / 2>(seen, top, bottom, left, right);
            using V = typename Vector<N>::type;
            const Int rest = (right - left) % N;  // pixels for the last vector, which overlaps
            V number, sum{}, last{};
            UNROLL for (int i = 0; i < N; i++) number[i] = i;
            const auto is_new = number >= T(N - rest) - V{};
            for (Int h = top; h < bottom; h++) {
                const T *from = grad + h * W, *to = x + h * W + seen;
                for (Int w = left; w + N <= right; w += N) sum += load<N>(from + w) * load<N>(to + w);
                if (rest) {
                    V product = load<N>(from + right - N) * load<N>(to + right - N);
                    last += is_new ? product : V{};
                }
            }
            sum += last;
            T total = 0;
            UNROLL for (int i = 0; i < N; i++) total += sum[i];
            return total;
        }
    }
    void run(Int begin, Int end) const {
        for (int i = 0; i < SIDE; i++)
            for (int j = 0; j < SIDE; j++) {
                Int down = (i - HALF) * dilation, across = (j - HALF) * dilation;
                Int top = std::max(begin, -down), bottom = std::min(end, H - down);
                Int left = std::max<Int>(0, -across), right = std::min(W, W - across);
                if (top < bottom && left < right)
                    sums[P::at(i * SIDE + j, 0, 0)] +=
                        tap<LANES>(down * W + across, top, bottom, left, right);
            }
    }
};

// ---- ReLU's mask and the gradient of the bias ----

// `size` numbers of whole pixels: to = grad where y > 0, else 0; sums[k] += what is in map k.
// Without y all of grad passes; without `to` it is only added up.
template <bool MASKED, bool KEPT>
void mask(const T* grad, const T* y, T* to, T* sums, Int size) {
    constexpr int turn = std::lcm(K, LANES) / LANES;  // vectors until a map is in the same lane again
    Vec sum[turn] = {};
    Int at = 0;
    for (; at + turn * LANES <= size; at += turn * LANES)
        for (int t = 0; t < turn; t++) {
            Int i = at + t * LANES;
            Vec v = load(grad + i);
            if (MASKED) v = load(y + i) > Vec{} ? v : Vec{};
            if (KEPT) store(to + i, v);
            sum[t] += v;
        }
    for (int t = 0; t < turn; t++)
        for (int l = 0; l < LANES; l++) sums[(t * LANES + l) % K] += sum[t][l];
    for (; at < size; at++) {
        T v = !MASKED || y[at] > 0 ? grad[at] : T(0);
        if (KEPT) to[at] = v;
        sums[at % K] += v;
    }
}

// ---- how the work is divided; never by the number of threads ----

constexpr Int PIECES = 32;

struct Bands {
    Int bands, rows;  // a band is that many rows of one image
    Int items;
    Bands(Int N, Int H) {
        Int wanted = N >= PIECES ? 1 : (PIECES + N - 1) / std::max<Int>(N, 1);
        rows = std::max<Int>(8, (H + wanted - 1) / wanted);
        bands = (H + rows - 1) / rows;
        items = N * bands;
    }
};

// sums[i] += sums[size + i] + sums[2 * size + i] + ..., in this order
void add_up(T* sums, Int pieces, Int size, int threads) {
    constexpr Int step = 1024;  // numbers that stay in the cache while others are added to them
#pragma omp parallel for num_threads(threads) if (size > 4 * step)
    for (Int begin = 0; begin < size; begin += step)
        for (Int piece = 1; piece < pieces; piece++)
            for (Int i = begin; i < std::min(size, begin + step); i++) sums[i] += sums[piece * size + i];
}

template <int IN, int OUT> Buffer pack(const T* weight, bool rotate) {
    using P = Packing<IN, OUT>;
    Buffer packed = buffer(P::size);
    for (int k = 0; k < OUT; k++)
        for (int c = 0; c < IN; c++)
            for (int tap = 0; tap < TAPS; tap++)
                packed[P::at(tap, c, k)] = rotate ? weight[(Int(c) * OUT + k) * TAPS + TAPS - 1 - tap]
                                                  : weight[(Int(k) * IN + c) * TAPS + tap];
    return packed;
}
template <int IN, int OUT> Buffer pack_bias(const T* bias) {
    using P = Packing<IN, OUT>;
    Buffer packed = buffer(P::maps);
    for (int k = 0; bias && k < OUT; k++) packed[P::bias_at(k)] = bias[k];
    return packed;
}

}  // namespace

// x (N, H, W, C), weight (K, C, SIDE, SIDE), bias (K) or null -> y (N, H, W, K)
extern "C" void conv(
    const T* x, const T* weight, const T* bias, T* y, Int N, Int H, Int W, Int dilation, int relu,
    int threads) {
    const Parts rows(H, dilation), columns(W, dilation);
    const Bands work(N, H);
    const Buffer packed = pack<C, K>(weight, false), packed_bias = pack_bias<C, K>(bias);
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (Int item = 0; item < work.items; item++) {
        Int n = item / work.bands, begin = item % work.bands * work.rows;
        const Conv<C, K> image{x + n * H * W * C, y + n * H * W * K, packed.get(),
                               packed_bias.get(), W, dilation, relu != 0};
        image.run(rows.within(begin, std::min(H, begin + work.rows)), columns);
    }
}

// The gradients of conv: grad (N, H, W, K) at its output, y (N, H, W, K) its output if it had a
// ReLU, else null -> grad_x (N, H, W, C), grad_weight (K, C, SIDE, SIDE), grad_bias (K); one that
// is null is not computed.
extern "C" void conv_backward(
    const T* grad, const T* x, const T* weight, const T* y, T* grad_x, T* grad_weight, T* grad_bias,
    Int N, Int H, Int W, Int dilation, int threads) {
    using P = Packing<C, K>;
    const Parts rows(H, dilation), columns(W, dilation);
    const Bands work(N, H);
    const Buffer packed = grad_x ? pack<K, C>(weight, true) : Buffer(), no_bias = pack_bias<K, C>(nullptr);
    const Int pieces = std::min(PIECES, work.items), row = W * K;
    const Int halo = grad_x ? std::min(H, HALF * dilation) : 0;
    const bool kept = y || K % LANES;  // a copy of grad is needed: masked, or with room behind it
    const Int size = grad_weight ? P::size : 0;
    const Buffer sums = buffer(pieces * size), bias_sums = buffer(pieces * K);
#pragma omp parallel num_threads(threads)
    {
        const Buffer copy = buffer(kept ? std::min(H, work.rows + 2 * halo) * row : 0), unused = buffer(K);
#pragma omp for schedule(dynamic)
        for (Int piece = 0; piece < pieces; piece++)
            for (Int item = piece * work.items / pieces; item < (piece + 1) * work.items / pieces;
                 item++) {
                Int n = item / work.bands, begin = item % work.bands * work.rows;
                Int end = std::min(H, begin + work.rows);
                Int first = std::max<Int>(0, begin - halo), last = std::min(H, end + halo);
                const T* image = grad + n * H * row;
                auto pass = [&](Int from, Int to, T* sum) {
                    const T *g = image + from * row, *above = y + n * H * row + from * row;
                    T* kept_rows = copy.get() + (from - first) * row;
                    Int count = (to - from) * row;
                    if (y) mask<true, true>(g, above, kept_rows, sum, count);
                    else if (kept) mask<false, true>(g, nullptr, kept_rows, sum, count);
                    else if (grad_bias) mask<false, false>(g, nullptr, nullptr, sum, count);
                };
                pass(first, begin, unused.get());
                pass(begin, end, bias_sums.get() + piece * K);
                pass(end, last, unused.get());
                if (kept) image = copy.get() - first * row;  // row h is still at image + h * row
                if (grad_x) {
                    const Conv<K, C> back{image, grad_x + n * H * W * C, packed.get(),
                                          no_bias.get(), W, dilation, false};
                    back.run(rows.within(begin, end), columns);
                }
                if (grad_weight) {
                    const Corr<C, K> taps{
                        x + n * H * W * C, image, sums.get() + piece * size, H, W, dilation};
                    taps.run(begin, end);
                }
            }
    }
    if (grad_weight) {
        add_up(sums.get(), pieces, P::size, threads);
        for (int k = 0; k < K; k++)
            for (int c = 0; c < C; c++)
                for (int tap = 0; tap < TAPS; tap++)
                    grad_weight[(Int(k) * C + c) * TAPS + tap] = sums[P::at(tap, c, k)];
    }
    if (grad_bias) {
        add_up(bias_sums.get(), pieces, K, threads);
        std::copy_n(bias_sums.get(), K, grad_bias);
    }
}
