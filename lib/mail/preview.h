// The first words of a mail for a message list (RFC 8970): text of the first text part, markup and quoted noise left
// out.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace veredus::mail {

constexpr std::size_t preview_characters = 200; // RFC 8970 §3.3: at most 256

// Bytes of a message in, text out: one line of UTF-8, blanks joined, no controls. Looks at a bounded part of the
// message.
class PreviewMaker {
public:
    PreviewMaker();
    ~PreviewMaker();
    // False: enough was seen, the rest is not needed. CRLF or LF, any cut.
    bool feed(std::string_view bytes);
    // Empty: the message has no text. Call once, at its end or once feed() said false.
    std::string finish();

private:
    struct Private;
    std::unique_ptr<Private> private_;
};

} // namespace veredus::mail
