"""Choose what to quote from sources, and score how likely they answer; the score also judges models that write."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from langchain_core.documents import Document

from rag_chain.follow_ups import asks_for_more
from rag_chain.languages import DEFAULT, is_surely_foreign, language_of
from rag_chain.models.local import e5
from rag_chain.models.local.minilm import MiniLMEmbeddings
from rag_chain.models.local.question_kinds import QuestionKind
from rag_chain.models.local.quotes import Chosen
from rag_chain.models.local.reading_on import read_on, without_said
from rag_chain.models.local.selection import Encoder, Selection, select
from rag_chain.models.local.units import Unit, units
from rag_chain.models.local.words import Weights
from rag_chain.prompts import Source, title_of
from rag_chain.separable_verbs import with_whole_verb

_READ = 500
"""Characters of a source that are read to detect its language."""


class Answerer:
    """Chooses quotes and scores sources.

    Args:
        weights: returns the weights of words in the index; by default they are computed from the sources.

    Raises:
        ConfigurationError: a package of the extra ``local`` is missing.
    """

    def __init__(self, weights: Callable[[], Weights] | None = None) -> None:
        self._encoder: Encoder = MiniLMEmbeddings()
        self._foreign: Encoder | None = None
        self._weights = weights

    def select(self, question: str, standalone: str, sources: Sequence[Source], said: str = "") -> Selection:
        """Return what to quote from numbered sources, the best first.

        Args:
            question: as the user wrote it.
            standalone: the question, understandable without the history.
            sources: the retrieved sources.
            said: the previous answer; a question that asks for more continues after it.
        """
        found = [unit for source in sources for unit in _units_of(source)]
        titles = {source.number: source.title for source in sources}
        if said and asks_for_more(question):
            if more := read_on(found, said):
                return Selection(Chosen(more, more[0]), 1.0, list(titles), QuestionKind("fact"))
            found = without_said(found, said)
        if language_of(question) == "de":
            question, standalone = with_whole_verb(question), with_whole_verb(standalone)
        weights = self._weights() if self._weights else None
        encoder = self._encoder_for(question, sources)
        return select(question, standalone, found, titles, encoder, weights, said)

    def _encoder_for(self, question: str, sources: Sequence[Source]) -> Encoder:
        """The encoder for English, or the one for other languages, where it is installed."""
        if not is_surely_foreign(question) and all(language_of(s.text[:_READ]) == DEFAULT for s in sources[:1]):
            return self._encoder
        if not e5.is_installed():
            return self._encoder
        if self._foreign is None:
            self._foreign = e5.CenteredE5()
        return self._foreign

    def score(self, question: str, standalone: str, documents: Sequence[Document]) -> float:
        """Return how likely it is that documents answer a question, 0 to 1."""
        sources = [Source(n, title_of(document), document.page_content) for n, document in enumerate(documents, 1)]
        return self.select(question, standalone, sources).score


def _units_of(source: Source) -> list[Unit]:
    above = source.title.split(" > ")[1:-1]
    return units(source.number, source.text, heading_of(source.title), above=above, is_code=_is_code(source.title))


def heading_of(title: str) -> str:
    """Return the innermost heading in a source's title: ``"a.md > Sessions > Expiry"`` -> ``"Expiry"``; else empty."""
    _, arrow, heading = title.rpartition(" > ")
    return heading if arrow else ""


_CODE = frozenset("py js ts tsx jsx java c h cc cpp hpp cs go rs rb php sh bash sql kt swift scala lua pl r jl".split())  # noqa: SIM905


def _is_code(title: str) -> bool:
    name = title.partition(" > ")[0].rpartition("/")[2]
    return name.rpartition(".")[2].lower() in _CODE if "." in name else False
