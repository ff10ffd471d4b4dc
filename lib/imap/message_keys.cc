// What SORT and THREAD take out of messages.
#include "lib/imap/message_keys.h"

#include <algorithm>

#include "lib/imap/base_subject.h"
#include "lib/imap/message_ids.h"
#include "lib/imap/sent_date.h"

namespace veredus::imap {

namespace {

constexpr std::size_t most_references = 1000; // of one message; the last ones count
constexpr std::size_t most_ids = 4'000'000;   // what is referred to beyond is not noticed
// Where mails are made to have very long ones, later ones are kept in short: eight bytes, ten references.
constexpr std::size_t most_text = 256u << 20, all_references = 16'000'000, short_references = 10;

uint64_t first_bytes(std::string_view s)
{
    uint64_t out = 0;
    for (std::size_t i = 0; i < 8; ++i) out = out << 8 | (i < s.size() ? static_cast<unsigned char>(s[i]) : 0u);
    return out;
}

} // namespace

MessageKeys::MessageKeys()
{
    subjects_.number(""); // Row::subject_number 0
}

std::size_t MessageKeys::memory() const
{
    return rows_.capacity() * sizeof(Row) + places_.size() * 48 + texts_.capacity() + references_.capacity() * 4 +
           (ranks_[0].size() + ranks_[1].size() + ranks_[2].size() + ranks_[3].size()) * 4 +
           (subjects_.size() + ids_.size()) * 48;
}

void MessageKeys::keep_order(unsigned text, const std::vector<uint32_t>& ascending)
{
    auto& ranks = ranks_[text];
    ranks.assign(rows_.size(), 0);
    const Text* before = nullptr;
    uint32_t rank = 0;
    for (const uint32_t row : ascending) {
        const Text& mine = rows_[row].texts[text];
        if (!before || before->first != mine.first || before->size != mine.size || rest(*before) != rest(mine)) ++rank;
        ranks[row] = rank;
        before = &mine;
    }
}

bool MessageKeys::has_order(unsigned text, const std::vector<uint32_t>& rows) const
{
    const auto& ranks = ranks_[text];
    return std::all_of(rows.begin(), rows.end(), [&](uint32_t row) { return row < ranks.size() && ranks[row] != 0; });
}

std::size_t MessageKeys::place(uint32_t uid)
{
    if (next_ < rows_.size() && rows_[next_].uid == uid) return next_++;
    const auto [it, is_new] = places_.try_emplace(uid, static_cast<uint32_t>(rows_.size()));
    if (is_new) {
        rows_.emplace_back();
        rows_.back().uid = uid;
    }
    next_ = it->second + 1u;
    return it->second;
}

Result<const MessageKeys::Row*> MessageKeys::row(Candidate& candidate, uint8_t parts)
{
    Row& row = rows_[place(candidate.uid)];
    if (const auto missing = static_cast<uint8_t>(parts & ~row.known)) {
        TRY(fill(row, candidate, missing));
        row.known |= missing;
    }
    const Row* out = &row;
    return out;
}

Result<void> MessageKeys::fill(Row& row, Candidate& candidate, uint8_t parts)
{
    if (parts & sent) row.sent_time = TRY(sent_time(candidate, bodies_));
    if (parts & subject) TRY(fill_subject(row, candidate));
    if (parts & from) TRY(fill_mailbox(row.texts[1], candidate, "from"));
    if (parts & to) TRY(fill_mailbox(row.texts[2], candidate, "to"));
    if (parts & cc) TRY(fill_mailbox(row.texts[3], candidate, "cc"));
    if (parts & ids) TRY(fill_ids(row, candidate));
    return {};
}

MessageKeys::Text MessageKeys::keep(std::string_view key)
{
    Text out;
    if (texts_.size() > most_text) key = key.substr(0, 8);
    out.first = first_bytes(key);
    out.size = static_cast<uint32_t>(key.size());
    out.rest_at = static_cast<uint32_t>(texts_.size());
    if (key.size() > 8) texts_.append(key.substr(8));
    return out;
}

Result<void> MessageKeys::fill_subject(Row& row, Candidate& candidate)
{
    bodies_.clear();
    TRY(candidate.header("subject", bodies_));
    key_.clear();
    row.is_reply = !bodies_.empty() && put_subject_key(bodies_[0], key_);
    row.subject_number = subjects_.number(key_);
    row.texts[0] = keep(key_);
    return {};
}

Result<void> MessageKeys::fill_mailbox(Text& text, Candidate& candidate, std::string_view field)
{
    bodies_.clear();
    TRY(candidate.header(field, bodies_));
    key_.clear();
    if (!bodies_.empty()) put_mailbox_key(bodies_[0], key_);
    text = keep(key_);
    return {};
}

void MessageKeys::refer(std::string_view id)
{
    if (ids_.size() >= most_ids && !ids_.find(id)) return;
    if (found_.size() == 2 * most_references) found_.erase(found_.begin(), found_.begin() + most_references);
    found_.push_back(ids_.number(id));
}

// RFC 5256 §3: References, else the first of In-Reply-To.
Result<void> MessageKeys::fill_ids(Row& row, Candidate& candidate)
{
    std::string_view id;
    bodies_.clear();
    TRY(candidate.header("message-id", bodies_));
    row.id = !bodies_.empty() && next_message_id(bodies_[0], id, id_scratch_) ? ids_.number(id) : none;
    found_.clear();
    bodies_.clear();
    TRY(candidate.header("references", bodies_));
    for (std::string_view body : bodies_)
        while (next_message_id(body, id, id_scratch_)) refer(id);
    if (found_.empty()) {
        bodies_.clear();
        TRY(candidate.header("in-reply-to", bodies_));
        if (!bodies_.empty() && next_message_id(bodies_[0], id, id_scratch_)) refer(id);
    }
    const std::size_t most = references_.size() < all_references ? most_references : short_references;
    row.reference_count = static_cast<uint32_t>(std::min(found_.size(), most));
    row.references_at = static_cast<uint32_t>(references_.size());
    references_.insert(references_.end(), found_.end() - row.reference_count, found_.end());
    return {};
}

} // namespace veredus::imap
