/* Products: dst (+)= stationary^T . moving, once per turn of a nest.

   An issue adds in the order of its partitions, from zero; its sum is then added to the destination. */

typedef struct {
    int64_t row;          /* bytes between partitions */
    int64_t turns[TURNS]; /* bytes per turn of each loop of the nest */
    int64_t strides[TURNS];
    int64_t counts[TURNS]; /* of the free elements, outermost first; four dimensions */
    int64_t type;
} matrix;

typedef struct {
    matrix stationary, moving, dst;
    int64_t trips[TURNS];
    int64_t partitions, columns, free; /* K, M, N of one issue */
} product;

typedef struct {
    const product *shape;
    const char *stationary, *moving;
    char *dst;
    int64_t chunks;
    int accumulate;
} product_job;

#if defined(__AVX512F__)
enum { LANES = 16, ROWS = 8 };
#elif defined(__AVX__)
enum { LANES = 8, ROWS = 6 };
#else
enum { LANES = 4, ROWS = 6 };
#endif
/* AHEAD: up to so many elements past an operand's last are read, and multiplied for nothing.
   PADDING keeps the starts of panels apart in the cache. */
enum { WIDTH = 2 * LANES, AHEAD = WIDTH, PADDING = LANES };

typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* What is packed, four bytes a column: an f32 of one step of the sum, or two bf16 of two steps.
   The processor's instruction for pairs adds the upper half's product, then the lower one's, so it
   gives the bits of two steps; it takes numbers below 2^-126 for zeros. */
typedef union {
    float value;
    uint32_t pair;
} packed;

#if defined(__AVX512BF16__)
#define PAIRS 1
static inline lanes multiply_add(int pairs, packed left, const packed *right, lanes sum) {
    __m512i all = _mm512_set1_epi32((int)left.pair), other = _mm512_loadu_si512(right);
    if (pairs) return (lanes)_mm512_dpbf16_ps((__m512)sum, (__m512bh)all, (__m512bh)other);
    return sum + left.value * *(const lanes *)right;
}
#else
#define PAIRS 0
static inline lanes multiply_add(int pairs, packed left, const packed *right, lanes sum) {
    (void)pairs;
    return sum + left.value * *(const lanes *)right;
}
#endif

/* dst[ROWS][vectors * LANES] (+)= left^T . right over `depth`, packed ROWS and WIDTH a step. */
static inline __attribute__((always_inline)) void multiply(int vectors, int pairs, char *dst,
                                                           int64_t pitch, int fresh,
                                                           const packed *left, const packed *right,
                                                           int64_t depth) {
    lanes sums[ROWS][2];
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < vectors; j++) sums[i][j] = (lanes){0};
    for (int64_t k = 0; k < depth; k++, left += ROWS, right += WIDTH) {
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; i++)
            for (int j = 0; j < vectors; j++)
                sums[i][j] = multiply_add(pairs, left[i], right + j * LANES, sums[i][j]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < vectors; j++) {
            lanes *at = (lanes *)(dst + i * pitch + 4 * j * LANES);
            if (!fresh) sums[i][j] += *at;
            *at = sums[i][j];
        }
}

/* The free elements of an operand: runs along the innermost dimension. */
typedef struct {
    int64_t starts[MOVING], count, length, stride;
} runs;

static void find_runs(runs *out, const matrix *m) {
    out->count = m->counts[0] * m->counts[1] * m->counts[2];
    out->length = m->counts[3];
    out->stride = m->strides[3];
    for (int64_t run = 0; run < out->count; run++) {
        int64_t rest = run, offset = 0;
        for (int d = TURNS - 2; d >= 0; d--) {
            offset += rest % m->counts[d] * m->strides[d];
            rest /= m->counts[d];
        }
        out->starts[run] = offset;
    }
}

