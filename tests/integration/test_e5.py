"""``local:e5``: questions and passages of several languages."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from rag_chain.errors import IndexMismatchError
from rag_chain.factory import open_index
from rag_chain.ingestion.pipeline import ingest
from rag_chain.models.local import e5
from rag_chain.models.local.e5 import CenteredE5, E5Embeddings
from rag_chain.settings import Settings

pytestmark = pytest.mark.skipif(not e5.is_installed(), reason="the data of local:e5 is not installed")


@pytest.fixture(scope="module")
def model() -> E5Embeddings:
    return E5Embeddings()


def test_tokens_are_those_of_the_model(model: E5Embeddings) -> None:
    tokens = model._tokenizer.encode(
        model._prepare("query: ", "\u4f1a\u8bdd\u4fdd\u7559\u591a\u957f\u65f6\u95f4\uff1f")
    )
    assert tokens.ids[:4] == [0, 41, 1294, 12]
    assert tokens.ids[-1] == 2


def test_a_question_finds_its_answer_in_each_language(model: E5Embeddings) -> None:
    answers = [
        "A session expires one hour after its last use.",
        "Eine Sitzung läuft eine Stunde nach der letzten Nutzung ab.",
        "会话在最后一次使用一小时后过期。",
    ]
    others = ["Bread needs flour, water and salt.", "Brot braucht Mehl, Wasser und Salz.", "面包需要面粉、水和盐。"]
    questions = ["How long is a session kept?", "Wie lange wird eine Sitzung aufbewahrt?", "会话保留多长时间？"]
    asked = np.array([model.embed_query(question) for question in questions])
    held = np.array(model.embed_documents([*answers, *others]))
    assert np.linalg.norm(held, axis=1) == pytest.approx(np.ones(6), abs=1e-5)
    cosines = asked @ held.T
    assert cosines.argmax(1).tolist() == [0, 1, 2]
    # In another language too, an answer is nearer than what answers nothing.
    assert (cosines[:, :3].min(1) > cosines[:, 3:].max(1)).all()


def test_questions_and_passages_are_told_apart(model: E5Embeddings) -> None:
    assert model.embed_query("tower") != model.embed_documents(["tower"])[0]


def test_an_index_remembers_its_model(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Eine Sitzung läuft eine Stunde nach der letzten Nutzung ab.", encoding="utf-8")
    plain = {"index_dir": tmp_path / "i", "openai_api_key": "", "sparse": "bm25", "_env_file": None}
    ingest(tmp_path / "a.md", Settings(embedding_model="local:e5", **plain))
    assert open_index(Settings(**plain)).manifest.embedding_model == "local:e5"
    assert ingest(tmp_path / "a.md", Settings(**plain)).unchanged == 1
    with pytest.raises(IndexMismatchError, match="--rebuild"):
        open_index(Settings(embedding_model="local:minilm", **plain))


_GERMAN = "Die Elbe entspringt im Riesengebirge und fließt durch Dresden, Magdeburg und Hamburg in die Nordsee."
_ENGLISH = "The river Elbe rises in the Giant Mountains and flows through Dresden and Hamburg to the North Sea."


@pytest.mark.parametrize(("text", "model_name"), [(_GERMAN, "local:e5"), (_ENGLISH, "local:minilm")])
def test_a_new_index_gets_the_model_for_its_languages(tmp_path: Path, text: str, model_name: str) -> None:
    (tmp_path / "a.md").write_text(text, encoding="utf-8")
    settings = Settings(index_dir=tmp_path / "i", openai_api_key="", sparse="bm25", _env_file=None)
    assert ingest(tmp_path / "a.md", settings).added == 1
    assert open_index(settings).manifest.embedding_model == model_name


def test_a_model_that_is_set_is_kept_and_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.md").write_text(_GERMAN, encoding="utf-8")
    settings = Settings(index_dir=tmp_path / "i", embedding_model="local:minilm", sparse="bm25", _env_file=None)
    with caplog.at_level(logging.WARNING):
        ingest(tmp_path / "a.md", settings)
    assert "(de: 1)" in caplog.text
    assert "RAG_EMBEDDING_MODEL=local:e5" in caplog.text


def test_texts_on_other_subjects_are_far_apart_without_what_a_language_has_in_common() -> None:
    encoder = CenteredE5()
    vectors = encoder.embed(
        ["Wie lange wird eine Sitzung aufbewahrt?", "How long is a session kept?", "Brot braucht Mehl und Salz."]
    )
    cosines = vectors @ vectors.T
    assert cosines[0, 1] > 0.6
    assert abs(cosines[0, 2]) < 0.3
