// The multiply-add limit of a processor: nothing but independent multiply-adds in registers.

#if defined(__AVX512F__)
constexpr int BYTES = 64;
#elif defined(__AVX__)
constexpr int BYTES = 32;
#else
constexpr int BYTES = 16;
#endif
constexpr int SUMS = 12;  // more than two units of four cycles each keep busy
typedef float Vec __attribute__((vector_size(BYTES)));

extern "C" const int width = SUMS * BYTES / sizeof(float);  // multiply-adds of a round

// Each thread does so many rounds; returns what depends on all of them.
extern "C" float run(long rounds, int threads) {
    float result = 0;
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(+ : result)
    for (int thread = 0; thread < threads; thread++) {
        const Vec factor = Vec{} + (1 - 1e-7f), term = Vec{} + 1e-9f * (thread + 1);
        Vec sum[SUMS];
#pragma GCC unroll 16
        for (int i = 0; i < SUMS; i++) sum[i] = term + float(i);
        for (long round = 0; round < rounds; round++) {
#pragma GCC unroll 16
            for (int i = 0; i < SUMS; i++) sum[i] = sum[i] * factor + term;
        }
        for (int i = 0; i < SUMS; i++) result += sum[i][0];
    }
    return result;
}
