"""The whole of `qta train examples`: learn from annotated requests all but a rewriter, and install it."""

from pathlib import Path

from mtrb.types import Benchmark
from qta.encoder import Encoder
from qta.examples import Examples
from qta.index import Advance
from qta.lesson import Lesson
from qta.recipe import choose_recipe, describe
from qta.rewriting.manifest import RewriterManifest, building, check_folder, describe_training
from qta.workbench import Workbench

_LIBRARIES = ("numpy", "onnxruntime")  # serving has them, and nothing else is needed here


def train_examples(
    annotated: Benchmark, out: Path, encoder: Encoder, embedded: Advance, left_out: Advance
) -> tuple[Lesson, bool]:
    """Return the lesson, and whether it was chosen by the examples or they are too few; it is served from now on.

    Args:
        annotated: what is learnt from.
        out: the folder of rewriters to install it in.
        encoder: of the catalogue.
        embedded: told of each tool that was embedded.
        left_out: told of each example that was left out.

    Raises:
        InputError: there is nothing to learn from.
        ArtefactError: the result cannot be written; what was installed is as it was.
    """
    check_folder(out)
    examples = Examples.of(annotated, annotated.toolset)
    bench = Workbench(annotated.toolset, encoder, embedded)
    choice = choose_recipe(bench, examples, advance=left_out)
    lesson = choice.value.lesson(examples, bench)
    with building(out) as build:
        RewriterManifest(
            kind="none",
            retriever=encoder.identity,
            lesson=lesson,
            chosen=describe(choice),
            sha256={},
            **describe_training(annotated, _LIBRARIES),
        ).write(build)
    return lesson, choice.from_examples
