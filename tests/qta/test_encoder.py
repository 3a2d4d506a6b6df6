"""The encoder file against the original weights."""

import hashlib
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mtrb.benchmarks import load
from mtrb.errors import ArtefactError
from qta.encoder import WEIGHTS, Encoder
from qta.training.layers import float_encoder

ODD = ["", "x", "日本語のテキスト", "a" * 5000, "emoji 🎉", "\n\t", "The " * 300]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    bench = load("sample")
    return [query.text for query in bench.queries] + [tool.default_text() for tool in bench.toolset] + ODD


def test_vectors_are_those_of_sentence_transformers(encoder: Encoder, texts: list[str]) -> None:
    model = float_encoder(encoder.manifest.max_tokens)
    cosines = (encoder.encode(texts) * model.encode(texts, normalize_embeddings=True)).sum(axis=1)
    assert cosines.mean() > 0.999
    assert cosines[: -len(ODD)].min() > 0.997
    assert cosines.min() > 0.99


def test_a_vector_depends_on_its_text_alone(encoder: Encoder, texts: list[str]) -> None:
    alone = np.stack([encoder.encode_one(text)[0] for text in texts])
    np.testing.assert_array_equal(encoder.encode(texts), alone)
    np.testing.assert_array_equal(encoder.encode(texts[::-1])[::-1], alone)
    with ThreadPoolExecutor(8) as pool:
        crowded = list(pool.map(lambda text: encoder.encode_one(text)[0], texts))
    np.testing.assert_array_equal(np.stack(crowded), alone)
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-5)


def test_long_texts_are_truncated_and_say_so(encoder: Encoder) -> None:
    long = " ".join(["word"] * 500)
    assert encoder.encode_one(long)[1]
    assert not encoder.encode_one("word")[1]
    np.testing.assert_array_equal(encoder.encode_one(long)[0], encoder.encode_one(long + " and more")[0])


def test_an_empty_batch_is_empty(encoder: Encoder) -> None:
    assert encoder.encode([]).shape == (0, 384)


def test_the_file_is_small_and_can_be_made_again(tmp_path: Path) -> None:
    assert (WEIGHTS / "encoder.onnx").stat().st_size < 46_000_000
    subprocess.run(
        [sys.executable, "-m", "qta.export.encoder", "--out", str(tmp_path)], check=True, capture_output=True
    )
    made, shipped = (json.loads((folder / "encoder.json").read_text()) for folder in (tmp_path, WEIGHTS))
    assert made == shipped
    assert hashlib.sha256((tmp_path / "encoder.onnx").read_bytes()).hexdigest() == shipped["sha256"]["encoder.onnx"]


def test_an_altered_or_absent_file_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(WEIGHTS, folder)
    with (folder / "encoder.onnx").open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"\0\1\2\3")
    with pytest.raises(ArtefactError, match=r"encoder.onnx: altered: sha256 .* expected"):
        Encoder(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ArtefactError, match="no usable encoder"):
        Encoder(folder)
    with pytest.raises(ArtefactError, match="no usable encoder"):
        Encoder(tmp_path)
