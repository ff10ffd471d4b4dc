// submission: taking up the maildrop, once and only once, whatever lies in it; and addresses that lack a domain.
#include "t/unit/catch.h"
#include "t/unit/slow_disk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <mutex>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "submission/pickup.h"
#include "submission/sendmail/maildrop.h"

using namespace veredus;
using namespace veredus::submission;
namespace fs = std::filesystem;

namespace {

constexpr const char* id_one = "6B05CF42507CFCC5";
constexpr const char* id_two = "6B05CF43507CFCC5";

struct Captured {
    std::string lines;
    Captured() { log::capture(&lines); }
    ~Captured() { log::capture(nullptr); }
    bool says(std::string_view text) const { return lines.find(text) != std::string::npos; }
};

// A spool, and a Pickup that runs when told.
struct Bench {
    disk::Disk& disk;                              // of the queue
    std::string incoming;
    unsigned threads;                              // 0: no pool
    fs::path path;
    Captured log;
    std::mutex mutex;                              // of `work`
    std::condition_variable came;
    std::deque<std::function<void()>> work;
    unsigned turns = 0;
    std::vector<std::string> queued;
    unsigned troubles = 0;
    std::unique_ptr<queue::Intake> intake;
    std::unique_ptr<Pickup> pickup;
    std::unique_ptr<disk::Pool> pool;
    PickupSettings settings;

    explicit Bench(disk::Disk& d = disk::posix_disk(), std::string in = "", unsigned t = 0) : disk(d), incoming(std::move(in)), threads(t)
    {
        std::string name = (fs::temp_directory_path() / "veredus-pickup-XXXXXX").string();
        REQUIRE(mkdtemp(name.data()));
        path = name;
        for (const char* d : {"maildrop/tmp", "maildrop/new", "in/tmp", "in/new"}) fs::create_directories(path / d);
        if (incoming.empty()) incoming = (path / "in").string();
        settings.inspect.myhostname = "mx.example.org";
        settings.inspect.myorigin = settings.mend.origin.myorigin = "example.org";
        settings.mail_name = "veredus";
        settings.size_limit = 100'000;
        start();
    }
    ~Bench()
    {
        end();
        fs::remove_all(path);
    }
    void end()
    {
        pool.reset();
        pickup.reset();
        intake.reset();
        work.clear();
    }
    void start()
    {
        end();
        if (threads) pool = std::make_unique<disk::Pool>(threads, [this](std::function<void()> w) { later(std::move(w)); });
        auto opened = queue::Intake::open(disk, incoming, 64, system_clock(), pool.get());
        REQUIRE(opened);
        intake = std::move(*opened);
        auto fresh = disk::posix_disk().open_directory(nullptr, (path / "maildrop/new").string());
        auto tmp = disk::posix_disk().open_directory(nullptr, (path / "maildrop/tmp").string());
        REQUIRE((fresh && tmp));
        Pickup::Doors doors;
        doors.defer = [this](std::function<void()> w) { later(std::move(w)); };
        doors.queued = [this](std::vector<std::string> ids) { queued.insert(queued.end(), ids.begin(), ids.end()); };
        doors.trouble = [this] { ++troubles; };
        pickup = std::make_unique<Pickup>(std::move(*fresh), std::move(*tmp), *intake, pool.get(), system_clock(), settings, std::move(doors));
    }
    void later(std::function<void()> w)
    {
        const std::lock_guard lock(mutex);
        work.push_back(std::move(w));
        came.notify_all();
    }
    void run()
    {
        REQUIRE(pickup->scan());
        drain();
    }
    // One turn of the loop: what was there when it began.
    bool turn()
    {
        std::deque<std::function<void()>> now;
        {
            const std::lock_guard lock(mutex);
            now.swap(work);
        }
        for (auto& w : now) w();
        turns += now.empty() ? 0 : 1;
        return !now.empty();
    }
    void drain()
    {
        while (turn()) {}
    }
    void until(const std::function<bool()>& reached)
    {
        while (!reached()) {
            std::unique_lock lock(mutex);
            REQUIRE(came.wait_for(lock, std::chrono::seconds(60), [&] { return !work.empty(); }));
            lock.unlock();
            turn();
        }
    }
    // How far the file of the maildrop that we have open is read; nothing: none is open.
    static std::optional<uint64_t> position(std::string_view name)
    {
        for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
            std::error_code gone;
            if (!fs::read_symlink(entry.path(), gone).string().ends_with(cat("maildrop/new/", name))) continue;
            std::ifstream info("/proc/self/fdinfo/" + entry.path().filename().string());
            std::string word;
            uint64_t at = 0;
            info >> word >> at;
            return at;
        }
        return std::nullopt;
    }
    void put(const std::string& name, std::string_view bytes)
    {
        Fd fd(::open((path / "maildrop/new" / name).c_str(), O_WRONLY | O_CREAT | O_EXCL, 0640));
        REQUIRE(fd);
        REQUIRE(write_all(fd.get(), bytes));
    }
    bool has(const std::string& where) const { return fs::exists(fs::symlink_status(path / where)); }
    std::size_t count(const char* where) const
    {
        return static_cast<std::size_t>(std::distance(fs::directory_iterator(path / where), {}));
    }
    struct Mail {
        queue::MailFile file;
        std::string header, body;
    };
    Mail mail(const std::string& id)
    {
        auto fd = disk.open_read(intake->new_directory(), id);
        REQUIRE(fd);
        auto file = queue::read_mail_file(disk, *fd, true);
        INFO((file ? "" : file.error().text));
        REQUIRE(file);
        return {*file, *queue::read_header(*fd, file->layout, 1 << 20), *pread_exact(fd->get(), static_cast<off_t>(file->layout.body_offset), file->layout.body_size)};
    }
};

