// who and kick: the sessions of users, asked of master over RUN_DIRECTORY/control.
#include <sysexits.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <tuple>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/ipc/login.h"
#include "lib/ipc/control.h"
#include "lib/mail/date.h"
#include "master/veredus/commands.h"
#include "master/veredus/report.h"

namespace veredus::admin {

namespace {

constexpr int patience_ms = 15'000;

struct Asked {
    ipc::Status status;
    std::vector<ipc::Presence> present;
};

Result<Asked> ask(const std::string& run_directory, ipc::LoginType type, std::string body)
{
    const Fd master = TRY(ipc::connect_unix(cat(run_directory, "/control")));
    ipc::Message question;
    question.type = static_cast<uint16_t>(type);
    question.request = 1;
    question.body = std::move(body);
    TRY(ipc::send_blocking(master.get(), question, patience_ms));
    Asked out;
    for (;;) {
        auto message = TRY(ipc::recv_blocking(master.get(), patience_ms));
        if (!message) return fail_errno("master closed the connection", ECONNRESET);
        if (message->answer) {
            out.status = TRY(ipc::Status::decode(message->body));
            return out;
        }
        if (message->type != static_cast<uint16_t>(ipc::LoginType::present)) continue;
        auto page = TRY(ipc::Presences::decode(message->body));
        std::move(page.list.begin(), page.list.end(), std::back_inserter(out.present));
    }
}

// Nothing running is no answer: exit 69, never "nobody".
int unavailable(const Error& error)
{
    const bool not_for_you = error.code == EACCES || error.code == EPERM;
    complain("%s%s", error.text.c_str(), not_for_you ? ": root and members of group veredus-admin may ask" : "");
    if (not_for_you) return EX_NOPERM;
    return EX_UNAVAILABLE;
}

std::string json_text(std::string_view text)
{
    std::string out = "\"";
    for (const char c : printable(text, 1000)) {
        if (c == '"' || c == '\\') out += '\\';
        out += c;
    }
    return out + '"';
}

std::string age(int64_t seconds)
{
    if (seconds < 120) return cat(seconds, "s");
    if (seconds < 7200) return cat(seconds / 60, "m");
    if (seconds < 172'800) return cat(seconds / 3600, "h");
    return cat(seconds / 86'400, "d");
}

void print_json(const ipc::Presence& p)
{
    std::printf("{\"user\": %s, \"service\": %s, \"remote\": %s, \"tls\": %s, \"since\": %lld, \"idle\": %u, \"in\": "
                "%llu, \"out\": %llu, "
                "\"folder\": %s, \"pid\": %u, \"connection\": %llu}\n",
                json_text(p.user).c_str(), json_text(p.service).c_str(), json_text(p.remote).c_str(),
                p.tls ? "true" : "false", static_cast<long long>(p.since), p.idle,
                static_cast<unsigned long long>(p.in), static_cast<unsigned long long>(p.out),
                json_text(p.folder).c_str(), p.pid, static_cast<unsigned long long>(p.connection));
}

void print_row(const ipc::Presence& p, int64_t now)
{
    std::printf("%-24s %-7s %-22s %-3s %7s %7s %10llu %10llu  %s\n", printable(p.user, 255).c_str(),
                printable(p.service, 20).c_str(), printable(p.remote, 64).c_str(), p.tls ? "tls" : "-",
                age(std::max<int64_t>(0, now - p.since)).c_str(), age(p.idle).c_str(),
                static_cast<unsigned long long>(p.in), static_cast<unsigned long long>(p.out),
                printable(p.folder, 200).c_str());
}

} // namespace

int who(const Common& common, int argc, char** argv)
{
    bool json = false;
    std::string user;
    for (int i = 1; i < argc; ++i) {
        const std::string_view word = argv[i];
        if (word == "-j" || word == "--json")
            json = true;
        else if (word.starts_with('-') || !user.empty())
            return usage("who", false);
        else
            user = word;
    }
    auto asked = ask(run_directory_of(common), ipc::LoginType::ask_who, "");
    if (!asked) return unavailable(asked.error());
    if (asked->status.code != ipc::Code::ok) {
        complain("%s", printable(asked->status.text).c_str());
        return EX_UNAVAILABLE;
    }
    std::sort(asked->present.begin(), asked->present.end(), [](const ipc::Presence& a, const ipc::Presence& b) {
        return std::tie(a.user, a.service, a.connection) < std::tie(b.user, b.service, b.connection);
    });
    const int64_t now = system_clock().wall_us() / us_per_second;
    if (!json)
        std::printf("%-24s %-7s %-22s %-3s %7s %7s %10s %10s  %s\n", "user", "service", "from", "tls", "since", "idle",
                    "in", "out", "folder");
    for (const ipc::Presence& p : asked->present) {
        if (!user.empty() && p.user != user) continue;
        if (json)
            print_json(p);
        else
            print_row(p, now);
    }
    return EX_OK;
}

int kick(const Common& common, int argc, char** argv)
{
    if (argc != 2 || argv[1][0] == '-' || argv[1][0] == '\0') return usage("kick", false);
    const ipc::Kick whom{argv[1]};
    if (whom.user.size() > ipc::max_mailbox_user) return usage("kick", false);
    const auto asked = ask(run_directory_of(common), ipc::LoginType::ask_kick, whom.encode());
    if (!asked) return unavailable(asked.error());
    if (asked->status.code != ipc::Code::ok) {
        complain("%s", printable(asked->status.text).c_str());
        return EX_UNAVAILABLE;
    }
    std::printf("%s connections of %s were ended\n", printable(asked->status.text, 20).c_str(),
                printable(whom.user, 255).c_str());
    return asked->status.text == "0" ? 1 : EX_OK;
}

} // namespace veredus::admin
