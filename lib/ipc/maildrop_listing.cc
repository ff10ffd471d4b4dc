#include "lib/ipc/maildrop_listing.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <unordered_set>

#include "lib/base/clock.h"
#include "lib/base/directory.h"
#include "lib/base/text.h"
#include "lib/queue/drop_format.h"

namespace veredus::ipc {

namespace {

constexpr std::size_t most_mails = 10'000;
constexpr std::size_t most_recipients = 1000;      // of one
constexpr std::size_t most_in_all = 100'000;       // recipients

// The envelope at the head of the file, as far as it can be read: submission judges it, not we.
void read_envelope(int file, std::size_t most, Listed& mail)
{
    using queue::drop::Parser, queue::drop::Type;
    Parser parser(0);
    char buffer[16'384];
    for (;;) {
        const ssize_t n = ::read(file, buffer, sizeof buffer);
        if (n <= 0) return;
        std::string_view bytes(buffer, static_cast<std::size_t>(n));
        for (;;) {
            const Parser::Step step = parser.next(bytes);
            if (step == Parser::Step::more) break;
            if (step != Parser::Step::record || mail.recipients.size() >= most) return;
            queue::drop::RecipientView recipient;
            if (parser.type() == Type::sender) mail.sender = parser.payload();
            else if (parser.type() == Type::recipient && queue::drop::split_recipient(parser.payload(), recipient))
                mail.recipients.push_back({std::string(recipient.address), {}});
        }
    }
}

std::optional<Listed> read_mail(int directory, const char* name, std::size_t most)
{
    // Whoever is in the maildrop's group chooses what lies there: no link is followed, no pipe waited for.
    const Fd file(::openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    struct stat st {};
    if (!file || ::fstat(file.get(), &st) != 0 || !S_ISREG(st.st_mode)) return std::nullopt;
    Listed mail;
    mail.id = name;
    mail.state = "maildrop";
    mail.size = static_cast<uint64_t>(st.st_size);
    mail.arrival_us = int64_t{st.st_mtim.tv_sec} * us_per_second + st.st_mtim.tv_nsec / 1000;
    read_envelope(file.get(), most, mail);
    return mail;
}

}  // namespace

std::vector<Listed> maildrop_mails(const std::string& queue_directory)
{
    std::vector<Listed> out;
    std::size_t recipients = 0;
    const std::string path = queue_directory + "/maildrop/new";
    const Fd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!directory) return out;
    static_cast<void>(for_each_entry(directory.get(), path, [&](const DirectoryEntry& entry) {
        if (entry.name[0] == '.') return true;
        auto mail = read_mail(directory.get(), entry.name, std::min(most_recipients, most_in_all - recipients));
        if (!mail) return true;
        recipients += mail->recipients.size();
        out.push_back(std::move(*mail));
        return out.size() < most_mails;
    }));
    std::sort(out.begin(), out.end(), [](const Listed& a, const Listed& b) { return a.arrival_us < b.arrival_us; });
    return out;
}

Result<void> list_queue(QueueClient& client, const std::string& queue_directory, const Filter& filter, const std::function<bool(const Listed&)>& each)
{
    if (filter.any()) return client.list(filter, each);
    // Looked at before the queue manager is asked: what moves from here to there in between is seen here. It leaves the maildrop
    // only after it is in the queue, and is shown once.
    const std::vector<Listed> waiting = maildrop_mails(queue_directory);
    std::unordered_set<std::string_view> left;     // of those, not in the queue
    for (const Listed& mail : waiting) left.insert(mail.id);
    bool go_on = true;
    TRY(client.list(filter, [&](const Listed& mail) {
        left.erase(mail.id);
        return go_on = each(mail);
    }));
    for (const Listed& mail : waiting)
        if (go_on && left.contains(mail.id)) go_on = each(mail);
    return {};
}

}  // namespace veredus::ipc
