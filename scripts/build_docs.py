"""Build the site of docs/ into site/, strictly: a warning fails it. What `make docs` runs.

What is generated must be up to date (`scripts/generate_docs.py`). Mermaid's script is taken out of the `mermaidx`
wheel, so that the diagrams are drawn without another server.

Example:

    python scripts/build_docs.py && python -m http.server --directory site
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MERMAID = ROOT / "docs" / "javascripts" / "mermaid.js"


def main() -> int:
    """Check, put Mermaid in its place, build; 0 if all went without a warning."""
    spec = importlib.util.find_spec("mermaidx")
    if spec is None or spec.origin is None or importlib.util.find_spec("zensical") is None:
        print("Error: the site needs the extra 'docs': pip install 'rag_chain[docs]'.", file=sys.stderr)
        return 2
    if subprocess.run([sys.executable, ROOT / "scripts" / "generate_docs.py", "--check"]).returncode:
        print("Error: run scripts/generate_docs.py first.", file=sys.stderr)
        return 1
    MERMAID.parent.mkdir(exist_ok=True)
    shutil.copyfile(Path(spec.origin).parent / "assets" / "mermaid.js", MERMAID)
    return subprocess.run([sys.executable, "-m", "zensical", "build", "--strict", "--clean"], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
