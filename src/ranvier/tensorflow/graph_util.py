"""Compile the graph of a session of TensorFlow 1."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from ranvier.importers.tensorflow.flatten import PLACEHOLDERS
from ranvier.importers.tensorflow.saved_model import SERVE
from ranvier.tensorflow.saved_model import simple_save

v1: Any = tf.compat.v1


def inference_graph_from_session(
    sess: Any = None,
    input_tensors: Iterable[Any] | None = None,
    output_tensors: Iterable[Any] | None = None,
    shape_feed_dict: Mapping[Any, Any] | None = None,
    feed_dict: Mapping[Any, Any] | None = None,
    op_whitelist: Collection[str] | None = None,
    **options: Any,
) -> Any:
    """A new graph in which what the machine runs of a session's graph is `NeuronOp`s.

    Tensors are given by name or as they are. Without inputs these are the placeholders, without
    outputs what no op reads; both keep their names. `op_whitelist` is another name for
    `supported_op_types`; `options` are those of `saved_model.compile`, and so is what is raised.
    Variables have the values of the session, which must have them.
    """
    session = sess or v1.get_default_session()
    graph = session.graph
    fed = {**(shape_feed_dict or {}), **(feed_dict or {})}
    inputs = [graph.as_graph_element(name) for name in (*(input_tensors or ()), *fed)]
    outputs = [graph.as_graph_element(name) for name in output_tensors or unread(graph)]
    feeds = {
        key: {graph.as_graph_element(name).name: value for name, value in given.items()}
        for key, given in (
            ("model_shape_feed_dict", shape_feed_dict),
            ("model_feed_dict", feed_dict),
        )
        if given is not None
    }
    if op_whitelist is not None:
        options["supported_op_types"] = op_whitelist
    with tempfile.TemporaryDirectory(prefix="ranvier-") as folder:
        path = Path(folder) / "graph"
        simple_save(
            session,
            path,
            {tensor.name: tensor for tensor in inputs or placeholders(graph)},
            {tensor.name: tensor for tensor in outputs},
            **feeds,
            **options,
        )
        compiled = tf.Graph()
        with compiled.as_default(), v1.Session() as loading:
            v1.saved_model.load(loading, [SERVE], str(path))
    return compiled


def placeholders(graph: Any) -> list[Any]:
    return [op.outputs[0] for op in graph.get_operations() if op.type in PLACEHOLDERS]


def unread(graph: Any) -> list[Any]:
    """Results of ops that compute something and that no op reads."""
    ops = [op for op in graph.get_operations() if op.inputs and op.type not in PLACEHOLDERS]
    results = [result for op in ops for result in op.outputs if not result.consumers()]
    return [result for result in results if result.dtype not in (tf.resource, tf.variant)]
