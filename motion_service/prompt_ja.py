"""The Japanese side of :mod:`motion_service.prompt`: its words for actions, lengths of time and order, as tables."""

from __future__ import annotations

import re

ACTION_WORDS: tuple[tuple[str, str], ...] = (  # the first that matches names the action; special before general
    ("idle", r"動か(?:ず|ない)|うごか(?:ず|ない)|何もし(?:ない|ず)"),
    ("jumping-jack", r"ジャンピングジャック|挙手跳躍"),
    ("soccer-kick", r"サッカー|(?:ボール|球)を(?:蹴|ける|けっ)|シュートを?(?:打|する|し|決)"),
    ("ballet-dance", r"バレエ|ピルエット"),
    ("basketball", r"バスケ|ドリブル|フリースロー|ダンクシュート"),
    ("direct-traffic", r"交通整理|交通誘導"),
    ("hit-reaction", r"殴られ|打たれ|攻撃を(?:受け|くら)|被弾|のけぞ|仰け反"),
    ("death-fall", r"倒れ|たおれ|崩れ落ち|力尽き|息絶え|死(?:ぬ|ん)"),
    ("bend-pick-up", r"拾(?:う|い|っ)|ひろ(?:う|い|っ)|かがんで.*取|すくい上げ"),
    ("pick-up", r"手に取|取り上げ|つかみ上げ|持ち上げて?.*(?:物|荷物|コップ|本)|(?:物|荷物|コップ|本|箱)を.*持ち上げ"),
    ("byebye", r"[ばバ][いイ][ばバ][いイーぁ]"),
    ("bye", r"さよ(?:う)?なら|サヨナラ|お?別れ|またね|じゃあね|見送|別れを告げ|手を振って(?:去|送)"),
    ("call", r"手招き|手まねき|おいで|呼び(?:かけ|寄せ|止め)|呼ぶ|呼んで|声をかけ|こっち(?:に|へ)?来"),
    ("guide", r"案内|誘導|道を(?:示|教)|指し示|どうぞ|エスコート|手で(?:示|指)|お?通し(?:する|して|します)"),
    ("respond", r"返事|応答|応え|答え|返答|相づち|相槌|うなず|頷"),
    ("bow", r"お?辞儀|おじぎ|一礼|敬礼|会釈|礼をする|礼をし|頭を(?:下げ|さげ|垂れ)|ぺこり|ペコリ"),
    ("cartwheel", r"側転"),
    ("flip", r"宙返り|バク転|バック転|バク宙|前転宙|空中回転"),
    ("roll", r"前転|でんぐり返|転が(?:る|り|っ|れ)|ローリング|ごろごろ"),
    (
        "wave",
        r"手を?(?:[^、。を]{0,10})(?:振|ふ[るりっれろ])|(?:手|腕|うで)を?.{0,12}(?:振[るりっれろら]|ふ[るりっれろ])|ひらひら|手振り",
    ),
    (
        "raise",
        r"(?:手|腕|うで|拳)[をも]?.{0,14}(?:挙げ|上げ|あげ|掲げ|かかげ|突き上げ|持ち上げ|伸ば|のば)|挙手|万歳|バンザ[イー]|ばんざ[いー]|降参",
    ),
    ("slash", r"斬|切り(?:つけ|かか|裂|払|込)|刀を|剣を(?:振|ふ)|斬撃|ぶった切"),
    ("sword", r"剣|刀|ソード|太刀"),
    ("boxing", r"ボクシング|シャドーボ"),
    ("punch", r"パンチ|殴|なぐ[るりっ]|拳を|こぶしを|ジャブ|ストレート|フックを|アッパー"),
    ("kick", r"キック|蹴|けり(?:を|上げ)"),
    ("dance", r"ダンス|踊|おど[るりっろ]|舞[うい]|ステップを踏"),
    ("squat", r"スクワット|屈伸"),
    ("crouch", r"しゃが|屈[みむん]|かが[みむん]|うずくま|身を低く|腰を(?:落と|低く)"),
    ("sit", r"座|すわ[るりっれ]|着席|腰(?:を|)(?:おろ|下ろ|掛け|かけ)|腰掛"),
    ("jump", r"ジャンプ|跳[ぶびんねば]|飛び(?:上が|跳ね)|とびは?ね|ぴょん|飛び跳ね"),
    ("swim", r"泳|水泳|クロール|平泳ぎ"),
    ("climb", r"登[るりっ]|のぼ[るりっ]|よじ|上って|上る|梯子|はしご"),
    ("laugh", r"笑[うっい]|爆笑|大笑い"),
    ("drink", r"飲[むみんま]|のんで|乾杯"),
    ("wash", r"洗[うっい]|拭[くいき]|磨[くいき]|窓ふき"),
    ("push", r"押[すしせ]"),
    ("drive", r"運転|ハンドルを"),
    ("torch", r"たいまつ|松明|トーチ"),
    ("spell", r"魔法|呪文|詠唱"),
    ("aim", r"銃|ピストル|狙[うい]|照準"),
    ("interact", r"操作|いじ[るっ]|ボタン|レバー|修理"),
    (
        "turn",
        r"(?<!腰の)(?<!腰が)(?<!背中の)(?<!背中が)曲が|まが[るりっ]|右折|左折|旋回|ターン|カーブ|方向転換|(?:方向|向き|進路)を(?:変え|かえ)|振り(?:向|返)|回れ",
    ),
    (
        "sidestep",
        r"横歩き|横移動|横に(?:動|移|一歩|ずれ)|サイドステップ|[左右](?:方向|側|の方)?[にへ].{0,8}(?:ずれ|移動|動|一歩|寄[るっ])|カニ歩き|蟹歩き",
    ),
    ("walk-back", r"後ずさ|あとずさ|後退|後進|[歩へにと]下が|[歩へにと]さが"),
    ("dash", r"ダッシュ|全力疾走|疾走|全速力|猛スピード|全力で(?:走|駆)|突っ走"),
    ("run", r"走[るりっれろら]|はし[るりっれろ]|駆け|かけ(?:足|る|出)|ジョギング|ランニング"),
    ("walk", r"歩[くいきけこ]|あるい|あるく|散歩|散策|歩行|ウォーキング|前進|進[むみん]|行進|ぶらつ|うろうろ|足踏み"),
    ("talk", r"話[すし]|喋|しゃべ|会話|語[るりっ]|おしゃべり|説明"),
    (
        "idle",
        r"立(?:つ|って|ち尽|ったまま)|たって|佇|待[つっ機ち]|じっと|静止|止ま[るっ]|直立|休[むん憩]|ぼーっと|何もし",
    ),
)

