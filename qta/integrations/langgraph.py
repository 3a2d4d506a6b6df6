"""Tool retrieval for LangGraph agents, as `create_agent` of langgraph-bigtool takes it.

    from langgraph_bigtool import create_agent
    from qta.integrations.langgraph import index_registry, retrieve_tools

    function, coroutine = retrieve_tools(index_registry(registry), registry, k=5)
    agent = create_agent(
        llm, registry, retrieve_tools_function=function, retrieve_tools_coroutine=coroutine
    ).compile()

Nothing here imports langgraph-bigtool; `index_registry` needs langchain-core.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from mtrb.errors import InputError
from mtrb.identifiers import clean_tool_id
from qta.engine import Engine, Request, RewriteMode
from qta.records import open_records
from qta.rewriting import RewriterChoice
from qta.selection import Filter

Registry = Mapping[str, Any]
"""Tool ids and the LangChain tools or functions behind them."""


def index_registry(registry: Registry, rewriter: RewriterChoice | None = None) -> Engine:
    """Index the tools of a registry under its ids, by names, descriptions and arguments.

    Raises:
        InputError: there are none, or an id or a tool cannot be indexed.
        ArtefactError: the rewriter is absent, damaged or does not fit.
    """
    from langchain_core.utils.function_calling import convert_to_openai_function

    for tool_id in registry:
        if clean_tool_id(tool_id) != tool_id:
            raise InputError(
                f"the id {tool_id!r} is none here: no white space, no '%'; {clean_tool_id(tool_id)!r} would be"
            )
    described = ({"id": tool_id, **convert_to_openai_function(tool)} for tool_id, tool in registry.items())
    return open_records(described, rewriter)


def retrieve_tools(
    engine: Engine, registry: Registry, k: int = 5, rewrite: RewriteMode = "auto"
) -> tuple[Callable[[str], list[str]], Callable[[str], Awaitable[list[str]]]]:
    """Return the function and the coroutine by which an agent finds tools; both answer ids, best first.

    Args:
        engine: a catalogue that holds the registry's tools, and maybe others, which are never found: the agent could
            not call them.
        registry: what the agent gets, with the catalogue's ids.
        k: how many tools a search returns.
        rewrite: whether the engine's rewriter, where it has one, is asked.

    Raises:
        InputError: the catalogue has none of the registry's tools.
    """
    now = engine.catalogue.now
    if not any(now.position(tool_id) is not None for tool_id in registry):
        raise InputError("no id of the registry is in the catalogue; key it by the ids that `qta retrieve` shows")
    wanted = Filter(include=tuple(registry))

    # The model sees name, argument and docstring of these two.
    def retrieve_tools(query: str) -> list[str]:
        """Find tools. Say what is to be done in plain words, one job at a time."""
        if not query.strip():
            return []  # models do ask so, and an error would end the agent's run
        ranking = engine.answer(Request(query, k, rewrite, wanted)).ranking
        return [scored.tool_id for scored in ranking]

    async def aretrieve_tools(query: str) -> list[str]:
        """Find tools. Say what is to be done in plain words, one job at a time."""
        return await asyncio.to_thread(retrieve_tools, query)

    return retrieve_tools, aretrieve_tools
