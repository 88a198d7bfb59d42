"""Turns about the conversation itself: greetings, thanks, "what did I just ask?". They need no documents.

A pattern must match the whole message, so that no question about documents is mistaken for small talk.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from rag_chain.chain.citations import without_marks
from rag_chain.fixed_sentences import sentence
from rag_chain.languages import language_of

FIXED_KINDS = frozenset(["greeting", "thanks", "farewell", "agreement", "who"])
"""Kinds of turns that get a fixed sentence from every model."""

_MOST_LETTERS = 120
_LONGEST_QUOTED = 200
_MOST_QUESTIONS = 20

_POLITE = (
    r"(?:(?:please|pls|bitte|s'il (?:te|vous) pla[iî]t|por favor|per favore|alsjeblieft|then|now|again"
    r"|there|all|everyone|so much|very much|a lot|for (?:that|this|your help|the help|the answer|everything|now)) ?)*"
)
_WORDS = {
    "greeting": r"hi+|hello|hey|hiya|howdy|greetings|good (?:morning|afternoon|evening|day)"
    r"|how are you(?: doing)?(?: today)?|what'?s up"
    r"|(?:hi|hello|hey)[, ]+how are you(?: doing)?(?: today)?|hallo|guten (?:tag|morgen|abend)|moin|servus"
    r"|gr[uü](?:ß|ss) (?:gott|dich)|wie geht(?: e?s|'s)(?: dir| ihnen)?"
    r"|bonjour|salut|bonsoir|coucou|ça va|hola|buen[oa]s (?:d[ií]as|tardes|noches)|ol[aá]|bom dia|boa (?:tarde"
    r"|noite)|ciao|buongiorno"
    r"|buonasera|salve|goed(?:emorgen|emiddag|enavond|endag)|hoi|привет|здравствуй(?:те)?|добр(?:ый день"
    r"|ое утро|ый вечер)|你好|您好|嗨|早上好|こんにちは|おはよう(?:ございます)?|こんばんは|안녕(?:하세요"
    r"|하십니까)?|مرحبا|السلام عليكم|أهلا",
    "thanks": r"(?:ok(?:ay)?|great|perfect|super|cool|nice)?[ ,]*(?:many )?(?:thanks|thank you|thx|ty|cheers"
    r"|much appreciated)|(?:vielen |besten |herzlichen )?dank(?:e(?: ?schön| ?sehr)?)?|merci(?: beaucoup"
    r"| bien)?|(?:muchas )?gracias"
    r"|(?:muito )?obrigad[oa]|(?:mille )?grazie(?: mille)?|(?:hartelijk )?(?:dank je|dank u|bedankt)(?: wel)?"
    r"|(?:большое )?спасибо(?: большое)?|谢谢(?:你|您)?|多谢|感谢|ありがとう(?:ございます|ございました)?"
    r"|감사합니다|고마워요?|고맙습니다|شكرا(?: جزيلا)?",
    "farewell": r"(?:good ?)?bye(?: ?bye)?|see (?:you|ya)(?: later| soon| tomorrow)?|farewell|good night"
    r"|auf wiedersehen|tschü(?:ss|ß)|bis (?:bald|später|dann)|gute nacht|au revoir"
    r"|à bientôt|adi[oó]s|hasta (?:luego|pronto|mañana)|tchau|até (?:logo|mais)|arrivederci|tot ziens|doei"
    r"|до свидания|пока|再见|拜拜|さようなら|안녕히 (?:가|계)세요|مع السلامة",
    "agreement": r"(?:ok(?:ay)?|alright|all right|i see|got it|understood|makes sense|great|perfect|good|nice"
    r"|cool|awesome|interesting|fine|sure|never ?mind|that(?:'s| is) (?:all|it|great|fine|good|helpful"
    r"|interesting)|no(?:thing)? (?:more|further) questions?)(?: (?:great|good|cool|nice|perfect))?"
    r"|verstanden|alles klar|in ordnung|d'accord|très bien|entendu|de acuerdo|vale|entendido|va bene|capito"
    r"|begrepen|понятно|хорошо|好的|明白了|知道了|わかりました|なるほど|알겠습니다|حسنا",
    "who": r"who are you|what are you|are you (?:a |an )?(?:bot|robot|human|ai|person|machine|chatbot|assistant"
    r"|real)|what(?:'s| is) your name|what can you do(?: for me)?|how (?:can|do) you (?:help(?: me)?|work)"
    r"|what do you do|introduce yourself|help"
    r"|wer bist du|wer sind sie|was kannst du(?: tun)?|wie hei(?:ß|ss)t du|qui es[- ]tu|qui êtes[- ]vous"
    r"|que (?:peux[- ]tu|pouvez[- ]vous) faire|qui[eé]n eres|qu[eé] puedes hacer|quem (?:é|e) voc[eê]"
    r"|o que voc[eê] pode fazer"
    r"|chi sei|cosa (?:puoi|sai) fare|wie ben je|wat kun je(?: doen)?|кто ты|кто вы|что ты умеешь|你是谁|您是谁"
    r"|你能做什么"
    r"|あなたは(?:誰|だれ)(?:ですか)?|何ができますか|누구세요|당신은 누구(?:입니까|세요)|من أنت|ماذا يمكنك أن تفعل",
    "last_question": r"what (?:did i|have i|was it i) (?:just |last |previously )?(?:ask(?:ed)?|sa(?:y"
    r"|id))(?: you)?(?: (?:just now|before(?: that| this)?|last|previously|earlier))?|what (?:was"
    r"|is) my (?:last|previous|earlier) question|(?:repeat|say) my (?:last |previous )?question"
    r"|was habe ich (?:(?:gerade|eben|zuletzt|vorhin|vorher|dich) )*gefragt|was war meine (?:letzte|vorige"
    r"|vorherige) frage|qu'est-ce que (?:j'ai|je viens de) demand(?:é|er)|quelle (?:était|est) ma (?:dernière"
    r"|précédente) question|qu[eé] (?:te )?(?:pregunt[eé]|acabo de preguntar)"
    r"|cu[aá]l fue mi [uú]ltima pregunta|o que (?:eu )?(?:acabei de perguntar|perguntei)"
    r"|cosa ho (?:appena )?chiesto|wat (?:vroeg ik|heb ik (?:net )?gevraagd)|(?:что|о чем"
    r"|о чём) я (?:только что )?(?:спросил|спросила|спрашивал)|我(?:刚才|刚刚|上次)?问(?:了|的是)?什么"
    r"|我(?:刚才|刚刚|上一个"
    r"|上个)的?问题是什么|(?:さっき|今)?(?:私は)?何を(?:聞き|質問し)ましたか|제가 (?:방금 )?(?:뭐라고"
    r"|무엇을) (?:물었|질문했)(?:나요|습니까|죠)"
    r"|ماذا سألت(?:ك)?(?: للتو)?",
    "repeat": r"(?:can you |could you |would you )?(?:please )?(?:repeat|say)(?: (?:that|it|this|yourself"
    r"|your (?:last )?answer|the (?:last )?answer|what you (?:just )?said))?(?: (?:again|once more"
    r"|one more time))?|(?:once more|one more time|come again|pardon|what did you (?:just )?say"
    r"|what was your (?:last )?answer)"
    r"|(?:kannst du |könntest du |können sie )?(?:das |die antwort )?(?:bitte )?(?:noch ?mal|noch einmal"
    r"|wiederhol\w*)(?: das)?(?: bitte)?(?: sagen| wiederholen)?|was hast du (?:gerade |eben )?gesagt"
    r"|(?:peux-tu |pouvez-vous )?rép[eé]te[rz]?(?: (?:ça|cela))?|rep[ií]te(?:lo)?|repita(?: isso)?"
    r"|ripeti(?:lo)?|herhaal(?: dat)?|повтори(?:те)?|(?:请)?(?:再说一遍|重复一[下遍]|再说一次)"
    r"|もう一度(?:言って|お願い)(?:ください|します)?"
    r"|다시 (?:한 ?번 )?말해 ?(?:주세요|줘)|أعد(?: ذلك)?|كرر",
    "summary": r"(?:can you |could you |would you )?(?:please )?(?:summari[sz]e|sum up|recap"
    r"|give (?:me )?a (?:summary|recap) of)(?: (?:our|this|the) (?:conversation|chat|discussion|talk)(?: so far"
    r"| until now)?)?|what (?:have|did) we (?:talk(?:ed)?|discuss(?:ed)?|cover(?:ed)?|sa(?:y"
    r"|id))(?: about)?(?: so far| until now| today)?|what (?:were|are) (?:all )?my questions(?: so far)?"
    r"|(?:fasse? )?(?:unser|das|dieses) gespräch(?: bitte)?(?: kurz)? zusammen(?:fassen)?|fass(?:e"
    r"|en sie)? (?:unser|das|dieses) gespräch(?: bitte)?(?: kurz)? zusammen"
    r"|worüber haben wir (?:bisher )?(?:gesprochen|geredet)|résume(?:z)? (?:notre|cette) conversation"
    r"|resume (?:nuestra|esta) conversaci[oó]n|resum[ae] (?:a )?(?:nossa|esta) conversa|riassumi (?:la nostra"
    r"|questa) conversazione|vat (?:ons|dit) gesprek samen"
    r"|(?:подытожь|резюмируй)(?:те)? (?:наш )?разговор|(?:请)?总结(?:一下)?(?:我们的?|这次)?(?:对话|谈话|聊天)"
    r"|(?:これまでの)?会話を(?:要約|まとめ)(?:して|て)(?:ください)?|(?:우리 )?대화를? 요약해 ?(?:주세요|줘)"
    r"|لخص (?:محادثتنا|المحادثة)",
}
_PATTERNS = {
    kind: re.compile(rf"(?:(?:{words})(?: {_POLITE})?)(?: (?:{words}))?", re.IGNORECASE)
    for kind, words in _WORDS.items()
}
_PUNCTUATION = re.compile(r"[!?.,;:…¡¿！？。，、؟~*()\"“”„]+")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that needs no documents.

    Args:
        kind: ``greeting``, ``thanks``, ``farewell``, ``agreement``, ``who``, ``last_question``, ``repeat`` or
            ``summary``.
        text: the reply if the model can't write.
    """

    kind: str
    text: str


