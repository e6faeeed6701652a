"""How long Japanese and English words take to say: morae and syllables, counted from spelling alone.

A mora is the beat of spoken Japanese: きょう has two, ちょっと three. Kana tell theirs; a kanji is guessed from where
it stands. Within a compound most readings came from Chinese and have two morae, some one; alone before kana it is the
stem of a verb or adjective; alone otherwise a native noun. Words that follow none of it are in a table. English
syllables are groups of vowels.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

_WITHOUT_MORA: Final = frozenset("ゃゅょぁぃぅぇぉゎャュョァィゥェォヮ")
"""Small kana belong to the one before. っ, ん and ー count."""
_KANJI: Final = "々〆ヶ一-鿿"
_PIECE: Final = re.compile(rf"[{_KANJI}]+|[ぁ-ゖァ-ヺー]+|\d[\d,]*(?:\.\d+)?|[A-Za-z]+(?:['’][A-Za-z]+)*|[%％℃円]")

_SHORT_READING: Final = frozenset(
    "可加家歌火化下科課過果気期記機基器季希紀喜起規義議技疑五語御古故個固湖午互左差査佐座四死私止市志指師紙資史子支思姿視試詩誌使始氏士自字治次事"
    "時地磁辞似寺児社者車写謝所初書処助女序主手取酒種首趣授受樹需諸暑署除素祖組措訴他多打太知値置池茶著都図途土度努徒怒渡戸二波破派馬羽非比費飛被皮悲"
    "否秘美備鼻部夫不付府婦父負富布普舞武歩保捕母墓補募模味未魅無夢務夜予余与預世施是理利里離裏路和我画駄緒詞仕示司飼誤護呼庫雇去居巨拠許虚魚具区苦"
    "句九久貴危季奇寄祈汽旗貨荷菓佳価架稼暇雅河果嫁墓簿妻瀬背名菜目屋場野間木根値手身見出入置着取会合日"
)
"""Kanji that have one mora within a compound; the others have two."""
_SHORT_STEM: Final = frozenset(
    "言行見来出食着寝飲読書聞待持知取立切打会合買置押引生要居好良無変終乗降起開止分決似煮得経帰去手目木火気絵名血歯毛日子戸葉根実身巣酢胃値湯輪"
    "建貸借足勝負住済向吹振降消焼売巻比飼撮採撃蹴泣鳴咲刺差指干振触吸割折掘込組凝酔濃"
)
"""Kanji of one mora where they stand alone; the others have two."""
_LONG_STEM: Final = frozenset(
    "私心体頭力形男女左所間車話命魚薬桜鏡印柱畑隣昔光氷嵐娘東南表扉机鞄袋新美難忙働喜驚懐暖温賢整断"
)
"""Kanji of three, likewise; 話 only as a noun."""
_WORDS: Final[Mapping[str, int]] = {
    "今日": 2, "明日": 3, "昨日": 3, "一人": 3, "二人": 3, "大人": 3, "今年": 3, "今朝": 2, "上手": 3, "下手": 2,
    "部屋": 2, "時計": 2, "友達": 4, "面白": 4, "手伝": 3, "気持": 3, "一昨日": 4, "明後日": 4, "果物": 4,
    "景色": 3, "仕事": 3, "食事": 3, "大事": 3, "家族": 3, "買物": 4, "飲物": 4, "食物": 4, "名前": 3, "出来": 2,
    "素敵": 3, "今回": 4, "今度": 3, "場所": 3, "場合": 3, "世界": 3, "美味": 2, "可愛": 3, "昼間": 3, "夕方": 4,
    "笑顔": 3, "元気": 3, "人気": 3, "気分": 3, "時間": 3, "考": 4, "何時": 3, "何度": 3, "一日": 4, "二日": 3,
    "一番": 4, "一度": 3, "大好": 4, "大変": 4, "丁度": 3, "是非": 2, "最近": 4, "誕生日": 6, "金曜日": 5,
    "曜日": 3, "毎日": 4, "週末": 4, "来週": 4, "来月": 4, "半分": 4, "自分": 3, "自身": 3, "気温": 3,
}  # fmt: skip
"""Words that do not follow the rules, or are in every second sentence."""
_LONGEST_WORD: Final = max(map(len, _WORDS))
_DIGIT: Final = (2, 2, 1, 2, 2, 1, 2, 2, 2, 2)
_UNITS: Final = (0, 2, 2, 2)
"""Of tens, hundreds and thousands."""
_SIGNS: Final[Mapping[str, int]] = {"%": 5, "％": 5, "℃": 1, "円": 2}
_DIGIT_SYLLABLES: Final = (2, 1, 1, 1, 1, 1, 1, 2, 1, 1)
_VOWELS: Final = re.compile(r"[aeiouy]+")
_SILENT: Final = re.compile(r"(?<=[^aeiouyl])es?$|(?<=[^aeiouytd])ed$|(?<=[^aeiouy]l)es$")


def count_morae(text: str) -> float:
    """Morae of Japanese ``text``, with its numbers and foreign words; marks take none."""
    text = unicodedata.normalize("NFKC", text)
    pieces = list(_PIECE.finditer(text))
    return float(sum(_piece(match.group(), text[match.end() : match.end() + 1]) for match in pieces))


def count_syllables(text: str) -> float:
    """Syllables of English ``text``, with its numbers; marks take none."""
    return float(
        sum(
            sum(_DIGIT_SYLLABLES[int(digit)] + 0.7 for digit in word) if word[0].isdigit() else _syllables(word)
            for word in re.findall(r"\d+|[A-Za-z]+(?:['’][A-Za-z]+)?", text)
        )
    )


def _piece(piece: str, after: str) -> float:
    """Morae of a run of one kind of letters; ``after`` is the letter that follows it."""
    if piece in _SIGNS:
        return _SIGNS[piece]
    if piece[0].isdigit():
        return _number(piece)
    if piece[0].isascii():
        return sum(2.2 for _ in piece) if piece.isupper() and len(piece) < 6 else 1.6 * _syllables(piece)
    if re.match(rf"[{_KANJI}]", piece):
        return _kanji(piece, after)
    return sum(letter not in _WITHOUT_MORA for letter in piece)


def _kanji(run: str, after: str) -> int:
    """Morae of kanji in a row: known words first, then one by one."""
    total, at = 0, 0
    while at < len(run):
        word = next((run[at : at + n] for n in range(_LONGEST_WORD, 0, -1) if run[at : at + n] in _WORDS), None)
        if word is not None and (len(word) > 1 or len(run) == 1):
            total, at = total + _WORDS[word], at + len(word)
            continue
        letter = run[at] if run[at] != "々" or at == 0 else run[at - 1]
        is_alone = len(run) == 1
        if is_alone and letter in _LONG_STEM:
            total += 2 if letter == "話" and after in tuple("さしすせそ") else 3
        elif is_alone:
            total += 1 if letter in _SHORT_STEM else 2
        else:
            total += 1 if letter in _SHORT_READING else 2
        at += 1
    return total


def _number(digits: str) -> int:
    """Morae of a number read out: 1,250 is せんにひゃくごじゅう."""
    whole, _, rest = digits.replace(",", "").partition(".")
    total = 2 + sum(_DIGIT[int(digit)] for digit in rest) if rest else 0
    if len(whole) > 8 or (whole.startswith("0") and len(whole) > 1):
        return total + sum(_DIGIT[int(digit)] for digit in whole)
    for place, digit in enumerate(reversed(whole)):
        if place == 4:
            total += 2  # 万
        unit = _UNITS[place % 4]
        if digit != "0" or len(whole) == 1:
            total += unit + (0 if digit == "1" and unit else _DIGIT[int(digit)])
    return total


def _syllables(word: str) -> int:
    """Syllables of one English word; of an acronym its letters."""
    if word.isupper() and 1 < len(word) < 6:
        return len(word) + 2 * word.count("W")
    spelled = _SILENT.sub("", word.lower().replace("’", "'").split("'")[0])
    return max(1, len(_VOWELS.findall(spelled)))
