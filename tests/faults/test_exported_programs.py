"""Programs in files (T3) and requests from outside (T13): what is never loaded, and never answered."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import nbautoml
from nbautoml.errors import ModelError

PACKAGE = Path(nbautoml.__file__).parent
ROOT = PACKAGE.parent


def calls() -> Iterator[tuple[str, str]]:
    """Each call in the package: its place, and the dotted name that is called."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield f"{path}:{node.lineno}", ast.unparse(node.func)


def imports() -> Iterator[tuple[str, str]]:
    """Each import in the package: its place, and the module; of ``from a import b`` a.b, too."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            yield from ((f"{path}:{node.lineno}", name) for name in names)


def test_t3_no_exported_program_of_torch_is_ever_loaded():
    forbidden = ("torch.jit.load", "torch.export.load", "torch.package", "torch.hub")
    loads = [(place, name) for place, name in calls() if name.startswith(forbidden)]
    loads += [(place, name) for place, name in calls() if "aoti_load_package" in name]
    assert loads == []


def onnx_with_weights_in(location: str) -> bytes:
    """A model whose numbers are to be read from another file."""
    onnx = pytest.importorskip("onnx")
    weights = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[4])
    weights.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        weights.external_data.add(key=key, value=value)
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [4]) for name in ("x", "y")
    ]
    add = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([add], "g", ends[:1], ends[1:], [weights])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 8
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("where", ["secret.bin", "./secret.bin", "../{here}/secret.bin", "{path}"])
def test_t3_an_onnx_file_reads_no_other_file(tmp_path, monkeypatch, where):
    pytest.importorskip("onnxruntime")
    from nbautoml.compress.onnx_module import OnnxModule

    secret = tmp_path / "secret.bin"
    secret.write_bytes(np.arange(4, dtype=np.float32).tobytes())
    monkeypatch.chdir(tmp_path)
    data = onnx_with_weights_in(where.format(here=tmp_path.name, path=secret))
    with pytest.raises(ModelError, match="does not take the model"):
        OnnxModule(data)(torch.zeros(4))


def test_t13_nothing_of_ours_answers_a_request():
    servers = ("http.server", "socketserver", "tornado", "jupyter_server", "aiohttp", "flask")
    servers += ("wsgiref", "xmlrpc", "fastapi", "starlette", "uvicorn", "bottle", "zmq")
    assert [found for found in imports() if found[1].startswith(servers)] == []
    # Whatever a socket is called, it must be bound or listened on to answer somebody.
    opens = {
        "bind",
        "listen",
        "create_server",
        "start_server",
        "start_unix_server",
        "serve_forever",
    }
    opens |= {
        "create_unix_server",
        "create_datagram_endpoint",
        "Listener",
        "TCPServer",
        "HTTPServer",
    }
    found = {
        f"{Path(place.rpartition(':')[0]).relative_to(PACKAGE).as_posix()}: {name}"
        for place, name in calls()
        if name.rpartition(".")[2] in opens
    }
    assert found == {
        "api/methods.py: inspect.signature(type(module)).bind",  # arguments
        "magics/loading.py: listen",  # to the page, over the kernel's own connection
        "widgets/live.py: _link.listen",
        "store/database.py: sa.event.listen",  # to SQLAlchemy
        "testing/postgres_server.py: probe.bind",  # to find a free port, in tests
    }
    for word in ("_jupyter_server_extension_points", "_load_jupyter_server_extension"):
        assert not hasattr(nbautoml, word)
    for name in ("pyproject.toml", "hatch_build.py"):
        assert "jupyter_server_config" not in (ROOT / name).read_text(encoding="utf-8")
