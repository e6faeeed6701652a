"""Japanese to English captions, offline, in the wording that the official models were trained on (HumanML3D).

What a person does comes from the curated list ("waves{with_hand}"), a verb or noun that only JMdict knows from its
gloss; who does it, how, with which hand and where to are put around it: "an old man walks forward slowly".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final

from motion_service.prompt.actions import ACTIONS
from motion_service.prompt.ja_lexicon import dictionary
from motion_service.prompt.ja_predicates import Argument, Predicate
from motion_service.prompt.ja_tokens import Token

__all__ = ["predicate_to_caption", "third_person"]

_SOMEBODY: Final = "a person"
_MAX_MANNERS: Final = 2
_IRREGULAR: Final = {"be": "is", "have": "has", "do": "does", "go": "goes"}
_MASS: Final = re.compile(r"^(?:an? |the |one's )|(?:ing|[^aiou]s|water|food|music|rice|tea|coffee|milk|beer|bread)$")


def predicate_to_caption(
    predicate: Predicate, detail: Collection[str], way: Collection[str], meanwhile: Sequence[Predicate] = ()
) -> str:
    """One sentence for ``predicate``; ``detail`` are its side and direction words, ``way`` those of the way alone."""
    if "turn" in way:  # walking while turning is one curve
        meanwhile = [part for part in meanwhile if part.action != "turn"]
    phrases = [_phrase(part, detail, way) for part in (predicate, *meanwhile)]
    manner = " ".join(_manners([m for part in (predicate, *meanwhile) for m in part.manners], phrases[0]))
    who = next((part.who for part in (predicate, *meanwhile) if part.who is not None), None)
    subject = who.rows[0].english if who is not None and who.rows and who.rows[0].english else _SOMEBODY
    return " ".join(f"{subject} {' and '.join(dict.fromkeys(phrases))} {manner}".split())


def third_person(gloss: str) -> str:
    """ "to carry" becomes "carries", "to play (the piano)" "plays"."""
    verb, _, rest = gloss.removeprefix("to ").partition(" ")
    if verb in _IRREGULAR:
        verb = _IRREGULAR[verb]
    elif re.search(r"[^aeiou]y$", verb):
        verb = verb[:-1] + "ies"
    else:
        verb += "es" if verb.endswith(("s", "sh", "ch", "x", "z", "o")) else "s"
    return f"{verb} {rest}".strip()


def _phrase(predicate: Predicate, detail: Collection[str], way: Collection[str]) -> str:
    row = predicate.row
    template = row.english if row is not None else ""
    if not template and row is not None and row.action is not None:
        template = ACTIONS[row.action]
    if not template:
        gloss = predicate.token.gloss or dictionary().glosses.get(predicate.token.lemma, "")
        if not gloss:
            return "moves the body"
        template = third_person(gloss) if gloss.startswith("to ") else f"does {_with_article(gloss)}"
        template += " {object}" if _object(predicate.arguments) else ""
    is_arm = any(row.english == "arm" for a in predicate.arguments for row in a.token.rows)
    limb = "arm" if is_arm else "hand"
    return template.format(
        hand=_limb(detail, limb) or f"one {limb}",
        arm=_limb(detail, "arm") or "one arm",
        leg=_limb(detail, "leg") or "one leg",
        with_hand=_with(_limb(detail, limb)),
        with_leg=_with(_limb(detail, "leg")),
        way=_way(predicate.action, way),
        object=_object(predicate.arguments) or "something",
    )


def _limb(detail: Collection[str], limb: str) -> str:
    sides = [side for side in ("left", "right") if side in detail]
    if "both" in detail or len(sides) == 2:
        return f"both {limb}s"
    return f"the {sides[0]} {limb}" if sides else ""


def _with(limb: str) -> str:
    return f" with {limb}" if limb else ""


def _way(action: str | None, way: Collection[str]) -> str:
    side = next((side for side in ("left", "right") if side in way), "")
    if action == "turn":
        return f" to the {side}" if side else " around"
    words = [word for word in ("forward", "backward") if word in way]
    if "turn" in way:
        words.append(f"in a curve to the {side}" if side else "in a curve")
    elif side:
        words.append(f"to the {side}")
    return "".join(f" {word}" for word in words)


def _object(arguments: Sequence[Argument]) -> str:
    """English of what is acted on, "" when nothing is named or nothing is known of it."""
    named = next((a.token for a in reversed(arguments) if a.particle == "を"), None)
    if named is None:
        return ""
    gloss = dictionary().glosses.get(named.lemma, "")
    if named.rows and any(row.kind == "body" for row in named.rows):
        return named.rows[0].english
    if gloss and not gloss.startswith("to ") and len(gloss.split()) <= 3:
        return _with_article(gloss)
    return next((row.english for row in named.rows if row.english), "")


def _with_article(gloss: str) -> str:
    if _MASS.search(gloss):
        return gloss
    return f"{'an' if gloss[0].lower() in 'aeiou' else 'a'} {gloss}"


def _manners(tokens: Sequence[Token], phrase: str) -> list[str]:
    """English of the adverbs, each once, the first two."""
    found: dict[str, None] = {}
    for token in tokens:
        english = token.rows[0].english if token.rows else token.gloss if token.gloss.endswith("ly") else ""
        if english and english not in phrase:
            found[english] = None
    return list(found)[:_MAX_MANNERS]
