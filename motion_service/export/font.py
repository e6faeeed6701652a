"""A font for captions in English and Japanese, from those that the system has; none is shipped."""

from __future__ import annotations

from functools import cache
from typing import Final

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_JAPANESE_FONTS: Final = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKjp-Regular.otf",
    "NotoSansJP-Regular.otf",
    "NotoSansJP-Regular.ttf",
    "NotoSansJP[wght].ttf",
    "ipagp.ttf",
    "ipag.ttf",
    "ipaexg.ttf",
    "TakaoPGothic.ttf",
    "VL-Gothic-Regular.ttf",
    "fonts-japanese-gothic.ttf",
    "ヒラギノ角ゴシック W3.ttc",
    "YuGothM.ttc",
    "meiryo.ttc",
    "msgothic.ttc",
)
"""File names that Pillow looks for in the system's font directories (Debian, Fedora, macOS, Windows)."""


@cache
def _japanese_font(size: int) -> Font | None:
    for name in _JAPANESE_FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return None


@cache
def _latin_font(size: int) -> Font:
    return ImageFont.load_default(size)


def has_japanese_font() -> bool:
    """Whether Japanese captions can be drawn on this machine."""
    return _japanese_font(16) is not None


def caption_font(text: str, size: int) -> tuple[str, Font]:
    """The text as it can be drawn, and a font of ``size`` pixels that draws it.

    Without a Japanese font every character beyond ASCII becomes "?"; so does what is no character (lone surrogates).
    """
    text = text.encode(errors="replace").decode()
    if text.isascii():
        return text, _latin_font(size)
    font = _japanese_font(size)
    if font is not None:
        return text, font
    return text.encode("ascii", "replace").decode(), _latin_font(size)
