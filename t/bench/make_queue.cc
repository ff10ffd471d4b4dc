// make_queue SPOOL COUNT: writes COUNT deferred mails and the journal that says so into a stopped spool, as qmgr would have left them:
// 100 dead sites, one recipient each, the next attempt in an hour. Syncs nothing: what it makes is measured, not kept.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "lib/base/clock.h"
#include "lib/base/crc32c.h"
#include "lib/base/text.h"
#include "lib/queue/file.h"
#include "lib/queue/journal.h"

using namespace veredus;

namespace {

constexpr int64_t hour_us = 3600 * us_per_second;

mail::Address address(const std::string& local, const std::string& domain)
{
    mail::Address a;
    a.local = local;
    a.domain = domain;
    return a;
}

std::string mail_file(unsigned number, int64_t arrival_us)
{
    const std::string header = cat("Received: from a by b; now\r\nFrom: <bench@example.net>\r\nSubject: number ", number, "\r\n");
    const std::string body(1500, 'x');
    mail::Envelope envelope;
    envelope.sender = address("bench", "example.net");
    envelope.arrival_us = arrival_us;
    envelope.protocol = "ESMTP";
    envelope.filtered = true;
    envelope.recipients.push_back({address(cat("user", number), cat("site", number % 100, ".example.com")), 0, ""});
    return cat(queue::file_start(), body, queue::encode_tail(body.size(), crc32c(0, body), false, false, header, envelope));
}

queue::Record deferral(const std::string& id, unsigned number, int64_t next_us)
{
    queue::Record r;
    r.event = queue::Event::deferred;
    r.id = id;
    r.recipient = 0x1000'0000 + number % 100;      // the hash of the site
    r.time_us = next_us;
    r.attempts = 3;
    r.dsn = "4.4.1";
    r.text = cat("connect to site", number % 100, ".example.com[192.0.2.", number % 100, "]:25: Connection timed out");
    return r;
}

Result<void> make(const std::string& spool, unsigned count)
{
    disk::Disk& disk = disk::posix_disk();
    std::vector<disk::Directory> fans;
    for (const char digit : std::string_view("0123456789ABCDEF")) fans.push_back(TRY(disk.open_directory(nullptr, cat(spool, "/deferred/", digit))));
    const disk::Directory log = TRY(disk.open_directory(nullptr, cat(spool, "/log")));
    const int64_t now = system_clock().wall_us();
    const std::string salt = "benchmrk";
    std::string journal = queue::journal_start(salt);
    for (unsigned i = 0; i < count; ++i) {
        const int64_t arrival = now - 2 * hour_us;
        const std::string id = cat(hex_upper(static_cast<uint64_t>(arrival / us_per_second), 8), hex_upper(0x8500'0000u + i, 8));
        const disk::Directory& fan = fans[i % 16];
        const Fd file = TRY(disk.create(fan, id, 0660));
        TRY(disk.write(file, mail_file(i, arrival)));
        journal += queue::encode_frame({deferral(id, i, now + hour_us + i * 1000)}, salt);
    }
    (void)disk.unlink(log, "journal");
    const Fd file = TRY(disk.create(log, "journal", 0600));
    return disk.write(file, journal);
}

}  // namespace

int main(int argc, char** argv)
{
    if (argc != 3) {
        std::fprintf(stderr, "usage: make_queue SPOOL COUNT\n");
        return 64;
    }
    if (auto made = make(argv[1], static_cast<unsigned>(std::atoi(argv[2]))); !made) {
        std::fprintf(stderr, "make_queue: %s\n", made.error().text.c_str());
        return 1;
    }
    return 0;
}
