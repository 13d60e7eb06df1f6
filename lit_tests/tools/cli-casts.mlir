// RUN: ranvier compile %s --print-pipeline | filecheck %s --check-prefix=ALL
// RUN: ranvier compile %s --print-pipeline --fast-math none | filecheck %s --check-prefix=NONE
// RUN: ranvier compile %s --print-pipeline --fast-math none --target inf1 | filecheck %s --check-prefix=BF16
// RUN: ranvier compile %s --print-pipeline --fast-math fp32-cast-matmult no-fast-relayout | filecheck %s --check-prefix=MATMULT
// RUN: ranvier compile %s --print-pipeline --fast-math none fp32-cast-all-fp16 | filecheck %s --check-prefix=FP16
// RUN: ranvier compile %s --print-pipeline --fast-math fp32-cast-all --fp32-cast matmult-bf16 | filecheck %s --check-prefix=BF16
// RUN: not ranvier compile %s --print-pipeline --fast-math all none 2>&1 | filecheck %s --check-prefix=BOTH

// Options of neuron-cc become the mode of cast-bf16. No model is read for that.
// ALL:     cast-bf16{mode=all}
// NONE:    cast-bf16{mode=none}
// BF16:    cast-bf16{mode=matmult-bf16}
// MATMULT: cast-bf16{mode=matmult}
// FP16:    cast-bf16{mode=all-fp16}
// BOTH:    ERROR {{[0-9]+}} [ranvier]: fast-math keywords exclude each other: all, none {{.*}}[RV0114]
