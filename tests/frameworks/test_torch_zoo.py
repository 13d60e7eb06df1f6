"""Models that people compile, traced with the defaults: outputs, and the share of the machine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import zoo
from measures import relative_error
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import ranvier.torch

# torch's own bf16 is the yardstick, as for exported models: we round in other places, so that up to
# twice its error is rounding; a wrong layout, a missing bias or a swapped head costs about 1.
TIMES_TORCH = 2
SHARE = 98.0

CLASSIFIERS = (
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "inception_v3",
    "mnasnet1_0",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "resnet18",
    "resnet50",
    "shufflenet_v2_x1_0",
    "squeezenet1_1",
    "swin_t",
    "vgg16",
    "vit_b_16",
)
TIMM = ("mixer_s16_224", "deit_tiny_patch16_224", "efficientvit_b0", "nfnet_l0")
OTHERS = ("bert_base", "distilbert", "gpt2", "t5_encoder", "unet", "lstm_lm", "gru_lm")


@dataclass(frozen=True)
class Case:
    """A model in eval mode, and inputs from a seed."""

    model: nn.Module
    inputs: Callable[[int], tuple[Tensor, ...]]


def classifier(name: str) -> Case:
    from torchvision import models

    torch.manual_seed(0)
    size = 299 if name == "inception_v3" else 224  # its auxiliary head needs that much
    draw = zoo.image(1, 3, size, size)
    settings = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    model = zoo.calibrated(models.get_model(name, weights=None, **settings), draw)
    return Case(model, lambda seed: tuple(draw(seed).values()))


def of_timm(name: str) -> Case:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    draw = zoo.image(1, 3, 224, 224)
    model = zoo.calibrated(timm.create_model(name, pretrained=False), draw)
    return Case(model, lambda seed: tuple(draw(seed).values()))


def of_zoo(name: str) -> Case:
    torch.manual_seed(0)
    entry = zoo.ZOO[name]
    return Case(entry.build().eval(), lambda seed: tuple(entry.inputs(seed).values()))


def whisper_encoder() -> Case:
    import transformers

    class Encoder(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x, return_dict=False)[0]

    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        d_model=384, encoder_layers=2, encoder_attention_heads=6, encoder_ffn_dim=1536
    )
    model = Encoder(transformers.WhisperModel(config).encoder).eval()

    def inputs(seed: int) -> tuple[Tensor, ...]:
        return (torch.randn(1, 80, 3000, generator=torch.Generator().manual_seed(seed)),)

    return Case(model, inputs)


def llama() -> Case:
    import transformers

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=1000,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        use_cache=False,
    )
    model = zoo.FirstOutput(transformers.LlamaForCausalLM(config)).eval()
    draw = zoo.tokens(1, 32, 1000, mask=False)
    return Case(model, lambda seed: tuple(draw(seed).values()))


def vit() -> Case:
    import transformers

    torch.manual_seed(0)
    model = transformers.ViTModel(transformers.ViTConfig(num_hidden_layers=4)).eval()
    draw = zoo.image(1, 3, 224, 224)
    return Case(model, lambda seed: tuple(draw(seed).values()))


BUILDERS: dict[str, Callable[[], Case]] = {
    **{name: (lambda name=name: classifier(name)) for name in CLASSIFIERS},
    **{name: (lambda name=name: of_timm(name)) for name in TIMM},
    **{name: (lambda name=name: of_zoo(name)) for name in OTHERS},
    "hf_vit": vit,
    "whisper_encoder": whisper_encoder,
    "llama": llama,
}


QUICK = ("squeezenet1_1", "lstm_lm", "gru_lm")


def first(value: Any) -> Tensor:
    return pytree.tree_leaves(value)[0].float()


def bf16_error(case: Case, inputs: tuple[Tensor, ...], expected: Tensor) -> float:
    """What bf16 costs the model in torch itself."""
    model = case.model.bfloat16()
    with contextlib.ExitStack() as stack:
        stack.callback(case.model.float)
        given = [x.bfloat16() if x.is_floating_point() else x for x in inputs]
        return relative_error(first(model(*given)).numpy(), expected.numpy())


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.slow]) for n in BUILDERS],
)
def test_models_run_on_the_machine(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    case = BUILDERS[name]()
    inputs = case.inputs(1)
    with torch.no_grad():
        traced = ranvier.torch.trace(case.model, case.inputs(0), strict=False)
        actual, expected = first(traced(*inputs)), first(case.model(*inputs))
        other = first(case.model(*case.inputs(2)))
        assert relative_error(other.numpy(), expected.numpy()) > 0.05  # the input matters
        allowed = TIMES_TORCH * bf16_error(case, inputs, expected)
    explanation = ranvier.torch.explain(case.model.float(), case.inputs(0))
    on_machine = sum(op["placement"] == "neuron" for op in explanation.ops)
    share = 100 * on_machine / len(explanation.ops)
    wrong = relative_error(actual.numpy(), expected.numpy())
    with capsys.disabled():
        print(
            f"\n{name}: {on_machine} of {len(explanation.ops)} operators ({share:.1f}%) in "
            f"{len(explanation.segments)} segments, error {wrong:.4f}, allowed {allowed:.4f}"
        )
        for op in explanation.ops:
            if op["placement"] == "host":
                print(f"    {op['framework_op']}: {op['reason']} [{op['code']}]")
    assert wrong < allowed
    assert share >= SHARE
