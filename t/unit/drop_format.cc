// veredus-drop: what it takes, what it refuses, and what a hostile caller can do to it.
#include "t/unit/catch.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "lib/base/crc32c.h"
#include "lib/base/fd.h"
#include "lib/base/text.h"
#include "lib/ipc/maildrop_listing.h"
#include "lib/queue/drop_format.h"
#include "submission/drop/drop.h"
#include "submission/sendmail/maildrop.h"

using namespace veredus;
using namespace std::string_view_literals;
using namespace std::string_literals;
namespace fs = std::filesystem;

namespace {

std::string record(char type, std::string_view payload)
{
    char header[queue::drop::header_size];
    queue::drop::put_header(header, static_cast<queue::drop::Type>(type), static_cast<uint32_t>(payload.size()));
    return cat(std::string_view(header, sizeof header), payload);
}

std::string good_file(std::string_view content = "Subject: x\r\n\r\nhello\r\n")
{
    mail::Envelope envelope;
    envelope.sender = {"a", "x"};
    envelope.recipients.push_back({{"b", "y"}, mail::notify_unset, {}});
    sendmail::Encoder encoder(envelope);
    encoder.content(content);
    encoder.end();
    return encoder.take();
}

// "" when the file is whole and good, else why not.
std::string verdict(std::string_view file, uint64_t limit = 0, std::size_t step = 1 << 20)
{
    queue::drop::Parser parser(limit, crc32c);
    using Step = queue::drop::Parser::Step;
    for (std::size_t i = 0; i < file.size(); i += step) {
        std::string_view in = file.substr(i, step);
        for (;;) {
            const Step s = parser.next(in);
            if (s == Step::bad) return parser.error();
            if (s == Step::more) break;
        }
    }
    return parser.ended() ? "" : "unfinished";
}

struct Spool {
    fs::path path;
    Spool()
    {
        std::string name = (fs::temp_directory_path() / "veredus-drop-XXXXXX").string();
        REQUIRE(mkdtemp(name.data()));
        path = name;
        fs::create_directories(path / "maildrop/tmp");
        fs::create_directories(path / "maildrop/new");
    }
    ~Spool() { fs::remove_all(path); }
    std::size_t files(const char* directory) const
    {
        return static_cast<std::size_t>(std::distance(fs::directory_iterator(path / "maildrop" / directory), {}));
    }
};

int take(const Spool& spool, std::string bytes, uint64_t limit, std::string* id = nullptr)
{
    int fds[2];
    REQUIRE(pipe(fds) == 0);
    const Fd in(fds[0]);
    std::thread writer([out = Fd(fds[1]), &bytes] { (void)write_all(out.get(), bytes); });
    char name[17] = {};
    const int status = drop::take(in.get(), spool.path.c_str(), limit, name);
    char sink[4096];
    while (::read(in.get(), sink, sizeof sink) > 0) {}
    writer.join();
    if (id) *id = std::string(name, 16);
    return status;
}

}  // namespace

TEST_CASE("a maildrop file is judged record by record", "[maildrop]")
{
    const std::string magic(queue::drop::magic);
    const std::string sender = record('S', "a@x"), rcpt = record('R', "\0\0\0b@y"sv);
    const std::string good = good_file();
    struct {
        std::string file;
        const char* why;
    } cases[] = {
        {good, ""},
        {good + "x", "something follows the end record"},
        {good.substr(0, good.size() - 1), "unfinished"},
        {"", "unfinished"},
        {"veredus-drop 2\n", "it does not begin as a maildrop file"},
        {magic + rcpt, "the first record is not the sender"},
        {magic + sender + sender, "a record that may come once came twice"},
        {magic + sender + record('C', "x"), "there is no recipient"},
        {magic + sender + record('E', std::string(12, '\0')), "there is no recipient"},
        {magic + sender + rcpt + record('B', "8BITMIME"), "an envelope record stands after the recipients"},
        {magic + sender + rcpt + record('C', "x") + rcpt, "a recipient stands after the content"},
        {magic + sender + rcpt + record('C', ""), "a content record has no sane size"},
        {magic + sender + rcpt + record('Z', ""), "a record of unknown type"},
        {magic + record('S', "a\r\nb"), "a control character in an address"},
        {magic + sender + record('R', "\0\0\0b\n"sv), "a recipient record is malformed"},
        {magic + sender + record('R', "\0\0\0"sv), "a recipient record is malformed"},
        {magic + sender + record('R', "\0\xff\xff" "b"sv), "a recipient record is malformed"},
        {magic + sender + record('R', "\3\0\0b"sv), "a recipient record is malformed"},
        {magic + sender + record('B', "9BIT"), "a body record is malformed"},
        {magic + record('S', std::string(3000, 'x')), "an envelope record is too long"},
        {magic + sender + rcpt + "C\xff\xff\xff\xff"s, "a content record has no sane size"},
        {magic + sender + rcpt + record('C', "x") + record('E', std::string(12, '\0')), "the content has not the size that the end record says"},
        {magic + sender + rcpt + record('E', std::string(12, '\0')), "the checksum does not fit"},
        {magic + sender + rcpt + record('E', "short"), "the end record has a wrong size"},
    };
    for (const auto& c : cases) {
        INFO(printable(c.file, 60));
        CHECK(verdict(c.file) == c.why);
        CHECK(verdict(c.file, 0, 1) == c.why);
    }
}

