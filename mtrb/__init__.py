"""Tools, benchmarks and their files: what is retrieved and what is measured against."""

from mtrb.benchmarks import DATASETS, load, load_files
from mtrb.errors import QTAError
from mtrb.formats import read_tools
from mtrb.types import Benchmark, Qrels, Query, Run, ScoredTool, Tool, Toolset

__all__ = [
    "DATASETS",
    "Benchmark",
    "QTAError",
    "Qrels",
    "Query",
    "Run",
    "ScoredTool",
    "Tool",
    "Toolset",
    "load",
    "load_files",
    "read_tools",
]
