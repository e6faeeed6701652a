"""What a Japanese sentence says is done: its verbs and nouns of action, each with the nouns and adverbs of it.

Knows no order and no length: :mod:`motion_service.prompt.ja` puts sentences together.
"""

from __future__ import annotations

from typing import Final

from motion_service.prompt.ja_lexicon import Row
from motion_service.prompt.ja_predicates import Argument, Predicate, best_row, unnamed
from motion_service.prompt.ja_roles import ENDINGS, close_predicate
from motion_service.prompt.ja_tokens import Token

__all__ = ["sentence_to_predicates", "split_sentences"]

_PEOPLE: Final = ("手", "者", "員", "人", "家", "師", "士", "生", "客", "さん", "ちゃん", "たち", "達", "役")
_GOES: Final = frozenset([None, "walk", "run", "swim", "turn", "jump"])
_LOOKS: Final = frozenset("様子 感じ 姿 格好 かっこう 態勢 体勢 姿勢".split())
_STEPS: Final = Row("v5", (), "walk", True, "steps{way}", "", True)


def split_sentences(tokens: list[Token]) -> list[list[Token]]:
    """Tokens cut after 。 ! ? and line breaks; no sentence is empty."""
    sentences: list[list[Token]] = [[]]
    for token in tokens:
        sentences[-1].append(token)
        if token.text in ("。", ".", "!", "?", "\n", "♪", "→", "⇒", "➔", ">"):
            sentences.append([])
    return [sentence for sentence in sentences if any(token.kind != "mark" for token in sentence)]


def sentence_to_predicates(tokens: list[Token]) -> list[Predicate]:
    """Everything that the sentence says is done or is so, in order."""
    return _Sentence(tokens).read()


