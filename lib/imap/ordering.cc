// SORT and THREAD (RFC 5256).
#include <algorithm>

#include "lib/base/text.h"
#include "lib/imap/matching.h"
#include "lib/imap/respond.h"
#include "lib/imap/sort.h"
#include "lib/imap/thread.h"

namespace veredus::imap {

namespace {

class SortTask final : public MatchTask {
public:
    SortTask(Session& session, std::string tag, const Sort& sort)
        : MatchTask(session, std::move(tag), "SORT", sort.uid, sort.key), sorter_(sort.by, session.selected().folder->keys())
    {}

private:
    Result<void> found(FolderCandidate& m) override
    {
        modseq_ = std::max(modseq_, m.modseq);
        return sorter_.add(m);
    }
    void answer(std::string& out) override
    {
        const auto numbers = sorter_.finish(uid());
        out += "* SORT";
        for (const uint32_t n : numbers) {
            out += ' ';
            put_number(out, n);
        }
        if (asks_modseq() && !numbers.empty()) append(out, " (MODSEQ ", modseq_, ')');
        out += "\r\n";
    }
    Sorter sorter_;
    uint64_t modseq_ = 0;
};

class ThreadTask final : public MatchTask {
public:
    ThreadTask(Session& session, std::string tag, const Thread& thread)
        : MatchTask(session, std::move(tag), "THREAD", thread.uid, thread.key), threader_(thread.algorithm, session.selected().folder->keys())
    {}

private:
    Result<void> found(FolderCandidate& m) override { return threader_.add(m); }
    void answer(std::string& out) override
    {
        const std::string threads = threader_.finish(uid());
        append(out, threads.empty() ? "* THREAD" : "* THREAD ", threads, "\r\n");
    }
    Threader threader_;
};

} // namespace

void Session::run_sort(const std::string& tag, Sort sort)
{
    if (!needs_selected(tag)) return;
    auto task = std::make_unique<SortTask>(*this, tag, sort);
    if (task->asks_modseq()) enable_condstore(*out_);
    task_ = std::move(task);
}

void Session::run_thread(const std::string& tag, Thread thread)
{
    if (!needs_selected(tag)) return;
    task_ = std::make_unique<ThreadTask>(*this, tag, thread);
}

} // namespace veredus::imap