/* Elements from `from` to `to` of one partition, side by side: in place, or gathered in `line`. */
static inline __attribute__((always_inline)) const char *gather(char *restrict line, const char *at,
                                                                const runs *r, int64_t size,
                                                                int64_t from, int64_t to) {
    if (r->count == 1 && r->stride == size) return at + from * size;
    int64_t run = from / r->length, skipped = from - run * r->length;
    for (int64_t start = -skipped; start < to - from; start += r->length) {
        const char *first = at + r->starts[run++];
        char *out = line + (skipped + start) * size;
        if (r->stride == size)
            for (int64_t i = 0; i < r->length; i += LANES)
                memcpy(out + i * size, first + i * size, (size_t)(LANES * size));
        else if (r->stride == 2 * size) /* the first of each two */
            for (int64_t i = 0; i < r->length; i++)
                memcpy(out + i * size, first + 2 * i * size, (size_t)size);
        else
            for (int64_t i = 0; i < r->length; i++)
                memcpy(out + i * size, first + i * r->stride, (size_t)size);
    }
    return line + skipped * size;
}

/* Columns `from` to `to` as panels of `width`, step by step, with anything past the end. */
static inline __attribute__((always_inline)) void pack(packed *restrict out, const char *at,
                                                       const matrix *m, const runs *r,
                                                       int64_t depth, int64_t from, int64_t to,
                                                       int64_t width, int pairs) {
    static const char nothing[2 * (MOVING + AHEAD)];
    char lines[2][4 * (2 * MOVING + AHEAD)];
    int64_t panels = (to - from + width - 1) / width, size = m->type == F32 ? 4 : 2;
    int64_t units = pairs ? (depth + 1) / 2 : depth, pitch = units * width + PADDING;
    for (int64_t step = 0; step < depth; step += 1 + pairs, out += width) {
        const char *upper = size == 2 ? gather(lines[0], at, r, 2, from, to)
                                      : gather(lines[0], at, r, 4, from, to);
        const char *lower = nothing;
        if (pairs && step + 1 < depth) lower = gather(lines[1], at + m->row, r, 2, from, to);
        at += (1 + pairs) * m->row;
        for (int64_t panel = 0; panel < panels; panel++, upper += width * size, lower += width * 2) {
            packed *columns = out + panel * pitch;
            if (pairs)
                for (int64_t i = 0; i < width; i++)
                    columns[i].pair =
                        (uint32_t)bf16_at(upper + 2 * i) << 16 | bf16_at(lower + 2 * i);
            else
                load((float *)columns, upper, (int)m->type, size, width);
        }
    }
}

typedef struct {
    packed left[(STATIONARY / ROWS + 1) * (DEPTH * ROWS + PADDING)];
    packed right[(MOVING / WIDTH + 1) * (DEPTH * WIDTH + PADDING)];
} panels;

/* Bytes from a row of the destination to its elements `from` to `to`. */
static void places(int64_t *out, const runs *r, int64_t from, int64_t to) {
    for (int64_t n = from; n < to; n++)
        out[n - from] = r->starts[n / r->length] + n % r->length * r->stride;
}

static void move_tile(char *dst, int64_t pitch, const int64_t *offsets, int64_t rows, int64_t width,
                      float *tile, int store) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < width; j++) {
            char *at = dst + i * pitch + offsets[j];
            float *value = tile + i * WIDTH + j;
            memcpy(store ? at : (char *)value, store ? (char *)value : at, 4);
        }
}

/* One tile of the destination, in place where it is whole and dense. */
static inline __attribute__((always_inline)) void multiply_tile(
    int pairs, char *dst, int64_t pitch, const int64_t *offsets, int64_t rows, int64_t width,
    int fresh, const packed *left, const packed *right, int64_t depth) {
    int dense = offsets[width - 1] - offsets[0] == 4 * (width - 1);
    if (dense && rows == ROWS && width == WIDTH) {
        multiply(2, pairs, dst + offsets[0], pitch, fresh, left, right, depth);
        return;
    }
    float tile[ROWS * WIDTH];
    if (!fresh) {
        memset(tile, 0, sizeof tile);
        move_tile(dst, pitch, offsets, rows, width, tile, 0);
    }
    if (width > LANES) multiply(2, pairs, (char *)tile, 4 * WIDTH, fresh, left, right, depth);
    else multiply(1, pairs, (char *)tile, 4 * WIDTH, fresh, left, right, depth);
    move_tile(dst, pitch, offsets, rows, width, tile, 1);
}