class _Sentence:
    """Walks over the words of one sentence once."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.found: list[Predicate] = []
        self.arguments: list[Argument] = []
        self.manners: list[Token] = []
        self.held: list[Token] = []  # nouns of action that no verb has taken yet
        self.words = {token.text for token in tokens}
        self.is_figure = False  # an idiom stands before: 首を長くして待つ

    def read(self) -> list[Predicate]:
        at = 0
        while at < len(self.tokens):
            token = self.tokens[at]
            if token.kind in ("noun", "unknown"):
                at = self._noun(at)
            elif token.kind in ("verb", "adjective"):
                at = self._verb(at)
            elif token.kind == "adverb":
                self.manners.append(token)
                at += 1
            elif token.kind == "phrase":
                at = self._phrase(at)
            elif token.kind == "copula":
                at = self._copula(at)
            else:
                at += 1
        self._take_held(frozenset(["noun"]), len(self.tokens))
        self._take_mimetic()
        return self.found

    def _noun(self, at: int) -> int:
        token = self.tokens[at]
        following = self._text(at + 1)
        particle = following if self._kind(at + 1) == "particle" else ""
        if token.text == "てを":
            particle = "を"
        if any(row.kind == "form" for row in token.rows) and self._form_noun(token):
            return at + 1
        if any(row.kind == "vs" for row in token.rows):
            self.held.append(token)
        self.arguments.append(Argument(token, particle))
        if self.found and self.found[-1].role == "attribute":
            self._modified_by(token, at)
        return at + 1

    def _form_noun(self, token: Token) -> bool:
        """踊るポーズ, お辞儀のポーズ, お辞儀お願い: what stands before is done."""
        if self.found and self.found[-1].role in ("attribute", "side") and not self.held:
            if self.found[-1].action == "none" or self.found[-1].kind == "plain":
                self.found[-1].kind, self.found[-1].row = "action", unnamed(self.found[-1].row)
            at = self.tokens.index(token)
            is_manner = token.text in _LOOKS and self._text(at + 1) == "で" and at + 2 < len(self.tokens)
            self.found[-1].role = "side" if is_manner else "main"
            self.found[-1].end = token.end
            return True
        taken = bool(self.held)
        self._take_held(frozenset(["noun"]), self.tokens.index(token), force=True)
        return taken

    def _modified_by(self, noun: Token, at: int) -> None:
        """走る少年: a person after a plain verb does it; any other noun only says which one."""
        predicate = self.found[-1]
        if "who" in noun.categories or noun.text.endswith(_PEOPLE):
            predicate.role, predicate.who, predicate.end = "relative", noun, noun.end
        else:
            predicate.role = "side"

    def _verb(self, at: int) -> int:
        token = self.tokens[at]
        is_carrier = any(row.kind == "do" for row in token.rows)
        if is_carrier and self.held and self._carry(token, at):
            return self._close(at)
        if token.kind == "adjective":
            if "adverb" in token.forms or "te" in token.forms:
                self.manners.append(token)
                return at + 1
            if self._kind(at + 1) == "noun":
                self.manners.append(token)
                return at + 1
            return self._add(Predicate(token.start, token.end, "state", "main", None, token, token.forms), at)
        if token.lemma in ("する", "させる") and self._mimetic_verb(token):
            return self._close(at)
        row = self._row(token)
        kind = "plain"
        if row is not None:
            kind = "chat" if row.kind == "chat" else "action" if row.is_known else "plain"
        elif token.gloss in ("to be", "to have", "to become"):
            kind = "chat"
        if is_carrier and (row is None or not row.is_known):
            kind = "do"
        if kind == "action" and (self._is_bodiless() or self.is_figure):
            kind = "chat"
        if self.held and (manner := self._way_of_going(row)) is not None:
            row, kind = manner, "action"
        start = self.arguments[0].token.start if self.arguments else token.start
        self.held = []
        return self._add(Predicate(start, token.end, kind, "main", row, token, token.forms), at)

    def _way_of_going(self, row: Row | None) -> Row | None:
        """四つん這いで進む, 小走りで駆け寄る: the noun says how one goes."""
        held = next((a.token for a in reversed(self.arguments) if a.particle == "で"), None)
        if held is None or held is not self.held[-1] or (row is not None and row.action not in _GOES):
            return None
        return self._row(held)

    def _is_bodiless(self) -> bool:
        """電車が走る, 話が飛ぶ: what has no body does no motion."""
        subject = next((a.token for a in reversed(self.arguments) if a.particle == "が"), None)
        if subject is None or "who" in subject.categories or any(row.kind == "body" for row in subject.rows):
            return False
        return bool(subject.categories & {"world", "weather", "vehicle"})

    def _carry(self, verb: Token, at: int) -> bool:
        """お辞儀をする, ジャンプとキックを見せて: the nouns are what is done."""
        last = next((a for a in reversed(self.arguments) if a.token is self.held[-1]), None)
        if last is None or last.particle not in (
            "を",
            "",
            "も",
            "は",
            "でも",
            "とか",
            "だけ",
            "の",
            "と",
            "から",
            "や",
            "か",
            "って",
            "が",
        ):
            return False
        if last.particle == "が" and verb.lemma != "する":
            return False
        count = len(self.found)
        self._take_held(verb.forms, at, force=True, end=verb.end)
        return len(self.found) > count

    def _mimetic_verb(self, verb: Token) -> bool:
        """ぴょんぴょんする, 手をひらひらさせる: the mimetic word is what is done."""
        mimetic = next((m for m in reversed(self.manners) if m.rows and m.rows[0].action), None)
        objects = [a.token for a in self.arguments if a.particle == "を"]
        row = self._row(mimetic) if mimetic is not None else None
        if mimetic is None or row is None:
            return False
        if row.action not in _GOES and not all(any(r.kind == "body" for r in t.rows) for t in objects):
            return False
        self._add_plain(mimetic, row, verb.forms, verb.end)
        return True

    def _take_held(self, forms: frozenset[str], at: int, force: bool = False, end: int | None = None) -> None:
        """Turn the held nouns of action into predicates; without ``force`` only where the last ends the sentence."""
        ways = {id(a.token) for a in self.arguments if a.particle == "で"}  # つま先立ちで背伸び: in what manner
        held, self.held = [t for t in self.held[:-1] if id(t) not in ways] + self.held[-1:], []
        if not held:
            return
        if not force and not self._ends_sentence(held[-1]):
            return
        for index, token in enumerate(held):
            is_last = index == len(held) - 1
            said = forms if index == len(held) - 1 else frozenset(["noun"])
            row = self._row(token, said)
            if row is not None:
                stop = end if is_last and end is not None else token.end
                self._add_plain(token, row, said, stop, role="main" if is_last else "then")

    def _ends_sentence(self, token: Token) -> bool:
        rest = self.tokens[self.tokens.index(token) + 1 :]
        words = [t for t in rest if t.kind not in ("mark", "length", "adverb")]
        if not words:
            return True
        if words[0].kind == "copula" and words[0].text in (
            "ください",
            "下さい",
            "だ",
            "ちょうだい",
            "頂戴",
            "くださいね",
            "だよ",
        ):
            return True
        if words[0].kind == "link":
            return True
        after = rest[0] if rest else None
        if (
            after is not None
            and after.text in ("、", ",", " ")
            and not any(t.kind in ("verb", "copula", "adjective", "phrase") for t in words)
        ):
            return True
        words = [t for t in words if not any(row.kind == "way" for row in t.rows) and t.text not in ("に", "の")]
        endings = ENDINGS | {"を", "で", "と", "から", "へ", "も", "や"}
        return all(t.kind == "particle" and t.text in endings and t.text != "か" for t in words)

    def _take_mimetic(self) -> None:
        """てくてく alone: walking."""
        if any(p.kind in ("action", "chat", "state", "phrase") for p in self.found):
            return
        mimetic = next((m for m in reversed(self.manners) if m.rows and m.rows[0].action), None)
        if any(p.kind == "plain" for p in self.found):
            return
        if mimetic is None:
            self._take_steps()
            return
        row = self._row(mimetic)
        if row is not None and row.action:
            forms = self.found[-1].forms if self.found else frozenset(["noun"])
            self.found.clear()
            self._add_plain(mimetic, row, forms, mimetic.end)

    def _take_steps(self) -> None:
        """左に2歩, もっと前へ: steps without a verb."""
        steps = next((m for m in self.manners if m.text.endswith("歩")), None)
        ways = [a for a in self.arguments if "way" in a.token.categories]
        last = [token for token in self.tokens if token.kind not in ("mark", "length")][-1:]
        is_bare = bool(last) and last[0].text in ("へ", "に") and len(self.tokens) <= 5
        if ways and not self.found and (steps is not None or is_bare):
            token = steps or ways[-1].token
            self._add_plain(token, _STEPS, frozenset(["noun"]), token.end)

    def _phrase(self, at: int) -> int:
        token = self.tokens[at]
        row = token.rows[0]
        if row.action == "none" or not row.is_known:
            self.is_figure = any(particle in token.text for particle in "をがに")
            return at + 1
        return self._add(Predicate(token.start, token.end, "phrase", "main", row, token, frozenset(["phrase"])), at)

    def _copula(self, at: int) -> int:
        token = self.tokens[at]
        if token.text in ("ください", "下さい", "ちょうだい", "頂戴", "くださいね", "ましょう"):
            if self.held:
                self._take_held(frozenset(["request"]), at, force=True, end=token.end)
            elif self.found:
                self.found[-1].forms |= {"request"}
            return at + 1
        if self.found and self.found[-1].end == token.start and self.found[-1].kind != "state":
            self.found[-1].tail |= {"です"}
            return at + 1
        if self.held and self._ends_sentence(self.held[-1]):
            return at + 1
        self.held = []
        start = self.arguments[0].token.start if self.arguments else token.start
        predicate = Predicate(start, token.end, "state", "main", None, token, frozenset())
        return self._add(predicate, at)

    def _add_plain(self, token: Token, row: Row, forms: frozenset[str], end: int, role: str = "main") -> None:
        start = min([token.start, *(a.token.start for a in self.arguments)])
        kind = "action" if row.is_known else "plain"
        predicate = Predicate(start, end, kind, role, row, token, forms, is_noun="noun" in forms)
        predicate.arguments, predicate.manners = tuple(self.arguments), tuple(self.manners)
        self.found.append(predicate)

    def _add(self, predicate: Predicate, at: int) -> int:
        predicate.arguments, predicate.manners = tuple(self.arguments), tuple(self.manners)
        self.found.append(predicate)
        return self._close(at)

    def _close(self, at: int) -> int:
        """Give the newest predicate its role from the words after it; returns where to read on."""
        predicate = self.found[-1]
        predicate.who = next((a.token for a in predicate.arguments if "who" in a.token.categories), None)
        self.arguments, self.manners = [], []
        self.is_figure = self.is_figure and predicate.kind == "do"
        return close_predicate(predicate, self.tokens, at + 1)

    def _row(self, token: Token, forms: frozenset[str] | None = None) -> Row | None:
        rows = token.rows
        if token.kind == "noun":
            rows = tuple(row for row in rows if row.kind == "vs")
        before = [
            a for p in self.found[-1:] for a in p.arguments if not any(x.particle == "を" for x in self.arguments)
        ]
        return best_row(rows, self.arguments, before, token.forms if forms is None else forms, self.words)

    def _kind(self, at: int) -> str:
        return self.tokens[at].kind if at < len(self.tokens) else ""

    def _text(self, at: int) -> str:
        return self.tokens[at].text if at < len(self.tokens) else ""
