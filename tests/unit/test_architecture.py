"""The shape of the package: its public names, who imports whom, and what an import costs."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import rag_chain

PACKAGE = Path(rag_chain.__file__).parent

MAY_IMPORT = {
    "errors": set(),
    "prompts": set(),
    "access": {"errors"},
    "languages": set(),
    "safe_text": set(),
    "follow_ups": set(),
    "separable_verbs": set(),
    "fixed_sentences": {"languages", "safe_text"},
    "redis_address": set(),
    "settings": {"errors", "redis_address"},
    "workers": set(),
    "models": {
        "errors",
        "fixed_sentences",
        "follow_ups",
        "languages",
        "prompts",
        "safe_text",
        "separable_verbs",
        "settings",
        "workers",
    },
    "sessions": {"errors", "redis_address", "settings"},
    "chain": {"errors", "fixed_sentences", "languages", "models", "prompts", "safe_text"},
    "retrieval": {"access", "errors", "follow_ups", "prompts", "separable_verbs", "settings", "workers"},
    "conversation": {"access", "chain", "errors", "prompts", "sessions", "settings"},
    "ingestion": {"__version__", "access", "errors", "models", "retrieval", "settings", "workers"},
    "factory": {"chain", "conversation", "errors", "models", "retrieval", "sessions", "settings"},
    "operations": {"errors", "models", "retrieval", "sessions", "settings"},
    "evaluation": {"chain", "errors", "factory", "models", "prompts", "retrieval", "settings"},
    "testing": {"agents", "conversation", "errors", "langgraph", "sessions", "settings"},
    "chatbot": {"chain", "conversation", "errors", "factory", "sessions", "settings"},
    "agents": {
        "chain",
        "conversation",
        "errors",
        "factory",
        "fixed_sentences",
        "models",
        "prompts",
        "retrieval",
        "sessions",
        "settings",
    },
    "langgraph": {"errors", "sessions", "settings"},
    "mcp": {"__version__", "chain", "errors", "factory", "retrieval", "settings"},
    "serve": {
        "__version__",
        "access",
        "chain",
        "conversation",
        "errors",
        "factory",
        "ingestion",
        "retrieval",
        "sessions",
        "settings",
    },
}
"""Room of the package -> the rooms that it may import. Importing within a room is free."""


WINGS = {
    "values": set(),
    "redis": {"values"},
    "journal": {"values"},
    "engine": {"journal", "redis", "values"},
    "connections": {"redis", "values"},
    "sessions": {"connections", "engine", "values"},
    "opening": {"connections", "engine", "journal", "redis", "sessions", "values"},
    "history": {"opening", "sessions", "values"},
    "management": {"engine", "opening", "sessions", "values"},
}
"""Within ``sessions``: wing or module -> the others that it may import."""

SURFACE = [
    "Answer",
    "ChatbotWithRedisSession",
    "Citation",
    "ConversationMessage",
    "IngestReport",
    "RagChainError",
    "RedisSessionManager",
    "Settings",
    "build_chain",
    "ingest",
    "open_history",
    "open_index",
]

MAY_IMPORT["cli"] = {*MAY_IMPORT, *SURFACE, "__version__"}


def imported_modules(path: Path) -> Iterator[str]:
    """The modules of the package that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("rag_chain"))
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            if (node.module or "").partition(".")[0] == "rag_chain":
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms(path: Path, depth: int) -> set[str]:
    """The names at ``depth`` of the modules that a file imports: 1 for the rooms of the package."""
    parts = (module.split(".") for module in imported_modules(path))
    return {names[depth] for names in parts if len(names) > depth and names[:depth] == _parents(path, depth)}


def _parents(path: Path, depth: int) -> list[str]:
    return ["rag_chain", *path.relative_to(PACKAGE).parts][:depth]


def room_of(path: Path, depth: int) -> str:
    return path.relative_to(PACKAGE).parts[depth - 1].removesuffix(".py")


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.name != "__init__.py")
IN_SESSIONS = [path for path in FILES if room_of(path, 1) == "sessions" and room_of(path, 2) != "__init__"]


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])
def test_imports_point_one_way(path: Path) -> None:
    room = room_of(path, 1)
    assert room in MAY_IMPORT, f"{room} is new: say here what it may import"
    assert rooms(path, 1) - {room} <= MAY_IMPORT[room]


@pytest.mark.parametrize("path", IN_SESSIONS, ids=[str(path.relative_to(PACKAGE)) for path in IN_SESSIONS])
def test_imports_within_sessions_point_one_way(path: Path) -> None:
    wing = room_of(path, 2)
    assert wing in WINGS, f"{wing} is new: say here what it may import"
    assert rooms(path, 2) - {wing} <= WINGS[wing]


def test_nothing_imports_the_command_line() -> None:
    assert [path for path in FILES if "cli" in rooms(path, 1) and room_of(path, 1) != "cli"] == []


def test_the_rules_allow_no_circle() -> None:
    for rules in (MAY_IMPORT, WINGS):
        list(TopologicalSorter(rules).static_order())  # raises CycleError


def test_one_module_names_the_deprecated_classes() -> None:
    for name in ("RunnableWithMessageHistory", "InMemoryChatMessageHistory"):
        users = [
            path
            for path in PACKAGE.rglob("*.py")
            if "testing" not in path.parts  # which puts LangChain's own beside ours
            and any(isinstance(n, ast.alias) and n.name == name for n in ast.walk(ast.parse(path.read_text("utf-8"))))
        ]
        assert len(users) <= 1, f"{name} is imported by {users}"


def test_the_public_names() -> None:
    assert rag_chain.__all__ == SURFACE
    for name in SURFACE:
        value = getattr(rag_chain, name)
        assert value.__doc__, f"{name} has no docstring"
        assert name in dir(rag_chain)
    with pytest.raises(AttributeError, match="nonsense"):
        rag_chain.nonsense  # noqa: B018


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, json, rag_chain; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    loaded = set(json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout))
    heavy = {"langchain_core", "langchain", "redis", "faiss", "numpy", "onnxruntime", "tantivy", "pydantic", "openai"}
    assert loaded & heavy == set()


def test_no_module_is_too_long_to_read() -> None:
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {path.name: lines for path, lines in lengths.items() if lines > 420} == {}


def test_errors_are_drawn_in_their_docstring() -> None:
    from rag_chain import errors

    classes = {n: c for n, c in vars(errors).items() if isinstance(c, type) and issubclass(c, Exception)}
    drawn = [
        line for line in (errors.__doc__ or "").splitlines() if "Error" in line and ("──" in line or "    Rag" in line)
    ]
    names = [line.replace("│", " ").replace("├──", "").replace("└──", "").split()[0] for line in drawn]
    assert sorted(names) == sorted(classes)
    depth = {name: line.index(name) for name, line in zip(names, drawn, strict=True)}
    for name, kind in classes.items():
        if name != "RagChainError":
            assert depth[kind.__bases__[0].__name__] < depth[name]
