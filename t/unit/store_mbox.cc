// lib/store/mbox_folder: an mbox with UIDs, while other programs write the same file.
#include "t/unit/catch.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <set>

#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/store/beneath.h"
#include "lib/store/mbox_folder.h"
#include "lib/store/mbox_mark.h"
#include "lib/store/mbox_reader.h"

using namespace veredus;
using namespace veredus::store;

namespace {

constexpr char from_line[] = "From a@example.org Tue Nov 24 14:00:00 2026\n";

struct Spool {
    std::string dir, path;
    Spool()
    {
        char name[] = "/tmp/veredus-mbox.XXXXXX";
        dir = ::mkdtemp(name);
        path = dir + "/mail";
        REQUIRE(::mkdir((dir + "/index").c_str(), 0700) == 0);
    }
    ~Spool() { (void)std::system(cat("rm -rf ", dir).c_str()); }
    void write(std::string_view text, int flags = O_TRUNC) const
    {
        const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0600));
        REQUIRE(file);
        REQUIRE(write_all(file.get(), text));
    }
    std::string text() const { return read_file(path, 1u << 26).value(); }
    uint32_t validity = 100;                           // of an index that is made
    std::unique_ptr<MboxFolder> open(bool inbox = true)
    {
        auto index = disk::posix_disk().open_directory(nullptr, dir + "/index");
        REQUIRE(index);
        MboxPlace place;
        place.path = path;
        place.keeper = std::make_shared<OwnKeeper>(path);
        place.log_name = "uidlog";
        place.inbox = inbox;
        place.patience = std::chrono::milliseconds(20'000);
        auto folder = MboxFolder::open(std::move(place), std::move(*index), [this]() -> Result<uint32_t> { return validity; });
        INFO((folder ? "" : folder.error().text));
        REQUIRE(folder);
        auto news = (*folder)->refresh();
        INFO((news ? "" : news.error().text));
        REQUIRE(news);
        return std::move(*folder);
    }
};

std::string wire(Folder& f, uint32_t uid)
{
    auto reader = f.open(uid);
    INFO((reader ? "" : reader.error().text));
    REQUIRE(reader);
    auto text = (*reader)->read(0, 1u << 26);
    REQUIRE(text);
    CHECK(f.size(uid).value() == text->size());
    return *text;
}

std::string shape(const Folder& f)
{
    std::string out;
    for (const Message& m : f.table().messages()) append(out, m.uid, '/', int{m.flags}, ' ');
    return out;
}

uint32_t append(Folder& f, std::string_view text, uint8_t flags = 0, std::vector<std::string> keywords = {})
{
    auto draft = f.draft();
    REQUIRE(draft);
    for (const char c : text) REQUIRE((*draft)->write(std::string_view(&c, 1)));
    std::vector<Incoming> mails(1);
    mails[0].draft = std::move(*draft);
    mails[0].flags = flags;
    mails[0].keywords = std::move(keywords);
    auto uids = f.append(std::move(mails));
    INFO((uids ? "" : uids.error().text));
    REQUIRE(uids);
    return uids->at(0);
}

std::vector<MboxMail> read(std::string_view text, std::size_t cut)
{
    MboxReader reader;
    for (std::size_t at = 0; at < text.size(); at += cut) reader.feed(text.substr(at, cut));
    reader.finish();
    CHECK(reader.is_mbox());
    return reader.take_mails();
}

}  // namespace

TEST_CASE("an mbox comes apart at From_ lines behind blank lines, however it is cut", "[store][mbox][rfc4155-A]")
{
    const std::string text = cat(from_line, "Subject: one\nStatus: RO\nX-Keywords: Work\n Home\nX-UID: 7\n\nbody\nFrom here on\n\nFrom nowhere\n\n", from_line,
                                 "X-Status: AF\r\nSubject: two\r\n\r\nbody\r\n\n", from_line, "Subject: no body\n");
    for (std::size_t cut = 1; cut < 40; ++cut) {
        const auto mails = read(text, cut);
        REQUIRE(mails.size() == 3);
        std::string first;
        for (const Extent& e : mails[0].visible()) first += text.substr(e.offset, e.size);
        CHECK(first == "Subject: one\n\nbody\nFrom here on\n\nFrom nowhere\n");
        CHECK(mails[0].wire_size == first.size() + 6);
        CHECK(mails[0].uid == 7);
        CHECK(mails[0].status == MboxStatus{seen, true, {"Work", "Home"}});
        CHECK(mails[1].status.flags == (answered | flagged));
        CHECK(mails[1].wire_size == std::string("Subject: two\r\n\r\nbody\r\n").size());
        CHECK(mails[2].end == text.size());
        CHECK(mails[0].fingerprint != mails[1].fingerprint);
    }
    CHECK(is_from_line("From x Tue Nov 24 14:00 2026"));
    CHECK_FALSE(is_from_line("From here to there"));
    CHECK(from_line_date("From x Tue Nov 24 14:00:00 2026") != unknown_time);
    CHECK(from_line_date("From x 14:00") == unknown_time);
    MboxReader other;
    other.feed("no mbox\n");
    other.finish();
    CHECK_FALSE(other.is_mbox());
    const MboxStatus s{seen | answered | deleted, true, {"a", "b"}};
    CHECK(parse_status_text(status_text(s)) == s);
}

