"""`DataParallel`: one batch cut over several NeuronCores, results in the order of the samples."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.torch.cores import available_cores, calling
from ranvier.torch.runtime import loaded_of

LOG = logging.getLogger("Neuron")


class DataParallel(nn.Module):
    """Runs a traced model on several NeuronCores at once, each on a chunk of dimension `dim`.

    `device_ids` are numbers of cores or `"nc:0"`, all cores of the process by default. With
    `dim=0` chunks may have any size, if samples of the model do not depend on each other; else, and
    after `disable_dynamic_batching()`, a chunk has the size that the model was compiled for.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        device_ids: Sequence[int | str] | None = None,
        dim: int = 0,
    ) -> None:
        """Raises ValueError for cores that the process does not have, CallerError for a model
        without programs or of several cores."""
        super().__init__()
        if not isinstance(model, nn.Module) or not (loaded := loaded_of(model)):
            raise CallerError(
                Code.INPUT_TYPE, "DataParallel takes a model that ranvier.torch.trace has compiled"
            )
        if any(each.neff.cores > 1 for each in loaded):
            raise CallerError(
                Code.MODEL_UNSUPPORTED,
                "DataParallel does not take models that are pipelines of several NeuronCores",
            )
        self.model = model
        self.device_ids = core_numbers(device_ids)
        self.dim = dim
        self.num_workers = 2 * len(self.device_ids)
        self.split_size: int | None = None
        self.dynamic_batching = dim == 0
        self._compiled = {each.batch_size for each in loaded}
        if dim == 0 and (len(self._compiled) != 1 or None in self._compiled):
            LOG.warning("dynamic batching cannot be enabled: programs have no common dimension 0")
            self.dynamic_batching = False

    def disable_dynamic_batching(self) -> None:
        """From now on `shape[dim] / len(device_ids)` is what the model was compiled for."""
        self.dynamic_batching = False

    def forward(self, *inputs: Any, **named: Any) -> Any:
        chunks = self.chunks((inputs, named))
        if len(chunks) == 1:
            return self.run(0, chunks[0])
        with ThreadPoolExecutor(self.num_workers) as workers:
            results = list(workers.map(self.run, range(len(chunks)), chunks))
        return joined(results, self.dim)

    def run(self, index: int, chunk: tuple[tuple[Any, ...], dict[str, Any]]) -> Any:
        core = self.device_ids[index % len(self.device_ids)]
        args, kwargs = chunk
        with calling(core, cut_batches=self.dynamic_batching), torch.no_grad():
            return self.model(*args, **kwargs)

    def chunks(self, arguments: Any) -> list[Any]:
        """The arguments of each call. Raises CallerError for inputs that differ in `dim`."""
        leaves, structure = pytree.tree_flatten(arguments)
        sizes = {
            leaf.shape[self.dim] if -leaf.dim() <= self.dim < leaf.dim() else None
            for leaf in leaves
            if isinstance(leaf, Tensor)
        }
        if len(sizes) != 1 or None in sizes:
            raise CallerError(
                Code.INPUT_SHAPE, f"the inputs share no dimension {self.dim} to be cut along"
            )
        (total,) = sizes
        assert total is not None
        size = self.split_size or max(1, total // len(self.device_ids))
        fits = {size} == self._compiled and total % size == 0
        if not self.dynamic_batching and self.dim == 0 and not fits:
            compiled = ", ".join(map(str, self._compiled))
            raise CallerError(
                Code.INPUT_SHAPE,
                f"{total} samples on {len(self.device_ids)} NeuronCores make chunks of {size}; the "
                f"model is compiled for {compiled} and dynamic batching is off",
            )
        parts = [
            torch.split(leaf, size, self.dim) if isinstance(leaf, Tensor) else None
            for leaf in leaves
        ]
        count = max(1, -(-total // size))
        return [
            pytree.tree_unflatten(
                [leaf if p is None else p[k] for leaf, p in zip(leaves, parts, strict=True)],
                structure,
            )
            for k in range(count)
        ]


def joined(results: Sequence[Any], dim: int) -> Any:
    """The results of chunks as one, leaf by leaf."""
    _, structure = pytree.tree_flatten(results[0])
    leaves = zip(*(pytree.tree_leaves(result) for result in results), strict=True)
    return pytree.tree_unflatten([torch.cat(parts, dim) for parts in leaves], structure)


def core_numbers(device_ids: Sequence[int | str] | None) -> list[int]:
    """Raises ValueError for what is no core of this process."""
    cores = available_cores()
    if device_ids is None:
        return list(range(cores))
    numbers: list[int] = []
    for device in device_ids:
        text = str(device).removeprefix("nc:")
        if isinstance(device, bool) or not text.isdecimal() or int(text) >= cores:
            raise ValueError(
                f"device_ids holds {device!r}; this process has NeuronCores 0 to {cores - 1}"
            )
        numbers.append(int(text))
    if not numbers:
        raise ValueError("device_ids is empty")
    return numbers
