// lib/store/mailbox: a user's folders, their names on disk, and what no name may reach.
#include "t/unit/catch.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>
#include <thread>

#include "lib/base/fd.h"
#include "lib/base/text.h"
#include "lib/mail/utf7.h"
#include "lib/store/mailbox.h"
#include "lib/store/undertaker.h"

using namespace veredus;
using namespace veredus::store;

namespace {

struct Home {
    std::string path;
    std::unique_ptr<Mailbox> box;
    Home()
    {
        char name[] = "/tmp/veredus-mailbox.XXXXXX";
        path = ::mkdtemp(name);
        open();
    }
    ~Home() { (void)std::system(cat("rm -rf ", path).c_str()); }
    void open()
    {
        auto opened = open_maildir(path + "/Maildir/");
        INFO((opened ? "" : opened.error().text));
        REQUIRE(opened);
        box = std::move(*opened);
    }
    std::string names() const
    {
        auto list = box->list();
        REQUIRE(list);
        std::string out;
        for (const Listed& l : *list) append(out, l.name, l.selectable ? "" : "!", l.children ? "+" : "", ' ');
        return out;
    }
    bool there(const std::string& name) const
    {
        struct stat st {};
        return ::lstat(cat(path, "/Maildir/", name).c_str(), &st) == 0;
    }
};

int code(const Result<void>& r) { return r ? 0 : r.error().code ? r.error().code : -1; }

uint32_t append_to(Folder& f, std::string_view text)
{
    auto draft = f.draft();
    REQUIRE(draft);
    REQUIRE((*draft)->write(text));
    std::vector<Incoming> mails(1);
    mails[0].draft = std::move(*draft);
    auto uids = f.append(std::move(mails));
    REQUIRE(uids);
    return uids->at(0);
}

// Directory `path` with files enough to make it a large one.
void make_large(const std::string& path)
{
    REQUIRE(std::system(cat("mkdir -p ", path).c_str()) == 0);
    for (int i = 0; i < 2'500; ++i) {
        const Fd file(::open(cat(path, "/17000", 10'000 + i, ".M1P1.a-host-with-a-long-name.example.org:2,S").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        REQUIRE(file);
    }
}

}  // namespace

TEST_CASE("modified UTF-7 goes both ways, and only one spelling of a name is taken", "[mail][utf7][rfc3501-5.1.3]")
{
    const std::vector<std::pair<std::string, std::string>> cases = {
        {"INBOX", "INBOX"},        {"a&b", "a&-b"},    {"~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"},
        {"Entwürfe", "Entw&APw-rfe"}, {"😀", "&2D3eAA-"}, {"", ""},
    };
    for (const auto& [utf8, utf7] : cases) {
        CHECK(mail::to_utf7(utf8) == utf7);
        CHECK(mail::from_utf7(utf7) == utf8);
    }
    for (const char* bad : {"&", "&a", "&Jjo!", "&U,BTFw-&ZeVnLIqe-", "&AGE-", "&APx-", "&2D0-", "&3gA-", "a\x80", "&AP-", "&A-"}) {
        INFO(bad);
        CHECK_FALSE(mail::from_utf7(bad));
    }
    CHECK_FALSE(mail::to_utf7("\xff"));
}

TEST_CASE("folders are made, listed, renamed and removed", "[store][mailbox][rfc9051-6.3.6]")
{
    Home h;
    CHECK(h.names() == "INBOX ");
    CHECK(code(h.box->create("Sent")) == 0);
    CHECK(code(h.box->create("Sent")) == EEXIST);
    CHECK(code(h.box->create("inbox")) == EEXIST);
    CHECK(code(h.box->create("Work.Entwürfe")) == 0);
    CHECK(h.there(".Work.Entw&APw-rfe/cur"));
    CHECK(h.names() == "INBOX Sent Work!+ Work.Entwürfe ");
    CHECK(code(h.box->rename("Work", "Play")) == 0);
    CHECK(code(h.box->rename("Work", "Play2")) == ENOENT);
    CHECK(code(h.box->rename("Play", "Play.x")) == EINVAL);
    CHECK(code(h.box->rename("Sent", "Play.Entwürfe")) == EEXIST);
    CHECK(h.names() == "INBOX Play!+ Play.Entwürfe Sent ");
    CHECK(code(h.box->create("Play")) == 0);
    CHECK(code(h.box->remove("Play")) == 0);
    CHECK(h.names() == "INBOX Play!+ Play.Entwürfe Sent ");
    CHECK(code(h.box->remove("Play")) == ENOENT);
    CHECK(code(h.box->remove("Inbox")) == EPERM);
    CHECK_FALSE(h.box->open("Play"));
    h.open();
    CHECK(h.names() == "INBOX Play!+ Play.Entwürfe Sent ");
}

TEST_CASE("no name leads out of the mailbox or into our index", "[store][mailbox]")
{
    Home h;
    const std::string zero("a\0b", 3);
    for (const std::string& name : {std::string("../x"), std::string(".."), std::string("."), std::string(".x"), std::string("x."), std::string("a..b"), std::string("a/b"),
                                    std::string("/etc"), zero, std::string("a\nb"), std::string("\xff"), std::string(""), std::string("veredus"), std::string("Veredus"),
                                    std::string(300, 'x')}) {
        INFO(printable(name));
        CHECK_FALSE(h.box->is_name(name));
        CHECK(code(h.box->create(name)) == EINVAL);
        CHECK(code(h.box->remove(name)) == EINVAL);
        CHECK(code(h.box->rename(name, "ok")) == EINVAL);
        CHECK(code(h.box->rename("INBOX", name)) == EINVAL);
        CHECK_FALSE(h.box->open(name));
        CHECK(code(h.box->subscribe(name, true)) == EINVAL);
    }
    REQUIRE(::symlink("/etc", cat(h.path, "/Maildir/.out").c_str()) == 0);
    CHECK_FALSE(h.box->open("out"));
    CHECK(h.names() == "INBOX ");
}

TEST_CASE("a removed folder made again has other numbers, a renamed one keeps them", "[store][mailbox][rfc9051-2.3.1.1]")
{
    Home h;
    uint32_t last = 0;
    for (int i = 0; i < 3; ++i) {
        REQUIRE(h.box->create("A"));
        {
            auto f = h.box->open("A");
            REQUIRE(f);
            CHECK((*f)->table().uidvalidity() > last);
            last = (*f)->table().uidvalidity();
            append_to(**f, "x\r\n");
        }
        if (i < 2) REQUIRE(h.box->remove("A"));
    }
    REQUIRE(h.box->rename("A", "B"));
    auto f = h.box->open("B");
    REQUIRE(f);
    CHECK((*f)->table().uidvalidity() == last);
    CHECK((*f)->table().messages().size() == 1);
}

TEST_CASE("INBOX has no other name, and no folder gets its", "[store][mailbox][rfc9051-6.3.6]")
{
    Home h;
    REQUIRE(h.box->create("Old"));
    CHECK(code(h.box->rename("inbox", "New")) == EPERM);       // its mails are moved, by who has it open
    CHECK(code(h.box->rename("Old", "INBOX")) == EEXIST);
    CHECK(h.names() == "INBOX Old ");
}

TEST_CASE("subscriptions are a text file that Dovecot and Courier read, too", "[store][mailbox]")
{
    Home h;
    REQUIRE(h.box->subscribe("Entwürfe", true));
    REQUIRE(h.box->subscribe("inbox", true));
    REQUIRE(h.box->subscribe("Never.made", true));
    REQUIRE(h.box->subscribe("Never.made", true));
    CHECK(read_file(h.path + "/Maildir/subscriptions", 1000).value() == "Entw&APw-rfe\nINBOX\nNever.made\n");
    REQUIRE(h.box->subscribe("Never.made", false));
    CHECK(h.box->subscriptions().value() == std::vector<std::string>{"Entwürfe", "INBOX"});
    REQUIRE(std::system(cat("printf 'V\\t2\\n\\nWork\\tHard\\n' > ", h.path, "/Maildir/subscriptions").c_str()) == 0);
    CHECK(h.box->subscriptions().value() == std::vector<std::string>{"Work.Hard"});
    REQUIRE(h.box->subscribe("A.b", true));
    CHECK(read_file(h.path + "/Maildir/subscriptions", 1000).value() == "V\t2\n\nA\tb\nWork\tHard\n");
}

TEST_CASE("what a crash left of a folder is swept, and a forgotten index is made anew", "[store][mailbox]")
{
    Home h;
    REQUIRE(std::system(cat("mkdir -p ", h.path, "/Maildir/.veredus/gone.1/cur && touch ", h.path, "/Maildir/.veredus/gone.1/cur/x").c_str()) == 0);
    h.open();
    CHECK_FALSE(h.there(".veredus/gone.1"));
    uint32_t before = 0;
    {
        auto f = h.box->open("INBOX");
        REQUIRE(f);
        before = (*f)->table().uidvalidity();
        append_to(**f, "x\r\n");
    }
    REQUIRE(h.box->forget_index("INBOX"));
    auto f = h.box->open("INBOX");
    REQUIRE(f);
    CHECK((*f)->table().uidvalidity() > before);
    CHECK((*f)->table().messages().size() == 1);
}

TEST_CASE("a large folder is removed at once, its files beside whatever comes next", "[store][mailbox]")
{
    Home h;
    for (int round = 0; round < 3; ++round) {             // each waits for the one before
        REQUIRE(h.box->create("Large"));
        make_large(h.path + "/Maildir/.Large/cur");
        CHECK((*h.box->open("Large"))->table().messages().size() == 2'500);
        REQUIRE(h.box->remove("Large"));
        CHECK(code(h.box->remove("Large")) == ENOENT);
        CHECK(h.names() == "INBOX ");
        REQUIRE(h.box->create("Large"));
        CHECK((*h.box->open("Large"))->table().messages().empty());
        REQUIRE(h.box->remove("Large"));
    }
    h.box.reset();                                        // waits for what is under way
    CHECK(std::system(cat("test -z \"$(find ", h.path, "/Maildir -name 'gone.*' -o -name '17000*')\"").c_str()) == 0);
}

TEST_CASE("whoever deletes more large folders waits for none of them", "[store][mailbox]")
{
    Home h;
    auto index = disk::posix_disk().open_directory(nullptr, h.path + "/Maildir/.veredus");
    REQUIRE(index);
    std::mutex mutex;
    std::condition_variable changed;
    bool open = false;
    std::vector<std::string> removed;
    std::vector<std::thread::id> by;
    {
        Undertaker undertaker([&](const disk::Directory& dir, const std::string& name) {
            std::unique_lock lock(mutex);
            if (name != "gone.small") changed.wait(lock, [&] { return open; });
            removed.push_back(name);
            by.push_back(std::this_thread::get_id());
            return remove_tree(dir, name);
        });
        make_large(index->path + "/gone.1/cur");
        make_large(index->path + "/gone.2/new");               // nobody has looked at it yet
        make_large(index->path + "/gone.3/tmp");
        REQUIRE(std::system(cat("mkdir -p ", index->path, "/gone.small/cur").c_str()) == 0);
        for (const char* grave : {"gone.1", "gone.2", "gone.3", "gone.small"}) undertaker.bury(*index, grave);
        CHECK_FALSE(h.there(".veredus/gone.small"));
        for (const char* grave : {"gone.1", "gone.2", "gone.3"}) CHECK(h.there(cat(".veredus/", grave)));
        const std::lock_guard lock(mutex);
        open = true;
        changed.notify_all();
    }
    CHECK(removed == std::vector<std::string>{"gone.small", "gone.1", "gone.2", "gone.3"});
    for (const char* grave : {"gone.1", "gone.2", "gone.3"}) CHECK_FALSE(h.there(cat(".veredus/", grave)));
    CHECK(by[0] == std::this_thread::get_id());
    CHECK(by[1] == by[2]);
    CHECK(by[1] == by[3]);
    CHECK(by[1] != by[0]);
}

TEST_CASE("a deleted folder that two processes remove at once is removed, and nobody's trouble", "[store][mailbox]")
{
    Home h;
    auto index = disk::posix_disk().open_directory(nullptr, h.path + "/Maildir/.veredus");
    REQUIRE(index);
    for (int round = 0; round < 10; ++round) {
        for (int i = 0; i < 200; ++i) std::filesystem::create_directories(cat(index->path, "/gone.1/", i, "/x"));
        std::atomic<int> ready{0};
        Result<void> done[3];
        std::vector<std::thread> all;
        for (auto& mine : done)
            all.emplace_back([&] {
                ++ready;
                while (ready < 3) {}
                mine = remove_tree(*index, "gone.1");
            });
        for (auto& thread : all) thread.join();
        for (const auto& each : done) {
            INFO((each ? "" : each.error().text));
            CHECK(each);
        }
        CHECK_FALSE(h.there(".veredus/gone.1"));
    }
}

TEST_CASE("an mbox user has the same folders as files", "[store][mailbox][mbox]")
{
    Home h;
    const auto open = [&] {
        MboxPlaces places;
        places.inbox = h.path + "/inbox";
        places.folders = h.path + "/mail";
        places.home = h.path;
        auto box = open_mbox(std::move(places));
        INFO((box ? "" : box.error().text));
        REQUIRE(box);
        h.box = std::move(*box);
    };
    open();
    CHECK(h.names() == "INBOX ");
    struct stat st {};
    CHECK(::stat((h.path + "/mail").c_str(), &st) != 0);      // nothing before it is needed
    CHECK(h.box->subscriptions().value().empty());
    REQUIRE(h.box->create("Work/Entwürfe"));
    REQUIRE(h.box->create("Sent"));
    CHECK(code(h.box->create("Sent")) == EEXIST);
    CHECK(h.names() == "INBOX Sent Work!+ Work/Entwürfe ");
    uint32_t validity = 0;
    {
        auto f = h.box->open("Work/Entwürfe");
        REQUIRE(f);
        append_to(**f, "Subject: x\r\n\r\nbody\r\n");
        auto inbox = h.box->open("inbox");
        REQUIRE(inbox);
        REQUIRE((*f)->copy({1}, **inbox));
        validity = (*f)->table().uidvalidity();
        CHECK((*inbox)->table().uidvalidity() > validity);
    }
    CHECK(code(h.box->rename("Work", "Play")) == 0);
    CHECK(h.names() == "INBOX Play!+ Play/Entwürfe Sent ");
    {
        auto f = h.box->open("Play/Entwürfe");
        REQUIRE(f);
        CHECK((*f)->table().uidvalidity() == validity);
        CHECK((*f)->table().messages().size() == 1);
    }
    CHECK(code(h.box->rename("INBOX", "Old")) == EPERM);      // whoever has it open moves its mails
    REQUIRE(h.box->create("Old"));
    // An mbox has nothing below it; a name that shall have is a directory, which goes when it is empty.
    CHECK(code(h.box->create("Old/x")) == ENOTDIR);
    CHECK(code(h.box->create("Tree/")) == 0);
    CHECK(code(h.box->create("Tree/")) == EEXIST);
    CHECK(h.names() == "INBOX Old Play!+ Play/Entwürfe Sent Tree! ");
    CHECK(code(h.box->create("Tree/leaf")) == 0);
    CHECK(code(h.box->create("Tree")) == EEXIST);
    CHECK(code(h.box->remove("Tree")) == ENOTEMPTY);
    CHECK(code(h.box->remove("Tree/leaf")) == 0);
    CHECK(code(h.box->remove("Tree")) == 0);
    CHECK(code(h.box->remove("Tree")) == ENOENT);
    CHECK(code(h.box->create("Tree/")) == 0);
    CHECK(code(h.box->create("Tree")) == 0);             // an empty one stands in nobody's way
    CHECK(h.names() == "INBOX Old Play!+ Play/Entwürfe Sent Tree ");
    CHECK(code(h.box->remove("Tree")) == 0);
    CHECK(code(h.box->remove("Tree/x")) == ENOENT);
    CHECK(code(h.box->remove("Old")) == 0);
    CHECK(code(h.box->remove("Old")) == ENOENT);
    REQUIRE(h.box->create("Old"));
    CHECK((*h.box->open("Old"))->table().messages().empty());
    // Names that end as our own files do are folders of their own.
    REQUIRE(h.box->create("kin"));
    std::vector<std::string> kin{"kin.tail", "kin.cache", "kin.new", "kin.tail.new", "kin.tail.aside", "kin%2Etail"};
    for (const auto& name : kin) {
        INFO(name);
        REQUIRE(h.box->create(name));
        auto f = h.box->open(name);
        REQUIRE(f);
        append_to(**f, "Subject: x\r\n\r\nbody\r\n");
        const uint32_t numbers = (*f)->table().uidvalidity();
        auto other = h.box->open("kin");
        REQUIRE(other);
        append_to(**other, "Subject: y\r\n\r\nbody\r\n");
        append_to(**other, "Subject: z\r\n\r\nbody\r\n");
        REQUIRE((*other)->change_flags({1}, {FlagChange::How::add, seen, {}, {}}));
        REQUIRE((*other)->apply());
        CHECK((*h.box->open(name))->table().uidvalidity() == numbers);
        CHECK((*h.box->open(name))->table().messages().size() == 1);
    }
    for (const auto& name : kin) CHECK(code(h.box->remove(name)) == 0);
    CHECK(code(h.box->remove("kin")) == 0);
    REQUIRE(h.box->subscribe("Play/Entwürfe", true));
    CHECK(read_file(h.path + "/mail/.subscriptions", 1000).value() == "Play/Entw&APw-rfe\n");
    for (const char* bad : {"../x", "a/../b", "/etc/passwd", "a//b", ".x", "a/.x", "x.lock", "a\nb", "", "\xff"}) {
        INFO(bad);
        CHECK_FALSE(h.box->is_name(bad));
        CHECK(code(h.box->create(bad)) == EINVAL);
        CHECK(code(h.box->remove(bad)) == EINVAL);
        CHECK_FALSE(h.box->open(bad));
    }
    REQUIRE(::symlink("/etc", (h.path + "/mail/out").c_str()) == 0);
    CHECK_FALSE(h.box->open("out/passwd"));
    CHECK(code(h.box->create("out/x")) != 0);
}

TEST_CASE("an mbox directory that is renamed to or from a name like our own files' takes its folders' numbers along", "[store][mailbox][mbox]")
{
    Home h;
    MboxPlaces places;
    places.inbox = h.path + "/inbox";
    places.folders = h.path + "/mail";
    places.home = h.path;
    auto box = open_mbox(std::move(places));
    REQUIRE(box);
    h.box = std::move(*box);
    REQUIRE(h.box->create("work/child"));
    REQUIRE(h.box->create("work/child.new"));
    const std::vector<std::string> leaves{"/child", "/child.new"};
    std::map<std::string, uint32_t> numbers;
    for (const auto& leaf : leaves) {
        auto f = h.box->open("work" + leaf);
        REQUIRE(f);
        append_to(**f, "Subject: x\r\n\r\nbody\r\n");
        append_to(**f, "Subject: y\r\n\r\nbody\r\n");
        REQUIRE((*f)->change_flags({2}, {FlagChange::How::add, flagged, {"Kept"}, {}}));    // in the log alone
        numbers[leaf] = (*f)->table().uidvalidity();
    }
    std::string now = "work";
    for (const char* next : {"work.new", "a.tail", "b.cache", "c.aside", "deep/d.tail.new", "plain"}) {
        INFO(next);
        REQUIRE(h.box->rename(now, next));
        now = next;
        for (const auto& leaf : leaves) {
            INFO(leaf);
            auto f = h.box->open(now + leaf);
            REQUIRE(f);
            CHECK((*f)->table().uidvalidity() == numbers[leaf]);
            const auto* kept = (*f)->table().find(2);
            REQUIRE(kept);
            CHECK((kept->flags & flagged) != 0);
            (*f).reset();
        }
    }
}

TEST_CASE("a rename of an mbox that was killed anywhere loses no flag and no number", "[store][mailbox][mbox][crash]")
{
    Home h;
    const auto open = [&] {
        MboxPlaces places;
        places.inbox = h.path + "/inbox";
        places.folders = h.path + "/mail";
        places.home = h.path;
        auto box = open_mbox(std::move(places));
        REQUIRE(box);
        return std::move(*box);
    };
    uint32_t validity = 0;
    {
        auto box = open();
        REQUIRE(box->create("a/x"));
        auto f = box->open("a/x");
        REQUIRE(f);
        append_to(**f, "Subject: x\r\n\r\nbody\r\n");
        append_to(**f, "Subject: y\r\n\r\nbody\r\n");
        REQUIRE((*f)->change_flags({2}, {FlagChange::How::add, flagged, {"Kept"}, {}}));    // in the log alone
        validity = (*f)->table().uidvalidity();
    }
    const auto is_whole = [&](const std::string& name) {
        auto f = open()->open(name);
        INFO((f ? "" : f.error().text));
        REQUIRE(f);
        CHECK((*f)->table().uidvalidity() == validity);
        const Message* m = (*f)->table().find(2);
        REQUIRE(m);
        CHECK(m->flags == flagged);
        CHECK(keywords_of((*f)->table(), *m) == std::vector<std::string>{"Kept"});
    };
    // The two steps of a crash, and a log that somebody's rm left at the new name.
    REQUIRE(open()->create("b"));
    { auto stale = open()->open("b"); }
    REQUIRE(::unlink((h.path + "/mail/b").c_str()) == 0);
    REQUIRE(open()->rename("a/x", "b"));
    is_whole("b");
    struct stat st {};
    REQUIRE(::stat((h.path + "/mail/b").c_str(), &st) == 0);
    const Fd note(::open((h.path + "/.veredus/renaming").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    REQUIRE(write_all(note.get(), cat(st.st_ino, "\nb\nc\n")));
    is_whole("b");                                       // not begun
    const Fd again(::open((h.path + "/.veredus/renaming").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    REQUIRE(write_all(again.get(), cat(st.st_ino, "\nb\nc\n")));
    REQUIRE(::rename((h.path + "/mail/b").c_str(), (h.path + "/mail/c").c_str()) == 0);
    is_whole("c");                                       // half done
    for (int round = 0; round < 15; ++round) {
        const pid_t pid = ::fork();
        if (pid == 0) {
            auto box = open();
            for (;;) {
                (void)box->rename("c", "d");
                (void)box->rename("d", "c");
            }
        }
        ::usleep(5'000 + static_cast<useconds_t>(round) * 700);
        ::kill(pid, SIGKILL);
        int status = 0;
        ::waitpid(pid, &status, 0);
        is_whole(::stat((h.path + "/mail/c").c_str(), &st) == 0 ? "c" : "d");
    }
}

TEST_CASE("a note of a rename that can never be finished closes no mailbox", "[store][mailbox][mbox]")
{
    Home h;
    MboxPlaces places;
    places.inbox = h.path + "/inbox";
    places.folders = h.path + "/mail";
    places.home = h.path;
    auto box = open_mbox(places);
    REQUIRE(box);
    REQUIRE((*box)->create("Work"));
    {
        const Fd note(::open((h.path + "/.veredus/renaming").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        REQUIRE(note);
        REQUIRE(write_all(note.get(), cat("1\nWork\n", std::string(300, 'x'), "/y\n")));
    }
    CHECK((*box)->open("Work"));
    CHECK(::access((h.path + "/.veredus/renaming").c_str(), F_OK) != 0);
    CHECK((*box)->create("Play"));
}

TEST_CASE("an index directory that is removed while the mailbox is open is made anew", "[store][mailbox]")
{
    for (const bool mbox : {false, true}) {
        INFO(mbox);
        Home h;
        if (mbox) {
            MboxPlaces places;
            places.inbox = h.path + "/inbox";
            places.folders = h.path + "/mail";
            places.home = h.path;
            auto box = open_mbox(std::move(places));
            REQUIRE(box);
            h.box = std::move(*box);
        }
        auto f = h.box->open("INBOX");
        REQUIRE(f);
        append_to(**f, "Subject: x\r\n\r\nbody\r\n");
        REQUIRE(std::system(cat("rm -rf ", h.path, mbox ? "/.veredus" : "/Maildir/.veredus").c_str()) == 0);
        const auto news = (*f)->refresh();
        REQUIRE_FALSE(news);
        CHECK(news.error().code == ENOENT);              // what imapd says BYE for
        auto again = h.box->open("INBOX");
        INFO((again ? "" : again.error().text));
        REQUIRE(again);
        CHECK((*again)->table().messages().size() == 1);
        append_to(**again, "Subject: y\r\n\r\nbody\r\n");
        REQUIRE(h.box->create("New"));
        REQUIRE(h.box->subscribe("New", true));
        REQUIRE(h.box->rename("New", "Newer"));
        CHECK((*h.box->open("INBOX"))->table().messages().size() == 2);
    }
}

TEST_CASE("mails move between a Maildir and an mbox and keep what they are", "[store][mailbox][mbox]")
{
    Home h;
    MboxPlaces places;
    places.inbox = h.path + "/inbox";
    places.folders = h.path + "/mail";
    places.home = h.path;
    auto other = open_mbox(std::move(places));
    REQUIRE(other);
    auto from = h.box->open("INBOX"), to = (*other)->open("INBOX");
    REQUIRE(from);
    REQUIRE(to);
    append_to(**from, "Subject: x\r\n\r\nbody\r\n");
    REQUIRE((*from)->change_flags({1}, {FlagChange::How::add, flagged, {"Work"}, {}}));
    const uint64_t id = (*from)->table().find(1)->id;
    const int64_t date = (*from)->received(1).value();
    REQUIRE((*from)->move({1}, **to));
    CHECK((*from)->table().messages().empty());
    const auto check = [&](Folder& f, uint32_t uid) {
        const Message* m = f.table().find(uid);
        REQUIRE(m);
        CHECK(m->flags == flagged);
        CHECK(m->id == id);
        CHECK(keywords_of(f.table(), *m) == std::vector<std::string>{"Work"});
        CHECK(f.received(uid).value() == date);
        CHECK((*f.open(uid))->read(0, 100).value() == "Subject: x\r\n\r\nbody\r\n");
    };
    check(**to, 1);
    REQUIRE((*to)->move({1}, **from));
    check(**from, 2);
}

namespace {

// No file of this process may grow beyond `size` bytes while it lives: as on a full disk.
class NoRoom {
public:
    explicit NoRoom(uint64_t size)
    {
        ::getrlimit(RLIMIT_FSIZE, &before_);
        old_ = ::signal(SIGXFSZ, SIG_IGN);
        rlimit now = before_;
        now.rlim_cur = size;
        ::setrlimit(RLIMIT_FSIZE, &now);
    }
    ~NoRoom()
    {
        ::setrlimit(RLIMIT_FSIZE, &before_);
        ::signal(SIGXFSZ, old_);
    }
    NoRoom(const NoRoom&) = delete;

private:
    rlimit before_{};
    sighandler_t old_ = nullptr;
};

// A folder one of whose mails cannot be removed.
class Stubborn final : public Folder {
public:
    Stubborn(Folder& real, uint32_t stays) : real_(real), stays_(stays) {}
    const UidTable& table() const override { return real_.table(); }
    Result<bool> refresh() override { return real_.refresh(); }
    Result<std::unique_ptr<WireReader>> open(uint32_t uid) override { return real_.open(uid); }
    Result<uint64_t> size(uint32_t uid) override { return real_.size(uid); }
    Result<int64_t> received(uint32_t uid) override { return real_.received(uid); }
    Result<const Facts*> facts(uint32_t uid) override { return real_.facts(uid); }
    void keep_preview(uint32_t uid, std::string_view preview) override { real_.keep_preview(uid, preview); }
    Result<FlagsChanged> change_flags(const std::vector<uint32_t>& uids, const FlagChange& change) override { return real_.change_flags(uids, change); }
    Result<std::unique_ptr<Draft>> draft() override { return real_.draft(); }
    Result<void> prepare(std::vector<Incoming>& mails) override { return real_.prepare(mails); }
    Result<std::vector<uint32_t>> append(std::vector<Incoming> mails) override { return real_.append(std::move(mails)); }
    Result<std::vector<Copied>> copy(const std::vector<uint32_t>& uids, Folder& target) override { return real_.copy(uids, target); }
    Result<Expunged> expunge(const std::vector<uint32_t>& given) override
    {
        std::vector<uint32_t> uids = given;
        const bool asked = std::erase(uids, stays_) > 0;
        auto done = real_.expunge(uids);
        if (done && asked) {
            done->left.push_back(stays_);
            done->trouble = {EACCES, "remove a mail: Permission denied"};
        }
        return done;
    }
    Result<void> apply() override { return real_.apply(); }
    bool wants_apply() const override { return real_.wants_apply(); }
    std::vector<WatchPoint> watch_points() const override { return real_.watch_points(); }
    bool healed() const override { return real_.healed(); }

private:
    Folder& real_;
    uint32_t stays_;
};

std::unique_ptr<Mailbox> mbox_of(const Home& h)
{
    MboxPlaces places;
    places.inbox = h.path + "/inbox";
    places.folders = h.path + "/mail";
    places.home = h.path;
    auto box = open_mbox(std::move(places));
    REQUIRE(box);
    return std::move(*box);
}

}  // namespace

TEST_CASE("a copy by reading passes over mails that went meanwhile", "[store][mailbox][mbox]")
{
    Home h;
    auto other = mbox_of(h);
    auto from = h.box->open("INBOX"), to = other->open("INBOX");
    REQUIRE((from && to));
    for (int i = 0; i < 3; ++i) append_to(**from, "x\r\n");
    REQUIRE(::unlink(cat(h.path, "/Maildir/cur/", (*from)->table().name(*(*from)->table().find(2))).c_str()) == 0);
    auto copied = (*from)->copy({1, 2, 3}, **to);
    REQUIRE(copied);
    REQUIRE(copied->size() == 2);
    CHECK((*copied)[1].from == 3);
}

TEST_CASE("a move whose source cannot note it loses nothing", "[store][mailbox][rfc6851-3.3]")
{
    Home h;
    const bool mbox = GENERATE(false, true);
    INFO((mbox ? "mbox" : "Maildir"));
    if (mbox) h.box = mbox_of(h);
    {
        auto in = h.box->open("INBOX");
        REQUIRE(in);
        for (int i = 0; i < 40; ++i) append_to(**in, cat("Subject: ", i, "\r\n\r\nbody\r\n"));
        REQUIRE(h.box->create("Target"));
        auto target = h.box->open("Target");
        REQUIRE(target);
        struct stat st {};
        REQUIRE(::stat((h.path + (mbox ? "/.veredus/inbox" : "/Maildir/.veredus/uidlog")).c_str(), &st) == 0);
        auto moved = [&] {
            const NoRoom none(static_cast<uint64_t>(st.st_size) + 8);
            return (*in)->move({38, 39, 40}, **target);
        }();
        REQUIRE(moved);
        CHECK(moved->moved.size() == 3);
        CHECK(moved->trouble.text.find("File too large") != std::string::npos);
        CHECK((*target)->table().messages().size() == 3);
        REQUIRE((*in)->refresh());
        CHECK((*in)->table().messages().size() == 37);
    }
    CHECK((*h.box->open("INBOX"))->table().messages().size() == 37);
    auto target = h.box->open("Target");
    REQUIRE(target);
    REQUIRE((*target)->table().messages().size() == 3);
    CHECK((*(*target)->open(3))->read(0, 100).value() == "Subject: 39\r\n\r\nbody\r\n");
}

TEST_CASE("a move that cannot take one mail away leaves that one where it was, and no copy of it", "[store][mailbox][rfc6851-3.3]")
{
    Home h;
    auto in = h.box->open("INBOX");
    REQUIRE(in);
    for (int i = 0; i < 3; ++i) append_to(**in, "x\r\n");
    REQUIRE(h.box->create("Target"));
    auto target = h.box->open("Target");
    REQUIRE(target);
    // A directory where the second mail was: it cannot be unlinked, as a file of another's in a sticky directory.
    const std::string name = cat(h.path, "/Maildir/cur/", (*in)->table().name(*(*in)->table().find(2)));
    REQUIRE(::rename(name.c_str(), (h.path + "/aside").c_str()) == 0);
    REQUIRE(::mkdir(name.c_str(), 0700) == 0);
    auto gone = (*in)->expunge({1, 2});
    REQUIRE(gone);
    CHECK(gone->gone == std::vector<uint32_t>{1});
    CHECK(gone->left == std::vector<uint32_t>{2});
    CHECK_FALSE(gone->trouble.text.empty());
    REQUIRE(::rmdir(name.c_str()) == 0);
    REQUIRE(::rename((h.path + "/aside").c_str(), name.c_str()) == 0);
    Stubborn source(**in, 2);
    auto moved = source.move({2, 3}, **target);
    REQUIRE(moved);
    REQUIRE(moved->moved.size() == 1);
    CHECK(moved->moved[0].from == 3);
    CHECK(moved->trouble.code == EACCES);
    CHECK((*target)->table().messages().size() == 1);
    CHECK((*target)->table().find(moved->moved[0].to));
    CHECK((*in)->table().messages().size() == 1);
    const auto none = source.move({2}, **target);
    REQUIRE_FALSE(none);
    CHECK((*target)->table().messages().size() == 1);
}

TEST_CASE("default folders are there for every client, and on disk when one is opened", "[store][mailbox][rfc6154-2]")
{
    Home home;
    const auto defaults = parse_default_folders(usual_default_folders);
    REQUIRE(defaults);
    home.box = with_default_folders(std::move(home.box), *defaults);
    const auto shown = [&] {
        std::string out;
        const auto list = home.box->list();
        for (const Listed& l : *list) append(out, l.name, l.on_disk ? "" : "?", l.special_use, ' ');
        return out;
    };
    const auto subscribed = [&] {
        std::string out;
        const auto names = home.box->subscriptions();
        for (const auto& name : *names) append(out, name, ' ');
        return out;
    };
    CHECK(shown() == "INBOX Archive?\\Archive Drafts?\\Drafts Junk?\\Junk Sent?\\Sent Trash?\\Trash ");
    CHECK(subscribed() == "Archive Drafts Junk Sent Trash ");
    CHECK_FALSE(home.there(".Sent"));
    {
        auto sent = home.box->open("Sent");
        REQUIRE(sent);
        append_to(**sent, "a\r\n");
        CHECK(home.there(".Sent"));
    }
    CHECK(home.box->open("Other").error().code == ENOENT);
    REQUIRE(home.box->subscribe("Junk", false));
    REQUIRE(home.box->create("Work"));
    REQUIRE(home.box->create("Archive.2026"));      // Archive itself is still not there
    REQUIRE(home.box->set_special_use("Work", "\\ARCHIVE \\flagged"));
    CHECK(code(home.box->set_special_use("Work", "\\Nonsense")) == EINVAL);
    CHECK(code(home.box->set_special_use("bad\nname", "\\Sent")) == EINVAL);
    CHECK(shown() == "INBOX Archive? Archive.2026 Drafts?\\Drafts Junk?\\Junk Sent\\Sent Trash?\\Trash Work\\Archive \\Flagged ");
    CHECK(subscribed() == "Archive Drafts Sent Trash ");
    REQUIRE(home.box->rename("Work", "Done"));
    CHECK(home.box->special_use("Done").value() == "\\Archive \\Flagged");
    CHECK(home.box->special_use("Work").value().empty());
    CHECK(code(home.box->remove("Trash")) == EPERM);
    REQUIRE(home.box->remove("Sent"));
    REQUIRE(home.box->rename("Trash", "Bin"));
    REQUIRE(home.box->set_special_use("Drafts", ""));
    CHECK(home.box->special_use("Drafts").value().empty());
    REQUIRE(home.box->remove("Done"));
    CHECK(shown() == "INBOX Archive?\\Archive Archive.2026 Bin Drafts? Junk?\\Junk Sent?\\Sent Trash?\\Trash ");
    REQUIRE(home.box->subscribe("Junk", true));
    CHECK(subscribed() == "Archive Drafts Junk Sent Trash ");
    // It is a text file that anybody may have spoiled.
    const Fd file(::open(cat(home.path, "/Maildir/.veredus/special-use").c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
    REQUIRE(write_all(file.get(), "use\tBin\t\\Trash\nuse\tBin\nuse\tJunk\t\\Nonsense\n\n\toff\noff\tSent\n"));
    CHECK(home.box->special_use("Bin").value() == "\\Trash");
    CHECK(home.box->special_use("Trash").value().empty());
    CHECK(subscribed() == "Archive Drafts Junk Trash ");
}

TEST_CASE("default folders as a setting", "[store][mailbox]")
{
    struct Case {
        std::string text, result;
    };
    const std::vector<Case> cases = {
        {"", ""},
        {"Drafts \\drafts, Sent Messages \\Sent,,Notes", "Drafts=\\Drafts;Sent Messages=\\Sent;Notes=;"},
        {"\\Sent", "error"},
        {"Sent \\Send", "error"},
        {"Sent \\Sent \\Junk", "error"},
        {"inbox", "error"},
    };
    for (const Case& c : cases) {
        const auto parsed = parse_default_folders(c.text);
        std::string out = parsed ? "" : "error";
        if (parsed)
            for (const auto& f : *parsed) append(out, f.name, '=', f.special_use, ';');
        CHECK(out == c.result);
    }
}

TEST_CASE("a watch tells which folder changed, whoever changed it", "[store][watch]")
{
    Home home;
    REQUIRE(home.box->create("Work"));
    auto inbox = home.box->open("INBOX"), work = home.box->open("Work"), again = home.box->open("INBOX");
    REQUIRE((inbox && work && again));
    Watch watch;
    REQUIRE(watch.fd() >= 0);
    const int a = watch.add((*inbox)->watch_points()), b = watch.add((*work)->watch_points()), c = watch.add((*again)->watch_points());
    CHECK(watch.read().empty());
    CHECK(watch.poll().empty());
    const auto shell = [&](const std::string& command) { REQUIRE(std::system(cat("cd ", home.path, "/Maildir && ", command).c_str()) == 0); };
    shell("echo x > tmp/1");
    CHECK(watch.read().empty());
    shell("mv tmp/1 new/1");
    CHECK(watch.read() == std::vector<int>{a, c});
    CHECK(watch.read().empty());
    watch.remove(a);
    shell("mv new/1 cur/1:2,S");
    CHECK(watch.read() == std::vector<int>{c});
    append_to(**work, "x\r\n");
    CHECK(watch.read() == std::vector<int>{b});
    CHECK((*work)->change_flags({1}, {FlagChange::How::add, seen, {}, {}}));
    CHECK(watch.read() == std::vector<int>{b});
    REQUIRE(home.box->remove("Work"));
    CHECK(watch.read() == std::vector<int>{b});
    watch.remove(b);
    watch.remove(b);
    CHECK(watch.poll().empty());
}

TEST_CASE("a watched file is found again when another one has its name", "[store][watch]")
{
    Home home;
    const std::string file = home.path + "/box";
    const auto shell = [&](const std::string& command) { REQUIRE(std::system(cat("cd ", home.path, " && ", command).c_str()) == 0); };
    Watch watch;
    const int token = watch.add({{file, "", true}});
    CHECK(watch.poll() == std::vector<int>{token});          // it is not there
    shell("echo x > box");
    CHECK(watch.poll() == std::vector<int>{token});          // now it is: the last look without being told
    CHECK(watch.poll().empty());
    (void)watch.read();
    shell("echo x >> box");
    CHECK(watch.read() == std::vector<int>{token});
    const Fd held(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    shell("echo y > box.new && mv box.new box");
    CHECK(watch.read() == std::vector<int>{token});
    CHECK(watch.poll() == std::vector<int>{token});
    (void)watch.read();
    shell("echo z >> box");
    CHECK(watch.read() == std::vector<int>{token});
    shell("echo x > other");
    CHECK(watch.read().empty());
}
