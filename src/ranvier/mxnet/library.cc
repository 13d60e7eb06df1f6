// `_neuron_subgraph_op` for MXNet: each question of MXNet's goes to Python.
//
// Only the C interface of an extension library is implemented, without lib_api.cc: its errors pile
// up for the life of the process and are shared by threads, and it copies attributes and shapes.
// The header is there so that a compiler refuses a version of MXNet with another interface.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "mxnet/lib_api.h"

using namespace mxnet::ext;

namespace {

// What Python is asked, in the order of runtime.QUESTIONS.
enum Question { kCounts, kShapes, kTypes, kMutable, kState };

// `numbers` holds shapes as rank and sizes, or element types. The answer comes with ranvier_answer.
typedef int (*ask_t)(int question, const char* const* keys, const char* const* values, int attributes,
                     const int64_t* numbers, int count);
typedef int (*run_t)(int64_t state, int inputs, int outputs, void* const* data,
                     const int64_t* const* shapes, const int* ranks, const int* types,
                     const size_t* versions, void* const* out_data, const int64_t* const* out_shapes,
                     const int* out_ranks, const int* out_types);
typedef void (*destroy_t)(int64_t state);

ask_t ask_python = nullptr;
run_t run_python = nullptr;
destroy_t destroy_python = nullptr;

// Threads of MXNet's engine fail apart from each other.
thread_local std::string error;
thread_local std::vector<int64_t> answer;

int fail(const char* text) {
  error = text;
  return MX_FAIL;
}

int ask(Question question, const char* const* keys, const char* const* values, int attributes,
        const std::vector<int64_t>& numbers) {
  error.clear();
  answer.clear();
  if (!ask_python) return fail("Python has shut down");
  return ask_python(question, keys, values, attributes, numbers.data(), numbers.size());
}

// One array of sizes per tensor, as MXNet frees them. `at` moves over the answer.
void take_shapes(size_t* at, int count, unsigned int*** shapes, int** ranks) {
  *ranks = static_cast<int*>(malloc(count * sizeof(int)));
  *shapes = static_cast<unsigned int**>(malloc(count * sizeof(unsigned int*)));
  for (int i = 0; i < count; ++i) {
    int rank = static_cast<int>(answer[(*at)++]);
    (*ranks)[i] = rank;
    (*shapes)[i] = static_cast<unsigned int*>(malloc((rank > 0 ? rank : 1) * sizeof(unsigned int)));
    for (int j = 0; j < rank; ++j) (*shapes)[i][j] = static_cast<unsigned int>(answer[(*at)++]);
  }
}

std::vector<int64_t> flat(unsigned int** shapes, const int* ranks, int count) {
  std::vector<int64_t> numbers;
  for (int i = 0; i < count; ++i) {
    numbers.push_back(ranks[i]);
    for (int j = 0; j < ranks[i]; ++j) numbers.push_back(shapes[i][j]);
  }
  return numbers;
}

// MXNet reads the flags of a CustomStatefulOp, which stand behind its table of methods, and calls
// none of its methods: it hands the address back to the functions below.
struct State {
  void* methods;
  bool ignore_warn;
  bool created;
  int64_t number;
};

const char* cpu[] = {"cpu"};

// MXNet hands these addresses to the functions below, which need none; nobody calls them.
void placeholder() {}
createOpState_t creators[] = {reinterpret_cast<createOpState_t>(placeholder)};

}  // namespace

