"""The part of a plain PyTorch cell that makes tensors of the notebook's data.

It repeats what a snapshot did, step by step: rows without a target dropped, labels counted from
zero, pixels and tables scaled, columns encoded, and the same rows held back for validation.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from nbautoml.data import named_sets
from nbautoml.errors import RecipeError
from nbautoml.spec.data import DataSpec, InputSpec

__all__ = ["data_code", "load_call"]

_SPLIT = '''\
def split_rows(n_rows, labels=None):
    """Rows for training and for validation; each class gives its share."""
    n_valid = min(n_rows - 1, math.ceil(n_rows * {fraction}))
    order = np.random.RandomState({seed}).permutation(n_rows)
    if labels is None:
        return np.sort(order[n_valid:]), np.sort(order[:n_valid])
    order = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels)
    room, wanted = np.maximum(counts - 1, 0), counts * (n_valid / counts.sum())
    shares = np.minimum(np.floor(wanted).astype(np.int64), room)
    by_remainder = np.argsort(shares - wanted, kind="stable")
    while (left := n_valid - int(shares.sum())) > 0:
        open_classes = by_remainder[shares[by_remainder] < room[by_remainder]]
        if len(open_classes) == 0:
            break
        shares[open_classes[:left]] += 1
    rank = np.arange(n_rows) - np.repeat(np.cumsum(counts) - counts, counts)
    is_valid = rank < np.repeat(shares, counts)
    return np.sort(order[~is_valid]), np.sort(order[is_valid])
'''

_UNPACK = '''\
def unpack(value):
    """(X, y) of whatever form the data has."""
{frame}    if hasattr(value, "data") and hasattr(value, "target"):
        return value.data, value.target
    if isinstance(value, (tuple, list)):
        return value
    if isinstance(value, torch.utils.data.DataLoader):
        value = value.dataset
    if hasattr(value, "tensors"):
        return value.tensors
    inputs, labels = zip(*(value[row] for row in range(len(value))))
    inputs = np.stack([array(item) for item in inputs])
    return inputs, np.stack([array(item) for item in labels])
'''

_UNPACK_FRAME = """\
    if hasattr(value, "columns"):
        names = [name for name in value.columns if str(name) not in COLUMNS]
        value = value[value[names].notna().all(axis=1)]
        return value, value[names{pick}]
"""

_ENCODE = """\
# numbers with what stands in for a missing one; categories with their one-hot features
COLUMNS = {columns}


def encode(frame):
    features = []
    for name, how in COLUMNS.items():
        column = frame.iloc[:, [str(other) for other in frame.columns].index(name)]
        if isinstance(how, list):
            text = column.astype(object).map(str).where(column.notna())
            features += [(text == value).to_numpy() for value in how]
        else:
            features.append(column.astype("float64").fillna(how).to_numpy())
    return np.stack(features, axis=1).astype("float32")
"""

_ARRAY = '''\
def array(value):
    """A NumPy array of a tensor, a frame, a list or an array."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
