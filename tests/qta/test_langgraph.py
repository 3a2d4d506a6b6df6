"""The LangGraph adapter with the real langgraph-bigtool: a graph runs, and the model gets the tools that were found."""

import asyncio
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import Field

import qta
from mtrb.errors import InputError
from qta.integrations.langgraph import index_registry, retrieve_tools

with (
    warnings.catch_warnings()
):  # langgraph-bigtool 0.0.3 works with langgraph up to 1.0.1, which deprecates some of itself
    warnings.simplefilter("ignore")
    from langgraph_bigtool import create_agent


@tool
def request_refund(order_id: str) -> str:
    """Ask for the money back for an order that never arrived."""
    return f"refund of {order_id} asked for"


@tool
def list_orders() -> str:
    """List the user's past orders."""
    return "8841"


@tool
def get_weather(city: str) -> str:
    """Weather forecast for a city."""
    return f"rain in {city}"


def convert_currency(amount: float, to: str) -> float:
    """Convert an amount of money from euro into another currency."""
    return amount


REGISTRY = {
    "shop/request_refund": request_refund,
    "shop/list_orders": list_orders,
    "weather/get": get_weather,
    "money/convert": convert_currency,
}


class Model(GenericFakeChatModel):
    """A chat model that follows a script and notes which tools it was given at each turn."""

    bound: list[list[str]] = Field(default_factory=list)

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> "Model":
        self.bound.append([getattr(each, "name", None) or each.__name__ for each in tools])
        return self


def script() -> Iterator[AIMessage]:
    yield AIMessage("", tool_calls=[{"id": "1", "name": "retrieve_tools", "args": {"query": "refund my order 8841"}}])
    yield AIMessage("", tool_calls=[{"id": "2", "name": "request_refund", "args": {"order_id": "8841"}}])
    yield AIMessage("done")


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_an_agent_finds_a_tool_and_calls_it(way: str) -> None:
    function, coroutine = retrieve_tools(index_registry(REGISTRY), REGISTRY, k=2)
    model = Model(messages=script())
    graph = create_agent(
        model, REGISTRY, retrieve_tools_function=function, retrieve_tools_coroutine=coroutine
    ).compile()
    asked = {"messages": [("user", "my parcel never came, order 8841")]}
    state = graph.invoke(asked) if way == "invoke" else asyncio.run(graph.ainvoke(asked))
    assert state["selected_tool_ids"][0] == "shop/request_refund"
    assert len(state["selected_tool_ids"]) == 2
    assert model.bound[0] == ["retrieve_tools"]
    assert model.bound[1][:2] == ["retrieve_tools", "request_refund"]
    answers = [message.content for message in state["messages"] if isinstance(message, ToolMessage)]
    assert answers[1] == "refund of 8841 asked for"
    assert state["messages"][-1].content == "done"


def test_only_tools_of_the_registry_are_found(sample_folder: Path) -> None:
    registry = {"shop/list_orders": list_orders, "not/in/the/catalogue": get_weather}
    function, _ = retrieve_tools(qta.load(sample_folder), registry)
    assert function("the parcel never came, I want my money back") == ["shop/list_orders"]


def test_a_registry_with_other_ids_is_refused(sample_folder: Path) -> None:
    with pytest.raises(InputError, match="no id of the registry is in the catalogue; key it by the ids"):
        retrieve_tools(qta.load(sample_folder), {"list_orders": list_orders})


def test_an_id_that_would_be_changed_is_refused() -> None:
    with pytest.raises(InputError, match=r"the id 'get weather' is none here.*'get%20weather' would be"):
        index_registry({"get weather": get_weather})
