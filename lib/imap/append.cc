// APPEND and REPLACE: drafts of the target, published together at the end.
#include "lib/imap/append.h"

#include <cerrno>

#include "lib/base/text.h"
#include "lib/imap/respond.h"

namespace veredus::imap {

namespace {

std::unique_ptr<Refusal> no(std::string text)
{
    return std::make_unique<Refusal>(Refusal{false, std::move(text)});
}

} // namespace

std::unique_ptr<Refusal> Session::append_begin(const std::string& tag, const Append& append)
{
    (void)tag;
    auto appending = std::make_unique<Appending>();
    if (append.replace) {
        if (!selected_) return std::make_unique<Refusal>(Refusal{true, "no mailbox is selected"});
        if (selected_->read_only) return no("[READ-ONLY] the mailbox is open for reading only");
        SequenceSet set;
        set.ranges.push_back({append.replaced, append.replaced});
        const auto numbers = numbers_of(set, append.uid);
        if (!numbers) return std::make_unique<Refusal>(Refusal{true, "no such message"});
        const auto uids = selected_->view.uids(*numbers);
        if (uids.empty()) return no("[NONEXISTENT] no such message");
        appending->replaced = uids.front();
    }
    auto target = account_.open(append.mailbox, Account::Look::later);
    if (!target) {
        if (target.error().code == ENOENT) return no("[TRYCREATE] no such mailbox");
        return no(refusal(target.error(), append.replace ? "REPLACE" : "APPEND").substr(3));
    }
    appending->target = std::move(*target);
    appending_ = std::move(appending);
    return nullptr;
}

std::unique_ptr<Refusal> Session::append_message(const AppendMessage& message)
{
    if (options_.append_limit && message.size > options_.append_limit)
        return no(cat("[TOOBIG] a message may have ", options_.append_limit, " bytes"));
    if (message.size == 0) return no("[CANNOT] an empty message");
    if (appending_->messages.size() >= options_.append_messages)
        return no(cat("[LIMIT] at most ", options_.append_messages, " messages at once"));
    auto draft = appending_->target->use([](store::Folder& f) { return f.draft(); });
    if (!draft) {
        // Another program removed the folder under us: whoever opens it next looks again.
        if (draft.error().code == ENOENT) appending_->target->lose();
        return no(refusal(draft.error(), "APPEND").substr(3));
    }
    store::Incoming incoming;
    incoming.draft = std::move(*draft);
    incoming.flags = message.flags.system;
    incoming.keywords = message.flags.keywords;
    if (message.received) incoming.received = *message.received;
    appending_->messages.push_back(std::move(incoming));
    if (message.literal8 && !message.utf8)
        appending_->binary = std::make_unique<mail::SevenBit>(false, mail::SevenBit::Care::store);
    return nullptr;
}

std::unique_ptr<Refusal> Session::append_content(std::string_view bytes)
{
    std::string converted;
    if (appending_->binary) {
        appending_->binary->feed(bytes, converted);
        bytes = converted;
    }
    return keep_content(bytes);
}

std::unique_ptr<Refusal> Session::append_content_end()
{
    if (!appending_->binary) return nullptr;
    std::string rest;
    std::exchange(appending_->binary, nullptr)->finish(rest);
    return keep_content(rest);
}

std::unique_ptr<Refusal> Session::keep_content(std::string_view wire)
{
    if (auto done = appending_->messages.back().draft->write(wire); !done)
        return no(refusal(done.error(), "APPEND").substr(3));
    return nullptr;
}

void Session::append_aborted(const std::string& tag, const Refusal& refusal)
{
    appending_.reset();
    append(*out_, tag, refusal.bad ? " BAD " : " NO ", refusal.text, "\r\n");
}

// Waits until all sessions that were heard in this turn of the loop have joined.
class Session::AppendTask final : public Task {
public:
    AppendTask(Session& session, std::string tag, std::unique_ptr<Appending> appending)
        : session_(session), tag_(std::move(tag)), appending_(std::move(appending)), mine_(std::make_shared<Joining>())
    {
        mine_->messages = std::move(appending_->messages);
    }
    ~AppendTask() override { appending_->target->leave(mine_); }
    bool step(std::string&) override
    {
        if (!std::exchange(joined_, true)) {
            appending_->target->join(mine_);
            return false;
        }
        if (!mine_->done && appending_->target->removed()) {
            session_.finish(tag_, "NO [TRYCREATE] the mailbox was removed meanwhile", true);
            return true;
        }
        if (!mine_->done) appending_->target->append_joined();
        session_.appended(tag_, *appending_, *mine_->done);
        return true;
    }

private:
    Session& session_;
    std::string tag_;
    std::unique_ptr<Appending> appending_;
    std::shared_ptr<Joining> mine_; // shared with the folder
    bool joined_ = false;
};

bool Session::append_end(const std::string& tag)
{
    auto appending = std::move(appending_);
    if (lost()) return false;
    task_ = std::make_unique<AppendTask>(*this, tag, std::move(appending));
    return run();
}

// RFC 8508 §3.4: the new message first, then the old one goes.
void Session::appended(const std::string& tag, const Appending& appending, const Result<std::vector<uint32_t>>& uids)
{
    if (!uids) return finish(tag, refusal(uids.error(), "APPEND"), true);
    std::vector<store::UidRange> ranges;
    for (const uint32_t uid : *uids) add_to_ranges(ranges, uid);
    std::string code = cat("[APPENDUID ", appending.target->table().uidvalidity(), ' ');
    put_ranges(code, ranges);
    code += ']';
    if (!appending.replaced) return finish(tag, cat("OK ", code, " appended"), true);
    append(*out_, "* OK ", code, " appended\r\n");
    if (lost()) return; // its UIDs are others now
    const std::vector<uint32_t> old{*appending.replaced};
    auto gone = selected_->folder->use([&](store::Folder& f) { return f.expunge(old); });
    if (gone) tally_.expunged += gone->gone.size();
    const Error* trouble = !gone ? &gone.error() : !gone->trouble.text.empty() ? &gone->trouble : nullptr;
    // Both are there now; the new one stays: nothing is lost.
    finish(tag, trouble ? refusal(*trouble, "REPLACE") : "OK replaced", true);
}

} // namespace veredus::imap
