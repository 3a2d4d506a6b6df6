"""A small catalogue, annotated requests and settings that align a tiny model in seconds."""

from pathlib import Path
from typing import Any

from mtrb.types import Benchmark, Query, Tool, Toolset
from qta.encoder import Encoder
from qta.training.config import AlignSettings
from qta.training.run import Outcome, train_dpo

TOOLS = Toolset(
    [
        Tool("shop/list", "list_orders", "List orders of a customer."),
        Tool("shop/refund", "refund_order", "Refund an order."),
        Tool("shop/cancel", "cancel_order", "Cancel an order."),
        Tool("mail/send", "send_mail", "Send a mail to a customer."),
        Tool("film/search", "search_movie", "Search a movie."),
        Tool("film/credits", "get_credits", "Get the credits of a movie."),
    ]
)
ASKED = {
    "give the money back for the last order": ["shop/list", "shop/refund"],
    "tell Anna that it is late": ["mail/send"],
    "who played in Alien": ["film/search", "film/credits"],
    "call it off": ["shop/cancel"],
    "what did Bob buy": ["shop/list"],
}
SETTINGS = {
    "candidates": {"samples": 12, "max_new_tokens": 12, "temperature": 1.5},
    "pairs": {"margin": 0.01},
    "rounds": 2,
    "dpo": {"learning_rate": 5e-3, "batch": 4},
}


def annotated(asked: dict[str, list[str]] = ASKED) -> Benchmark:
    queries = tuple(Query(f"q{n}", text) for n, text in enumerate(asked))
    qrels = {query.query_id: dict.fromkeys(asked[query.text], 1) for query in queries}
    return Benchmark("own", "train", TOOLS, queries, qrels)


def settings(base: str, **more: Any) -> AlignSettings:
    return AlignSettings.model_validate({"base": base, **SETTINGS, **more})


def trained(base: str, out: Path, encoder: Encoder, **more: Any) -> Outcome:
    return train_dpo(annotated(), settings(base, **more), out, encoder, lambda _: None)
