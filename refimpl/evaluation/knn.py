"""k-nearest-neighbour classification of frozen features.

Z. Wu, Y. Xiong, S. X. Yu, D. Lin, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR 2018
(arXiv 1805.01978): the k training samples with the largest cosine similarity s_j vote for their classes with weight

    w_j = exp(s_j / T),   T = 0.07.

k = 20 as in the evaluation of DINO (M. Caron et al., ICCV 2021, arXiv 2104.14294). Features are only scaled to unit
length, neither centred nor standardised, so that numbers compare with those published under this protocol.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def neighbours(train: Tensor, test: Tensor, k: int, chunk: int = 1024) -> tuple[Tensor, Tensor]:
    """The k training rows most similar to each test row.

    Args:
        train: (N, D); test: (M, D), on one device. A row of zeros is similar to nothing (0 to every other row).
        k: neighbours; at most N are taken. chunk: test rows at a time, N * chunk similarities are in memory at once.
    Returns:
        similarity (M, k) in [-1, 1], largest first, and row numbers (M, k). Among training rows of exactly equal
        similarity that compete for the last places, which ones are taken is torch.topk's choice.
    """
    keys = F.normalize(train.float(), dim=1).T.contiguous()
    similarity, rows = [], []
    for part in test.split(chunk):
        best = (F.normalize(part.float(), dim=1) @ keys).topk(min(k, len(train)), dim=1)
        similarity.append(best.values)
        rows.append(best.indices)
    return torch.cat(similarity), torch.cat(rows)


def vote(similarity: Tensor, labels: Tensor, classes: int, temperature: float | None = 0.07) -> Tensor:
    """Predicted class (M,) of each test row.

    Args:
        similarity: (M, k). labels: (M, k) int64, the neighbours' classes.
        temperature: T of the weights exp(s / T); None gives each neighbour one vote.
    When two classes have exactly the same votes the smaller class number wins.
    """
    if temperature is None:
        weights = torch.ones_like(similarity)
    else:
        # Relative to the nearest neighbour: the same votes, and exp cannot overflow however small T is.
        weights = ((similarity - similarity[:, :1]) / temperature).exp()
    votes = similarity.new_zeros(len(labels), classes).scatter_add_(1, labels, weights)
    return votes.argmax(1)


def knn_predict(
    train: Tensor, labels: Tensor, test: Tensor, classes: int, k: int = 20, temperature: float | None = 0.07
) -> Tensor:
    """Predicted class (M,) of each test row: `neighbours`, then `vote`. labels: (N,) int64 of the training rows."""
    similarity, rows = neighbours(train, test, k)
    return vote(similarity, labels[rows], classes, temperature)
