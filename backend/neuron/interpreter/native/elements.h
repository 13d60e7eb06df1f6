/* Elements of memory as f32, and back. */

static inline float widened(uint16_t half) {
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* To nearest even; NaN becomes the quiet NaN of its sign. */
static inline uint16_t narrowed(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    uint32_t quiet = (bits >> 16 & 0x8000) | 0x7fc0;
    return (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? quiet : rounded);
}

static inline float f32_at(const char *at) {
    float value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline uint16_t bf16_at(const char *at) {
    uint16_t half;
    memcpy(&half, at, sizeof half);
    return half;
}

/* `count` elements as f32, `stride` bytes apart. */
static inline __attribute__((always_inline)) void load(float *restrict out, const char *restrict at, int type, int64_t stride,
                 int64_t count) {
    if (type == F32 && stride == 4) {
        memcpy(out, at, (size_t)count * 4);
    } else if (type == BF16 && stride == 2) {
        for (int64_t i = 0; i < count; i++) out[i] = widened(bf16_at(at + 2 * i));
    } else if (stride == 0) {
        float value = type == F32 ? f32_at(at) : widened(bf16_at(at));
        for (int64_t i = 0; i < count; i++) out[i] = value;
    } else if (type == F32) {
        for (int64_t i = 0; i < count; i++) out[i] = f32_at(at + stride * i);
    } else if (stride == 4) { /* the first half of each pair */
        for (int64_t i = 0; i < count; i++) {
            uint16_t pair[2];
            memcpy(pair, at + 4 * i, 4);
            out[i] = widened(pair[0]);
        }
    } else {
        for (int64_t i = 0; i < count; i++) out[i] = widened(bf16_at(at + stride * i));
    }
}

static void store(char *restrict at, int type, int64_t stride, const float *restrict values,
                  int64_t count) {
    if (type == F32 && stride == 4) {
        memcpy(at, values, (size_t)count * 4);
    } else if (type == F32) {
        for (int64_t i = 0; i < count; i++) memcpy(at + stride * i, values + i, 4);
    } else if (stride == 2) {
        for (int64_t i = 0; i < count; i++) {
            uint16_t half = narrowed(values[i]);
            memcpy(at + 2 * i, &half, 2);
        }
    } else {
        for (int64_t i = 0; i < count; i++) {
            uint16_t half = narrowed(values[i]);
            memcpy(at + stride * i, &half, 2);
        }
    }
}
