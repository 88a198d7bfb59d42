"""Files and embeddings for the ingestion tests."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from langchain_core.embeddings import Embeddings
from pypdf import PdfReader, PdfWriter
from reportlab.pdfgen.canvas import Canvas

_NOBODY = 65534


def written(folder: Path, name: str, content: str | bytes) -> Path:
    """A file with this content in a folder, which is made if need be."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def pdf_bytes(*pages: str, title: str = "", password: str = "") -> bytes:
    """A PDF with these pages, encrypted if there is a password."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer)
    canvas.setTitle(title)
    for page in pages:
        for number, line in enumerate(page.split("\n")):
            canvas.drawString(72, 720 - 14 * number, line)
        canvas.showPage()
    canvas.save()
    if not password:
        return buffer.getvalue()
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(buffer.getvalue())))
    writer.encrypt(password, algorithm="AES-256")
    encrypted = io.BytesIO()
    writer.write(encrypted)
    return encrypted.getvalue()


@contextmanager
def without_privileges() -> Iterator[Path]:
    """A folder of one's own, as a user whom permissions bind: root becomes nobody for a while."""
    folder = Path(tempfile.mkdtemp(prefix="rag_chain_"))
    root = os.geteuid() == 0
    if root:
        os.chown(folder, _NOBODY, _NOBODY)
        os.seteuid(_NOBODY)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        shutil.rmtree(folder)


class CountingEmbeddings(Embeddings):
    """Cheap and deterministic vectors; counts what it is given, and fails or waits where a test wants it to."""

    def __init__(self, dimension: int = 16, *, fail_after: int | None = None, seconds_a_batch: float = 0.0) -> None:
        self.texts: list[str] = []
        self.failure: BaseException = RuntimeError("no more")
        self._dimension, self._fail_after, self._seconds = dimension, fail_after, seconds_a_batch

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        if self._fail_after is not None and len(self.texts) >= self._fail_after:
            raise self.failure
        time.sleep(self._seconds)
        self.texts += texts
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        return [float(one) for one in np.random.default_rng(seed).standard_normal(self._dimension)]
