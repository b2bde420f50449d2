"""Files of weights from others (T2): every reader refuses what is none, and nothing in it is executed."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hostile_files import HOSTILE, Trap, hostile_files

from nbautoml.api.run import Run
from nbautoml.capsule import Capsule, import_capsule
from nbautoml.capsule.container import Captured
from nbautoml.compress.saved import dump_module, load_module
from nbautoml.data.folder import open_arrays
from nbautoml.errors import NbAutomlError
from nbautoml.events import ArtifactWritten, RunStateChanged
from nbautoml.store import Home, Owner, save_artifact
from nbautoml.tensors import array_of, tensors_of
from nbautoml.testing.store_events import tiny_recipe, whole_trial
from nbautoml.train.state import FitState

# A file that is whole and holds numbers is no model and no checkpoint; but numbers it does hold.
HOLDS_NUMBERS = "texts of 200,000 brackets"


def model_of(kind: str) -> Callable[[bytes, Path], object]:
    """`Run.model()` of a run of somebody else whose record has the file's own sha256."""

    def read(data: bytes, place: Path) -> object:
        home = Home(place / "home")
        folder = home.create_run(tiny_recipe(kind=kind), None)
        word = "model" if kind == "compress" else "weights"
        with folder.writer(Owner.this_process()) as writer:
            writer.create(folder.recipe())
            written = save_artifact(folder, data, word, 0, suffix=".safetensors")
            *before, end = whole_trial(0)
            writer.apply([*before, written, end, RunStateChanged(state="finished")])
        return Run(folder, home).model(trial=0)

    return read


def captured_as(kind: str) -> Callable[[bytes, Path], object]:
    """A value of a capsule whose manifest says what it is."""

    def read(data: bytes, place: Path) -> object:
        tree = {"kind": kind, "file": "0.bin", "requires_grad": False}
        captured = Captured(tree=tree, files={"0.bin": data}, description="")
        source = "import torch\nvalue = torch.nn.Linear(1, 1)\n" if kind == "state" else ""
        Capsule(source=source, captured={"value": captured}).save(place / "capsule")
        return import_capsule(place / "capsule")

    return read


def snapshot_of(data: bytes, place: Path) -> object:
    """An array of a data snapshot; the digests are those of the file."""
    row = {"file": "x.npy", "size": len(data), "shape": [1], "dtype": "float64"}
    meta = {"format": 1, "files": [{**row, "sha256": hashlib.sha256(data).hexdigest()}]}
    text = json.dumps(meta).encode()
    digest = hashlib.sha256(text).hexdigest()
    (place / digest).mkdir(parents=True)
    (place / digest / "meta.json").write_bytes(text)
    (place / digest / "x.npy").write_bytes(data)
    return open_arrays(digest, place, should_verify=True)


def onnx_of(data: bytes, place: Path) -> object:
    from nbautoml.compress.onnx_module import OnnxModule

    return OnnxModule(data)(torch.zeros(1))


READERS: dict[str, Callable[[bytes, Path], object]] = {
    "safetensors": lambda data, _: tensors_of(data),
    "array": lambda data, _: array_of(data),
    "checkpoint": lambda data, _: FitState.from_bytes(data),
    "module": lambda data, _: load_module(data, {}),
    "ONNX": onnx_of,
    "model of a tuning run": model_of("tune"),
    "model of a compression": model_of("compress"),
    "captured array": captured_as("array"),
    "captured tensor": captured_as("tensor"),
    "captured weights": captured_as("state"),
    "data": snapshot_of,
}


@pytest.mark.parametrize("reader", READERS)
def test_t2_a_file_that_is_no_weights_is_refused_in_words_and_nothing_in_it_runs(
    tmp_path, monkeypatch, reader
):
    monkeypatch.chdir(tmp_path)
    marker, said = tmp_path / "marker", {}
    for at, (name, data) in enumerate(hostile_files(marker).items()):
        place = tmp_path / "places" / str(at)
        place.mkdir(parents=True)
        try:
            READERS[reader](data, place)
            said[name] = ""
        except NbAutomlError as error:
            said[name] = str(error)
        assert not marker.exists(), name
    assert {path.name for path in tmp_path.iterdir()} == {"places"}
    assert [name for name in said if not said[name]] == (
        [HOLDS_NUMBERS] if reader == "safetensors" else []
    )
    assert max(map(len, said.values())) < 1500


def test_t2_the_files_would_act_where_a_pickle_is_read(tmp_path):
    marker = tmp_path / "marker"
    files = hostile_files(marker)
    assert tuple(files) == HOSTILE
    for name in ("pickle protocol 0", "pickle protocol 2", "pickle protocol 5"):
        pickle.loads(files[name]).close()
        assert marker.exists()
        marker.unlink()
    import io

    torch.load(io.BytesIO(files["torch.save"]), weights_only=False)["w"].close()
    assert marker.exists()
    assert isinstance(Trap(marker), Trap)


@pytest.mark.parametrize("kind", ["weights", "model", "layers"])
def test_t2_an_artifact_that_is_a_link_is_not_followed(tmp_path, kind):
    home = Home(tmp_path / "home")
    folder = home.create_run(tiny_recipe(), None)
    outside = tmp_path / "outside"
    outside.write_bytes(dump_module(torch.nn.Linear(1, 1), {}))
    folder.artifacts_dir.mkdir(exist_ok=True)
    os.symlink(outside, folder.artifacts_dir / "link")
    data = outside.read_bytes()
    event = ArtifactWritten(
        trial=0,
        kind=kind,
        path="link",
        sha256=hashlib.sha256(data).hexdigest(),
        n_bytes=len(data),
    )
    with folder.writer(Owner.this_process()) as writer:
        writer.create(folder.recipe())
        *before, end = whole_trial(0)
        writer.apply([*before, event, end, RunStateChanged(state="finished")])
    run = Run(folder, home)
    if kind == "weights":
        with pytest.raises(NbAutomlError, match="link"):
            run.model(trial=0)
    else:
        from nbautoml.store import load_artifact

        with folder.reader() as reader, pytest.raises(NbAutomlError, match="link"):
            load_artifact(reader.artifacts(0)[0])
