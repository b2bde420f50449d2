"""The snapshot on disk: written once, whole or not at all, and never trusted blindly."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nbautoml.data import folder as folders
from nbautoml.data import open_data, snapshot
from nbautoml.errors import DataError
from nbautoml.spec.data import DataSpec

X = np.arange(40, dtype=np.float32).reshape(20, 2)
Y = np.array([0, 1] * 10)


@pytest.fixture
def spec(snap):
    return snap((X, Y))


@pytest.fixture
def folder(home, spec):
    return home / spec.digest


def test_folder_is_named_by_the_sha256_of_its_meta(folder, spec):
    assert hashlib.sha256((folder / "meta.json").read_bytes()).hexdigest() == spec.digest


def test_meta_vouches_for_each_file(folder):
    for row in json.loads((folder / "meta.json").read_text())["files"]:
        content = (folder / row["file"]).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (row["sha256"], row["size"])


def test_files_are_plain_npy(folder):
    np.testing.assert_array_equal(np.load(folder / "train_0.npy", allow_pickle=False), X)


def test_equal_data_is_written_once(snap, folder):
    before = (folder / "train_0.npy").stat()
    snap((torch.tensor(X), Y.tolist()))
    after = (folder / "train_0.npy").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize(
    "other",
    [
        (X + 1, Y),
        (X, 1 - Y),
        (X, np.where(Y, "a", "b")),
        ((X,), Y),
        (X, Y, X, Y),
        (X.astype(int), Y),
    ],
    ids=["features", "labels", "names of classes", "layout", "validation", "dtype"],
)
def test_other_data_is_another_snapshot(snap, spec, other):
    assert snap(other).digest != spec.digest


def test_task_belongs_to_the_snapshot(snap, spec):
    assert snap((X, Y), task="regression").digest != spec.digest


def test_only_the_owner_may_look(folder):
    assert folder.stat().st_mode & 0o077 == 0


def test_what_is_written_into_a_batch_never_reaches_the_disk(home, spec, folder):
    before = (folder / "train_0.npy").read_bytes()
    data = open_data(spec, home)
    data.train.all()[0].zero_()
    for inputs, _ in data.valid.batches(3):
        inputs.zero_()
    assert (folder / "train_0.npy").read_bytes() == before
    assert open_data(spec, home).valid.all()[0].abs().sum() > 0


@pytest.mark.parametrize("name", ["train_0.npy", "train_target.npy"])
def test_missing_file_is_named(home, spec, folder, name, data_error):
    (folder / name).unlink()
    assert str(folder / name) in data_error(lambda: open_data(spec, home)).message


def test_missing_snapshot_is_told(home, spec, data_error, tmp_path):
    error = data_error(lambda: open_data(spec, tmp_path / "elsewhere"))
    assert f"{spec.digest[:12]}... is not in {tmp_path / 'elsewhere'}" in error.message
    assert "run the cell again" in error.hint


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: b"",
        lambda content: content.replace(b"<f4", b"<i4"),
        lambda content: content.replace(b"(20, 2)", b"(40, 1)"),
        lambda content: b"\x80\x04" + content[2:],
    ],
    ids=["cut off", "longer", "empty", "other dtype", "other shape", "a pickle"],
)
def test_changed_file_is_named(home, spec, folder, damage, data_error):
    path = folder / "train_0.npy"
    path.write_bytes(damage(path.read_bytes()))
    error = data_error(lambda: open_data(spec, home))
    assert f"{path} was changed or damaged" in error.message
    assert "delete its folder" in error.hint


def test_flipped_bit_is_found_when_all_is_verified(home, spec, folder, data_error):
    path = folder / "train_0.npy"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    open_data(spec, home)
    error = data_error(lambda: open_data(spec, home, should_verify=True))
    assert f"{path} was changed" in error.message
    assert "sha256" in error.message


def test_changed_meta_is_found(home, spec, folder, data_error):
    path = folder / "meta.json"
    path.write_text(path.read_text().replace("binary", "regression"))
    assert f"{path} was changed" in data_error(lambda: open_data(spec, home)).message


def test_link_out_of_the_folder_is_refused(home, spec, folder, tmp_path, data_error):
    path = folder / "train_0.npy"
    outside = tmp_path / "outside.npy"
    path.rename(outside)
    path.symlink_to(outside)
    assert "not a plain file" in data_error(lambda: open_data(spec, home)).message


def test_path_in_a_forged_meta_is_refused(home, spec, folder, data_error):
    meta = json.loads((folder / "meta.json").read_text())
    meta["files"][0]["file"] = "../../secret.npy"
    text = json.dumps(meta).encode()
    forged = DataSpec.from_json({**spec.to_json(), "digest": hashlib.sha256(text).hexdigest()})
    (home / forged.digest).mkdir()
    (home / forged.digest / "meta.json").write_bytes(text)
    assert "not a plain file" in data_error(lambda: open_data(forged, home)).message


@pytest.mark.parametrize("digest", ["../../etc", "", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_digest_that_is_no_sha256_is_refused(spec, digest):
    with pytest.raises(DataError, match="is not a sha256"):
        DataSpec.from_json({**spec.to_json(), "digest": digest})


def test_recipe_that_states_other_rows_is_refused(home, spec, data_error):
    edited = DataSpec.from_json({**spec.to_json(), "n_rows": 19})
    assert "states 19 and 0 rows" in data_error(lambda: open_data(edited, home)).message


def test_recipe_that_states_other_inputs_is_refused(home, spec, data_error):
    found = spec.to_json()
    edited = DataSpec.from_json({**found, "inputs": found["inputs"] * 2, "layout": "tuple"})
    assert "states 2 inputs" in data_error(lambda: open_data(edited, home)).message


def test_spec_goes_through_json(spec):
    assert DataSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize("gone", ["digest", "inputs", "classes"])
def test_spec_with_a_field_missing_is_refused(spec, gone):
    found = spec.to_json()
    del found[gone]
    with pytest.raises(DataError, match="not a statement of data"):
        DataSpec.from_json(found)


def test_damaged_snapshot_is_written_anew(home, snap, spec, folder):
    (folder / "train_0.npy").write_bytes(b"short")
    snap((X, Y))
    assert open_data(spec, home, should_verify=True).spec == spec
    assert [path.name for path in home.iterdir()] == [spec.digest]


def test_open_snapshot_outlives_its_renewal(home, snap, spec, folder):
    data = open_data(spec, home)
    expected = data.valid.all()[0].clone()
    (folder / "meta.json").write_text("{}")
    snap((X, Y))
    assert data.valid.all()[0].equal(expected)


def test_kernels_writing_the_same_at_once_agree(home):
    with ThreadPoolExecutor(8) as pool:
        specs = list(pool.map(lambda _: snapshot((X, Y), home_data=home), range(16)))
    assert len({spec.digest for spec in specs}) == 1
    assert [path.name for path in home.iterdir()] == [specs[0].digest]


def test_what_a_killed_kernel_left_is_swept_away(home, snap):
    code = textwrap.dedent(
        f"""
        import os, signal
        from pathlib import Path
        from nbautoml.data import snapshot

        class Killer:
            def __len__(self):
                return 9
            def __getitem__(self, at):
                if at == 5:
                    os.kill(os.getpid(), signal.SIGKILL)
                return [float(at), 1.0], at % 2

        snapshot(Killer(), home_data=Path({str(home)!r}))
        """
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False)
    assert [path.name.startswith(".writing-") for path in home.iterdir()] == [True]
    spec = snap((X, Y))
    assert [path.name for path in home.iterdir()] == [spec.digest]


def test_staging_of_a_living_process_is_left_alone(home, snap):
    other = home / f".writing-{os.getppid()}-00ff"
    other.mkdir(parents=True)
    snap((X, Y))
    assert other.exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("failing", range(3))
def test_failed_write_leaves_nothing(home, snap, monkeypatch, data_error, code, failing):
    written = []
    whole = folders._write

    def write(path, pieces):
        if len(written) == failing:
            raise OSError(code, os.strerror(code), str(path))
        written.append(path)
        whole(path, pieces)

    monkeypatch.setattr(folders, "_write", write)
    error = data_error(lambda: snap((X, Y)))
    assert f"cannot be written to {home}" in error.message
    assert os.strerror(code) in error.message
    assert "NBAUTOML_HOME" in error.hint
    assert list(home.iterdir()) == []


def test_full_disk_is_told(tmp_path, data_error):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    home = tmp_path / "data"
    home.mkdir()

    def write(path, pieces):
        with full.open("wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders, "_write", write)
        error = data_error(lambda: snapshot((X, Y), home_data=home))
    assert "No space left on device" in error.message
    assert "free space" in error.hint


@pytest.mark.parametrize("form", ["arrays", "dataset"])
def test_file_that_may_not_grow_is_told(home, form):
    pytest.importorskip("resource")
    code = textwrap.dedent(
        f"""
        import resource
        from pathlib import Path
        import numpy as np
        from nbautoml.data import snapshot

        class Wide:
            def __len__(self):
                return 1000
            def __getitem__(self, at):
                return np.zeros(1000), at % 2

        arrays = (np.zeros((1000, 1000)), [0, 1] * 500)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            snapshot(arrays if {form == "arrays"} else Wide(), home_data=Path({str(home)!r}))
        except Exception as error:
            print(type(error).__name__, error)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("DataError data: the snapshot cannot be written to")
    assert list(home.iterdir()) == []


def test_home_that_is_a_file_is_told(tmp_path, data_error):
    home = tmp_path / "data"
    home.touch()
    assert f"written to {home}" in data_error(lambda: snapshot((X, Y), home_data=home)).message


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root may write anywhere")
def test_folder_without_permission_is_told(tmp_path, data_error):
    tmp_path.chmod(0o500)
    error = data_error(lambda: snapshot((X, Y), home_data=tmp_path / "data"))
    assert "may write to" in error.hint


def test_dataset_larger_than_the_disk_is_told_before_it_is_read(
    snap, home, data_error, monkeypatch
):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=100))

    class Wide:
        def __len__(self):
            return 1000

        def __getitem__(self, at):
            return np.zeros(1000), at % 2

    error = data_error(lambda: snap(Wide()))
    assert "takes 0.004 GB on disk" in error.message
    assert list(home.iterdir()) == []
