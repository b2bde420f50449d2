"""Copies of images: moved by a pixel, or distorted a little; they keep their classes."""

from __future__ import annotations

import torch
from mnist import MOVES, N_COPIES, distorted, moved


def drawn() -> tuple[torch.Tensor, torch.Tensor]:
    """A square and a bar."""
    x = torch.zeros(2, 1, 28, 28)
    x[0, 0, 10:18, 10:18] = 1.0
    x[1, 0, 6:22, 12:15] = 1.0
    return x, torch.tensor([0, 1])


def test_a_moved_copy_is_the_image_a_pixel_further():
    x, y = drawn()
    copies, classes = moved((x, y))
    assert classes.tolist() == y.tolist() * len(MOVES)
    parts = copies.split(len(x))
    assert torch.equal(parts[0], x)
    assert torch.equal(parts[1][..., 1:, :], x[..., :-1, :])  # down
    assert torch.equal(parts[4][..., :-1], x[..., 1:])  # left


def test_a_distorted_copy_has_about_the_ink_and_the_place_of_its_image():
    x, y = drawn()
    copies, classes = distorted((x, y))
    assert classes.tolist() == y.tolist() * (1 + N_COPIES)
    first, *rest = copies.split(len(x))
    assert torch.equal(first, x)
    for part in rest:
        assert not torch.equal(part, x)
        ink = part.sum((1, 2, 3)) / x.sum((1, 2, 3))
        assert ((ink > 0.75) & (ink < 1.3)).all()
        overlap = (part * x).sum((1, 2, 3)) / x.sum((1, 2, 3))
        assert (overlap > 0.4).all()


def test_distorted_copies_are_the_same_each_time():
    assert torch.equal(distorted(drawn())[0], distorted(drawn())[0])
