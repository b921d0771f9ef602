"""Networks of torchvision and timm with random weights, full and tiny; needs the extra `parity`."""

from __future__ import annotations

import timm
import torch
import torchvision.models as tv
from timm.models.convnext import ConvNeXt as TimmConvNeXt
from timm.models.vision_transformer import VisionTransformer as TimmViT
from torch import nn
from torch.nn import functional
from torchvision.models import convnext, mobilenetv2, resnet, vision_transformer
from torchvision.ops.misc import Conv2dNormActivation

CLASSES = 5


def randomised(model: nn.Module, seed: int = 0, weights: bool = True) -> nn.Module:
    """Evaluation mode with nothing left at 0 or 1; with `weights=False` matrices keep their values but for 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("num_batches_tracked"):
                continue
            noise = torch.randn(value.shape, generator=generator)
            if name.endswith("running_var"):
                value.copy_(1 + noise.abs() / 4)
            elif "gamma" in name or "layer_scale" in name:
                value.copy_(0.3 + noise / 10)
            elif value.ndim == 1:
                value.copy_(value + noise / 10)
            elif weights or "token" in name or "pos" in name or not value.any():
                fan = max(1, value[0].numel())
                value.copy_(noise / (2 if "token" in name or "pos" in name else fan**0.5))
            value.copy_(value.half())  # so that the tiny networks can be stored as float16
    return model.eval()


class TinyResNet(resnet.ResNet):
    """Torchvision's, of four stages of few channels."""

    def __init__(self, block: type, layers: list[int]):
        super().__init__(block, [1, 1, 1, 1])
        self.inplanes = 4
        self.conv1 = nn.Conv2d(3, 4, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        for i, (width, depth) in enumerate(zip((4, 6, 6, 8), layers)):
            setattr(self, f"layer{i + 1}", self._make_layer(block, width, depth, 2 if i else 1))
        self.fc = nn.Linear(8 * block.expansion, CLASSES)


def tiny_mobilenet() -> nn.Module:
    """Torchvision's, of two blocks in the second stage and one in the others."""
    setting = [[1, 4, 1, 1], [6, 4, 2, 2], [6, 6, 1, 2], [6, 6, 1, 2], [6, 6, 1, 1], [6, 8, 1, 2], [6, 8, 1, 1]]
    model = mobilenetv2.MobileNetV2(CLASSES, 1 / 8, [[t, 8 * c, n, s] for t, c, n, s in setting], round_nearest=1)
    model.features[-1] = Conv2dNormActivation(8, 12, kernel_size=1, activation_layer=nn.ReLU6)
    model.classifier = nn.Sequential(nn.Dropout(), nn.Linear(12, CLASSES))
    return model


def tiny_convnext() -> nn.Module:
    """Torchvision's, of five blocks."""
    setting = [convnext.CNBlockConfig(*sizes) for sizes in ((4, 6, 1), (6, 6, 2), (6, 8, 1), (8, None, 1))]
    return convnext.ConvNeXt(setting, num_classes=CLASSES)


def tiny_vit(**fields: object) -> nn.Module:
    """Timm's, of two blocks, 4 px patches and 20 px images."""
    sizes = {"img_size": 20, "patch_size": 4, "embed_dim": 8, "depth": 2, "num_heads": 2, "num_classes": CLASSES}
    return TimmViT(**{**sizes, **fields})


TINY = {
    "mobilenetv2": tiny_mobilenet,
    "resnet_basic": lambda: TinyResNet(resnet.BasicBlock, [2, 1, 1, 1]),
    "resnet_bottleneck": lambda: TinyResNet(resnet.Bottleneck, [1, 2, 1, 1]),
    "convnext_torchvision": tiny_convnext,
    "convnext_timm": lambda: TimmConvNeXt(depths=(1, 2, 1, 1), dims=(4, 6, 6, 8), num_classes=CLASSES),
    "vit_timm": tiny_vit,
    "vit_torchvision": lambda: vision_transformer.VisionTransformer(20, 4, 2, 2, 8, 32, num_classes=CLASSES),
    "dino": lambda: tiny_vit(num_classes=0),
    "dinov2": lambda: tiny_vit(num_classes=0, init_values=1e-5),
    "dinov2_reg": lambda: tiny_vit(num_classes=0, init_values=1e-5, reg_tokens=4, no_embed_class=True),
}


def features(model: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """The map [B,h,w,D] that is pooled, or the patch tokens after the last norm; images [B,3,H,W]."""
    if isinstance(model, TimmViT):
        tokens = model.forward_features(image)[:, model.num_prefix_tokens :]
    elif isinstance(model, vision_transformer.VisionTransformer):
        x = model._process_input(image)
        tokens = model.encoder(torch.cat([model.class_token.expand(len(x), -1, -1), x], 1))[:, 1:]
    elif isinstance(model, resnet.ResNet):
        x = model.maxpool(model.relu(model.bn1(model.conv1(image))))
        return model.layer4(model.layer3(model.layer2(model.layer1(x)))).permute(0, 2, 3, 1)
    elif hasattr(model, "forward_features"):
        return model.forward_features(image).permute(0, 2, 3, 1)
    else:
        return model.features(image).permute(0, 2, 3, 1)
    side = round(tokens.shape[1] ** 0.5)
    return tokens.unflatten(1, (side, side))


def hub_names(model: TimmViT) -> dict[str, torch.Tensor]:
    """A state dict as DINOv2 hands it out: a position for the class token, other names, what training needs."""
    state = {name.replace("reg_token", "register_tokens"): value for name, value in model.state_dict().items()}
    if model.no_embed_class:
        first = -state["cls_token"]
        state["cls_token"] = state["cls_token"] - first  # exact in float16 too
        state["pos_embed"] = torch.cat([first, state["pos_embed"]], 1)
    return {**state, "mask_token": torch.zeros(1, state["cls_token"].shape[-1])}


def positions(grid: torch.Tensor, h: int, w: int, convention: str) -> torch.Tensor:
    """[G,G,D] -> [h,w,D] as the code of DINO and of DINOv2 without registers, or with them, calls PyTorch."""
    how = {"size": (h, w), "antialias": True}
    if convention == "offset":
        how = {"scale_factor": ((h + 0.1) / grid.shape[0], (w + 0.1) / grid.shape[1]), "antialias": False}
    return functional.interpolate(grid.permute(2, 0, 1)[None], mode="bicubic", **how)[0].permute(1, 2, 0)


def full(library: str, name: str, **fields: object) -> nn.Module:
    """A network of the published size."""
    return getattr(tv, name)() if library == "torchvision" else timm.create_model(name, **fields)
