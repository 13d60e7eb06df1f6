"""The messages of TensorFlow's files, without TensorFlow.

The schema is the part of tensorflow/core/framework and tensorflow/core/protobuf that an inference
graph uses, in a descriptor pool of its own, so that TensorFlow may be imported beside it. Fields
that are not listed survive a parse and a write unchanged.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

Message: TypeAlias = Any
"""A protobuf message: its fields are known at run time only."""

_SCHEMA = """
SavedModel: 1 int64 saved_model_schema_version, 2 MetaGraphDef* meta_graphs
MetaGraphDef: 1 MetaInfoDef meta_info_def, 2 GraphDef graph_def, 3 SaverDef saver_def
  4 map<CollectionDef> collection_def, 5 map<SignatureDef> signature_def
  6 AssetFileDef* asset_file_def, 7 SavedObjectGraph object_graph_def
MetaInfoDef: 1 string meta_graph_version, 4 string* tags, 5 string tensorflow_version
AssetFileDef: 1 TensorInfo tensor_info, 2 string filename
SaverDef: 1 string filename_tensor_name, 2 string save_tensor_name, 3 string restore_op_name
CollectionDef: 1 NodeList node_list
NodeList: 1 string* value
SavedObjectGraph: 2 map<SavedConcreteFunction> concrete_functions
SavedConcreteFunction: 2 int32* bound_inputs
SignatureDef: 1 map<TensorInfo> inputs, 2 map<TensorInfo> outputs, 3 string method_name
TensorInfo: 1 string name, 2 int32 dtype, 3 TensorShapeProto tensor_shape
GraphDef: 1 NodeDef* node, 2 FunctionDefLibrary library, 3 int32 version, 4 VersionDef versions
VersionDef: 1 int32 producer, 2 int32 min_consumer
NodeDef: 1 string name, 2 string op, 3 string* input, 4 string device, 5 map<AttrValue> attr
AttrValue: 1 ListValue list, 2 bytes s, 3 int64 i, 4 float f, 5 bool b, 6 int32 type
  7 TensorShapeProto shape, 8 TensorProto tensor, 9 string placeholder, 10 NameAttrList func
ListValue: 2 bytes* s, 3 int64* i, 4 float* f, 5 bool* b, 6 int32* type
  7 TensorShapeProto* shape, 8 TensorProto* tensor, 9 NameAttrList* func
NameAttrList: 1 string name, 2 map<AttrValue> attr
FunctionDefLibrary: 1 FunctionDef* function, 2 GradientDef* gradient
  3 RegisteredGradient* registered_gradients
GradientDef: 1 string function_name, 2 string gradient_func
RegisteredGradient: 1 string gradient_func, 2 string registered_op_type
FunctionDef: 1 OpDef signature, 3 NodeDef* node_def, 4 map<string> ret, 5 map<AttrValue> attr
  6 map<string> control_ret
OpDef: 1 string name, 2 ArgDef* input_arg, 3 ArgDef* output_arg
ArgDef: 1 string name, 3 int32 type, 4 string type_attr, 5 string number_attr
  6 string type_list_attr
TensorShapeProto: 2 Dim* dim, 3 bool unknown_rank
Dim: 1 int64 size, 2 string name
TensorProto: 1 int32 dtype, 2 TensorShapeProto tensor_shape, 3 int32 version_number
  4 bytes tensor_content, 5 float* float_val, 6 double* double_val, 7 int32* int_val
  8 bytes* string_val, 10 int64* int64_val, 11 bool* bool_val, 13 int32* half_val
  16 uint32* uint32_val, 17 uint64* uint64_val
BundleHeaderProto: 1 int32 num_shards, 2 int32 endianness
BundleEntryProto: 1 int32 dtype, 2 TensorShapeProto shape, 3 int32 shard_id, 4 int64 offset
  5 int64 size, 6 fixed32 crc32c, 7 TensorSliceProto* slices
TensorSliceProto: 1 Extent* extent
Extent: 1 int64 start, 2 int64 length
"""

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS: dict[str, int] = {
    "bool": _Field.TYPE_BOOL,
    "bytes": _Field.TYPE_BYTES,
    "double": _Field.TYPE_DOUBLE,
    "fixed32": _Field.TYPE_FIXED32,
    "float": _Field.TYPE_FLOAT,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "string": _Field.TYPE_STRING,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
}
_ONE_OF = {"AttrValue": "value", "TensorInfo": "encoding"}
_PACKAGE = "tensorflow"


def _set_type(field: Any, kind: str) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"


def _add_map(message: Any, field: Any, kind: str) -> None:
    """A map from strings, which is a repeated message of keys and values."""
    name = "".join(part.capitalize() for part in field.name.split("_")) + "Entry"
    entry = message.nested_type.add(name=name)
    entry.options.map_entry = True
    for number, (part, part_kind) in enumerate((("key", "string"), ("value", kind)), 1):
        added = entry.field.add(name=part, number=number, label=_Field.LABEL_OPTIONAL)
        _set_type(added, part_kind)
    field.label, field.type = _Field.LABEL_REPEATED, _Field.TYPE_MESSAGE
    field.type_name = f".{_PACKAGE}.{message.name}.{name}"


def _add_field(message: Any, text: str) -> None:
    number, kind, name = text.split()
    field = message.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
    if kind.startswith("map<"):
        _add_map(message, field, kind[4:-1])
        return
    if kind.endswith("*"):
        field.label = _Field.LABEL_REPEATED
    _set_type(field, kind.removesuffix("*"))
    if message.oneof_decl and field.name not in ("dtype", "tensor_shape"):
        field.oneof_index = 0


def _message_classes() -> dict[str, Message]:
    file = descriptor_pb2.FileDescriptorProto(
        name="ranvier/tensorflow.proto", package=_PACKAGE, syntax="proto3"
    )
    for paragraph in _SCHEMA.strip().replace("\n  ", ", ").splitlines():
        name, fields = paragraph.split(": ")
        message = file.message_type.add(name=name)
        if name in _ONE_OF:
            message.oneof_decl.add(name=_ONE_OF[name])
        for field in fields.split(", "):
            _add_field(message, field)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        message.name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"{_PACKAGE}.{message.name}")
        )
        for message in file.message_type
    }


_CLASSES = _message_classes()

SavedModel: Message = _CLASSES["SavedModel"]
MetaGraphDef: Message = _CLASSES["MetaGraphDef"]
GraphDef: Message = _CLASSES["GraphDef"]
NodeDef: Message = _CLASSES["NodeDef"]
FunctionDef: Message = _CLASSES["FunctionDef"]
AttrValue: Message = _CLASSES["AttrValue"]
TensorProto: Message = _CLASSES["TensorProto"]
BundleHeaderProto: Message = _CLASSES["BundleHeaderProto"]
BundleEntryProto: Message = _CLASSES["BundleEntryProto"]
