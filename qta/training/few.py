"""Fine-tune the paper's retriever on a handful of annotated examples (sentence-transformers), as its FT row does."""

from tempfile import TemporaryDirectory

from mtrb.types import Toolset
from qta.baselines import FloatDenseRetriever
from qta.examples import Examples
from qta.rewriting.local import quiet

_EPOCHS, _BATCH, _RATE = 10, 8, 2e-5  # common values; the paper gives none, and ten examples choose none


def fine_tuned(retriever: FloatDenseRetriever, toolset: Toolset, examples: Examples) -> FloatDenseRetriever:
    """Return the retriever with its encoder trained on pairs of a request and a tool that it needs."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.training_args import BatchSamplers

    model = retriever.untrained()
    pairs = [
        (query.text, toolset[position].description)
        for query, golden in zip(examples.queries, examples.golden, strict=True)
        for position in golden
    ]
    columns = {"anchor": [query for query, _ in pairs], "positive": [text for _, text in pairs]}
    with TemporaryDirectory() as folder, quiet():
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder,
            num_train_epochs=_EPOCHS,
            per_device_train_batch_size=_BATCH,
            learning_rate=_RATE,
            batch_sampler=BatchSamplers.NO_DUPLICATES,
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            seed=0,
        )
        loss = MultipleNegativesRankingLoss(model)
        SentenceTransformerTrainer(model, arguments, train_dataset=Dataset.from_dict(columns), loss=loss).train()
    return retriever.with_model(model.eval())
