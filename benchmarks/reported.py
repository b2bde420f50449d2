"""What papers report of the networks that ``compressing.py`` compresses: their own figures, other starting points."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["reported"]

HAN_2015 = (
    "Han, Pool, Tran, Dally 2015, Learning both Weights and Connections for Efficient Neural "
    "Networks (NIPS), table 1"
)
GUO_2016 = "Guo, Yao, Chen 2016, Dynamic Network Surgery for Efficient DNNs (NIPS), table 1"
HAN_2016 = (
    "Han, Mao, Dally 2016, Deep Compression: Compressing Deep Neural Networks with Pruning, Trained "
    "Quantization and Huffman Coding (ICLR), table 1"
)
# Network, figure, how many times less, errors on the test files before and after in per cent, source.
REPORTED = (
    ("lenet300", "weights", 12, 1.64, 1.59, HAN_2015),
    ("lenet300", "weights", 56, 2.28, 1.99, GUO_2016),
    ("lenet300", "stored", 40, 1.64, 1.58, HAN_2016),
    ("lenet5", "weights", 12, 0.80, 0.77, HAN_2015),
    ("lenet5", "weights", 108, 0.91, 0.91, GUO_2016),
    ("lenet5", "stored", 39, 0.80, 0.74, HAN_2016),
)


def reported(titles: Mapping[str, str]) -> list[str]:
    """Lines of a table.

    >>> reported({"weights": "fewer weights", "stored": "smaller"})[-1].split(" | ")[:4]
    ['| lenet5', 'smaller', '39', '0.80 to 0.74']
    """
    lines = [
        "## What others report",
        "",
        "Of networks of their own: compare the error before, too.",
        "",
        "| network | | times | error, % | source |",
        "|---|---|---|---|---|",
    ]
    return lines + [
        f"| {network} | {titles[figure]} | {times} | {before:.2f} to {after:.2f} | {source} |"
        for network, figure, times, before, after, source in REPORTED
    ]