std::string drop_file(std::string_view content, const char* sender = "joe", std::vector<std::string> recipients = {"root"}, bool eight_bit = false)
{
    mail::Envelope envelope;
    if (*sender) envelope.sender = *mail::parse_address(sender);
    for (const auto& r : recipients) envelope.recipients.push_back({*mail::parse_address(r), mail::notify_failure, "rfc822;x"});
    envelope.envid = "id1";
    envelope.ret = mail::Ret::headers;
    if (eight_bit) envelope.body = mail::Body::eight_bit;
    sendmail::Encoder encoder(envelope);
    encoder.content(content);
    encoder.end();
    return encoder.take();
}

}  // namespace

TEST_CASE("a file of the maildrop becomes a mail of the same ID and is gone before qmgr hears of it", "[submission]")
{
    Bench b;
    b.put(id_one, drop_file("To: root\r\nSubject: hi\r\n\r\nhello\r\n.dot\r\n"));
    b.run();
    CHECK(b.queued == std::vector<std::string>{id_one});
    CHECK(b.count("maildrop/new") == 0);
    const auto mail = b.mail(id_one);
    const mail::Envelope& e = mail.file.envelope;
    CHECK(e.sender.text() == "joe@example.org");
    REQUIRE(e.recipients.size() == 1);
    CHECK(e.recipients[0].address.text() == "root@example.org");
    CHECK(e.recipients[0].notify == mail::notify_failure);
    CHECK(e.recipients[0].orcpt == "rfc822;x");
    CHECK(e.envid == "id1");
    CHECK(e.ret == mail::Ret::headers);
    CHECK(e.origin == mail::Origin::local);
    CHECK(e.uid == getuid());
    CHECK(e.body == mail::Body::seven_bit);
    CHECK(e.filtered);
    CHECK(mail.file.layout.leading_dot);
    CHECK(mail.body == "hello\r\n.dot\r\n");
    CHECK(mail.header.starts_with(cat("Received: by mx.example.org (veredus, from userid ", getuid(), ")\r\n\tid ", id_one, "; ")));
    CHECK(mail.header.find("\r\nTo: root@example.org\r\n") != std::string::npos);
    for (const char* field : {"\r\nFrom: joe@example.org\r\n", "\r\nDate: ", "\r\nMessage-ID: <"}) CHECK(mail.header.find(field) != std::string::npos);
    CHECK(b.log.says(cat(id_one, ": uid=", getuid(), " from=<joe>\n")));
    CHECK(b.log.says(cat(id_one, ": message-id=<")));
}

