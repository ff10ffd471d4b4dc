// Finding words in the text of a message for SEARCH BODY and TEXT: all of them in one pass, across any cut.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/mail/part_text.h"

namespace veredus::imap {

// Keys of i;unicode-casemap (RFC 5051) that are looked for.
struct Needle {
    std::string key;
    bool headers = false; // TEXT: in headers of the message and of its parts too
    bool found = false;
};

// Text that comes in pieces; found is what lies between two cuts.
class Haystack {
public:
    // `needles` is borrowed. Only those with `headers`, or all.
    Haystack(std::vector<Needle>& needles, bool only_headers);
    std::string& text() { return text_; } // UTF-8 to append to, then call more()
    void more()
    {
        if (text_.size() >= block) scan();
    }
    void cut() { text_.push_back(separator); }
    void scan();
    void reset();

private:
    static constexpr std::size_t block = 16384; // with its key it stays in the processor's nearest cache
    static constexpr char separator = '\xFF';   // in no UTF-8, so in no key
    std::vector<Needle>& needles_;
    bool only_headers_;
    std::size_t longest_ = 0; // of the needles' keys
    std::string text_, key_;  // not looked at yet; what was looked at last, the end of which may begin something
};

class TextSearch final : public mail::TextSink {
public:
    TextSearch() = default;
    TextSearch(const TextSearch&) = delete;
    TextSearch& operator=(const TextSearch&) = delete;
    // The index of its needle; the same one for the same words. Before the first message only.
    std::size_t want(std::string_view utf8, bool headers);
    bool wants_any() const { return !needles_.empty(); }
    bool found(std::size_t needle) const { return needles_[needle].found; }

    void start();                      // a new message
    bool feed(std::string_view bytes); // false: all were found
    void finish();

private:
    void field(const mail::MimePart& part, const mail::MimeField& field) override;
    std::string* begin_text(const mail::MimePart& part) override;
    void more_text(const mail::MimePart& part) override;
    void end_text(const mail::MimePart& part) override;
    bool all_found() const;

    std::vector<Needle> needles_;
    bool want_headers_ = false;
    Haystack body_{needles_, false}, headers_{needles_, true};
    std::optional<mail::TextReader> reader_; // of the message in hand
    std::optional<mail::MimeParser> parser_;
};

} // namespace veredus::imap
