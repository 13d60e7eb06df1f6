"""Predictors: SavedModels that are called with arrays by the names of a signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.importers.tensorflow.saved_model import meta_graph, read_saved_model, signature
from ranvier.tensorflow.options import split_tags

v1: Any = tf.compat.v1


class Predictor:
    """A session with a signature's tensors. Close it, or use it in a `with` statement."""

    def __init__(self, graph: Any, session: Any, feeds: Mapping[str, str], fetches: Any) -> None:
        self.graph = graph
        self.session = session
        self.feed_tensors = {name: graph.get_tensor_by_name(text) for name, text in feeds.items()}
        self.fetch_tensors = {n: graph.get_tensor_by_name(text) for n, text in fetches.items()}

    def __call__(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Results by name, of operands by name. Raises CallerError for names of no operand."""
        if unknown := sorted(arrays.keys() - self.feed_tensors.keys()):
            known = ", ".join(self.feed_tensors)
            raise CallerError(Code.INPUT_UNKNOWN, f"'{unknown[0]}' is no input; inputs: {known}")
        feeds = {self.feed_tensors[name]: array for name, array in arrays.items()}
        return self.session.run(self.fetch_tensors, feeds)

    def close(self) -> None:
        self.session.close()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def from_graph_def(
    graph_def: Any, inputs: Mapping[str, str], outputs: Mapping[str, str], config: Any = None
) -> Predictor:
    """The predictor of a graph between tensors, which have names for callers.

    Raises CallerError for tensors that the graph lacks.
    """
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(graph_def, name="")
    try:
        return Predictor(graph, v1.Session(graph=graph, config=config), inputs, outputs)
    except KeyError as error:
        raise CallerError(Code.INPUT_UNKNOWN, f"the graph has no such tensor: {error}") from error


def from_saved_model(
    export_dir: str | Path,
    signature_def_key: str | None = None,
    tags: str | Sequence[str] | None = None,
    graph: Any = None,
    config: Any = None,
) -> Predictor:
    """The predictor of a signature, the default one unless it is named.

    Raises CallerError for tags and signatures that the model lacks, ModelImportError for a model
    that cannot be read.
    """
    source = read_saved_model(Path(export_dir))
    meta = meta_graph(source, split_tags(tags))
    _, chosen = signature(source, meta, signature_def_key)
    graph = graph or tf.Graph()
    with graph.as_default():
        session = v1.Session(graph=graph, config=config)
        v1.saved_model.load(session, list(meta.meta_info_def.tags), str(export_dir))
    sides = ({n: info.name for n, info in side.items()} for side in (chosen.inputs, chosen.outputs))
    return Predictor(graph, session, *sides)
