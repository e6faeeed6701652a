"""Where English words name a bodily action: the table ``data/english.toml`` and the search in a text.

Says what a word may mean where it stands ("pull" in "pull request" means no action), not whether the action is asked
for; that is :mod:`motion_service.prompt.mood`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Final, Literal, NamedTuple

Form = Literal["base", "s", "ing", "ed", "noun", "phrase"]

OTHER: Final = "other"
"""Action of words that name something which :data:`~motion_service.prompt.actions.ACTIONS` lacks."""

_TOKEN: Final = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*|[\ua000-\ua0ff]|[^\w\s]")
_OPERATORS: Final = re.compile(r" (!>|!<|>|<) ?")
_DOUBLED: Final = re.compile(r"[^aeiou]*[aeiou][bdfgklmnprt]")


class Token(NamedTuple):
    """A word or a mark of a text."""

    word: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Mention:
    """Words of a text that name an action."""

    action: str
    form: Form
    first: int
    """Index of the first token."""
    end: int
    """Index after the last token."""
    told: bool
    """Only an action when a figure is told to do it ("a man talks"), not when said to the reader ("talk to you")."""


@dataclass(frozen=True, slots=True)
class _Entry:
    action: str
    form: Form
    after: re.Pattern[str] | None
    before: re.Pattern[str] | None
    not_after: re.Pattern[str] | None
    not_before: re.Pattern[str] | None
    told: bool
    compound: bool = False
    """Several words, such as "thinking pose"."""


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The table, ready for use."""

    entries: Mapping[str, Sequence[_Entry]]
    """{word: what it may mean, the likeliest first}."""
    phrases: Sequence[tuple[str, re.Pattern[str]]]
    figures: frozenset[str]
    """Nouns for who moves in a caption."""
    things: frozenset[str]
    """Nouns and pronouns for what is no figure."""
    grammar: Mapping[str, frozenset[str]]
    """{class: words}, such as the modal verbs."""
    classes: Mapping[str, frozenset[str]]
    """{word: classes}, the other way round."""


def text_to_tokens(text: str) -> list[Token]:
    """Words, numbers and marks of lower-case ``text``."""
    return [Token(match.group(), match.start(), match.end()) for match in _TOKEN.finditer(text)]


def find_mentions(text: str, tokens: Sequence[Token], nouns: Sequence[bool | None]) -> list[Mention]:
    """Mentions in lower-case ``text``, in order, none inside another.

    ``nouns``: True for a token right after an article, None after further words, as "bow" in "a deep bow".
    """
    lexicon = load_lexicon()
    found = {mention.first: mention for mention in _phrase_mentions(text, tokens, lexicon)}
    mentions: list[Mention] = []
    index = 0
    while index < len(tokens):
        mention = found.get(index) or _word_mention(text, tokens, index, lexicon, nouns[index])
        if mention:
            mentions.append(mention)
        index = mention.end if mention else index + 1
    return mentions


def _phrase_mentions(text: str, tokens: Sequence[Token], lexicon: Lexicon) -> Iterator[Mention]:
    for action, pattern in lexicon.phrases:
        for match in pattern.finditer(text):
            inside = [i for i, token in enumerate(tokens) if match.start() <= token.start < match.end()]
            if inside:
                yield Mention(action, "phrase", inside[0], inside[-1] + 1, False)


def _word_mention(
    text: str, tokens: Sequence[Token], index: int, lexicon: Lexicon, is_noun: bool | None
) -> Mention | None:
    token = tokens[index]
    entries = lexicon.entries.get(token.word) or _compound_entries(token.word, lexicon)
    if is_noun and _is_epithet(tokens, index, entries, lexicon):
        return None
    fits = [(entry, end) for entry in entries if (end := _fit(entry, text, token)) is not None]
    wanted = [fit for fit in fits if fit[0].compound or _suits(fit[0].form, is_noun, fits)]
    if not fits or (not wanted and _is_foreign(is_noun, fits[0][0].form, tokens[index - 1].word)):
        return None
    if (
        not wanted
        and is_noun is False
        and fits[0][0].form == "noun"
        and not fits[0][0].compound
        and _is_also_verb(entries)
    ):
        return None  # the verb stands there, in a meaning that is no action: "kick things off"
    entry, end = (wanted or fits)[0]
    last = index + 1
    while last < len(tokens) and tokens[last].start < end:
        last += 1
    return Mention(entry.action, entry.form, index, last, entry.told)


def _compound_entries(word: str, lexicon: Lexicon) -> Sequence[_Entry]:
    """What a compound with a hyphen means by its last part: "power-walks", "zombie-shuffling"."""
    head, _, last = word.rpartition("-")
    if not head or head in lexicon.grammar["loose"]:
        return ()
    return [entry for entry in lexicon.entries.get(last, ()) if entry.after is None and entry.action != OTHER]


def _is_epithet(tokens: Sequence[Token], index: int, entries: Sequence[_Entry], lexicon: Lexicon) -> bool:
    """Whether the word after an article only says which one is meant: "the sleeping baby"."""
    following = tokens[index + 1].word if index + 1 < len(tokens) else ""
    return following in lexicon.figures and any(entry.form == "ing" for entry in entries)


def _suits(form: Form, is_noun: bool | None, fits: Sequence[tuple[_Entry, int]]) -> bool:
    """Whether a word of that form is likely there. "a deep bow": what may be either is a noun in its base form."""
    if is_noun is None:
        is_noun = any(entry.form == "base" for entry, _ in fits)
    return (form == "noun") == is_noun


def _is_foreign(is_noun: bool | None, form: Form, before: str) -> bool:
    """Whether what could only be a verb stands where no verb does: "a good point"; but "the knights attack"."""
    return is_noun is True or (is_noun is None and form == "base" and before[-1] != "s")


