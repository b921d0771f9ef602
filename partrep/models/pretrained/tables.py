"""Names of layers in torchvision, timm and the files of DINO and DINOv2, and where they go here."""

from __future__ import annotations

from partrep.models.pretrained.convert import Row, Table


def _block(prefix: str, module: str, *rows: tuple[str, str, str]) -> Table:
    """The rows of the layers in a block, whose number, of all blocks, is that of our module."""
    return tuple(Row(rf"{prefix}\.{name}", f"{module}_{{n}}/{ours}", kind) for name, ours, kind in rows)


MOBILENETV2_TIMM: Table = (
    Row("conv_stem", "first", "conv"),
    Row("bn1", "BatchNorm_0", "batch norm"),
    *_block(  # the first block does not expand
        r"blocks\.(?P<stage>0)\.(?P<block>0)",
        "InvertedResidual",
        ("conv_dw", "depthwise", "conv"),
        ("bn1", "BatchNorm_0", "batch norm"),
        ("conv_pw", "Conv_0", "conv"),
        ("bn2", "BatchNorm_1", "batch norm"),
    ),
    *_block(
        r"blocks\.(?P<stage>\d+)\.(?P<block>\d+)",
        "InvertedResidual",
        ("conv_pw", "Conv_0", "conv"),
        ("bn1", "BatchNorm_0", "batch norm"),
        ("conv_dw", "depthwise", "conv"),
        ("bn2", "BatchNorm_1", "batch norm"),
        ("conv_pwl", "Conv_1", "conv"),
        ("bn3", "BatchNorm_2", "batch norm"),
    ),
    Row("conv_head", "Conv_0", "conv"),
    Row("bn2", "BatchNorm_1", "batch norm"),
    Row("classifier", "classifier", "linear"),
)
MOBILENETV2_TORCHVISION: Table = (
    Row(r"features\.0\.0", "first", "conv"),
    Row(r"features\.0\.1", "BatchNorm_0", "batch norm"),
    *_block(
        r"features\.(?P<block>1)\.conv",
        "InvertedResidual",
        (r"0\.0", "depthwise", "conv"),
        (r"0\.1", "BatchNorm_0", "batch norm"),
        ("1", "Conv_0", "conv"),
        ("2", "BatchNorm_1", "batch norm"),
    ),
    *_block(
        r"features\.(?P<block>\d+)\.conv",
        "InvertedResidual",
        (r"0\.0", "Conv_0", "conv"),
        (r"0\.1", "BatchNorm_0", "batch norm"),
        (r"1\.0", "depthwise", "conv"),
        (r"1\.1", "BatchNorm_1", "batch norm"),
        ("2", "Conv_1", "conv"),
        ("3", "BatchNorm_2", "batch norm"),
    ),
    Row(r"features\.\d+\.0", "Conv_0", "conv"),
    Row(r"features\.\d+\.1", "BatchNorm_1", "batch norm"),
    Row(r"classifier\.1", "classifier", "linear"),
)
RESNET_BASIC: Table = (
    Row("conv1", "Conv_0", "conv"),
    Row("bn1", "BatchNorm_0", "batch norm"),
    *_block(
        r"layer(?P<stage>\d+)\.(?P<block>\d+)",
        "BasicBlock",
        ("conv1", "Conv_0", "conv"),
        ("bn1", "BatchNorm_0", "batch norm"),
        ("conv2", "Conv_1", "conv"),
        ("bn2", "BatchNorm_1", "batch norm"),
        (r"downsample\.0", "Conv_2", "conv"),
        (r"downsample\.1", "BatchNorm_2", "batch norm"),
    ),
    Row("fc", "classifier", "linear"),
)
RESNET_BOTTLENECK: Table = (
    Row("conv1", "Conv_0", "conv"),
    Row("bn1", "BatchNorm_0", "batch norm"),
    *_block(
        r"layer(?P<stage>\d+)\.(?P<block>\d+)",
        "BottleneckBlock",
        ("conv1", "Conv_0", "conv"),
        ("bn1", "BatchNorm_0", "batch norm"),
        ("conv2", "Conv_1", "conv"),
        ("bn2", "BatchNorm_1", "batch norm"),
        ("conv3", "Conv_2", "conv"),
        ("bn3", "BatchNorm_2", "batch norm"),
        (r"downsample\.0", "Conv_3", "conv"),
        (r"downsample\.1", "BatchNorm_3", "batch norm"),
    ),
    Row("fc", "classifier", "linear"),
)
CIFAR_RESNET: Table = (
    Row("conv1", "Conv_0", "conv"),
    Row("bn1", "BatchNorm_0", "batch norm"),
    *_block(
        r"layer(?P<stage>\d+)\.(?P<block>\d+)",
        "PaddedBlock",
        ("conv1", "Conv_0", "conv"),
        ("bn1", "BatchNorm_0", "batch norm"),
        ("conv2", "Conv_1", "conv"),
        ("bn2", "BatchNorm_1", "batch norm"),
    ),
    Row("linear", "classifier", "linear"),
)
CONVNEXT_TORCHVISION: Table = (
    Row(r"features\.0\.0", "stem", "conv"),
    Row(r"features\.0\.1", "stem_norm", "norm"),
    Row(r"features\.(?P<down>\d+)\.0", "down{n}_norm", "norm"),
    Row(r"features\.(?P<down>\d+)\.1", "down{n}", "conv"),
    *_block(
        r"features\.(?P<stage>\d+)\.(?P<block>\d+)",
        "ConvNeXtBlock",
        (r"block\.0", "depthwise", "conv"),
        (r"block\.2", "norm", "norm"),
        (r"block\.3", "wide", "linear"),
        (r"block\.5", "narrow", "linear"),
        ("layer_scale", "layer_scale", "flat"),
    ),
    Row(r"classifier\.0", "classifier/norm", "norm"),
    Row(r"classifier\.2", "classifier", "linear"),
)
CONVNEXT_TIMM: Table = (
    Row(r"stem\.0", "stem", "conv"),
    Row(r"stem\.1", "stem_norm", "norm"),
    Row(r"stages\.(?P<down>\d+)\.downsample\.0", "down{n}_norm", "norm"),
    Row(r"stages\.(?P<down>\d+)\.downsample\.1", "down{n}", "conv"),
    *_block(
        r"stages\.(?P<stage>\d+)\.blocks\.(?P<block>\d+)",
        "ConvNeXtBlock",
        ("conv_dw", "depthwise", "conv"),
        ("norm", "norm", "norm"),
        (r"mlp\.fc1", "wide", "linear"),
        (r"mlp\.fc2", "narrow", "linear"),
        ("gamma", "layer_scale", "flat"),
    ),
    Row(r"head\.norm", "classifier/norm", "norm"),
    Row(r"head\.fc", "classifier", "linear"),
)
VIT_TIMM: Table = (  # DINO and DINOv2 have these names too
    Row("cls_token", "cls_token", "same"),
    Row("pos_embed", "position_embedding", "same"),
    Row("reg_token|register_tokens", "register_tokens", "same"),
    Row(r"patch_embed\.proj", "patch_embedding", "patches"),
    *_block(
        r"blocks\.(?P<block>\d+)",
        "ViTBlock",
        ("norm1", "norm1", "norm"),
        (r"attn\.qkv", "qkv", "linear"),
        (r"attn\.proj", "projection", "linear"),
        (r"ls1\.gamma", "layer_scale1", "same"),
        ("norm2", "norm2", "norm"),
        (r"mlp\.fc1", "wide", "linear"),
        (r"mlp\.fc2", "narrow", "linear"),
        (r"ls2\.gamma", "layer_scale2", "same"),
    ),
    Row("norm", "norm", "norm"),
    Row("head", "classifier", "linear"),
    Row(r"mask_token", None, "same"),  # of DINOv2's training
    Row(r"(head|dino_head|ibot_head)\.(mlp|last_layer)\..*", None, "same"),  # of DINO's and DINOv2's training
)
VIT_TORCHVISION: Table = (
    Row("class_token", "cls_token", "same"),
    Row(r"encoder\.pos_embedding", "position_embedding", "same"),
    Row("conv_proj", "patch_embedding", "patches"),
    *_block(
        r"encoder\.layers\.encoder_layer_(?P<block>\d+)",
        "ViTBlock",
        ("ln_1", "norm1", "norm"),
        (r"self_attention\.in_proj_weight", "qkv/kernel", "transposed"),
        (r"self_attention\.in_proj_bias", "qkv/bias", "same"),
        (r"self_attention\.out_proj", "projection", "linear"),
        ("ln_2", "norm2", "norm"),
        (r"mlp\.(0|linear_1)", "wide", "linear"),
        (r"mlp\.(3|linear_2)", "narrow", "linear"),
    ),
    Row(r"encoder\.ln", "norm", "norm"),
    Row(r"heads\.head", "classifier", "linear"),
)