extern "C" {

// -- Called by Python -------------------------------------------------------------------------

void ranvier_connect(ask_t ask, run_t run, destroy_t destroy) {
  ask_python = ask;
  run_python = run;
  destroy_python = destroy;
}

void ranvier_fail(const char* text) { error = text; }

void ranvier_answer(const int64_t* numbers, int count) { answer.assign(numbers, numbers + count); }

// -- Called by MXNet --------------------------------------------------------------------------

MXReturnValue initialize(int) { return MX_SUCCESS; }
int _opVersion() { return MX_LIBRARY_VERSION; }
int _opRegSize() { return 1; }

void _opRegGet(int, const char** name, int* is_subgraph, const char*** forward_ctx, fcomp_t** forward,
               int* forward_count, const char*** backward_ctx, fcomp_t** backward,
               int* backward_count, const char*** create_ctx, createOpState_t** create_op,
               int* create_count, parseAttrs_t* parse, inferType_t* type, inferSType_t* stype,
               inferShape_t* shape, mutateInputs_t* mutate) {
  *name = "_neuron_subgraph_op";
  *is_subgraph = 0;
  *forward_ctx = *backward_ctx = nullptr;
  *forward = *backward = nullptr;
  *forward_count = *backward_count = 0;
  *create_ctx = cpu;
  *create_op = creators;
  *create_count = 1;
  *parse = reinterpret_cast<parseAttrs_t>(placeholder);
  *type = reinterpret_cast<inferType_t>(placeholder);
  *stype = reinterpret_cast<inferSType_t>(placeholder);
  *shape = reinterpret_cast<inferShape_t>(placeholder);
  *mutate = reinterpret_cast<mutateInputs_t>(placeholder);
}

void _opCallFree(void* memory) { free(memory); }

int _opCallParseAttrs(parseAttrs_t, const char* const* keys, const char* const* values, int num,
                      int* num_in, int* num_out) {
  if (!ask(kCounts, keys, values, num, {})) return MX_FAIL;
  *num_in = static_cast<int>(answer[0]);
  *num_out = static_cast<int>(answer[1]);
  return MX_SUCCESS;
}

int _opCallInferShape(inferShape_t, const char* const* keys, const char* const* values, int num,
                      unsigned int** inshapes, int* indims, int num_in, unsigned int*** mod_inshapes,
                      int** mod_indims, unsigned int*** outshapes, int** outdims, int num_out) {
  if (!ask(kShapes, keys, values, num, flat(inshapes, indims, num_in))) return MX_FAIL;
  size_t at = 0;
  take_shapes(&at, num_in, mod_inshapes, mod_indims);
  take_shapes(&at, num_out, outshapes, outdims);
  return MX_SUCCESS;
}

int _opCallInferType(inferType_t, const char* const* keys, const char* const* values, int num,
                     int* intypes, int num_in, int* outtypes, int num_out) {
  if (!ask(kTypes, keys, values, num, std::vector<int64_t>(intypes, intypes + num_in)))
    return MX_FAIL;
  for (int i = 0; i < num_in; ++i) intypes[i] = static_cast<int>(answer[i]);
  for (int i = 0; i < num_out; ++i) outtypes[i] = static_cast<int>(answer[num_in + i]);
  return MX_SUCCESS;
}

int _opCallInferSType(inferSType_t, const char* const*, const char* const*, int, int* intypes,
                      int num_in, int* outtypes, int num_out) {
  for (int i = 0; i < num_in; ++i) intypes[i] = kDefaultStorage;
  for (int i = 0; i < num_out; ++i) outtypes[i] = kDefaultStorage;
  return MX_SUCCESS;
}

int _opCallMutateInputs(mutateInputs_t, const char* const* keys, const char* const* values, int num,
                        int** indices, int* count) {
  if (!ask(kMutable, keys, values, num, {})) return MX_FAIL;
  *count = static_cast<int>(answer.size());
  *indices = static_cast<int*>(malloc((answer.size() + 1) * sizeof(int)));
  for (size_t i = 0; i < answer.size(); ++i) (*indices)[i] = static_cast<int>(answer[i]);
  return MX_SUCCESS;
}

int _opCallCreateOpState(createOpState_t, const char* const* keys, const char* const* values, int num,
                         const char*, int, unsigned int** inshapes, int* indims, int num_in,
                         const int*, void** state) {
  if (!ask(kState, keys, values, num, flat(inshapes, indims, num_in))) return MX_FAIL;
  *state = new State{nullptr, true, true, answer[0]};
  return MX_SUCCESS;
}

void _opCallDestroyOpState(void* memory) {
  State* state = static_cast<State*>(memory);
  if (destroy_python) destroy_python(state->number);
  delete state;
}

int _opCallFStatefulCompute(int is_forward, void* state, const int64_t** inshapes, int* indims,
                            void** indata, int* intypes, size_t* versions, const char**, int*,
                            int num_in, const int64_t** outshapes, int* outdims, void** outdata,
                            int* outtypes, size_t*, const char**, int*, int num_out, xpu_malloc_t,
                            void*, xpu_malloc_t, void*, void*, sparse_malloc_t, void*, int*, int*,
                            void**, void**, void**, void**, int64_t*, int64_t*, int64_t*, int64_t*,
                            void*, void*) {
  error.clear();
  if (!is_forward) return fail("training is not supported: a compiled subgraph has no gradient");
  if (!run_python) return fail("Python has shut down");
  return run_python(static_cast<State*>(state)->number, num_in, num_out, indata, inshapes, indims,
                    intypes, versions, outdata, outshapes, outdims, outtypes);
}

int _opCallFCompute(fcomp_t, const char* const*, const char* const*, int, const int64_t**, int*,
                    void**, int*, size_t*, const char**, int*, int, const int64_t**, int*, void**,
                    int*, size_t*, const char**, int*, int, xpu_malloc_t, void*, xpu_malloc_t, void*,
                    void*, sparse_malloc_t, void*, int*, int*, void**, void**, void**, void**,
                    int64_t*, int64_t*, int64_t*, int64_t*, void*, void*) {
  return fail("a subgraph runs with its state only");
}

int _msgSize() { return error.empty() ? 0 : 1; }
void _msgGet(int, const char** message) { *message = error.c_str(); }

// No partitioners and no graph passes; MXNet looks for the functions all the same.
int _partRegSize() { return 0; }
int _partRegGetCount(int, const char**) { return 0; }
void _partRegGet(int, int, const char**, supportedOps_t*, createSelector_t*, reviewSubgraph_t*,
                 const char**) {}
int _partCallSupportedOps(supportedOps_t, const char*, int, int*, const char* const*,
                          const char* const*, int) {
  return MX_FAIL;
}
int _partCallCreateSelector(createSelector_t, const char*, void**, const char* const*,
                            const char* const*, int) {
  return MX_FAIL;
}
void _partCallSelect(void*, int, int*) {}
void _partCallSelectInput(void*, int, int, int*) {}
void _partCallSelectOutput(void*, int, int, int*) {}
void _partCallFilter(void*, int*, int, int**, int*) {}
void _partCallReset(void*) {}
int _partCallReviewSubgraph(reviewSubgraph_t, const char*, int, int*, const char* const*,
                            const char* const*, int, char***, char***, int*, const char* const*, int,
                            void* const*, const int64_t* const*, const int*, const int*,
                            const size_t*, const char* const*, const int*, const char* const*, int,
                            void* const*, const int64_t* const*, const int*, const int*,
                            const size_t*, const char* const*, const int*) {
  return MX_FAIL;
}
int _passRegSize() { return 0; }
void _passRegGet(int, graphPass_t*, const char**) {}
int _passCallGraphPass(graphPass_t, const char*, char**, const char* const*, const char* const*, int,
                       const char*, const char* const*, int, void* const*, const int64_t* const*,
                       const int*, const int*, const size_t*, const char* const*, const int*,
                       const char* const*, int, void* const*, const int64_t* const*, const int*,
                       const int*, const size_t*, const char* const*, const int*, nd_malloc_t,
                       const void*) {
  return MX_FAIL;
}

}  // extern "C"
