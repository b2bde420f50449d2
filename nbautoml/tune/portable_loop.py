"""The part of a plain PyTorch cell that trains: settings, loss, metric and loop, written out."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nbautoml.spec.data import DataSpec
from nbautoml.spec.fit import FitSettings
from nbautoml.spec.objective import Objective
from nbautoml.train.batches import eval_batch_size
from nbautoml.train.optimizers import optimizer_call
from nbautoml.train.precision import MIXED_FROM
from nbautoml.tune.portable_loss import ONE_SCORE, class_weight_lines, loss_code

__all__ = ["Loop", "loop_code"]


@dataclass(frozen=True, kw_only=True)
class Loop:
    """What is written out.

    Attributes:
        source: the module's code, to see what it needs (lazy layers, random numbers ...).
        build: the expression that makes the module.
        loss: name of the user's own loss in the source, or "".
        n_epochs: how many are trained; the settings' epochs still shape the schedule.
    """

    source: str
    build: str
    settings: FitSettings
    data: DataSpec
    objective: Objective
    seed: int
    loss: str = ""
    n_epochs: int
    device: str = "cpu"

    @property
    def device_type(self) -> str:
        """Such as "cpu", "cuda" or "mps"."""
        return self.device.partition(":")[0]

    @property
    def autocast(self) -> str:
        """The context of mixed precision, or ""; `_mixed` says when it is on."""
        how = f'"{self.device_type}", dtype=torch.bfloat16'
        if self.settings.amp == "auto" and self.device_type == "cuda":
            return f"torch.autocast({how}, enabled=is_mixed)"
        return f"torch.autocast({how})" if self.settings.amp is True else ""

    @property
    def draws_numbers(self) -> bool:
        """Whether the code draws from Python's or NumPy's generators."""
        return re.search(r"\brandom\b", self.source) is not None


def loop_code(loop: Loop) -> str:
    """``loss_of``, ``metric_of``, ``lr_at`` where the rate varies, and ``train()``."""
    parts = [loss_code(loop), _metric(loop)]
    if loop.settings.schedule is not None or loop.settings.warmup:
        parts.append(_rate(loop.settings))
    if loop.data.layout != "single":
        parts.insert(0, _TAKE[loop.data.layout])
    return "\n\n\n".join([*parts, _train(loop)])


_TAKE = {
    "tuple": """\
def take(inputs, rows):
    return tuple(value[rows] for value in inputs)""",
    "dict": """\
