"""The simulator against the engine: bytes, tokens, answers and time of one workload, predicted and measured."""

from engine.validate.report import Report, Row
from engine.validate.run import validate

__all__ = ["Report", "Row", "validate"]
