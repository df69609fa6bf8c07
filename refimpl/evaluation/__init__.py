"""Judging what a method has learned, with nothing of it changed.

Each protocol is a module with

    evaluate(method, data, *, fresh, seed=0, device=None, progress=None) -> list[Score]
    headline(scores, features="trained") -> float     the number that ranks methods; HIGHER_IS_BETTER says which way
    fingerprint(method, data) -> str                  equal only where scores may be ranked together

`fresh` makes an untrained method of the same architecture, which every protocol judges beside the trained one.
A method names its protocol in `Method.protocol`.
"""

from refimpl.evaluation import correspondence, scene, unmixing
from refimpl.evaluation.scores import EvaluationError, Score

PROTOCOLS = {"correspondence": correspondence, "scene": scene, "unmixing": unmixing}

__all__ = ["PROTOCOLS", "EvaluationError", "Score"]