SEPARATORS = re.compile(
    r"(?P<strong>(?<=[てで])から、?|(?<=[ただ])(?:後|あと)(?:で|に)?、?|[、。]?(?:そして|それから|その後で?|そのあと|次に|つぎに|続けて)、?|。)"
    r"|(?P<weak>、)"
    r"|(?P<plain>(?<=[いしっきりえけげせてねべめれみじわ]て|(?<=.)んで|(?<=.)いで)"
    r"(?!お[くいき]|しま|ちょ|か[らい]|も[らい]|やっ|あげ|ほし|くだ|くれ|さ[い]|ない|き[てた]|い[るたてくか]|み[てるた]"
    r"|[はもねよ、。 ]|見せ|頂|欲|下|来|行|$))"
)
"""strong: one action follows another; weak: perhaps; plain: a bare 〜て, which may also say in what manner."""

_DIGITS = {"〇": 0, "零": 0, "一": 1, "二": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}
_NUMBER = r"\d+(?:\.\d+)?|[一二三四五六七八九十百]+|数|半"
_TAIL = r"(?:ほど|くらい|ぐらい|程度|かけて|だけ|ばかり)?(?:の間|間)?(?:ほど|くらい|ぐらい|程度|かけて|だけ)?[でのに]?"
DURATION = re.compile(
    rf"(?:約|およそ|だいたい|大体)?(?:(?P<minutes>\d+(?:\.\d+)?)分(?!の\d)|(?P<kanji>[一二三四五六七八九十]+)分(?=間|半|[一二三四五六七八九十]+秒))?"
    rf"(?:(?<=分)(?P<half>半))?(?:(?P<seconds>{_NUMBER})秒(?P<half_second>半)?)?(?!後|ごと|おき|毎|前|目|速|以内後){_TAIL}"
)


def word_to_number(word: str) -> float:
    """「三」 3, 「二十五」 25, 「百二十」 120, 「数」 (a few) 3, 「半」 0.5, "2.5" 2.5."""
    if word in ("数", "半"):
        return 3.0 if word == "数" else 0.5
    if word[0].isdigit():
        return float(word)
    total, digit = 0, 0
    for character in word:
        if character in "十百":
            total += (digit or 1) * (10 if character == "十" else 100)
            digit = 0
        else:
            digit = _DIGITS[character]
    return float(total + digit)


def match_to_seconds(match: re.Match[str]) -> float | None:
    """Seconds of a match of :data:`DURATION`; None when it holds no number with a unit."""
    minutes, seconds = match["minutes"] or match["kanji"], match["seconds"]
    if minutes is None and seconds is None:
        return None
    total = 60 * word_to_number(minutes) if minutes else 0.0
    total += 30 if match["half"] and minutes else 0
    total += word_to_number(seconds) if seconds else 0.0
    return total + (0.5 if match["half_second"] else 0)
