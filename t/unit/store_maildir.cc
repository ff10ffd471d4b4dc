// lib/store/maildir_folder: a Maildir that several programs use at once, with UIDs that hold.
#include "t/unit/catch.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "lib/base/text.h"
#include "lib/store/beneath.h"
#include "lib/store/dovecot.h"
#include "lib/store/maildir.h"
#include "lib/store/maildir_flags.h"
#include "lib/store/maildir_folder.h"
#include "t/unit/faulty_disk.h"

using namespace veredus;
using namespace veredus::store;

namespace {

struct Box {
    std::string path;
    uint32_t next_validity = 100;
    Box()
    {
        char name[] = "/tmp/veredus-maildir.XXXXXX";
        path = ::mkdtemp(name);
        for (const char* part : {"/cur", "/new", "/tmp"}) REQUIRE(::mkdir((path + part).c_str(), 0700) == 0);
    }
    ~Box() { (void)std::system(cat("rm -rf ", path).c_str()); }
    void put(const std::string& name, std::string_view text = "Subject: x\n\nbody\n") const
    {
        const Fd file(::open(cat(path, '/', name).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
        REQUIRE(file);
        REQUIRE(write_all(file.get(), text));
    }
    void rename(const std::string& from, const std::string& to) const { REQUIRE(::rename(cat(path, '/', from).c_str(), cat(path, '/', to).c_str()) == 0); }
    std::vector<std::string> files(const std::string& part) const
    {
        std::vector<std::string> out;
        DIR* d = ::opendir(cat(path, '/', part).c_str());
        REQUIRE(d);
        while (const dirent* e = ::readdir(d))
            if (e->d_name[0] != '.') out.push_back(e->d_name);
        ::closedir(d);
        std::sort(out.begin(), out.end());
        return out;
    }
    std::unique_ptr<MaildirFolder> open(const MaildirDevice& device = {})
    {
        auto dir = disk::posix_disk().open_directory(nullptr, path);
        REQUIRE(dir);
        auto folder = MaildirFolder::open(std::move(*dir), [this]() -> Result<uint32_t> { return next_validity++; }, device);
        INFO((folder ? "" : folder.error().text));
        REQUIRE(folder);
        return std::move(*folder);
    }
};

std::string shape(const Folder& f)
{
    std::string out;
    for (const Message& m : f.table().messages()) append(out, m.uid, '=', maildir_base(f.table().name(m)), '/', int{m.flags}, ' ');
    return out;
}

std::string wire(Folder& f, uint32_t uid)
{
    auto reader = f.open(uid);
    REQUIRE(reader);
    auto text = (*reader)->read(0, 1u << 26);
    REQUIRE(text);
    auto size = (*reader)->size();
    REQUIRE(size);
    CHECK(*size == text->size());
    return *text;
}

uint32_t append(Folder& f, std::string_view text, uint8_t flags = 0, std::vector<std::string> keywords = {}, int64_t received = unknown_time)
{
    auto draft = f.draft();
    REQUIRE(draft);
    for (const char c : text) REQUIRE((*draft)->write(std::string_view(&c, 1)));
    std::vector<Incoming> mails(1);
    mails[0].draft = std::move(*draft);
    mails[0].flags = flags;
    mails[0].keywords = std::move(keywords);
    mails[0].received = received;
    auto uids = f.append(std::move(mails));
    INFO((uids ? "" : uids.error().text));
    REQUIRE(uids);
    return uids->at(0);
}

}  // namespace

TEST_CASE("names of Maildir files give flags and take them, and keep what is not ours", "[store][maildir]")
{
    CHECK(maildir_flags("1.a:2,FS").flags == (flagged | seen));
    CHECK(maildir_flags("1.a:2,DPRTa").letters == 1);
    CHECK(maildir_flags("1.a:2,P").passed);
    CHECK(maildir_flags("1.a").flags == 0);
    CHECK(maildir_flags("1.a:1,S").flags == 0);
    MaildirFlags f;
    f.flags = seen | answered;
    f.letters = 1u << 3;
    CHECK(with_maildir_flags("1.a", f) == "1.a:2,RSd");
    CHECK(with_maildir_flags("1.a:2,FXa,x=1", f) == "1.a:2,RSXd,x=1");
    CHECK(maildir_flags(with_maildir_flags("b", f)) == f);
    CHECK(named_sizes("1.a,S=10,W=12:2,S").wire == 12);
    CHECK_FALSE(named_sizes("1.a,S=1x:2,").stored);
    CHECK(delivered_before("9.M2.x", "10.M1.x"));
    CHECK(delivered_before("9.M2P.x", "9.M10P.x"));
    CHECK(delivered_before("9.x", "not a time"));
}

TEST_CASE("Dovecot's UID lists of both versions are read, and what is broken in them passed over", "[store][dovecot]")
{
    const auto three = parse_dovecot_uidlist("3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1\n"
                                             "25006 :1276528487.M364837P9451.kurkku,S=1355,W=1394:2,\n"
                                             "25017 W2481 Pold.uidl! :1276533073.M242911P3632.kurkku:2,F\n"
                                             "garbage\n25018 no colon\n25019 :a/b\n25017 W1 Pnew.uidl Gb0b1 :again\n25021 :torn");
    REQUIRE(three);
    CHECK(three->uidvalidity == 1275660208);
    CHECK(three->uidnext == 25022);
    REQUIRE(three->entries.size() == 2);
    CHECK(three->entries[0].name == "1276528487.M364837P9451.kurkku,S=1355,W=1394");
    CHECK(three->entries[0].uidl.empty());
    CHECK(three->entries[1].name == "again");
    CHECK(three->entries[1].uidl == "new.uidl");
    CHECK(three->entries[0].guid.empty());
    CHECK(three->entries[1].guid == "b0b1");
    const auto one = parse_dovecot_uidlist("1 1173189136 20221\n20163 1184051069.V1.host\n20164 x\n");
    REQUIRE(one);
    CHECK(one->entries.size() == 2);
    CHECK_FALSE(parse_dovecot_uidlist(""));
    CHECK_FALSE(parse_dovecot_uidlist("2 V1 N2\n"));
    CHECK_FALSE(parse_dovecot_uidlist("3 V0 N2\n"));
    CHECK(parse_dovecot_keywords("0 $Junk\n3 Work\nx y\n99 no\n") == std::vector<std::string>{"$Junk", "", "", "Work"});
    CHECK(write_dovecot_keywords({"$Junk", "", "Work"}) == "0 $Junk\n2 Work\n");
    CHECK(parse_subscriptions("INBOX\nA.b\n", '.') == std::vector<std::string>{"INBOX", "A.b"});
    CHECK(parse_subscriptions("V\t2\n\nA\tb\n", '/') == std::vector<std::string>{"A/b"});
}

TEST_CASE("what other programs deliver gets UIDs in the order of delivery, once", "[store][maildir]")
{
    Box box;
    box.put("new/200.M1.h");
    box.put("new/100.M9.h");
    box.put("cur/100.M2.h:2,S");
    box.put("cur/.hidden");
    auto f = box.open();
    REQUIRE(f->refresh());
    CHECK(shape(*f) == "1=100.M2.h/8 2=100.M9.h/0 3=200.M1.h/0 ");
    auto again = box.open();
    REQUIRE(again->refresh());
    CHECK(shape(*again) == shape(*f));
    CHECK(again->table().uidvalidity() == f->table().uidvalidity());
    box.put("new/300.M1.h");
    REQUIRE(f->refresh());
    CHECK(f->table().find(4) != nullptr);
    REQUIRE(again->refresh());
    CHECK(shape(*again) == shape(*f));
}

TEST_CASE("flags go both ways, and a change of another program does not undo ours", "[store][maildir]")
{
    Box box;
    box.put("cur/1.a:2,");
    box.put("cur/2.b:2,F");
    auto f = box.open();
    REQUIRE(f->refresh());
    auto done = f->change_flags({1, 2, 99}, {FlagChange::How::add, seen, {"$Junk"}, {}});
    REQUIRE(done);
    CHECK(done->changed == std::vector<uint32_t>{1, 2});
    // mutt marks one as flagged before ours are applied
    box.rename("cur/1.a:2,", "cur/1.a:2,F");
    REQUIRE(f->refresh());
    CHECK(f->table().find(1)->flags == (seen | flagged));
    CHECK(f->table().find(1)->keywords == 1);
    CHECK(f->wants_apply());
    REQUIRE(f->apply());
    CHECK(box.files("cur") == std::vector<std::string>{"1.a:2,FSa", "2.b:2,FSa"});
    CHECK(box.files(".") == std::vector<std::string>{"cur", "dovecot-keywords", "new", "tmp"});
    box.rename("cur/2.b:2,FSa", "cur/2.b:2,F");
    REQUIRE(f->refresh());
    CHECK(f->table().find(2)->flags == flagged);
    CHECK(f->table().find(2)->keywords == 0);
    const uint64_t before = f->table().highest_modseq();
    auto stale = f->change_flags({1, 2}, {FlagChange::How::remove, flagged, {}, f->table().find(1)->modseq});
    REQUIRE(stale);
    CHECK(stale->modified == std::vector<uint32_t>{2});
    CHECK(f->table().find(1)->modseq > before);
    auto none = f->change_flags({1}, {FlagChange::How::remove, 0, {"never-seen"}, {}});
    REQUIRE(none);
    CHECK(none->changed.empty());
}

TEST_CASE("keywords beyond the 26 letters of names stay in the index, also when other programs rename the mail", "[store][maildir]")
{
    Box b;
    b.put("cur/100.M1.h:2,");
    b.put("cur/200.M2.h:2,");
    std::vector<std::string> words;
    for (int i = 0; i < 40; ++i) words.push_back(cat("key", i));
    {
        auto f = b.open();
        REQUIRE(f->refresh());
        REQUIRE(f->change_flags({1}, {FlagChange::How::add, 0, words, {}}));
        REQUIRE(f->change_flags({2}, {FlagChange::How::add, 0, {"key30", "key2"}, {}}));
        REQUIRE(f->apply());
        CHECK_FALSE(f->wants_apply());
    }
    const std::string all = "abcdefghijklmnopqrstuvwxyz";
    b.rename("cur/100.M1.h:2," + all, "cur/100.M1.h:2,FS" + all);
    b.rename("cur/200.M2.h:2,c", "cur/200.M2.h:2,S");
    for (int time = 0; time < 2; ++time) {
        auto f = b.open();
        REQUIRE(f->refresh());
        CHECK(keywords_of(f->table(), *f->table().find(1)) == words);
        CHECK(f->table().find(1)->flags == (flagged | seen));
        CHECK(keywords_of(f->table(), *f->table().find(2)) == std::vector<std::string>{"key30"});
        REQUIRE(f->apply());
    }
}

TEST_CASE("flags that were not applied survive the process, and unknown ones in names stay", "[store][maildir]")
{
    Box box;
    box.put("cur/1.a:2,Xz");
    {
        auto f = box.open();
        REQUIRE(f->refresh());
        REQUIRE(f->change_flags({1}, {FlagChange::How::set, answered, {}, {}}));
    }
    auto f = box.open();
    REQUIRE(f->refresh());
    CHECK(f->table().find(1)->flags == answered);
    REQUIRE(f->apply());
    CHECK(box.files("cur").at(0).starts_with("1.a:2,RX"));
}

TEST_CASE("mail leaves new/ with its UID when it is applied", "[store][maildir]")
{
    Box box;
    box.put("new/1.a");
    auto f = box.open();
    REQUIRE(f->refresh());
    CHECK(f->table().find(1)->fresh);
    REQUIRE(f->apply());
    CHECK(box.files("new").empty());
    CHECK(box.files("cur") == std::vector<std::string>{"1.a:2,"});
    CHECK_FALSE(f->table().find(1)->fresh);
    REQUIRE(f->refresh());
    CHECK(shape(*f) == "1=1.a/0 ");
}

TEST_CASE("a link from new to cur that a crash cut short is one mail", "[store][maildir]")
{
    Box box;
    box.put("new/1.a");
    auto f = box.open();
    REQUIRE(f->refresh());
    REQUIRE(::link(cat(box.path, "/new/1.a").c_str(), cat(box.path, "/cur/1.a:2,").c_str()) == 0);
    REQUIRE(f->refresh());
    CHECK(shape(*f) == "1=1.a/0 ");
    CHECK(box.files("new").empty());
    // and a copy that somebody made by hand is two
    box.put("cur/1.a:2,S", "other\n");
    REQUIRE(f->refresh());
    CHECK(f->table().messages().size() == 2);
    CHECK(box.files("cur").size() == 2);
}

TEST_CASE("of many links from new to cur that a crash cut short each is one mail, and they share the wait for the disk", "[store][maildir]")
{
    Box box;
    for (int i = 0; i < 300; ++i) {
        box.put(cat("new/", 1000 + i, ".M1.h"));
        REQUIRE(::link(cat(box.path, "/new/", 1000 + i, ".M1.h").c_str(), cat(box.path, "/cur/", 1000 + i, ".M1.h:2,").c_str()) == 0);
    }
    test::FaultyDisk disk;
    MaildirDevice device;
    device.on = &disk;
    auto f = box.open(device);
    disk.synced.clear();
    REQUIRE(f->refresh());
    CHECK(f->table().messages().size() == 300);
    CHECK(box.files("new").empty());
    CHECK(box.files("cur").size() == 300);
    CHECK(std::count(disk.synced.begin(), disk.synced.end(), box.path + "/cur") <= 2);
}

TEST_CASE("mail that others removed vanishes, and its UID never comes back", "[store][maildir]")
{
    Box box;
    box.put("cur/1.a:2,");
    box.put("cur/2.b:2,");
    auto f = box.open();
    REQUIRE(f->refresh());
    const uint64_t before = f->table().highest_modseq();
    REQUIRE(::unlink(cat(box.path, "/cur/2.b:2,").c_str()) == 0);
    REQUIRE(f->refresh());
    CHECK(f->table().vanished_since(before) == std::vector<UidRange>{{2, 2}});
    box.put("cur/2.b:2,");
    REQUIRE(f->refresh());
    CHECK(shape(*f) == "1=1.a/0 3=2.b/0 ");
}

TEST_CASE("a first contact keeps Dovecot's UIDs, keywords and UIDVALIDITY", "[store][maildir][dovecot]")
{
    Box box;
    box.put("cur/1.a,S=17:2,Sb");
    box.put("new/2.b");
    box.put("new/3.c");
    box.put("dovecot-uidlist", "3 V1700000000 N40 Gabc\n7 :1.a,S=17:2,S\n9 :gone\n12 W20 :3.c\n");
    box.put("dovecot-keywords", "0 $Junk\n1 Work\n");
    auto f = box.open();
    REQUIRE(f->refresh());
    CHECK(f->table().uidvalidity() == 1700000000);
    CHECK(shape(*f) == "7=1.a,S=17/8 12=3.c/0 40=2.b/0 ");
    CHECK(keywords_of(f->table(), *f->table().find(7)) == std::vector<std::string>{"Work"});
}

TEST_CASE("Dovecot's numbers are taken over once, whatever becomes of the index", "[store][maildir][dovecot][rfc9051-2.3.1.1]")
{
    Box box;
    box.put("cur/1.a:2,S");
    box.put("dovecot-uidlist", "3 V1700000000 N2 Gabc\n1 :1.a\n");
    {
        auto f = box.open();
        REQUIRE(f->refresh());
        CHECK(f->table().uidvalidity() == 1700000000);
        CHECK(append(*f, "is UID 2\r\n") == 2);
        REQUIRE(f->expunge({2}));
    }
    {
        auto f = box.open();
        CHECK(f->table().uidvalidity() == 1700000000);
    }
    const std::string loss = GENERATE(std::string("rm -rf "), std::string("rm -f "), std::string("echo garbage >"));
    INFO(loss);
    REQUIRE(std::system(cat(loss, box.path, "/.veredus", loss == "rm -rf " ? "" : "/uidlog").c_str()) == 0);
    auto f = box.open();
    REQUIRE(f->refresh());
    CHECK(f->table().uidvalidity() == 100);
    CHECK(shape(*f) == "1=1.a/8 ");
    // Another list, as Dovecot makes it when it comes back, is another first contact.
    f.reset();
    box.put("dovecot-uidlist", "3 V1800000000 N8 Gabc\n7 :1.a\n");
    REQUIRE(std::system(cat("rm -rf ", box.path, "/.veredus").c_str()) == 0);
    f = box.open();
    CHECK(f->table().uidvalidity() == 1800000000);
    CHECK(box.files(".") == std::vector<std::string>{"cur", "dovecot-uidlist", "dovecot-uidlist.taken", "new", "tmp"});
}

TEST_CASE("flags that were applied to some names when another one failed are known as ours", "[store][maildir]")
{
    Box box;
    for (const char* name : {"cur/1.a:2,", "cur/2.b:2,", "cur/3.c:2,"}) box.put(name);
    auto f = box.open();
    REQUIRE(f->refresh());
    REQUIRE(f->apply());
    REQUIRE(f->change_flags({1, 2, 3}, {FlagChange::How::add, seen, {}, {}}));
    REQUIRE(::mkdir(cat(box.path, "/cur/2.b:2,S").c_str(), 0700) == 0);
    CHECK_FALSE(f->apply());
    CHECK(f->wants_apply());
    CHECK(box.files("cur") == std::vector<std::string>{"1.a:2,S", "2.b:2,", "2.b:2,S", "3.c:2,S"});
    REQUIRE(f->change_flags({1, 2, 3}, {FlagChange::How::remove, seen, {}, {}}));
    REQUIRE(::rmdir(cat(box.path, "/cur/2.b:2,S").c_str()) == 0);
    REQUIRE(f->refresh());
    CHECK(shape(*f) == "1=1.a/0 2=2.b/0 3=3.c/0 ");
    REQUIRE(f->apply());
    CHECK(box.files("cur") == std::vector<std::string>{"1.a:2,", "2.b:2,", "3.c:2,"});
}

TEST_CASE("flags reach the name of a mail that another program renamed before them", "[store][maildir]")
{
    Box box;
    box.put("cur/1.a:2,");
    auto f = box.open();
    REQUIRE(f->refresh());
    REQUIRE(f->apply());
    REQUIRE(f->change_flags({1}, {FlagChange::How::add, flagged, {}, {}}));
    box.rename("cur/1.a:2,", "cur/1.a:2,S");
    REQUIRE(f->apply());
    REQUIRE(f->refresh());
    CHECK(f->table().find(1)->flags == (seen | flagged));
    CHECK(f->wants_apply());
    REQUIRE(f->apply());
    CHECK(box.files("cur") == std::vector<std::string>{"1.a:2,FS"});
    CHECK_FALSE(f->wants_apply());
}

TEST_CASE("what was appended comes back byte by byte, with size, date, flags and keywords", "[store][maildir][rfc9051-6.3.12]")
{
    Box box;
    auto f = box.open();
    REQUIRE(f->refresh());
    std::string text = "Subject: x\r\n\r\nline\r\nbare \r cr\r\n";
    for (int i = 0; i < 20'000; ++i) append(text, "line ", i, "\r\n");
    CHECK(append(*f, text, seen, {"Work"}, 1'000'000'000) == 1);
    CHECK(wire(*f, 1) == text);
    CHECK(f->size(1).value() == text.size());
    CHECK(f->received(1).value() == 1'000'000'000);
    CHECK(keywords_of(f->table(), *f->table().find(1)) == std::vector<std::string>{"Work"});
    auto reader = f->open(1);
    REQUIRE(reader);
    for (const std::size_t at : {std::size_t{0}, std::size_t{17}, std::size_t{65530}, text.size() / 2, text.size() - 3, text.size()})
        CHECK((*reader)->read(at, 70'000).value() == text.substr(at, 70'000));
    CHECK((*reader)->read(text.size() + 5, 10).value().empty());
    CHECK(box.files("tmp").empty());
    REQUIRE(f->refresh());
    CHECK(f->table().messages().size() == 1);
    { auto draft = f->draft(); }
    CHECK(box.files("tmp").empty());
}

TEST_CASE("a draft outlives the folder object it was begun in, as a rename makes another one", "[store][maildir]")
{
    Box box;
    auto f = box.open();
    REQUIRE(f->refresh());
    auto draft = f->draft();
    auto dropped = f->draft();
    REQUIRE((draft && dropped));
    auto g = box.open();
    REQUIRE(g->refresh());
    f.reset();
    REQUIRE((*draft)->write("x\r\n"));
    std::vector<Incoming> mails(1);
    mails[0].draft = std::move(*draft);
    REQUIRE(g->append(std::move(mails)));
    CHECK(wire(*g, 1) == "x\r\n");
    CHECK(box.files("tmp").size() == 1);
    dropped->reset();
    CHECK(box.files("tmp").empty());
}

TEST_CASE("line ends become CRLF however the file is cut, and sizes of names that lie are found out", "[store][maildir]")
{
    Box box;
    std::string text = "a\n\r\n\r\r\n\n", expected = "a\r\n\r\n\r\r\n\r\n";
    box.put("cur/1.a,S=9999,W=99999:2,", text);
    std::string big, big_wire;
    for (int i = 0; i < 50'000; ++i) big += i % 3 ? "\n" : "\r\n", big_wire += "\r\n";
    box.put("cur/2.b:2,", big);
    auto f = box.open();
    REQUIRE(f->refresh());
    CHECK(wire(*f, 1) == expected);
    CHECK(wire(*f, 2) == big_wire);
    CHECK(f->size(2).value() == big_wire.size());
}

TEST_CASE("a copy shares the bytes, not the name; a move takes the mail away", "[store][maildir][rfc6851-3.3]")
{
    Box a, b;
    auto f = a.open(), g = b.open();
    REQUIRE(f->refresh());
    REQUIRE(g->refresh());
    append(*f, "one\r\n", seen, {"Work"}, 1'000'000'000);
    append(*f, "two\r\n");
    auto copied = f->copy({1, 1, 2, 77}, *g);
    REQUIRE(copied);
    CHECK(copied->size() == 3);
    CHECK(g->table().messages().size() == 3);
    CHECK(g->received(1).value() == 1'000'000'000);
    CHECK(g->table().find(1)->id == f->table().find(1)->id);
    CHECK(g->table().find(1)->flags == seen);
    CHECK(keywords_of(g->table(), *g->table().find(1)) == std::vector<std::string>{"Work"});
    CHECK(wire(*g, 3) == "two\r\n");
    auto moved = f->move({2}, *g);
    REQUIRE(moved);
    CHECK(moved->moved.at(0).to == 4);
    CHECK(f->table().messages().size() == 1);
    CHECK(a.files("cur").size() == 1);
    REQUIRE(f->copy({1}, *f));
    CHECK(a.files("cur").size() == 2);
    REQUIRE(f->refresh());
    REQUIRE(g->refresh());
    CHECK(f->table().messages().size() == 2);
    CHECK(g->table().messages().size() == 4);
}

TEST_CASE("expunge finds mails under their new names, and says which are gone", "[store][maildir]")
{
    Box box;
    for (int i = 1; i <= 4; ++i) box.put(cat("cur/", i, ".x:2,"));
    auto f = box.open();
    REQUIRE(f->refresh());
    box.rename("cur/2.x:2,", "cur/2.x:2,S");
    REQUIRE(::unlink(cat(box.path, "/cur/3.x:2,").c_str()) == 0);
    auto gone = f->expunge({1, 2, 3, 50});
    REQUIRE(gone);
    CHECK(gone->gone == std::vector<uint32_t>{1, 2, 3});
    CHECK(box.files("cur") == std::vector<std::string>{"4.x:2,"});
    REQUIRE(f->refresh());
    CHECK(shape(*f) == "4=4.x/0 ");
}

TEST_CASE("a renamed mail is read under its new name, a removed one is not there", "[store][maildir]")
{
    Box box;
    box.put("cur/1.a:2,", "x\n");
    auto f = box.open();
    REQUIRE(f->refresh());
    box.rename("cur/1.a:2,", "cur/1.a:2,RS");
    CHECK(wire(*f, 1) == "x\r\n");
    REQUIRE(::unlink(cat(box.path, "/cur/1.a:2,RS").c_str()) == 0);
    auto none = f->open(1);
    REQUIRE_FALSE(none);
    CHECK(none.error().code == ENOENT);
}

TEST_CASE("links and odd names in a Maildir lead nowhere", "[store][maildir]")
{
    Box box;
    box.put("cur/1.\n\x01odd:2,S", "x\n");
    REQUIRE(::symlink("/etc/passwd", cat(box.path, "/cur/2.link:2,").c_str()) == 0);
    REQUIRE(::mkdir(cat(box.path, "/cur/3.dir").c_str(), 0700) == 0);
    auto f = box.open();
    REQUIRE(f->refresh());
    CHECK(f->table().messages().size() == 1);
    CHECK(wire(*f, 1) == "x\r\n");
    auto again = box.open();
    CHECK(again->table().messages().size() == 1);
    // a directory that leads out of the mailbox
    REQUIRE(::symlink("/etc", cat(box.path, "/.veredus-out").c_str()) == 0);
    auto dir = disk::posix_disk().open_directory(nullptr, box.path);
    REQUIRE(dir);
    CHECK_FALSE(open_beneath(*dir, ".veredus-out"));
    CHECK_FALSE(open_beneath(*dir, ".."));
    CHECK_FALSE(open_beneath(*dir, "/etc"));
}

TEST_CASE("a lost index is made anew, with flags from the names", "[store][maildir]")
{
    Box box;
    box.put("cur/1.a:2,FS");
    {
        auto f = box.open();
        REQUIRE(f->refresh());
        append(*f, "x\r\n");
    }
    REQUIRE(std::system(cat("rm -rf ", box.path, "/.veredus").c_str()) == 0);
    auto f = box.open();
    REQUIRE(f->refresh());
    CHECK(f->table().uidvalidity() == 101);
    CHECK(f->table().messages().size() == 2);
    CHECK(f->table().find(1)->flags == (flagged | seen));
}

TEST_CASE("what is done by UID leaves a mailbox alone that was numbered anew meanwhile", "[store][maildir][rfc9051-2.3.1.1]")
{
    for (const char* what : {"expunge", "flags", "copy", "move", "open"}) {
        INFO(what);
        Box box, other;
        for (const char* name : {"cur/1.a:2,", "cur/2.b:2,", "cur/3.c:2,"}) box.put(name);
        auto f = box.open(), to = other.open();
        REQUIRE(f->refresh());
        REQUIRE(to->refresh());
        REQUIRE(shape(*f) == "1=1.a/0 2=2.b/0 3=3.c/0 ");
        REQUIRE(::unlink((box.path + "/cur/1.a:2,").c_str()) == 0);
        REQUIRE(::unlink((box.path + "/.veredus/uidlog").c_str()) == 0);
        auto again = box.open();
        REQUIRE(again->refresh());
        REQUIRE(shape(*again) == "1=2.b/0 2=3.c/0 ");
        const std::string_view doing = what;
        int code = 0;
        const auto note = [&](const auto& done) { code = done ? 0 : done.error().code; };
        if (doing == "expunge") note(f->expunge({2}));
        if (doing == "flags") note(f->change_flags({2}, {FlagChange::How::add, deleted, {}, {}}));
        if (doing == "open") {
            box.rename("cur/2.b:2,", "cur/2.b:2,S");           // it must look for it
            note(f->open(2));
        }
        if (doing == "copy" || doing == "move") {
            box.rename("cur/2.b:2,", "cur/2.b:2,S");
            box.rename("cur/3.c:2,", "cur/3.c:2,S");
        }
        if (doing == "copy") {
            REQUIRE(f->refresh());                             // it learns of it here, and the UIDs are older
            note(f->copy({2}, *to));
        }
        if (doing == "move") {
            REQUIRE(::unlink((other.path + "/.veredus/uidlog").c_str()) == 0);      // that one's new numbers matter to nobody
            note(f->move({2}, *to));
        }
        CHECK(code == ESTALE);
        CHECK(box.files("cur").size() == 2);
        REQUIRE(again->refresh());
        CHECK(again->table().messages().size() == 2);
        for (const Message& m : again->table().messages()) CHECK((m.flags & deleted) == 0);
        REQUIRE(to->refresh());
        CHECK(to->table().messages().empty());
        CHECK(other.files("cur").empty());
    }
}

TEST_CASE("mails that could not be published all are not in the index either", "[store][maildir]")
{
    Box box;
    auto f = box.open();
    REQUIRE(f->refresh());
    const auto size = [&] {
        struct stat st {};
        REQUIRE(::stat((box.path + "/.veredus/uidlog").c_str(), &st) == 0);
        return static_cast<rlim_t>(st.st_size);
    };
    append(*f, "x\r\n");
    const rlim_t one = size();
    append(*f, "x\r\n");
    const rlim_t record = size() - one;
    std::vector<Incoming> mails(2);
    for (auto& mail : mails) {
        auto draft = f->draft();
        REQUIRE(draft);
        REQUIRE((*draft)->write("x\r\n"));
        mail.draft = std::move(*draft);
    }
    // The record of the first one has room, and that it vanished; the second one's has not.
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
    const auto handler = ::signal(SIGXFSZ, SIG_IGN);
    rlimit limit = before;
    limit.rlim_cur = size() + 2 * record - 4;
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
    const auto done = f->append(std::move(mails));
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
    (void)::signal(SIGXFSZ, handler);
    CHECK_FALSE(done);
    CHECK(f->table().messages().size() == 2);
    CHECK(f->table().uidnext() == 4);                          // the record was there, for a moment
    CHECK(box.files("cur").size() == 2);
}

TEST_CASE("an APPEND whose bytes the device refuses is refused, though the sync after that says yes", "[store][maildir][rfc9051-6.3.12]")
{
    for (const int refused : {1, 2}) {                         // the first mail's, the second one's
        INFO(refused);
        test::FaultyDisk disk;
        disk.code = EIO;
        MaildirDevice device;
        device.on = &disk;
        device.writes_data_before_names = true;
        Box box;
        auto f = box.open(device);
        REQUIRE(f->refresh());
        REQUIRE(append(*f, "before\r\n") == 1);
        REQUIRE(disk.write_outs == 1);
        disk.write_outs = 0;
        disk.fail_write_out_at = refused;
        std::vector<Incoming> mails(2);
        for (auto& mail : mails) {
            auto draft = f->draft();
            REQUIRE(draft);
            REQUIRE((*draft)->write("x\r\n"));
            mail.draft = std::move(*draft);
        }
        const auto done = f->append(std::move(mails));
        REQUIRE_FALSE(done);
        CHECK(done.error().code == EIO);
        CHECK(disk.write_outs == refused);
        mails.clear();
        CHECK(box.files("cur").size() == 1);
        CHECK(box.files("tmp").empty());
        CHECK(f->table().messages().size() == 1);
        CHECK(append(*f, "after\r\n") == 2);                  // the next one's file is another one
        CHECK(box.open()->table().messages().size() == 2);
    }
}

TEST_CASE("two processes that append, scan and expunge at once, one of them killed, agree in the end", "[store][maildir][crash]")
{
    Box box;
    { auto f = box.open(); }
    std::vector<pid_t> children;
    for (int child = 0; child < 3; ++child) {
        const pid_t pid = ::fork();
        if (pid == 0) {
            auto f = box.open();
            for (int i = 0; i < 40; ++i) {
                if (!f->refresh()) ::_exit(1);
                append(*f, cat("child ", child, " mail ", i, "\r\n"));
                const auto& m = f->table().messages();
                if (i % 5 == 4 && !m.empty()) (void)f->expunge({m.front().uid});
                if (i % 7 == 0 && !f->apply()) ::_exit(2);
                if (child == 2 && i == 20) ::kill(::getpid(), SIGKILL);
            }
            ::_exit(0);
        }
        children.push_back(pid);
    }
    for (const pid_t pid : children) {
        int status = 0;
        ::waitpid(pid, &status, 0);
        CHECK((WIFSIGNALED(status) || WEXITSTATUS(status) == 0));
    }
    auto f = box.open();
    REQUIRE(f->refresh());
    CHECK_FALSE(f->healed());
    CHECK(f->table().messages().size() == box.files("cur").size() + box.files("new").size());
    CHECK(f->table().uidnext() == 102);       // 40 + 40 + 21 appended
    std::set<std::string> texts;
    for (const Message& m : f->table().messages()) CHECK(texts.insert(wire(*f, m.uid)).second);
}

TEST_CASE("facts come from the cache, which APPEND, the first look and copies fill", "[store][maildir][facts]")
{
    Box box;
    box.put("new/1000.a.host", "From: a@b\nSubject: found\n\nbody\n");
    {
        auto f = box.open();
        REQUIRE(f->refresh());
        CHECK(append(*f, "From: a@b\r\nSubject: appended\r\n\r\nbody\r\n") == 2);
        const auto found = f->facts(1);
        REQUIRE(found);
        CHECK((*found)->envelope.find("found") != std::string_view::npos);
        CHECK((*found)->size == 35);
        CHECK((*found)->received == *f->received(1));
        CHECK((*f->facts(1))->preview == "body");
        f->keep_preview(1, "another");
        CHECK((*f->facts(1))->preview == "another");
        CHECK(f->facts(77).error().code == ENOENT);
        REQUIRE(f->apply());
    }
    // Nothing of the mails is read again: their bytes are other ones now.
    for (const auto& name : box.files("cur")) box.put("cur/" + name, "Subject: changed\n\n");
    auto f = box.open();
    REQUIRE(f->refresh());
    CHECK((*f->facts(1))->fields == "From: a@b\r\nSubject: found\r\n");
    CHECK((*f->facts(1))->preview == "another");
    CHECK((*f->facts(2))->preview == "body");
    CHECK((*f->facts(2))->fields == "From: a@b\r\nSubject: appended\r\n");
    CHECK(counts_of(f->table()).messages == 2);
    Box other;
    auto to = other.open();
    REQUIRE(to->refresh());
    REQUIRE(f->copy({1, 2}, *to));
    CHECK((*to->facts(1))->fields == "From: a@b\r\nSubject: found\r\n");
    REQUIRE(f->expunge({1}));
    CHECK_FALSE(f->facts(1));
    // A cache that cannot be is none.
    REQUIRE(std::system(cat("rm ", box.path, "/.veredus/cache && mkdir ", box.path, "/.veredus/cache").c_str()) == 0);
    auto again = box.open();
    REQUIRE(again->refresh());
    CHECK((*again->facts(2))->fields == "Subject: changed\r\n");
    REQUIRE(again->apply());
}

TEST_CASE("facts that are asked for one after the other are read ahead", "[store][maildir][facts]")
{
    Box box;
    constexpr uint32_t mails = 300;
    for (uint32_t n = 1; n <= mails; ++n) box.put(cat("new/", 1000 + n, ".a.host"), cat("Subject: number ", n, ";\n\nbody ", n, '\n'));
    auto f = box.open();
    REQUIRE(f->refresh());
    const auto right = [](Folder& folder, uint32_t uid) {
        const auto facts = folder.facts(uid);
        const std::string size = cat("Subject: number ", uid, ";\r\n\r\nbody ", uid, "\r\n");
        return facts && (*facts)->envelope.find(cat("\"number ", uid, ";\"")) != std::string_view::npos && (*facts)->fields == cat("Subject: number ", uid, ";\r\n") &&
               (*facts)->size == size.size() && (*facts)->received == *folder.received(uid);
    };
    REQUIRE(std::remove(cat(box.path, "/new/1100.a.host").c_str()) == 0);
    REQUIRE(std::rename(cat(box.path, "/new/1120.a.host").c_str(), cat(box.path, "/cur/1120.a.host:2,S").c_str()) == 0);
    for (uint32_t n = 1; n <= 200; ++n) {
        INFO(n);
        if (n == 100) CHECK(f->facts(n).error().code == ENOENT);
        else CHECK(right(*f, n));
    }
    // No previews unless somebody wants them; from then on they come with the rest.
    CHECK_FALSE((*f->facts(150))->preview);
    f->keep_preview(150, "body 150");
    CHECK((*f->facts(150))->preview == "body 150");
    for (uint32_t n = 201; n <= mails; ++n) CHECK(right(*f, n));
    CHECK((*f->facts(mails))->preview == cat("body ", mails));
    REQUIRE(f->apply());
    for (const auto& name : box.files("cur")) box.put("cur/" + name, "Subject: changed\n\n");
    auto again = box.open();
    REQUIRE(again->refresh());
    for (uint32_t n = mails; n > 0; --n) CHECK((n == 100 || right(*again, n)));
    CHECK((*again->facts(150))->preview == "body 150");
}

TEST_CASE("a mail goes over the wire with CRLF, in whatever pieces it is read", "[store][maildir]")
{
    uint64_t seed = 7;
    const auto next = [&](uint64_t below) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        return static_cast<std::size_t>((seed >> 33) % below);
    };
    for (const std::size_t least : {0u, 1u, 15u, 16u, 17u, 40u, 65535u, 65536u, 65537u, 300000u}) {
        std::string stored, expected;
        while (stored.size() < least) stored += next(30) ? std::string(next(40), 'x') : next(3) ? "\r\n" : next(2) ? "\n" : next(2) ? "\r" : "\n\n\r\n";
        if (stored.size() > 65536) stored.replace(65535, 2, "\r\n");          // a CR ends a block, its LF begins the next one
        for (std::size_t i = 0; i < stored.size(); ++i) {
            if (stored[i] == '\n' && (i == 0 || stored[i - 1] != '\r')) expected += '\r';
            expected += stored[i];
        }
        Box box;
        box.put("cur/1000.a.host:2,S", stored);
        auto f = box.open();
        REQUIRE(f->refresh());
        INFO(least);
        for (const bool size_first : {true, false}) {
            auto reader = f->open(1);
            REQUIRE(reader);
            if (size_first) CHECK((*reader)->size().value() == expected.size());
            std::string some;
            for (;;) {
                const auto piece = (*reader)->read_some(some.size(), 1 + next(150000));
                REQUIRE(piece);
                if (piece->empty()) break;
                some += *piece;
            }
            CHECK(some == expected);
            for (int i = 0; i < 20; ++i) {
                const std::size_t at = next(expected.size() + 10), size = next(100000);
                CHECK((*reader)->read(at, size).value() == (at < expected.size() ? expected.substr(at, size) : ""));
            }
            CHECK((*reader)->size().value() == expected.size());
        }
    }
}

namespace {

// As local does it.
std::vector<Delivered> deliver(Maildir& maildir, const std::vector<std::string>& subjects)
{
    std::vector<Content> mails;
    const Fd body(::memfd_create("mail", MFD_CLOEXEC));
    REQUIRE(write_all(body.get(), "body\r\n"));
    for (const auto& subject : subjects) mails.push_back({"", cat("Subject: ", subject, '\n'), body.get(), 0, 6, false, {}});
    return maildir.deliver(mails);
}

}  // namespace

TEST_CASE("a delivery gives UIDs and fills the cache where there is an index", "[store][maildir][delivery]")
{
    Box box;
    auto maildir = Maildir::open(disk::posix_disk(), box.path);
    REQUIRE(maildir);
    CHECK_FALSE(deliver(**maildir, {"before"})[0]);
    CHECK(::access(cat(box.path, "/.veredus").c_str(), F_OK) != 0);     // nobody reads it: no index
    auto f = box.open();
    REQUIRE(f->refresh());
    CHECK(f->table().messages().size() == 1);
    CHECK_FALSE(deliver(**maildir, {"one", "two"})[1]);
    // No scan has been since; each has its number, and its facts need no look at the file.
    auto reader = box.open();
    REQUIRE(reader->table().messages().size() == 3);
    for (const auto& name : box.files("new"))
        if (name.find(",S=") != std::string::npos) box.put("new/" + name, "Subject: changed\n\n");
    CHECK((*reader->facts(2))->fields == "Subject: one\r\n");
    CHECK((*reader->facts(3))->fields == "Subject: two\r\n");
    CHECK((*reader->facts(3))->preview == "body");
    CHECK((*reader->facts(3))->size == 22);
    CHECK((*reader->facts(3))->received == *reader->received(3));
    REQUIRE(f->refresh());
    CHECK(f->table().uidnext() == 4);
    CHECK(f->table().messages().back().modseq == f->table().highest_modseq());
    REQUIRE(f->apply());
    CHECK(box.files("new").empty());
    CHECK_FALSE(deliver(**maildir, {"and"})[0]);
    REQUIRE(f->refresh());
    CHECK(f->wants_apply());
    REQUIRE(f->apply());
    CHECK(box.files("new").empty());
    REQUIRE(f->expunge({4}));
    // Somebody has the index: the mail is delivered, and the next scan numbers it.
    {
        auto dir = disk::posix_disk().open_directory(nullptr, box.path + "/.veredus");
        auto log = UidLog::open(disk::posix_disk(), std::move(*dir), "uidlog", nullptr);
        REQUIRE(log);
        auto change = (*log)->begin();
        CHECK_FALSE(deliver(**maildir, {"three"})[0]);
    }
    CHECK(box.open()->table().messages().size() == 3);
    REQUIRE(f->refresh());
    CHECK(f->table().uidnext() == 6);
    CHECK((*f->facts(5))->fields == "Subject: three\r\n");
    // A torn end is for who reads all of it.
    {
        const Fd log(::open(cat(box.path, "/.veredus/uidlog").c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
        REQUIRE(write_all(log.get(), "\xA7torn"));
    }
    CHECK_FALSE(deliver(**maildir, {"four"})[0]);
    REQUIRE(f->refresh());
    CHECK(f->healed());
    CHECK(f->table().messages().size() == 5);
    CHECK(f->table().messages().back().uid > 5);
}

TEST_CASE("deliveries, a session and a killed session at once: each mail once, each number once", "[store][maildir][delivery][crash]")
{
    Box box;
    {
        auto f = box.open();
        REQUIRE(f->refresh());
    }
    int start[2];
    REQUIRE(::pipe(start) == 0);
    std::vector<pid_t> children;
    for (int child = 0; child < 4; ++child) {
        const pid_t pid = ::fork();
        if (pid == 0) {
            char none = 0;
            ::close(start[1]);
            if (::read(start[0], &none, 1) != 0) ::_exit(5);
            if (child < 2) {
                auto maildir = Maildir::open(disk::posix_disk(), box.path);
                if (!maildir) ::_exit(1);
                for (int i = 0; i < 40; ++i)
                    if (deliver(**maildir, {cat("child ", child, " mail ", i)})[0]) ::_exit(2);
                ::_exit(0);
            }
            auto f = box.open();
            std::set<std::string> seen;
            for (int i = 0; i < 40; ++i) {
                if (!f->refresh()) ::_exit(3);
                std::vector<uint32_t> uids;
                for (const Message& m : f->table().messages()) uids.push_back(m.uid);
                for (const uint32_t uid : uids) {
                    const auto facts = f->facts(uid);
                    if (facts) seen.insert(cat(uid, ' ', (*facts)->fields));
                }
                if (i % 3 == 2 && !f->apply()) ::_exit(4);
                if (child == 3 && i == 20) ::kill(::getpid(), SIGKILL);
            }
            std::set<std::string> numbers;
            for (const auto& each : seen)
                if (!numbers.insert(each.substr(0, each.find(' '))).second) ::_exit(6);      // one number, two mails
            ::_exit(0);
        }
        children.push_back(pid);
    }
    ::close(start[0]);
    ::close(start[1]);
    for (const pid_t pid : children) {
        int status = 0;
        ::waitpid(pid, &status, 0);
        CHECK((WIFSIGNALED(status) || WEXITSTATUS(status) == 0));
    }
    auto f = box.open();
    REQUIRE(f->refresh());
    CHECK(f->table().messages().size() == 80);
    std::vector<uint32_t> uids;
    for (const Message& m : f->table().messages()) uids.push_back(m.uid);
    std::set<std::string> texts;
    for (const uint32_t uid : uids) {
        CHECK(texts.insert(wire(*f, uid)).second);
        const auto facts = f->facts(uid);
        REQUIRE(facts);
        CHECK(wire(*f, uid) == cat((*facts)->fields, "\r\nbody\r\n"));
    }
}
