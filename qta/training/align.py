"""Align a rewriter with a frozen retriever: rounds of sampling, ranking, pairing and DPO on annotated requests.

Query-tool alignment (arXiv 2410.03212, section 4), on policy: each round samples from the rewriter as it has become.
A finished round is kept on disk, and an interrupted alignment goes on from the last one.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from mtrb.errors import InputError, StorageError
from mtrb.files import replace_text
from mtrb.types import Query
from qta.examples import Examples
from qta.ranking import RANKING_FUNCTIONS
from qta.rewriting.generator import Decoding, Generator
from qta.rewriting.local import CausalGenerator
from qta.rewriting.prompt import Message, Prompt
from qta.steps import join_steps, split_steps
from qta.training.config import AlignSettings
from qta.training.frozen import Frozen
from qta.training.policy import Policy, within_memory
from qta.training.preferences import (
    Candidates,
    PreferencePair,
    build_pairs,
    rank_candidates,
    require_pairs,
    summarise,
    write_pairs,
)

Report = Callable[[str], object]


def align(
    base: str,
    examples: Examples,
    frozen: Frozen,
    settings: AlignSettings,
    folder: Path,
    report: Report = lambda _: None,
    require: bool = True,
) -> Policy:
    """Return the rewriter after all rounds; each round's adapter, pairs and log are in the folder.

    Without `require` a rewriter for whose examples all candidates are as good stays as it was.

    Raises:
        InputError: the base cannot be trained, or no request gives a preference pair.
        StorageError: the disk does not take a round.
    """
    done = _finished(folder, base, examples, settings)
    adapter = folder / f"round-{done}" / "adapter" if done else None
    policy = Policy(base, settings.lora, settings.seed, adapter)
    for number in range(done + 1, settings.rounds + 1):
        candidates = sample(policy.generator(), examples, frozen, settings, number)
        pairs = [pair for one in candidates for pair in build_pairs(one, settings.pairs.most, settings.pairs.margin)]
        if number == 1 and require:
            require_pairs(candidates, pairs, settings.pairs.margin)
        log = policy.prefer(pairs, settings.dpo, settings.seed + number) if pairs else []
        statistics = summarise(candidates, pairs)
        report(
            f"round {number}: {statistics['pairs']} pairs, rewrites score "
            f"{statistics['mean_score_of_rewrites']:.3f} (requests {statistics['mean_score_of_requests']:.3f})"
        )
        _keep(folder / f"round-{number}", policy, candidates, pairs, log)
    return policy


def sample(
    generator: CausalGenerator, examples: Examples, frozen: Frozen, settings: AlignSettings, number: int
) -> list[Candidates]:
    """Sample rewrites of all examples from a model and rank them.

    Raises:
        InputError: a prompt leaves no room for a rewrite.
    """
    import torch

    prompt = settings.prompt.prompt(settings.seed + number)
    drawn = settings.candidates
    decoding = Decoding(
        max_new_tokens=drawn.max_new_tokens,
        no_repeat=drawn.no_repeat,
        temperature=drawn.temperature,
        top_k=drawn.top_k,
        samples=drawn.samples,
        at_once=drawn.at_once,
        seed=settings.seed * 1000 + number,
    )
    texts = [query.text for query in examples.queries]
    shown = frozen.show(texts, prompt)
    conversations = [prompt.messages(text, tools) for text, tools in zip(texts, shown, strict=True)]
    function = RANKING_FUNCTIONS[settings.pairs.ranking]
    long = [conversation for conversation in conversations if not generator.fits(conversation, decoding)]
    if long:
        raise InputError(
            f"the prompts of {len(long)} of {len(conversations)} requests and rewrites of {decoding.max_new_tokens} "
            f"tokens fill more than the {generator.positions} tokens that the base reads; show fewer tools or words "
            "(prompt.tools, prompt.words), write less (candidates.max_new_tokens), or take another base"
        )
    with within_memory("draw fewer rewrites together (candidates.at_once)"):
        answers = generator.generate(conversations, decoding)

    def ranked(query: Query, golden: Sequence[int], conversation: list[Message], samples: Sequence[str]) -> Candidates:
        return rank_candidates(query, conversation, samples, partial(frozen.ranks, query, golden), function)

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(ranked, examples.queries, examples.golden, conversations, answers))


def rewrite(generator: Generator, queries: Sequence[Query], frozen: Frozen, prompt: Prompt, limit: int) -> list[str]:
    """Return the greedy rewrite of each request, "" where there is none."""
    texts = [query.text for query in queries]
    conversations = [prompt.messages(*one) for one in zip(texts, frozen.show(texts, prompt), strict=True)]
    answers = generator.generate(conversations, Decoding(max_new_tokens=limit))
    return [join_steps(split_steps(answer[0])) for answer in answers]


Round = tuple[list[Candidates], list[PreferencePair], list[Mapping[str, float]]]
"""Candidates, pairs and log."""


def read_rounds(folder: Path, rounds: int) -> list[Round]:
    """Return the first rounds on disk; an alignment of more rounds, interrupted before, may have left others."""
    found: list[Round] = []
    for number in range(1, rounds + 1):
        content = json.loads((folder / f"round-{number}" / "round.json").read_text("utf-8"))
        candidates = [Candidates.of(one) for one in content["candidates"]]
        found.append((candidates, [PreferencePair(**pair) for pair in content["pairs"]], content["log"]))
    return found


def write_summary(rounds: Sequence[Round], out: Path) -> Mapping[str, Any]:
    """Write `pairs.jsonl` of the rounds into a folder; return the statistics."""
    return write_pairs(out / "pairs.jsonl", [(candidates, pairs) for candidates, pairs, _ in rounds])


def _keep(
    folder: Path,
    policy: Policy,
    candidates: Sequence[Candidates],
    pairs: Sequence[PreferencePair],
    log: Sequence[Mapping[str, float]],
) -> None:
    """Write a round beside, and move it into place when it is whole.

    Raises:
        StorageError: the disk does not take it.
    """
    partial = folder.with_name(f".{folder.name}.part")
    content = {
        "candidates": [one.to_json() for one in candidates],
        "pairs": [asdict(pair) for pair in pairs],
        "log": list(log),
    }
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        policy.save(partial / "adapter")
        (partial / "round.json").write_text(json.dumps(content, ensure_ascii=False), "utf-8")
        partial.replace(folder)
    except OSError as error:
        raise StorageError(
            f"{folder}: cannot be written: {error.strerror or error}; make room and start again, it goes on with this "
            "round"
        ) from None


def _finished(folder: Path, base: str, examples: Examples, settings: AlignSettings) -> int:
    """Return how many rounds are done of this same alignment; those of another are thrown away."""
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / "alignment.json"
    wanted = {
        "base": base,
        "examples": [[query.text, *golden] for query, golden in zip(examples.queries, examples.golden, strict=True)],
        "settings": settings.model_dump(mode="json", exclude={"rounds"}),  # more rounds go on from fewer
    }
    if not marker.exists() or json.loads(marker.read_text("utf-8")) != wanted:
        marker.unlink(missing_ok=True)  # first, so that rounds of which a part is gone are nobody's
        for path in folder.glob("round-*"):
            shutil.rmtree(path)
        replace_text(marker, json.dumps(wanted))
    return min(_count(folder), settings.rounds)


def _count(folder: Path) -> int:
    number = 0
    while (folder / f"round-{number + 1}").exists():
        number += 1
    return number