TEST_CASE("mails of an mbox have UIDs that stay, and flags that go into Status headers", "[store][mbox]")
{
    Spool s;
    s.write(cat(from_line, "Subject: one\n\nbody 1\n\n", from_line, "Subject: two\nStatus: RO\n\nbody 2\n\n"));
    auto f = s.open();
    CHECK(shape(*f) == "1/0 2/8 ");
    CHECK(wire(*f, 1) == "Subject: one\r\n\r\nbody 1\r\n");
    CHECK(wire(*f, 2) == "Subject: two\r\n\r\nbody 2\r\n");
    REQUIRE(f->change_flags({1}, {FlagChange::How::add, answered, {"$Junk"}, {}}));
    REQUIRE(f->change_flags({2}, {FlagChange::How::remove, seen, {}, {}}));
    REQUIRE(f->apply());
    CHECK_FALSE(f->wants_apply());
    CHECK(s.text() == cat(from_line, "Subject: one\nStatus: O\nX-Status: A\nX-Keywords: $Junk\n\nbody 1\n\n", from_line, "Subject: two\nStatus: O\n\nbody 2\n\n"));
    CHECK(shape(*f) == "1/1 2/0 ");
    auto again = s.open();
    CHECK(shape(*again) == "1/1 2/0 ");
    CHECK(again->table().uidvalidity() == 100);
    CHECK(wire(*again, 1) == "Subject: one\r\n\r\nbody 1\r\n");
}

TEST_CASE("an mbox that others rewrote keeps the UIDs of what is still there", "[store][mbox]")
{
    Spool s;
    s.write(cat(from_line, "Subject: one\n\nbody 1\n\n", from_line, "Subject: two\n\nbody 2\n\n", from_line, "Subject: three\n\nbody 3\n\n"));
    auto f = s.open();
    REQUIRE(f->change_flags({3}, {FlagChange::How::add, flagged, {}, {}}));
    const uint64_t before = f->table().highest_modseq();
    s.write(cat(from_line, "Subject: three\nStatus: RO\n\nbody 3\n\n", from_line, "Subject: one\n\nbody 1\n\n", from_line, "Subject: new\n\nx\n"));
    REQUIRE(f->refresh());
    CHECK(shape(*f) == "1/0 3/10 4/0 ");                // flagged by us, seen by the other
    CHECK(f->table().vanished_since(before) == std::vector<UidRange>{{2, 2}});
    CHECK(wire(*f, 3) == "Subject: three\r\n\r\nbody 3\r\n");
    REQUIRE(::unlink(s.path.c_str()) == 0);
    REQUIRE(f->refresh());
    CHECK(f->table().messages().empty());
    CHECK(append(*f, "Subject: back\r\n\r\nx\r\n") == 5);
    CHECK(wire(*f, 5) == "Subject: back\r\n\r\nx\r\n");
}

TEST_CASE("a first contact keeps the UIDs of X-IMAPbase and X-UID", "[store][mbox]")
{
    Spool s;
    s.write(cat("From MAILER-DAEMON Tue Nov 24 14:00:00 2026\nX-IMAP: 1700000000 0000000042 Work\nSubject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\n"
                "Status: RO\n\ndata\n\n", from_line, "Subject: one\nX-UID: 7\nX-Keywords: Work\n\nb\n\n",
                from_line, "Subject: two\nX-UID: 3\n\nb\n\n", from_line, "Subject: three\nX-UID: 40\nStatus: R\n\nb\n"));
    auto f = s.open();
    CHECK(f->table().uidvalidity() == 1700000000);
    CHECK(shape(*f) == "7/0 40/8 43/0 ");
    CHECK(keywords_of(f->table(), *f->table().find(7)) == std::vector<std::string>{"Work"});
    CHECK(wire(*f, 43) == "Subject: two\r\n\r\nb\r\n");
}

