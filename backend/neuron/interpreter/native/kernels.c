/* The machine's heaviest instructions, compiled for the processor at hand; kernels.py calls them.

   Products give the same bits as one nest and issue by issue, with any number of threads, and bf16
   ones on any processor. Elementwise work rounds as NumPy does. Operands are addresses, strides in
   bytes and counts that the program's rules have been checked for; nothing here checks them again. */

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

enum { F32, BF16 };
enum { FIRST, ADD, SUBTRACT, MULTIPLY, MAXIMUM, MINIMUM };
enum { TURNS = 4, DIMS = 8, DEPTH = 128, STATIONARY = 128, MOVING = 512, BLOCK = 512, WINDOW = 64 };

#include "pool.h"

#include "elements.h"

#include "elementwise.h"
#include "product.h"
