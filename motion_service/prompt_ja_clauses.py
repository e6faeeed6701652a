"""What a Japanese sentence says is done, and how each action hangs together with the next.

A verb is looked up with the nouns before it (手を + 振る = wave, 首を + 振る = shake the head, 話を + 振る = no motion);
what follows it says whether it is an action of its own (〜て、), goes on meanwhile (〜ながら), or is none at all (〜たら,
〜ように). Knows no order and no length: :mod:`motion_service.prompt_ja` puts sentences together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from motion_service.prompt_ja_lexicon import Row, lexicon
from motion_service.prompt_ja_tokens import Token

__all__ = ["Argument", "Predicate", "sentence_to_predicates", "split_sentences"]


@dataclass(frozen=True, slots=True)
class Argument:
    """A noun and the particle after it, "" when there is none."""

    token: Token
    particle: str


@dataclass(slots=True)
class Predicate:
    """One verb, or noun used as one."""

    start: int
    end: int
    """Where what belongs to it stops, connective included."""
    kind: str
    """action, plain (a verb that says no known motion), chat, state (です, adjectives), phrase."""
    role: str
    """main, then, after (strictly later), while, before, relative, stop, or side (a condition, reason, comparison)."""
    row: Row | None
    token: Token
    forms: frozenset[str]
    arguments: tuple[Argument, ...] = ()
    manners: tuple[Token, ...] = ()
    who: Token | None = None
    is_noun: bool = False
    tail: frozenset[str] = field(default=frozenset())
    """Words after it that colour it: か, ね, よ."""

    @property
    def action(self) -> str | None:
        return self.row.action if self.row else None

    @property
    def is_weak(self) -> bool:
        return self.row is not None and self.row.is_weak


_OBJECT: Final = frozenset(["を", "", "は", "も", "だけ", "とか", "でも", "って"])
_ACCEPTED: Final[dict[str, frozenset[str]]] = {
    "を": _OBJECT,
    "が": frozenset(["が", "", "は", "も", "の", "って"]),
    "に": frozenset(["に", "へ", "", "には", "の", "にも", "までに", "まで"]),
    "へ": frozenset(["に", "へ", ""]),
    "で": frozenset(["で", "でも"]),
    "は": frozenset(["は"]),
    "と": frozenset(["と"]),
    "の": frozenset(["の"]),
}
_ENDINGS: Final = frozenset("ね よ な ぞ ぜ さ わ か の のね のよ なあ ねえ かな かしら って もん けど".split())
_SIMILE: Final = frozenset(
    "ように ような よう みたいに みたいな みたい かのように かのような ほど くらい ぐらい っぽく ふうに 風に".split()
)
_REASON: Final = frozenset(
    "ので のに から けど けれど けれども し なら ならば からね けどね なのに んですけど からさ".split()
)
_TIME: Final = frozenset("とき 時 ときに 時に 途中 途中で 最中 際 間 あいだ".split())
_AFTERWARDS: Final = frozenset("後 あと 後で あとで 後に あとに".split())
_NOMINAL: Final = frozenset("こと もの の ところ とこ".split())
_STOPS: Final = frozenset(["やめる", "止める", "終える", "終わる", "やめ"])
_SHOWN: Final = frozenset(
    "見せる みせる 見る みる する やる お願いする 続ける つづける 始める はじめる 頼む たのむ 披露する 見たい".split()
)


def split_sentences(tokens: list[Token]) -> list[list[Token]]:
    """Tokens cut after 。 ! ? and line breaks; no sentence is empty."""
    sentences: list[list[Token]] = [[]]
    for token in tokens:
        sentences[-1].append(token)
        if token.text in ("。", "!", "?", "\n", "♪"):
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
            self.found[-1].role = "main"
            self.found[-1].end = token.end
            return True
        taken = bool(self.held)
        self._take_held(frozenset(["noun"]), self.tokens.index(token), force=True)
        return taken

    def _modified_by(self, noun: Token, at: int) -> None:
        """走る少年: a person after a plain verb does it; any other noun only says which one."""
        predicate = self.found[-1]
        if "who" in noun.categories:
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
        if token.lemma == "する" and self._mimetic_verb(token):
            return self._close(at)
        row = self._row(token)
        kind = "plain"
        if row is not None:
            kind = "chat" if row.kind == "chat" else "action" if row.is_known else "plain"
        elif token.gloss in ("to be", "to have", "to become"):
            kind = "chat"
        if is_carrier and (row is None or not row.is_known):
            kind = "do"
        start = self.arguments[0].token.start if self.arguments else token.start
        self.held = []
        return self._add(Predicate(start, token.end, kind, "main", row, token, token.forms), at)

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
            "が",
        ):
            return False
        if last.particle == "が" and verb.lemma != "する":
            return False
        self._take_held(verb.forms, at, force=True, end=verb.end)
        return True

    def _mimetic_verb(self, verb: Token) -> bool:
        """ぴょんぴょんする: the mimetic word is what is done."""
        mimetic = next((m for m in reversed(self.manners) if m.rows and m.rows[0].action), None)
        if mimetic is None or any(a.particle == "を" for a in self.arguments):
            return False
        self._add_plain(mimetic, mimetic.rows[0], verb.forms, verb.end)
        return True

    def _take_held(self, forms: frozenset[str], at: int, force: bool = False, end: int | None = None) -> None:
        """Turn the held nouns of action into predicates; without ``force`` only where the last one ends the sentence."""
        held, self.held = self.held, []
        if not held:
            return
        if not force and not self._ends_sentence(held[-1]):
            return
        for index, token in enumerate(held):
            is_last = index == len(held) - 1
            row = self._row(token)
            if row is not None:
                stop = end if is_last and end is not None else token.end
                said = forms if is_last else frozenset(["noun"])
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
        endings = _ENDINGS | {"を", "で", "と", "から", "へ", "も", "や"}
        return all(t.kind == "particle" and t.text in endings and t.text != "か" for t in words)

    def _take_mimetic(self) -> None:
        """てくてく alone: walking."""
        if any(p.kind in ("action", "chat", "state", "phrase") for p in self.found):
            return
        mimetic = next((m for m in reversed(self.manners) if m.rows and m.rows[0].action), None)
        if mimetic is None or any(p.kind == "plain" for p in self.found):
            return
        row = self._row(mimetic)
        if row is not None and row.action:
            forms = self.found[-1].forms if self.found else frozenset(["noun"])
            self.found.clear()
            self._add_plain(mimetic, row, forms, mimetic.end)

    def _phrase(self, at: int) -> int:
        token = self.tokens[at]
        row = token.rows[0]
        if row.action == "none" or not row.is_known:
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
        return _close_predicate(predicate, self.tokens, at + 1)

    def _row(self, token: Token) -> Row | None:
        rows = token.rows
        if token.kind == "noun":
            rows = tuple(row for row in rows if row.kind == "vs")
        before = [
            a for p in self.found[-1:] for a in p.arguments if not any(x.particle == "を" for x in self.arguments)
        ]
        return best_row(rows, self.arguments, before, token.forms, self.words)

    def _kind(self, at: int) -> str:
        return self.tokens[at].kind if at < len(self.tokens) else ""

    def _text(self, at: int) -> str:
        return self.tokens[at].text if at < len(self.tokens) else ""


def best_row(
    rows: tuple[Row, ...], own: list[Argument], before: list[Argument], forms: frozenset[str], words: set[str]
) -> Row | None:
    """The most demanding row whose conditions hold; a bodiless subject (電車が) makes any motion figurative."""
    best: tuple[float, Row] | None = None
    for row in rows:
        for arguments, worth in ((own, 0.1), (own + before, 0.0)):
            scores = [_score(need, arguments, forms, words) for need in row.needs]
            if all(scores):
                score = sum(scores) + worth
                if best is None or score > best[0]:
                    best = score, row
                break
    if best is None:
        return None
    return best[1]


def _score(need: tuple[str, ...], arguments: list[Argument], forms: frozenset[str], words: set[str]) -> float:
    """How much it says that one of the alternatives holds; 0 when none does."""
    for option in need:
        if option.startswith("#"):
            if option[1:] in forms:
                return 1.0
        elif option.startswith("!"):
            particle = option[1:]
            absent = not any(a.particle == particle for a in arguments) and particle not in words - {"を", "に"}
            if absent:
                return 0.5
        elif ":" in option:
            noun, _, particle = option.partition(":")
            accepted = _ACCEPTED.get(particle, frozenset([particle]))
            for argument in arguments:
                token = argument.token
                if argument.particle in accepted and (noun == token.text or noun in token.categories):
                    return 2.0 if noun == token.text else 1.9
        elif option in words or any(option in a.token.categories for a in arguments):
            return 1.5
    return 0.0


def _close_predicate(predicate: Predicate, tokens: list[Token], at: int) -> int:
    """Read the particles after a predicate, set its role, and return the index after them."""
    forms = predicate.forms
    if "while" in forms or "left" in forms:
        predicate.role = "while"
    elif "after" in forms:
        predicate.role = "after"
    elif forms & {"neg-te"}:
        predicate.role = "then"
    elif "if" in forms or "purpose" in forms or "even" in forms or "topic" in forms or "must" in forms:
        predicate.role = "side"
    elif "or" in forms:
        predicate.role = "then"
    while at < len(tokens):
        text, kind = tokens[at].text, tokens[at].kind
        if kind == "mark" and text == " ":
            at += 1
            continue
        role = _role_after(predicate, tokens, at)
        if role is None:
            if kind == "particle" and text in _ENDINGS or kind == "copula" and text not in ("ください", "下さい"):
                predicate.tail |= {text}
                predicate.end = tokens[at].end
                at += 1
                continue
            break
        predicate.role, at = role
        predicate.end = tokens[at - 1].end
        break
    if predicate.role == "main" and at < len(tokens) and _is_joined(predicate):
        predicate.role = "then"
    return at


def _is_joined(predicate: Predicate) -> bool:
    return bool(predicate.forms & {"te", "stem", "adverb"}) and not predicate.forms & {"request", "past", "dict"}


def _role_after(predicate: Predicate, tokens: list[Token], at: int) -> tuple[str, int] | None:
    """(role, index to read on) by the word after a predicate; None when it does not say."""
    text, kind, forms = tokens[at].text, tokens[at].kind, predicate.forms
    following = tokens[at + 1] if at + 1 < len(tokens) else None
    is_finite = not _is_joined(predicate)
    if predicate.kind in ("phrase",):
        return None
    if text == "まま":
        return "while", at + 1
    if text in _AFTERWARDS and ("past" in forms or predicate.is_noun or "te" in forms):
        return "after", at + 1
    if text in ("前", "まえ") and "dict" in forms and following is not None and following.text in ("に", "、"):
        return "before", at + 2
    if text in _SIMILE:
        return _after_simile(tokens, at)
    if text in _TIME and is_finite:
        return "side", at + 1
    if text in ("ため", "ために") and is_finite:
        return "side", at + 1
    if text in _REASON and is_finite:
        return "side", at + 1
    if (
        text in ("と", "って", "という", "っていう", "が")
        and is_finite
        and not predicate.is_noun
        and following is not None
    ):
        return "side", at + 1
    if text in _NOMINAL or text in ("のは", "のが", "のを", "のも", "のに"):
        return _after_nominal(predicate, tokens, at)
    if kind in ("noun", "unknown") and is_finite and not predicate.is_noun and predicate.kind != "state":
        return "attribute", at
    if kind == "adverb" and is_finite and predicate.kind != "state" and forms & {"dict", "past"}:
        return None
    return None


def _after_simile(tokens: list[Token], at: int) -> tuple[str, int]:
    """〜ように手を上げて compares; 〜ようにして asks."""
    rest = [t for t in tokens[at + 1 :] if t.kind not in ("mark", "length")]
    if (
        tokens[at].text in ("ように",)
        and rest
        and rest[0].kind == "verb"
        and rest[0].lemma in ("する", "お願いする", "頼む")
    ):
        return "main", at + 1
    return "side", at + 1


def _after_nominal(predicate: Predicate, tokens: list[Token], at: int) -> tuple[str, int] | None:
    """歩くのをやめて stops, 踊るところを見せて shows, 走るのは talks about it; a の that ends the sentence says nothing."""
    rest = [t for t in tokens[at + 1 :] if t.kind not in ("mark", "length", "adverb") and t.text not in _ENDINGS]
    text = tokens[at].text
    if not rest and text in ("の", "こと", "のに"):
        return ("main", at + 1) if text == "こと" else None
    if rest and rest[0].text in ("を", "は", "が", "で"):
        rest = rest[1:]
    if rest and rest[0].kind == "copula" and text == "の":
        return None
    if rest and rest[0].lemma in _STOPS:
        return "stop", at + 1
    if rest and rest[0].lemma in _SHOWN and text not in ("のは", "のが"):
        return "main", at + 1
    return "side", at + 1


def is_verb(lemma: str) -> bool:
    """Whether the curated list has this verb."""
    return lemma in lexicon().verbs