TEST_CASE("a header that only looks like an mbox's own data hides no mail, and takes no UID away", "[store][mbox]")
{
    const auto read_one = [](std::string_view text, uint64_t at = 0) {
        MboxReader reader(at);
        reader.feed(text);
        reader.finish();
        return reader;
    };
    const std::string daemon = "From MAILER-DAEMON Tue Nov 24 14:00:00 2026\n", subject = "Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\n";
    CHECK(read_one(cat(daemon, subject, "X-IMAP: 5 5\n\nx\n")).take_mails()[0].internal);
    CHECK_FALSE(read_one(cat(daemon, "X-IMAP: 5 5\n\nx\n")).take_mails()[0].internal);
    CHECK_FALSE(read_one(cat(daemon, subject, "X-IMAPbase: 5 5\n\nx\n")).take_mails()[0].internal);
    CHECK_FALSE(read_one(cat(from_line, subject, "X-IMAP: 5 5\n\nx\n")).take_mails()[0].internal);
    CHECK_FALSE(read_one(cat(daemon, subject, "X-IMAP: 5 5\n\nx\n"), 10).take_mails()[0].internal);
    CHECK_FALSE(read_one(cat(from_line, "Subject: one\n\nx\n\n", daemon, subject, "X-IMAP: 5 5\n\nx\n")).take_mails()[1].internal);
    // Numbers that leave none to give are nobody's.
    for (const char* base : {"4294967295 9", "9 4294967294", "4294967295 4294967294", "0 9", "9", "x 9"})
        CHECK(read_one(cat(from_line, "X-IMAPbase: ", base, "\n\nx\n")).uidvalidity() == 0);
    CHECK(read_one(cat(from_line, "X-IMAPbase: 7 9 x)\"{3} ok\n\nx\n")).base_keywords() == std::vector<std::string>{"ok"});

    Spool s;
    s.write(cat(from_line, "X-IMAPbase: 4294967295 4294967294 x)\"{3}\nSubject: first\n\nb\n\n"));
    auto f = s.open();
    CHECK(f->table().uidvalidity() == 100);
    CHECK(shape(*f) == "1/0 ");
    CHECK(append(*f, "Subject: second\r\n\r\nb\r\n") == 2);
}

TEST_CASE("a mail with more keywords than a folder holds takes nothing from the others", "[store][mbox]")
{
    for (const int count : {64, 255, 256, 1000}) {
        Spool s;
        s.write(cat(from_line, "Subject: one\n\nb\n\n"));
        (void)s.open();
        std::string many = "Subject: two\nX-Keywords:";
        for (int i = 0; i < count; ++i) append(many, i % 3 ? " " : "\n ", i, std::string(255 - cat(i).size(), 'k'));
        s.write(cat(from_line, many, " bad\"word\n\nb\n\n", from_line, "Subject: three\n\nb\n\n"), O_APPEND);
        auto f = s.open();
        CHECK(shape(*f) == "1/0 2/0 3/0 ");
        CHECK(keywords_of(f->table(), *f->table().find(2)).size() == 64);
        REQUIRE(f->change_flags({1}, {FlagChange::How::add, seen, {}, {}}));
        REQUIRE(f->apply());
        auto again = s.open();
        CHECK(keywords_of(again->table(), *again->table().find(2)).size() == 64);
        CHECK(shape(*again) == "1/8 2/0 3/0 ");
        CHECK(wire(*again, 3) == "Subject: three\r\n\r\nb\r\n");
    }
}

TEST_CASE("the numbers of X-IMAPbase are taken over once", "[store][mbox][rfc9051-2.3.1.1]")
{
    Spool s;
    s.write(cat(from_line, "X-IMAPbase: 77 2\nX-UID: 1\nSubject: a\n\nbody\n\n"));
    {
        auto f = s.open();
        CHECK(f->table().uidvalidity() == 77);
        REQUIRE(f->expunge({append(*f, "Subject: b\r\n\r\nbody\r\n")}));
    }
    const std::string loss = GENERATE(std::string("rm -f "), std::string("echo garbage >"));
    INFO(loss);
    CHECK(s.open()->table().uidvalidity() == 77);
    REQUIRE(std::system(cat(loss, s.dir, "/index/uidlog").c_str()) == 0);
    auto f = s.open();
    CHECK(f->table().uidvalidity() == 100);
    CHECK(f->table().messages().size() == 1);
}

