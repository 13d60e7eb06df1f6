// RUN: ranvier compile %s --print-pipeline --must-compile --num-neuroncores 4 2>&1 | filecheck %s --check-prefix=MAPPED
// RUN: ranvier compile %s --print-pipeline -O2 --pipeline compile SaveTemps 2>&1 | filecheck %s --check-prefix=QUIET
// RUN: ranvier compile %s --print-pipeline --sb_size 60 --static-weights --pipeline Backend 2>&1 | filecheck %s --check-prefix=WARN
// RUN: ranvier --verbose INFO compile %s --print-pipeline --enable-fast-loading-neuron-binaries | filecheck %s --check-prefix=INFO
// RUN: ranvier compile %s --print-pipeline --enable-saturate-infinity | filecheck %s --check-prefix=SATURATE
// RUN: not ranvier compile %s --frobnicate 2>&1 | filecheck %s --check-prefix=USAGE

// Flags that mean something are mapped.
// MAPPED:       fallback=error
// MAPPED-SAME:  cores=4

// The default level is no news.
// QUIET-NOT:    WARN

// Others of neuron-cc are accepted, and named.
// WARN-DAG:     WARN {{[0-9]+}} [ranvier]: --sb_size
// WARN-DAG:     WARN {{[0-9]+}} [ranvier]: --static-weights
// WARN-DAG:     WARN {{[0-9]+}} [ranvier]: --pipeline Backend

// INFO:         INFO {{[0-9]+}} [ranvier]: --enable-fast-loading-neuron-binaries: a NEFF of ranvier is never compressed

// SATURATE:     saturate-infinity

// USAGE:        unrecognized arguments: --frobnicate
