"""Whether English words that name an action ask for it: command, caption and promise against chat and negation.

"wave", "a woman waves", "can you wave?", "I will wave" ask for it; "my dog runs", "I love to dance", "how do people
bow?" do not; "don't wave" forbids it. Rules on the words before the mention, of one sentence at a time; no grammar.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from typing import Final

from motion_service.prompt_words import Mention, Token, load_lexicon


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


_SUBJECTS: Final = frozenset("he she they someone somebody everyone everybody who one".split())
_DETERMINERS: Final = frozenset("a an the this that these those some any each every another no".split())
_POSSESSIVES: Final = frozenset("my your his her its our their".split())
_NUMBERS: Final = frozenset("one two three four five six seven eight nine ten several few many both couple".split())
_NEGATIONS: Final = frozenset(
    "not don't doesn't didn't can't cannot won't couldn't shouldn't wouldn't isn't aren't wasn't weren't ain't never "
    "without no nor neither dont cant avoid avoids avoiding".split()
)
_BE: Final = frozenset("am is are was were be been being i'm you're he's she's they're we're it's that's who's".split())
_MODALS: Final = frozenset("can could will would may might should must shall".split())
_STARTS: Final = frozenset(
    "start starts begin begins keep keeps continue continues resume try tries go goes proceed proceeds attempt attempts "
    "prepare prepares starting trying pretend pretends remember come comes dare".split()
)
_STOPS: Final = frozenset("stop stops stopping quit cease".split())
_CAUSES: Final = frozenset(
    "let make makes have see watch help show want need like ask tell get getting love imagine".split()
)
_LIGHT: Final = frozenset(
    "do does doing did perform performs performing make makes making give gives giving take takes taking execute executes "
    "deliver delivers show shows showing practise practice practices have let's see want need try tries trying add play "
    "throw throws bust start starts begin begins finish finishes end ends execute attempt attempts land lands offer offers "
    "strike strikes hold holds return returns break breaks go goes going into demonstrate demonstrates act acts".split()
)
_PREPOSITIONS: Final = frozenset("of for about in at by from to on into through over under than like".split())
_SUBORDINATE: Final = frozenset(
    "if whenever because since although though unless how why what where whether which until till".split()
)
_FINITE: Final = frozenset(
    "is are was were isn't aren't can will would could should has have had helps makes requires takes feels seems improves "
    "burns reduces means becomes keeps started began felt made came went".split()
)
_CHATTY: Final = frozenset(
    "i i'm i've i'd i'll it it's that's there's there we we're you you're is are was were am has had will can could would "
    "should what how why which my our".split()
)
_ADVERBS: Final = frozenset(
    "then now just also please kindly first next finally again simply quick fast suddenly together still even so really "
    "very softly twice once slow gently all perhaps maybe always often usually sometimes back forth there here ever "
    "actually gonna only too both right quickly to-and-fro happily around".split()
)
_NOT_ADVERBS: Final = frozenset(
    "family fly reply apply belly jelly early lovely rally bully italy july supply only".split()
)
_AVATARS: Final = frozenset("avatar character figure model assistant body robot person".split())

_HABIT: Final = re.compile(
    r"\b(?:always|often|usually|sometimes|rarely|daily|typically|normally|generally|(?:every|each) "
    r"(?:day|morning|evening|night|week|year|month|time|sunday|monday|weekend|summer|winter)|(?:a|per) (?:day|week|month|year)"
    r"|on (?:weekends|sundays|mondays|average)|for a living|in my free time|back in|used to|when (?:i was|we were))\b"
)
_PAST: Final = re.compile(
    r"\b(?:yesterday|ago|last (?:night|week|year|month|summer|time|winter|weekend)|in (?:19|20)\d\d)\b"
)
_LATER: Final = re.compile(
    r"\b(?:tomorrow|next (?:week|month|year|time|weekend|summer)|some ?day|one day|later today|this weekend)\b"
)
_ASKS_HOW: Final = re.compile(
    r"(?:(?:hey|so|and|but|well|ok|okay|oh|hmm|um)\b,? )*(?:what(?!s? about)|why(?! (?:don't|not))|how(?! about)|which|whose|whom|where|who|what's|who's|where's|how's|when)\b"
)
_ASKS_IF: Final = re.compile(
    r"(?:(?:hey|so|and|but|well|ok|okay|oh|by the way)\b,? )*(?:(?:do|does|did|don't|didn't|doesn't|have|has|haven't|had) "
    r"(?:you|i|we|they|he|she|it|people|the|any|cats|dogs|penguins)\b(?! mind)|(?:is|are|was|were|am|isn't|aren't|wasn't)\b"
    r"|(?:can|could|should|may|might|must|will|would) (?:i|we|it|they|people|one|this|that|there)\b(?! see)|would you (?:like|prefer|rather|say)\b)"
)


class Sentence:
    """One sentence, and what is asked for in it."""

    def __init__(self, tokens: Sequence[Token], first: int, end: int, mentions: Sequence[Mention]) -> None:
        """Tokens ``first`` to ``end`` of the text; ``mentions`` are those of this sentence."""
        self._tokens, self._first, self._end = tokens, first, end
        self._mentions = mentions
        words = " ".join(token.word for token in tokens[first:end])
        ends_asking = end < len(tokens) and tokens[end].word == "?"
        self._asks = bool(_ASKS_HOW.match(words) and (ends_asking or not words.startswith("when"))) or bool(
            ends_asking and _ASKS_IF.match(words)
        )
        self._habit = bool(_HABIT.search(words)) and not re.search(r"\bevery \d", words)
        self._past, self._later = bool(_PAST.search(words)), bool(_LATER.search(words))
        self._moods: dict[int, Mood] = {}

    def moods(self) -> list[Mood]:
        """The mood of each mention, in order."""
        for number, mention in enumerate(self._mentions):
            self._moods[number] = self._mood(number, mention)
        return [self._moods[number] for number in range(len(self._mentions))]

    def _mood(self, number: int, mention: Mention) -> Mood:
        if self._asks:
            return Mood.TALK
        mood = {
            "base": self._base, "s": self._third, "ing": self._gerund, "ed": self._past_form, "noun": self._noun,
            "phrase": self._phrase,
        }[mention.form](mention.first, number)  # fmt: skip
        is_caption = mention.form in ("s", "ed", "ing") and self._has_figure(mention.first)
        if mood in (Mood.ASKED, Mood.LIKELY) and (self._habit or ((self._past or self._later) and not is_caption)):
            return Mood.TALK
        if mention.told and mood in (Mood.ASKED, Mood.LIKELY) and not self._is_told(mention):
            return Mood.TALK
        return mood

    def _is_told(self, mention: Mention) -> bool:
        """Whether a verb such as "talk" is meant of a body: by a caption, or by a command without an object."""
        if self._has_figure(mention.first):
            return True
        words = [self._word(i) for i in range(self._first, mention.first)]
        if mention.form != "base":
            return not set(words) & {"i", "i'm", "you", "you're", "we", "we're", "my", "our", "it", "it's"}
        after = self._word(mention.end)
        return self._is_border(self._back(mention.first)) and (self._is_border(mention.end) or is_adverb(after))

    # --- looking around ---------------------------------------------------------------------------------------------

    def _word(self, index: int) -> str:
        return self._tokens[index].word if self._first <= index < self._end else ""

    def _back(self, index: int) -> int:
        """Index of the nearest word before ``index`` that is no adverb; below the sentence's first when none is."""
        index -= 1
        while index >= self._first and is_adverb(self._word(index)):
            index -= 1
        return index

    def _is_border(self, index: int) -> bool:
        word = self._word(index)
        return (
            not word
            or not word[0].isalnum()
            or word in ("and", "then", "but", "or", "while", "before", "after", "as", "once", "when")
        )

    def _clause_start(self, index: int) -> int:
        """First word of the clause of ``index``."""
        while index > self._first and not self._is_border(index - 1):
            index -= 1
        return index

    def _has_figure(self, index: int) -> bool:
        """Whether someone is named before ``index``: "a man", "she"."""
        words = [self._word(i) for i in range(self._first, index)]
        return any(word in _SUBJECTS or word in load_lexicon().figures for word in words)

    def _before(self, number: int) -> Mood | None:
        """Mood of the mention before."""
        return self._moods.get(number - 1)

    def _inherited(self, number: int, otherwise: Mood) -> Mood:
        """After "and" or a comma: the mood of the mention before, which shares its subject."""
        before = self._before(number)
        if before in (Mood.MEANWHILE, Mood.STOPPED, None):
            return otherwise
        return before or otherwise

    # --- the forms --------------------------------------------------------------------------------------------------

    def _phrase(self, index: int, number: int) -> Mood:
        before = self._word(self._back(index))
        if before in _NEGATIONS:
            return Mood.FORBIDDEN
        if self._before(number) in (Mood.ASKED, Mood.LIKELY) and self._word(index - 1) in (",", "with"):
            return Mood.MEANWHILE
        return (
            Mood.ASKED if self._word(index) not in ("seated", "cross-legged") else self._inherited(number, Mood.ASKED)
        )

    def _base(self, index: int, number: int) -> Mood:
        """wave: a command unless something before it says otherwise."""
        at = self._back(index)
        word = self._word(at)
        if self._is_border(at):
            if word == "or" or (word == "and" and self._before(number) in (Mood.FORBIDDEN, Mood.TALK)):
                return self._inherited(number, Mood.ASKED)
            if word in ("and", "then", ",") and self._before(number) is Mood.TALK and self._says_i():
                return Mood.TALK
            return Mood.ASKED
        if word in _NEGATIONS:
            why = self._word(at - 1) == "why" or self._word(at - 2) == "why"
            return Mood.ASKED if why else Mood.FORBIDDEN
        if word in ("let's", "lets", "let", "i'll", "you'll", "he'll", "she'll", "they'll", "gonna", "must"):
            return Mood.ASKED
        if word == "to":
            return self._infinitive(at, number)
        if word in _MODALS:
            return self._modal(at)
        if word in ("do", "does", "did"):
            return Mood.ASKED if word == "do" and self._is_border(self._back(at)) else Mood.TALK
        return self._base_after_noun(at, index, number)

    def _says_i(self) -> bool:
        return any(self._word(i) in ("i", "i've", "i'd", "we", "my", "it") for i in range(self._first, self._end))

    def _base_after_noun(self, at: int, index: int, number: int) -> Mood:
        """ "can you wave", "let her wave", "two men wave", "I wave", "go wave"."""
        word, before = self._word(at), self._word(self._back(at))
        start = self._noun_start(at)
        leader = self._word(self._back(start))
        if leader in _CAUSES or before in _CAUSES:
            return Mood.ASKED
        if leader in _MODALS or before in _MODALS:
            able = word in ("you", "she", "he", "we") or word in _AVATARS
            return Mood.ASKED if able or self._word(start) in ("the", "a", "your", "this") else Mood.TALK
        if leader in ("do", "does", "did", "don't", "doesn't"):
            return Mood.ASKED if "why" in (self._word(start - 2), self._word(start - 3)) else Mood.TALK
        if any(
            self._word(i) in _SUBORDINATE or self._word(i) == "when" for i in range(self._clause_start(index) - 1, at)
        ):
            return Mood.TALK
        if word in ("i", "you", "they"):
            return Mood.ASKED if word != "i" or not self._says_opinion() else Mood.TALK
        if word in ("we", "it", "that", "to") or word in load_lexicon().things:
            return Mood.TALK
        if word in load_lexicon().figures:
            return Mood.ASKED if self._word(start) not in ("my", "our") else Mood.TALK
        if word in ("go", "come", "help", "try", "me", "please"):
            return Mood.ASKED
        if word in _PREPOSITIONS or word in _FINITE:
            return Mood.TALK
        return self._inherited(number, Mood.LIKELY if at - self._first <= 2 else Mood.TALK)

    def _says_opinion(self) -> bool:
        """ "I think I run too much": another verb of mine before."""
        return sum(self._word(i) == "i" for i in range(self._first, self._end)) > 1

    def _noun_start(self, at: int) -> int:
        """First word of the noun phrase that ends at ``at``."""
        start = at
        while start > self._first and self._word(start) not in _DETERMINERS | _POSSESSIVES:
            previous = self._word(start - 1)
            stops = previous in _CAUSES | _MODALS | _BE | _PREPOSITIONS | {
                "do",
                "does",
                "did",
                "don't",
                "doesn't",
                "that",
            }
            if (
                self._is_border(start - 1)
                or stops
                or (
                    start == at
                    and self._word(at)
                    in ("you", "i", "he", "she", "they", "we", "me", "him", "her", "them", "it", "us")
                )
            ):
                break
            start -= 1
        return start

    def _infinitive(self, to: int, number: int) -> Mood:
        """What stands before "to wave" decides: start, want you, ready; not love, how, able."""
        at = self._back(to)
        word = self._word(at)
        figure = self._has_figure(to)
        if self._is_border(at):
            return Mood.TALK
        if word in _STARTS or word in (
            "going",
            "ready",
            "about",
            "proceeding",
            "turn",
            "time",
            "command",
            "order",
            "instruction",
        ):
            if word in ("going", "about") and self._word(self._back(at)) in ("it's", "is") and not figure:
                return Mood.TALK
            return self._governed(at, number)
        if word in (
            "want",
            "wants",
            "need",
            "needs",
            "like",
            "likes",
            "have",
            "has",
            "tries",
            "decides",
            "manages",
            "wishes",
            "chooses",
            "hurries",
            "struggles",
        ):
            return Mood.ASKED if figure and self._word(self._back(at)) not in ("you", "i", "we") else Mood.TALK
        if word in ("forget",):
            return Mood.ASKED if self._word(self._back(at)) in _NEGATIONS else Mood.TALK
        if word in ("refuse", "refuses", "fails"):
            return Mood.FORBIDDEN
        start = self._noun_start(at)
        verb = self._word(self._back(start))
        if verb in (
            "want",
            "need",
            "like",
            "ask",
            "tell",
            "get",
            "order",
            "command",
            "love",
            "asking",
            "telling",
            "instruct",
            "expect",
            "wants",
            "have",
            "force",
            "invite",
            "for",
            "i'd",
        ):
            return (
                Mood.ASKED
                if word in ("you", "her", "him", "it", "them", "yourself")
                or word in _AVATARS
                or word in load_lexicon().figures
                else Mood.TALK
            )
        before = self._before(number)
        if before in (Mood.ASKED, Mood.LIKELY) and self._mentions[number - 1].first < at + 1:
            return before
        return (
            Mood.ASKED
            if figure and word not in ("how", "able", "love", "loves", "unable", "way", "used", "learn", "learns")
            else Mood.TALK
        )

    def _governed(self, at: int, number: int) -> Mood:
        """Mood of a helping verb such as "starts" at ``at``, which the mention shares."""
        word = self._word(at)
        if word.endswith("ing") or word in ("ready", "about", "time", "turn"):
            return Mood.TALK if self._word(self._back(at)) in ("it's", "it") else Mood.ASKED
        return self._third(at, number) if word.endswith("s") else self._base(at, number)

    def _modal(self, at: int) -> Mood:
        """ "I will wave" is a promise, "I can wave" is not."""
        word, subject = self._word(at), self._word(self._back(at))
        if self._is_border(self._back(at)):
            return Mood.ASKED if word in ("will", "must", "shall") else Mood.TALK
        if word in ("will", "shall", "must"):
            return Mood.TALK if subject in load_lexicon().things or subject in ("it", "that", "we") else Mood.ASKED
        return Mood.TALK

    def _third(self, index: int, number: int) -> Mood:
        """waves: a caption when its subject is a figure, or when it has none."""
        at = self._back(index)
        word = self._word(at)
        if self._is_border(at):
            if self._before(number) is None:
                return (
                    Mood.ASKED
                    if self._first == self._clause_start(index)
                    or self._has_figure(index)
                    or word in ("then", ",", ":", "-", "while", "as", "before")
                    else Mood.LIKELY
                )
            return self._inherited(number, Mood.ASKED)
        if word in _NEGATIONS:
            return Mood.FORBIDDEN
        start = self._clause_start(index)
        words = [self._word(i) for i in range(start, index)]
        if words[0] in ("my", "our") and words[1] not in _AVATARS:
            return Mood.TALK
        lexicon = load_lexicon()
        if any(w in _SUBORDINATE for w in words) and not any(w == "who" for w in words):
            return Mood.TALK
        if any(w in _SUBJECTS or w in lexicon.figures for w in words):
            return Mood.ASKED
        if words[0] in ("it", "this", "that", "there", "i", "we", "you") or any(w in lexicon.things for w in words):
            return Mood.TALK
        if re.search(r"(?:tion|ment|ness|ity|ism|ics|ing|ance|ence|ure)$", word):
            return Mood.TALK
        return Mood.LIKELY

    def _gerund(self, index: int, number: int) -> Mood:
        """waving: after "is", "starts" or a figure, or alone."""
        at = self._back(index)
        word = self._word(at)
        before = self._before(number)
        if self._is_border(at):
            if word in ("while", "as", "before", "after", "once", "when"):
                return Mood.ASKED
            if before is not None and word in ("and", "or", "then", "but"):
                return self._inherited(number, Mood.ASKED)
            if before in (Mood.ASKED, Mood.LIKELY):
                return Mood.MEANWHILE
            return Mood.TALK if self._is_topic(index) else Mood.ASKED
        if word in _NEGATIONS:
            return Mood.FORBIDDEN
        if word in _STOPS:
            return Mood.STOPPED if self._governed_base(at, number) is Mood.ASKED else Mood.TALK
        if word in _BE:
            return self._progressive(at, number)
        if word in _STARTS or word in ("practice", "practise"):
            return self._governed(at, number)
        if word in ("rather", "instead"):
            return Mood.FORBIDDEN
        if word in ("of", "than") and self._word(at - 1) in ("instead", "rather"):
            return Mood.FORBIDDEN
        if word == "about" and self._word(at - 1) in ("how", "what"):
            return Mood.ASKED
        if word == "mind" and self._word(at - 1) == "you":
            return Mood.ASKED
        if word in _PREPOSITIONS:
            shown = any(
                self._word(i) in ("motion", "animation", "pose", "gesture", "video", "clip", "gif")
                for i in range(self._first, at)
            )
            return (
                Mood.ASKED
                if shown or (word == "by" and before in (Mood.ASKED, None) and self._has_figure(at))
                else Mood.TALK
            )
        return self._gerund_after_noun(at, index, number)

    def _governed_base(self, at: int, number: int) -> Mood:
        return self._third(at, number) if self._word(at) == "stops" else self._base(at, number)

    def _gerund_after_noun(self, at: int, index: int, number: int) -> Mood:
        word = self._word(at)
        lexicon = load_lexicon()
        if self._before(number) in (Mood.ASKED, Mood.LIKELY) and (
            self._clause_start(index) <= self._mentions[number - 1].first or index - self._clause_start(index) <= 2
        ):
            return Mood.MEANWHILE
        if word in lexicon.figures or word in _SUBJECTS:
            return Mood.ASKED if self._word(self._noun_start(at)) not in ("my", "our") else Mood.TALK
        if word in (
            "love",
            "like",
            "enjoy",
            "hate",
            "loves",
            "likes",
            "enjoys",
            "hates",
            "recommend",
            "suggest",
            "consider",
            "prefer",
            "i",
            "we",
            "enjoyed",
            "loved",
            "miss",
            "mean",
            "means",
            "involves",
            "includes",
            "requires",
        ):
            return Mood.TALK
        if word in lexicon.things or word in _FINITE:
            return Mood.TALK
        if word in ("me", "you", "her", "him", "them"):
            return Mood.ASKED if self._word(self._back(at)) in _CAUSES | {"of"} else Mood.TALK
        start = self._clause_start(index)
        words = [self._word(i) for i in range(start, index)]
        if any(w in lexicon.figures or w in _SUBJECTS for w in words):
            return Mood.ASKED
        return Mood.TALK if self._is_topic(index) or any(w in _CHATTY for w in words) else Mood.LIKELY

    def _progressive(self, be: int, number: int) -> Mood:
        """ "she is waving" is a caption, "I was waving" a story."""
        word, at = self._word(be), self._back(be)
        subject = self._word(at)
        if word in ("i'm", "he's", "she's", "they're", "you're", "we're", "who's"):
            return Mood.ASKED
        if word in ("it's", "that's", "been", "be", "being"):
            return Mood.TALK if not self._has_figure(be) else Mood.ASKED
        if word in ("was", "were"):
            return (
                Mood.ASKED
                if self._has_figure(be) and self._word(self._noun_start(at)) in _DETERMINERS | _NUMBERS
                else Mood.TALK
            )
        if self._is_border(at) or subject in ("i", "you"):
            return Mood.ASKED
        return self._third(be, number)

    def _is_topic(self, index: int) -> bool:
        """ "Running is healthy": the gerund is what the sentence is about."""
        end = index + 1
        while end < self._end and not self._is_border(end):
            end += 1
        return any(self._word(i) in _FINITE for i in range(index + 1, min(end, index + 9)))

    def _past_form(self, index: int, number: int) -> Mood:
        at = self._back(index)
        word = self._word(at)
        if self._is_border(at):
            return self._inherited(number, Mood.TALK)
        if word in ("has", "have", "you've", "she's", "he's", "they've", "having", "had"):
            return (
                Mood.ASKED
                if any(self._word(i) in ("after", "once", "when") for i in range(self._first, at))
                else Mood.TALK
            )
        start = self._clause_start(index)
        words = [self._word(i) for i in range(start, index)]
        if any(w in ("i", "we", "you", "my", "our", "was", "were", "been", "be", "got", "it") for w in words):
            return Mood.TALK
        lexicon = load_lexicon()
        if words[0] in ("he", "she", "they", "someone") or (
            words[0] in _DETERMINERS | _NUMBERS and any(w in lexicon.figures for w in words)
        ):
            return Mood.ASKED
        return Mood.TALK

    def _noun(self, index: int, number: int) -> Mood:
        """a bow: after a verb like "do" or "give" as that verb, alone as a wish, else talk."""
        at = index - 1
        while at >= self._first and not self._is_border(at) and self._word(at) not in _LIGHT | {"with", "for", "in"}:
            if self._word(at) in _BE | {"of", "i", "was"} or self._word(at) in _NEGATIONS:
                break
            at -= 1
        word = self._word(at)
        if word in _LIGHT:
            return self._light(at, number)
        if word in ("with", "in", "for") and self._before(number) in (Mood.ASKED, Mood.LIKELY):
            return Mood.MEANWHILE
        if word in _NEGATIONS:
            return Mood.FORBIDDEN
        if self._is_border(at) and self._before(number) is not None and self._before(number) is not Mood.MEANWHILE:
            return self._inherited(number, Mood.LIKELY)
        words = [self._word(i) for i in range(self._first, self._end)]
        return Mood.TALK if any(w in _CHATTY for w in words[:12]) or self._is_topic(index) else Mood.LIKELY

    def _light(self, at: int, number: int) -> Mood:
        word = self._word(at)
        if word == "into":
            return Mood.ASKED if self._has_figure(at) or self._back(at) <= self._first else Mood.LIKELY
        if word in ("see", "want", "need", "like", "let's", "have", "try"):
            subject = self._word(self._back(at))
            return Mood.TALK if word == "have" and subject in ("i", "we", "you", "to") else Mood.ASKED
        if word.endswith("ing"):
            return self._gerund(at, number)
        if word == "did":
            return self._past_form(at, number)
        return self._third(at, number) if word.endswith("s") else self._base(at, number)


