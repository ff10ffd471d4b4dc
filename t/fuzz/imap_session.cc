// Two IMAP sessions of one user over a small Maildir or mbox, with commands of any bytes: whatever comes, the answers are lines, message
// numbers fit what was said of the mailbox, and an end is reached. The first byte chooses the kind and how the bytes are cut; in the rest a
// line that begins with '2' and a blank is the second client's. The tag is put before each line.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/text.h"
#include "lib/imap/session.h"
#include "lib/store/mailbox.h"

using namespace veredus;

namespace {

constexpr int most_turns = 200'000;       // of one answer
constexpr char mail[] = "From: Alice <a@example.org>\nTo: b@example.org\nSubject: hello\nDate: Wed, 17 Jul 1996 02:23:25 -0700\n"
                        "Message-ID: <1@example.org>\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\nline one\n--x\n"
                        "Content-Type: message/rfc822\n\nSubject: inner\nContent-Transfer-Encoding: base64\n\naGVsbG8=\n--x--\n";

struct FixedClock final : Clock {
    int64_t now = 1'800'000'000LL * us_per_second;
    int64_t wall_us() const override { return now; }
    int64_t mono_us() const override { return now; }
};

void write(const std::string& path, std::string_view text)
{
    const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    if (!file || !write_all(file.get(), text)) std::abort();
}

struct Home {
    std::string path;
    FixedClock clock;
    imap::SessionOptions options;
    std::unique_ptr<imap::Account> account;

    explicit Home(bool mbox)
    {
        char name[] = "/dev/shm/veredus-fuzz.XXXXXX";          // synced in no time
        const char* made = ::mkdtemp(name);
        if (!made) std::abort();
        path = made;
        store::MboxPlaces places;
        places.inbox = path + "/inbox";
        places.folders = path + "/mail";
        places.home = path;
        if (mbox) write(places.inbox, cat("From a@example.org Wed Jul 17 02:23:25 1996\n", mail, "\nFrom b@example.org Wed Jul 17 02:23:25 1996\nSubject: two\n\nx\n"));
        auto box = mbox ? store::open_mbox(places) : store::open_maildir(path + "/Maildir");
        if (!box) std::abort();
        if (!mbox)
            for (const char* file : {"/Maildir/cur/1.a:2,S", "/Maildir/new/2.b", "/Maildir/cur/3.c:2,FT"}) write(path + file, mail);
        account = std::make_unique<imap::Account>(store::with_default_folders(std::move(*box), {{"Sent", "\\Sent"}, {"Trash", "\\Trash"}}));
        options.append_limit = 100'000;
        options.errors = 1000;
    }
    ~Home()
    {
        account.reset();
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
};

// What a client makes of the answers.
class Client {
public:
    explicit Client(Home& home) : session_(*home.account, home.options, home.clock) {}
    void say(std::string_view bytes, std::size_t cut)
    {
        for (std::size_t at = 0; at < bytes.size() && !closed_; at += cut) {
            std::string out;
            take(session_.feed(bytes.substr(at, cut), out), out);
        }
    }
    void hear()
    {
        if (closed_ || !session_.idling()) return;
        std::string out;
        take(session_.tell_news(out), out);
    }

private:
    using Wants = imap::Session::Wants;
    void take(Wants wants, std::string& out)
    {
        heard(out);
        for (int turns = 0; wants == Wants::drain; ++turns) {
            if (turns > most_turns) std::abort();
            out.clear();
            wants = session_.more(out);
            heard(out);
        }
        closed_ = wants == Wants::close || wants == Wants::compress;
    }
    void heard(std::string_view bytes)
    {
        rest_ += bytes;
        for (;;) {
            if (literal_ > 0) {
                const std::size_t n = std::min(literal_, rest_.size());
                rest_.erase(0, n);
                if ((literal_ -= n) > 0) return;
            }
            const auto end = rest_.find("\r\n");
            if (end == std::string::npos) return;
            const std::string piece = rest_.substr(0, end);
            rest_.erase(0, end + 2);
            if (piece.find('\n') != std::string::npos || piece.find('\0') != std::string::npos) std::abort();
            line_ += piece;
            const auto brace = piece.rfind('{');
            if (piece.ends_with('}') && brace != std::string::npos && brace + 2 < piece.size()) {
                if (const auto size = parse_number<uint32_t>(std::string_view(piece).substr(brace + 1, piece.size() - brace - 2), UINT32_MAX)) {
                    literal_ = *size;
                    continue;
                }
            }
            line();
            line_.clear();
        }
    }
    void line()
    {
        const auto words = split(line_, " ");
        if (words.size() < 3 || words[0] != "*") return;
        if (words[1] == "OK" && words[2] == "[CLOSED]") exists_ = 0;
        const auto number = parse_number<uint32_t>(words[1], UINT32_MAX);
        if (!number) return;
        if (words[2] == "EXISTS") {
            exists_ = *number;
        } else if (words[2] == "EXPUNGE") {
            if (*number == 0 || *number > exists_) std::abort();
            --exists_;
        } else if (words[2] == "FETCH") {
            if (*number == 0 || (*number > exists_ && exists_ > 0)) std::abort();
        }
    }

    imap::Session session_;
    std::string rest_, line_;
    std::size_t literal_ = 0;
    uint32_t exists_ = 0;
    bool closed_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    if (size < 2 || size > 20'000) return 0;
    const std::string_view in(reinterpret_cast<const char*>(data) + 1, size - 1);
    Home home((data[0] & 1) != 0);
    const std::size_t cut = data[0] & 2 ? 1 : data[0] & 4 ? 7 : SIZE_MAX;
    Client first(home), second(home);
    for (Client* c : {&first, &second}) c->say("s SELECT INBOX\r\n", cut);
    for (auto line : split_on(in, '\n')) {
        const bool other = line.starts_with("2 ");
        Client& who = other ? second : first;
        if (other) line.remove_prefix(2);
        who.say(cat(line.starts_with('\x02') ? "" : "t ", line.starts_with('\x02') ? line.substr(1) : line, "\r\n"), cut);    // \2: no tag (DONE, the end of a literal)
        first.hear();
        second.hear();
    }
    first.say("\r\nDONE\r\nz NOOP\r\n", cut);
    return 0;
}
