#include "lib/queue/drop_format.h"

#include <cstring>

namespace veredus::queue::drop {

namespace {

uint64_t get_le(const char* p, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; ++i) value |= uint64_t{static_cast<unsigned char>(p[i])} << (8 * i);
    return value;
}

bool has_control(std::string_view s)
{
    for (const char c : s)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) return true;
    return false;
}

// The bit of a record that may come once, or 0.
uint8_t once_bit(Type type)
{
    switch (type) {
    case Type::sender: return 1;
    case Type::body: return 2;
    case Type::ret: return 4;
    case Type::envid: return 8;
    case Type::utf8: return 16;
    default: return 0;
    }
}

}  // namespace

bool split_recipient(std::string_view payload, RecipientView& out)
{
    if (payload.size() < 4) return false;
    const std::size_t orcpt = get_le(payload.data() + 1, 2);
    if (payload.size() - 3 <= orcpt) return false;     // the address is not empty
    out.notify = static_cast<uint8_t>(payload[0]);
    out.orcpt = std::string_view(payload.data() + 3, orcpt);
    out.address = std::string_view(payload.data() + 3 + orcpt, payload.size() - 3 - orcpt);
    // RFC 3461 §4.1: never (1) stands alone; 2, 4 and 8 go together.
    return out.notify <= 15 && (!(out.notify & 1) || out.notify == 1) && !has_control(out.orcpt) && !has_control(out.address);
}

Parser::Step Parser::bad(const char* why)
{
    state_ = State::bad;
    error_ = why;
    return Step::bad;
}

bool Parser::gather(std::string_view& in, std::size_t want)
{
    const std::size_t n = want - held_ < in.size() ? want - held_ : in.size();
    if (n) std::memcpy(buffer_ + held_, in.data(), n);
    held_ += n;
    in.remove_prefix(n);
    return held_ == want;
}

const char* Parser::check_order(Type type, uint32_t size)
{
    if (!started_ && type != Type::sender) return "the first record is not the sender";
    started_ = true;
    if (const uint8_t bit = once_bit(type)) {
        if (seen_ & bit) return "a record that may come once came twice";
        if (recipients_ || in_content_) return "an envelope record stands after the recipients";
        seen_ |= bit;
        return size <= max_envelope_record ? nullptr : "an envelope record is too long";
    }
    if (type == Type::recipient) {
        if (in_content_) return "a recipient stands after the content";
        if (++recipients_ > max_recipients) return "too many recipients";
        return size <= max_envelope_record ? nullptr : "an envelope record is too long";
    }
    if (!recipients_) return "there is no recipient";
    if (type == Type::content) {
        in_content_ = true;
        if (size == 0 || size > max_chunk) return "a content record has no sane size";
        if (size_limit_ && size > size_limit_ - content_) {
            too_big_ = true;
            return "the mail is larger than message_size_limit";
        }
        content_ += size;
        return nullptr;
    }
    if (type == Type::end) return size == end_size ? nullptr : "the end record has a wrong size";
    return "a record of unknown type";
}

const char* Parser::check_payload() const
{
    RecipientView recipient;
    switch (type_) {
    case Type::recipient: return split_recipient(payload_, recipient) ? nullptr : "a recipient record is malformed";
    case Type::body: return payload_ == "8BITMIME" ? nullptr : "a body record is malformed";
    case Type::ret: return payload_ == "FULL" || payload_ == "HDRS" ? nullptr : "a RET record is malformed";
    case Type::utf8: return payload_.empty() ? nullptr : "a UTF8 record is malformed";
    case Type::envid: return !payload_.empty() && payload_.size() <= 100 && !has_control(payload_) ? nullptr : "an ENVID record is malformed";
    case Type::end:
        if (get_le(payload_.data(), 8) != content_) return "the content has not the size that the end record says";
        return !crc_ || get_le(payload_.data() + 8, 4) == checksum_ ? nullptr : "the checksum does not fit";
    default: return has_control(payload_) ? "a control character in an address" : nullptr;
    }
}

Parser::Step Parser::begin_record()
{
    held_ = 0;
    type_ = static_cast<Type>(buffer_[0]);
    const auto size = static_cast<uint32_t>(get_le(buffer_ + 1, 4));
    if (const char* why = check_order(type_, size)) return bad(why);
    if (crc_ && type_ != Type::end) checksum_ = crc_(checksum_, std::string_view(buffer_, header_size));
    left_ = size;
    state_ = type_ == Type::content ? State::content : State::payload;
    return Step::more;
}

Parser::Step Parser::end_record()
{
    payload_ = std::string_view(buffer_, held_);
    held_ = 0;
    if (const char* why = check_payload()) return bad(why);
    if (type_ == Type::end) {
        state_ = State::ended;
        return Step::end;
    }
    if (crc_) checksum_ = crc_(checksum_, payload_);
    state_ = State::header;
    return Step::record;
}

Parser::Step Parser::next(std::string_view& in)
{
    for (;;) {
        switch (state_) {
        case State::bad: return Step::bad;
        case State::ended: return in.empty() ? Step::more : bad("something follows the end record");
        case State::start:
            if (!gather(in, magic.size())) return Step::more;
            if (std::string_view(buffer_, held_) != magic) return bad("it does not begin as a maildrop file");
            if (crc_) checksum_ = crc_(0, magic);
            held_ = 0;
            state_ = State::header;
            break;
        case State::header:
            if (!gather(in, header_size)) return Step::more;
            if (begin_record() == Step::bad) return Step::bad;
            break;
        case State::payload:
            if (!gather(in, left_)) return Step::more;
            return end_record();
        case State::content: {
            if (in.empty()) return Step::more;
            const std::size_t n = left_ < in.size() ? left_ : in.size();
            payload_ = std::string_view(in.data(), n);
            if (crc_) checksum_ = crc_(checksum_, payload_);
            in.remove_prefix(n);
            left_ -= static_cast<uint32_t>(n);
            if (!left_) state_ = State::header;
            return Step::content;
        }
        }
    }
}

}  // namespace veredus::queue::drop
