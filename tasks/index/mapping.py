"""The index: what a launch's document has, and how its words and those of a search are made comparable."""

from typing import Any

ALIAS = "launches"
VERSION = 1  # of all that is below and of document.py: with another one, a new index is built beside the old one
INDEX = f"{ALIAS}-{VERSION}"

# What people type for letters that their keyboards do not have. Greek ones stand in names for the Latin ones that they
# look like, as in ΣYNDEO.
GREEK = dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧΣΔΛΩαβγδεζηικλμνοπρσςτυφχω", "ABEZHIKMNOPTYXSDLOabgdeziiklmnoprsstyfxo", strict=True))
# As newspapers write it: Союз is Soyuz, Прогресс is Progress.
CYRILLIC = dict(
    zip(
        "абвгдеёжзийклмнопрстуфхцчшщъыьэюяіїєґ",
        ["a", "b", "v", "g", "d", "e", "e", "zh", "z", "i", "y", "k", "l", "m", "n", "o", "p", "r", "s", "t", "u", "f",
         "kh", "ts", "ch", "sh", "shch", "", "y", "", "e", "yu", "ya", "i", "yi", "ye", "g"],
        strict=True,
    )
)  # fmt: skip
# By Hepburn: ひまわり is himawari.
VOWELS = "aiueo"
ROWS = {
    "": "あいうえお", "k": "かきくけこ", "s": "さしすせそ", "t": "たちつてと", "n": "なにぬねの", "h": "はひふへほ",
    "m": "まみむめも", "r": "らりるれろ", "g": "がぎぐげご", "z": "ざじずぜぞ", "d": "だぢづでど", "b": "ばびぶべぼ",
    "p": "ぱぴぷぺぽ",
}  # fmt: skip
SPECIAL = {"し": "shi", "ち": "chi", "つ": "tsu", "ふ": "fu", "じ": "ji", "ぢ": "ji", "づ": "zu"}
OTHERS = {"や": "ya", "ゆ": "yu", "よ": "yo", "わ": "wa", "を": "o", "ん": "n", "ゔ": "vu"}
SMALL = {"ゃ": "a", "ゅ": "u", "ょ": "o"}
KATAKANA = ord("ア") - ord("あ")


def kana() -> dict[str, str]:
    """Return hiragana and katakana, and how they are written in Latin letters."""
    single = {c: consonant + VOWELS[at] for consonant, row in ROWS.items() for at, c in enumerate(row)}
    single |= SPECIAL | OTHERS
    found = dict(single)
    for c, latin in single.items():
        if latin.endswith("i") and len(latin) > 1:
            stem = latin[:-1] if c in SPECIAL else f"{latin[:-1]}y"
            found |= {c + small: stem + vowel for small, vowel in SMALL.items()}
    # A small tsu doubles what follows.
    found |= {f"っ{c}": latin[0] + latin for c, latin in found.items() if latin[0] not in VOWELS + "n"}
    katakana = {"".join(chr(ord(c) + KATAKANA) for c in text): latin for text, latin in found.items()}
    return found | katakana | {"ー": ""}


def folded() -> list[str]:
    """Return the letters that are written otherwise, as the servers' mapping filter takes them."""
    cyrillic = CYRILLIC | {c.upper(): latin.capitalize() for c, latin in CYRILLIC.items()}
    return [f"{text} => {latin}" for text, latin in (GREEK | cyrillic | kana()).items()]


# What is said in other words, one line each. Only a search is widened: the index stays as launches are.
SYNONYMS = [
    "f9 => falcon 9",
    "fh => falcon heavy",
    "lm => long march",
    "cz, long march",
    "sls, space launch system",
    "ula, united launch alliance",
    "2, ii",
    "3, iii",
    "4, iv",
    "geo, gto, gso, geostationary, geosynchronous",
    "leo, low earth orbit",
    "meo, medium earth orbit",
    "sso, sun synchronous",
    "iss, international space station",
    "crew, crewed, astronaut, cosmonaut, human",
    "cargo, resupply",
    "moon, lunar",
    "satnav, gps, navigation",
    "spy, reconnaissance",
    "weather, meteorological",
    "nro, nrol",
    "usa, american, united states",
    "china, chinese",
    "india, indian",
    "japan, japanese",
    "russia, russian",
    "kourou, guiana",
    "cape, canaveral",
    "ksc, kennedy",
]