TEST_CASE("what is appended to an mbox is one mail, whatever its lines and headers say", "[store][mbox]")
{
    Spool s;
    s.write(cat(from_line, "Subject: one\n\nno line end"));
    auto f = s.open();
    CHECK(append(*f, "Subject: two\r\nStatus: RO\r\nX-UID: 99\r\n\r\nFrom me Tue Nov 24 14:00:00 2026\r\n\r\nFrom you Tue Nov 24 14:00:00 2026\r\n", flagged, {"Work"}) == 2);
    CHECK(wire(*f, 2) == "Subject: two\r\n\r\n>From me Tue Nov 24 14:00:00 2026\r\n\r\n>From you Tue Nov 24 14:00:00 2026\r\n");
    CHECK(append(*f, "") == 3);
    CHECK(append(*f, "\r\nonly a body\r\n") == 4);
    CHECK(wire(*f, 4) == "\r\nonly a body\r\n");
    CHECK(append(*f, "Subject: head only\r\n") == 5);
    CHECK(append(*f, "Subject: a\r\n\r\nblank lines\r\n\r\n\r\n") == 6);
    CHECK(wire(*f, 6) == "Subject: a\r\n\r\nblank lines\r\n\r\n\r\n");
    const auto before = shape(*f);
    auto again = s.open();
    CHECK(shape(*again) == before);
    CHECK(shape(*again) == "1/0 2/2 3/0 4/0 5/0 6/0 ");
    CHECK(keywords_of(again->table(), *again->table().find(2)) == std::vector<std::string>{"Work"});
}

TEST_CASE("expunge takes the mails it was told, also of two that are the same", "[store][mbox]")
{
    Spool s;
    const std::string same = cat(from_line, "Subject: same\n\nbody\n\n");
    s.write(cat(same, same, from_line, "Subject: last\n\nbody\n\n"));
    auto f = s.open();
    auto gone = f->expunge({1, 77});
    REQUIRE(gone);
    CHECK(gone->gone == std::vector<uint32_t>{1});
    CHECK(shape(*f) == "2/0 3/0 ");
    CHECK(s.text() == cat(same, from_line, "Subject: last\n\nbody\n\n"));
    CHECK(wire(*f, 3) == "Subject: last\r\n\r\nbody\r\n");
    REQUIRE(f->expunge({2, 3}));
    CHECK(s.text().empty());
    auto copied = append(*f, "x: y\r\n\r\nz\r\n");
    auto twice = f->copy({copied}, *f);
    REQUIRE(twice);
    CHECK(wire(*f, twice->at(0).to) == "x: y\r\n\r\nz\r\n");
    CHECK(f->table().find(copied)->id == f->table().find(twice->at(0).to)->id);
}

TEST_CASE("what is done by UID leaves an mbox alone that was numbered anew meanwhile", "[store][mbox][rfc9051-2.3.1.1]")
{
    const auto three = [](std::string_view first) { return cat(first, from_line, "Subject: two\n\n2\n\n", from_line, "Subject: three\n\n3\n\n"); };
    for (const bool move : {false, true}) {
        Spool spool;
        spool.write(three(cat(from_line, "Subject: one\n\n1\n\n")));
        auto f = spool.open();
        REQUIRE(shape(*f) == "1/0 2/0 3/0 ");
        spool.write(three(""));
        REQUIRE(::unlink((spool.dir + "/index/uidlog").c_str()) == 0);
        spool.validity = 200;
        auto again = spool.open();
        REQUIRE(shape(*again) == "1/0 2/0 ");
        int code = 0;
        if (move) {
            const auto done = f->move({2}, *again);
            code = done ? 0 : done.error().code;
        } else {
            const auto done = f->expunge({2});
            code = done ? 0 : done.error().code;
        }
        CHECK(code == ESTALE);
        CHECK(spool.text() == three(""));
    }
}

