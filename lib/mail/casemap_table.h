// What characters become under i;unicode-casemap (RFC 5051): the tables of casemap.cc, written by casemap_table.py.
#pragma once

#include <cstdint>

namespace veredus::mail::casemap_table {

extern const uint32_t end;       // characters from there on stay what they are
extern const uint8_t page_of[];  // of character / 64
extern const uint16_t offsets[]; // 64 a page, into pool; 0: stays what it is
extern const uint8_t pool[];     // size, bytes of UTF-8

} // namespace veredus::mail::casemap_table
