"""Writes internal/annotate/font.otf, the letters of annotated pictures: a subset of
Noto Sans CJK SC (Adobe and Google, SIL Open Font License 1.1; see
internal/annotate/OFL.txt) without hints and layout tables.

    apt-get install fonts-noto-cjk     (1:20220127)
    pip install fonttools==4.68.0
    python tools/font/make.py

It holds ASCII, Latin-1, what the source has of Latin Extended-A (30 of 128 letters,
those of pinyin among them), common punctuation, the 3755 characters of GB 2312's first
level and those of extra.txt: the more frequent half of the second level, by the word
counts of jieba 0.42.1 (MIT), for words such as 瑕疵. The output is the same on every run.
"""

import os

from fontTools import subset

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "../../internal/annotate/font.otf")
SOURCE, SC = "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc", 2


def gb2312(first, last):
    """The characters of rows first to last."""
    codes = (bytes([row + 0xA0, cell + 0xA0]) for row in range(first, last + 1) for cell in range(1, 95))
    return "".join(c.decode("gb2312", "ignore") for c in codes)


def characters():
    ranges = [(0x20, 0x7E), (0xA0, 0x17F), (0x3000, 0x301F), (0xFF01, 0xFF5E)]
    text = "".join(chr(c) for a, b in ranges for c in range(a, b + 1)) + "–—‘’“”…•←↑→↓≠≤≥"
    with open(os.path.join(HERE, "extra.txt"), encoding="utf-8") as f:
        return text + gb2312(16, 55) + "".join(f.read().split())


def main():
    o = subset.Options()
    o.font_number = SC
    o.hinting, o.layout_features, o.legacy_cmap, o.glyph_names = False, [], False, False
    o.recalc_timestamp, o.notdef_outline = False, True
    o.drop_tables += ["GSUB", "GPOS", "GDEF", "BASE", "VORG", "vhea", "vmtx", "DSIG"]
    o.name_IDs = [0, 1, 2, 13, 14]
    font = subset.load_font(SOURCE, o)
    s = subset.Subsetter(o)
    s.populate(text=characters())
    s.subset(font)
    font["name"].setName("Lazyolo Labels", 1, 3, 1, 0x409)  # a changed font must not pass for Noto
    font["name"].names = [n for n in font["name"].names if n.platformID == 3 and n.langID == 0x409]
    cff = font["CFF "].cff
    cff.fontNames = ["LazyoloLabels"]
    for top in cff.topDictIndex:
        for field in ("FullName", "FamilyName", "Weight"):
            if hasattr(top, field):
                setattr(top, field, "Lazyolo Labels")
    subset.save_font(font, OUT, o)
    print(os.path.getsize(OUT), "bytes,", len(font.getBestCmap()), "characters")


if __name__ == "__main__":
    main()
