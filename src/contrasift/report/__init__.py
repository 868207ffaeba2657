"""One self-contained page about a run: values in, HTML out. It computes nothing and reads no run."""

from contrasift.report.data import (
    ArmResult,
    ClassBar,
    EmbeddingMap,
    GainCurve,
    Gallery,
    Headline,
    Line,
    LineChart,
    Missing,
    Pair,
    RankedClass,
    ReportData,
    TextTable,
    Tile,
    Topic,
    TrainingCurve,
)
from contrasift.report.page import write_report
from contrasift.report.thumbnails import thumbnail
from contrasift.report.words import arm_label, duration, percent

__all__ = [
    "ArmResult",
    "ClassBar",
    "EmbeddingMap",
    "GainCurve",
    "Gallery",
    "Headline",
    "Line",
    "LineChart",
    "Missing",
    "Pair",
    "RankedClass",
    "ReportData",
    "TextTable",
    "Tile",
    "Topic",
    "TrainingCurve",
    "arm_label",
    "duration",
    "percent",
    "thumbnail",
    "write_report",
]
