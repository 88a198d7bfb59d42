"""The shape of the package: its public names, who imports whom, and what an import costs."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import rag_chain

PACKAGE = Path(rag_chain.__file__).parent

MAY_IMPORT = {
    "errors": set(),
    "settings": {"errors"},
    "prompts": set(),
    "citations": set(),
    "answer": set(),
    "chain": {"answer", "citations", "prompts"},
    "context": {"errors", "prompts"},
    "grounding": {"citations", "local", "prompts"},
    "sessions": {"errors", "settings"},
    "retrieval": {"errors", "settings", "prompts", "operations"},
    "local": {"errors", "settings", "prompts", "operations"},
    "operations": {"errors", "settings"},
    "model_errors": {"errors"},
    "model_patience": {"model_errors", "settings"},
    "models": {"errors", "settings", "local", "model_errors", "model_patience"},
    "ingestion": {"errors", "settings", "models", "retrieval"},
    "summary": {"context", "prompts", "sessions", "operations"},
    "usage": set(),
    "turn_input": {"errors", "sessions"},
    "turn_output": {"operations", "sessions", "usage"},
    "conversation": {"errors", "settings", "sessions", "operations", "summary", "turn_input", "turn_output"},
    "factory": {
        "errors", "settings", "models", "operations", "retrieval", "sessions", "chain", "context", "conversation",
        "grounding", "local", "model_errors", "summary",
    },
    "chatbot": {"errors", "settings", "factory", "conversation", "answer"},
}  # fmt: skip
"""Part of the package -> the parts that it may import. Importing within a part is free."""

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


def part_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports(path: Path) -> set[str]:
    """The parts of the package that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {part_of(alias.name) for alias in node.names if alias.name.startswith("rag_chain")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rag_chain"):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {part_of(node.module or "")} if node.module != "rag_chain" else {part_of(name) for name in names}
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: relative import"
    return found


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.name != "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])
def test_imports_point_one_way(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert part in MAY_IMPORT, f"{part} is new: say here what it may import"
    assert imports(path) - {part, ""} <= MAY_IMPORT[part]


def test_one_module_names_the_deprecated_classes() -> None:
    for name in ("RunnableWithMessageHistory", "InMemoryChatMessageHistory"):
        users = [
            path
            for path in PACKAGE.rglob("*.py")
            if any(isinstance(n, ast.alias) and n.name == name for n in ast.walk(ast.parse(path.read_text("utf-8"))))
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