TEST_CASE("a flipped bit anywhere in a maildrop file is found", "[maildrop]")
{
    const std::string good = good_file();
    for (std::size_t i = 0; i < good.size(); ++i) {
        std::string bad = good;
        bad[i] = static_cast<char>(bad[i] ^ 4);
        INFO(i);
        CHECK_FALSE(verdict(bad).empty());
    }
}

TEST_CASE("content may be as large as the limit and no larger", "[maildrop]")
{
    CHECK(verdict(good_file(std::string(200'000, 'x')), 200'000).empty());
    CHECK(verdict(good_file(std::string(200'001, 'x')), 200'000) == "the mail is larger than message_size_limit");
    CHECK(verdict(good_file(std::string(200'001, 'x')), 0).empty());
}

TEST_CASE("veredus-drop leaves a whole mail in new, and nothing anywhere otherwise", "[maildrop]")
{
    const Spool spool;
    std::string id;
    CHECK(take(spool, good_file(), 1000, &id) == EX_OK);
    CHECK(queue::drop::magic.size() < fs::file_size(spool.path / "maildrop/new" / id));
    CHECK(*read_file((spool.path / "maildrop/new" / id).string(), 1000) == good_file());
    struct stat st {};
    REQUIRE(::stat((spool.path / "maildrop/new" / id).c_str(), &st) == 0);
    CHECK((st.st_mode & 07777 & ~022) == 0640);        // umask 022 of the test's own process
    CHECK(st.st_nlink == 1);
    CHECK(take(spool, good_file().substr(0, 40), 1000) == EX_DATAERR);
    CHECK(take(spool, good_file() + "x", 1000) == EX_DATAERR);
    CHECK(take(spool, "", 1000) == EX_DATAERR);
    CHECK(take(spool, "GET / HTTP/1.0\r\n\r\n", 1000) == EX_DATAERR);
    CHECK(take(spool, good_file(std::string(300'000, 'x')), 1000) == EX_DATAERR);
    CHECK(spool.files("new") == 1);
    CHECK(spool.files("tmp") == 0);
    fs::remove_all(spool.path / "maildrop/new");
    CHECK(take(spool, good_file(), 1000) == EX_TEMPFAIL);
    CHECK(spool.files("tmp") == 0);
}

namespace {

// From here on this process's fsync fails as on a broken disk.
bool break_fsync()
{
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fsync, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EIO),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog filter{std::size(program), program};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

}  // namespace

// submission takes up what has a name at once: one that could not be synced must not get any, or it goes out twice.
TEST_CASE("a mail that cannot be synced never has a name, not for a moment", "[maildrop][durability]")
{
    for (const bool broken : {false, true}) {
        const Spool spool;
        const Fd watch(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
        REQUIRE(inotify_add_watch(watch.get(), (spool.path / "maildrop/new").c_str(), IN_CREATE | IN_MOVED_TO) >= 0);
        int fds[2];
        REQUIRE(pipe(fds) == 0);
        const Fd in(fds[0]);
        Fd out(fds[1]);
        REQUIRE(write_all(out.get(), good_file()));
        out.reset();
        const pid_t pid = fork();
        REQUIRE(pid >= 0);
        if (pid == 0) {
            char id[17];
            _exit(broken && !break_fsync() ? 99 : drop::take(in.get(), spool.path.c_str(), 1000, id));
        }
        int status = 0;
        REQUIRE(waitpid(pid, &status, 0) == pid);
        REQUIRE(WIFEXITED(status));
        CHECK(WEXITSTATUS(status) == (broken ? EX_TEMPFAIL : EX_OK));
        char events[4096];
        CHECK((::read(watch.get(), events, sizeof events) > 0) == !broken);
        CHECK(spool.files("new") == (broken ? 0 : 1));
        CHECK(spool.files("tmp") == 0);
    }
}

TEST_CASE("many mails in a moment get names of their own that sort by time", "[maildrop]")
{
    const Spool spool;
    std::string last;
    for (int i = 0; i < 50; ++i) {
        std::string id;
        REQUIRE(take(spool, good_file(), 1000, &id) == EX_OK);
        CHECK(id > last);
        last = id;
    }
    CHECK(spool.files("new") == 50);
}

TEST_CASE("the names that veredus-drop makes have time and pid in them", "[maildrop]")
{
    char id[17];
    drop::make_id(id, 1'795'867'200'999'999, 0x12ABC);
    CHECK(std::string(id) == "6B0AC2407A11FABC");
}

TEST_CASE("veredus-drop reads its two settings as plain values and nothing else", "[maildrop]")
{
    const auto parsed = [](std::string_view text) {
        drop::Config config;
        drop::parse_config(text.data(), text.size(), config);
        return config;
    };
    CHECK(parsed("").size_limit == 10'240'000);
    CHECK(parsed("message_size_limit = 5000\n").size_limit == 5000);
    CHECK(parsed("message_size_limit=50M\r\n").size_limit == 50u << 20);
    CHECK(parsed("message_size_limit = 1\nmessage_size_limit = 2").size_limit == 2);
    CHECK(parsed("message_size_limit = $mailbox_size_limit\n").size_limit == 10'240'000);
    CHECK(parsed("message_size_limit = -1\n").size_limit == 10'240'000);
    CHECK(parsed("message_size_limit = 99999999999999999999\n").size_limit == 10'240'000);
    CHECK(parsed("#message_size_limit = 5\nxmessage_size_limit = 6\nmessage_size_limits = 7\n").size_limit == 10'240'000);
    CHECK(parsed("message_size_limit =\n# why\n\n   70\nx = y\n").size_limit == 70);
    CHECK(parsed("x = y\n message_size_limit = 5\n").size_limit == 10'240'000);      // goes on with x
    CHECK(std::string(parsed("queue_directory = /a/b \n").spool) == "/a/b");
    CHECK(parsed("queue_directory = $x/b\n").bad_spool);
    CHECK(parsed("queue_directory = relative\n").bad_spool);
    CHECK(parsed("queue_directory =\n").bad_spool);
    CHECK(parsed(cat("queue_directory = /", std::string(5000, 'x'), "\n")).bad_spool);
}

TEST_CASE("mailq shows what lies in the maildrop, and trusts nothing that lies there", "[drop][queue-command]")
{
    Spool spool;
    const fs::path drop = spool.path / "maildrop/new";
    const auto put = [&](const char* name, const std::string& bytes) { std::ofstream(drop / name, std::ios::binary) << bytes; };
    put("4F3C91A0B2000001", good_file());
    put("4F3C91A0B2000002", "no mail\n");
    put("4F3C91A0B2000003", good_file().substr(0, 30));
    put(".hidden", good_file());
    fs::create_symlink("/etc/passwd", drop / "4F3C91A0B2000004");
    REQUIRE(::mkfifo((drop / "4F3C91A0B2000005").c_str(), 0600) == 0);
    const std::vector<ipc::Listed> mails = ipc::maildrop_mails(spool.path);
    REQUIRE(mails.size() == 3);
    const auto named = [&](std::string_view id) { return *std::find_if(mails.begin(), mails.end(), [&](const ipc::Listed& m) { return m.id == id; }); };
    const ipc::Listed good = named("4F3C91A0B2000001");
    CHECK(good.state == "maildrop");
    CHECK(good.sender == "a@x");
    REQUIRE(good.recipients.size() == 1);
    CHECK(good.recipients[0].address == "b@y");
    CHECK(good.size == good_file().size());
    CHECK(good.arrival_us > 1'700'000'000'000'000);
    CHECK(named("4F3C91A0B2000002").recipients.empty());
    CHECK(named("4F3C91A0B2000003").recipients.empty());
    CHECK(ipc::maildrop_mails("/nonexistent").empty());
}