'''

_READ_IDX = """\
def read_idx(kind):
    path = sorted(pathlib.Path({folder}).expanduser().glob(f"*train-{{kind}}*idx*"))[0]
    with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
        magic = file.read(4)
        shape = struct.unpack(f">{{magic[3]}}I", file.read(4 * magic[3]))
        return np.frombuffer(file.read(), dtype=np.uint8).reshape(shape)
"""


def data_code(data: DataSpec, text: str, meta: Mapping[str, Any] | None, device: str) -> str:
    """A function ``load_data`` -> ``x_train, y_train, x_valid, y_valid``, with its helpers.

    Data of the notebook is its argument, so that no name in it can hide one of the notebook's:
    `load_call` says how it is called.

    Args:
        data: what the run was trained on.
        text: how the data was said: an expression over the notebook's names, a named set, a
            folder of IDX files.
        meta: the snapshot's ``meta.json`` (`nbautoml.data.read_meta`): scales, encodings,
            labels. None takes the data as it is.
        device: where the tensors are to lie; "cpu" needs no words.
    """
    inputs = _inputs_meta(data, meta)
    source, load = _loading(data, text, inputs)
    body = [*load, *_converted(data, inputs, meta, source)]
    body += [f"assert len(y) == {data.n_rows}, 'this is not the data of the run'"]
    body += _split(data, inputs, source)
    if device != "cpu":
        body += _moved(data)
    body.append("return x_train, y_train, x_valid, y_valid")
    helpers = _helpers(data, inputs, source, text, [*load, *body])
    lines = "\n".join(f"    {line}" if line else "" for line in body)
    return "\n\n\n".join(
        [*helpers, f"def load_data({'given' if source == 'value' else ''}):\n{lines}\n"]
    )


def load_call(data: DataSpec, text: str, meta: Mapping[str, Any] | None) -> str:
    """How ``load_data`` is called: with the notebook's own data where it is the notebook's."""
    source, _ = _loading(data, text, _inputs_meta(data, meta))
    return f"load_data({_expression(text)[0]})" if source == "value" else "load_data()"


def _inputs_meta(data: DataSpec, meta: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    if meta is None:
        return [{"divisor": 1, "encoding": None} for _ in data.inputs]
    return list(meta["inputs"])


def _kind(item: Mapping[str, Any]) -> str:
    encoding = item.get("encoding")
    return str(encoding["kind"]) if encoding else ""


def _loading(data: DataSpec, text: str, inputs: list[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """Where the data comes from ("named", "folder", "value"), and the lines that bind X and y."""
    is_digits = text == "digits" and any("divided by 16" in note for note in data.notes)
    if text in named_sets() and (is_digits or _kind(inputs[0]) == "standardise"):
        scaled = "X = X / 16" if is_digits else 'X = X.astype("float32").astype("float64")'
        return "named", [f"X, y = datasets.load_{text}(return_X_y=True)", scaled]
    if any("images shaped" in note for note in data.notes):
        return "folder", [
            'X, y = read_idx("images"), read_idx("labels").astype("int64")',
            "X = X[:, None] if X.ndim == 3 else X",
        ]
    _, n_parts = _expression(text)
    is_frame = _kind(inputs[0]) == "frame"
    if data.is_split:
        return "value", [
            "X, y = given" if n_parts == 2 else "X, y = unpack(given)",
            *(
                ["X, y = X[keep := y.notna().to_numpy()], y[keep]"]
                if _drops(data, is_frame)
                else []
            ),
        ]
    if n_parts == 4:
        return "value", ["X, y, X_valid, y_valid = given"]
    return "value", [
        "pair = given if len(given) == 2 else (given[:2], given[2:])",
        "(X, y), (X_valid, y_valid) = unpack(pair[0]), unpack(pair[1])",
    ]


def _drops(data: DataSpec, is_frame: bool) -> bool:
    """Whether rows of a pandas pair (X, y) were left out because their target is missing."""
    return not is_frame and any("dropped: y is missing there" in note for note in data.notes)


def _expression(text: str) -> tuple[str, int]:
    """The data as an expression, and how many parts it has where it is written as a tuple.

    Printed anew from its tree, so that a text which was read from a file is one expression and
    cannot be anything else.
    """
    try:
        tree = ast.parse(text.strip() or "(X, y)", mode="eval")
    except (SyntaxError, ValueError) as error:
        raise RecipeError(
            f"the data of the run was said as {text[:80]!r}, which is no expression",
            hint="write the cell's load_data by hand",
        ) from error
    node = tree.body
    is_tuple = isinstance(node, ast.Tuple)
    parts = node.elts if isinstance(node, ast.Tuple) else []
    has_star = any(isinstance(part, ast.Starred) for part in parts)
    return ast.unparse(tree), len(parts) if is_tuple and not has_star else 0


def _converted(
    data: DataSpec, inputs: list[Mapping[str, Any]], meta: Mapping[str, Any] | None, source: str
) -> list[str]:
    lines = []
    parts = [("X", "y")] if data.is_split else [("X", "y"), ("X_valid", "y_valid")]
    for x, y in parts:
        if source != "named":
            lines.append(f"{x} = {_inputs(data, inputs, x)}")
        lines += _target(data, meta, y)
    return lines


def _inputs(data: DataSpec, inputs: list[Mapping[str, Any]], x: str) -> str:
    if data.layout == "single":
        return _input(data.inputs[0], inputs[0], x)
    by = [
        f"{x}[{at}]" if data.layout == "tuple" else f"{x}[{item.name!r}]"
        for at, item in enumerate(data.inputs)
    ]
    made = [
        _input(spec, item, value) for spec, item, value in zip(data.inputs, inputs, by, strict=True)
    ]
    if data.layout == "tuple":
        return f"({', '.join(made)},)"
    pairs = zip(data.inputs, made, strict=True)
    return "{" + ", ".join(f"{spec.name!r}: {value}" for spec, value in pairs) + "}"


def _input(spec: InputSpec, item: Mapping[str, Any], value: str) -> str:
    if _kind(item) == "frame":
        return f"torch.tensor(encode({value}))"
    made = f"torch.tensor(array({value}).astype({spec.dtype!r}))"
    if item.get("divisor", 1) != 1:
        made += f" / {int(item['divisor'])}"
    return made + ".reshape(-1, 1)" if spec.shape == (1,) else made


def _target(data: DataSpec, meta: Mapping[str, Any] | None, y: str) -> list[str]:
    found: Mapping[str, Any] = meta["target"] if meta else {"divisor": 1, "values": []}
    if data.task in {"binary", "multiclass"}:
        values = list(found["values"])
        lines = [f"{y} = array({y})"]
        if data.target_shape == ():
            lines.append(
                f"{y} = {y}.argmax(1) if {y}.ndim == 2 and {y}.shape[1] > 1 else {y}.ravel()"
            )
        if values and values != list(range(len(values))):
            lines.append(f"classes = {{value: index for index, value in enumerate({values!r})}}")
            lines.append(f"{y} = np.array([classes[value] for value in {y}.tolist()])")
        return [*lines, f'{y} = torch.tensor({y}.astype("int64"))']
    shape = f".reshape(-1{''.join(f', {size}' for size in data.target_shape)})"
    scale = f" / {int(found['divisor'])}" if found["divisor"] != 1 else ""
    return [f'{y} = torch.tensor(array({y}).astype("float32")){shape}{scale}']


def _split(data: DataSpec, inputs: list[Mapping[str, Any]], source: str) -> list[str]:
    if not data.is_split:
        return ["x_train, y_train, x_valid, y_valid = X, y, X_valid, y_valid"]
    labels = ", labels=y.numpy()" if data.task in {"binary", "multiclass"} else ""
    lines = [f"train, valid = split_rows(len(y){labels})"]
    if source == "named":
        if _kind(inputs[0]) == "standardise":
            lines.append("X = (X - X[train].mean(axis=0)) / X[train].std(axis=0)")
        lines.append('X = torch.tensor(X.astype("float32"))')
    rows = "take(X, {0}), y[{0}]"
    both = f"{rows.format('train')}, {rows.format('valid')}"
    if data.layout == "single":
        both = both.replace("take(X, train)", "X[train]").replace("take(X, valid)", "X[valid]")
    return [*lines, f"x_train, y_train, x_valid, y_valid = {both}"]


def _moved(data: DataSpec) -> list[str]:
    lines = ["y_train, y_valid = y_train.to(device), y_valid.to(device)"]
    for part in ("x_train", "x_valid"):
        moved = {
            "single": f"{part}.to(device)",
            "tuple": f"tuple(value.to(device) for value in {part})",
            "dict": f"{{name: value.to(device) for name, value in {part}.items()}}",
        }[data.layout]
        lines.append(f"{part} = {moved}")
    return lines


def _helpers(
    data: DataSpec,
    inputs: list[Mapping[str, Any]],
    source: str,
    text: str,
    body: list[str],
) -> list[str]:
    used = "\n".join(body)
    helpers = []
    if source == "folder":
        helpers.append(_READ_IDX.format(folder=repr(text)))
    frame = next((item["encoding"] for item in inputs if _kind(item) == "frame"), None)
    if frame is not None:
        columns = {
            column["name"]: list(column["categories"]) if "categories" in column else column["fill"]
            for column in frame["columns"]
        }
        helpers.append(_ENCODE.format(columns=repr(columns)))
    if "array(" in used or "unpack(" in used:
        helpers.append(_ARRAY)
    if "unpack(" in used:
        pick = "" if data.target_shape else "[0]"
        helpers.append(_UNPACK.format(frame=_UNPACK_FRAME.format(pick=pick) if frame else ""))
    if "split_rows(" in used:
        seed = data.split_seed % 2**32
        helpers.append(_SPLIT.format(fraction=repr(data.valid_fraction), seed=seed))
    return [helper.rstrip("\n") for helper in helpers]
