// FETCH and UID FETCH (RFC 9051 §6.4.5 and its extensions) as a task: message by message, item by item, bodies in
// pieces.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/imap/content.h"
#include "lib/imap/respond.h"
#include "lib/imap/session.h"

namespace veredus::imap {

class FetchTask final : public Task {
public:
    FetchTask(Session& session, std::string tag, Fetch fetch, View::Ranges numbers,
              VanishedLines vanished); // said first
    bool step(std::string& out) override;

private:
    using What = FetchItem::What;
    bool next_message(std::string& out); // false: there is none
    void mark_seen();
    // False: the message's answer is given up (it is gone, or cannot be read).
    bool put_item(std::string& out, const FetchItem& item);
    bool put_stored(std::string& out, const FetchItem& item);
    bool put_section(std::string& out, const FetchItem& item);
    bool put_facts(std::string& out, What what);
    bool put_preview(std::string& out, bool lazy);
    void put_name(std::string& out, const FetchItem& item) const;
    static bool are_cached_fields(const Section& section);
    Result<Streaming> open_section(const FetchItem& item, bool& there);
    bool trouble(const Error& error);
    void give_up_message(std::string& out);
    void count(const FetchItem& item, uint64_t size);
    Content& content();
    bool end(std::string& out);

    Session& session_;
    std::string tag_;
    Fetch fetch_;
    View::Ranges numbers_;
    VanishedLines vanished_;
    std::size_t range_ = 0;
    uint32_t number_ = 0;                       // of the message in hand
    store::Message message_;                    // a copy: reading may move the table's
    bool in_message_ = false, flushed_ = false; // flushed: a part of its answer has left
    std::size_t line_start_ = 0, item_ = 0;
    std::optional<Content> content_;
    std::optional<Streaming> streaming_;
    bool sets_seen_ = false, has_flags_ = false, says_flags_ = false;
    std::vector<uint32_t> newly_seen_; // UIDs, ascending
    uint32_t seen_to_ = 0;             // numbers up to there are marked
    unsigned read_ = 0;                // messages opened in this step
    bool gone_ = false, unknown_encoding_ = false;
    std::optional<Error> error_;
};

} // namespace veredus::imap
