// Finding words in the text of a message.
#include "lib/imap/search_text.h"

#include <string.h>

#include <algorithm>

#include "lib/base/text.h"
#include "lib/mail/casemap.h"
#include "lib/mail/encoded_word.h"

namespace veredus::imap {

Haystack::Haystack(std::vector<Needle>& needles, bool only_headers) : needles_(needles), only_headers_(only_headers) {}

void Haystack::reset()
{
    text_.clear();
    key_.clear();
    longest_ = 0;
    for (const Needle& needle : needles_)
        if (needle.headers || !only_headers_) longest_ = std::max(longest_, needle.key.size());
}

void Haystack::scan()
{
    const std::size_t keep = std::min(key_.size(), longest_ - std::min<std::size_t>(longest_, 1));
    key_.erase(0, key_.size() - keep);
    mail::casemap(text_, key_);
    text_.clear();
    for (Needle& needle : needles_) {
        if (needle.found || (only_headers_ && !needle.headers)) continue;
        needle.found = ::memmem(key_.data(), key_.size(), needle.key.data(), needle.key.size()) != nullptr;
    }
}

std::size_t TextSearch::want(std::string_view utf8, bool headers)
{
    std::string key = mail::casemap(utf8);
    const auto same = [&](const Needle& needle) { return needle.headers == headers && needle.key == key; };
    const auto it = std::find_if(needles_.begin(), needles_.end(), same);
    if (it != needles_.end()) return static_cast<std::size_t>(it - needles_.begin());
    want_headers_ = want_headers_ || headers;
    needles_.push_back({std::move(key), headers, false});
    return needles_.size() - 1;
}

void TextSearch::start()
{
    for (Needle& needle : needles_) needle.found = false;
    body_.reset();
    headers_.reset();
    reader_.emplace(*this);
    parser_.emplace(*reader_);
}

bool TextSearch::all_found() const
{
    return std::all_of(needles_.begin(), needles_.end(), [](const Needle& needle) { return needle.found; });
}

bool TextSearch::feed(std::string_view bytes)
{
    constexpr std::size_t slice = 65536; // whoever gives the whole message at once wants to stop early too
    for (; !bytes.empty(); bytes.remove_prefix(std::min(slice, bytes.size()))) {
        parser_->feed(bytes.substr(0, slice));
        if (all_found()) return false;
    }
    return true;
}

void TextSearch::finish()
{
    parser_->finish();
    headers_.scan();
    body_.scan();
}

void TextSearch::field(const mail::MimePart& part, const mail::MimeField& field)
{
    // The header of a message within the message is a part of the body; that of a MIME part is a header.
    const bool in_body = part.kind == mail::MimePart::Kind::nested;
    if (!in_body && !want_headers_) return;
    Haystack& haystack = in_body ? body_ : headers_;
    append(haystack.text(), trim(field.name()), ": ");
    mail::decode_header_text(field.body(), haystack.text());
    haystack.cut();
    haystack.more();
}

std::string* TextSearch::begin_text(const mail::MimePart&)
{
    return &body_.text();
}

void TextSearch::more_text(const mail::MimePart&)
{
    body_.more();
}

void TextSearch::end_text(const mail::MimePart&)
{
    body_.cut();
}

} // namespace veredus::imap
