// Facts out of the MIME parser's events.
#include "lib/store/facts.h"

#include <algorithm>
#include <array>

#include "lib/base/crc32c.h"
#include "lib/base/text.h"
#include "lib/mail/preview.h"
#include "lib/mail/structure.h"
#include "lib/store/wire_reader.h"

namespace veredus::store {

namespace {

// Sorted. The lists of Thunderbird, Apple Mail, Outlook, K-9, mutt, NeoMutt, mbsync and web mailers, and RFC 5256.
constexpr std::array<std::string_view, 35> kept = {
    "bcc",        "cc",          "chat-version", "content-description", "content-type", "date", "disposition-notification-to",
    "from",       "importance",  "in-reply-to",  "lines",        "list-id",    "list-post",  "list-subscribe",
    "list-unsubscribe", "mail-followup-to", "mail-reply-to", "message-id", "newsgroups", "priority",
    "references", "reply-to",    "resent-date",  "resent-from",  "resent-message-id", "resent-to",
    "sender",     "subject",     "to",           "x-k9mail-identity", "x-label", "x-mailer", "x-msmail-priority",
    "x-original-to", "x-priority",
};
static_assert(std::is_sorted(kept.begin(), kept.end()));

constexpr std::size_t longest_kept = 27;

}  // namespace

bool is_kept_field(std::string_view name)
{
    if (name.empty() || name.size() > longest_kept) return false;
    char small[longest_kept];
    std::transform(name.begin(), name.end(), small, [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    return std::binary_search(kept.begin(), kept.end(), std::string_view(small, name.size()));
}

uint32_t kept_fields_version()
{
    uint32_t sum = 0;
    for (const auto name : kept) sum = crc32c(crc32c(sum, name), "\n");
    return sum;
}

void field_bodies(std::string_view fields, std::string_view name, std::vector<std::string_view>& bodies)
{
    while (!fields.empty()) {
        // A field ends at a line end that no blank follows (RFC 5322 §2.2.3).
        std::size_t end = 0;
        do {
            const auto lf = fields.find('\n', end);
            end = lf == std::string_view::npos ? fields.size() : lf + 1;
        } while (end < fields.size() && (fields[end] == ' ' || fields[end] == '\t'));
        std::string_view field = fields.substr(0, end);
        fields.remove_prefix(end);
        // Most are another field, and their first letter says so.
        if (field.size() <= name.size() || !iequals(field.substr(0, name.size()), name)) continue;
        field.remove_prefix(name.size());
        while (!field.empty() && (field.front() == ' ' || field.front() == '\t')) field.remove_prefix(1);
        if (!field.starts_with(':')) continue;
        field.remove_prefix(1);
        if (field.ends_with('\n')) field.remove_suffix(1);
        if (field.ends_with('\r')) field.remove_suffix(1);
        while (!field.empty() && (field.front() == ' ' || field.front() == '\t')) field.remove_prefix(1);
        bodies.push_back(field);
    }
}

struct FactsMaker::State final : mail::MimeSink {
    mail::StructureMaker structure;
    mail::MimeParser parser{*this};
    std::optional<mail::PreviewMaker> preview_maker;
    std::string fields, envelope, body, body_structure, preview;
    bool whole = true, preview_wants_more = false;
    Facts facts;

    bool wants_lines() const override { return false; }
    void part_begins(const mail::MimePart& part) override { structure.part_begins(part); }
    void field(const mail::MimePart& part, const mail::MimeField& field) override
    {
        structure.field(part, field);
        if (part.kind == mail::MimePart::Kind::message) keep(field);
    }
    void headers_end(const mail::MimePart& part) override
    {
        structure.headers_end(part);
        if (part.kind == mail::MimePart::Kind::message && part.header_cut) whole = false;
    }
    void part_ends(const mail::MimePart& part) override { structure.part_ends(part); }

    void keep(const mail::MimeField& field)
    {
        if (!is_kept_field(trim(field.name()))) return;
        const std::size_t before = fields.size();
        bool cr = false;
        if (!field.cut && field.raw.size() <= max_kept_fields) to_wire(field.raw, cr, fields);
        else whole = false;
        if (!fields.empty() && !fields.ends_with('\n')) fields += "\r\n";      // the message ends within its header
        if (fields.size() <= max_kept_fields) return;
        fields.resize(before);
        whole = false;
    }
};

FactsMaker::FactsMaker(Preview preview) : state_(std::make_unique<State>())
{
    if (preview == Preview::no) return;
    state_->preview_maker.emplace();
    state_->preview_wants_more = true;
}
FactsMaker::~FactsMaker() = default;

void FactsMaker::feed(std::string_view in)
{
    if (in.empty()) return;
    State& s = *state_;
    s.parser.feed(in);
    s.preview_wants_more = s.preview_wants_more && s.preview_maker->feed(in);
}

void FactsMaker::finish()
{
    State& s = *state_;
    s.parser.finish();
    s.envelope = s.structure.envelope();
    s.body = s.structure.body();
    s.body_structure = s.structure.body_structure();
    if (s.preview_maker) {
        s.preview = s.preview_maker->finish();
        s.facts.preview = s.preview;
    }
    s.facts.size = s.parser.offset() + s.parser.bare_lfs();
    s.facts.envelope = s.envelope;
    s.facts.body = s.body;
    s.facts.body_structure = s.body_structure;
    s.facts.fields = s.fields;
    s.facts.fields_whole = s.whole;
}

const Facts& FactsMaker::facts() const { return state_->facts; }

}  // namespace veredus::store