def reply_to(question: str, history: Sequence[BaseMessage], summary: str = "") -> Reply | None:
    """Return the reply to a turn about the conversation itself; ``None`` for a question about the documents.

    Args:
        question: the user's message.
        history: oldest message first.
        summary: of the conversation before ``history``, or empty.
    """
    kind = kind_of_turn(question)
    if kind is None:
        return None
    language = language_of(question)
    asked = [str(message.text) for message in history if isinstance(message, HumanMessage)]
    answered = [str(message.text) for message in history if isinstance(message, AIMessage)]
    if kind in ("last_question", "repeat", "summary") and not asked:
        return Reply(kind, summary if kind == "summary" and summary else sentence("nothing_yet", language))
    if kind == "last_question":
        return Reply(kind, sentence(kind, language).format(question=_short(asked[-1])))
    if kind == "repeat":
        return Reply(kind, without_marks(answered[-1]) if answered else sentence("nothing_yet", language))
    if kind == "summary":
        own = [each for each in asked if kind_of_turn(each) is None][-_MOST_QUESTIONS:] or asked[-1:]
        lines = [summary] if summary else []
        return Reply(kind, "\n".join([*lines, sentence(kind, language), *(f"- {_short(each)}" for each in own)]))
    return Reply(kind, sentence(kind, language))


def kind_of_turn(question: str) -> str | None:
    """Return the kind of a turn about the conversation itself, see ``Reply``; else ``None``."""
    text = " ".join(_PUNCTUATION.sub(" ", question.replace("’", "'")).split())
    if not text or len(text) > _MOST_LETTERS:
        return None
    return next((kind for kind, pattern in _PATTERNS.items() if pattern.fullmatch(text)), None)


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST_QUOTED else flat[: _LONGEST_QUOTED - 1] + "…"
