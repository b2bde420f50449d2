"""Sets known by name, and folders of IDX files."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from nbautoml.data import load_idx_folder, load_named, named_sets
from nbautoml.data.named import read_idx
from nbautoml.errors import DataError


def idx_bytes(array, code=0x08):
    head = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture
def images(numbers):
    return numbers.integers(0, 255, (30, 4, 5), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, images):
    labels = (np.arange(30) % 3).astype(np.uint8)
    for part in ("train", "t10k"):
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images)))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("digits", "1797 rows, 64 features, 10 classes: multiclass; 1437 train / 360 validation"),
        ("wine", "178 rows, 13 features, 3 classes: multiclass; 142 train / 36 validation"),
        ("breast_cancer", "569 rows, 30 features, 2 classes: binary; 455 train / 114 validation"),
        ("diabetes", "442 rows, 10 features, one number: regression; 353 train / 89 validation"),
    ],
)
def test_named_set_is_described(snap, name, told):
    assert snap(name).description.startswith(told)


def test_every_named_set_is_tested():
    assert set(named_sets()) == {"digits", "wine", "breast_cancer", "diabetes"}


@pytest.mark.parametrize("name", ["wine", "breast_cancer", "diabetes"])
def test_tables_are_standardised_by_their_training_rows(opened, name):
    data = opened(name)
    features = data.train.all()[0]
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(features.std(0, correction=0), 1, atol=1e-4)
    assert any("features standardised" in note for note in data.spec.notes)


def test_digits_are_pixels_of_zero_to_one(opened):
    data = opened("digits")
    features = data.train.all()[0]
    assert (float(features.min()), float(features.max())) == (0.0, 1.0)


def test_named_classes_keep_their_names(snap):
    assert snap("breast_cancer").classes == ("malignant", "benign")


def test_named_set_unpacks_into_features_and_target():
    features, target = load_named("digits")
    assert (features.shape, features.dtype, target.shape) == ((1797, 64), np.float32, (1797,))


def test_unknown_name_gets_the_nearest():
    with pytest.raises(DataError, match="did you mean 'wine'") as caught:
        load_named("wines")
    assert "'wines'" in caught.value.message


def test_idx_folder_is_read(opened, folder, images):
    data = opened(folder)
    both = np.concatenate([data.train.all()[0], data.valid.all()[0]])
    assert data.spec.inputs[0].shape == (1, 4, 5)
    np.testing.assert_allclose(np.sort(both.ravel()), np.sort(images.ravel()) / 255, atol=1e-7)


def test_test_files_are_left_for_a_final_test(snap, folder):
    assert "t10k files are left out" in " ".join(snap(str(folder)).notes)
    assert load_idx_folder(folder, "test").inputs.shape == (30, 1, 4, 5)


@pytest.mark.parametrize(
    ("code", "dtype"),
    [(0x08, "u1"), (0x09, "i1"), (0x0B, "i2"), (0x0C, "i4"), (0x0D, "f4"), (0x0E, "f8")],
)
def test_each_idx_type_is_read(tmp_path, code, dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    path = tmp_path / "file-idx"
    path.write_bytes(idx_bytes(array, code))
    np.testing.assert_array_equal(read_idx(path), array)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda whole: whole[:-1], "should hold 600 bytes"),
        (lambda whole: whole + b"x", "it has more"),
        (lambda whole: whole[:9], "cut off within its header"),
        (lambda whole: b"PK" + whole, "no IDX file"),
        (lambda whole: b"", "no IDX file"),
        (lambda whole: whole[:4] + b"\xff" * 12 + whole[16:], "it has 600"),
    ],
    ids=["cut off", "too long", "cut header", "other format", "empty", "wrong size"],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_damaged_idx_file_is_named(tmp_path, images, damage, told, suffix):
    path = tmp_path / f"train-images-idx3-ubyte{suffix}"
    content = damage(idx_bytes(images))
    path.write_bytes(gzip.compress(content) if suffix else content)
    with pytest.raises(DataError, match=told) as caught:
        read_idx(path)
    assert str(path) in caught.value.message


def test_damaged_archive_is_named(tmp_path, images):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx_bytes(images))[:100])
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(path)


def test_folder_without_idx_files_is_told(snap, tmp_path, data_error):
    (tmp_path / "notes.txt").touch()
    error = data_error(lambda: snap(tmp_path))
    assert "0 files like train-images-idx*-ubyte(.gz)" in error.message
    assert "notes.txt" in error.message


def test_images_and_labels_of_different_length_are_told(snap, folder, data_error):
    (folder / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(7, np.uint8)))
    assert "do not fit" in data_error(lambda: snap(folder)).message


def test_mnist_is_read(opened, mnist):
    data = opened(mnist)
    assert data.spec.description == (
        "60000 rows, 1 x 28 x 28, 10 classes: multiclass; 48000 train / 12000 validation, stratified"
    )
    inputs, target = next(data.train.batches(64))
    assert (tuple(inputs.shape), float(inputs.max()), len(target)) == ((64, 1, 28, 28), 1.0, 64)
