/* Elementwise: dst = (first op second) then third, a window of first folded by op, or a copy. */

typedef struct {
    int64_t strides[DIMS];
    int64_t type; /* for a copy, bytes of an element */
} view;

typedef struct {
    int64_t rank;
    int64_t counts[DIMS]; /* outermost first */
    view dst, first, second, third;
    int64_t op, then; /* FIRST for none */
    int64_t window;   /* elements of `first` that one result folds; else 0 */
    int64_t places[WINDOW];
} elementwise;

typedef struct {
    const elementwise *shape;
    char *dst;
    const char *first, *second, *third;
    int64_t chunks;
} elementwise_job;

static inline float larger(float a, float b) { return a >= b || a != a ? a : b; }
static inline float smaller(float a, float b) { return a <= b || a != a ? a : b; }

#define EACH(result) \
    for (int64_t i = 0; i < count; i++) a[i] = (result)

static void combine(int64_t op, float *restrict a, const float *restrict b, int64_t count) {
    switch (op) {
    case ADD: EACH(a[i] + b[i]); break;
    case SUBTRACT: EACH(a[i] - b[i]); break;
    case MULTIPLY: EACH(a[i] * b[i]); break;
    case MAXIMUM: EACH(larger(a[i], b[i])); break;
    case MINIMUM: EACH(smaller(a[i], b[i])); break;
    default: break;
    }
}

static void combine_line(const elementwise *e, char *dst, const char *first, const char *second,
                         const char *third, int64_t count) {
    float a[BLOCK], b[BLOCK];
    int64_t last = e->rank - 1, step = e->first.strides[last], to = e->dst.strides[last];
    for (int64_t done = 0; done < count; done += BLOCK) {
        int64_t now = count - done < BLOCK ? count - done : BLOCK;
        load(a, first + done * step + e->places[0], (int)e->first.type, step, now);
        for (int64_t place = 1; place < e->window; place++) {
            load(b, first + done * step + e->places[place], (int)e->first.type, step, now);
            combine(e->op, a, b, now);
        }
        if (e->op != FIRST && !e->window) {
            int64_t stride = e->second.strides[last];
            load(b, second + done * stride, (int)e->second.type, stride, now);
            combine(e->op, a, b, now);
        }
        if (e->then != FIRST) {
            int64_t stride = e->third.strides[last];
            load(b, third + done * stride, (int)e->third.type, stride, now);
            combine(e->then, a, b, now);
        }
        store(dst + done * to, (int)e->dst.type, to, a, now);
    }
}

static void copy_line(const elementwise *e, char *dst, const char *first, const char *second,
                      const char *third, int64_t count) {
    (void)second, (void)third;
    int64_t size = e->dst.type, to = e->dst.strides[e->rank - 1];
    int64_t from = e->first.strides[e->rank - 1];
    if (to == size && from == size) {
        memcpy(dst, first, (size_t)(count * size));
        return;
    }
#define STRIDED(bytes) \
    for (int64_t i = 0; i < count; i++) memcpy(dst + i * to, first + i * from, bytes)
    switch (size) {
    case 1: STRIDED(1); break;
    case 2: STRIDED(2); break;
    case 4: STRIDED(4); break;
    default: STRIDED(8); break;
    }
}

typedef void (*line)(const elementwise *, char *, const char *, const char *, const char *,
                     int64_t);

static void walk(line run, const elementwise *e, char *dst, const char *first, const char *second,
                 const char *third, int64_t dim) {
    if (dim == e->rank - 1) {
        run(e, dst, first, second, third, e->counts[dim]);
        return;
    }
    for (int64_t i = 0; i < e->counts[dim]; i++)
        walk(run, e, dst + i * e->dst.strides[dim], first + i * e->first.strides[dim],
             second + i * e->second.strides[dim], third + i * e->third.strides[dim], dim + 1);
}

/* A part of the outermost dimension. */
static void elementwise_part(line run, const elementwise_job *job, int64_t chunk) {
    elementwise part = *job->shape;
    int64_t from = chunk * part.counts[0] / job->chunks;
    part.counts[0] = (chunk + 1) * part.counts[0] / job->chunks - from;
    walk(run, &part, job->dst + from * part.dst.strides[0],
         job->first + from * part.first.strides[0], job->second + from * part.second.strides[0],
         job->third + from * part.third.strides[0], 0);
}

static void combine_part(const void *job, int64_t chunk) {
    elementwise_part(combine_line, job, chunk);
}

static void copy_part(const void *job, int64_t chunk) { elementwise_part(copy_line, job, chunk); }

void ranvier_combine(const elementwise *shape, char *dst, const char *first, const char *second,
                     const char *third, int threads) {
    elementwise_job job = {shape, dst, first, second, third, threads};
    share(combine_part, &job, threads);
}

void ranvier_copy(const elementwise *shape, char *dst, const char *first, int threads) {
    elementwise_job job = {shape, dst, first, first, first, threads};
    share(copy_part, &job, threads);
}
