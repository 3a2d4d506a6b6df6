"""Figures of the paper (arXiv 2410.03212, table 2) for the systems that run here.

Only Sufficiency is comparable: the paper's NDCG does not follow the standard definition.
"""

_SUFFICIENCY = {
    # dataset: system: (Sufficiency@5, Sufficiency@10), per cent
    "mtrb/restbench": {"random": (0.00, 2.59), "bm25-paper": (6.67, 17.78), "minilm": (15.56, 34.44)},
    "mtrb/metatool": {"random": (3.70, 5.93), "bm25-paper": (37.78, 47.78), "minilm": (81.11, 84.44)},
    "mtrb/toolbench": {"random": (0.00, 0.00), "bm25-paper": (1.11, 12.22), "minilm": (24.44, 44.44)},
}


def paper_figures(dataset: str, split: str, system: str) -> dict[str, float] | None:
    """Return the paper's Sufficiency for a row, as shares; None where it has none that is comparable."""
    figures = _SUFFICIENCY.get(dataset, {}).get(system) if split == "test" else None
    if figures is None:
        return None
    return {f"Sufficiency@{k}": round(value / 100, 4) for k, value in zip((5, 10), figures, strict=True)}
