"""Which language a prompt is in: English, Japanese, or another one, by its letters and its commonest words."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from motion_service.clips import Language
from motion_service.prompt_words import load_lexicon

_KANA: Final = re.compile(r"[ぁ-ゖァ-ヺｦ-ﾟ]")
_HAN: Final = re.compile(r"[㐀-鿿々]")
_CHINESE: Final = re.compile(
    r"[你您她们这那哪个吗呢啊么请给让为们来过说话时谁对没还从边样种长张开关门马车东见现转头举双两边头脚跑挥招坐站蹲踢鞠躬拍]"
)
"""Characters that Japanese writes in another way or does not use; 招坐站跑挥 and others stand for common commands."""
_JAPANESE_HAN: Final = re.compile(r"[歩走振拝礼挙手右左両前後回転座踊働込払気]")

_WORDS: Final = {  # words that are frequent, and verbs of motion that the lexicon of English does not know
    "fr": "le la les un une des du de et est dans avec pour sur qui que il elle je tu vous nous bonjour merci marche "
    "marcher danse danser saute sauter salue saluer lève lever main mains bras gauche droite pendant puis secondes en ne pas "
    "s'assoit assieds-toi cours courir tourne tourner homme femme fait son sa ses se l'homme assied salut au revoir",
    "de": "der die das ein eine einen und ist mit auf für nicht er sie ich du wir ihr den dem zu im hallo danke geh geht gehen "
    "winkt winke winken tanzt tanze tanzen springt springe springen läuft laufe laufen hebt heb heben hand hände arm linke "
    "rechte linken rechten dann sekunden lang sich setzt setz verbeugt verbeuge vorwärts rückwärts dreht bitte mann frau nach",
    "es": "el la los las un una y es en con para por que de del no él ella yo tú hola gracias camina caminar baila bailar "
    "salta saltar saluda saludar levanta levantar mano manos brazo izquierda derecha luego después segundos corre correr "
    "gira se sienta siéntate persona hombre mujer hacia adelante su durante y a adiós anda",
    "it": "il lo la i gli le un una e è con per che di del non lui lei io tu ciao grazie cammina camminare balla ballare salta "
    "saluta salutare alza alzare mano mani braccio sinistra destra poi secondi corre si siede siediti persona uomo donna avanti",
    "pt": "o a os as um uma e é em com para por que de do da não ele ela eu você olá obrigado anda andar dança dançar pula "
    "acena acenar levanta mão mãos braço esquerda direita depois segundos corre sente-se senta pessoa homem mulher frente",
    "nl": "de het een en is met op voor niet hij zij ik jij naar van hallo dank loop loopt lopen zwaai zwaait dans danst spring "
    "springt hand handen arm linker rechter dan seconden rent zit man vrouw vooruit draait buigt",
    "id": "dan yang di ke dengan untuk tidak dia saya kamu halo terima kasih jalan berjalan lompat melompat menari tangan "
    "lambaikan melambai kiri kanan lalu detik duduk lari berlari orang",
    "vi": "và là của một người đi bộ nhảy múa vẫy tay trái phải rồi giây ngồi chạy xin chào cảm ơn cúi",
    "pl": "i w z na do się nie jest osoba idzie macha ręką tańczy skacze lewą prawą potem sekund siada biegnie proszę dzień dobry",
    "tr": "ve bir bu ile için değil o ben sen merhaba yürü yürüyor dans zıpla el salla sağ sol sonra saniye otur koş kişi",
    "sv": "och en ett är med på för inte han hon jag du hej tack går gå dansar dansa hoppar vinka vinkar handen vänster höger sedan sekunder",
}  # fmt: skip
_OTHERS: Final = {name: frozenset(words.split()) for name, words in _WORDS.items()}
_ENGLISH: Final = frozenset(
    "the a an and is are was with for your my his her their you i he she it we they to of in on at this that do please can "
    "then while hand hands arm left right forward what how not have be will person man woman slowly quickly me up down from "
    "as or if so about there just seconds today hello hi".split()
)


def detect_language(text: str) -> Language:
    """Language of non-empty normalised ``text``. One with kana is Japanese; a doubtful one with Latin letters English."""
    if _KANA.search(text):
        return "ja"
    if _HAN.search(text):
        chinese = len(set(_CHINESE.findall(text)))
        return (
            "other"
            if chinese >= (1 if not _JAPANESE_HAN.search(text) else 2) or re.search(r"[向着了的把吧吗]", text)
            else "ja"
        )
    letters = [character for character in text if character.isalpha()]
    latin = sum(unicodedata.name(character, "").startswith("LATIN") for character in letters)
    if letters and latin < len(letters) / 2:
        return "other"
    words = re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", text.lower())
    english = sum(word in _ENGLISH or word in load_lexicon().entries for word in words)
    other = max(sum(word in known for word in words) for known in _OTHERS.values())
    accents = sum(any(ord(character) > 0xBF for character in word) for word in words)
    return "other" if other + accents > english and (other + accents >= 2 or len(words) <= 2) else "en"
