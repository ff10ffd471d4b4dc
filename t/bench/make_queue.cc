// make_queue SPOOL COUNT: writes COUNT deferred mails and the journal that says so into a stopped spool, as qmgr would have left them:
// 100 dead sites, one recipient each, the next attempt in an hour. Syncs nothing: what it makes is measured, not kept.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/crc32c.h"
#include "lib/base/text.h"
#include "lib/queue/file.h"
#include "lib/queue/journal.h"
#include "qmgr/catalog.h"
#include "qmgr/destination.h"
#include "qmgr/summaries.h"

using namespace veredus;

namespace {

constexpr int64_t hour_us = 3600 * us_per_second;
constexpr unsigned writers = 4;
constexpr std::size_t body_size = 1500;
constexpr std::string_view digits = "0123456789ABCDEF";

mail::Address address(const std::string& local, const std::string& domain)
{
    mail::Address a;
    a.local = local;
    a.domain = domain;
    return a;
}

std::string header(unsigned number)
{
    return cat("Received: from a by b; now\r\nFrom: <bench@example.net>\r\nSubject: number ", number, "\r\n");
}

mail::Envelope envelope(unsigned number, int64_t arrival_us)
{
    mail::Envelope e;
    e.sender = address("bench", "example.net");
    e.arrival_us = arrival_us;
    e.protocol = "ESMTP";
    e.filtered = true;
    e.recipients.push_back({address(cat("user", number), cat("site", number % 100, ".example.com")), 0, ""});
    return e;
}

std::string mail_file(unsigned number, int64_t arrival_us)
{
    const std::string body(body_size, 'x');
    return cat(queue::file_start(), body, queue::encode_tail(body.size(), crc32c(0, body), false, false, header(number), envelope(number, arrival_us)));
}

queue::Record deferral(const std::string& id, unsigned number, int64_t next_us)
{
    queue::Record r;
    r.event = queue::Event::deferred;
    r.id = id;
    r.recipient = qmgr::destination_hash(qmgr::destination_key("smtp", cat("site", number % 100, ".example.com")));
    r.time_us = next_us;
    r.attempts = 3;
    r.dsn = "4.4.1";
    r.text = cat("connect to site", number % 100, ".example.com[192.0.2.", number % 100, "]:25: Connection timed out");
    return r;
}

struct Plan {
    std::string spool;
    unsigned count = 0;
    int64_t now = system_clock().wall_us(), arrival = now - 2 * hour_us;
    // The directory of a mail is the last digit of its ID.
    std::string id(unsigned i) const
    {
        return cat(hex_upper(static_cast<uint64_t>(arrival / us_per_second), 8), hex_upper(0x8500'0000u + i, 8));
    }
};

// The files become those of the directory's owner.
Result<void> become_owner(const std::string& directory)
{
    struct stat st{};
    if (::stat(directory.c_str(), &st) != 0) return fail_errno(directory);
    if (::setegid(st.st_gid) != 0 || ::seteuid(st.st_uid) != 0) return fail_errno("become the owner of the queue");
    return {};
}

// Each directory is one thread's.
Result<void> make_files(const Plan& plan, unsigned writer)
{
    disk::Disk& disk = disk::posix_disk();
    for (unsigned fan = writer; fan < digits.size(); fan += writers) {
        const disk::Directory directory = TRY(disk.open_directory(nullptr, cat(plan.spool, "/deferred/", digits[fan])));
        for (unsigned i = fan; i < plan.count; i += static_cast<unsigned>(digits.size())) {
            const Fd file = TRY(disk.create(directory, plan.id(i), 0660));
            TRY(disk.write(file, mail_file(i, plan.arrival)));
        }
    }
    return {};
}

Result<void> make_journal(const Plan& plan)
{
    disk::Disk& disk = disk::posix_disk();
    const disk::Directory log = TRY(disk.open_directory(nullptr, cat(plan.spool, "/log")));
    (void)disk.unlink(log, "journal");
    (void)disk.unlink(log, "summaries");
    qmgr::Summaries summaries(disk, TRY(disk.open_directory(nullptr, cat(plan.spool, "/log"))));
    summaries.load([](uint64_t, uint64_t) {});
    const Fd file = TRY(disk.create(log, "journal", 0600));
    const std::string salt = "benchmrk";
    std::string frames = queue::journal_start(salt);
    for (unsigned i = 0; i < plan.count; ++i) {
        frames += queue::encode_frame({deferral(plan.id(i), i, plan.now + hour_us + i * 1000)}, salt);
        queue::Layout layout;
        layout.header_size = header(i).size();
        layout.body_size = body_size;
        summaries.add(qmgr::id_number(plan.id(i)), qmgr::Summary::of(layout, envelope(i, plan.arrival)));
        if (frames.size() < (1u << 20)) continue;
        TRY(disk.write(file, frames));
        frames.clear();
    }
    return disk.write(file, frames);
}

Result<void> make(const Plan& plan)
{
    TRY(become_owner(cat(plan.spool, "/deferred")));
    ::umask(0);
    std::vector<Result<void>> results(writers);
    std::vector<std::thread> threads;
    for (unsigned w = 0; w < writers; ++w) threads.emplace_back([&, w] { results[w] = make_files(plan, w); });
    Result<void> result = make_journal(plan);
    for (std::thread& t : threads) t.join();
    for (const Result<void>& one : results)
        if (result && !one) result = one;
    return result;
}

}  // namespace

int main(int argc, char** argv)
{
    if (argc != 3) {
        std::fprintf(stderr, "usage: make_queue SPOOL COUNT\n");
        return 64;
    }
    Plan plan;
    plan.spool = argv[1];
    plan.count = static_cast<unsigned>(std::atoi(argv[2]));
    if (auto made = make(plan); !made) {
        std::fprintf(stderr, "make_queue: %s\n", made.error().text.c_str());
        return 1;
    }
    return 0;
}