TEST_CASE("an index that goes while the mbox is locked is made from the file that is held", "[store][mbox]")
{
    Spool spool;
    spool.write(cat(from_line, "Subject: one\n\n1\n\n"));
    auto f = spool.open();
    REQUIRE(::unlink((spool.dir + "/index/uidlog").c_str()) == 0);
    spool.validity = 200;
    const auto started = std::chrono::steady_clock::now();
    CHECK(append(*f, "Subject: two\r\n\r\n2\r\n") == 2);    // with a second descriptor it would wait for itself, and give up
    CHECK(std::chrono::steady_clock::now() - started < std::chrono::seconds(15));
    CHECK(f->table().uidvalidity() == 200);
    REQUIRE(f->refresh());
    CHECK(shape(*f) == "1/0 2/0 ");
}

TEST_CASE("a folder's file that is gone is no empty mailbox, and nobody makes it; an inbox's is", "[store][mbox]")
{
    for (const bool inbox : {false, true}) {
        Spool spool;
        spool.write(cat(from_line, "Subject: one\n\n1\n\n"));
        auto f = spool.open(inbox);
        auto draft = f->draft();
        REQUIRE(draft);
        REQUIRE((*draft)->write("Subject: two\r\n\r\n2\r\n"));
        REQUIRE(::unlink(spool.path.c_str()) == 0);
        const auto seen = f->refresh();
        CHECK((seen ? 0 : seen.error().code) == (inbox ? 0 : ENOENT));
        std::vector<Incoming> mails(1);
        mails[0].draft = std::move(*draft);
        const auto done = f->append(std::move(mails));
        CHECK((done ? 0 : done.error().code) == (inbox ? 0 : ENOENT));
        CHECK((::access(spool.path.c_str(), F_OK) == 0) == inbox);
    }
}

TEST_CASE("who reads on waits for no lock of another program, and is told to come again", "[store][mbox]")
{
    Spool s;
    s.write(cat(from_line, "Subject: one\n\nb\n\n"));
    auto f = s.open();
    REQUIRE(f->change_flags({1}, {FlagChange::How::add, seen, {}, {}}));
    const Fd other(::open(s.path.c_str(), O_RDWR | O_CLOEXEC));
    struct flock lock {};
    lock.l_type = F_WRLCK;
    REQUIRE(::fcntl(other.get(), F_OFD_SETLK, &lock) == 0);
    s.write(cat(from_line, "Subject: two\n\nb\n\n"), O_APPEND);
    const auto begun = std::chrono::steady_clock::now();
    CHECK(f->refresh());
    CHECK(f->is_busy());
    CHECK(shape(*f) == "1/8 ");
    CHECK(f->apply());
    CHECK(f->is_busy());
    CHECK(f->wants_apply());
    CHECK(std::chrono::steady_clock::now() - begun < std::chrono::seconds(10));    // the patience of this folder is 20 s
    lock.l_type = F_UNLCK;
    REQUIRE(::fcntl(other.get(), F_OFD_SETLK, &lock) == 0);
    CHECK(f->refresh());
    CHECK_FALSE(f->is_busy());
    CHECK(shape(*f) == "1/8 2/0 ");
    CHECK(f->apply());
    CHECK_FALSE(f->wants_apply());
}

TEST_CASE("what is no mbox, a link, or another's is left alone", "[store][mbox]")
{
    Spool s;
    s.write("this is a letter\n");
    auto index = disk::posix_disk().open_directory(nullptr, s.dir + "/index");
    REQUIRE(index);
    MboxPlace place{s.path, std::make_shared<OwnKeeper>(s.path), "uidlog", std::chrono::milliseconds(100)};
    auto f = MboxFolder::open(place, std::move(*index), []() -> Result<uint32_t> { return 1u; });
    CHECK_FALSE(f);
    CHECK(s.text() == "this is a letter\n");
    REQUIRE(::unlink(s.path.c_str()) == 0);
    REQUIRE(::symlink("/etc/passwd", s.path.c_str()) == 0);
    auto again = disk::posix_disk().open_directory(nullptr, s.dir + "/index");
    REQUIRE(again);
    CHECK_FALSE(MboxFolder::open(place, std::move(*again), []() -> Result<uint32_t> { return 1u; }));
}

