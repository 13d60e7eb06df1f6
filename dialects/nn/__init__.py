"""The `nn` dialect: what a model means. Framework-neutral ops on immutable static tensors.

`NN` is the dialect; the ops are importable from here, `nn.MatmulOp as MatmulOp`.
"""

from xdsl.ir import Dialect, Operation

from ranvier.dialects.nn import (
    constant,
    contraction,
    elementwise,
    indexing,
    normalization,
    pooling,
    reduction,
    shape,
)
from ranvier.dialects.nn.constant import (
    ConstantOp as ConstantOp,
)
from ranvier.dialects.nn.constant import (
    LoadWeightOp as LoadWeightOp,
)
from ranvier.dialects.nn.constant import (
    OpaqueOp as OpaqueOp,
)
from ranvier.dialects.nn.constant import (
    WeightOp as WeightOp,
)
from ranvier.dialects.nn.constant import (
    YieldOp as YieldOp,
)
from ranvier.dialects.nn.contraction import ConvOp as ConvOp
from ranvier.dialects.nn.contraction import GemmOp as GemmOp
from ranvier.dialects.nn.contraction import MatmulOp as MatmulOp
from ranvier.dialects.nn.elementwise import (
    AbsOp as AbsOp,
)
from ranvier.dialects.nn.elementwise import (
    AddOp as AddOp,
)
from ranvier.dialects.nn.elementwise import (
    AndOp as AndOp,
)
from ranvier.dialects.nn.elementwise import (
    CastOp as CastOp,
)
from ranvier.dialects.nn.elementwise import (
    CeilOp as CeilOp,
)
from ranvier.dialects.nn.elementwise import (
    ClampOp as ClampOp,
)
from ranvier.dialects.nn.elementwise import (
    CosOp as CosOp,
)
from ranvier.dialects.nn.elementwise import (
    DivOp as DivOp,
)
from ranvier.dialects.nn.elementwise import (
    EluOp as EluOp,
)
from ranvier.dialects.nn.elementwise import (
    EqualOp as EqualOp,
)
from ranvier.dialects.nn.elementwise import (
    ErfOp as ErfOp,
)
from ranvier.dialects.nn.elementwise import (
    ExpOp as ExpOp,
)
from ranvier.dialects.nn.elementwise import (
    FloorOp as FloorOp,
)
from ranvier.dialects.nn.elementwise import (
    GeluOp as GeluOp,
)
from ranvier.dialects.nn.elementwise import (
    GreaterEqualOp as GreaterEqualOp,
)
from ranvier.dialects.nn.elementwise import (
    GreaterOp as GreaterOp,
)
from ranvier.dialects.nn.elementwise import (
    HardSigmoidOp as HardSigmoidOp,
)
from ranvier.dialects.nn.elementwise import (
    HardSwishOp as HardSwishOp,
)
from ranvier.dialects.nn.elementwise import (
    LeakyReluOp as LeakyReluOp,
)
from ranvier.dialects.nn.elementwise import (
    LessEqualOp as LessEqualOp,
)
from ranvier.dialects.nn.elementwise import (
    LessOp as LessOp,
)
from ranvier.dialects.nn.elementwise import (
    LogOp as LogOp,
)
from ranvier.dialects.nn.elementwise import (
    MaxOp as MaxOp,
)
from ranvier.dialects.nn.elementwise import (
    MinOp as MinOp,
)
from ranvier.dialects.nn.elementwise import (
    MulOp as MulOp,
)
from ranvier.dialects.nn.elementwise import (
    NegOp as NegOp,
)
from ranvier.dialects.nn.elementwise import (
    NotOp as NotOp,
)
from ranvier.dialects.nn.elementwise import (
    OrOp as OrOp,
)
from ranvier.dialects.nn.elementwise import (
    PowOp as PowOp,
)
from ranvier.dialects.nn.elementwise import (
    ReciprocalOp as ReciprocalOp,
)
from ranvier.dialects.nn.elementwise import (
    ReluOp as ReluOp,
)
from ranvier.dialects.nn.elementwise import (
    RsqrtOp as RsqrtOp,
)
from ranvier.dialects.nn.elementwise import (
    SelectOp as SelectOp,
)
from ranvier.dialects.nn.elementwise import (
    SigmoidOp as SigmoidOp,
)
from ranvier.dialects.nn.elementwise import (
    SiluOp as SiluOp,
)
from ranvier.dialects.nn.elementwise import (
    SinOp as SinOp,
)
from ranvier.dialects.nn.elementwise import (
    SoftplusOp as SoftplusOp,
)
from ranvier.dialects.nn.elementwise import (
    SqrtOp as SqrtOp,
)
from ranvier.dialects.nn.elementwise import (
    SubOp as SubOp,
)
from ranvier.dialects.nn.elementwise import (
    TanhOp as TanhOp,
)
from ranvier.dialects.nn.indexing import GatherOp as GatherOp
from ranvier.dialects.nn.normalization import BatchNormOp as BatchNormOp
from ranvier.dialects.nn.normalization import SoftmaxOp as SoftmaxOp
from ranvier.dialects.nn.pooling import AvgPoolOp as AvgPoolOp
from ranvier.dialects.nn.pooling import MaxPoolOp as MaxPoolOp
from ranvier.dialects.nn.reduction import ReduceMaxOp as ReduceMaxOp
from ranvier.dialects.nn.reduction import ReduceMeanOp as ReduceMeanOp
from ranvier.dialects.nn.reduction import ReduceMinOp as ReduceMinOp
from ranvier.dialects.nn.reduction import ReduceSumOp as ReduceSumOp
from ranvier.dialects.nn.shape import (
    BroadcastOp as BroadcastOp,
)
from ranvier.dialects.nn.shape import (
    ConcatOp as ConcatOp,
)
from ranvier.dialects.nn.shape import (
    PadOp as PadOp,
)
from ranvier.dialects.nn.shape import (
    ReshapeOp as ReshapeOp,
)
from ranvier.dialects.nn.shape import (
    SliceOp as SliceOp,
)
from ranvier.dialects.nn.shape import (
    TransposeOp as TransposeOp,
)

FAMILIES = (
    constant,
    elementwise,
    contraction,
    reduction,
    normalization,
    pooling,
    shape,
    indexing,
)

OPS: tuple[type[Operation], ...] = tuple(
    op
    for family in FAMILIES
    for op in vars(family).values()
    if isinstance(op, type)
    and issubclass(op, Operation)
    and op.__module__ == family.__name__
    and hasattr(op, "get_irdl_definition")
    and isinstance(getattr(op, "name", None), str)
    and op.name.startswith("nn.")
)

NN = Dialect("nn", list(OPS), [])
