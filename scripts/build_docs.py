"""Build the site of docs/ into site/, strictly: a warning fails the build. `make docs` runs it.

Generated pages must be up to date (`scripts/generate_docs.py`). Mermaid's script is copied from the `mermaidx` wheel,
so that the diagrams are drawn without requests to another server.

Example:
    python scripts/build_docs.py && python -m http.server --directory site
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Check, copy Mermaid, build; return 0 if there was no warning."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    spec = importlib.util.find_spec("mermaidx")
    if spec is None or spec.origin is None or importlib.util.find_spec("zensical") is None:
        print("Error: the site needs the extra 'docs': pip install 'rag_chain[docs]'.", file=sys.stderr)
        return 2
    if subprocess.run([sys.executable, ROOT / "scripts" / "generate_docs.py", "--check"]).returncode:
        print("Error: run scripts/generate_docs.py first.", file=sys.stderr)
        return 1
    # In a copy: people ingest docs/, and three megabytes of script are not a document.
    with tempfile.TemporaryDirectory(prefix="rag_chain_docs_") as folder:
        source = Path(folder)
        shutil.copytree(ROOT / "docs", source / "docs")
        shutil.copyfile(ROOT / "zensical.toml", source / "zensical.toml")
        (source / "docs" / "javascripts").mkdir()
        script = Path(spec.origin).parent / "assets" / "mermaid.js"
        shutil.copyfile(script, source / "docs" / "javascripts" / "mermaid.js")
        done = subprocess.run([sys.executable, "-m", "zensical", "build", "--strict"], cwd=source)
        if done.returncode == 0:
            shutil.rmtree(ROOT / "site", ignore_errors=True)
            shutil.copytree(source / "site", ROOT / "site")
        return done.returncode


if __name__ == "__main__":
    sys.exit(main())
