// SEARCH, SORT and THREAD as tasks (RFC 9051 §6.4.4, RFC 4731, RFC 5182, RFC 5256): message after message for a moment
// at a time.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/imap/candidate.h"
#include "lib/imap/content.h"
#include "lib/imap/search.h"
#include "lib/imap/session.h"

namespace veredus::imap {

// One message of a folder as SEARCH sees it. A message that is gone by now is an empty one.
class FolderCandidate final : public Candidate {
public:
    explicit FolderCandidate(OpenFolder& folder) : folder_(folder) {}
    void stand_for(uint32_t message_number, const store::Message& m, bool is_recent);
    bool gone() const { return gone_; }

    Result<uint64_t> size() override;
    Result<int64_t> received() override;
    std::string email_id() override;
    std::string thread_id() override { return {}; }
    Result<void> header(std::string_view name, std::vector<std::string_view>& bodies) override;
    Result<void> content(const std::function<bool(std::string_view)>& take) override;

private:
    Result<void> read_header();
    OpenFolder& folder_;
    std::optional<Content> content_;
    int64_t received_ = store::unknown_time;
    uint64_t id_ = 0;
    bool has_fields_ = false, fields_whole_ = false, has_header_ = false, gone_ = false;
    std::string fields_, header_; // kept ones of the cache; the whole header where these do not do
};

class MatchTask : public Task {
public:
    MatchTask(Session& session, std::string tag, std::string_view word, bool uid, const SearchKey& key);
    bool step(std::string& out) final;
    bool asks_modseq() const { return program_.needs().modseq; } // RFC 7162 §3.1.5: which turns CONDSTORE on, too

protected:
    virtual Result<void> found(FolderCandidate& message) = 0;
    virtual void answer(std::string& out) = 0;
    virtual void failed() {}
    Session& session() { return session_; }
    const std::string& tag() const { return tag_; }
    bool uid() const { return uid_; }

private:
    Result<bool> look(); // true: at the end
    bool fail(const Error& error);
    Session& session_;
    std::string tag_;
    std::string_view word_;
    bool uid_;
    Program program_;
    FolderCandidate candidate_;
    uint32_t number_ = 0;
};

} // namespace veredus::imap