TEST_CASE("null sender, 8-bit content, no header, no body", "[submission]")
{
    Bench b;
    b.put(id_one, drop_file("hello w\xc3\xb6rld\r\n", ""));
    b.put(id_two, drop_file("Subject: x\r\n"));
    b.run();
    CHECK(b.queued.size() == 2);
    CHECK(b.mail(id_one).file.envelope.sender.empty());
    CHECK(b.mail(id_one).file.envelope.body == mail::Body::eight_bit);
    CHECK(b.mail(id_one).body == "hello w\xc3\xb6rld\r\n");
    CHECK(b.mail(id_one).header.find("From: MAILER-DAEMON@example.org") != std::string::npos);
    CHECK(b.mail(id_two).body.empty());
    CHECK(b.mail(id_two).header.find("Subject: x\r\n") != std::string::npos);
}

TEST_CASE("sendmail's mail says in its header that it may go without TLS", "[submission][rfc8689-4.1]")
{
    for (const auto& [field, wanted] : {std::pair("TLS-Required: No\r\n", mail::TlsNeed::waived), std::pair("tls-required:\r\n no \r\n", mail::TlsNeed::waived),
                                        std::pair("TLS-Required: Yes\r\n", mail::TlsNeed::unset), std::pair("X: TLS-Required: No\r\n", mail::TlsNeed::unset)}) {
        Bench b;
        b.put(id_one, drop_file(cat("To: root\r\n", field, "\r\nhello\r\n")));
        b.run();
        CHECK(b.mail(id_one).file.envelope.tls == wanted);
    }
}

TEST_CASE("content that veredus-drop was fed by hand has CRLF line ends only, header and body", "[submission][rfc5321-2.3.8]")
{
    struct Case {
        std::string content, header, body;
    };
    const Case cases[] = {
        {"Subject: a\r\n\r\nx\n.\r\nMAIL FROM:<evil@x>\r\n", "Subject: a\r\n", "x\r\n.\r\nMAIL FROM:<evil@x>\r\n"},
        {"Subject: a\r\n\r\nx\r.\rQUIT\r\n.\r", "Subject: a\r\n", "x . QUIT\r\n. \r\n"},
        {"Subject: a\rFrom evil\r\nX: y\n\nbody", "X: y\r\n", "body\r\n"},
        {"Subject: a\n\n..\n", "Subject: a\r\n", "..\r\n"},
        {"Subject: a", "Subject: a\r\n", ""},
    };
    for (const Case& c : cases) {
        Bench b;
        b.put(id_one, drop_file(c.content));
        b.run();
        REQUIRE(b.queued.size() == 1);
        const auto mail = b.mail(id_one);
        CHECK(mail.body == c.body);
        CHECK(mail.header.find(c.header) != std::string::npos);
        for (const std::string& part : {mail.header, mail.body})
            for (std::size_t i = 0; i < part.size(); ++i) {
                if (part[i] == '\n') CHECK((i > 0 && part[i - 1] == '\r'));
                if (part[i] == '\r') CHECK((i + 1 < part.size() && part[i + 1] == '\n'));
            }
    }
}

TEST_CASE("a stop anywhere between the queue and the maildrop doubles nothing", "[submission][durability]")
{
    Bench b;
    const std::string file = drop_file("Subject: hi\r\n\r\nhello\r\n");
    b.put(id_one, file);
    b.run();
    REQUIRE(b.queued.size() == 1);
    // As if the removal had not reached the disk.
    b.put(id_one, file);
    b.start();
    CHECK(*b.pickup->reconcile() == 1);
    CHECK(b.count("maildrop/new") == 0);
    CHECK(b.count("in/new") == 1);
    // And without that look: the name in the queue is taken, so the mail is there.
    b.put(id_one, file);
    b.start();
    b.queued.clear();
    b.run();
    CHECK(b.count("maildrop/new") == 0);
    CHECK(b.count("in/new") == 1);
    CHECK(b.queued.size() == 1);
}

