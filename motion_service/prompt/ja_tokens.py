"""Japanese text cut into words: the cheapest way to cover it with known words, inflected ones included.

Dynamic programming over positions. A long known word is cheaper than two short ones, a curated word than one of JMdict,
anything known than the unknown. Knows what a word is, not what the sentence means.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from motion_service.prompt.deinflect import match_endings, verb_classes
from motion_service.prompt.ja_lexicon import Dictionary, Lexicon, Row, dictionary, fold, lexicon

__all__ = ["LENGTH_MARK", "Token", "tokenise"]

LENGTH_MARK: Final = "\ue000"
"""Stands in the text where a length of time was taken out."""


@dataclass(frozen=True, slots=True)
class Token:
    """One word."""

    start: int
    end: int
    text: str
    """Folded letters."""
    kind: str
    """noun, verb, adjective, adverb, phrase, particle, link, copula, question, mark, length, unknown."""
    lemma: str = ""
    """Dictionary form."""
    rows: tuple[Row, ...] = ()
    """Curated rows."""
    forms: frozenset[str] = field(default=frozenset())
    gloss: str = ""
    """English of a word that only JMdict knows."""

    @property
    def categories(self) -> frozenset[str]:
        """Kinds of thing that this noun is."""
        return frozenset(
            name for row in self.rows for name in (row.category, "way" if row.kind == "way" else "") if name
        )


_PARTICLES: Final = (
    "を が は に へ で と も の から まで より や か ね よ な ぞ ぜ さ わ だけ ばかり ほど くらい ぐらい など とか って"
    " っていう という といった し けど けれど けれども のに ので たら なら ながら つつ まま ように ような よう"
    " みたいに みたいな"
    " みたい かのように かのような ために ため ずつ でも には では とは へと への での との からの までに こそ しか"
    " さえ"
    " っぽく っぽい ふうに 風に 風 ながらも かな かしら のは のが のを のも のに のよ のね なの なのに のような"
    " のように"
    " こと もの とき 時 ときに 時に 途中 途中で 最中 際 間 あいだ 後 あと 後で あとで 後に あとに ところ とこ たち"
    " 達 さん ちゃん"
    " くん 君 様 さま お ご 的に 的な たびに なあ ねえ もん からね からさ けどね わけ はず つもり 必要"
    " この その あの そんな こんな あんな ああ こう そう って言って って感じ"
).split()
_COPULAS: Final = (
    "です だ でした でしょう だった である だよ だね ですね ですよ ですか でしょうか だろう だろ でしょ なんです"
    " んです んですけど"
    " んだ のです のだ ではない じゃない じゃありません ではありません ではなく じゃなく じゃなくて ではなくて"
    " らしい そうです だそうです"
    " だから ですから ですが だけど ですけど でして だって だと だけれど っけ ですよね だよね なのです みたいだ"
    " みたいです"
    " いい よい 良い ない なさそう 無い すごい 凄い 大切 大事 ありがたい かもしれません かもしれない かも"
    " にすぎない ください 下さい ちょうだい 頂戴 ましょう"
).split()
_LINKS: Final = (
    "それから そして その後 その後で その後に そのあと そのあとで そのあとに 次に つぎに 次は つぎは 続けて"
    " つづけて 続いて つづいて"
    " 最後に さいごに 最後は さらに すると ついで ついでに 次いで あとは 後は 終わったら おわったら"
    " それが終わったら そしたら それで"
    " まず まずは 最初に さいしょに はじめに 初めに 最初は 同時に どうじに その間 一方で しかし でも だけど"
    " けれども ところで ちなみに また"
    " なぜなら なので だから したがって そのため つまり たとえば 例えば 今度は こんどは 全部で 合計で 合計 あわせて"
    " トータルで"
).split()
_QUESTIONS: Final = (
    "何 なに なん 何で なんで なぜ 何故 どうして どう どうやって どうすれば どんな どの どれ どれくらい どのくらい"
    " どこ どちら いつ 誰 だれ いくつ いくら"
).split()
_LOW: Final = frozenset("お ご さ な や わ し 君 様 くん 間 風 際 後 時".split())

_FUNCTION: Final[dict[str, str]] = {
    **{fold(word): "particle" for word in _PARTICLES},
    **{fold(word): "copula" for word in _COPULAS},
    **{fold(word): "link" for word in _LINKS},
    **{fold(word): "question" for word in _QUESTIONS},
}
_LONGEST_FUNCTION: Final = max(map(len, _FUNCTION))
_HIRAGANA: Final = re.compile(r"[ぁ-ゖー]+")
_KATAKANA: Final = re.compile(r"[ァ-ヺー]+")
_RUN: Final = re.compile(r"[ァ-ヺー]+|[a-z0-9'.+-]+", re.IGNORECASE)
_MARKS: Final = frozenset(" 、。,.!?・…:;&/\n\t♪~-=+'→⇒➔>" + LENGTH_MARK)
_COUNTED: Final = re.compile(
    r"(?:[0-9]+|[一二三四五六七八九十百数何半]{1,6})(?:歩|回転|回|度|人|周|時|日|月|年|匹|本|個|枚|階|番目|つ|発|段|メートル|センチ|キロ|円)(?!目)"
)


def tokenise(text: str) -> list[Token]:
    """Words of normalised ``text`` in order; every character belongs to one, blanks and punctuation are marks."""
    folded = fold(text)
    text = text if _HIRAGANA.search(text) else folded  # all in katakana: its runs are no words
    known, more = lexicon(), dictionary()
    costs: list[float] = [0.0] + [float("inf")] * len(text)
    back: list[Token | None] = [None] * (len(text) + 1)
    for start in range(len(text)):
        if costs[start] == float("inf"):
            continue
        for cost, token in _candidates(text, folded, start, known, more):
            total = costs[start] + cost
            if total < costs[token.end] - 1e-9:
                costs[token.end], back[token.end] = total, token
    tokens: list[Token] = []
    at = len(text)
    while at > 0 and (last := back[at]) is not None:
        tokens.append(last)
        at = last.start
    return tokens[::-1]


def _candidates(text: str, folded: str, start: int, known: Lexicon, more: Dictionary) -> list[tuple[float, Token]]:
    letter = folded[start]
    if letter in _MARKS:
        kind = "length" if letter == LENGTH_MARK else "mark"
        return [(0.1, Token(start, start + 1, letter, kind))]
    found = _unknown(text, folded, start)
    if counted := _COUNTED.match(folded, start):
        found.append((1.2, Token(start, counted.end(), counted.group(), "adverb", counted.group())))
    _function_words(folded, start, found)
    _plain_words(text, folded, start, known, more, found)
    _verbs(folded, start, known, more, found)
    return [(cost + _broken_run(text, token) + _katakana_verb(text, token), token) for cost, token in found]


def _unknown(text: str, folded: str, start: int) -> list[tuple[float, Token]]:
    run = _RUN.match(text, start)
    if run and (start == 0 or not _RUN.match(text, start - 1)):
        found = [(2.5, Token(start, run.end(), folded[start : run.end()], "unknown", run.group()))]
    else:
        found = []
    return [*found, (2.4, Token(start, start + 1, folded[start], "unknown", folded[start]))]


def _function_words(folded: str, start: int, found: list[tuple[float, Token]]) -> None:
    for end in range(start + 1, min(start + _LONGEST_FUNCTION, len(folded)) + 1):
        word = folded[start:end]
        if kind := _FUNCTION.get(word):
            found.append((1.5 if word in _LOW else 0.9, Token(start, end, word, kind, word)))


def _plain_words(
    text: str, folded: str, start: int, known: Lexicon, more: Dictionary, found: list[tuple[float, Token]]
) -> None:
    for end in range(start + 1, min(start + max(known.longest, 12), len(folded)) + 1):
        word = folded[start:end]
        is_kana = _HIRAGANA.fullmatch(text, start, end) is not None
        if rows := known.words.get(word):
            kind = {"adv": "adverb", "phrase": "phrase"}.get(rows[0].kind, "noun")
            cost = 0.8 if rows[0].kind == "form" else 0.85 if not is_kana else 1.0 if len(word) > 2 else 1.5
            found.append((cost, Token(start, end, word, kind, word, rows)))
        elif (
            (gloss := more.glosses.get(word)) is not None and not (is_kana and len(word) < 3) and word not in _FUNCTION
        ):
            if gloss.startswith("to "):
                continue
            kind = "adverb" if gloss.endswith("ly") else "noun"
            found.append((1.9 if is_kana else 1.3, Token(start, end, word, kind, word, (), frozenset(), gloss)))


def _verbs(folded: str, start: int, known: Lexicon, more: Dictionary, found: list[tuple[float, Token]]) -> None:
    for end in range(start, min(start + 8, len(folded)) + 1):
        root = folded[start:end]
        is_kana = end == start or _HIRAGANA.fullmatch(root) is not None
        for lemma, word_class in known.roots.get(root, ()):
            cost = (
                1.0
                - 0.05 * len(root)
                + (0.0 if lemma == "する" else 0.5 if is_kana and len(root) < 2 else 0.2 if is_kana else 0.0)
            )
            rows = known.verbs[lemma]
            cost += 0.1 if all(row.needs for row in rows) else 0.0
            for ending in match_endings(folded, end, word_class):
                if ending.end > start and ("honour" not in ending.forms or folded[start - 1 : start] in ("お", "ご")):
                    found.append(
                        (cost, Token(start, ending.end, folded[start : ending.end], "verb", lemma, rows, ending.forms))
                    )
        if end == start or (is_kana and len(root) < 2):
            continue
        for lemma in more.roots.get(root, "").split():
            if lemma in known.verbs:
                continue
            gloss = more.glosses[lemma]
            is_verb = gloss.startswith("to ")
            for word_class in verb_classes(lemma) if is_verb else ("adj",):
                for ending in match_endings(folded, end, word_class):
                    if "honour" in ending.forms:
                        continue
                    cost = 2.0 if is_kana else 1.6
                    kind = "verb" if is_verb else "adjective"
                    token = Token(start, ending.end, folded[start : ending.end], kind, lemma, (), ending.forms, gloss)
                    found.append((cost, token))


def _katakana_verb(text: str, token: Token) -> float:
    """シャベル is rather a shovel than しゃべる."""
    return 0.8 if token.kind == "verb" and _KATAKANA.fullmatch(text, token.start, token.end) else 0.0


def _broken_run(text: str, token: Token) -> float:
    """What it costs to start or stop within a run of katakana."""
    cost = 0.0
    for at in (token.start, token.end):
        if 0 < at < len(text) and "ァ" <= text[at - 1] <= "ー" and "ァ" <= text[at] <= "ー":
            cost += 0.8
    return cost
