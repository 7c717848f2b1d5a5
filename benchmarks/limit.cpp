// The multiply-add limit of a processor: nothing but independent multiply-adds in registers.

#include <algorithm>
#include <chrono>

#if defined(__AVX512F__)
constexpr int BYTES = 64;
#elif defined(__AVX__)
constexpr int BYTES = 32;
#else
constexpr int BYTES = 16;
#endif
constexpr int SUMS = 12;  // more than two units of four cycles each keep busy
typedef float Vec __attribute__((vector_size(BYTES)));

// GFLOP/s of so many threads together, each in the best of its bursts: another process does not
// often cut all of them in two. `result` keeps the compiler from leaving the work out.
extern "C" double run(long rounds, int bursts, int threads, float* result) {
    double total = 0;
    float sums = 0;
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(+ : total, sums)
    for (int thread = 0; thread < threads; thread++) {
        const Vec factor = Vec{} + (1 - 1e-7f), term = Vec{} + 1e-9f * (thread + 1);
        Vec sum[SUMS] = {};
        double best = 1e9;  // seconds
        for (int burst = 0; burst < bursts; burst++) {
            const auto start = std::chrono::steady_clock::now();
            for (long round = 0; round < rounds; round++) {
#pragma GCC unroll 16
                for (int i = 0; i < SUMS; i++) sum[i] = sum[i] * factor + term;
            }
            for (int i = 0; i < SUMS; i++) sums += sum[i][0];
            const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
            best = std::min(best, seconds.count());
        }
        total += 2e-9 * rounds * SUMS * (BYTES / sizeof(float)) / best;
    }
    *result = sums;
    return total;
}
