"""Compile SavedModels, with the interface of `tensorflow.neuron.saved_model`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import tensorflow as tf

from ranvier.compiler_arguments import words_of
from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.nn.shapes import format_shape
from ranvier.importers.tensorflow.graph import tensor_named
from ranvier.importers.tensorflow.model import InputInfo, Model, describe, model_of
from ranvier.importers.tensorflow.protos import Message
from ranvier.importers.tensorflow.saved_model import (
    DEFAULT_SIGNATURE,
    SERVE,
    Source,
    meta_graph,
    read_saved_model,
    signature,
    signature_keys,
    tag_sets,
)
from ranvier.program import Shapes
from ranvier.tensorflow.binding import inspect_core_binding as inspect_core_binding
from ranvier.tensorflow.binding import set_core_binding as set_core_binding
from ranvier.tensorflow.convert import Converter
from ranvier.tensorflow.flags import read_flags
from ranvier.tensorflow.inference import types_of
from ranvier.tensorflow.options import (
    Placement,
    compilation_of,
    node_names,
    split_tags,
)
from ranvier.tensorflow.report import LOG, counts_of, log_conversion
from ranvier.tensorflow.writing import new_meta_graph, write_saved_model

v1: Any = tf.compat.v1
COMPILER_TIMEOUT = 18000
Feed = Mapping[Any, Any]


@dataclass(frozen=True)
class Chosen:
    """The part of a SavedModel that a call compiles."""

    source: Source
    meta: Message
    key: str
    signature: Message
    model: Model

    @property
    def inputs(self) -> Mapping[str, InputInfo]:
        return self.model.inputs


def compile(
    model_dir: str | Path,
    new_model_dir: str | Path,
    batch_size: int = 1,
    model_shape_feed_dict: Feed | None = None,
    model_feed_dict: Feed | None = None,
    tags: str | Sequence[str] | None = None,
    signature_def_key: str | None = None,
    strip_default_attrs: bool = False,
    config_proto: object = None,
    constant_size_to_exclude: int = 1024,
    convert_constants_to_variables: bool = False,
    compiler_workdir: str | Path | None = None,
    supported_op_types: Collection[str] | None = None,
    no_fuse_ops: Iterable[Any] | str | None = None,
    force_fuse_ops: Iterable[Any] | str | None = None,
    minimum_segment_size: int | None = None,
    dynamic_batch_size: bool = False,
    compiler_args: Sequence[str] | str | None = None,
    compiler_verbose: object = None,
    compiler_timeout: float | None = None,
    compiler_recovery: bool = True,
    max_num_compilers: int | None = None,
    grappler: bool = False,
    amp_pass: bool = False,
    must_fuse: Iterable[Any] | str | None = None,
) -> dict[str, Any]:
    """Compile one signature of a SavedModel into `NeuronOp`s of a new SavedModel.

    Static shapes come from `model_feed_dict` (arrays), else `model_shape_feed_dict` (lists of
    sizes), by input name of the signature or tensor; else unknown first dimensions are
    `batch_size`. `dynamic_batch_size` lets calls have any batch. `no_fuse_ops` and
    `force_fuse_ops` (`must_fuse`) are nodes, by name or as operations; `supported_op_types` lists
    the op types that may be compiled; subgraphs of fewer than `minimum_segment_size` nodes stay in
    TensorFlow. `force_fuse_ops` overrides the others, and is no error for what the machine lacks.
    `compiler_args` are those of `ranvier compile`, after those of NEURON_CC_FLAGS in the
    environment; placement rules in them (`--rules`) win over the options. `compiler_workdir` keeps
    the files of each subgraph. A subgraph that does not compile stays in TensorFlow, unless
    `compiler_recovery` is false or the flags have `--must-compile`. `compiler_verbose` and
    `max_num_compilers` have no effect: subgraphs are compiled in this process, one after the other.

    Returns counts of operators: `OperationsInSession`, `OperationsAfterOptimizations`,
    `OperationsOnNeuron`, and `OnNeuronRatio` of the last two. Raises AssertionError if
    `new_model_dir` exists, ValueError for arguments that do not fit the model, ModelImportError
    for a model that cannot be read.
    """
    folder = Path(new_model_dir)
    if folder.exists():
        raise AssertionError(
            "Export directory already exists. Please specify a different export directory: "
            f"{folder}"
        )
    ignore_without_effect(
        strip_default_attrs=strip_default_attrs,
        convert_constants_to_variables=convert_constants_to_variables,
        grappler=grappler,
        amp_pass=amp_pass,
    )
    flags = read_flags()
    compilation = compilation_of(
        (*flags.rest, *words_of(compiler_args)),
        workdir=flags.workdir if compiler_workdir is None else compiler_workdir,
        timeout=COMPILER_TIMEOUT if compiler_timeout is None else compiler_timeout,
        dynamic_batch_size=dynamic_batch_size,
    )
    placement = Placement(
        supported_op_types,
        node_names(no_fuse_ops),
        node_names(force_fuse_ops) | node_names(must_fuse),
        minimum_segment_size=minimum_segment_size,
    )
    chosen = choose(Path(model_dir), tags, signature_def_key)
    warn_of_unknown(placement, chosen)
    shapes = static_shapes(chosen, batch_size, model_shape_feed_dict, model_feed_dict)
    outputs = dict(sorted(chosen.signature.outputs.items()))  # maps have no order
    converted = Converter(
        chosen.model,
        {name: tensor_named(info.name) for name, info in outputs.items()},
        {name: info.dtype for name, info in outputs.items()},
        shapes,
        placement,
        compilation,
        types_of,
        compiler_recovery and not flags.must_compile,
    ).run()
    meta = new_meta_graph(chosen.meta, chosen.key, converted.nodes, converted.functions)
    write_saved_model(chosen.source, chosen.meta, meta, folder)
    counts = counts_of(converted)
    log_conversion(converted, counts, f"{model_dir} to {new_model_dir}")
    return counts


def simple_save(
    session: Any, export_dir: str | Path, inputs: Any, outputs: Any, **options: Any
) -> dict[str, Any]:
    """Save a session's graph between tensors by name, compiled, as `serving_default`.

    `options` are those of `compile`, and so are the result and what is raised.
    """
    define = v1.saved_model.signature_def_utils.predict_signature_def
    with tempfile.TemporaryDirectory(prefix="ranvier-") as folder:
        path = Path(folder) / Path(export_dir).name
        with session.graph.as_default():
            builder = v1.saved_model.Builder(str(path))
            builder.add_meta_graph_and_variables(
                session, [SERVE], {DEFAULT_SIGNATURE: define(dict(inputs), dict(outputs))}
            )
            builder.save()
        return compile(path, export_dir, **options)


def ignore_without_effect(**given: bool) -> None:
    for name, value in given.items():
        if value:
            LOG.warning("%s has no effect here", name)


def warn_of_unknown(placement: Placement, chosen: Chosen) -> None:
    """Of names that place no node of the signature."""
    names = placement.no_fuse_ops | placement.force_fuse_ops
    if unknown := sorted(names - chosen.model.flat.nodes.keys()):
        LOG.warning("signature '%s' has no nodes %s to place", chosen.key, ", ".join(unknown))


# -- What to compile --------------------------------------------------------------------------


def choose(model_dir: Path, tags: str | Sequence[str] | None, key: str | None) -> Chosen:
    """The meta graph and the signature, with a warning where there were several."""
    source = read_saved_model(model_dir)
    meta = meta_graph(source, split_tags(tags))
    if tags is None and len(tag_sets(source)) > 1:
        LOG.warning("the model has several tag sets; compiling %s", list(meta.meta_info_def.tags))
    keys = signature_keys(meta)
    found, chosen = signature(source, meta, key)
    if key is None and found != DEFAULT_SIGNATURE:
        LOG.warning("the model has no %s; compiling '%s' of %s", DEFAULT_SIGNATURE, found, keys)
    model = model_of(source, list(meta.meta_info_def.tags), found)
    return Chosen(source, meta, found, chosen, model)


def static_shapes(
    chosen: Chosen, batch_size: int, shape_feed: Feed | None, feed: Feed | None
) -> Shapes:
    """A shape for every input. Raises CallerError with the input for what is not known."""
    if feed is not None:
        given = fed(feed, "model_feed_dict", shape_of_array)
    elif shape_feed is not None:
        given = fed(shape_feed, "model_shape_feed_dict", sizes_of)
    else:
        return {name: batched_shape(info, batch_size) for name, info in chosen.inputs.items()}
    shapes = {input_named(chosen, name): shape for name, shape in given.items()}
    for name, info in chosen.inputs.items():
        if name not in shapes:
            if info.shape is None or -1 in info.shape:
                listed = ", ".join(chosen.inputs)
                raise CallerError(
                    Code.SHAPE_UNKNOWN, f"no shape is fed for input '{name}'; inputs: {listed}"
                )
            shapes[name] = info.shape
        check_shape(name, info, shapes[name])
    return shapes


def fed(
    feed: object, option: str, shape: Callable[[object, Any], tuple[int, ...]]
) -> dict[object, tuple[int, ...]]:
    """Shapes by what names an input. Raises CallerError for what is no dictionary of them."""
    if not isinstance(feed, Mapping):
        raise CallerError(
            Code.OPTION_INVALID, f"{option} is a dictionary by input, got {type(feed).__name__}"
        )
    return {name: shape(name, value) for name, value in cast(Feed, feed).items()}


def shape_of_array(name: object, value: Any) -> tuple[int, ...]:
    try:
        return tuple(np.shape(value))
    except ValueError as error:  # lists of different lengths
        raise CallerError(
            Code.SHAPE_UNKNOWN, f"what is fed for '{name}' is no array: {error}"
        ) from error


def sizes_of(name: object, sizes: Any) -> tuple[int, ...]:
    """The sizes of a list, a TensorShape or its message. Raises CallerError for unknown ones."""
    try:
        listed = [getattr(size, "size", size) for size in getattr(sizes, "dim", sizes)]
        if all(isinstance(size, int | np.integer) and size >= 0 for size in listed):
            return tuple(map(int, listed))
    except (TypeError, ValueError):  # no list, or a TensorShape of unknown rank
        pass
    raise CallerError(
        Code.SHAPE_UNKNOWN, f"the shape fed for '{name}' is no list of sizes: {sizes}"
    )


def input_named(chosen: Chosen, name: object) -> str:
    """The signature's input of a name, a tensor's name, or a tensor. Raises CallerError."""
    text = str(getattr(name, "name", name))
    if text in chosen.inputs:  # it may be another input's tensor as well
        return text
    for key, info in chosen.inputs.items():
        if text in (info.tensor.node, str(info.tensor)):
            return key
    listed = ", ".join(f"{key} ({info.tensor})" for key, info in chosen.inputs.items())
    raise CallerError(Code.INPUT_UNKNOWN, f"'{text}' is no input; inputs: {listed}")


def check_shape(name: str, info: InputInfo, shape: tuple[int, ...]) -> None:
    declared = info.shape
    if declared is None:
        return
    if len(declared) != len(shape):
        raise CallerError(
            Code.SHAPE_MISMATCH,
            f"input '{name}' has rank {len(declared)}, the shape fed for it is {list(shape)}",
        )
    if any(size not in (-1, fed) for size, fed in zip(declared, shape, strict=True)):
        raise CallerError(
            Code.SHAPE_MISMATCH,
            f"input '{name}' is fed as {format_shape(shape)}; the model declares "
            f"{describe(declared)}",
        )


def batched_shape(info: InputInfo, batch_size: int) -> tuple[int, ...]:
    """The declared shape with a batch size for an unknown first dimension."""
    if not isinstance(batch_size, int | np.integer) or batch_size < 1:  # pyright: ignore
        raise CallerError(Code.OPTION_INVALID, f"batch_size is at least 1, got {batch_size!r}")
    if info.shape is None:
        raise CallerError(Code.SHAPE_UNKNOWN, f"input tensor {info.tensor} must have known rank")
    shape = (int(batch_size), *info.shape[1:]) if info.shape[:1] == (-1,) else info.shape
    if -1 in shape:
        raise CallerError(
            Code.SHAPE_UNKNOWN,
            f"batch_size is not sufficient to determine the shape of input tensor {info.tensor}: "
            f"{list(info.shape)}",
        )
    return shape