/* Bytes from the first turn of a nest to another. */
static int64_t turned(const product *shape, const matrix *m, int64_t turn) {
    int64_t offset = 0;
    for (int d = TURNS - 1; d >= 0; d--) {
        offset += turn % shape->trips[d] * m->turns[d];
        turn /= shape->trips[d];
    }
    return offset;
}

/* Rows `low` to `high` and columns `from` to `to` of the destination. */
static inline __attribute__((always_inline)) void multiply_block(const product_job *job, panels *p,
                                                                 int64_t low, int64_t high,
                                                                 int64_t from, int64_t to,
                                                                 int pairs) {
    const product *shape = job->shape;
    int64_t depth = shape->partitions, units = pairs ? (depth + 1) / 2 : depth;
    int64_t offsets[MOVING], turns = 1, pitch = shape->dst.row;
    runs stationary, moving, dst;
    find_runs(&stationary, &shape->stationary);
    find_runs(&moving, &shape->moving);
    find_runs(&dst, &shape->dst);
    places(offsets, &dst, from, to);
    for (int d = 0; d < TURNS; d++) turns *= shape->trips[d];
    for (int64_t turn = 0; turn < turns; turn++) {
        pack(p->left, job->stationary + turned(shape, &shape->stationary, turn),
             &shape->stationary, &stationary, depth, low, high, ROWS, pairs);
        pack(p->right, job->moving + turned(shape, &shape->moving, turn), &shape->moving, &moving,
             depth, from, to, WIDTH, pairs);
        int fresh = turn == 0 && !job->accumulate;
        for (int64_t n = from; n < to; n += WIDTH)
            for (int64_t m = low; m < high; m += ROWS)
                multiply_tile(pairs, job->dst + m * pitch, pitch, offsets + n - from,
                              high - m < ROWS ? high - m : ROWS, to - n < WIDTH ? to - n : WIDTH,
                              fresh, p->left + (m - low) / ROWS * (units * ROWS + PADDING),
                              p->right + (n - from) / WIDTH * (units * WIDTH + PADDING), units);
    }
}

/* A part of the columns of the moving operand, or, where they are few, of the stationary one. */
static void multiply_part(const void *argument, int64_t chunk) {
    static _Thread_local panels *memory;
    const product_job *job = argument;
    const product *shape = job->shape;
    int64_t bounds[2][2] = {{0, shape->columns}, {0, shape->free}};
    int side = shape->free >= 2 * shape->columns;
    int64_t unit = side ? WIDTH : ROWS, units = (bounds[side][1] + unit - 1) / unit;
    int64_t end = (chunk + 1) * units / job->chunks * unit;
    bounds[side][0] = chunk * units / job->chunks * unit;
    if (end < bounds[side][1]) bounds[side][1] = end;
    if (bounds[side][0] >= bounds[side][1]) return;
    if (!memory && !(memory = malloc(sizeof *memory))) abort();
    int64_t low = bounds[0][0], high = bounds[0][1], from = bounds[1][0], to = bounds[1][1];
    if (PAIRS && shape->stationary.type == BF16 && shape->moving.type == BF16)
        multiply_block(job, memory, low, high, from, to, PAIRS);
    else
        multiply_block(job, memory, low, high, from, to, 0);
}

void ranvier_product(const product *shape, char *dst, const char *stationary, const char *moving,
                     int accumulate, int threads) {
    product_job job = {shape, stationary, moving, dst, threads, accumulate};
    share(multiply_part, &job, threads);
}
