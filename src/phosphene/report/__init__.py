"""A run folder as one page that needs nothing else."""

from phosphene.report.page import write_report
from phosphene.report.words import headline

__all__ = ["headline", "write_report"]
