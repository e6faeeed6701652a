"""Whether English words that name an action ask for it: command, caption and promise against chat and negation.

"wave", "a woman waves", "can you wave?", "I will wave" ask for it; "my dog runs", "I love to dance", "how do people
bow?" do not; "don't wave" forbids it. Rules on the words before the mention, of one sentence at a time; no grammar.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from typing import Final

from motion_service.prompt.sentence import Words, belongs, is_adverb, names_figure
from motion_service.prompt.words import Mention, Token


class Mood(Enum):
    """What a sentence wants of an action."""

    ASKED = "asked"
    LIKELY = "likely"
    """Asked for if the text is no chat: a mere phrase, an unknown subject."""
    MEANWHILE = "meanwhile"
    """Done at the same time as another, or the manner of it."""
    STOPPED = "stopped"
    FORBIDDEN = "forbidden"
    TALK = "talk"

    @property
    def counts(self) -> bool:
        """Whether the action is to be done."""
        return self in (Mood.ASKED, Mood.LIKELY)


_HABIT: Final = re.compile(
    r"\b(?:always|often|usually|sometimes|rarely|daily|(?:every|each) (?:day|morning|evening|night|week|year|month|time"
    r"|sunday|monday|weekend|summer|winter|hour)|(?:a|per) (?:day|week|month|year)"
    r"|on (?:weekends|sundays|mondays|average)|for a living|in my free time|back in (?:the|my|19|20)"
    r"|used to|when (?:i was|we were))\b"
)
_PAST: Final = re.compile(r"\b(?:yesterday|ago|last (?:night|week|year|month|summer|time|weekend)|in (?:19|20)\d\d)\b")
_LATER: Final = re.compile(
    r"\b(?:tomorrow|next (?:week|month|year|time|weekend|summer)|(?:some ?|one )day|later today|this weekend)\b"
)
_ROUTE: Final = re.compile(
    r"\b(?:kilomet\w+|km|miles?|blocks?|junction|roundabout|highway|motorway|intersection|traffic lights?|exit \d+"
    r"|on \w+ (?:street|road|avenue|lane))\b"
)
"""Where to drive or walk in a town, not what a body does here."""
_GESTURES: Final = frozenset("raise wave point guide bow clap salute nod stretch call".split())
_POSTURES: Final = frozenset("sit crouch idle think hug cry".split())  # "huddled in a corner"
_OPENING: Final = r"(?:(?:hey|so|and|but|well|ok|okay|oh|hmm|um|by the way)\b,? )*"
_ASKS_HOW: Final = re.compile(
    _OPENING
    + r"(?:what(?!s? about)|why(?! (?:don't|not))|how(?! about)|which|whose|whom|where|who|what's|who's|where's"
    r"|how's|when)\b"
)
_ASKS_IF: Final = re.compile(
    _OPENING + r"(?:(?:do|does|did|don't|didn't|doesn't|have|has|haven't|had) "
    r"(?:you|i|we|they|he|she|it|people|the|any|cats|dogs|penguins)\b(?! mind)"
    r"|(?:is|are|was|were|am|isn't|aren't|wasn't)\b"
    r"|(?:can|could|should|may|might|must|will|would) (?:i|we|it|they|people|one|this|that|there)\b(?! see)"
    r"|(?:do|does|did) (?:\w+ )?\w+s (?!for|to|with|in|on|like|and|then|please|now|until|while|at|as)\w+"
    r"|would you (?:like|prefer|rather|say)\b)"
)
_ABSTRACT: Final = re.compile(r"(?:tion|ment|ness|ity|ism|ics|ing|ance|ence|ure)$")


class Sentence:
    """One sentence, and what is asked for in it."""

    def __init__(self, tokens: Sequence[Token], first: int, end: int, mentions: Sequence[Mention]) -> None:
        """Tokens ``first`` to ``end`` of the text; ``mentions`` are those of this sentence."""
        self._words = Words(tokens, first, end)
        self._mentions = mentions
        words = " ".join(self._words.between(first, end))
        ends_asking = end < len(tokens) and tokens[end].word == "?"
        asks_how = _ASKS_HOW.match(words) and (ends_asking or not words.startswith("when"))
        self._asks = bool(asks_how or (ends_asking and _ASKS_IF.match(words)))
        self._route = bool(_ROUTE.search(words))
        self._habit = bool(_HABIT.search(words))
        self._other_day = bool(_PAST.search(words) or _LATER.search(words))
        self._moods: dict[int, Mood] = {}

    def moods(self) -> list[Mood]:
        """The mood of each mention, in order."""
        for number, mention in enumerate(self._mentions):
            self._moods[number] = self._mood(number, mention)
        return [self._moods[number] for number in range(len(self._mentions))]

    def _mood(self, number: int, mention: Mention) -> Mood:
        if self._asks or (self._route and mention.form == "base" and mention.action in ("turn", "walk", "drive")):
            return Mood.TALK
        rules = {
            "base": self._base, "s": self._third, "ing": self._gerund, "ed": self._past_form, "noun": self._noun,
            "phrase": self._phrase,
        }  # fmt: skip
        mood = rules[mention.form](mention.first, number)
        is_caption = mention.form in ("s", "ed", "ing") and self._words.has_figure(mention.first)
        if mood.counts and (self._habit or (self._other_day and not is_caption)):
            return Mood.TALK
        return Mood.TALK if mood.counts and mention.told and not self._is_told(mention) else mood

    def _is_told(self, mention: Mention) -> bool:
        """Whether a verb such as "talk" is meant of a body: by a caption, or by a command without an object."""
        words = self._words
        if words.has_figure(mention.first):
            return True
        if mention.form != "base":
            said = words.between(words.first, words.end if mention.form == "ing" else mention.first)
            return not any(belongs(word, "speakers") for word in said)
        bare = words.is_border(mention.end) or is_adverb(words.word(mention.end))
        return words.is_border(words.back(mention.first)) and bare

    def _inherited(self, number: int, otherwise: Mood) -> Mood:
        """After "and" or a comma: the mood of the mention before, which shares its subject."""
        before = self._moods.get(number - 1)
        return otherwise if before in (Mood.MEANWHILE, Mood.STOPPED, None) else before

    def _before(self, number: int) -> Mood | None:
        """Mood of the mention before."""
        return self._moods.get(number - 1)

    def _follows(self, number: int) -> bool:
        """Whether the mention before is asked for."""
        before = self._before(number)
        return before is not None and before.counts

    # --- base form: wave ----------------------------------------------------------------------------------------------

    def _base(self, index: int, number: int) -> Mood:
        """A command unless something before it says otherwise."""
        words = self._words
        at = words.back(index)
        word = words.word(at)
        if words.is_border(at):
            return self._base_at_border(word, number)
        if belongs(word, "negations"):
            return Mood.ASKED if "why" in words.between(at - 2, at) else Mood.FORBIDDEN
        if word == "to":
            return self._infinitive(at, number)
        if belongs(word, "modals"):
            return self._modal(at, number)
        if belongs(word, "will"):
            return Mood.ASKED
        if word in ("do", "does", "did"):
            return Mood.ASKED if word == "do" and words.is_border(words.back(at)) else Mood.TALK
        return self._base_after_noun(at, index, number)

    def _base_at_border(self, word: str, number: int) -> Mood:
        before = self._before(number)
        if word == "or" or (word == "and" and before in (Mood.FORBIDDEN, Mood.TALK)):
            return self._inherited(number, Mood.ASKED)
        if word in ("and", "then", ",") and before is Mood.TALK:
            said = self._words.between(self._words.first, self._words.end)
            return Mood.TALK if any(word in ("i", "i've", "i'd", "we", "my", "it") for word in said) else Mood.ASKED
        return Mood.ASKED

    def _base_after_noun(self, at: int, index: int, number: int) -> Mood:
        """ "can you wave", "let her wave", "two men wave", "I wave", "go wave"."""
        words = self._words
        word, start = words.word(at), words.noun_start(at)
        leaders = (words.before(start), words.before(at))
        if any(belongs(leader, "causes") for leader in leaders):
            return Mood.TALK if word == "it" and "let" in leaders else Mood.ASKED
        if any(belongs(leader, "modals") for leader in leaders):
            able = word in ("you", "she", "he", "we") or belongs(word, "avatars")
            return Mood.ASKED if able or words.word(start) in ("the", "a", "your", "this") else Mood.TALK
        if belongs(leaders[0], "do"):
            return Mood.ASKED if "why" in words.between(start - 3, start) else Mood.TALK
        if any(belongs(other, "subordinate") for other in words.between(words.clause_start(index) - 1, at)):
            return Mood.TALK
        return self._base_after_subject(word, start, at, number)

    def _base_after_subject(self, word: str, start: int, at: int, number: int) -> Mood:
        words = self._words
        if word == "they":
            return Mood.ASKED if words.has_figure(at) else Mood.TALK
        if word in ("i", "you"):
            is_opinion = word == "i" and words.between(words.first, words.end).count("i") > 1
            return Mood.TALK if is_opinion else Mood.ASKED
        if word == "we" or belongs(word, "things", "prepositions", "finite"):
            return Mood.TALK
        if belongs(word, "figures"):
            named = belongs(words.word(start), "determiners", "numbers") or words.end - words.first <= 5
            return Mood.ASKED if named and words.word(start) not in ("my", "our", "most") else Mood.TALK
        if word in ("go", "come", "help", "try", "me", "please"):
            return Mood.ASKED
        return self._inherited(number, Mood.LIKELY if at - words.first <= 2 else Mood.TALK)

    def _infinitive(self, to: int, number: int) -> Mood:
        """What stands before "to wave" decides: start, want you, ready; not love, how, able."""
        words = self._words
        at = words.back(to)
        word, figure = words.word(at), words.has_figure(to)
        if words.is_border(at):
            return Mood.TALK
        if belongs(word, "starts", "ready"):
            is_fact = word in ("going", "about") and words.before(at) in ("it's", "is") and not figure
            return Mood.TALK if is_fact else self._governed(at, number)
        if belongs(word, "wants"):
            return Mood.ASKED if figure and words.before(at) not in ("you", "i", "we") else Mood.TALK
        if word == "forget":
            return Mood.ASKED if belongs(words.before(at), "negations") else Mood.TALK
        if belongs(word, "refuses"):
            return Mood.FORBIDDEN
        if belongs(words.before(words.noun_start(at)), "bids"):
            meant = belongs(word, "objects", "avatars", "figures") or word in ("it", "yourself")
            return Mood.ASKED if meant else Mood.TALK
        if self._follows(number) and self._mentions[number - 1].first <= at:
            gesture = self._mentions[number - 1].action in _GESTURES  # "raises a hand to greet"
            return Mood.MEANWHILE if gesture else self._inherited(number, Mood.ASKED)
        return Mood.ASKED if figure and not belongs(word, "knows") else Mood.TALK

    def _governed(self, at: int, number: int) -> Mood:
        """Mood of a helping verb such as "starts" at ``at``, which the mention shares."""
        word = self._words.word(at)
        if word.endswith("ing") or word in ("ready", "about", "time", "turn"):
            return Mood.TALK if self._words.before(at) in ("it's", "it") else Mood.ASKED
        return self._third(at, number) if word.endswith("s") else self._base(at, number)

    def _modal(self, at: int, number: int) -> Mood:
        """ "I will wave" is a promise, "I can wave" is not; "you may sit down" is polite."""
        words = self._words
        word, subject = words.word(at), words.before(at)
        if word in ("can", "may") and subject == "you":
            return Mood.ASKED if self._mentions[number].action in ("sit", "stand-up", "idle") else Mood.TALK
        if not belongs(word, "will"):
            return Mood.TALK
        return Mood.TALK if belongs(subject, "things") or subject == "we" else Mood.ASKED

    # --- third person: waves ------------------------------------------------------------------------------------------

    def _third(self, index: int, number: int) -> Mood:
        """A caption when its subject is a figure, or when it has none."""
        words = self._words
        at = words.back(index)
        word = words.word(at)
        if words.is_border(at):
            if self._before(number) is not None:
                return self._inherited(number, Mood.ASKED)
            alone = words.first == words.clause_start(index) or words.has_figure(index)
            return Mood.ASKED if alone or word in ("then", ",", ":", "-", "while", "as", "before") else Mood.LIKELY
        if belongs(word, "negations"):
            return Mood.FORBIDDEN
        clause = words.clause(index)
        if clause[0] in ("my", "our") and not belongs(clause[1], "avatars"):
            return Mood.TALK
        if any(belongs(other, "subordinate") for other in clause) and "who" not in clause:
            return Mood.TALK
        if names_figure(clause):
            return Mood.ASKED
        if belongs(clause[0], "speakers") or any(belongs(other, "things") for other in clause):
            return Mood.TALK
        return Mood.TALK if _ABSTRACT.search(word) else Mood.LIKELY

    # --- gerund: waving -----------------------------------------------------------------------------------------------

    def _gerund(self, index: int, number: int) -> Mood:
        """After "is", "starts" or a figure, or alone."""
        words = self._words
        at = words.back(index)
        word = words.word(at)
        if words.is_border(at):
            return self._gerund_at_border(word, index, number)
        if belongs(word, "negations") or (word in ("of", "than") and words.word(at - 1) in ("instead", "rather")):
            return Mood.FORBIDDEN
        if belongs(word, "stops"):
            stopping = self._third(at, number) if word == "stops" else self._base(at, number)
            return Mood.STOPPED if stopping is Mood.ASKED else Mood.TALK
        if belongs(word, "be"):
            return self._progressive(at, number)
        if belongs(word, "starts"):
            beside = self._follows(number) and word.startswith("keep") and self._mentions[number].action == "look"
            return Mood.MEANWHILE if beside else self._governed(at, number)
        if (word == "about" and words.word(at - 1) in ("how", "what")) or (
            word == "mind" and (words.word(at - 1) == "you" or words.is_border(at - 1))
        ):
            return Mood.ASKED
        if word == "on" and words.word(at - 1).startswith(("carr", "go", "keep")):
            return self._governed(at - 1, number)
        if belongs(word, "prepositions"):
            said = words.between(words.first, at)  # "a clip of", "3 seconds of"
            shown = any(belongs(other, "shown") or other[0] >= "\ua000" for other in said)
            shown |= word == "by" and self._inherited(number, Mood.ASKED) is Mood.ASKED and words.has_figure(at)
            return Mood.ASKED if shown else Mood.TALK
        return self._gerund_after_noun(at, index, number)

    def _gerund_at_border(self, word: str, index: int, number: int) -> Mood:
        if word in ("while", "as", "before", "after", "once", "when"):
            return Mood.ASKED
        if self._before(number) is not None and word in ("and", "or", "then", "but"):
            return self._inherited(number, Mood.ASKED)
        if self._follows(number):
            return Mood.MEANWHILE
        return Mood.TALK if self._is_topic(index) else Mood.ASKED

    def _gerund_after_noun(self, at: int, index: int, number: int) -> Mood:
        words = self._words
        word, start = words.word(at), words.clause_start(index)
        if self._follows(number) and (start <= self._mentions[number - 1].first or index - start <= 2):
            return Mood.MEANWHILE
        if belongs(word, "figures", "subjects"):
            return Mood.ASKED if words.word(words.noun_start(at)) not in ("my", "our") else Mood.TALK
        if belongs(word, "enjoys", "things", "finite"):
            return Mood.TALK
        if belongs(word, "objects"):
            return Mood.ASKED if belongs(words.before(at), "causes") or words.before(at) == "of" else Mood.TALK
        clause = words.clause(index)
        if names_figure(clause):
            return Mood.ASKED
        chats = any(belongs(other, "chatty") for other in clause)
        return Mood.TALK if chats or self._is_topic(index) else Mood.LIKELY

    def _progressive(self, be: int, number: int) -> Mood:
        """ "she is waving" is a caption, "I was waving" a story."""
        words = self._words
        word, at = words.word(be), words.back(be)
        if word in ("i'm", "he's", "she's", "they're", "you're", "who's"):
            return Mood.ASKED
        if word in ("it's", "that's", "we're", "been", "be", "being"):
            return Mood.ASKED if words.has_figure(be) else Mood.TALK
        if word in ("was", "were"):
            named = belongs(words.word(words.noun_start(at)), "determiners", "numbers")
            return Mood.ASKED if named and words.has_figure(be) else Mood.TALK
        return Mood.ASKED if words.is_border(at) or words.word(at) in ("i", "you") else self._third(be, number)

    def _is_topic(self, index: int) -> bool:
        """ "Running is healthy": what the sentence is about."""
        end = index + 1
        while end < min(self._words.end, index + 9) and not self._words.is_border(end):
            end += 1
        return any(belongs(word, "finite") for word in self._words.between(index + 1, end))

    # --- past tense, nouns, phrases -----------------------------------------------------------------------------------

    def _past_form(self, index: int, number: int) -> Mood:
        words = self._words
        at = words.back(index)
        if words.is_border(at):
            is_pose = self._mentions[number].action in _POSTURES and at < words.first
            return Mood.LIKELY if is_pose else self._inherited(number, Mood.TALK)
        if words.word(at) in ("has", "have", "you've", "she's", "he's", "they've", "having", "had"):
            return Mood.ASKED if {"after", "once", "when"} & {*words.between(words.first, at)} else Mood.TALK
        clause = words.clause(index)
        if any(word in ("i", "we", "you", "my", "our", "was", "were", "been", "be", "got", "it") for word in clause):
            return Mood.TALK
        someone = clause[0] in ("he", "she", "they", "someone")
        return (
            Mood.ASKED
            if someone or (belongs(clause[0], "determiners", "numbers") and names_figure(clause))
            else Mood.TALK
        )

    def _noun(self, index: int, number: int) -> Mood:
        """a bow: after a verb like "do" or "give" as that verb, alone as a wish, else talk."""
        words = self._words
        at = index - 1
        while not words.is_border(at) and not belongs(words.word(at), "light", "be", "negations"):
            if words.word(at) in ("with", "for", "in", "of", "i"):
                break
            at -= 1
        word = words.word(at)
        if belongs(word, "light"):
            return self._light(at, number)
        if word in ("with", "in", "for") and self._follows(number):
            return Mood.MEANWHILE
        if belongs(word, "negations"):
            return Mood.FORBIDDEN
        if word in ("before", "after"):  # "before a run", but "after a quick stretch she runs"
            leads = word == "after" and at == words.first and number + 1 < len(self._mentions)
            return Mood.LIKELY if leads and names_figure(words.between(index, words.end)) else Mood.TALK
        if words.is_border(at) and self._before(number) not in (None, Mood.MEANWHILE):
            return self._inherited(number, Mood.LIKELY)
        chats = any(belongs(other, "chatty") for other in words.between(words.first, words.first + 12))
        return Mood.TALK if chats or self._is_topic(index) else Mood.LIKELY

    def _light(self, at: int, number: int) -> Mood:
        """Mood of a verb that only carries a noun: "gives a wave"."""
        words = self._words
        word = words.word(at)
        if word == "into":
            return Mood.ASKED if words.has_figure(at) or words.back(at) <= words.first else Mood.LIKELY
        if word in ("see", "want", "need", "like", "let's", "have", "try"):
            return Mood.TALK if word == "have" and words.before(at) in ("i", "we", "you", "to") else Mood.ASKED
        if word.endswith("ing"):
            return self._gerund(at, number)
        if word == "did":
            return self._past_form(at, number)
        return self._third(at, number) if word.endswith("s") else self._base(at, number)

    def _phrase(self, index: int, number: int) -> Mood:
        """Words that are an action by themselves, such as "hands up"."""
        words = self._words
        if belongs(words.before(index), "negations"):
            return Mood.FORBIDDEN
        if self._follows(number) and words.word(index - 1) in (",", "with"):
            return Mood.MEANWHILE
        return self._inherited(number, Mood.ASKED) if belongs(words.word(index), "postures") else Mood.ASKED
