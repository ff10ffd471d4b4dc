// What one client knows of the selected mailbox: message numbers as they were told to it (RFC 9051 §2.3.1.2). A view is
// the folder's table up to the last UID that was told, and beside it the messages that are gone and whose EXPUNGE is
// still owed ("ghosts"): it costs a session nothing per message.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "lib/imap/command.h"
#include "lib/store/uid_table.h"

namespace veredus::imap {

class View {
public:
    // Everything the table has is told. The table outlives the view.
    explicit View(const store::UidTable& table);
    const store::UidTable& table() const { return *table_; }
    // The same mailbox under another object (it was renamed).
    void rebind(const store::UidTable& table) { table_ = &table; }

    std::size_t exists() const;
    struct Place {
        uint32_t uid = 0;                        // 0: no such number
        const store::Message* message = nullptr; // null: a ghost. Valid until the folder is called
    };
    Place at(uint32_t number) const;
    uint32_t number_of(uint32_t uid) const; // of a ghost too; 0: the client does not know it
    bool knows(uint32_t uid) const { return number_of(uid) != 0; }
    // The message numbers a set means, ascending and merged. Nothing: it names a number the client was never told of
    // (RFC 9051 §9: an error). UIDs that are not there are passed over. `saved`: UIDs, what "$" means.
    using Ranges = std::vector<store::UidRange>;
    std::optional<Ranges> resolve(const SequenceSet& set, bool uid, const Ranges& saved) const;
    // The UIDs of messages that are there; ghosts are left out, and counted.
    std::vector<uint32_t> uids(const Ranges& numbers, std::size_t* ghosts = nullptr) const;

    // --- changes
    // Ascending UIDs that left the table just now; its mod-sequence before.
    void vanished(const std::vector<uint32_t>& uids, uint64_t before);
    // With ghosts: what the client may take for the mailbox's mod-sequence until their EXPUNGE (RFC 7162 §3.2).
    uint64_t modseq_before_ghosts() const { return before_ghosts_; }
    const std::vector<uint32_t>& ghosts() const { return ghosts_; }
    std::vector<uint32_t> bury_last(std::size_t most); // VANISHED is said now: their UIDs, ascending
    uint32_t bury_last();                              // its EXPUNGE is said now: the number it had
    bool has_new() const { return !table_->messages().empty() && table_->messages().back().uid > last_told_; }
    void take_new(); // EXISTS was said
    uint32_t last_told() const { return last_told_; }

private:
    std::size_t below(uint32_t uid) const; // how many in the table have a lesser UID
    std::size_t told() const;              // how many of the table the client knows
    uint32_t number_of_ghost(std::size_t i) const { return static_cast<uint32_t>(below(ghosts_[i]) + i + 1); }
    uint32_t
    first_number_from(uint32_t uid) const; // number of the first known message with at least that UID; exists()+1: none
    const store::UidTable* table_;
    uint32_t last_told_ = 0;
    uint64_t before_ghosts_ = 0;
    std::vector<uint32_t> ghosts_; // ascending
};

// Sorts and merges.
void merge_ranges(std::vector<store::UidRange>& ranges);
bool in_ranges(const std::vector<store::UidRange>& ranges, uint32_t number);
// What is in both; each ascending and merged.
std::vector<store::UidRange> common_ranges(const std::vector<store::UidRange>& a,
                                           const std::vector<store::UidRange>& b);
// The UIDs or numbers that a set names up to `last`, which is "*"; ascending and merged.
std::vector<store::UidRange> plain_ranges(const SequenceSet& set, uint32_t last);

} // namespace veredus::imap
