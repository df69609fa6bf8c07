"""What a schema cannot say: how the fields of an entry, and the entries of a catalog, must agree."""

from scripts.catalog import Entry, Problem
from scripts.rules import between, fields, papers  # noqa: F401  importing them fills RULES
from scripts.rules.base import RULES, Context
from scripts.rules.records import record_problems

__all__ = ["RULES", "Context", "record_problems", "rule_problems"]


def rule_problems(entry: Entry, context: Context) -> list[Problem]:
    """All faults of one entry that the rules find."""
    return [entry.problem(*finding) for check in RULES for finding in check(entry, context)]
