"""Backbones: linen modules `(image [B,H,W,C], train) -> features [B,h,w,D]`."""

from __future__ import annotations

from partrep.models.backbones.cifar_resnet import CifarResNet
from partrep.models.backbones.conv4 import Conv4
from partrep.models.backbones.convnet import ConvNet
from partrep.models.backbones.convnext import ConvNeXtTiny
from partrep.models.backbones.mobilenetv2 import MobileNetV2
from partrep.models.backbones.patchnet import PatchNet
from partrep.models.backbones.resnet import ResNet12, ResNet18, ResNet34, ResNet50, ResNet101
from partrep.models.backbones.vit import ViT

BACKBONES = {
    "cifar_resnet": CifarResNet,
    "conv4": Conv4,
    "convnet": ConvNet,
    "convnext_tiny": ConvNeXtTiny,
    "mobilenetv2": MobileNetV2,
    "patchnet": PatchNet,
    "resnet12": ResNet12,
    "resnet18": ResNet18,
    "resnet34": ResNet34,
    "resnet50": ResNet50,
    "resnet101": ResNet101,
    "vit": ViT,
}
