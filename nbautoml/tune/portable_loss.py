"""The loss of a plain PyTorch cell, written out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbautoml.train.losses import default_loss

if TYPE_CHECKING:
    from nbautoml.tune.portable_loop import Loop

__all__ = ["ONE_SCORE", "class_weight_lines", "loss_code"]

ONE_SCORE = "output.ndim == 2 and output.shape[1] == 2"


def loss_code(loop: Loop) -> str:
    """The function ``loss_of``."""
    settings = loop.settings
    extra = ", smoothing=0.0" if settings.label_smoothing else ""
    if loop.loss:
        lines = _own_loss(loop)
    elif settings.class_balance:
        extra += ", weights=None"
        lines = _weighted_loss(loop, bool(settings.label_smoothing))
    else:
        lines = _named_loss(loop, bool(settings.label_smoothing))
    return "\n".join([f"def loss_of(output, target{extra}):", *(f"    {line}" for line in lines)])


def _own_loss(loop: Loop) -> list[str]:
    task = loop.data.task
    if task == "multiclass":
        return [f"return {loop.loss}(output, target)"]
    if task == "binary":
        return [
            f"if {ONE_SCORE}:",
            f"    return {loop.loss}(output, target)",
            f"return {loop.loss}(output.reshape(target.shape), target.to(output.dtype))",
        ]
    return [f"return {loop.loss}(output.reshape(target.shape), target)"]


def _named_loss(loop: Loop, is_smooth: bool) -> list[str]:
    task, name = loop.data.task, loop.settings.loss or default_loss(loop.data.task)
    smooth = ", label_smoothing=smoothing" if is_smooth else ""
    if name == "nll":
        lines = ["loss = nn.functional.nll_loss(output, target)"]
        if is_smooth:
            lines.append("loss = (1.0 - smoothing) * loss - smoothing * output.mean()")
        return [*lines, "return loss"]
    if task == "multiclass":
        return [f"return nn.functional.cross_entropy(output, target{smooth})"]
    if task == "regression":
        function = {"mse": "mse_loss", "mae": "l1_loss", "huber": "huber_loss"}[name]
        return [f"return nn.functional.{function}(output.reshape(target.shape), target)"]
    lines = []
    if task == "binary":
        lines = [
            f"if {ONE_SCORE}:",
            f"    return nn.functional.cross_entropy(output, target{smooth})",
            "target = target.to(output.dtype)",
        ]
    if is_smooth:
        lines.append("target = target * (1.0 - smoothing) + smoothing / 2.0")
    lines.append("output = output.reshape(target.shape)")
    return [*lines, "return nn.functional.binary_cross_entropy_with_logits(output, target)"]


def _weighted_loss(loop: Loop, is_smooth: bool) -> list[str]:
    """Rows weigh as their classes do, in training; all are alike in validation."""
    task, name = loop.data.task, loop.settings.loss or default_loss(loop.data.task)
    smooth = ", label_smoothing=smoothing" if is_smooth else ""
    plain = f'rows = nn.functional.cross_entropy(output, target{smooth}, reduction="none")'
    if name == "nll":
        lines = ['rows = nn.functional.nll_loss(output, target, reduction="none")']
        if is_smooth:
            lines.append("rows = (1.0 - smoothing) * rows - smoothing * output.mean(1)")
    elif task == "multiclass":
        lines = [plain]
    else:
        smoothed = "target * (1.0 - smoothing) + smoothing / 2.0" if is_smooth else "target"
        function = "nn.functional.binary_cross_entropy_with_logits"
        lines = [
            f"if {ONE_SCORE}:",
            f"    {plain}",
            "else:",
            "    target = target.to(output.dtype)",
            f"    output, wanted = output.reshape(target.shape), {smoothed}",
            f'    rows = {function}(output, wanted, reduction="none")',
        ]
    return [*lines, "return (rows if weights is None else weights[target.long()] * rows).mean()"]


def class_weight_lines(loop: Loop) -> list[str]:
    """What rows of each class weigh, 1 on average; nothing where all are alike."""
    balance, n_classes = loop.settings.class_balance, len(loop.data.classes)
    if not balance:
        return []
    return [
        f"counts = torch.bincount(y_train.flatten().long(), minlength={n_classes}).double()",
        f"class_weights = torch.where(counts > 0, counts.clamp(min=1.0) ** -{balance!r}, 0.0)",
        "class_weights = class_weights * counts.sum() / (class_weights * counts).sum()",
        "class_weights = class_weights.float()",
    ]
