// What a listing shows of a mail that waits, in few bytes, so that mailq and filters open no mail file that was read before.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

#include "lib/queue/file.h"

namespace veredus::qmgr {

class Summary {
public:
    Summary() = default;
    // Empty when it would take too much: such a mail is read again.
    static Summary of(const queue::Layout& layout, const mail::Envelope& envelope);
    static constexpr std::size_t longest = 1000;
    static Summary from(std::string_view bytes);      // of another one
    std::string_view bytes() const { return {bytes_.get(), size_}; }
    explicit operator bool() const { return bytes_ != nullptr; }
    // As it was read, as far as listings are concerned: content size, arrival, user, sender, recipients.
    queue::MailFile mail() const;

private:
    std::unique_ptr<char[]> bytes_;
    uint16_t size_ = 0;
};

}  // namespace veredus::qmgr
