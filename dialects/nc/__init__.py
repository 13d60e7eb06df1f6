"""The `nc` dialect: what the machine does. One op is one documented instruction.

`NC` is the dialect; `INSTRUCTIONS` maps the opcodes of program files to op classes.
"""

from xdsl.ir import Dialect, Operation

from ranvier.dialects.nc import act, dma, dve, pe, structure
from ranvier.dialects.nc.access import Access as Access
from ranvier.dialects.nc.access import AccessesAttr as AccessesAttr
from ranvier.dialects.nc.act import ActivationOp as ActivationOp
from ranvier.dialects.nc.dma import DmaOp as DmaOp
from ranvier.dialects.nc.dma import GatherOp as GatherOp
from ranvier.dialects.nc.dma import ReceiveOp as ReceiveOp
from ranvier.dialects.nc.dma import ScatterOp as ScatterOp
from ranvier.dialects.nc.dma import SendOp as SendOp
from ranvier.dialects.nc.dve import CopyOp as CopyOp
from ranvier.dialects.nc.dve import CopyPredicatedOp as CopyPredicatedOp
from ranvier.dialects.nc.dve import MemsetOp as MemsetOp
from ranvier.dialects.nc.dve import ReciprocalOp as ReciprocalOp
from ranvier.dialects.nc.dve import ReduceOp as ReduceOp
from ranvier.dialects.nc.dve import ScalarTensorTensorOp as ScalarTensorTensorOp
from ranvier.dialects.nc.dve import TensorScalarOp as TensorScalarOp
from ranvier.dialects.nc.dve import TensorTensorOp as TensorTensorOp
from ranvier.dialects.nc.instruction import InstructionOp as InstructionOp
from ranvier.dialects.nc.pe import MatmulOp as MatmulOp
from ranvier.dialects.nc.pe import TransposeOp as TransposeOp
from ranvier.dialects.nc.structure import AllocOp as AllocOp
from ranvier.dialects.nc.structure import CoreOp as CoreOp
from ranvier.dialects.nc.structure import LoopOp as LoopOp
from ranvier.dialects.nc.structure import ProgramOp as ProgramOp
from ranvier.dialects.nc.structure import TensorOp as TensorOp
from ranvier.dialects.nc.sync import Wait as Wait
from ranvier.dialects.nc.sync import WaitsAttr as WaitsAttr
from ranvier.dialects.nc.types import DramType as DramType
from ranvier.dialects.nc.types import PsumType as PsumType
from ranvier.dialects.nc.types import SbufType as SbufType

OPS: tuple[type[Operation], ...] = tuple(
    op
    for part in (structure, pe, act, dve, dma)
    for op in vars(part).values()
    if isinstance(op, type)
    and issubclass(op, Operation)
    and op.__module__ == part.__name__
    and isinstance(getattr(op, "name", None), str)
)

INSTRUCTIONS: dict[int, type[InstructionOp]] = {
    op.OPCODE: op for op in OPS if issubclass(op, InstructionOp)
}

NC = Dialect("nc", list(OPS), [DramType, SbufType, PsumType, AccessesAttr, WaitsAttr])
