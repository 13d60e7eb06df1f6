/* Threads: a job is cut into chunks, and whoever is awake takes the next. */

typedef void (*task)(const void *argument, int64_t chunk);

static struct {
    pthread_mutex_t job;   /* held by the thread whose job it is */
    pthread_mutex_t sleep; /* guards the condition that idle workers wait on */
    pthread_cond_t wake;
    _Atomic uint64_t ticket; /* generation, chunks (16 bits), next chunk (16 bits) */
    _Atomic int64_t finished;
    _Atomic int sleeping;
    task run;
    const void *argument;
    int workers;
} pool = {.job = PTHREAD_MUTEX_INITIALIZER,
          .sleep = PTHREAD_MUTEX_INITIALIZER,
          .wake = PTHREAD_COND_INITIALIZER};

enum { SPINS = 2000 }; /* some 20 us: the time between two issues */

static inline void pause_thread(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

static inline int waits(uint64_t ticket) { return (ticket & 0xffff) < (ticket >> 16 & 0xffff); }

/* Run the next chunk; 0 if there is none. Its job cannot end before the chunk does. */
static int take(void) {
    uint64_t ticket = atomic_load(&pool.ticket);
    do {
        if (!waits(ticket)) return 0;
    } while (!atomic_compare_exchange_weak(&pool.ticket, &ticket, ticket + 1));
    pool.run(pool.argument, (int64_t)(ticket & 0xffff));
    atomic_fetch_add(&pool.finished, 1);
    return 1;
}

/* Jobs so far. */
static inline uint64_t jobs(void) { return atomic_load(&pool.ticket) >> 32; }

/* Look for work a while, then sleep: a thread that wakes is put where a processor is idle. One that
   misses jobs shares a processor with the thread that has them, and sleeps at once. */
static void *work(void *unused) {
    for (;;) {
        uint64_t seen = jobs();
        for (int idle = 0; idle < SPINS && jobs() <= seen + 1; idle++) {
            if (take()) {
                idle = 0;
                seen = jobs();
            }
            pause_thread();
        }
        pthread_mutex_lock(&pool.sleep);
        atomic_fetch_add(&pool.sleeping, 1);
        while (!waits(atomic_load(&pool.ticket))) pthread_cond_wait(&pool.wake, &pool.sleep);
        atomic_fetch_sub(&pool.sleeping, 1);
        pthread_mutex_unlock(&pool.sleep);
        take();
    }
    return unused;
}

/* A forked child has no workers. */
static void forget(void) {
    pthread_mutex_init(&pool.job, NULL);
    pthread_mutex_init(&pool.sleep, NULL);
    pthread_cond_init(&pool.wake, NULL);
    atomic_store(&pool.ticket, 0);
    atomic_store(&pool.sleeping, 0);
    pool.workers = 0;
}

__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, forget); }

static void hire(int workers) {
    while (pool.workers < workers) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, NULL)) return;
        pthread_detach(thread);
        pool.workers++;
    }
}

/* Run every chunk. Another thread's job is not waited for: this one then does its own alone. */
static void share(task run, const void *argument, int64_t chunks) {
    if (chunks < 2 || pthread_mutex_trylock(&pool.job)) {
        for (int64_t chunk = 0; chunk < chunks; chunk++) run(argument, chunk);
        return;
    }
    hire((int)chunks - 1);
    pool.run = run;
    pool.argument = argument;
    atomic_store(&pool.finished, 0);
    uint64_t generation = (atomic_load(&pool.ticket) >> 32) + 1;
    atomic_store(&pool.ticket, generation << 32 | (uint64_t)chunks << 16);
    if (atomic_load(&pool.sleeping)) {
        pthread_mutex_lock(&pool.sleep);
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.sleep);
    }
    while (take()) {
    }
    for (int spins = 0; atomic_load(&pool.finished) < chunks; spins++) {
        pause_thread();
        if (spins > SPINS) sched_yield();
    }
    pthread_mutex_unlock(&pool.job);
}
