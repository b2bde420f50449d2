"""DataFrames: columns become features, and the notes say how."""

from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from nbautoml.data import encoding_from_json, read_meta
from nbautoml.data.splits import split_rows

N = 20


def people(**columns):
    return pd.DataFrame(
        {
            "age": np.linspace(20, 58, N),
            "city": ["Rome", "Oslo", "Bern", "Rome"] * 5,
            "member": [True, False] * 10,
            "bought": ["no", "yes"] * 10,
            **columns,
        }
    )


def everything(data):
    """All features, training rows first."""
    return np.concatenate([data.train.all()[0], data.valid.all()[0]])


def test_columns_become_features(opened):
    data = opened(people(), target="bought")
    row = data.train.all()[0][0]
    assert row.tolist() == [20.0, 0.0, 0.0, 1.0, 1.0]  # age, Bern, Oslo, Rome, member
    assert data.classes == ("no", "yes")
    assert "X: text and categories one-hot encoded: city (3)" in data.spec.notes


@pytest.mark.parametrize(
    "column",
    [
        pd.array(range(N), dtype="Int64"),
        pd.array(range(N), dtype="float32"),
        pd.array(range(N), dtype="Float64"),
        pd.arrays.SparseArray(np.arange(N, dtype=float)),
        [Decimal(n) for n in range(N)],
        np.arange(N).astype(object),
    ],
    ids=["Int64", "float32", "Float64", "sparse", "decimals", "objects"],
)
def test_numbers_of_any_type_become_one_feature(opened, column):
    data = opened(pd.DataFrame({"n": column, "y": [0, 1] * 10}), target="y")
    assert sorted(everything(data)[:, 0]) == list(range(N))


@pytest.mark.parametrize("dtype", ["category", "str", "object", "string"])
def test_text_of_any_type_is_one_hot(opened, dtype):
    frame = pd.DataFrame({"hue": ["r", "g"] * 10, "y": [0.5, 1.5] * 10}).astype({"hue": dtype})
    assert min(map(tuple, everything(opened(frame, target="y")).tolist())) == (0.0, 1.0)


def test_missing_numbers_get_the_training_rows_median(opened):
    frame = people()
    frame.loc[3, "age"] = None
    train, valid = split_rows(N, 0.2, 0, labels=np.array([0, 1] * 10))
    expected = np.nanmedian(frame["age"].to_numpy()[train])
    data = opened(frame, target="bought")
    order = [*train, *valid].index(3)
    assert everything(data)[order, 0] == pytest.approx(expected)
    assert any("filled with the training rows' median: age (1, with" in x for x in data.spec.notes)


def test_missing_categories_are_zeros(opened):
    frame = people()
    frame.loc[0, "city"] = None
    data = opened(frame, target="bought")
    assert data.train.all()[0][0].tolist() == [20.0, 0.0, 0.0, 0.0, 1.0]
    assert any(note.startswith("X: missing categories are zeros") for note in data.spec.notes)


def test_rows_without_target_are_dropped(opened):
    frame = people()
    frame.loc[[0, 5], "bought"] = None
    data = opened(frame, target="bought")
    assert data.spec.n_rows == 18
    assert "2 rows of 20 dropped: the target is missing there" in data.spec.notes
    assert 20.0 not in everything(data)[:, 0]


def test_rows_without_label_in_a_series_are_dropped(opened):
    labels = pd.Series([None, "a", "b", "c"] * 5)
    data = opened((np.arange(N, dtype=np.float32), labels))
    assert sorted(everything(data)[:, 0]) == [n for n in range(N) if n % 4]


def test_pair_of_frames_is_training_and_validation(opened):
    data = opened(
        (people(), people()[["bought", "city", "member", "age"]].iloc[:5]), target="bought"
    )
    np.testing.assert_array_equal(data.valid.all()[0], data.train.all()[0][:5])


def test_category_that_only_validation_has_is_zeros(opened):
    valid = people().iloc[:2].assign(city="Lima")
    data = opened((people(), valid), target="bought")
    assert data.valid.all()[0][0].tolist() == [20.0, 0.0, 0.0, 0.0, 1.0]


def test_several_target_columns_are_labels(opened):
    frame = people(rich=[0, 1, 1, 1] * 5, tall=[1, 0, 0, 1] * 5)
    data = opened(frame, target=["rich", "tall"])
    assert (data.task, data.classes) == ("multilabel", ("rich", "tall"))


def test_encoding_lies_in_meta_and_encodes_new_rows(opened, home):
    data = opened(people(), target="bought")
    meta = read_meta(data.spec.digest, home)
    encoding = encoding_from_json(json.loads(json.dumps(meta))["inputs"][0]["encoding"])
    new = people().drop(columns="bought").iloc[:4]
    np.testing.assert_array_equal(
        encoding.encode(new),
        data.train.all()[0][:0].new_tensor(
            [[20, 0, 0, 1, 1], [22, 0, 1, 0, 0], [24, 1, 0, 0, 1], [26, 0, 0, 1, 0]]
        ),
    )
    assert meta["inputs"][0]["features"] == ["age", "city=Bern", "city=Oslo", "city=Rome", "member"]
    assert meta["target"]["values"] == ["no", "yes"]


def test_encoding_names_a_column_that_new_rows_lack(opened, home, data_error):
    meta = read_meta(opened(people(), target="bought").spec.digest, home)
    encoding = encoding_from_json(meta["inputs"][0]["encoding"])
    error = data_error(lambda: encoding.encode(people().rename(columns={"city": "City"})))
    assert "no column 'city'" in error.message
    assert "'City'" in error.hint


def test_same_clean_frame_is_one_snapshot_whatever_the_seed(snap):
    digests = {snap(people(), target="bought", seed=seed).digest for seed in range(3)}
    assert len(digests) == 1


def test_large_frame_is_encoded(snap, numbers):
    frame = pd.DataFrame(numbers.normal(size=(20_000, 50))).add_prefix("c")
    frame["y"] = frame["c0"] > 0
    assert snap(frame, target="y").inputs[0].shape == (50,)
