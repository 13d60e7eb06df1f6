"""Tables of `nn.Embedding(max_norm=…)`, whose rows every look-up scales down in place.

Before: `%t = embedding_renorm(%table, %i)`, `embedding(%t, %i)`, `copy_(%table, %t)`.
After:  the same without the write, so that the table is a constant.

A row that has been scaled down is not scaled again: every call gives the same rows, whether the
table is written to or not. That holds while nothing else reads the table. A product with it, as of
tied weights, sees which rows earlier calls have looked up, and keeps the write.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from ranvier.torch.node import attribute_of

aten: Any = torch.ops.aten


def drop_writes_of_scaled_rows(module: GraphModule) -> None:
    """Erase the writes that no later call can see."""
    attributes = module.graph.find_nodes(op="get_attr")
    for table in attributes:
        writes = [user for user in table.users if user.target is aten.copy_.default]
        scaled = [write for write in writes if is_scaled(write.args[1])]
        if not scaled or not reads_scaled_rows(table, None):
            continue
        memory = attribute_of(module, table).data_ptr()
        others = [attribute_of(module, node) for node in attributes if node is not table]
        if all(other.data_ptr() != memory for other in others):
            for write in scaled:
                module.graph.erase_node(write)


def is_scaled(value: Any) -> bool:
    while isinstance(value, Node) and value.target is aten.detach.default:
        value = value.args[0]
    return isinstance(value, Node) and value.target is aten.embedding_renorm.default


def reads_scaled_rows(table: Node, places: Any) -> bool:
    """Whether what reads a table scales rows, or looks up those that are scaled in it, `places`."""
    for user in table.users:
        if user.target is aten.detach.default:
            known = reads_scaled_rows(user, places)
        elif user.target is aten.embedding_renorm.default:
            known = user.args[0] is table and reads_scaled_rows(user, user.args[1])
        elif user.target is aten.embedding.default:
            known = user.args[0] is table and user.args[1] is places
        else:
            known = user.target is aten.copy_.default and not user.users
        if not known:
            return False
    return True