# Words of a question that tell no launch from another.
FILLERS = {
    "a", "an", "and", "are", "at", "by", "can", "coming", "do", "does", "flies", "flight", "flights", "fly",
    "for", "from", "go", "going", "in", "is", "it", "launch", "launched", "launches", "launching", "lift", "me",
    "mission", "missions", "next", "of", "off", "on", "or", "rocket", "rockets", "satellite", "satellites",
    "show", "soon", "take", "takes", "the", "this", "to", "upcoming", "what", "when", "where", "which", "who",
    "will", "with",
}  # fmt: skip

FILTERS = ["lowercase", "elision", "german_normalization", "asciifolding"]
ANALYSIS: dict[str, Any] = {
    "char_filter": {
        "letters": {"type": "mapping", "mappings": folded()},
        # Falcon9 is Falcon 9, and 39A is 39 A. Both sides are taken, or what is highlighted would be beside the word.
        "before_digits": {"type": "pattern_replace", "pattern": r"(\p{L})(\p{N})", "replacement": "$1 $2"},
        "after_digits": {"type": "pattern_replace", "pattern": r"(\p{N})(\p{L})", "replacement": "$1 $2"},
    },
    "filter": {
        "elision": {
            "type": "elision",
            "articles_case": True,
            "articles": ["l", "d", "c", "j", "m", "n", "s", "t", "qu"],
        },
        "plural": {"type": "stemmer", "language": "minimal_english"},
        "same": {"type": "synonym_graph", "synonyms": SYNONYMS},
    },
    "analyzer": {
        "launch": {
            "type": "custom",
            "char_filter": ["letters", "before_digits", "after_digits"],
            "tokenizer": "standard",
            "filter": [*FILTERS, "plural"],
        },
        "launch_search": {
            "type": "custom",
            "char_filter": ["letters", "before_digits", "after_digits"],
            "tokenizer": "standard",
            "filter": [*FILTERS, "plural", "same"],
        },
    },
}

TEXT = {"type": "text", "analyzer": "launch", "search_analyzer": "launch_search"}
DATE = {"type": "date", "format": "strict_date_optional_time"}  # the servers' own defaults differ
WORD = {"type": "keyword", "ignore_above": 1024}  # a longer one would fail the whole document
NUMBER = {"type": "long", "index": False}
PROPERTIES: dict[str, Any] = {
    "launch_id": {"type": "keyword"},
    "name": TEXT,
    "mission": TEXT,
    "kind": TEXT,  # such as Communications
    "orbit": TEXT,
    "description": TEXT,
    "program": TEXT,
    "provider": TEXT,
    "customer": TEXT,
    "rocket": TEXT,
    "pad": TEXT,
    "location": TEXT,
    "pages": TEXT,  # what crawled pages say
    "point": {"type": "geo_point"},  # where the pad is
    "status": WORD,
    "state": TEXT,  # the status as people say it
    "net": DATE,
    "net_precision": WORD,
    # The time in which the launch can be, by NET and its precision: all of December, where the day is not known.
    "when": DATE | {"type": "date_range"},
    "slips": {"type": "integer"},  # how often NET became later
    "image_url": {"type": "keyword", "index": False, "doc_values": False},
    "withdrawn_at": DATE,
    # The halves of a digest of what PostgreSQL has: their sums tell whether the index has all of it.
    "digest_high": NUMBER,
    "digest_low": NUMBER,
}

BODY: dict[str, Any] = {
    "settings": {
        "index": {
            "number_of_shards": 1,
            "auto_expand_replicas": "0-1",  # a second copy where there is a second node
            "gc_deletes": "1h",  # how long a deletion is remembered, so that a late run does not undo it
        },
        "analysis": ANALYSIS,
    },
    "mappings": {"dynamic": "strict", "_meta": {"application": "rocket-launches"}, "properties": PROPERTIES},
}
