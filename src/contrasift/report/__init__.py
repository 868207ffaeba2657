"""One self-contained page about a run: values in, HTML out. It computes nothing and reads no run."""

from contrasift.report.data import (
    ArmResult,
    ClassBar,
    ClassGallery,
    EmbeddingMap,
    GainCurve,
    Headline,
    Pair,
    ReportData,
    Tile,
    TrainingCurve,
)
from contrasift.report.page import write_report
from contrasift.report.thumbnails import thumbnail

__all__ = [
    "ArmResult",
    "ClassBar",
    "ClassGallery",
    "EmbeddingMap",
    "GainCurve",
    "Headline",
    "Pair",
    "ReportData",
    "Tile",
    "TrainingCurve",
    "thumbnail",
    "write_report",
]
