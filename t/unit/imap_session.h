// A user's Maildir in a temporary folder and scripted clients on it: "C: " lines go in, "S: " lines must come out.
#pragma once

#include <sys/stat.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/text.h"
#include "lib/imap/session.h"
#include "lib/store/mailbox.h"
#include "t/unit/catch.h"

namespace imap_test {

using namespace veredus;

struct FixedClock final : Clock {
    int64_t wall = 1'800'000'000LL * us_per_second;
    int64_t step = 0; // of each look at it
    mutable int64_t mono = wall;
    int64_t wall_us() const override { return wall; }
    int64_t mono_us() const override { return mono += step; }
};

// The user. Two sessions are two Clients.
struct Home {
    std::string path;
    FixedClock clock;
    imap::SessionOptions options;
    std::unique_ptr<imap::Account> account;

    explicit Home(bool mbox = false, const char* below = "/tmp")
    {
        ::setenv("TZ", "UTC", 1);
        std::string name = cat(below, "/veredus-imap.XXXXXX");
        REQUIRE(::mkdtemp(name.data()));
        path = name;
        options.append_limit = 1'000'000;
        reopen(mbox);
    }
    ~Home()
    {
        account.reset();
        (void)std::system(cat("rm -rf ", path).c_str());
    }
    Home(const Home&) = delete;
    void reopen(bool mbox = false)
    {
        account.reset();
        account = another(mbox);
    }
    std::unique_ptr<imap::Account> another(bool mbox) const // as another process of the user has it
    {
        store::MboxPlaces places;
        places.inbox = path + "/inbox";
        places.folders = path + "/mail";
        places.home = path;
        auto mailbox = mbox ? store::open_mbox(places) : store::open_maildir(path + "/Maildir");
        INFO((mailbox ? "" : mailbox.error().text));
        REQUIRE(mailbox);
        auto folders = store::parse_default_folders("Sent \\Sent, Trash \\Trash");
        REQUIRE(folders);
        return std::make_unique<imap::Account>(store::with_default_folders(std::move(*mailbox), std::move(*folders)));
    }
};

struct Client {
    imap::Session session;
    imap::Session::Wants wants = imap::Session::Wants::input;
    unsigned turns = 0; // of long answers
    explicit Client(Home& home) : session(*home.account, home.options, home.clock) {}
    std::string say(std::string_view bytes)
    {
        std::string all, out;
        wants = session.feed(bytes, out);
        all += out;
        while (wants == imap::Session::Wants::drain) {
            out.clear();
            wants = session.more(out);
            all += out;
            ++turns;
        }
        return all;
    }
    std::string hear() // in IDLE
    {
        std::string all, out;
        wants = session.tell_news(out);
        all += out;
        while (wants == imap::Session::Wants::drain) {
            out.clear();
            wants = session.more(out);
            all += out;
        }
        return all;
    }
};

// '@' stands for anything within a line.
inline bool fits(std::string_view pattern, std::string_view line)
{
    if (pattern.empty()) return line.empty();
    if (pattern.front() == '@') {
        for (std::size_t i = 0; i <= line.size(); ++i)
            if (fits(pattern.substr(1), line.substr(i))) return true;
        return false;
    }
    return !line.empty() && pattern.front() == line.front() && fits(pattern.substr(1), line.substr(1));
}

inline std::vector<std::string> lines_of(std::string_view text)
{
    std::vector<std::string> out;
    while (!text.empty()) {
        const auto end = text.find("\r\n");
        out.emplace_back(text.substr(0, end));
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 2);
    }
    return out;
}

// "1C: a noop", "1S: a OK@": the digit is the client's. All C lines up to the next S line go in together, and what the
// S lines say must be all that comes, in this order. "1I:" hears what comes in IDLE.
inline void play(std::vector<Client*> clients, std::string_view script)
{
    std::vector<std::string> expected;
    std::string heard, input, said;
    Client* who = nullptr;
    const auto check = [&] {
        const auto got = lines_of(heard);
        bool same = got.size() == expected.size();
        for (std::size_t i = 0; same && i < got.size(); ++i) same = fits(expected[i], got[i]);
        std::string wanted;
        for (const auto& e : expected) append(wanted, e, "\n");
        INFO("said:\n" << said << "heard:\n" << heard << "wanted:\n" << wanted);
        CHECK(same);
        expected.clear();
        heard.clear();
    };
    const auto flush = [&] {
        if (!who || input.empty()) return;
        said = input;
        heard += who->say(input);
        input.clear();
    };
    for (const auto line : split_on(script, '\n')) {
        if (line.size() < 3) continue;
        Client* client = clients.at(static_cast<std::size_t>(line[0] - '1'));
        const std::string rest(line.substr(std::min<std::size_t>(line.size(), 4)));
        if (line[1] == 'S') {
            flush();
            expected.push_back(rest);
            continue;
        }
        if (client != who || !expected.empty()) {
            flush();
            check();
        }
        who = client;
        if (line[1] == 'C')
            append(input, rest, "\r\n");
        else
            heard += who->hear();
    }
    flush();
    check();
}

inline void play(Client& client, std::string_view script)
{
    play(std::vector<Client*>{&client}, script);
}

inline std::string append_command(std::string_view tag, std::string_view mailbox, std::string_view message,
                                  std::string_view flags = "()")
{
    return cat(tag, " APPEND ", mailbox, ' ', flags, " \"17-Jul-1996 02:44:25 +0000\" {", message.size(), "+}\r\n",
               message, "\r\n");
}

inline constexpr std::string_view simple_mail =
    "From: Alice <alice@example.org>\r\nTo: bob@example.org\r\nSubject: hello\r\n"
    "Date: Wed, 17 Jul 1996 02:23:25 -0700\r\nMessage-ID: <1@example.org>\r\n\r\nline one\r\nline two\r\n";

// Mailbox `name` gets `count` times simple_mail.
inline void fill(Client& client, unsigned count, std::string_view name = "INBOX")
{
    for (unsigned i = 0; i < count; ++i) {
        const auto answer = client.say(append_command("f", name, simple_mail));
        INFO(answer);
        REQUIRE(answer.find("f OK") != std::string::npos);
    }
}

} // namespace imap_test