TEST_CASE("a rewrite that was killed anywhere is made good, and deliveries since then stay", "[store][mbox][crash]")
{
    Spool s;
    std::string text;
    for (int i = 0; i < 300; ++i) append(text, from_line, "Subject: mail ", i, "\n\n", std::string(static_cast<std::size_t>(i) * 7 % 3000, 'x'), "\n\n");
    s.write(text);
    { auto f = s.open(); }
    int delivered = 0, killed = 0;
    for (int round = 0; round < 25; ++round) {
        const pid_t pid = ::fork();
        if (pid == 0) {
            auto f = s.open();
            for (uint32_t i = 0;; ++i) {
                if (!f->change_flags({1 + (i * 37) % 300, 1 + i % 5}, {i % 3 ? FlagChange::How::add : FlagChange::How::set, static_cast<uint8_t>(i % 32), {cat("k", i % 9)}, {}})) ::_exit(1);
                if (!f->apply()) ::_exit(2);
            }
        }
        ::usleep(20'000 + static_cast<useconds_t>(random_below(40'000)));
        ::kill(pid, SIGKILL);
        int status = 0;
        ::waitpid(pid, &status, 0);
        killed += WIFSIGNALED(status);
        // Another program delivers before we have a chance to look.
        if (round % 2) s.write(cat(from_line, "Subject: delivery ", delivered++, "\n\nnew\n\n"), O_APPEND);
        if (round % 5 == 4) {
            auto f = s.open();
            REQUIRE(f->table().messages().size() == static_cast<std::size_t>(300 + delivered));
        }
    }
    CHECK(killed == 25);
    auto f = s.open();
    std::set<std::string> subjects;
    for (const Message& m : f->table().messages()) {
        const std::string mail = wire(*f, m.uid);
        subjects.insert(mail.substr(0, mail.find('\r')));
        if (m.uid <= 300) CHECK(mail.starts_with(cat("Subject: mail ", m.uid - 1, '\r')));
    }
    CHECK(subjects.size() == static_cast<std::size_t>(300 + delivered));
    CHECK_FALSE(read_file(s.dir + "/index/uidlog.tail", 1u << 20));
}