def is_adverb(word: str) -> bool:
    """Words that may stand between a verb and what governs it; lengths of time count."""
    return word in _ADVERBS or (word.endswith("ly") and word not in _NOT_ADVERBS) or "\ue000" <= word[:1] <= "\ue0ff"


def noun_places(tokens: Sequence[Token]) -> list[bool | None]:
    """True for a token right after an article or number, None for one with only adjectives between, else False."""
    return [_is_noun_place(tokens, index) for index in range(len(tokens))]


def _is_noun_place(tokens: Sequence[Token], index: int) -> bool | None:
    lexicon = load_lexicon()
    for steps in range(4):
        at = index - 1 - steps
        word = tokens[at].word if at >= 0 else ""
        if word in _DETERMINERS | _POSSESSIVES | _NUMBERS or word.isdigit():
            return None if steps else True
        if steps and (not word or not word[0].isalnum()):
            return None
        adjective = word and word[0].isalpha() and word not in lexicon.figures and word not in lexicon.entries
        if not adjective or word in _FUNCTION or (is_adverb(word) and word not in ("quick", "slow", "fast")):
            return None if steps and word in _FUNCTION else False
    return False


_FUNCTION: Final = (
    _MODALS
    | _BE
    | _PREPOSITIONS
    | _SUBJECTS
    | _NEGATIONS
    | _STARTS
    | _CAUSES
    | frozenset("i you we and or but me him them us it let's if when while before after as once with do does".split())
)
