"""What the words after a Japanese predicate say about it: whether it is an action of its own (〜て、), goes on
meanwhile (〜ながら), comes before or after (〜前に, 〜てから), or is none at all (〜たら, 〜ように, 〜ので).
"""

from __future__ import annotations

from typing import Final

from motion_service.prompt.ja_lexicon import Row
from motion_service.prompt.ja_predicates import Predicate
from motion_service.prompt.ja_tokens import Token

__all__ = ["ENDINGS", "close_predicate"]

ENDINGS: Final = frozenset("ね よ な ぞ ぜ さ わ か の のね のよ なあ ねえ かな かしら って もん けど".split())
"""Particles that may end a sentence."""

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
_STOPPED: Final = Row("v5", (), "idle", False, "stops and stands still", "", True)
_SHOWN: Final = frozenset(
    "見せる みせる 見る みる する やる お願いする 続ける つづける 始める はじめる 頼む たのむ 披露する 見たい".split()
)


def close_predicate(predicate: Predicate, tokens: list[Token], at: int) -> int:
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
            if kind == "particle" and text in ENDINGS or kind == "copula" and text not in ("ください", "下さい"):
                predicate.tail |= {text}
                predicate.end = tokens[at].end
                at += 1
                continue
            break
        predicate.role, at = role
        if predicate.role == "stop":
            predicate.row = _STOPPED
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
    is_finite = not _is_joined(predicate) and not forms & {"while", "left", "after", "or", "neg-te", "if"}
    if predicate.kind in ("phrase",):
        return None
    if text == "まま":
        return "while", at + 1
    if text in _AFTERWARDS and ("past" in forms or predicate.is_noun or "te" in forms):
        return "after", at + 1
    if text in ("前", "まえ") and "dict" in forms and following is not None and following.text in ("に", "、"):
        return "before", at + 2
    if text in _SIMILE:
        if following is not None and text.endswith("な") and any(row.kind == "form" for row in following.rows):
            return "attribute", at + 1
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
    return ("side" if rest else "main"), at + 1


def _after_nominal(predicate: Predicate, tokens: list[Token], at: int) -> tuple[str, int] | None:
    """歩くのをやめて stops, 踊るところを見せて shows, 走るのは talks about it; a last の says nothing."""
    rest = [t for t in tokens[at + 1 :] if t.kind not in ("mark", "length", "adverb") and t.text not in ENDINGS]
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