TEST_CASE("what a crash left to do is done to the file it was for, byte by byte, and to no other", "[store][mbox][crash]")
{
    const auto mails = [](int first, int last, std::string_view word) {
        std::string text;
        for (int i = first; i < last; ++i) append(text, from_line, "Subject: ", word, ' ', i, "\n\n", std::string(static_cast<std::size_t>(i) * 7 % 3000, 'x'), "\n\n");
        return text;
    };
    enum class Then { nothing, restored, same_size, longer, prefix, one_byte, shorter, removed, damaged };
    for (const Then then : {Then::nothing, Then::restored, Then::same_size, Then::longer, Then::prefix, Then::one_byte, Then::shorter, Then::removed, Then::damaged}) {
        INFO(static_cast<int>(then));
        Spool s;
        const std::string first = mails(0, 300, "mail"), tail_name = s.dir + "/index/uidlog.tail";
        s.write(first);
        { auto f = s.open(); }
        for (int round = 0; ::access(tail_name.c_str(), F_OK) != 0; ++round) {
            REQUIRE(round < 1'000);
            const pid_t pid = ::fork();
            if (pid == 0) {
                auto f = s.open();
                for (uint32_t i = 0;; ++i) {
                    if (!f->change_flags({5 + i % 7, 150}, {i % 2 ? FlagChange::How::add : FlagChange::How::set, static_cast<uint8_t>(i % 32), {cat("k", i % 9)}, {}})) ::_exit(1);
                    if (!f->apply()) ::_exit(2);
                }
            }
            siginfo_t ended {};
            while (::access(tail_name.c_str(), F_OK) != 0 && ended.si_pid == 0) REQUIRE(::waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED | WNOHANG | WNOWAIT) == 0);
            ::usleep(static_cast<useconds_t>(random_below(300)));
            ::kill(pid, SIGKILL);                        // in the midst, or just behind it: then once more
            int status = 0;
            ::waitpid(pid, &status, 0);
            REQUIRE(WIFSIGNALED(status));
        }
        const std::string half = s.text();
        std::string now = half;
        switch (then) {
        case Then::nothing: break;
        case Then::restored: now = mails(0, 100, "mail") + mails(100, 400, "older"); break;      // a backup, into the same file
        case Then::same_size: now = mails(0, 300, "else"), now.resize(half.size(), 'z'), now.back() = '\n'; break;
        case Then::longer: now = mails(500, 1500, "else"); break;
        case Then::prefix: now = first + mails(300, 320, "mail"); break;                         // as it was before all this, and what came since
        case Then::one_byte: now[now.size() / 2] ^= 1; break;
        case Then::shorter: now = mails(0, 20, "else"); break;
        case Then::removed: now = mails(0, 300, "else"); break;                                    // a new file may have the old one's number
        case Then::damaged: break;
        }
        if (then == Then::damaged) {
            std::string journal = read_file(tail_name, 1u << 26).value();
            journal[random_below(journal.size())] ^= 4;
            const Fd file(::open(tail_name.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
            REQUIRE(write_all(file.get(), journal));
        }
        if (then == Then::removed) REQUIRE(::unlink(s.path.c_str()) == 0);
        if (then != Then::nothing) s.write(now);
        std::string logged;
        log::capture(&logged);
        { auto f = s.open(); }
        log::capture(nullptr);
        if (then == Then::nothing) {
            CHECK(logged.empty());
            auto f = s.open();
            REQUIRE(f->table().messages().size() == 300);
            for (const Message& m : f->table().messages()) CHECK(wire(*f, m.uid).starts_with(cat("Subject: mail ", m.uid - 1, '\r')));
            CHECK_FALSE(read_file(tail_name + ".aside", 1u << 26));
        } else if (then == Then::prefix && s.text() != now) {
            // Nothing had been written yet: then it is that very file, with deliveries behind it, and nobody's mail is lost.
            auto f = s.open();
            CHECK(f->table().messages().size() == 320);
        } else {
            CHECK(s.text() == now);
            CHECK(logged.find(tail_name + ".aside") != std::string::npos);
            CHECK(read_file(tail_name + ".aside", 1u << 26));
        }
        CHECK_FALSE(read_file(tail_name, 1u << 26));
    }
    // Not whole, damaged, or of another version.
    Spool s;
    s.write(mails(0, 3, "mail"));
    { auto f = s.open(); }
    std::string logged;
    log::capture(&logged);
    for (const std::string& bytes : {std::string(), std::string("VEREDUS-MBOX-1\n\n") + std::string(48, '\0'), std::string(1000, 'x')}) {
        {
            const Fd file(::open((s.dir + "/index/uidlog.tail").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
            REQUIRE(write_all(file.get(), bytes));
        }
        auto f = s.open();
        CHECK(f->table().messages().size() == 3);
        CHECK(read_file(s.dir + "/index/uidlog.tail.aside", 2000).value() == bytes);
    }
    log::capture(nullptr);
    CHECK(s.text() == mails(0, 3, "mail"));
}

TEST_CASE("an append that was killed anywhere leaves whole mails only, and those that were acknowledged", "[store][mbox][crash]")
{
    Spool s;
    s.write(cat(from_line, "Subject: first\n\nhello\n"));
    const std::string body(300'000, 'y');
    int acknowledged = 0, delivered = 0;
    std::size_t half = 0;
    for (int round = 0; round < 20; ++round) {
        int pipe[2];
        REQUIRE(::pipe(pipe) == 0);
        const Fd in(pipe[0]);
        const pid_t pid = ::fork();
        if (pid == 0) {
            auto f = s.open();
            for (int i = 0;; ++i) {
                append(*f, cat("Subject: round ", round, ' ', i, "\r\n\r\n"));
                std::vector<Incoming> mails(2);
                for (auto& mail : mails) {
                    auto draft = f->draft();
                    if (!draft || !(*draft)->write(cat("Subject: big ", round, ' ', i, "\r\n\r\n", body, "\r\nend\r\n"))) ::_exit(1);
                    mail.draft = std::move(*draft);
                }
                if (!f->append(std::move(mails))) ::_exit(2);
                if (::write(pipe[1], "3", 1) != 1) ::_exit(3);
            }
        }
        ::close(pipe[1]);
        char byte = 0;
        REQUIRE(::read(in.get(), &byte, 1) == 1);        // it is at work now
        ++acknowledged;
        ::usleep(static_cast<useconds_t>(random_below(15'000)));
        ::kill(pid, SIGKILL);
        int status = 0;
        ::waitpid(pid, &status, 0);
        REQUIRE(WIFSIGNALED(status));
        while (::read(in.get(), &byte, 1) == 1) ++acknowledged;
        half += read_file(s.dir + "/index/uidlog.tail", 1u << 26).has_value();
        if (round % 2) {
            const std::string now = s.text();
            const char* gap = now.ends_with("\n\n") ? "" : now.ends_with('\n') ? "\n" : "\n\n";
            s.write(cat(gap, from_line, "Subject: delivery ", delivered++, "\n\nnew\n"), O_APPEND);
        }
    }
    CHECK(half > 0);                                     // some were killed in the midst
    auto f = s.open();
    std::size_t big = 0, others = 0;
    for (const Message& m : f->table().messages()) {
        const std::string mail = wire(*f, m.uid);
        if (mail.starts_with("Subject: big ")) {
            ++big;
            CHECK(mail.size() > body.size());
            CHECK(mail.ends_with("\r\nend\r\n"));
        } else if (mail.starts_with("Subject: delivery ")) {
            ++others;
            CHECK(mail.ends_with("\r\n\r\nnew\r\n"));
        } else {
            CHECK((mail.starts_with("Subject: round ") || mail.starts_with("Subject: first")));
        }
        CHECK(mail.find('\0') == std::string::npos);
    }
    CHECK(others == static_cast<std::size_t>(delivered));
    CHECK(big >= 2 * static_cast<std::size_t>(acknowledged));
    CHECK_FALSE(read_file(s.dir + "/index/uidlog.tail", 1u << 26));
}

TEST_CASE("half a mail of a killed delivery is seen by no reader", "[store][mbox][crash]")
{
    Spool s;
    const std::string whole = cat(from_line, "Subject: first\n\nhello\n\n"), coming = cat(from_line, "Subject: second\n\n", std::string(5000, 'x'), "\n\n");
    s.write(whole);
    const bool open_before = GENERATE(true, false);
    std::unique_ptr<Folder> f;
    if (open_before) f = s.open();
    const auto half = [&] {
        const Fd fd(::open(s.path.c_str(), O_RDWR | O_APPEND | O_CLOEXEC));
        AppendMark mark;
        PlannedMail mail;
        mail.add(coming);
        mark.from = whole.size();
        mark.before = *sum_before(fd.get(), mark.from);
        mark.mails = {mail};
        REQUIRE(set_append_mark(fd.get(), mark));
        REQUIRE(write_all(fd.get(), coming.substr(0, 3000)));
    };
    half();
    if (open_before) REQUIRE(f->refresh());
    else f = s.open();
    CHECK(shape(*f) == "1/0 ");
    CHECK(s.text() == whole);
    s.write(coming, O_APPEND);                              // the mail comes again
    REQUIRE(f->refresh());
    CHECK(shape(*f) == "1/0 2/0 ");
    CHECK(s.text() == whole + coming);
}

TEST_CASE("an mbox that did not change is not read again, and its facts are kept", "[store][mbox][facts]")
{
    Spool spool;
    spool.write(cat(from_line, "Subject: one\n\nbody\n\n"));
    auto f = spool.open();
    CHECK((*f->facts(1))->fields == "Subject: one\r\n");
    CHECK((*f->facts(1))->preview == "body");
    REQUIRE(f->apply());
    // Its time must be old enough to tell a change: then nobody's lock is waited for.
    const timespec old[2] = {{1'700'000'000, 0}, {1'700'000'000, 0}};
    REQUIRE(::utimensat(AT_FDCWD, spool.path.c_str(), old, 0) == 0);
    REQUIRE(f->refresh());
    {
        const Fd file(::open(spool.path.c_str(), O_RDONLY | O_CLOEXEC));
        ::usleep(static_cast<useconds_t>(time_grain_us(file.get()) + 10'000));      // its change time is now
    }
    REQUIRE(f->refresh());
    {
        const Fd other(::open(spool.path.c_str(), O_RDWR | O_CLOEXEC));
        struct flock lock {};
        lock.l_type = F_WRLCK;
        lock.l_whence = SEEK_SET;
        REQUIRE(::fcntl(other.get(), F_OFD_SETLK, &lock) == 0);
        const auto news = f->refresh();                 // would wait 20 seconds, and fail
        REQUIRE(news);
        CHECK_FALSE(*news);
    }
    spool.write(cat(from_line, "Subject: two\n\nbody\n\n"), O_APPEND);
    CHECK(f->refresh().value());
    CHECK((*f->facts(2))->fields == "Subject: two\r\n");
    // In the cache by fingerprint: a file that was sorted has the same facts.
    spool.write(cat(from_line, "Subject: two\n\nbody\n\n", from_line, "Subject: one\n\nbody\n\n"));
    CHECK(f->refresh());
    CHECK((*f->facts(1))->fields == "Subject: one\r\n");
    CHECK((*f->facts(2))->fields == "Subject: two\r\n");
    REQUIRE(f->expunge({1}));
    CHECK(f->facts(1).error().code == ENOENT);
}
