// SEARCH over any mail for any words (the first line): the same answers however the mail is cut; what BODY finds, TEXT
// finds.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "lib/base/text.h"
#include "lib/imap/search.h"

using namespace veredus;
using imap::SearchKey;

namespace {

class Mail final : public imap::Candidate {
public:
    Mail(std::string_view text, std::size_t piece) : text_(text), piece_(piece) {}
    Result<uint64_t> size() override { return text_.size(); }
    Result<int64_t> received() override { return int64_t{1'000'000'000}; }
    std::string email_id() override { return "M1"; }
    std::string thread_id() override { return {}; }
    Result<void> header(std::string_view, std::vector<std::string_view>& bodies) override
    {
        bodies.push_back(text_.substr(0, text_.find("\n\n")));
        return {};
    }
    Result<void> content(const std::function<bool(std::string_view)>& take) override
    {
        for (std::string_view rest = text_; !rest.empty(); rest.remove_prefix(std::min(piece_, rest.size())))
            if (!take(rest.substr(0, piece_))) break;
        return {};
    }

private:
    std::string_view text_;
    std::size_t piece_;
};

SearchKey key(SearchKey::Kind kind, std::string_view text)
{
    SearchKey out;
    out.kind = kind;
    out.text = text;
    out.field = "x";
    return out;
}

bool finds(const SearchKey& what, std::string_view mail, std::size_t piece)
{
    imap::Program program(what, {});
    Mail candidate(mail, piece);
    auto yes = program.matches(candidate);
    if (!yes) std::abort();
    return *yes;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    const std::string_view in(reinterpret_cast<const char*>(data), size);
    const std::size_t line = std::min(in.find('\n'), in.size());
    const std::string_view words = in.substr(0, line), mail = in.substr(std::min(line + 1, in.size()));
    if (!is_utf8(words)) return 0;
    bool found[2];
    for (const bool text : {false, true}) {
        const SearchKey what = key(text ? SearchKey::Kind::text : SearchKey::Kind::body, words);
        found[text] = finds(what, mail, mail.size() + 1);
        if (finds(what, mail, 1) != found[text] || finds(what, mail, 7) != found[text]) std::abort();
    }
    if (found[false] && !found[true]) std::abort();
    for (const auto kind : {SearchKey::Kind::header, SearchKey::Kind::subject}) (void)finds(key(kind, words), mail, 1);
    SearchKey sent = key(SearchKey::Kind::sent_on, {});
    (void)finds(sent, mail, 1);
    return 0;
}
