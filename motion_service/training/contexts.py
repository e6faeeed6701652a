"""Captions as people say them: with somebody doing it, somewhere, for someone. For training the text reader only.

The captions of ``captions.py`` name actions and styles; real prompts also hold nurses, stages and friends, which pull a
sentence embedding away from its action. None of these words says anything about the motion.
"""

from __future__ import annotations

import random
import re
from typing import Final

_SUBJECTS: Final = (
    "the nurse", "a waiter", "the soldier", "a teacher", "the robot", "a dancer", "the kid", "grandma",
    "a little boy", "the student", "a businessman", "the king", "an athlete", "the hiker", "a pop star",
    "my avatar", "the guard", "a tourist", "the receptionist", "a farmer", "the coach", "a clerk", "the idol",
    "a monk", "the chef", "mom", "a police officer", "the mascot", "an actress", "the guest", "a knight",
    "the neighbour", "a shopkeeper",
)  # fmt: skip
_PLACES: Final = (
    "in the park", "on the stage", "at the door", "in the hallway", "on the street", "in the office",
    "at the station", "on the beach", "in the kitchen", "across the room", "at school", "in the lobby",
    "in the garden", "on the platform", "in front of the mirror", "in the rain", "under the tree", "by the window",
    "at the party", "on the field",
)  # fmt: skip
_OTHERS: Final = (
    "to a friend", "for the camera", "to the audience", "to the customers", "for the children", "with a smile",
    "after work", "before leaving", "after dinner", "this morning", "once more", "like in a movie",
    "again and again", "while the others watch", "on a sunny day", "after a long day", "to everyone",
    "in front of the boss", "for us", "without saying a word", "because it is late", "as the music plays",
    "to the crowd", "at the end of the show",
)  # fmt: skip
_WHO_JA: Final = (
    "看護師が", "おじさんが", "おじいさんが", "お兄さんが", "店員さんが",
    "兵士が", "先生が", "ロボットが", "踊り子が", "子どもが", "おばあちゃんが",
    "男の子が", "学生が", "会社員が", "王様が", "選手が", "旅人が", "アイドルが", "アバターが", "警備員が",
    "受付の女性が", "農家の人が", "監督が", "お母さんが", "司会者が", "騎士が", "隣の人が", "シェフが", "女優が",
    "先輩が", "妹が",
)  # fmt: skip
_WHERE_JA: Final = (
    "公園で", "ステージで", "玄関で", "廊下で", "道で", "会社で", "駅で", "海辺で", "台所で", "部屋で", "学校で",
    "ロビーで", "庭で", "ホームで", "鏡の前で", "雨の中", "木の下で", "窓のそばで", "会場で", "グラウンドで",
    "店先で", "お祭りで",
)  # fmt: skip
_WHOM_JA: Final = (
    "友達に向かって", "カメラに向かって", "観客に", "お客さんに", "みんなに", "子どもたちに", "笑顔で",
    "仕事のあと", "帰る前に", "夕食のあと", "朝から", "もう一度", "映画みたいに", "何度も", "黙って",
    "音楽に合わせて", "上司の前で", "遅いので", "最後に", "こちらを見て", "先生に", "舞台の上から",
)  # fmt: skip

_ENGLISH_SUBJECT: Final = re.compile(
    r"^(?:an?|the)\s+(?:\w+\s+)?(?:person|man|woman|boy|girl|character|avatar|assistant|figure)\b"
    r"|^(?:someone|somebody|he|she)\b"
)
_JAPANESE_SUBJECT: Final = re.compile(r"^\S{1,10}?が")


def with_context(caption: str, rng: random.Random) -> str:
    """The caption with another subject, a place or a purpose; it asks for the same motion."""
    if re.search(r"[ぁ-んァ-ヶ一-龠]", caption):
        if _JAPANESE_SUBJECT.match(caption) and rng.random() < 0.5:
            caption = _JAPANESE_SUBJECT.sub("", caption)
        who = rng.choice(_WHO_JA) if not _JAPANESE_SUBJECT.match(caption) and rng.random() < 0.5 else ""
        where = rng.choice(_WHERE_JA + _WHOM_JA)
        rest = where if not who or rng.random() < 0.67 else ""
        return f"{who}{rest}{caption}" if rng.random() < 0.6 else f"{rest}{who}{caption}"
    if _ENGLISH_SUBJECT.match(caption) and rng.random() < 0.7:
        caption = _ENGLISH_SUBJECT.sub(rng.choice(_SUBJECTS), caption, count=1)
    tail = rng.choice(_PLACES + _OTHERS) if rng.random() < 0.75 else ""
    return f"{caption} {tail}".strip() if rng.random() < 0.85 else f"{tail}, {caption}".strip(", ")