def _is_also_verb(entries: Sequence[_Entry]) -> bool:
    return any(entry.form in ("base", "s") for entry in entries)


def _fit(entry: _Entry, text: str, token: Token) -> int | None:
    """Where the words that ``entry`` needs end, or None when they are not there."""
    rest = token.end + 1 if text[token.end : token.end + 1] == " " else token.end
    end = token.end
    if entry.after:
        match = entry.after.match(text, rest)
        if not match:
            return None
        end = max(match.end(), token.end)
    if entry.not_after and entry.not_after.match(text, rest):
        return None
    before = text[max(0, token.start - 60) : token.start].rstrip() if entry.before or entry.not_before else ""
    if entry.before and not entry.before.search(before):
        return None
    return None if entry.not_before and entry.not_before.search(before) else end


# --- the table --------------------------------------------------------------------------------------------------------


@cache
def load_lexicon() -> Lexicon:
    """Read the table, once in a process."""
    text = resources.files("motion_service").joinpath("prompt/data/english.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    entries: dict[str, list[tuple[bool, _Entry]]] = {}
    irregular = {line.split()[0]: line.split()[1:] for line in table["irregular"]["verbs"].split(", ")}
    macros: dict[str, str] = table["macros"]
    for action, rows in table["action"].items():
        for line in rows.get("verbs", []):
            for lemma, entry, is_special in _verb_entries(action, line, macros):
                for form, word in _conjugate(lemma, irregular):
                    entries.setdefault(word, []).append((is_special, replace(entry, form=form)))
        for line in rows.get("nouns", []):
            for word, entry in _noun_entries(action, line, macros):
                entries.setdefault(word, []).append((entry.after is not None, entry))
    phrases = [
        (action, re.compile(_expand(pattern, macros)))
        for action, rows in table["action"].items()
        for pattern in rows.get("phrases", [])
    ]
    ordered = {
        word: [entry for _, entry in sorted(found, key=lambda pair: not pair[0])] for word, found in entries.items()
    }
    sets = {name: frozenset(words.split()) for name, words in (table["words"] | table["grammar"]).items()}
    classes: dict[str, set[str]] = {}
    for name, words in sets.items():
        for word in words:
            classes.setdefault(word, set()).add(name)
    frozen = {word: frozenset(names) for word, names in classes.items()}
    return Lexicon(ordered, phrases, sets["figures"], sets["things"], sets, frozen)


def _expand(pattern: str, macros: Mapping[str, str]) -> str:
    return re.sub(r"\{([a-z]+)\}", lambda match: macros[match[1]], pattern)


def _split_line(line: str) -> tuple[str, dict[str, str]]:
    """Words of a line of the table and its conditions by operator."""
    head, *rest = _OPERATORS.split(line)
    return head, dict(zip(rest[::2], rest[1::2], strict=True))


def _condition(conditions: Mapping[str, str], operator: str, macros: Mapping[str, str]) -> re.Pattern[str] | None:
    if operator not in conditions:
        return None
    pattern = _expand(conditions[operator].strip(), macros)
    whole = {">": "", "!>": r"(?!\w)"}.get(operator, "$")  # what must not follow are whole words
    return re.compile(f"(?:{pattern}){whole}")


def _entry(action: str, conditions: Mapping[str, str], macros: Mapping[str, str], told: bool) -> _Entry:
    after, before, not_after, not_before = (
        _condition(conditions, operator, macros) for operator in (">", "<", "!>", "!<")
    )
    return _Entry(action, "base", after, before, not_after, not_before, told)


def _verb_entries(action: str, line: str, macros: Mapping[str, str]) -> Iterator[tuple[str, _Entry, bool]]:
    head, conditions = _split_line(line)
    for word in re.split(r",\s*", head.strip()):
        entry = _entry(action, conditions, macros, word.startswith("~"))
        yield word.removeprefix("~").strip(), entry, ">" in conditions


def _noun_entries(action: str, line: str, macros: Mapping[str, str]) -> Iterator[tuple[str, _Entry]]:
    for part in re.split(r",\s*(?![^(]*\))", line):
        head, conditions = _split_line(part)
        first, _, rest = head.strip().partition(" ")
        needed = {">": rest + r"\b" + conditions.get(">", "")} if rest else {}
        entry = _entry(action, conditions | needed, macros, False)
        yield first, replace(entry, form="noun", compound=bool(rest))


def _conjugate(lemma: str, irregular: Mapping[str, Sequence[str]]) -> Iterator[tuple[Form, str]]:
    """wave -> wave, waves, waving, waved; a particle after a hyphen stays."""
    yield "base", lemma
    consonant_y = re.search(r"[^aeiou]y$", lemma)
    if lemma == "be":
        yield from (("s", "is"), ("ing", "being"))
        return
    if re.search(r"(?:s|x|z|ch|sh|[^o]o)$", lemma):
        yield "s", "does" if lemma == "do" else f"{lemma}es"
    else:
        yield "s", {"have": "has"}.get(lemma, f"{lemma[:-1]}ies" if consonant_y else f"{lemma}s")
    stem = lemma + lemma[-1] if _DOUBLED.fullmatch(lemma.rpartition("-")[2]) else lemma
    if lemma.endswith("ie"):
        yield "ing", f"{lemma[:-2]}ying"
    else:
        yield "ing", f"{lemma[:-1]}ing" if re.search(r"[^eoy]e$", lemma) else f"{stem}ing"
    past = irregular.get(lemma)
    for word in dict.fromkeys(past or [lemma[:-1] + "ied" if consonant_y else re.sub(r"e?$", "ed", stem, count=1)]):
        if word != lemma:
            yield "ed", word
