"""Retrieval: every system keeps one contract, and the fast ways find what the slow ones find."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from mtrb.benchmarks import load
from mtrb.errors import AbsentDataError
from mtrb.formats import read_tools
from mtrb.types import Query, Tool, Toolset
from qta import hybrid as stages
from qta.dense import DenseIndex
from qta.encoder import Encoder
from qta.examples import Examples
from qta.hybrid import LEXICAL_WEIGHT, HybridRetriever, Stages
from qta.index import ToolIndex, build_in_memory
from qta.pipeline import IdentityRewriter, Pipeline
from qta.retrievers import best
from qta.systems import SYSTEMS, build_system
from qta.workbench import Workbench

QUERIES = [Query("b", "refund order 8841"), Query("a", "hello"), Query("c", "今天下雨吗"), Query("d", "the of and")]


@pytest.fixture(scope="module")
def bench(encoder: Encoder) -> Workbench:
    return Workbench(Toolset(read_tools(["sample:"])), encoder, rewriters=Path("/nonexistent"))


NEED_ALIGNED = ("qta", "qta-paper", "qta-paper+raw")
NEED_TRAINED = (*NEED_ALIGNED, "expanded")


@pytest.mark.parametrize("name", [*(name for name in SYSTEMS if name not in NEED_TRAINED), "hybrid:0.5", "pipeline"])
def test_every_retriever_keeps_the_contract(name: str, bench: Workbench) -> None:
    examples = Examples.of(load("sample", "train"), bench.toolset)
    system = (
        Pipeline(IdentityRewriter(), build_system("hybrid", bench)[0])
        if name == "pipeline"
        else build_system(name, bench, examples)[0]
    )
    for k in (1, 5, 258, 1000):
        run = system.retrieve(QUERIES, k)
        assert list(run) == ["b", "a", "c", "d"]
        for ranking in run.values():
            assert len(ranking) == min(k, 258)
            assert len({scored.tool_id for scored in ranking}) == len(ranking)
            assert [scored.score for scored in ranking] == sorted((scored.score for scored in ranking), reverse=True)
            assert all(scored.tool_id in bench.toolset.positions for scored in ranking)
    assert system.retrieve([], 5) == {}
    assert system.retrieve(QUERIES, 5) == system.retrieve(QUERIES, 5)


@pytest.mark.parametrize("name", NEED_ALIGNED)
def test_a_system_whose_rewriter_was_not_aligned_says_how(name: str, bench: Workbench) -> None:
    examples = Examples.of(load("sample", "train"), bench.toolset)
    with pytest.raises(AbsentDataError, match="no rewriter aligned with these examples; `make rewriters`"):
        build_system(name, bench, examples)


@pytest.mark.parametrize("name", NEED_ALIGNED)
def test_a_system_whose_rewriter_is_half_aligned_says_so(name: str, bench: Workbench, tmp_path: Path) -> None:
    examples = Examples.of(load("sample", "train"), bench.toolset)
    for kind in ("qta", "paper"):
        (tmp_path / kind / examples.source / "seed-0" / ".training").mkdir(parents=True)
    with pytest.raises(AbsentDataError, match="goes on where it was interrupted"):
        build_system(name, Workbench(bench.toolset, bench.encoder, rewriters=tmp_path), examples)


def test_the_random_baseline_depends_on_the_query_only(bench: Workbench) -> None:
    system = build_system("random", bench)[0]
    alone = system.retrieve([QUERIES[1]], 5)["a"]
    assert system.retrieve(QUERIES, 5)["a"] == alone
    assert system.retrieve(QUERIES, 5)["b"] != alone


def test_the_hybrid_finds_what_scoring_every_tool_finds(
    sample_index: ToolIndex, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "_CANDIDATES", 40)  # of 258 tools, so that not all are looked at
    monkeypatch.setattr(stages, "_CANDIDATES_PER_PLACE", 0)
    retriever = HybridRetriever(sample_index, encoder, Stages())
    vectors = sample_index.dense.vectors.astype(np.float32)
    for query in load("sample").queries:
        reading = retriever.reader.read(query.text)
        if retriever.named(query.text):
            continue
        scores = vectors @ reading.vector + LEXICAL_WEIGHT * sample_index.lexical.scores(reading.tokens)
        expected = [sample_index.ids[position] for position in best(scores, 3)]
        assert [scored.tool_id for scored in retriever.rank(reading, 5)][:3] == expected


@given(st_numpy.arrays(np.float32, st.integers(1, 60), elements=st.integers(0, 4).map(float)), st.integers(1, 70))
def test_ties_fall_in_catalogue_order(scores: np.ndarray, k: int) -> None:
    expected = sorted(range(len(scores)), key=lambda position: (-scores[position], position))[:k]
    assert best(scores, k).tolist() == expected
    shuffled = np.random.default_rng(0).permutation(len(scores))
    assert shuffled[best(scores[shuffled], k, shuffled)].tolist() == expected


def unit_vectors(n: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, 384)).astype(np.float32)
    vectors[:, :8] *= 12  # real texts fill few directions
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_exhaustive_search_is_brute_force() -> None:
    vectors, queries = unit_vectors(3000), unit_vectors(20, 1)
    index = DenseIndex.build(vectors)
    assert index.kind == "flat"
    for query in queries:
        positions, cosines = index.search(query, 50)
        exact = vectors @ query
        np.testing.assert_allclose(cosines, exact[positions], atol=1e-3)
        assert exact[positions[-1]] >= np.sort(exact)[-50] - 1e-3
    assert len(index.search(queries[0], 5000)[0]) == 3000


def test_the_codes_miss_hardly_any_of_the_nearest(tmp_path: Path) -> None:
    families = np.random.default_rng(0).normal(size=(300, 384))  # as tools of one server are much alike
    texts = families[np.random.default_rng(1).integers(0, 300, 9050)] + np.random.default_rng(2).normal(
        size=(9050, 384)
    )
    texts = (texts / np.linalg.norm(texts, axis=1, keepdims=True)).astype(np.float32)
    vectors, queries = texts[:9000], texts[9000:]
    index = DenseIndex.build(vectors)
    assert index.kind == "fast scan"
    assert index.save(tmp_path) == ["vectors.npy", "codes.faiss"]
    loaded = DenseIndex.load(tmp_path, codes=True)
    found = []
    for query in queries:
        exact = index.cosines(query, np.arange(9000))
        positions, cosines = loaded.search(query, 200)
        np.testing.assert_array_equal(cosines, exact[positions])
        found.append(len({*best(exact, 50).tolist()} & {*positions[:50].tolist()}) / 50)
    assert np.mean(found) > 0.99
    assert len(loaded.search(queries[0], 10_000)[0]) == 9000


@pytest.mark.parametrize("tools", [300, 6000])
def test_equal_tools_are_ties(tools: int) -> None:
    vector, query = unit_vectors(1)[0], unit_vectors(1, 1)[0]
    positions, cosines = DenseIndex.build(np.tile(vector, (tools, 1))).search(query, tools)
    assert positions.tolist() == list(range(tools))
    assert len(set(cosines.tolist())) == 1


def ask(tools: list[Tool], text: str, encoder: Encoder, k: int = 3) -> list[str]:
    retriever = HybridRetriever(build_in_memory(Toolset(tools), encoder), encoder, Stages())
    return [scored.tool_id for scored in retriever.retrieve([Query("q", text)], k)["q"]]


CLOUD = [
    Tool("s3/TagResource", "TagResource", "Add tags to a bucket."),
    Tool("lambda/TagResource", "TagResource", "Add tags to a function. See also ListTags."),
    Tool("ec2/Stop", "Stop", "Stop a machine."),
    Tool("x/list_users", "list_users", "Return people."),
    Tool("x/find_people", "find_people", "Find users of the system: list users, list all users."),
    Tool("api/GET%20/movie/%7Bid%7D", "GET /movie/{id}", "Details of a film."),
    Tool("api/GET%20/movie/%7Bid%7D/credits", "GET /movie/{id}/credits", "Cast of a film."),
    Tool("w/weather", "weather", "Tell what it is like outside."),
    Tool("w/alarm", "alarm", "Warn of bad weather."),
    Tool("p/timeport", "timeport", "Travel through history."),
    Tool("9", "12", "A tool whose name and id are numbers."),
    Tool("n/查天气", "查天气", "Forecast."),
    Tool("m/e-mail", "e-mail", "Throw a message away."),
    Tool("m/list-issues", "list-issues", "Tell what is broken."),
    Tool("m/get-user-id", "get-user-id", "Tell a person's number."),
]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("please run list_users now", "x/list_users"),
        ("LIST_USERS", "x/list_users"),
        ("x/list_users", "x/list_users"),
        ("call `x/list_users`, then stop", "x/list_users"),
        ("GET /movie/{id}/credits for Titanic", "api/GET%20/movie/%7Bid%7D/credits"),
        ("GET  /movie/{id}, please", "api/GET%20/movie/%7Bid%7D"),
        ("api/GET%20/movie/%7Bid%7D", "api/GET%20/movie/%7Bid%7D"),
        ("use `timeport` to find users of the system", "p/timeport"),
        ("with the weather tool, find users of the system", "w/weather"),
        ("weather(city) for a bad alarm", "w/weather"),
        ("alarm", "w/alarm"),
        ("「查天气」find users of the system", "n/查天气"),
        ("find_peopleでバケットにタグを付けて", "x/find_people"),
        ("find_people를 써서 버킷", "x/find_people"),
        ("please TagResource my bucket of find people", "s3/TagResource"),
        ("lambda/TagResource on a bucket", "lambda/TagResource"),
        ("stop with get-user-id", "m/get-user-id"),
        ("find users with `e-mail`", "m/e-mail"),
        ("list users with list-issues", "m/list-issues"),
    ],
)
def test_a_tool_called_by_its_name_comes_first(text: str, first: str, encoder: Encoder) -> None:
    assert ask(CLOUD, text, encoder)[0] == first


def test_tools_of_one_name_share_the_top_by_score(encoder: Encoder) -> None:
    bucket, function = "s3/TagResource", "lambda/TagResource"
    assert ask(CLOUD, "TagResource for my bucket of list users", encoder)[:2] == [bucket, function]
    assert ask(CLOUD, "TagResource for my function find people", encoder)[:2] == [function, bucket]
    assert len(ask(CLOUD, "TagResource", encoder, k=1)) == 1


@pytest.mark.parametrize(
    ("text", "not_first"),
    [
        ("list users of the system", "x/list_users"),  # words, not the name
        ("warn me of bad weather", "w/weather"),
        ("please stop the alarm of bad weather", "ec2/Stop"),
        ("I have 12 users", "9"),
        ("write an e-mail to people of the system", None),
        ("my_list_users_backup of people", None),
    ],
)
def test_ordinary_words_are_no_names(text: str, not_first: str | None, encoder: Encoder) -> None:
    hybrid = HybridRetriever(build_in_memory(Toolset(CLOUD), encoder), encoder)
    named = [CLOUD[position].tool_id for group in hybrid.named(text) for position in group]
    assert named == []
    if not_first:
        assert ask(CLOUD, text, encoder)[0] != not_first


JAPANESE = [
    Tool("a", "tenki", "指定した都市の天気予報を返します。"),
    Tool("b", "yakkyoku", "近くの薬局を検索します。"),
    Tool("c", "densha", "電車の時刻表を調べます。"),
    Tool("d", "pogoda", "Показывает прогноз погоды в городе."),
    Tool("e", "apteka", "Ищет ближайшие аптеки."),
    Tool("f", "tianqi", "查询城市的天气预报。"),
]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("東京の天気予報を教えて", "a"),
        ("薬局を検索して", "b"),
        ("прогноз погоды в Москве", "d"),
        ("где аптеки", "e"),
        ("查询北京的天气", "f"),
    ],
)
def test_requests_in_the_catalogues_own_language_are_understood(text: str, first: str, encoder: Encoder) -> None:
    assert ask(JAPANESE, text, encoder)[0] == first


@pytest.mark.parametrize("text", ["🙂", "?!", "the", "ยกเลิก"])
def test_a_request_without_known_words_gets_a_list_all_the_same(text: str, hybrid: HybridRetriever) -> None:
    assert len(hybrid.retrieve([Query("q", text)], 5)["q"]) == 5


@settings(max_examples=60)
@given(st.text(max_size=200))
def test_any_text_is_answered(hybrid: HybridRetriever, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    assert len(hybrid.retrieve([Query("q", text)], 5)["q"]) == 5


@pytest.fixture(scope="module")
def hybrid(sample_folder: Path, encoder: Encoder) -> HybridRetriever:
    from qta.index import load_index

    return HybridRetriever(load_index(sample_folder, encoder), encoder)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 1.0])
def test_a_filter_gives_the_ranking_without_the_others(share: float, hybrid: HybridRetriever) -> None:
    rng = np.random.default_rng(1)
    allowed = rng.random(len(hybrid.index.ids)) < share
    for query in load("sample", "validation").queries[:20]:
        reading = hybrid.reader.read(query.text)
        found = [scored.tool_id for scored in hybrid.rank(reading, 10, allowed)]
        assert len(found) == min(10, np.count_nonzero(allowed))
        assert all(allowed[hybrid.index.ids.index(tool_id)] for tool_id in found)
        if share == 1.0:
            assert found == [scored.tool_id for scored in hybrid.rank(reading, 10)]


def test_search_finds_the_nearest_of_the_allowed() -> None:
    vectors, query, random = unit_vectors(9000), unit_vectors(1, 1)[0], np.random.default_rng(2)
    farthest = np.argsort(vectors @ query)[:6000]
    for few in (20_000, 1000):
        index = DenseIndex.build(vectors, few)
        for share in (0.01, 0.8, None):
            allowed = np.isin(np.arange(9000), farthest) if share is None else random.random(9000) < share
            positions, cosines = index.search(query, 10, allowed)
            exact = np.where(allowed, index.cosines(query, np.arange(9000)), -1)
            assert positions.tolist() == best(exact, 10).tolist()
            np.testing.assert_array_equal(cosines, exact[positions])