def take(inputs, rows):
    return {name: value[rows] for name, value in inputs.items()}""",
}


def _metric(loop: Loop) -> str:
    task, name = loop.data.task, loop.objective.metric
    n_classes = len(loop.data.classes)
    if name == "loss":
        lines = ["return loss_of(output, target).item()"]
    elif task == "regression":
        lines = [
            "output, target = output.double().reshape(target.shape), target.double()",
            {
                "mae": "return (output - target).abs().mean().item()",
                "rmse": "return (output - target).square().mean().sqrt().item()",
                "r2": "rest = (output - target).square().sum(0)\n"
                "    return (1 - rest / (target - target.mean(0)).square().sum(0)).mean().item()",
            }[name],
        ]
    else:
        lines = [*_scores(loop), *_class_metric(name, task, n_classes)]
    return "\n".join(["def metric_of(output, target):", *(f"    {line}" for line in lines)])


def _scores(loop: Loop) -> list[str]:
    """Lines that bind ``scores``, and ``yes`` where a score stands for one class."""
    task = loop.data.task
    if task == "multiclass":
        return []
    cut = f"0.5 if isinstance({loop.loss}, nn.BCELoss) else 0.0" if loop.loss else "0.0"
    if task == "multilabel":
        return [
            "scores, target = output.reshape(target.shape), target > 0",
            f"yes = scores > {cut}",
        ]
    return [
        f"two = {ONE_SCORE}",
        "scores = output[:, 1] - output[:, 0] if two else output.reshape(target.shape)",
        f"yes = scores > ({cut})" if loop.loss else "yes = scores > 0",
    ]


def _class_metric(name: str, task: str, n_classes: int) -> list[str]:
    if name == "accuracy":
        guess = "output.argmax(1)" if task == "multiclass" else "yes"
        return [f"return ({guess} == target).double().mean().item()"]
    if name == "auroc":
        return _auroc(task, n_classes)
    if task == "multilabel":
        pairs = "zip(yes.T, target.T)"
    else:
        guess = "output.argmax(1)" if task == "multiclass" else "yes.long()"
        pairs = f"[({guess} == label, target == label) for label in range({n_classes})]"
    value = {
        "precision": "hits / max(hits + false, 1)",
        "recall": "hits / max(hits + missed, 1)",
        "f1": "2 * hits / (2 * hits + missed + false)",
    }[name]
    return [
        "values = []",
        f"for guess, truth in {pairs}:",
        "    hits, missed, false = (guess & truth).sum(), (~guess & truth).sum(), (guess & ~truth).sum()",
        "    hits, missed, false = hits.item(), missed.item(), false.item()",
        "    if hits + missed + false:",
        f"        values.append({value})",
        "return sum(values) / len(values)",
    ]


def _auroc(task: str, n_classes: int) -> list[str]:
    if task == "binary":
        return ["return float(roc_auc_score(target.cpu(), scores.cpu()))"]
    if task == "multilabel":
        pairs = "zip(target.T.cpu(), scores.T.cpu())"
        lines = []
    else:
        lines = ["scores = output.double().softmax(1)"]
        pairs = (
            f"[((target == label).cpu(), scores[:, label].cpu()) for label in range({n_classes})]"
        )
    return [
        *lines,
        f"pairs = {pairs}",
        "values = [roc_auc_score(t, s) for t, s in pairs if 0 < t.sum() < len(t)]",
        "return float(sum(values) / len(values))",
    ]


def _rate(settings: FitSettings) -> str:
    head = "def lr_at(step, n_steps):"
    if settings.schedule == "onecycle":
        rise = settings.warmup or 0.3
        lines = [
            f"done, top, last = step - 1, {rise} * n_steps - 1.0, n_steps - 1.0",
            "if done <= top:",
            "    start, end, share = 1 / 25.0, 1.0, done / top if top > 0 else 1.0",
            "else:",
            "    start, end = 1.0, 1 / (25.0 * 1e4)",
            "    share = (done - top) / (last - top) if last > top else 0.0",
            "factor = end + (start - end) / 2.0 * (1.0 + math.cos(math.pi * share))",
            f"return {settings.lr!r} * factor",
        ]
        return "\n".join([head, *(f"    {line}" for line in lines)])
    factor = {
        None: "1.0",
        "cosine": "0.5 * (1.0 + math.cos(math.pi * done / n_steps))",
        "linear": "(1.0 - done / n_steps)",
        "step": "0.1 ** (done // math.ceil(n_steps / 3))",
    }[settings.schedule]
    lines = ["done = step - 1"]
    if settings.warmup:
        lines += [
            f"n_warm = round({settings.warmup!r} * n_steps)",
            "if done < n_warm:",
            f"    return {settings.lr!r} * ((done + 1) / n_warm)",
            "done, n_steps = done - n_warm, n_steps - n_warm",
        ]
    lines.append(f"return {settings.lr!r} * ({factor})")
    return "\n".join([head, *(f"    {line}" for line in lines)])


def _train(loop: Loop) -> str:
    lines = [
        *_seeds(loop, "SEED", is_first=True),
        f"model = {loop.build}" + (".to(device)" if loop.device != "cpu" else ""),
        *_lazy(loop),
        *_mixed(loop),
        *_channels_last(loop),
        f"optimizer = {_optimizer(loop)}",
        *class_weight_lines(loop),
        *_batches(loop),
        "best, weights, step = None, None, 0",
        f"for epoch in range(1, {loop.n_epochs + 1}):",
        *(f"    {line}" for line in _epoch(loop)),
        "model.load_state_dict(weights)",
        f'print(f"best {loop.objective.metric}: {{best:.6g}}")',
        "return model",
    ]
    return "\n".join(
        ["def train(x_train, y_train, x_valid, y_valid):", *(f"    {line}" for line in lines)]
    )


def _batches(loop: Loop) -> list[str]:
    """How many batches an epoch has; batch norm cannot take a last one of a single sample."""
    size, n = loop.settings.batch_size, loop.data.n_train
    n_batches = -(-n // size)
    if not (n > size > 1 and n % size == 1):
        return [f"n_batches = {n_batches}"]
    return [
        "norms = nn.modules.batchnorm._BatchNorm",
        "has_norm = any(isinstance(layer, norms) for layer in model.modules())",
        f"n_batches = {n_batches - 1} if has_norm else {n_batches}  # no batch of one for a norm",
    ]


def _seeds(loop: Loop, value: str, *, is_first: bool = False) -> list[str]:
    lines = [f"torch.manual_seed({value})"] if is_first else []
    if loop.draws_numbers:
        lines += [f"random.seed({value})", f"np.random.seed(({value}) % 2**32)"]
    return lines


def _epoch(loop: Loop) -> list[str]:
    settings = loop.settings
    taken = "x_train[rows]" if loop.data.layout == "single" else "take(x_train, rows)"
    more = f", {settings.label_smoothing!r}" if settings.label_smoothing else ""
    more += ", weights=class_weights" if settings.class_balance else ""
    loss = f"loss_of({_call(loop, taken)}, y_train[rows]{more})"
    has_rate = settings.schedule is not None or bool(settings.warmup)
    inner = [
        "step += 1",
        "torch.manual_seed(SEED * 1_000_003 + 2 * step + 1)  # dropout",
    ]
    if has_rate:
        inner += [
            "for group in optimizer.param_groups:",
            f'    group["lr"] = lr_at(step, n_batches * {settings.epochs})',
        ]
    inner.append("optimizer.zero_grad()")
    inner += _within(loop.autocast, [f"loss = {loss}"])
    inner.append("loss.backward()")
    if settings.clip is not None:
        inner.append(f"nn.utils.clip_grad_norm_(model.parameters(), {settings.clip!r})")
    inner.append("optimizer.step()")
    sign = ">" if loop.objective.direction == "maximize" else "<"
    return [
        "model.train()",
        *_seeds(loop, "SEED * 1_000_003 + 2 * step + 3"),
        "generator = torch.Generator().manual_seed(SEED * 1_000_003 + 2 * epoch)",
        "order = torch.randperm(len(y_train), generator=generator)",
        f"for rows in order.split({settings.batch_size})[:n_batches]:",
        *(f"    {line}" for line in inner),
        *_evaluation(loop),
        f'print(f"epoch {{epoch}}: {loop.objective.metric} {{value:.6g}}")',
        f"if best is None or value {sign} best:",
        "    best, weights = value, copy.deepcopy(model.state_dict())",
    ]


def _evaluation(loop: Loop) -> list[str]:
    rows = eval_batch_size(loop.data, loop.settings.batch_size)
    if loop.data.layout == "single":
        each = f"{_call(loop, 'x')} for x in x_valid.split({rows})"
    else:
        each = (
            f"{_call(loop, 'take(x_valid, rows)')} "
            f"for rows in torch.arange(len(y_valid)).split({rows})"
        )
    context = ", ".join(filter(None, ["torch.no_grad()", loop.autocast]))
    return [
        "model.eval()",
        f"with {context}:",
        f"    output = torch.cat([{each}])",
        "    value = metric_of(output, y_valid)",
    ]


def _call(loop: Loop, inputs: str) -> str:
    stars = {"single": "", "tuple": "*", "dict": "**"}[loop.data.layout]
    return f"model({stars}{inputs})"


def _within(context: str, lines: list[str]) -> list[str]:
    return [f"with {context}:", *(f"    {line}" for line in lines)] if context else lines


def _optimizer(loop: Loop) -> str:
    name, arguments = optimizer_call(loop.settings, loop.device_type)
    if "sparse=True" in loop.source:
        arguments.pop("fused", None)
    said = "".join(f", {key}={value!r}" for key, value in arguments.items())
    return f"torch.optim.{name}(model.parameters(){said})"


def _lazy(loop: Loop) -> list[str]:
    if "Lazy" not in loop.source:
        return []
    rows = f"slice({loop.settings.batch_size})"
    taken = f"x_valid[{rows}]" if loop.data.layout == "single" else f"take(x_valid, {rows})"
    return [
        "with torch.no_grad():",
        f"    {_call(loop, taken).replace('model(', 'model.eval()(', 1)}  # lazy layers get shapes",
    ]


def _mixed(loop: Loop) -> list[str]:
    """What a fit that chooses its precision on a GPU goes by; none of these lines where it has no choice."""
    if "is_mixed" not in loop.autocast:
        return []
    return [
        "n_weights = sum(weight.numel() for weight in model.parameters())",
        f"is_mixed = n_weights >= {MIXED_FROM:_} and torch.cuda.is_bf16_supported(including_emulation=False)",
    ]


def _channels_last(loop: Loop) -> list[str]:
    """The layout that a fit chooses for convolutions: rounding differs between layouts."""
    may_convolve = re.search(r"Conv|torchvision|timm", loop.source) is not None
    if not may_convolve or (loop.device_type != "cpu" and not loop.autocast):
        return []
    rows = f"slice({loop.settings.batch_size})"
    taken = f"x_train[{rows}]" if loop.data.layout == "single" else f"take(x_train, {rows})"
    call = _call(loop, taken).replace("model(", "twin(", 1)
    only = "is_mixed and " if _mixed(loop) else ""
    return [
        f"if {only}any(isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) for layer in model.modules()):",
        "    try:  # a faster layout, where forward bears it",
        "        twin = copy.deepcopy(model).to(memory_format=torch.channels_last).train()",
        f"        loss_of({call}, y_train[{rows}]).backward()",
        "        model = model.to(memory_format=torch.channels_last)",
        "    except Exception:",
        "        pass",
    ]
