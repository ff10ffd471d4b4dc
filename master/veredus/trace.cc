// `veredus trace`: one mail's life from the log files and the queue.
#include "master/veredus/trace.h"

#include <sysexits.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "lib/base/text.h"
#include "lib/ipc/listing.h"
#include "lib/mail/date.h"
#include "lib/queue/id.h"
#include "master/veredus/commands.h"
#include "master/veredus/report.h"

namespace veredus::admin {

namespace {
constexpr std::size_t longest_line = 64u << 10;      // what is longer is no line of ours
constexpr std::size_t most_ids = 1000;

bool is_id_char(char c) { return is_digit(c) || (c >= 'A' && c <= 'F'); }

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

int close_file(std::FILE* f) { return f == stdin ? 0 : std::fclose(f); }

// Lines of one file that belong to the story; false when it cannot be read.
bool tell_file(const std::string& path, Trace& trace, std::size_t& told)
{
    const File file(path == "-" ? stdin : std::fopen(path.c_str(), "re"), close_file);
    if (!file) {
        complain("%s: %s", path.c_str(), std::strerror(errno));
        return false;
    }
    std::string buffer(longest_line, '\0');
    bool whole = true;       // this piece begins a line
    while (std::fgets(buffer.data(), static_cast<int>(buffer.size()), file.get())) {
        std::string_view line(buffer.data());
        const bool begins = whole;
        whole = line.ends_with('\n');
        if (!begins || !trace.feed(line)) continue;
        while (line.ends_with('\n') || line.ends_with('\r')) line.remove_suffix(1);
        ++told;
        std::printf("%s\n", printable(line, longest_line).c_str());
    }
    return !std::ferror(file.get());
}

void tell_waiting(const ipc::Listed& mail)
{
    std::printf("%s: in the queue now: %s", mail.id.c_str(), printable(mail.state).c_str());
    if (mail.attempts) std::printf(", %u attempt%s so far", mail.attempts, mail.attempts == 1 ? "" : "s");
    if (mail.next_us > 0) std::printf(", next attempt %s", mail::date_rfc5322(mail.next_us).c_str());
    std::printf("\n");
    for (const ipc::ListedRecipient& r : mail.recipients)
        std::printf("    <%s>%s%s\n", printable(r.address).c_str(), r.reason.empty() ? "" : ": ", printable(r.reason, 1000).c_str());
}

// What qmgr knows; false when it cannot be asked.
bool tell_queue(const std::string& run_directory, const Trace& trace, std::size_t& waiting)
{
    auto client = ipc::QueueClient::connect(run_directory);
    Result<void> listed = client ? Result<void>() : unexpected(client.error());
    if (client) {
        ipc::Filter filter;
        filter.ids.assign(trace.ids().begin(), trace.ids().end());
        listed = client->list(filter, [&](const ipc::Listed& mail) {
            ++waiting;
            tell_waiting(mail);
            return true;
        });
    }
    if (!listed) complain("%s", listed.error().text.c_str());
    return listed.has_value();
}

int run(const Common& common, const std::string& id, std::vector<std::string> files)
{
    const auto values = load_settings(common, true);
    if (!values) return EX_CONFIG;
    if (files.empty())
        files = log_files(values->text("maillog_file"), [](const std::string& path) { return ::access(path.c_str(), F_OK) == 0; });
    if (files.empty()) complain("there is no log file that it knows of; name one with -l, or pipe it in: journalctl -t ... | veredus trace -l - %s", id.c_str());
    Trace trace(id);
    std::size_t told = 0, waiting = 0;
    bool all_read = !files.empty();
    for (const std::string& path : files) all_read = tell_file(path, trace, told) && all_read;
    const bool asked = tell_queue(std::string(values->text("run_directory")), trace, waiting);
    if (asked && waiting == 0 && told > 0) std::printf("%s: not in the queue any more\n", id.c_str());
    if (std::fflush(stdout) != 0) {
        complain("writing to standard output failed");
        return EX_IOERR;
    }
    if (told > 0 || waiting > 0) return EX_OK;
    complain("%s: %s", id.c_str(), all_read && asked ? "neither the log nor the queue knows it" : "nothing is known of it, but not all could be looked at");
    return all_read && asked ? 1 : EX_NOINPUT;
}
}  // namespace

bool Trace::feed(std::string_view line)
{
    bool ours = false;
    for (std::size_t at = 0; at < line.size();) {
        if (!is_id_char(line[at])) {
            ++at;
            continue;
        }
        std::size_t end = at;
        while (end < line.size() && is_id_char(line[end])) ++end;
        const bool alone = (at == 0 || !is_alnum(line[at - 1])) && (end == line.size() || !is_alnum(line[end]));
        if (alone && end - at >= 12 && wanted_.contains(std::string(line.substr(at, end - at)))) ours = true;
        at = end;
    }
    constexpr std::string_view mark = " notification: ";
    if (const auto at = line.rfind(mark); ours && at != std::string_view::npos && wanted_.size() < most_ids) {
        std::string_view id = line.substr(at + mark.size());
        while (id.ends_with('\n') || id.ends_with('\r')) id.remove_suffix(1);
        // What a peer said ends with a parenthesis: no words of his lead elsewhere.
        if (queue::is_queue_id(id)) wanted_.insert(std::string(id));
    }
    return ours;
}

std::vector<std::string> log_files(std::string_view maillog_file, const std::function<bool(const std::string&)>& exists)
{
    std::vector<std::string> out;
    const auto with_rotated = [&](const std::string& path) {
        if (exists(path + ".1")) out.push_back(path + ".1");
        if (exists(path)) out.push_back(path);
        return !out.empty();
    };
    if (maillog_file.starts_with('/') && !maillog_file.starts_with("/dev/")) {
        with_rotated(std::string(maillog_file));
        return out;
    }
    for (const char* path : {"/var/log/mail.log", "/var/log/maillog", "/var/log/syslog", "/var/log/messages"})
        if (with_rotated(path)) break;
    return out;
}

int trace(const Common& common, int argc, char** argv)
{
    std::string id;
    std::vector<std::string> files;
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        if (word == "--help") return usage("trace", true);
        if ((word == "-l" || word == "--log") && i + 1 < argc) {
            files.push_back(argv[++i]);
        } else if (id.empty() && queue::is_queue_id(upper(word))) {
            id = upper(word);
        } else {
            complain("%s: neither a queue ID (16 hexadecimal digits) nor -l FILE", printable(word, 60).c_str());
            return usage("trace", false);
        }
    }
    if (id.empty()) return usage("trace", false);
    return run(common, id, std::move(files));
}

}  // namespace veredus::admin
