#!/usr/bin/env python3
"""Writes casemap_table.cc: for i;unicode-casemap (RFC 5051), what every character but ASCII becomes: its simple title case, fully
decomposed. Hangul syllables are not in it, they are decomposed by arithmetic (casemap.cc). Run it to go to another Unicode version:
lib/mail/casemap_table.py > lib/mail/casemap_table.cc"""
import textwrap
import unicodedata

PAGE = 64


def title(c):
    text = chr(c).title()
    # Several characters come from SpecialCasing.txt; the simple mapping of those is the character itself.
    return ord(text) if len(text) == 1 else c


def decompose(c):
    fields = [f for f in unicodedata.decomposition(chr(c)).split() if not f.startswith("<")]
    return [y for f in fields for y in decompose(int(f, 16))] if fields else [c]


def is_left_out(c):
    return 0xD800 <= c <= 0xDFFF or 0xAC00 <= c <= 0xD7A3


pool, places, offsets = [0], {}, {}
for c in range(0x80, 0x110000):
    if is_left_out(c):
        continue
    key = decompose(title(c))
    if key == [c]:
        continue
    text = "".join(map(chr, key)).encode()
    if text not in places:
        places[text] = len(pool)
        pool += [len(text), *text]
    offsets[c] = places[text]
last = max(offsets) // PAGE
pages, index = [[0] * PAGE], []
for page in range(last + 1):
    row = [offsets.get(page * PAGE + i, 0) for i in range(PAGE)]
    if row not in pages:
        pages.append(row)
    index.append(pages.index(row))
assert len(pages) <= 256 and len(pool) <= 65536


def array(kind, name, numbers):
    body = textwrap.fill(",".join(map(str, numbers)).replace(",", ", "), 150).replace(", ", ",").replace(",\n", ",\n")
    return f"const {kind} {name}[] = {{\n{body}}};\n"


print(f"// Written by casemap_table.py from Unicode {unicodedata.unidata_version}. Not to be edited.")
print("// clang-format off")
print('#include "lib/mail/casemap_table.h"\n')
print("namespace veredus::mail::casemap_table {\n")
print(f"const uint32_t end = {(last + 1) * PAGE};")
print(array("uint8_t", "page_of", index))
print(array("uint16_t", "offsets", [o for row in pages for o in row]))
print(array("uint8_t", "pool", pool))
print("} // namespace veredus::mail::casemap_table")
