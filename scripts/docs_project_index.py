"""Generate the tables of files in ``docs/project-index.md`` from the first sentence of each file."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACES = [
    ("The package", "rag_chain", "*.py"),
    ("The chain", "rag_chain/chain", "*.py"),
    ("Conversation", "rag_chain/conversation", "*.py"),
    ("Models", "rag_chain/models", "**/*.py"),
    ("Sessions", "rag_chain/sessions", "*.py"),
    ("Sessions: values", "rag_chain/sessions/values", "*"),
    ("Sessions: engine", "rag_chain/sessions/engine", "*"),
    ("Sessions: Redis", "rag_chain/sessions/redis", "**/*"),
    ("Sessions: journal", "rag_chain/sessions/journal", "*"),
    ("Sessions: management", "rag_chain/sessions/management", "*"),
    ("Retrieval", "rag_chain/retrieval", "*.py"),
    ("Ingestion", "rag_chain/ingestion", "**/*.py"),
    ("Evaluation", "rag_chain/evaluation", "*.py"),
    ("Operations", "rag_chain/operations", "**/*.py"),
    ("The command", "rag_chain/cli", "*.py"),
    ("Testing", "rag_chain/testing", "*.py"),
    ("Scripts", "scripts", "**/*.py"),
    ("Notebooks", "notebooks", "*.ipynb"),
    ("Examples", "examples", "**/*"),
    ("Documents", "docs", "*.md"),
    ("Tests", "tests", "**/*.py"),
]
OF_NO_WORDS = {
    ".jsonl": "data, one JSON object a line",
    ".sql": "the tables of the journal",
}


def file_tables() -> str:
    """Return one table per folder."""
    lines: list[str] = []
    seen: set[Path] = set()
    for title, folder, pattern in PLACES:
        found = sorted(
            path for path in (ROOT / folder).glob(pattern)
            if path.is_file() and path not in seen and "__pycache__" not in path.parts and path.suffix != ".typed"
        )  # fmt: skip
        rows = [(path, purpose(path)) for path in found]
        seen |= {path for path, _ in rows}
        if rows := [(path, text) for path, text in rows if text]:
            lines += [f"### {title}", "", "| file | purpose |", "| --- | --- |"]
            lines += [f"| `{path.relative_to(ROOT)}` | {text} |" for path, text in rows]
            lines.append("")
    return "\n".join(lines).rstrip()


def purpose(path: Path) -> str:
    """Return the first sentence of a file's docstring or comment; empty if it has none."""
    if path.suffix == ".ipynb":
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        text = "".join(cells[0]["source"]).lstrip("# ")
        return _sentence(text)
    if path.suffix in OF_NO_WORDS:
        return OF_NO_WORDS[path.suffix]
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return _sentence(ast.get_docstring(ast.parse(text)) or "")
    if path.suffix == ".lua":
        return _sentence(" ".join(line[3:] for line in text.splitlines() if line.startswith("-- ")))
    if path.suffix == ".md":
        return _sentence(text.partition("\n\n")[2])
    return _sentence(" ".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#")))


def _sentence(text: str) -> str:
    first = text.split("\n\n")[0].splitlines()
    words = " ".join(" ".join(first).split())
    sentence = re.split(r"(?<=[.!?])\s", words)[0].rstrip(".")
    return re.sub(r"``(.+?)``", r"`\1`", sentence).replace("|", "\\|")
