// What SORT and THREAD take out of the messages of a folder, kept for the next command: sent dates, the keys of
// subjects and first addresses, message IDs and references as numbers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lib/imap/candidate.h"
#include "lib/imap/interner.h"

namespace veredus::imap {

class MessageKeys {
public:
    static constexpr uint32_t none = UINT32_MAX;
    enum Part : uint8_t { sent = 1, subject = 2, from = 4, to = 8, cc = 16, ids = 32 };
    // A key of i;unicode-casemap. Most are told apart by their first eight bytes, which are here as a number that sorts
    // like them.
    struct Text {
        uint64_t first = 0;
        uint32_t rest_at = 0, size = 0; // of the whole; rest() has what is beyond eight bytes
    };
    struct Row {
        int64_t sent_time = 0; // seconds since 1970; INTERNALDATE where there is no date
        Text texts[4];         // subject, from, to, cc
        uint32_t uid = 0;
        uint32_t subject_number = 0; // equal for equal base subjects; 0: an empty one
        uint32_t id = none;          // of the message, as a number below id_count()
        uint32_t references_at = 0, reference_count = 0;
        uint8_t known = 0;     // Part
        bool is_reply = false; // its subject says so, or that it is a forward
    };

    MessageKeys();
    // The row of the candidate's UID, with these parts in it. It lives until the next call.
    Result<const Row*> row(Candidate& candidate, uint8_t parts);
    std::string_view rest(const Text& text) const
    {
        return text.size > 8 ? std::string_view(texts_).substr(text.rest_at, text.size - 8) : std::string_view();
    }
    // The order of texts[text] of these rows, which a SORT found: for the next one numbers do. Rows as of place_of().
    void keep_order(unsigned text, const std::vector<uint32_t>& ascending);
    bool has_order(unsigned text, const std::vector<uint32_t>& rows) const; // of all of them
    uint32_t rank(unsigned text, uint32_t row) const { return ranks_[text][row]; }
    uint32_t place_of(const Row& row) const { return static_cast<uint32_t>(&row - rows_.data()); }
    const uint32_t* references(const Row& row) const { return references_.data() + row.references_at; } // oldest first
    std::size_t id_count() const { return ids_.size(); }
    std::size_t memory() const; // bytes, about

private:
    std::size_t place(uint32_t uid);
    Result<void> fill(Row& row, Candidate& candidate, uint8_t parts);
    Result<void> fill_subject(Row& row, Candidate& candidate);
    Result<void> fill_mailbox(Text& text, Candidate& candidate, std::string_view field);
    Result<void> fill_ids(Row& row, Candidate& candidate);
    Text keep(std::string_view key);
    void refer(std::string_view id);

    std::vector<Row> rows_; // in the order they came
    std::unordered_map<uint32_t, uint32_t> places_;
    std::size_t next_ = 0; // of rows_: commands go through a mailbox in one order
    std::string texts_;
    std::vector<uint32_t> ranks_[4]; // of the rows' texts; 0: a row that came later, or was not in that SORT
    std::vector<uint32_t> references_;
    Interner subjects_, ids_;
    std::vector<std::string_view> bodies_; // scratch, and so are these
    std::vector<uint32_t> found_;
    std::string key_, id_scratch_;
};

} // namespace veredus::imap
