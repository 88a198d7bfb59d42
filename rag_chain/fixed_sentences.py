"""Sentences that are said without a model, in twelve languages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rag_chain.languages import DEFAULT, language_of
from rag_chain.safe_text import printable

_MOST_TITLES = 3

SENTENCES: Final[Mapping[str, Mapping[str, str]]] = {
    "refusal": {
        "en": "The documents do not say.",
        "de": "Die Dokumente sagen dazu nichts.",
        "fr": "Les documents ne le disent pas.",
        "es": "Los documentos no lo dicen.",
        "pt": "Os documentos não dizem isso.",
        "it": "I documenti non lo dicono.",
        "nl": "De documenten zeggen dit niet.",
        "ru": "В документах об этом не говорится.",
        "zh": "文档中没有说明。",
        "ja": "文書には書かれていません。",
        "ko": "문서에 나와 있지 않습니다.",
        "ar": "لا تذكر المستندات ذلك.",
    },
    "closest": {
        "en": "Closest matches:",
        "de": "Am nächsten kommen:",
        "fr": "Passages les plus proches :",
        "es": "Lo más parecido:",
        "pt": "O mais próximo:",
        "it": "Passaggi più vicini:",
        "nl": "Dichtstbijzijnde passages:",
        "ru": "Ближайшие совпадения:",
        "zh": "最接近的内容：",
        "ja": "最も近い箇所：",
        "ko": "가장 가까운 내용:",
        "ar": "أقرب النتائج:",
    },
    "no_documents": {
        "en": "There are no documents yet. Add some, then ask again.",
        "de": "Es gibt noch keine Dokumente. Füge welche hinzu und frage dann noch einmal.",
        "fr": "Il n'y a pas encore de documents. Ajoutez-en, puis reposez la question.",
        "es": "Todavía no hay documentos. Añade algunos y vuelve a preguntar.",
        "pt": "Ainda não há documentos. Adicione alguns e pergunte de novo.",
        "it": "Non ci sono ancora documenti. Aggiungine e poi chiedi di nuovo.",
        "nl": "Er zijn nog geen documenten. Voeg er toe en vraag het dan opnieuw.",
        "ru": "Документов пока нет. Добавьте их и спросите ещё раз.",
        "zh": "还没有文档。请先添加文档，然后再提问。",
        "ja": "まだ文書がありません。文書を追加してから、もう一度質問してください。",
        "ko": "아직 문서가 없습니다. 문서를 추가한 뒤 다시 질문해 주세요.",
        "ar": "لا توجد مستندات بعد. أضف بعضها ثم اسأل مرة أخرى.",
    },
    "greeting": {
        "en": "Hello! Ask me a question about the documents.",
        "de": "Hallo! Stelle mir eine Frage zu den Dokumenten.",
        "fr": "Bonjour ! Posez-moi une question sur les documents.",
        "es": "¡Hola! Hazme una pregunta sobre los documentos.",
        "pt": "Olá! Faça-me uma pergunta sobre os documentos.",
        "it": "Ciao! Fammi una domanda sui documenti.",
        "nl": "Hallo! Stel me een vraag over de documenten.",
        "ru": "Здравствуйте! Задайте вопрос о документах.",
        "zh": "你好！请就文档提问。",
        "ja": "こんにちは。文書について質問してください。",
        "ko": "안녕하세요! 문서에 대해 질문해 주세요.",
        "ar": "مرحبًا! اسألني سؤالًا عن المستندات.",
    },
    "thanks": {
        "en": "You're welcome.",
        "de": "Gern geschehen.",
        "fr": "Je vous en prie.",
        "es": "De nada.",
        "pt": "De nada.",
        "it": "Prego.",
        "nl": "Graag gedaan.",
        "ru": "Пожалуйста.",
        "zh": "不客气。",
        "ja": "どういたしまして。",
        "ko": "천만에요.",
        "ar": "على الرحب والسعة.",
    },
    "farewell": {
        "en": "Goodbye!",
        "de": "Auf Wiedersehen!",
        "fr": "Au revoir !",
        "es": "¡Hasta luego!",
        "pt": "Até logo!",
        "it": "Arrivederci!",
        "nl": "Tot ziens!",
        "ru": "До свидания!",
        "zh": "再见！",
        "ja": "さようなら。",
        "ko": "안녕히 가세요!",
        "ar": "مع السلامة!",
    },
    "agreement": {
        "en": "All right. Ask me anything else about the documents.",
        "de": "In Ordnung. Frage mich gern noch etwas zu den Dokumenten.",
        "fr": "D'accord. Posez-moi une autre question sur les documents.",
        "es": "De acuerdo. Pregúntame otra cosa sobre los documentos.",
        "pt": "Certo. Pergunte-me outra coisa sobre os documentos.",
        "it": "Va bene. Chiedimi altro sui documenti.",
        "nl": "Prima. Vraag me gerust nog iets over de documenten.",
        "ru": "Хорошо. Спросите ещё что-нибудь о документах.",
        "zh": "好的。您可以继续就文档提问。",
        "ja": "わかりました。文書についてほかにも質問してください。",
        "ko": "알겠습니다. 문서에 대해 더 질문해 주세요.",
        "ar": "حسنًا. اسألني شيئًا آخر عن المستندات.",
    },
    "who": {
        "en": "I answer questions about the documents in this index, with their sources.",
        "de": "Ich beantworte Fragen zu den Dokumenten in diesem Index und nenne die Quellen.",
        "fr": "Je réponds aux questions sur les documents de cet index, avec leurs sources.",
        "es": "Respondo preguntas sobre los documentos de este índice, con sus fuentes.",
        "pt": "Respondo a perguntas sobre os documentos deste índice, com as fontes.",
        "it": "Rispondo a domande sui documenti di questo indice, con le fonti.",
        "nl": "Ik beantwoord vragen over de documenten in deze index, met bronnen.",
        "ru": "Я отвечаю на вопросы о документах этого индекса и называю источники.",
        "zh": "我回答有关此索引中文档的问题，并注明出处。",
        "ja": "このインデックスの文書に関する質問に、出典を示して答えます。",
        "ko": "이 색인에 있는 문서에 대한 질문에 출처와 함께 답합니다.",
        "ar": "أجيب عن الأسئلة المتعلقة بمستندات هذا الفهرس مع ذكر مصادرها.",
    },
    "last_question": {
        "en": "You asked: {question}",
        "de": "Du hast gefragt: {question}",
        "fr": "Vous avez demandé : {question}",
        "es": "Preguntaste: {question}",
        "pt": "Você perguntou: {question}",
        "it": "Hai chiesto: {question}",
        "nl": "Je vroeg: {question}",
        "ru": "Вы спросили: {question}",
        "zh": "您问的是：{question}",
        "ja": "質問はこれでした：{question}",
        "ko": "질문: {question}",
        "ar": "سألتَ: {question}",
    },
    "summary": {
        "en": "So far you asked:",
        "de": "Bisher hast du gefragt:",
        "fr": "Jusqu'ici, vous avez demandé :",
        "es": "Hasta ahora preguntaste:",
        "pt": "Até agora você perguntou:",
        "it": "Finora hai chiesto:",
        "nl": "Tot nu toe vroeg je:",
        "ru": "До сих пор вы спрашивали:",
        "zh": "到目前为止您问过：",
        "ja": "これまでの質問：",
        "ko": "지금까지의 질문:",
        "ar": "سألتَ حتى الآن:",
    },
    "nothing_yet": {
        "en": "Nothing has been said in this conversation yet.",
        "de": "In diesem Gespräch wurde noch nichts gesagt.",
        "fr": "Rien n'a encore été dit dans cette conversation.",
        "es": "Todavía no se ha dicho nada en esta conversación.",
        "pt": "Ainda não se disse nada nesta conversa.",
        "it": "In questa conversazione non è ancora stato detto nulla.",
        "nl": "In dit gesprek is nog niets gezegd.",
        "ru": "В этом разговоре ещё ничего не сказано.",
        "zh": "这次对话中还没有任何内容。",
        "ja": "この会話ではまだ何も話していません。",
        "ko": "이 대화에는 아직 내용이 없습니다.",
        "ar": "لم يُقل شيء في هذه المحادثة بعد.",
    },
    "yes": {
        "en": "Yes.", "de": "Ja.", "fr": "Oui.", "es": "Sí.", "pt": "Sim.", "it": "Sì.",
        "nl": "Ja.", "ru": "Да.", "zh": "是。", "ja": "はい。", "ko": "네.", "ar": "نعم.",
    },
    "no": {
        "en": "No.", "de": "Nein.", "fr": "Non.", "es": "No.", "pt": "Não.", "it": "No.",
        "nl": "Nee.", "ru": "Нет.", "zh": "不。", "ja": "いいえ。", "ko": "아니요.", "ar": "لا.",
    },
}  # fmt: skip


def sentence(name: str, language: str = DEFAULT) -> str:
    """Return a fixed sentence in a language; in English if there is none in that language."""
    return SENTENCES[name].get(language, SENTENCES[name][DEFAULT])


def refusal(question: str, titles: Sequence[str]) -> str:
    """Return the refusal in the question's language, with the titles of the closest documents."""
    language = language_of(question)
    nearest = list(dict.fromkeys(printable(title) for title in titles))[:_MOST_TITLES]
    text = sentence("refusal", language)
    return f"{text} {sentence('closest', language)} {'; '.join(nearest)}." if nearest else text


def is_refusal(text: str) -> bool:
    """Whether a text begins with a refusal in one of the languages."""
    start = text.lstrip().casefold()
    return any(start.startswith(each.casefold().rstrip(".。")) for each in SENTENCES["refusal"].values())
