"""Names of results, for ops that have several of them.

Inside a function TensorFlow names a result `node:name:index`, in a graph `node:position`. Most ops
have one name, which may stand for a list. From the op registry of TensorFlow 2.21; `name*attr` is a
list as long as the attribute says.
"""

from __future__ import annotations

from ranvier.importers.tensorflow.protos import Message

_TABLE = """
ApproxTopK: values indices
Batch: batched_tensors*T batch_index id
BatchSelfAdjointEigV2: e v
BatchSvd: s u v
BlockLSTM: i cs f o ci co h
BlockLSTMV2: i cs f o ci co h
CTCBeamSearchDecoder: decoded_indices*top_paths decoded_values*top_paths decoded_shape*top_paths
  log_probability
CTCGreedyDecoder: decoded_indices decoded_values decoded_shape log_probability
CTCLoss: loss gradient
CTCLossV2: loss gradient
CombinedNonMaxSuppression: nmsed_boxes nmsed_scores nmsed_classes valid_detections
DecodeWav: audio sample_rate
DenseCountSparseOutput: output_indices output_values output_dense_shape
Eig: e v
FractionalAvgPool: output row_pooling_sequence col_pooling_sequence
FractionalMaxPool: output row_pooling_sequence col_pooling_sequence
FusedBatchNorm: y batch_mean batch_variance reserve_space_1 reserve_space_2
FusedBatchNormV2: y batch_mean batch_variance reserve_space_1 reserve_space_2
FusedBatchNormV3: y batch_mean batch_variance reserve_space_1 reserve_space_2 reserve_space_3
GRUBlockCell: r u c h
LSTMBlockCell: i cs f o ci co h
ListDiff: out idx
LogMatrixDeterminant: sign log_abs_determinant
LookupTableExport: keys values
LookupTableExportV2: keys values
Lu: lu p
MaxPoolWithArgmax: output argmax
Merge: output value_index
NonMaxSuppressionV4: selected_indices valid_outputs
NonMaxSuppressionV5: selected_indices selected_scores valid_outputs
ParseExample: sparse_indices*Nsparse sparse_values*sparse_types sparse_shapes*Nsparse
  dense_values*Tdense
ParseExampleV2: sparse_indices*num_sparse sparse_values*sparse_types sparse_shapes*num_sparse
  dense_values*Tdense ragged_values*ragged_value_types ragged_row_splits*ragged_split_types
ParseSingleExample: sparse_indices*num_sparse sparse_values*sparse_types sparse_shapes*num_sparse
  dense_values*Tdense
Qr: q r
QuantizeDownAndShrinkRange: output output_min output_max
QuantizeV2: output output_min output_max
RaggedCountSparseOutput: output_indices output_values output_dense_shape
RaggedCross: output_values output_row_splits
RaggedFillEmptyRows: output_value_rowids output_values empty_row_indicator reverse_index_map
RaggedGather: output_nested_splits*OUTPUT_RAGGED_RANK output_dense_values
RaggedRange: rt_nested_splits rt_dense_values
RaggedTensorToSparse: sparse_indices sparse_values sparse_dense_shape
RefMerge: output value_index
RefSwitch: output_false output_true
SampleDistortedBoundingBox: begin size bboxes
SampleDistortedBoundingBoxV2: begin size bboxes
SelfAdjointEigV2: e v
SoftmaxCrossEntropyWithLogits: loss backprop
StatelessRandomGetKeyCounter: key counter
StatelessRandomGetKeyCounterAlg: key counter alg
StatelessSampleDistortedBoundingBox: begin size bboxes
StringNGrams: ngrams ngrams_splits
StringSplit: indices values shape
StringSplitV2: indices values shape
Svd: s u v
Switch: output_false output_true
TensorArrayConcat: value lengths
TensorArrayConcatV2: value lengths
TensorArrayConcatV3: value lengths
TensorArrayV3: handle flow
TensorListConcat: tensor lengths
TensorListConcatV2: tensor lengths
TensorListPopBack: output_handle tensor
TopK: values indices
TopKUnique: topk topk_indices
TopKV2: values indices
TopKWithUnique: topk topk_indices
UnicodeDecode: row_splits char_values
UnicodeDecodeWithOffsets: row_splits char_values char_to_byte_starts
Unique: y idx
UniqueV2: y idx
UniqueWithCounts: y idx count
UniqueWithCountsV2: y idx count
"""

RESULTS: dict[str, tuple[str, ...]] = {
    line.partition(": ")[0]: tuple(line.partition(": ")[2].split())
    for line in _TABLE.strip().replace("\n  ", " ").splitlines()
}


def position_of(node: Message, name: str, index: int) -> int:
    """The position in a graph of a result that a function body names."""
    position = 0
    for entry in RESULTS.get(node.op, ()):
        result, _, attribute = entry.partition("*")
        if result == name:
            break
        position += length_of(node.attr, attribute) if attribute else 1
    return position + index


def length_of(attributes: Message, name: str) -> int:
    """How many results a list has: a number, or a list of element types."""
    if name not in attributes:
        return 0
    value = attributes[name]
    return len(value.list.type) if value.HasField("list") else int(value.i)
