"""``rag-chain chat --agent``: an agent in place of the chain, with a person's own tools."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableConfig
from rich.text import Text

from rag_chain import Settings
from rag_chain.cli.command_line import errors
from rag_chain.cli.turns import Call, configurable_of, describe_turn
from rag_chain.errors import ConfigurationError, RagChainError, UsageError
from rag_chain.sessions import SessionHistory


def open_agent(settings: Settings, retrieval: str | None, tools: Sequence[str]) -> AgentBackend:
    """Build the agent that the options describe.

    Args:
        settings: settings of the model, the index and the sessions.
        retrieval: as ``build_agent`` takes it; ``None``: ``tool``, and ``context`` for local models.
        tools: ``MODULE:NAME`` of each tool.

    Raises:
        ConfigurationError: a package or key is missing, or the model can't call tools.
        UsageError: a tool can't be imported.
        DocumentIndexError: the index can't be used.
    """
    try:
        from rag_chain.agents import build_agent
    except ModuleNotFoundError as error:
        package = (error.name or "langgraph").partition(".")[0]
        raise ConfigurationError(
            f"rag-chain chat --agent needs the package {package}: pip install 'rag_chain[langgraph]'."
        ) from None
    is_local = settings.chat_model_name.startswith("local:")
    chosen = retrieval or ("context" if is_local else "tool")
    agent = build_agent(settings, [load_tool(name) for name in tools], retrieval=cast("Any", chosen))
    if retrieval is None and is_local:
        line = f"{settings.chat_model_name} can't call tools: the documents are searched before each answer."
        errors.print(Text(line, style="dim"))
    return AgentBackend(agent)


def load_tool(name: str) -> Callable[..., Any]:
    """Import a tool.

    Args:
        name: ``MODULE:NAME`` of a function or of a tool of LangChain. The working folder is searched too.

    Raises:
        UsageError: there is no such tool.
    """
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise UsageError(f"--tool {name!r} must be MODULE:NAME, such as my_tools:clock.")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(import_module(module), attribute)
    except AttributeError:
        raise UsageError(f"--tool {name}: the module {module} has no {attribute}.") from None
    except Exception as error:  # an imported module can raise anything
        raise UsageError(f"--tool {name}: {module} can't be imported: {_describe(error)}.") from error
    if not callable(found) and not hasattr(found, "invoke"):
        raise UsageError(f"--tool {name}: {attribute} is neither a function nor a tool.")
    return cast("Callable[..., Any]", found)


class AgentBackend:
    """Answers with an agent.

    Its turns run on their own event loop, where Ctrl-C cancels the model call at once.

    Args:
        agent: from ``build_agent``; closed by ``close``.
    """

    def __init__(self, agent: Any) -> None:
        self._agent = agent
        self._runner = asyncio.Runner()

    def ask(self, question: str, session_id: str, user_id: str | None = None, **options: Any) -> dict[str, Any]:
        """Ask one question, stream its answer and return the turn; see ``turns.ask``.

        Returns:
            The turn as that of a chain, with ``tool_calls``: the name and the arguments of each.

        Raises:
            RagChainError: as the chain; also where a tool raises.
        """
        call = Call(question, session_id, user_id, **options)
        try:
            return self._runner.run(self._ask(call))
        except RagChainError:
            raise
        except Exception as error:  # a tool can raise anything
            raise RagChainError(
                f"The turn is stored as failed: a tool or the agent raised {_describe(error)}."
            ) from error

    def history(self, session_id: str, user_id: str | None = None) -> SessionHistory:
        """Return a session's messages."""
        history: SessionHistory = self._agent.history(session_id, user_id)
        return history

    def close(self) -> None:
        """Close the connections."""
        self._runner.run(self._agent.aclose())
        self._runner.close()

    async def _ask(self, call: Call) -> dict[str, Any]:
        last: BaseMessage = AIMessage("")
        report: dict[str, Any] = {}
        calls: list[dict[str, Any]] = []
        config = RunnableConfig(configurable=configurable_of(call))
        stream = self._agent.astream({"input": call.question}, config, stream_mode=["messages", "updates"])
        async with aclosing(stream) as chunks:
            async for kind, value in chunks:
                if kind == "messages":
                    if isinstance(value[0], AIMessage) and value[0].text:
                        call.on_token(str(value[0].text))
                elif kind == "session":
                    report = value
                for message in _messages_of(value) if kind == "updates" else ():
                    last = message
                    for one in message.tool_calls if isinstance(message, AIMessage) else ():
                        calls.append({"name": one["name"], "args": one["args"]})
                        call.on_tool(one["name"], one["args"])
        answer = {"standalone_question": call.question, **report, "answer": str(last.text)}
        return describe_turn(call, answer) | {"tool_calls": calls}


def _messages_of(update: Mapping[str, Any]) -> list[BaseMessage]:
    """Return the messages that the nodes of one step added."""
    nodes = [value for value in update.values() if isinstance(value, Mapping)]
    return [message for node in nodes for message in node.get("messages") or () if isinstance(message, BaseMessage)]


def _describe(error: Exception) -> str:
    """Return the class of a foreign error and where it was raised; its text may hold a secret."""
    if isinstance(error, ModuleNotFoundError):
        return f"there is no module {error.name}"
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"