TEST_CASE("a draft of an earlier life with the same name costs no mail", "[submission][durability]")
{
    Bench b;
    b.put(id_one, drop_file("x: y\r\n\r\n" + std::string(90'000, 'x') + "\r\n"));
    { std::ofstream(b.path / "in/tmp" / id_one) << "torn"; }
    b.run();
    CHECK(b.queued.empty());
    CHECK(b.has(cat("maildrop/new/", id_one)));
    CHECK(b.troubles > 0);
    REQUIRE(b.intake->sweep_drafts(INT64_MAX));
    b.run();
    CHECK(b.queued.size() == 1);
    CHECK(b.mail(id_one).body.size() == 90'002);
}

TEST_CASE("what is no whole mail is put aside with a line that says why, and the others go on", "[submission]")
{
    const std::string good = drop_file("Subject: hi\r\n\r\nhello\r\n");
    std::string flipped = good;
    flipped[good.size() / 2] = static_cast<char>(flipped[good.size() / 2] ^ 1);
    struct {
        std::string bytes;
        const char* why;
    } cases[] = {
        {"", "it ends too early"},
        {good.substr(0, good.size() - 3), "it ends too early"},
        {good + "x", "something follows the end record"},
        {flipped, ""},
        {"From: me\n\nhello there\n", "it does not begin as a maildrop file"},
        {drop_file(std::string(100'001, 'x')), "the mail is larger than message_size_limit"},
        {std::string(2'000'000, '\0'), "it does not begin as a maildrop file"},
    };
    for (const auto& c : cases) {
        Bench b;
        INFO(c.why);
        b.put(id_one, c.bytes);
        b.put(id_two, good);
        b.run();
        CHECK(b.queued == std::vector<std::string>{id_two});
        CHECK(b.has(cat("maildrop/tmp/", id_one, ".bad")));
        CHECK(b.count("maildrop/new") == 0);
        CHECK(b.count("in/tmp") == 1);       // the mark of IdMaker
        CHECK(b.log.says(cat("maildrop/new/", id_one, " (uid ", getuid(), "): ", c.why)));
    }
}

TEST_CASE("links, pipes, directories and second names are no mail", "[submission]")
{
    Bench b;
    const std::string good = drop_file("Subject: hi\r\n\r\nhello\r\n");
    b.put(id_two, good);
    fs::create_symlink(b.path / "maildrop/new" / id_two, b.path / "maildrop/new/6B05CF40507CFCC5");
    REQUIRE(mkfifo((b.path / "maildrop/new/6B05CF41507CFCC5").c_str(), 0600) == 0);
    fs::create_directory(b.path / "maildrop/new/6B05CF41507CFCC6");
    b.put("stranger", good);
    b.put("6B05CF41507CFCC7", good);
    fs::create_hard_link(b.path / "maildrop/new/6B05CF41507CFCC7", b.path / "elsewhere");
    b.run();
    CHECK(b.queued == std::vector<std::string>{id_two});
    CHECK(b.log.says("6B05CF40507CFCC5 (uid 0): not a regular file"));
    CHECK(b.log.says("6B05CF41507CFCC5 (uid "));
    CHECK(b.log.says("maildrop/new/stranger: no name that veredus-drop makes; left alone"));
    CHECK(b.has("maildrop/new/stranger"));
    CHECK(b.has("maildrop/new/6B05CF41507CFCC7"));      // young: veredus-drop may be between link and unlink
    CHECK(b.has("maildrop/tmp/6B05CF41507CFCC6.bad"));
    b.log.lines.clear();
    b.run();
    CHECK_FALSE(b.log.says("stranger"));                // warned of once
}

TEST_CASE("a mail that went round too often is put on hold: not lost, and not sent on", "[submission][rfc5321-6.3]")
{
    Bench b;
    std::string content;
    for (int i = 0; i < 51; ++i) content += "Received: by x; date\r\n";
    b.put(id_one, drop_file(content + "\r\nhello\r\n"));
    b.run();
    CHECK(b.queued.size() == 1);
    CHECK(b.mail(id_one).file.envelope.hold);
    CHECK(b.log.says("placed on hold: 5.4.0 "));
}

TEST_CASE("a header with too many fields is put on hold", "[submission]")
{
    Bench b;
    std::string content = "To: root\r\n";
    for (int i = 0; i < 1001; ++i) append(content, "X: ", i, "\r\n");
    b.put(id_one, drop_file(content + "\r\nhello\r\n"));
    b.run();
    CHECK(b.mail(id_one).file.envelope.hold);
    CHECK(b.log.says("placed on hold: 5.3.4 Error: message header has too many fields"));
    const std::string header = b.mail(id_one).header;           // once released it goes out
    CHECK(header.find("\r\nTo: root@example.org\r\n") != std::string::npos);
    CHECK(header.find("\r\nMessage-ID: <") != std::string::npos);
    CHECK(header.find("\r\nFrom: ") != std::string::npos);
    CHECK(b.mail(id_one).file.envelope.recipients.size() == 1);
}

TEST_CASE("too little room leaves the maildrop as it is until there is more", "[submission][durability]")
{
    Bench b;
    b.settings.minimum_free = UINT64_MAX;
    b.pickup->configure(b.settings);
    for (int i = 0; i < 20; ++i) b.put(cat("6B05CF40507CF", hex_upper(static_cast<uint64_t>(i), 3)), drop_file("x: y\r\n\r\n"));
    b.run();
    CHECK(b.queued.empty());
    CHECK(b.count("maildrop/new") == 20);
    CHECK(b.troubles > 0);
    CHECK(b.log.says("insufficient system storage"));
    b.settings.minimum_free = 0;
    b.pickup->configure(b.settings);
    b.run();
    CHECK(b.queued.size() == 20);
    CHECK(b.count("maildrop/new") == 0);
}

TEST_CASE("hundreds of files in one go, each once; stop waits for what was begun", "[submission]")
{
    Bench b;
    for (int i = 0; i < 300; ++i) b.put(cat("6B05CF40507CF", hex_upper(static_cast<uint64_t>(i), 3)), drop_file("x: y\r\n\r\n"));
    REQUIRE(b.pickup->scan());
    REQUIRE(b.pickup->scan());
    b.pickup->found("6B05CF40507CF000");
    b.drain();
    CHECK(b.queued.size() == 300);
    CHECK(b.count("in/new") == 300);
    bool stopped = false;
    b.put(id_two, drop_file("x: y\r\n\r\n"));
    b.pickup->stop([&] { stopped = true; });
    b.pickup->found(id_two);
    b.drain();
    CHECK(stopped);
    CHECK(b.has(cat("maildrop/new/", id_two)));
}

namespace {
std::string lines(std::size_t bytes)
{
    std::string out;
    while (out.size() < bytes) out += std::string(76, 'x') + "\r\n";
    return out;
}
}  // namespace

TEST_CASE("a disk that is slow for a large mail of the maildrop stops nobody but that mail, and a stop loses and doubles nothing",
          "[submission][hostile][durability]")
{
    test::SlowDisk disk;
    for (const char* d : {"/in/tmp", "/in/new"}) disk.make_directory(d);
    Bench b(disk, "/in", 3);
    b.settings.size_limit = 0;
    b.pickup->configure(b.settings);
    const std::string large = "Subject: large\r\n\r\n" + lines(8'000'000);
    b.put(id_one, drop_file(large));
    b.put(id_two, drop_file("Subject: small\r\n\r\nhello\r\n"));
    const auto drafts = [&] { return disk.names("/in/tmp").size() - 1; };       // but the mark of IdMaker
    const auto whole = [&] { return disk.content(cat("/in/new/", id_one)).value_or("").substr(16, large.size() - 18) == std::string_view(large).substr(18); };
    disk.open(false);                                        // from here on who writes waits, and it is not the loop
    REQUIRE(b.pickup->scan());
    b.until([&] { return drafts() == 2; });                  // both of them have come to the disk
    std::optional<uint64_t> before;
    for (int calm = 0; calm < 20; calm = b.position(id_one) == before ? calm + 1 : 0) {
        before = b.position(id_one);
        b.turn();
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    REQUIRE(b.position(id_one));
    CHECK(*b.position(id_one) < 1'000'000);                  // what we keep of it is bounded
    CHECK(b.queued.empty());
    bool stopped = false;
    SECTION("it comes back")
    {
        disk.open(true);
        b.until([&] { return b.queued.size() == 2; });
        CHECK(whole());
    }
    SECTION("it is full, and later it is not")
    {
        disk.open(true, true);
        b.until([&] { return b.troubles == 2; });
        CHECK(disk.names("/in/new").empty());
        CHECK(b.count("maildrop/new") == 2);
        disk.open(true);
        b.until([&] { return drafts() == 0; });
        REQUIRE(b.pickup->scan());
        b.until([&] { return b.queued.size() == 2; });
        CHECK(whole());
    }
    SECTION("we are to stop meanwhile")
    {
        b.pickup->stop([&] { stopped = true; });
        b.drain();
        CHECK_FALSE(stopped);
        disk.open(true);
        b.until([&] { return stopped; });
        CHECK(b.queued.size() == 2);
        CHECK(whole());
    }
    SECTION("we are killed meanwhile")
    {
        disk.cut_power_at(disk.steps() + 1);                 // nothing that our threads still do counts
        disk.open(true);
        b.end();
        disk.revive();
        CHECK(drafts() == 2);
        CHECK(b.count("maildrop/new") == 2);
        b.start();
        REQUIRE(b.intake->sweep_drafts(0, [](std::string_view) { return true; }));
        REQUIRE(b.pickup->scan());
        b.until([&] { return b.queued.size() == 2; });
        CHECK(whole());
    }
    CHECK(disk.names("/in/new") == std::vector<std::string>{id_one, id_two});
    CHECK(b.count("maildrop/new") == 0);
    CHECK(drafts() == 0);
}

TEST_CASE("files of the maildrop are opened and read beside the loop, which works on little of them in one turn", "[submission][hostile]")
{
    {
        std::mutex gate;
        Bench b(disk::posix_disk(), "", 1);
        b.put(id_one, drop_file("x: y\r\n\r\nhello\r\n"));
        std::unique_lock closed(gate);
        b.pool->run([&] { const std::lock_guard wait(gate); }, nullptr);
        REQUIRE(b.pickup->scan());
        b.drain();
        CHECK_FALSE(b.position(id_one));
        closed.unlock();
        b.until([&] { return b.queued.size() == 1; });
    }
    Bench b;
    b.settings.size_limit = 0;
    b.pickup->configure(b.settings);
    for (const char* name : {"6B05CF40507CFCC5", "6B05CF41507CFCC5", id_one, id_two}) b.put(name, drop_file("x: y\r\n\r\n" + lines(1'600'000)));
    b.run();
    CHECK(b.queued.size() == 4);
    CHECK(b.turns > 4 * 1'600'000 / (128 * 1024));
}

TEST_CASE("files with very many recipients wait for each other, and all are taken in spite of those that come after them", "[submission][hostile][long]")
{
    constexpr std::size_t lists = 8, each = 80'000, enough = 10'000;
    const std::string large = drop_file("x: y\r\n\r\nhello\r\n", "joe", std::vector<std::string>(each, "root")), one = drop_file("x: y\r\n\r\nhello\r\n");
    Bench b;
    const auto name = [](std::size_t n) { return cat("6B05CF40507C", hex_upper(n, 4)); };
    for (std::size_t i = 0; i < lists; ++i) b.put(name(i), large);
    REQUIRE(b.pickup->scan());
    std::size_t most = 0, fed = 0, seen = 0, done = 0;
    // Until then there is always a small one that has not been begun.
    while (b.turn() || done < lists) {
        most = std::max(most, b.pickup->recipients());
        for (; seen < b.queued.size(); ++seen) done += b.queued[seen] < name(lists);
        for (; done < lists && fed < enough && fed < b.queued.size() + 100; ++fed) {
            b.put(name(lists + fed), one);
            b.pickup->found(name(lists + fed));
        }
        if (fed == enough) break;
    }
    CHECK(done == lists);
    CHECK(b.count("maildrop/new") == 0);
    CHECK(b.pickup->recipients() == 0);
    CHECK(most >= each);
    CHECK(most < lists * each / 2);      // 200,000, what a piece of one holds, and the rest of the one that goes on
}

TEST_CASE("hundreds of bad or unwanted files do not stand in the way of a good one", "[submission][hostile]")
{
    Bench b;
    for (int i = 0; i < 200; ++i) b.put(cat("6B05CF40507CF", hex_upper(static_cast<uint64_t>(i), 3)), "veredus-drop 1\nrubbish");
    b.put(id_two, drop_file("x: y\r\n\r\n"));
    b.run();
    CHECK(b.queued == std::vector<std::string>{id_two});
    CHECK(b.count("maildrop/new") == 0);
}

TEST_CASE("abandoned drafts of veredus-drop go after a day, bad files stay", "[submission]")
{
    Bench b;
    for (const char* name : {id_one, id_two}) std::ofstream(b.path / "maildrop/tmp" / name) << "x";
    std::ofstream(b.path / "maildrop/tmp" / cat(id_one, ".bad")) << "x";
    for (const std::string& name : {std::string(id_one), cat(id_one, ".bad")})
        fs::last_write_time(b.path / "maildrop/tmp" / name, fs::file_time_type::clock::now() - std::chrono::hours(25));
    CHECK(*b.pickup->sweep() == 1);
    CHECK(b.has(cat("maildrop/tmp/", id_two)));
    CHECK(b.has(cat("maildrop/tmp/", id_one, ".bad")));
}

TEST_CASE("addresses without a domain get ours in the header, and nothing else changes", "[submission][rfc6409-8]")
{
    struct {
        const char *in, *out;
    } cases[] = {
        {"root", "root@o.org"},
        {" root (Cron Daemon)\r\n", " root@o.org (Cron Daemon)\r\n"},
        {"a, b@x, c", "a@o.org, b@x, c@o.org"},
        {"Joe Doe <joe>, <jane>", "Joe Doe <joe@o.org>, <jane@o.org>"},
        {"\"Doe, Joe\" <joe>", "\"Doe, Joe\" <joe@o.org>"},
        {"joe.doe", "joe.doe@o.org"},
        {"\"joe doe\"", "\"joe doe\"@o.org"},
        {"team: a, b@x;, c", "team: a@o.org, b@x;, c@o.org"},
        {"undisclosed-recipients:;", "undisclosed-recipients:;"},
        {"a@[192.0.2.1]", "a@[192.0.2.1]"},
        {"<@a,@b:c@d>", "<@a,@b:c@d>"},
        {"(comment, with <angles>) root", "(comment, with <angles>) root@o.org"},
        {"two words", "two words"},
        {"<>", "<>"},
        {"", ""},
        {"\"open", "\"open"},
        {"(open", "(open"},
        {"a <b", "a <b"},
        {"a,\r\n\tb\r\n", "a@o.org,\r\n\tb@o.org\r\n"},
    };
    for (const auto& c : cases) {
        INFO(c.in);
        CHECK(complete_list(c.in, "o.org") == c.out);
    }
    const auto header = complete(mail::HeaderBlock::parse("Subject: root\r\nTo: root\r\nresent-cc: a\r\nX-To: b\r\n"), {"o.org", ""});
    CHECK(header.text() == "Subject: root\r\nTo: root@o.org\r\nresent-cc: a@o.org\r\nX-To: b\r\n");
    mail::Address host{"joe", "host"}, literal{"joe", "[192.0.2.1]"}, null;
    for (auto* a : {&host, &literal, &null}) complete(*a, {"o.org", ".o.org"});
    CHECK(host.text() == "joe@host.o.org");
    CHECK(literal.text() == "joe@[192.0.2.1]");
    CHECK(null.empty());
}
