"""The `nn` dialect: what a model means. Framework-neutral ops on immutable static tensors.

`NN` is the dialect; the ops are importable from here, `nn.MatmulOp as MatmulOp`.
"""

from xdsl.ir import Dialect, Operation

from ranvier.dialects.nn import (
    constant,
    contraction,
    elementwise,
    elementwise_activation,
    elementwise_math,
    indexing,
    indexing_scatter,
    normalization,
    pooling,
    pooling_resize,
    recurrent,
    reduction,
    shape,
)
from ranvier.dialects.nn.constant import ConstantOp as ConstantOp
from ranvier.dialects.nn.constant import LoadWeightOp as LoadWeightOp
from ranvier.dialects.nn.constant import OpaqueOp as OpaqueOp
from ranvier.dialects.nn.constant import WeightOp as WeightOp
from ranvier.dialects.nn.constant import YieldOp as YieldOp
from ranvier.dialects.nn.contraction import ConvOp as ConvOp
from ranvier.dialects.nn.contraction import ConvTransposeOp as ConvTransposeOp
from ranvier.dialects.nn.contraction import EinsumOp as EinsumOp
from ranvier.dialects.nn.contraction import GemmOp as GemmOp
from ranvier.dialects.nn.contraction import MatmulOp as MatmulOp
from ranvier.dialects.nn.elementwise import AddOp as AddOp
from ranvier.dialects.nn.elementwise import AndOp as AndOp
from ranvier.dialects.nn.elementwise import CastOp as CastOp
from ranvier.dialects.nn.elementwise import DivOp as DivOp
from ranvier.dialects.nn.elementwise import EqualOp as EqualOp
from ranvier.dialects.nn.elementwise import FmodOp as FmodOp
from ranvier.dialects.nn.elementwise import GreaterEqualOp as GreaterEqualOp
from ranvier.dialects.nn.elementwise import GreaterOp as GreaterOp
from ranvier.dialects.nn.elementwise import LessEqualOp as LessEqualOp
from ranvier.dialects.nn.elementwise import LessOp as LessOp
from ranvier.dialects.nn.elementwise import MaxOp as MaxOp
from ranvier.dialects.nn.elementwise import MinOp as MinOp
from ranvier.dialects.nn.elementwise import ModOp as ModOp
from ranvier.dialects.nn.elementwise import MulOp as MulOp
from ranvier.dialects.nn.elementwise import OrOp as OrOp
from ranvier.dialects.nn.elementwise import PowOp as PowOp
from ranvier.dialects.nn.elementwise import SelectOp as SelectOp
from ranvier.dialects.nn.elementwise import ShiftLeftOp as ShiftLeftOp
from ranvier.dialects.nn.elementwise import ShiftRightOp as ShiftRightOp
from ranvier.dialects.nn.elementwise import SubOp as SubOp
from ranvier.dialects.nn.elementwise import XorOp as XorOp
from ranvier.dialects.nn.elementwise_activation import ClampOp as ClampOp
from ranvier.dialects.nn.elementwise_activation import EluOp as EluOp
from ranvier.dialects.nn.elementwise_activation import GeluOp as GeluOp
from ranvier.dialects.nn.elementwise_activation import HardSigmoidOp as HardSigmoidOp
from ranvier.dialects.nn.elementwise_activation import HardSwishOp as HardSwishOp
from ranvier.dialects.nn.elementwise_activation import LeakyReluOp as LeakyReluOp
from ranvier.dialects.nn.elementwise_activation import PReluOp as PReluOp
from ranvier.dialects.nn.elementwise_activation import ReluOp as ReluOp
from ranvier.dialects.nn.elementwise_activation import SigmoidOp as SigmoidOp
from ranvier.dialects.nn.elementwise_activation import SiluOp as SiluOp
from ranvier.dialects.nn.elementwise_activation import SoftplusOp as SoftplusOp
from ranvier.dialects.nn.elementwise_activation import TanhOp as TanhOp
from ranvier.dialects.nn.elementwise_math import AbsOp as AbsOp
from ranvier.dialects.nn.elementwise_math import AcoshOp as AcoshOp
from ranvier.dialects.nn.elementwise_math import AcosOp as AcosOp
from ranvier.dialects.nn.elementwise_math import AsinhOp as AsinhOp
from ranvier.dialects.nn.elementwise_math import AsinOp as AsinOp
from ranvier.dialects.nn.elementwise_math import AtanhOp as AtanhOp
from ranvier.dialects.nn.elementwise_math import AtanOp as AtanOp
from ranvier.dialects.nn.elementwise_math import CeilOp as CeilOp
from ranvier.dialects.nn.elementwise_math import CoshOp as CoshOp
from ranvier.dialects.nn.elementwise_math import CosOp as CosOp
from ranvier.dialects.nn.elementwise_math import ErfOp as ErfOp
from ranvier.dialects.nn.elementwise_math import ExpOp as ExpOp
from ranvier.dialects.nn.elementwise_math import FloorOp as FloorOp
from ranvier.dialects.nn.elementwise_math import IsInfOp as IsInfOp
from ranvier.dialects.nn.elementwise_math import IsNanOp as IsNanOp
from ranvier.dialects.nn.elementwise_math import LogOp as LogOp
from ranvier.dialects.nn.elementwise_math import NegOp as NegOp
from ranvier.dialects.nn.elementwise_math import NotOp as NotOp
from ranvier.dialects.nn.elementwise_math import ReciprocalOp as ReciprocalOp
from ranvier.dialects.nn.elementwise_math import RoundOp as RoundOp
from ranvier.dialects.nn.elementwise_math import RsqrtOp as RsqrtOp
from ranvier.dialects.nn.elementwise_math import SignOp as SignOp
from ranvier.dialects.nn.elementwise_math import SinhOp as SinhOp
from ranvier.dialects.nn.elementwise_math import SinOp as SinOp
from ranvier.dialects.nn.elementwise_math import SqrtOp as SqrtOp
from ranvier.dialects.nn.elementwise_math import TanOp as TanOp
from ranvier.dialects.nn.indexing import GatherElementsOp as GatherElementsOp
from ranvier.dialects.nn.indexing import GatherNdOp as GatherNdOp
from ranvier.dialects.nn.indexing import GatherOp as GatherOp
from ranvier.dialects.nn.indexing import OneHotOp as OneHotOp
from ranvier.dialects.nn.indexing import ReverseSequenceOp as ReverseSequenceOp
from ranvier.dialects.nn.indexing import TopKOp as TopKOp
from ranvier.dialects.nn.indexing_scatter import ScatterElementsOp as ScatterElementsOp
from ranvier.dialects.nn.indexing_scatter import ScatterNdOp as ScatterNdOp
from ranvier.dialects.nn.indexing_scatter import TensorScatterOp as TensorScatterOp
from ranvier.dialects.nn.normalization import BatchNormOp as BatchNormOp
from ranvier.dialects.nn.normalization import GroupNormOp as GroupNormOp
from ranvier.dialects.nn.normalization import HardmaxOp as HardmaxOp
from ranvier.dialects.nn.normalization import LayerNormOp as LayerNormOp
from ranvier.dialects.nn.normalization import LogSoftmaxOp as LogSoftmaxOp
from ranvier.dialects.nn.normalization import LpNormalizeOp as LpNormalizeOp
from ranvier.dialects.nn.normalization import LrnOp as LrnOp
from ranvier.dialects.nn.normalization import RmsNormOp as RmsNormOp
from ranvier.dialects.nn.normalization import SoftmaxOp as SoftmaxOp
from ranvier.dialects.nn.pooling import AvgPoolOp as AvgPoolOp
from ranvier.dialects.nn.pooling import LpPoolOp as LpPoolOp
from ranvier.dialects.nn.pooling import MaxPoolOp as MaxPoolOp
from ranvier.dialects.nn.pooling_resize import GridSampleOp as GridSampleOp
from ranvier.dialects.nn.pooling_resize import ResizeOp as ResizeOp
from ranvier.dialects.nn.recurrent import GruOp as GruOp
from ranvier.dialects.nn.recurrent import LstmOp as LstmOp
from ranvier.dialects.nn.recurrent import RnnOp as RnnOp
from ranvier.dialects.nn.reduction import ArgMaxOp as ArgMaxOp
from ranvier.dialects.nn.reduction import ArgMinOp as ArgMinOp
from ranvier.dialects.nn.reduction import CumProdOp as CumProdOp
from ranvier.dialects.nn.reduction import CumSumOp as CumSumOp
from ranvier.dialects.nn.reduction import ReduceL1Op as ReduceL1Op
from ranvier.dialects.nn.reduction import ReduceL2Op as ReduceL2Op
from ranvier.dialects.nn.reduction import ReduceLogSumExpOp as ReduceLogSumExpOp
from ranvier.dialects.nn.reduction import ReduceMaxOp as ReduceMaxOp
from ranvier.dialects.nn.reduction import ReduceMeanOp as ReduceMeanOp
from ranvier.dialects.nn.reduction import ReduceMinOp as ReduceMinOp
from ranvier.dialects.nn.reduction import ReduceProdOp as ReduceProdOp
from ranvier.dialects.nn.reduction import ReduceSumOp as ReduceSumOp
from ranvier.dialects.nn.reduction import ReduceSumSquareOp as ReduceSumSquareOp
from ranvier.dialects.nn.shape import BroadcastOp as BroadcastOp
from ranvier.dialects.nn.shape import ConcatOp as ConcatOp
from ranvier.dialects.nn.shape import PadOp as PadOp
from ranvier.dialects.nn.shape import ReshapeOp as ReshapeOp
from ranvier.dialects.nn.shape import SliceOp as SliceOp
from ranvier.dialects.nn.shape import TransposeOp as TransposeOp
from ranvier.dialects.nn.shape import TriluOp as TriluOp

FAMILIES = (
    constant,
    elementwise,
    elementwise_math,
    elementwise_activation,
    contraction,
    reduction,
    normalization,
    pooling,
    pooling_resize,
    shape,
    indexing,
    indexing_scatter,
    recurrent,
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
