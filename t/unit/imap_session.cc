// lib/imap's session: scripted clients on a real Maildir, one and several at a time.
#include "t/unit/imap_session.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/imap/pattern.h"
#include "lib/imap/respond.h"
#include "lib/imap/view.h"
#include "lib/store/uid_log.h"

using namespace imap_test;

TEST_CASE("SELECT tells the mailbox, FETCH the messages", "[imap][imap-session][rfc9051-6.3.2]")
{
    Home home;
    Client c(home);
    fill(c, 3);
    play(c, "1C: a SELECT INBOX\n"
            "1S: * FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)\n"
            "1S: * OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] @\n"
            "1S: * 3 EXISTS\n"
            "1S: * 3 RECENT\n"
            "1S: * OK [UNSEEN 1] @\n"
            "1S: * OK [UIDVALIDITY @] @\n"
            "1S: * OK [UIDNEXT 4] @\n"
            "1S: * OK [HIGHESTMODSEQ @] @\n"
            "1S: * OK [MAILBOXID (F@)] @\n"
            "1S: a OK [READ-WRITE] @\n"
            "1C: b FETCH 1,3 (UID FLAGS INTERNALDATE RFC822.SIZE)\n"
            "1S: * 1 FETCH (UID 1 FLAGS (\\Recent) INTERNALDATE \"17-Jul-1996 02:44:25 +0000\" RFC822.SIZE 160)\n"
            "1S: * 3 FETCH (UID 3 FLAGS (\\Recent) INTERNALDATE \"17-Jul-1996 02:44:25 +0000\" RFC822.SIZE 160)\n"
            "1S: b OK done\n"
            "1C: c FETCH 2 ENVELOPE\n"
            "1S: * 2 FETCH (ENVELOPE (\"Wed, 17 Jul 1996 02:23:25 -0700\" \"hello\" ((\"Alice\" NIL \"alice\" "
            "\"example.org\")) "
            "((\"Alice\" NIL \"alice\" \"example.org\")) ((\"Alice\" NIL \"alice\" \"example.org\")) ((NIL NIL \"bob\" "
            "\"example.org\")) NIL NIL "
            "NIL \"<1@example.org>\"))\n"
            "1S: c OK done\n"
            "1C: d FETCH 4 FLAGS\n"
            "1S: d BAD no such message\n"
            "1C: e UID FETCH 4:* FLAGS\n"
            "1S: * 3 FETCH (FLAGS (\\Recent) UID 3)\n"
            "1S: e OK done\n"
            "1C: f UNSELECT\n"
            "1S: f OK closed\n"
            "1C: g FETCH 1 FLAGS\n"
            "1S: g BAD no mailbox is selected\n"
            "1C: h LOGOUT\n"
            "1S: * BYE Logging out\n"
            "1S: h OK Logged out\n");
    CHECK(c.wants == imap::Session::Wants::close);
    CHECK(c.session.logged_out());
}

TEST_CASE("sections of a message", "[imap][imap-session][rfc9051-6.4.5.1]")
{
    Home home;
    Client c(home);
    const std::string inner = "Subject: inner\r\nContent-Type: multipart/alternative; "
                              "boundary=b2\r\n\r\n--b2\r\n\r\nplain\r\n--b2\r\nContent-Type: text/html\r\n"
                              "\r\n<p>\r\n--b2--\r\n";
    const std::string mail = cat("Subject: outer\r\nX-A: 1\r\n folded\r\nContent-Type: multipart/mixed; "
                                 "boundary=b1\r\n\r\npreamble\r\n--b1\r\nContent-Type: "
                                 "text/plain\r\nContent-Transfer-Encoding: "
                                 "base64\r\n\r\naGVsbG8=\r\n--b1\r\nContent-Type: message/rfc822\r\n\r\n",
                                 inner, "--b1--\r\n");
    REQUIRE(c.say(append_command("f", "INBOX", mail)).find("f OK") != std::string::npos);
    (void)c.say("s SELECT INBOX\r\n");
    struct Case {
        const char *item, *answer;
    };
    const Case cases[] = {
        {"BODY.PEEK[1]", "BODY[1] {8}\r\naGVsbG8="},
        {"BODY.PEEK[1]<2.3>", "BODY[1]<2> {3}\r\nVsb"},
        {"BODY.PEEK[1]<20.3>", "BODY[1]<20> {0}\r\n"},
        {"BODY.PEEK[1]<4.4294967295>", "BODY[1]<4> {4}\r\nbG8="},
        {"BODY.PEEK[1.MIME]",
         "BODY[1.MIME] {63}\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n"},
        {"BODY.PEEK[HEADER.FIELDS (x-a)]", "BODY[HEADER.FIELDS (x-a)] {19}\r\nX-A: 1\r\n folded\r\n\r\n"},
        {"BODY.PEEK[HEADER.FIELDS (nothing)]", "BODY[HEADER.FIELDS (nothing)] {2}\r\n\r\n"},
        {"BODY.PEEK[HEADER.FIELDS.NOT (x-a content-type)]",
         "BODY[HEADER.FIELDS.NOT (x-a content-type)] {18}\r\nSubject: outer\r\n\r\n"},
        {"BODY.PEEK[2.HEADER.FIELDS (SUBJECT)]", "BODY[2.HEADER.FIELDS (SUBJECT)] {18}\r\nSubject: inner\r\n\r\n"},
        {"BODY.PEEK[2.1]", "BODY[2.1] {5}\r\nplain"},
        {"BODY.PEEK[2.2]", "BODY[2.2] {3}\r\n<p>"},
        {"BODY.PEEK[2.2.MIME]", "BODY[2.2.MIME] {27}\r\nContent-Type: text/html\r\n\r\n"},
        {"BODY.PEEK[3]", "BODY[3] NIL"},
        {"BODY.PEEK[1.1]", "BODY[1.1] NIL"},
        {"BODY.PEEK[1.HEADER]", "BODY[1.HEADER] NIL"},
        {"BINARY.PEEK[1]", "BINARY[1] {5}\r\nhello"},
        {"BINARY.PEEK[1]<1.2>", "BINARY[1]<1> {2}\r\nel"},
        {"BINARY.SIZE[1]", "BINARY.SIZE[1] 5"},
        {"BODY.PEEK[2.TEXT]<0.4>", "BODY[2.TEXT]<0> {4}\r\n--b2"},
        {"RFC822.HEADER", nullptr},
    };
    for (const Case& t : cases) {
        INFO(t.item);
        const auto got = c.say(cat("a FETCH 1 ", t.item, "\r\n"));
        if (t.answer)
            CHECK(got == cat("* 1 FETCH (", t.answer, ")\r\na OK done\r\n"));
        else
            CHECK(got.starts_with("* 1 FETCH (RFC822.HEADER {"));
    }
    const auto whole = c.say("a FETCH 1 BODY[]\r\n");
    CHECK(whole ==
          cat("* 1 FETCH (BODY[] {", mail.size(), "}\r\n", mail, " FLAGS (\\Seen \\Recent))\r\na OK done\r\n"));
    CHECK(c.say("a FETCH 1 (FLAGS BODY[TEXT]<0.8>)\r\n") ==
          "* 1 FETCH (FLAGS (\\Seen \\Recent) BODY[TEXT]<0> {8}\r\npreamble)\r\na OK done\r\n");
}

TEST_CASE("what one session does the other is told when it may be", "[imap][imap-session][rfc9051-7.5.1]")
{
    Home home;
    Client a(home), b(home);
    fill(a, 4);
    (void)a.say("s SELECT INBOX\r\n");
    (void)b.say("s SELECT INBOX\r\n");
    play({&a, &b}, "1C: a STORE 2,3 +FLAGS (\\Deleted)\n"
                   "1S: * 2 FETCH (FLAGS (\\Deleted \\Recent))\n"
                   "1S: * 3 FETCH (FLAGS (\\Deleted \\Recent))\n"
                   "1S: a OK done\n"
                   "1C: b EXPUNGE\n"
                   "1S: * 3 EXPUNGE\n"
                   "1S: * 2 EXPUNGE\n"
                   "1S: b OK done\n"
                   // not during FETCH by message numbers: they still mean what the client thinks
                   "2C: c FETCH 4 (UID FLAGS)\n"
                   "2S: * 4 FETCH (UID 4 FLAGS ())\n"
                   "2S: c OK done\n"
                   "2C: d FETCH 2 (UID)\n"
                   "2S: d OK [EXPUNGEISSUED] @\n"
                   "2C: e STORE 4 +FLAGS.SILENT (\\Flagged)\n"
                   "2S: e OK done\n"
                   "2C: f NOOP\n"
                   "2S: * 3 EXPUNGE\n"
                   "2S: * 2 EXPUNGE\n"
                   "2S: f OK done\n"
                   "2C: g FETCH 1:* (UID FLAGS)\n"
                   "2S: * 1 FETCH (UID 1 FLAGS ())\n"
                   "2S: * 2 FETCH (UID 4 FLAGS (\\Flagged))\n"
                   "2S: g OK done\n"
                   "1C: h NOOP\n"
                   "1S: * 2 FETCH (FLAGS (\\Flagged \\Recent))\n"
                   "1S: h OK done\n"
                   "2C: i IDLE\n"
                   "2S: + idling\n"
                   "1C: j UID COPY 1 INBOX\n"
                   "1S: * 3 EXISTS\n"
                   "1S: * 3 RECENT\n"
                   "1S: j OK [COPYUID @ 1 5] copied\n"
                   "2I: \n"
                   "2S: * 3 EXISTS\n"
                   "2S: * 0 RECENT\n"
                   "1C: k UID STORE 5 +FLAGS.SILENT ($Junk)\n"
                   "1S: * FLAGS (@$Junk)\n"
                   "1S: k OK done\n"
                   "2I: \n"
                   "2S: * FLAGS (@$Junk)\n"
                   "2S: * 3 FETCH (FLAGS ($Junk))\n"
                   "2C: DONE\n"
                   "2S: i OK idled\n");
}

TEST_CASE("CONDSTORE and QRESYNC", "[imap][imap-session][rfc7162-3.1][rfc7162-3.2.5]")
{
    Home home;
    Client a(home), b(home);
    fill(a, 5);
    play({&a, &b}, "2C: a SELECT INBOX (QRESYNC (1 1))\n"
                   "2S: a BAD ENABLE QRESYNC comes first\n"
                   "2C: b ENABLE QRESYNC\n"
                   "2S: * ENABLED QRESYNC\n"
                   "2S: b OK done\n");
    const auto selected = a.say("s SELECT INBOX (CONDSTORE)\r\n");
    const auto number_after = [&](std::string_view word) {
        const auto at = selected.find(word) + word.size();
        return selected.substr(at, selected.find(']', at) - at);
    };
    const std::string validity = number_after("UIDVALIDITY "), modseq = number_after("HIGHESTMODSEQ ");
    play(a, "1C: a STORE 1 +FLAGS.SILENT (\\Seen)\n"
            "1S: * 1 FETCH (MODSEQ (@))\n"
            "1S: a OK done\n"
            "1C: b UID STORE 2 +FLAGS (\\Deleted)\n"
            "1S: * 2 FETCH (UID 2 FLAGS (\\Deleted \\Recent) MODSEQ (@))\n"
            "1S: b OK done\n");
    play(a, cat("1C: c STORE 1,3 (UNCHANGEDSINCE ", modseq, ") +FLAGS (\\Flagged)\n",
                "1S: * 3 FETCH (FLAGS (\\Flagged \\Recent) MODSEQ (@))\n"
                "1S: c OK [MODIFIED 1] done\n"
                "1C: d UID EXPUNGE 2\n"
                "1S: * 2 EXPUNGE\n"
                "1S: d OK done\n",
                "1C: e FETCH 1:* (FLAGS) (CHANGEDSINCE ", modseq, ")\n",
                "1S: * 1 FETCH (FLAGS (\\Seen \\Recent) MODSEQ (@))\n"
                "1S: * 2 FETCH (FLAGS (\\Flagged \\Recent) MODSEQ (@))\n"
                "1S: e OK done\n"));
    play(b, cat("1C: a SELECT INBOX (QRESYNC (", validity, ' ', modseq, " 1:4))\n",
                "1S: * FLAGS @\n1S: * OK [PERM@\n1S: * 4 EXISTS\n1S: * 0 RECENT\n1S: * OK [UNSEEN 2] @\n1S: * OK "
                "[UIDVALIDITY @\n1S: * OK [UIDNEXT 6] @\n"
                "1S: * OK [HIGHEST@\n1S: * OK [MAILBOXID @\n"
                "1S: * VANISHED (EARLIER) 2\n"
                "1S: * 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ (@))\n"
                "1S: * 2 FETCH (UID 3 FLAGS (\\Flagged) MODSEQ (@))\n"
                "1S: a OK [READ-WRITE] @\n",
                "1C: b UID FETCH 1:5 (FLAGS) (CHANGEDSINCE ", modseq, " VANISHED)\n",
                "1S: * VANISHED (EARLIER) 2\n"
                "1S: * 1 FETCH (FLAGS (\\Seen) UID 1 MODSEQ (@))\n"
                "1S: * 2 FETCH (FLAGS (\\Flagged) UID 3 MODSEQ (@))\n"
                "1S: b OK done\n"));
    play({&a, &b}, "1C: a UID STORE 4:5 +FLAGS.SILENT (\\Deleted)\n"
                   "1S: * 3 FETCH (UID 4 MODSEQ (@))\n"
                   "1S: * 4 FETCH (UID 5 MODSEQ (@))\n"
                   "1S: a OK done\n"
                   "1C: b CLOSE\n"
                   "1S: b OK closed\n"
                   // removals that are owed: the mod-sequence before them
                   "2C: x FETCH 1 MODSEQ\n"
                   "2S: * 1 FETCH (MODSEQ (@))\n"
                   "2S: * OK [HIGHESTMODSEQ @] @\n"
                   "2S: x OK done\n"
                   "2C: c NOOP\n"
                   "2S: * VANISHED 4:5\n"
                   "2S: c OK done\n"
                   "2C: d UID STORE 3 +FLAGS.SILENT (\\Deleted)\n"
                   "2S: * 2 FETCH (UID 3 MODSEQ (@))\n"
                   "2S: d OK done\n"
                   "2C: e EXPUNGE\n"
                   "2S: * VANISHED 3\n"
                   "2S: e OK [HIGHESTMODSEQ @] done\n"
                   "2C: f UID MOVE 1 Trash\n"
                   "2S: * OK [COPYUID @ 1 1] moved\n"
                   "2S: * VANISHED 1\n"
                   "2S: f OK [HIGHESTMODSEQ @] done\n");
}

TEST_CASE("flags that another process changed are told, also when ours come at that moment", "[imap][imap-session]")
{
    Home home;
    Client a(home);
    fill(a, 3);
    (void)a.say("s SELECT INBOX\r\n");
    auto box = store::open_maildir(home.path + "/Maildir");
    REQUIRE(box);
    imap::Account account(std::move(*box));
    imap::Session other(account, home.options, home.clock);
    std::string out;
    for (const char* line : {"1 SELECT INBOX\r\n", "2 STORE 1 +FLAGS.SILENT (\\Seen)\r\n"}) {
        auto wants = other.feed(line, out);
        while (wants == imap::Session::Wants::drain) wants = other.more(out);
    }
    CHECK(out.find("2 OK done") != std::string::npos);
    const std::string told = a.say("a STORE 2 +FLAGS (\\Flagged)\r\n") + a.say("b NOOP\r\n");
    CHECK(told.find("* 1 FETCH (FLAGS (\\Seen") != std::string::npos);
    CHECK(told.find("* 2 FETCH (FLAGS (\\Flagged") != std::string::npos);
}

TEST_CASE("a conditional STORE says MODIFIED, also when other messages are gone", "[imap][imap-session][rfc7162-3.1.3]")
{
    Home home;
    Client a(home), b(home);
    fill(a, 3);
    const auto selected = a.say("s SELECT INBOX (CONDSTORE)\r\n");
    const auto at = selected.find("HIGHESTMODSEQ ") + 14;
    const std::string modseq = selected.substr(at, selected.find(']', at) - at);
    (void)b.say("s SELECT INBOX\r\nb STORE 1 +FLAGS (\\Deleted)\r\nc STORE 2 +FLAGS (\\Answered)\r\nd EXPUNGE\r\n");
    const std::string told = a.say(cat("a STORE 1:3 (UNCHANGEDSINCE ", modseq, ") +FLAGS (\\Flagged)\r\n"));
    CHECK(told.find("a OK [MODIFIED 2] some of the messages are gone") != std::string::npos);
}

TEST_CASE("mailboxes: CREATE, LIST, RENAME, SUBSCRIBE, STATUS, DELETE",
          "[imap][imap-session][rfc9051-6.3.9][rfc5258][rfc5819][rfc6154]")
{
    Home home;
    Client c(home);
    play(c, "1C: a CREATE a.b\n"
            "1S: a OK [MAILBOXID (F@)] created\n"
            "1C: b CREATE a.b\n"
            "1S: b NO [ALREADYEXISTS] @\n"
            "1C: c CREATE a..b\n"
            "1S: c NO [CANNOT] @\n"
            "1C: d LIST \"\" \"\"\n"
            "1S: * LIST (\\Noselect) \".\" \"\"\n"
            "1S: d OK done\n"
            "1C: e LIST \"\" *\n"
            "1S: * LIST (\\HasNoChildren) \".\" \"INBOX\"\n"
            "1S: * LIST (\\HasNoChildren \\Sent) \".\" \"Sent\"\n"
            "1S: * LIST (\\HasNoChildren \\Trash) \".\" \"Trash\"\n"
            "1S: * LIST (\\Noselect \\HasChildren) \".\" \"a\"\n"
            "1S: * LIST (\\HasNoChildren) \".\" \"a.b\"\n"
            "1S: e OK done\n"
            "1C: f LIST \"\" %\n"
            "1S: * LIST (\\HasNoChildren) \".\" \"INBOX\"\n"
            "1S: * LIST (\\HasNoChildren \\Sent) \".\" \"Sent\"\n"
            "1S: * LIST (\\HasNoChildren \\Trash) \".\" \"Trash\"\n"
            "1S: * LIST (\\Noselect \\HasChildren) \".\" \"a\"\n"
            "1S: f OK done\n"
            "1C: g LIST a. %\n"
            "1S: * LIST (\\HasNoChildren) \".\" \"a.b\"\n"
            "1S: g OK done\n"
            "1C: h LIST \"\" inbox\n"
            "1S: * LIST (\\HasNoChildren) \".\" \"INBOX\"\n"
            "1S: h OK done\n"
            "1C: i SUBSCRIBE a.b\n"
            "1S: i OK done\n"
            "1C: j LSUB \"\" %\n"
            "1S: * LSUB () \".\" \"Sent\"\n"
            "1S: * LSUB () \".\" \"Trash\"\n"
            "1S: * LSUB (\\Noselect) \".\" \"a\"\n"
            "1S: j OK done\n"
            "1C: k LSUB \"\" *\n"
            "1S: * LSUB () \".\" \"Sent\"\n"
            "1S: * LSUB () \".\" \"Trash\"\n"
            "1S: * LSUB () \".\" \"a.b\"\n"
            "1S: k OK done\n"
            "1C: l LIST (SUBSCRIBED RECURSIVEMATCH) \"\" %\n"
            "1S: * LIST (\\Subscribed \\HasNoChildren \\Sent) \".\" \"Sent\"\n"
            "1S: * LIST (\\Subscribed \\HasNoChildren \\Trash) \".\" \"Trash\"\n"
            "1S: * LIST (\\NonExistent \\HasChildren) \".\" \"a\" (\"CHILDINFO\" (\"SUBSCRIBED\"))\n"
            "1S: l OK done\n"
            "1C: m LIST (SPECIAL-USE) \"\" *\n"
            "1S: * LIST (\\HasNoChildren \\Sent) \".\" \"Sent\"\n"
            "1S: * LIST (\\HasNoChildren \\Trash) \".\" \"Trash\"\n"
            "1S: m OK done\n"
            "1C: n LIST \"\" (a.b INBOX) RETURN (SUBSCRIBED STATUS (MESSAGES UIDNEXT))\n"
            "1S: * LIST (\\HasNoChildren) \".\" \"INBOX\"\n"
            "1S: * STATUS \"INBOX\" (MESSAGES 0 UIDNEXT 1)\n"
            "1S: * LIST (\\Subscribed \\HasNoChildren) \".\" \"a.b\"\n"
            "1S: * STATUS \"a.b\" (MESSAGES 0 UIDNEXT 1)\n"
            "1S: n OK done\n"
            "1C: o RENAME a c\n"
            "1S: o OK renamed\n"
            "1C: p RENAME c.b a.b\n"
            "1S: p OK renamed\n");
    fill(c, 2, "a.b");
    play(c, "1C: a STATUS a.b (MESSAGES RECENT UIDNEXT UNSEEN DELETED SIZE)\n"
            "1S: * STATUS \"a.b\" (MESSAGES 2 RECENT 2 UIDNEXT 3 UNSEEN 2 DELETED 0 SIZE 320)\n"
            "1S: a OK done\n"
            "1C: b STATUS nowhere (MESSAGES)\n"
            "1S: b NO [NONEXISTENT] @\n"
            "1C: c SELECT nowhere\n"
            "1S: c NO [NONEXISTENT] @\n"
            "1C: d DELETE INBOX\n"
            "1S: d NO [CANNOT] @\n"
            "1C: e DELETE nowhere\n"
            "1S: e NO [NONEXISTENT] @\n"
            "1C: f CREATE R&AOk-sum&AOk-\n"
            "1S: f OK @\n"
            "1C: g LIST \"\" R*\n"
            "1S: * LIST (\\HasNoChildren) \".\" \"R&AOk-sum&AOk-\"\n"
            "1S: g OK done\n"
            "1C: h ENABLE IMAP4rev2\n"
            "1S: * ENABLED IMAP4rev2\n"
            "1S: h OK done\n"
            "1C: i LIST \"\" R*\n"
            "1S: * LIST (\\HasNoChildren) \".\" \"R\xc3\xa9sum\xc3\xa9\"\n"
            "1S: i OK done\n"
            "1C: j NAMESPACE\n"
            "1S: * NAMESPACE ((\"\" \".\")) NIL NIL\n"
            "1S: j OK done\n");
}

TEST_CASE("a mailbox that is renamed or removed under who has it selected", "[imap][imap-session]")
{
    Home home;
    Client a(home), b(home);
    (void)a.say("a CREATE one\r\n");
    fill(a, 2, "one");
    (void)a.say("b SELECT one\r\n");
    play({&a, &b}, "2C: a RENAME one two\n"
                   "2S: a OK renamed\n"
                   "1C: b FETCH 1 UID\n"
                   "1S: * 1 FETCH (UID 1)\n"
                   "1S: b OK done\n"
                   "1C: c FETCH 2 BODY.PEEK[TEXT]<0.8>\n"
                   "1S: * 2 FETCH (BODY[TEXT]<0> {8}\n"
                   "1S: line one)\n"
                   "1S: c OK done\n"
                   "2C: d DELETE two\n"
                   "2S: d OK removed\n"
                   "1C: e NOOP\n"
                   "1S: * BYE @\n");
    CHECK(a.wants == imap::Session::Wants::close);
}

TEST_CASE("APPENDs of several sessions that come at once go in together, in their order", "[imap][imap-session]")
{
    Home home;
    Client a(home), b(home);
    auto leaves = std::make_unique<Client>(home);
    std::string out;
    for (Client* c : {&a, leaves.get(), &b}) {
        c->wants = c->session.feed("t APPEND INBOX {5+}\r\none\r\n (\\Flagged) {5+}\r\ntwo\r\n\r\n", out);
        CHECK(c->wants == imap::Session::Wants::drain);
        CHECK(out.empty());
    }
    leaves.reset();
    CHECK(b.session.more(out) == imap::Session::Wants::input);
    CHECK(fits("t OK [APPENDUID @ 3:4] appended", out.substr(0, out.find('\r'))));
    out.clear();
    CHECK(a.session.more(out) == imap::Session::Wants::input);
    CHECK(fits("t OK [APPENDUID @ 1:2] appended", out.substr(0, out.find('\r'))));
    CHECK(a.say("s STATUS INBOX (MESSAGES)\r\n").find(" (MESSAGES 4)\r\n") != std::string::npos);
}

TEST_CASE("of APPENDs that go in together one whose draft is swept away fails alone", "[imap][imap-session]")
{
    Home home;
    Client a(home), b(home);
    std::string out;
    (void)a.session.feed("t APPEND INBOX {5+}\r\none\r\n\r\n", out);
    REQUIRE(std::system(cat("rm ", home.path, "/Maildir/tmp/*").c_str()) == 0);
    (void)b.session.feed("t APPEND INBOX {5+}\r\ntwo\r\n\r\n", out);
    CHECK(out.empty());
    CHECK(b.session.more(out) == imap::Session::Wants::input);
    CHECK(fits("t OK [APPENDUID @ 1] appended", out.substr(0, out.find('\r'))));
    out.clear();
    CHECK(a.session.more(out) == imap::Session::Wants::input);
    CHECK(fits("t NO @", out.substr(0, out.find('\r'))));
    CHECK(a.say("s STATUS INBOX (MESSAGES)\r\n").find(" (MESSAGES 1)\r\n") != std::string::npos);
}

TEST_CASE("APPEND, MULTIAPPEND, REPLACE, COPY, MOVE", "[imap][imap-session][rfc3502][rfc8508][rfc6851][rfc4315]")
{
    Home home;
    Client c(home);
    (void)c.say("s SELECT INBOX\r\n");
    play(c, "1C: a APPEND INBOX (\\Seen $Mine) {5+}\n"
            "1C: one\n"
            "1C: \n"
            "1S: * 1 EXISTS\n"
            "1S: * 1 RECENT\n"
            "1S: * FLAGS (@$Mine)\n"
            "1S: a OK [APPENDUID @ 1] appended\n"
            "1C: b APPEND INBOX {5+}\n"
            "1C: two\n"
            "1C:  (\\Flagged) \" 1-Jan-2020 00:00:00 +0100\" {7+}\n"
            "1C: three\n"
            "1C: \n"
            "1S: * 3 EXISTS\n"
            "1S: * 3 RECENT\n"
            "1S: b OK [APPENDUID @ 2:3] appended\n"
            "1C: c FETCH 1:3 (FLAGS INTERNALDATE)\n"
            "1S: * 1 FETCH (FLAGS (\\Seen \\Recent $Mine) INTERNALDATE \"@ +0000\")\n"
            "1S: * 2 FETCH (FLAGS (\\Recent) INTERNALDATE \"@ +0000\")\n"
            "1S: * 3 FETCH (FLAGS (\\Flagged \\Recent) INTERNALDATE \"31-Dec-2019 23:00:00 +0000\")\n"
            "1S: c OK done\n"
            "1C: d APPEND nowhere {5+}\n"
            "1C: four\n"
            "1C: \n"
            "1S: d NO [TRYCREATE] no such mailbox\n"
            "1C: e APPEND INBOX {9000000}\n"
            "1S: e NO [TOOBIG] @\n"
            "1C: f UID REPLACE 2 INBOX {5+}\n"
            "1C: new\n"
            "1C: \n"
            "1S: * OK [APPENDUID @ 4] appended\n"
            "1S: * 2 EXPUNGE\n"
            "1S: * 3 EXISTS\n"
            "1S: * 3 RECENT\n"
            "1S: f OK replaced\n"
            "1C: g MOVE 1,3 Trash\n"
            "1S: * OK [COPYUID @ 1,4 1:2] moved\n"
            "1S: * 3 EXPUNGE\n"
            "1S: * 1 EXPUNGE\n"
            "1S: g OK done\n"
            "1C: h COPY 1 nowhere\n"
            "1S: h NO [TRYCREATE] no such mailbox\n"
            "1C: i UID COPY 99 Trash\n"
            "1S: i OK nothing to do\n"
            "1C: j UID MOVE 3 INBOX\n"
            "1S: * OK [COPYUID @\n1S: * 1 EXPUNGE\n1S: * 1 EXISTS\n1S: * 1 RECENT\n1S: j OK done\n"
            "1C: k EXAMINE Trash\n"
            "1S: * OK [CLOSED] @\n1S: * FLAGS @\n1S: * OK [PERMANENTFLAGS ()] @\n1S: * 2 EXISTS\n1S: * 2 RECENT\n1S: * "
            "OK [UNSEEN @\n1S: * OK [UIDV@\n"
            "1S: * OK [UIDNEXT 3] @\n1S: * OK [HIGH@\n1S: * OK [MAILBOXID @\n1S: k OK [READ-ONLY] @\n"
            "1C: l STORE 1 +FLAGS (\\Seen)\n"
            "1S: l NO [READ-ONLY] @\n"
            "1C: m FETCH 1:2 BODY[TEXT]\n"
            "1S: * 1 FETCH (BODY[TEXT] {5}\n"
            "1S: one\n"
            "1S: )\n"
            "1S: * 2 FETCH (BODY[TEXT] {5}\n"
            "1S: new\n"
            "1S: )\n"
            "1S: m OK done\n");
    CHECK(c.session.tally().trashed == 2);
    CHECK(c.session.tally().expunged == 4);
}

namespace {

// Mails that another program put there.
void put_files(const Home& home, unsigned count)
{
    for (unsigned i = 1; i <= count; ++i) {
        const Fd file(::open(cat(home.path, "/Maildir/cur/", i, ".M", i, ".host:2,").c_str(),
                             O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        REQUIRE(write_all(file.get(), "Subject: x\n\n"));
    }
}

std::size_t open_files()
{
    std::size_t out = 0;
    for (int fd = 0; fd < 1024; ++fd) out += ::fcntl(fd, F_GETFD) >= 0;
    return out;
}

} // namespace

TEST_CASE("a keyword that there is no room for is refused, never dropped", "[imap][imap-session][rfc9051-7.1]")
{
    for (const bool mbox : {false, true}) {
        INFO(mbox);
        Home home(mbox);
        Client a(home);
        fill(a, 1);
        fill(a, 1, "Sent");
        std::string all;
        for (int i = 0; i < 64; ++i) append(all, i ? " " : "", "k", i);
        CHECK(a.say(cat("a SELECT Sent\r\nb STORE 1 FLAGS.SILENT (", all, ")\r\n")).find("b OK") != std::string::npos);
        CHECK(a.say("c SELECT INBOX\r\n").find(" \\*)]") != std::string::npos);
        const auto full = a.say("d SELECT Sent\r\n");
        CHECK(full.find("k63)]") != std::string::npos);
        CHECK(full.find("\\*") == std::string::npos);
        const auto refused = a.say(append_command("e", "Sent", simple_mail, "(k7 new)"));
        CHECK(refused.find("e NO [LIMIT] ") != std::string::npos);
        play(a, "1C: f STATUS Sent (MESSAGES)\n"
                "1S: * STATUS \"Sent\" (MESSAGES 1)\n"
                "1S: f OK done\n");
        CHECK(a.say(append_command("g", "Sent", simple_mail, "(K7)")).find("g OK") != std::string::npos);
        CHECK(a.say("h SELECT INBOX\r\ni STORE 1 FLAGS.SILENT (other)\r\n").find("i OK") != std::string::npos);
        play(a, "1C: j COPY 1 Sent\n"
                "1S: j NO [LIMIT] @\n"
                "1C: k MOVE 1 Sent\n"
                "1S: k NO [LIMIT] @\n"
                "1C: l STATUS Sent (MESSAGES)\n"
                "1S: * STATUS \"Sent\" (MESSAGES 2)\n"
                "1S: l OK done\n"
                "1C: m STATUS INBOX (MESSAGES)\n"
                "1S: * STATUS \"INBOX\" (MESSAGES 1)\n"
                "1S: m OK done\n");
    }
}

TEST_CASE("COPY and MOVE of many go in pieces; a COPY that breaks off leaves nothing",
          "[imap][imap-session][rfc9051-6.4.7][rfc6851-3.3]")
{
    Home home;
    put_files(home, 2'100);
    Client b(home);
    {
        Client a(home);
        a.say("a SELECT INBOX\r\n");
        std::string out;
        CHECK(a.session.feed("b COPY 1:* Sent\r\n", out) == imap::Session::Wants::drain);
        CHECK(out.empty());
        play(b, "1C: a STATUS INBOX (MESSAGES)\n" // its turn
                "1S: * STATUS \"INBOX\" (MESSAGES 2100)\n"
                "1S: a OK done\n");
        CHECK(b.say("b STATUS Sent (MESSAGES)\r\n").find("MESSAGES 2000") != std::string::npos);
    } // the client goes
    CHECK(b.say("c STATUS Sent (MESSAGES)\r\n").find("MESSAGES 0)") != std::string::npos);
    const auto copied = b.say("d SELECT INBOX\r\ne COPY 1:* Sent\r\n");
    CHECK(fits("e OK [COPYUID @ 1:2100 2001:4100] copied", lines_of(copied).back()));
    const auto moved = b.say("f UID MOVE 1:* Trash\r\n");
    CHECK(fits("* OK [COPYUID @ 1:2100 1:2100] moved", lines_of(moved).front()));
    CHECK(lines_of(moved).size() == 2'102);
    CHECK(b.say("g STATUS INBOX (MESSAGES)\r\n").find("MESSAGES 0)") != std::string::npos);
    // Their names get their flags in pieces, too.
    CHECK(b.say("h SELECT Trash\r\ni STORE 1:* +FLAGS.SILENT (\\Flagged)\r\n").find("i OK") != std::string::npos);
    CHECK(home.account->tidy(false));
    CHECK_FALSE(home.account->tidy(false));
}

TEST_CASE("EXPUNGE and CLOSE of many go in pieces, and take what is \\Deleted by then", "[imap][imap-session][rfc9051-6.4.3]")
{
    for (const bool close : {false, true}) {
        INFO(close);
        Home home;
        put_files(home, 4'100);
        Client a(home), b(home);
        (void)a.say("a SELECT INBOX\r\n");
        (void)b.say("a SELECT INBOX\r\n");
        CHECK(a.say("b STORE 1:4090 +FLAGS.SILENT (\\Deleted)\r\n").find("b OK") != std::string::npos);
        std::string out;
        CHECK(a.session.feed(close ? "c CLOSE\r\n" : "c EXPUNGE\r\n", out) == imap::Session::Wants::drain);
        CHECK(out.empty());
        // Its turn: half is gone, and the last one is wanted after all.
        CHECK(b.say("c STATUS INBOX (MESSAGES)\r\n").find("MESSAGES 2100)") != std::string::npos);
        CHECK(b.say("d STORE 2090 -FLAGS.SILENT (\\Deleted)\r\n").find("d OK") != std::string::npos);
        const auto wants = a.say("");
        std::string all;
        for (auto more = a.session.more(all); more == imap::Session::Wants::drain;) more = a.session.more(all);
        all = wants + all;
        CHECK(lines_of(all).back() == (close ? "c OK closed" : "c OK done"));
        std::size_t expunges = 0;
        for (const auto& line : lines_of(all)) expunges += line.ends_with(" EXPUNGE");
        CHECK(expunges == (close ? 0 : 4'089));
        CHECK(b.say("e STATUS INBOX (MESSAGES)\r\n").find("MESSAGES 11)") != std::string::npos);
        CHECK(a.say("f EXAMINE INBOX\r\n").find("* 11 EXISTS") != std::string::npos);
    }
}

TEST_CASE("RENAME of INBOX moves its messages in pieces, and INBOX stays", "[imap][imap-session][rfc9051-6.3.6]")
{
    Home home;
    put_files(home, 2'100);
    Client a(home), b(home);
    (void)b.say("a SELECT INBOX\r\n");
    std::string out;
    CHECK(a.session.feed("a RENAME inbox Old\r\n", out) == imap::Session::Wants::drain);
    // Its turn; what comes meanwhile comes to INBOX.
    CHECK(out.empty());
    CHECK(b.say("b STATUS Old (MESSAGES)\r\n").find("MESSAGES 2000)") != std::string::npos);
    CHECK(b.say(append_command("c", "INBOX", simple_mail)).find("* 101 EXISTS") != std::string::npos);
    CHECK(a.say("") == "a OK renamed\r\n");
    CHECK(lines_of(b.say("n NOOP\r\n")).size() == 101);
    play({&a, &b}, "2C: d UID FETCH 1:* UID\n"
                   "2S: * 1 FETCH (UID 2101)\n"
                   "2S: d OK done\n"
                   "1C: b STATUS Old (MESSAGES UIDNEXT)\n"
                   "1S: * STATUS \"Old\" (MESSAGES 2100 UIDNEXT 2101)\n"
                   "1S: b OK done\n"
                   "1C: c RENAME INBOX Old\n"
                   "1S: c NO [ALREADYEXISTS] @\n"
                   "1C: d RENAME INBOX inbox\n"
                   "1S: d NO [ALREADYEXISTS] @\n"
                   "1C: e RENAME Old INBOX\n"
                   "1S: e NO [ALREADYEXISTS] @\n"
                   "1C: f STATUS INBOX (MESSAGES)\n"
                   "1S: * STATUS \"INBOX\" (MESSAGES 1)\n"
                   "1S: f OK done\n");
}

TEST_CASE("RENAME of an INBOX that is empty, selected or an mbox", "[imap][imap-session][rfc9051-6.3.6]")
{
    for (const bool mbox : {false, true}) {
        INFO(mbox);
        Home home(mbox);
        Client a(home);
        play(a, "1C: a RENAME INBOX none\n"
                "1S: a OK renamed\n"
                "1C: b STATUS none (MESSAGES)\n"
                "1S: * STATUS \"none\" (MESSAGES 0)\n"
                "1S: b OK done\n");
        fill(a, 3);
        (void)a.say("c SELECT INBOX\r\n");
        play(a, "1C: d RENAME INBOX three\n"
                "1S: * 3 EXPUNGE\n"
                "1S: * 2 EXPUNGE\n"
                "1S: * 1 EXPUNGE\n"
                "1S: d OK renamed\n"
                "1C: e STATUS three (MESSAGES)\n"
                "1S: * STATUS \"three\" (MESSAGES 3)\n"
                "1S: e OK done\n");
    }
}

TEST_CASE("a RENAME of INBOX whose process is killed between two pieces loses and doubles nothing",
          "[imap][imap-session][rfc9051-6.3.6][crash]")
{
    Home home;
    put_files(home, 2'100);
    const pid_t child = ::fork();
    if (child == 0) {
        Client a(home);
        std::string out;
        if (a.session.feed("a RENAME INBOX Old\r\n", out) == imap::Session::Wants::drain) ::kill(::getpid(), SIGKILL);
        ::_exit(1);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status));
    home.reopen();
    Client b(home);
    CHECK(b.say("a STATUS Old (MESSAGES)\r\n").find("MESSAGES 2000)") != std::string::npos);
    CHECK(b.say("b STATUS INBOX (MESSAGES)\r\n").find("MESSAGES 100)") != std::string::npos);
}

TEST_CASE("what a client began that has gone is done to its end, unless it is taken back", "[imap][imap-session]")
{
    for (const char* command : {"EXPUNGE", "CLOSE", "UID MOVE 1:* Old", "RENAME INBOX New", "UID COPY 1:* Old", "UID FETCH 1:* BODY.PEEK[]"}) {
        INFO(command);
        const std::string_view word = command;
        const bool copy = word.find("COPY") != std::string_view::npos, fetch = word.find("FETCH") != std::string_view::npos;
        Home home;
        put_files(home, 2'100);
        Client b(home);
        (void)b.say("a CREATE Old\r\n");
        {
            Client a(home);
            CHECK(a.say("a SELECT INBOX\r\nb STORE 1:* +FLAGS.SILENT (\\Deleted)\r\n").find("b OK") != std::string::npos);
            std::string out;
            CHECK(a.session.feed(cat("c ", command, "\r\nd CREATE never\r\n"), out) == imap::Session::Wants::drain);
            int turns = 0;
            while (a.session.go_on_alone()) ++turns;
            CHECK(turns == 0);                               // one piece was left, if any
        }
        CHECK(b.say("c STATUS INBOX (MESSAGES)\r\n").find(copy || fetch ? "MESSAGES 2100)" : "MESSAGES 0)") != std::string::npos);
        const std::string moved = b.say("d STATUS Old (MESSAGES)\r\n");
        CHECK(moved.find(word.find("MOVE") != std::string_view::npos ? "MESSAGES 2100)" : "MESSAGES 0)") != std::string::npos);
        CHECK(b.say("e STATUS never (MESSAGES)\r\n").find("e NO [NONEXISTENT]") != std::string::npos);
    }
}

TEST_CASE("an answer that runs when the mailbox is numbered anew ends, and tells nothing of the other messages",
          "[imap][imap-session][rfc9051-2.3.1.1]")
{
    for (const char* command : {"FETCH 1:* (FLAGS BODY.PEEK[HEADER])", "UID FETCH 1:* (UID FLAGS BODY[])", "STORE 1:* +FLAGS (mine)", "SEARCH TEXT nowhere",
                                "SORT (SUBJECT) UTF-8 ALL", "EXPUNGE"}) {
        for (const bool removed : {false, true}) {
            INFO(command << ' ' << removed);
            Home home;
            const std::string in = home.path + "/Maildir/.Box/";
            Client a(home), b(home);
            (void)a.say("a CREATE Box\r\n");
            const std::string padding(60, 'x');
            // STORE's answer is long enough for two pieces, EXPUNGE does 2,000 at a time; of the others each turn is one message.
            const int count = std::string_view(command).starts_with("STORE") ? 1'600 : std::string_view(command) == "EXPUNGE" ? 2'050 : 60;
            for (int i = 0; i < count; ++i) {
                const Fd file(::open(cat(in, "cur/", 1'700'000'000 + i, ".m", i, ":2,T").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
                REQUIRE(write_all(file.get(), cat("Subject: old ", i, '\n', padding, ": x\n\ntext\n")));
            }
            (void)a.say("b SELECT Box\r\n");
            (void)b.say("b SELECT Box\r\n");
            std::string out;
            home.clock.step = 30'000;
            REQUIRE(a.session.feed(cat("c ", command, "\r\n"), out) == imap::Session::Wants::drain);
            home.clock.step = 0;
            if (removed) {
                CHECK(b.say("c UNSELECT\r\nd DELETE Box\r\n").find("d OK") != std::string::npos);
            } else {
                // Another program puts other mails there and removes the index; the other session looks.
                REQUIRE(std::system(cat("rm -r ", in, "cur/* ", in, ".veredus/*").c_str()) == 0);
                const std::string more = cat("for i in $(seq 1500000000 1500000050); do echo 'Subject: fresh' >", in, "cur/$i.n$i:2,FRS; done");
                REQUIRE(std::system(more.c_str()) == 0);
                (void)b.say("c NOOP\r\n");
            }
            std::string rest;
            for (auto wants = a.session.more(rest); wants == imap::Session::Wants::drain;) wants = a.session.more(rest);
            INFO(rest.substr(0, 300) << " ... " << rest.substr(rest.size() > 300 ? rest.size() - 300 : 0));
            CHECK(rest.find("Answered") == std::string::npos);
            CHECK(rest.find("fresh") == std::string::npos);
            const std::string last = lines_of(rest).back();
            CHECK(fits(std::string_view(command).starts_with("STORE") ? "c OK@" : removed ? "c NO [NONEXISTENT]@" : "c NO [UNAVAILABLE]@", last));
            CHECK(a.say("d NOOP\r\n").starts_with("* BYE"));
        }
    }
}

TEST_CASE("an index directory that goes under a session costs numbers, and nothing that was acknowledged", "[imap][imap-session]")
{
    for (const bool mbox : {false, true})
        for (const std::string_view command : {"NOOP", "STORE 1 +FLAGS (\\Flagged)", "COPY 1 Sent", "MOVE 1 Sent", "EXPUNGE", "APPEND", "FETCH 2 BODY[]", "CHECK", "CLOSE", "SEARCH ALL"}) {
            INFO(command << ' ' << mbox);
            Home home(mbox);
            {
                Client a(home);
                fill(a, 3);
                (void)a.say("s SELECT INBOX\r\nt STORE 3 +FLAGS (\\Deleted)\r\n");
                REQUIRE(std::system(cat("rm -r ", home.path, mbox ? "/.veredus" : "/Maildir/.veredus").c_str()) == 0);
                const std::string answer = a.say(command == "APPEND" ? append_command("c", "INBOX", simple_mail) : cat("c ", command, "\r\n"));
                INFO(answer);
                const bool done = answer.find("c OK") != std::string::npos;
                CHECK((done || answer.find("c NO [") != std::string::npos || answer.find("* BYE ") != std::string::npos));
                (void)a.say("d NOOP\r\n");
                home.reopen(mbox); // as the next process
                Client b(home);
                std::string now = b.say("s SELECT INBOX\r\nf FETCH 1:* (FLAGS)\r\n");
                INFO(now);
                const bool takes = command == "MOVE 1 Sent" || command == "EXPUNGE" || command == "CLOSE", gives = command == "APPEND";
                const auto exists = [&](int n) { return now.find(cat("* ", n, " EXISTS")) != std::string::npos; };
                if (done) CHECK(exists(takes ? 2 : gives ? 4 : 3));
                // What was refused may be half done, if that is seen.
                else CHECK((exists(3) || (takes && exists(2)) || (gives && exists(4))));
                if (done && command.starts_with("STORE")) CHECK(now.find("\\Flagged") != std::string::npos);
                if (done && (command == "COPY 1 Sent" || command == "MOVE 1 Sent"))
                    CHECK(b.say("g STATUS Sent (MESSAGES)\r\n").find("MESSAGES 1)") != std::string::npos);
                CHECK(b.say("h STORE 1 +FLAGS (\\Answered)\r\n").find("h OK") != std::string::npos);
            }
        }
}

TEST_CASE("binary parts of a literal8 are kept byte by byte, as base64", "[imap][imap-session][rfc3516-4.4]")
{
    using namespace std::string_literals;
    const std::string body = "\0-\xe4\n\r\n\nx\r\r\n"s;
    const std::string parts = cat("From: a@example.org\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: binary\r\n"
                                  "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nplain\r\n--b\r\n"
                                  "Content-Transfer-Encoding: binary\r\nContent-Type: text/plain\r\n\r\n",
                                  body, "\r\n--b--\r\n");
    const std::string single =
        cat("MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n",
            body);
    for (const bool mbox : {false, true}) {
        INFO(mbox);
        Home home(mbox);
        Client a(home);
        CHECK(a.say(cat("a APPEND INBOX ~{", parts.size(), "+}\r\n", parts, " ~{", single.size(), "+}\r\n", single,
                        "\r\n"))
                  .find("a OK [APPENDUID ") != std::string::npos);
        const auto said =
            a.say("b SELECT INBOX\r\nc FETCH 1:2 (BINARY.SIZE[1] BINARY.SIZE[2] BINARY.PEEK[2] BINARY.PEEK[1])\r\n");
        INFO(printable(said, 4000));
        CHECK(said.find(cat("* 1 FETCH (BINARY.SIZE[1] 5 BINARY.SIZE[2] ", body.size(), " BINARY[2] ~{", body.size(),
                            "}\r\n", body, " BINARY[1] {5}\r\nplain)")) != std::string::npos);
        CHECK(said.find(cat("* 2 FETCH (BINARY.SIZE[1] ", body.size(), " ")) != std::string::npos);
        CHECK(said.find(cat(" BINARY[1] ~{", body.size(), "}\r\n", body, ")\r\n")) != std::string::npos);
        const auto stored = a.say("d FETCH 1 BODY.PEEK[]\r\n");
        CHECK(stored.find("\r\nContent-Transfer-Encoding: 8bit\r\n") != std::string::npos);
        CHECK(stored.find("\r\nContent-Transfer-Encoding: base64\r\n") != std::string::npos);
        CHECK(stored.find('\0') == std::string::npos);
    }
}

TEST_CASE("messages of one APPEND hold few descriptors", "[imap][imap-session][rfc3502]")
{
    for (const bool mbox : {false, true}) {
        INFO(mbox);
        Home home(mbox);
        Client a(home);
        fill(a, 1);
        const std::size_t before = open_files();
        std::string command = "b APPEND INBOX";
        for (int i = 0; i < 100; ++i) append(command, " {", simple_mail.size(), "+}\r\n", simple_mail);
        CHECK(a.say(command).empty());
        CHECK(open_files() <= before + 12);
        CHECK(a.say("\r\n").find("b OK [APPENDUID ") != std::string::npos);
        const auto text = a.say("c SELECT INBOX\r\nd FETCH 2,101 RFC822\r\n");
        CHECK(text.find("* 101 FETCH (RFC822 {" + std::to_string(simple_mail.size()) + "}\r\n" +
                        std::string(simple_mail)) != std::string::npos);
        CHECK(a.say("e COPY 1:* Sent\r\n").find("e OK [COPYUID") != std::string::npos);
        CHECK(open_files() <= before + 24);
    }
}

TEST_CASE("QRESYNC's pairs shorten what is not remembered, and nothing of a saved result vanished",
          "[imap][imap-session][rfc7162-3.2.5.2][rfc7162-3.2.6][rfc5182-2.1]")
{
    Home home;
    std::string validity;
    {
        Client a(home);
        fill(a, 3);
        a.say("a SELECT INBOX\r\nb STORE 2 +FLAGS.SILENT (\\Deleted)\r\nc EXPUNGE\r\n");
        validity = std::to_string(a.session.open_folder()->table().uidvalidity());
    }
    home.account.reset();
    {
        // More holes than are remembered.
        auto dir = disk::posix_disk().open_directory(nullptr, home.path + "/Maildir/.veredus");
        REQUIRE(dir);
        auto log = store::UidLog::open(disk::posix_disk(), std::move(*dir), "uidlog",
                                       [](auto) -> Result<store::Seed> { return fail("no"); });
        REQUIRE(log);
        auto change = (*log)->begin();
        REQUIRE((change && *change));
        std::vector<store::UidRange> holes;
        for (uint32_t uid = 11; holes.size() <= store::max_vanished; uid += 2) holes.push_back({uid, uid});
        (*change)->vanish(holes);
        REQUIRE((*change)->commit());
    }
    home.reopen();
    Client a(home);
    a.say("a ENABLE QRESYNC\r\n");
    const auto vanished = [&](std::string_view more) {
        const auto said = a.say(cat("b SELECT INBOX (QRESYNC (", validity, " 1", more, "))\r\n"));
        std::string out;
        for (const auto& line : lines_of(said))
            if (line.starts_with("* VANISHED")) append(out, line.substr(2), '|');
        INFO(said);
        CHECK(said.find("\r\nb OK") != std::string::npos);
        return out;
    };
    CHECK(vanished("") == "VANISHED (EARLIER) 2,4:65547|");
    CHECK(vanished(" 1:3000 (1:2 1,3)") == "VANISHED (EARLIER) 4:3000|");
    CHECK(vanished(" (2 3)") == "VANISHED (EARLIER) 4:65547|");
    CHECK(vanished(" (1:2 1:2)") == "VANISHED (EARLIER) 2,4:65547|"); // number 2 was UID 2: only 1 is as it was
    CHECK(vanished(" (1,1:4294967295 1:4294967295)") == "VANISHED (EARLIER) 2,4:65547|");
    // A message that goes leaves "$" (RFC 5182 §2.1).
    a.say(
        "c SELECT INBOX\r\nd UID SEARCH RETURN (SAVE) UID 1:3\r\ne STORE 1 +FLAGS.SILENT (\\Deleted)\r\nf EXPUNGE\r\n");
    const auto saved = a.say("g UID FETCH $ (FLAGS) (CHANGEDSINCE 1 VANISHED)\r\n");
    CHECK(saved.starts_with("* 1 FETCH (FLAGS () UID 3 "));
    CHECK(a.say("h UID FETCH 1:3 (FLAGS) (CHANGEDSINCE 1 VANISHED)\r\n").starts_with("* VANISHED (EARLIER) 1:2\r\n"));
}

TEST_CASE("what RFC 9051 changed is so once IMAP4rev2 is enabled, and as before where it is not", "[imap][imap-session][rfc9051-E]")
{
    const std::string mail =
        "From: \"Jörg Groß\" <joerg@example.org>\r\nTo: list@example.org\r\nSubject: Grüße aus Köln\r\n"
        "Message-ID: <e@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        "--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nsubstrings here\r\n"
        "--b\r\nContent-Type: application/octet-stream; name*0=\"a long\"; name*1=\" name\"\r\n"
        "Content-Disposition: attachment; filename*0*=utf-8''Gr%C3%BC; filename*1*=%C3%9Fe;\r\n filename*2=\".bin\"\r\n"
        "Content-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--b--\r\n";
    struct Case {
        const char* item;                         // of the appendix
        const char* commands;                     // of rev2, in lines
        std::vector<const char*> said, unsaid;    // '@' within a line
        std::vector<const char*> before = {};     // that rev1 says to the same
    };
    const Case cases[] = {
        {"1: 64 bits", "a FETCH 1 BODY.PEEK[]<4294967296.4294967296>\nb SEARCH LARGER 5000000000\n",
         {"* 1 FETCH (BODY[]<4294967296> {0}", "a OK@", "b OK@"}, {}},
        {"2: NAMESPACE", "a NAMESPACE\n", {"* NAMESPACE ((\"\" \".\")) NIL NIL"}, {}},
        {"2: UIDPLUS", "a APPEND Sent {7+}\nx: y\r\n\r\n\n", {"a OK [APPENDUID @ 1]@"}, {}},
        {"2: SEARCHRES", "a SEARCH RETURN (SAVE) ALL\nb FETCH $ UID\n", {"* 1 FETCH (UID 1)", "b OK@"}, {"* ESEARCH@"}},
        {"2: LIST-EXTENDED, LIST-STATUS", "a LIST (SUBSCRIBED) \"\" (\"IN%\" \"S%\") RETURN (CHILDREN STATUS (MESSAGES))\n",
         {"* LIST (@\\Subscribed@) \".\" \"Sent\"", "* STATUS \"Sent\" (MESSAGES 0)", "a OK@"}, {}},
        {"2: BINARY", "a FETCH 1 (BINARY.SIZE[2] BINARY.PEEK[1])\n", {"* 1 FETCH (BINARY.SIZE[2] 3 BINARY[1] {15}", "substrings here)"}, {}},
        {"2: UNSELECT, IDLE", "a IDLE\nDONE\nb UNSELECT\n", {"+ idling", "a OK@", "b OK@"}, {}},
        {"3: STATUS", "a STATUS INBOX (SIZE DELETED)\n", {"* STATUS \"INBOX\" (DELETED 0 SIZE @)"}, {}},
        {"4: ESEARCH", "a SEARCH ALL\nb UID SEARCH SEEN\n", {"* ESEARCH (TAG \"a\") ALL 1", "* ESEARCH (TAG \"b\") UID"}, {"* SEARCH@"},
         {"* SEARCH 1", "* SEARCH"}},
        {"5: substrings", "a SEARCH TO LIST BODY STRINGS SUBJECT \"köl\"\nb SEARCH KEYWORD $Wor\n", {"* ESEARCH (TAG \"a\") ALL 1", "* ESEARCH (TAG \"b\")"}, {}},
        {"6: parameters in pieces", "a FETCH 1 BODYSTRUCTURE\n", {"@\"name\" \"a long name\"@", "@\"filename*\" \"utf-8''Gr%C3%BC%C3%9Fe.bin\"@"}, {"@*0@"}},
        {"7: COPYUID", "a MOVE 1 INBOX\nb UID MOVE 2 INBOX\n", {"* OK [COPYUID @ 1 2]@", "* OK [COPYUID @ 2 3]@", "* 1 EXPUNGE", "a OK@"}, {}},
        {"8: TRYCREATE", "a COPY 1 Nowhere\nb MOVE 1 Nowhere\nc APPEND Nowhere {7+}\nx: y\r\n\r\n\nd STATUS Nowhere (MESSAGES)\n",
         {"a NO [TRYCREATE]@", "b NO [TRYCREATE]@", "c NO [TRYCREATE]@", "d NO [NONEXISTENT]@"}, {}},
        {"9: CLOSED", "a SELECT Sent\n", {"* OK [CLOSED]@"}, {}},
        {"10: LIST", "a EXAMINE inbox\nb SELECT Sent\n", {"* LIST (@) \".\" \"INBOX\"", "* LIST (@) \".\" \"Sent\""}, {}, {"a OK@"}},
        {"11: UNSEEN", "a SELECT INBOX\n", {"* 1 EXISTS"}, {"* OK [UNSEEN@"}, {"* OK [UNSEEN 1]@"}},
        {"12: RECENT", "a SELECT INBOX\nb FETCH 1 FLAGS\nc APPEND INBOX {7+}\nx: y\r\n\r\n\nd NOOP\n", {"* 2 EXISTS", "* 1 FETCH (FLAGS ()@"},
         {"* @ RECENT", "@\\Recent@"}, {"* @ RECENT"}},
        {"13, 15: keywords", "a STORE 1 FLAGS ($MDNSent $Forwarded $Junk $NonJunk $Phishing)\nb SEARCH KEYWORD $Phishing UNKEYWORD $Important\n",
         {"* 1 FETCH (@FLAGS ($MDNSent $Forwarded $Junk $NonJunk $Phishing)@)", "* ESEARCH (TAG \"b\") ALL 1"}, {"@PERMANENTFLAGS@"}},
        {"16: names", "a CREATE \"Grüße\"\nb LIST \"\" Gr*\nc STATUS \"Grüße\" (MESSAGES)\nd LIST \"\" &-\n",
         {"* LIST (@) \".\" \"Grüße\"", "* STATUS \"Grüße\" (MESSAGES 0)", "d OK@"}, {"@Gr&@"}},
        {"16: headers", "a FETCH 1 ENVELOPE\n", {"Grüße aus Köln (@", "Jörg Groß NIL \"joerg\"@"}, {"@=?@"}},
        {"17, 18, 19: what is deprecated is taken", "a CHECK\nb FETCH 1 RFC822.HEADER\nc LSUB \"\" *\n", {"a OK@", "b OK@", "* LSUB @ \"Sent\"", "c OK@"}, {}},
        {"21: UID", "a STORE 1 +FLAGS (\\Flagged)\n", {"* 1 FETCH (UID 1 FLAGS (\\Flagged))"}, {}, {"* 1 FETCH (FLAGS (\\Flagged @))"}},
    };
    for (const Case& one : cases)
        for (const bool rev2 : {true, false}) {
            if (!rev2 && one.before.empty()) continue;
            INFO(one.item << (rev2 ? " rev2" : " rev1"));
            Home home;
            Client c(home);
            CHECK(c.say(append_command("t", "INBOX", mail)).find("t OK") != std::string::npos);
            if (rev2) CHECK(c.say("e ENABLE IMAP4rev2\r\n") == "* ENABLED IMAP4rev2\r\ne OK done\r\n");
            if (!std::string_view(one.item).starts_with("11") && !std::string_view(one.item).starts_with("12")) CHECK(c.say("s SELECT INBOX\r\n").find("s OK") != std::string::npos);
            std::string commands;
            for (const char* at = one.commands; *at; ++at) (commands += *at == '\n' && (commands.empty() || commands.back() != '\r') ? "\r\n" : std::string(1, *at));
            const std::string all = c.say(commands);
            INFO(all);
            const auto has = [&](const char* pattern) {
                const auto lines = lines_of(all);
                return std::any_of(lines.begin(), lines.end(), [&](const auto& line) { return fits(pattern, line); });
            };
            for (const char* wanted : rev2 ? one.said : one.before) {
                INFO(wanted);
                CHECK(has(wanted));
            }
            if (!rev2) continue;
            for (const char* unwanted : one.unsaid) {
                INFO(unwanted);
                CHECK_FALSE(has(unwanted));
            }
            CHECK_FALSE(has("@ BAD @"));
        }
}

TEST_CASE("small extensions say what their RFCs have them say",
          "[imap][imap-session][rfc2971-3.2][rfc5161-3.2][rfc3691-2][rfc7889-3.1][rfc8474-5.1][rfc8474-5.2][rfc8514-4."
          "3][rfc5032-3]"
          "[rfc9755-4]")
{
    Home home;
    Client c(home);
    const auto announced = c.say("a CAPABILITY\r\n");
    for (const char* word :
         {" APPENDLIMIT=1000000 ", " I18NLEVEL=1 ", " OBJECTID ", " SAVEDATE ", " WITHIN ", " UTF8=ACCEPT "})
        CHECK(announced.find(word) != std::string::npos);
    for (const char* word : {"LANGUAGE", "I18NLEVEL=2", "NOTIFY", "CATENATE", "URLAUTH", "QUOTA"})
        CHECK(announced.find(word) == std::string::npos);
    play(c, "1C: a ID (\"name\" \"x\" \"version\" NIL)\n"
            "1S: * ID (\"name\" \"veredus\")\n"
            "1S: a OK done\n"
            "1C: b ID NIL\n"
            "1S: * ID (\"name\" \"veredus\")\n"
            "1S: b OK done\n"
            "1C: c ENABLE X-UNKNOWN CONDSTORE IDLE\n"
            "1S: * ENABLED CONDSTORE\n"
            "1S: c OK done\n"
            // what is not announced is no command
            "1C: d LANGUAGE DE\n"
            "1S: d BAD @\n"
            "1C: e COMPARATOR\n"
            "1S: e BAD @\n"
            "1C: f NOTIFY NONE\n"
            "1S: f BAD @\n"
            "1C: g STATUS INBOX (APPENDLIMIT)\n"
            "1S: * STATUS \"INBOX\" (APPENDLIMIT 1000000)\n"
            "1S: g OK done\n");
    fill(c, 1); // of 1996
    CHECK(
        c.say(cat("a APPEND INBOX \"15-Jan-2027 07:59:00 +0000\" {", simple_mail.size(), "+}\r\n", simple_mail, "\r\n"))
            .find("a OK") != std::string::npos); // a minute before the clock's now
    CHECK(c.say("b SELECT INBOX\r\n").find("b OK") != std::string::npos);
    play(c, "1C: a SEARCH YOUNGER 100\n"
            "1S: * SEARCH 2\n"
            "1S: a OK done\n"
            "1C: b SEARCH OLDER 100\n"
            "1S: * SEARCH 1\n"
            "1S: b OK done\n"
            "1C: c SEARCH OLDER 0\n"
            "1S: c BAD @\n"
            "1C: d SEARCH SAVEDATESUPPORTED SAVEDSINCE 1-Jan-2020 SENTBEFORE 1-Jan-2020\n"
            "1S: * SEARCH 1 2\n"
            "1S: d OK done\n"
            "1C: e SEARCH SAVEDBEFORE 1-Jan-2020\n"
            "1S: * SEARCH\n"
            "1S: e OK done\n"
            "1C: f FETCH 1 (SAVEDATE INTERNALDATE THREADID)\n"
            "1S: * 1 FETCH (SAVEDATE \"@-20@\" INTERNALDATE \"17-Jul-1996 02:44:25 +0000\" THREADID NIL)\n"
            "1S: f OK done\n"
            "1C: g STORE 1 +FLAGS.SILENT (\\Deleted)\n"
            "1S: * 1 FETCH (MODSEQ (@))\n"
            "1S: g OK done\n"
            "1C: h COPY 1 Sent\n"
            "1S: h OK [COPYUID @ 1 1] copied\n");
    const auto id_in = [](const std::string& said) {
        const auto at = said.find("EMAILID (");
        REQUIRE(at != std::string::npos);
        return said.substr(at, said.find(')', at) - at);
    };
    const auto id = id_in(c.say("a FETCH 1 EMAILID\r\n"));
    CHECK(id_in(c.say("b FETCH 2 EMAILID\r\n")) != id);
    play(c, cat("1C: c SEARCH EMAILID ", id.substr(9), "\n",
                "1S: * SEARCH 1\n"
                "1S: c OK done\n"
                "1C: d UNSELECT\n" // and nothing goes
                "1S: d OK closed\n"
                "1C: e STATUS INBOX (MESSAGES DELETED)\n"
                "1S: * STATUS \"INBOX\" (MESSAGES 2 DELETED 1)\n"
                "1S: e OK done\n"
                "1C: f UNSELECT\n"
                "1S: f BAD @\n"));
    CHECK(c.say("a SELECT Sent\r\n").find("a OK") != std::string::npos);
    CHECK(id_in(c.say("b FETCH 1 EMAILID\r\n")) == id); // a copy is the same message
    const std::string utf8 = "Subject: Gr\xc3\xbc\xc3\x9f"
                             "e\r\n\r\nx\r\n";
    play(c, "1C: c ENABLE UTF8=ACCEPT\n"
            "1S: * ENABLED UTF8=ACCEPT\n"
            "1S: c OK done\n");
    CHECK(c.say(cat("d APPEND Sent UTF8 (~{", utf8.size(), "+}\r\n", utf8, ")\r\n")).find("d OK [APPENDUID ") !=
          std::string::npos);
    CHECK(c.say("e FETCH 2 ENVELOPE\r\n")
              .find("Gr\xc3\xbc\xc3\x9f"
                    "e") != std::string::npos);
}

TEST_CASE("SEARCH, ESEARCH and the saved result", "[imap][imap-session][rfc4731-3.1][rfc5182-2.1]")
{
    Home home;
    Client c(home);
    fill(c, 5);
    (void)c.say("s SELECT INBOX\r\nt UID STORE 2,4:5 +FLAGS.SILENT (\\Seen)\r\nu UID STORE 1 +FLAGS.SILENT "
                "(\\Deleted)\r\nv EXPUNGE\r\n");
    play(c, "1C: a SEARCH SEEN\n"
            "1S: * SEARCH 1 3 4\n"
            "1S: a OK done\n"
            "1C: b UID SEARCH SUBJECT HELLO UNSEEN\n"
            "1S: * SEARCH 3\n"
            "1S: b OK done\n"
            "1C: c UID SEARCH RETURN (MIN MAX COUNT ALL) TEXT \"line two\"\n"
            "1S: * ESEARCH (TAG \"c\") UID MIN 2 MAX 5 COUNT 4 ALL 2:5\n"
            "1S: c OK done\n"
            "1C: d SEARCH RETURN (SAVE) SEEN\n"
            "1S: d OK done\n"
            "1C: e FETCH $ UID\n"
            "1S: * 1 FETCH (UID 2)\n"
            "1S: * 3 FETCH (UID 4)\n"
            "1S: * 4 FETCH (UID 5)\n"
            "1S: e OK done\n"
            "1C: f UID SEARCH RETURN (SAVE MAX) UID $ NOT UID 5\n"
            "1S: * ESEARCH (TAG \"f\") UID MAX 4\n"
            "1S: f OK done\n"
            "1C: g UID SEARCH $\n"
            "1S: * SEARCH 4\n"
            "1S: g OK done\n"
            "1C: h SEARCH RETURN () DRAFT\n"
            "1S: * ESEARCH (TAG \"h\")\n"
            "1S: h OK done\n"
            "1C: i SEARCH 9\n"
            "1S: * SEARCH\n"
            "1S: i OK done\n"
            "1C: j SEARCH MODSEQ 1 UID 3\n"
            "1S: * OK [HIGHESTMODSEQ @\n"
            "1S: * SEARCH 2 (MODSEQ @)\n"
            "1S: j OK done\n"
            "1C: k ENABLE IMAP4rev2\n"
            "1S: * ENABLED IMAP4rev2\n"
            "1S: k OK done\n"
            "1C: l UID SEARCH SEEN\n"
            "1S: * ESEARCH (TAG \"l\") UID ALL 2,4:5\n"
            "1S: l OK done\n");
}

TEST_CASE("SORT, THREAD and PREVIEW", "[imap][imap-session][rfc5256-3][rfc8970-3]")
{
    Home home;
    Client c(home);
    const char* mails[] = {
        "Subject: b\r\nDate: 1 Jan 2020 00:00:00 +0000\r\nMessage-ID: <1@x>\r\n\r\nfirst words\r\nand more\r\n",
        "Subject: a\r\nDate: 3 Jan 2020 00:00:00 +0000\r\nMessage-ID: <2@x>\r\n\r\nsecond\r\n",
        "Subject: Re: b\r\nDate: 2 Jan 2020 00:00:00 +0000\r\nMessage-ID: <3@x>\r\nReferences: <1@x>\r\n\r\nthird\r\n"};
    for (const char* m : mails) REQUIRE(c.say(append_command("f", "INBOX", m)).find("f OK") != std::string::npos);
    (void)c.say("s SELECT INBOX\r\n");
    play(c, "1C: a SORT (SUBJECT REVERSE DATE) UTF-8 ALL\n"
            "1S: * SORT 2 3 1\n"
            "1S: a OK done\n"
            "1C: b UID SORT (REVERSE ARRIVAL) US-ASCII SUBJECT b\n"
            "1S: * SORT 1 3\n"
            "1S: b OK done\n"
            "1C: c THREAD REFERENCES UTF-8 ALL\n"
            "1S: * THREAD (1 3)(2)\n"
            "1S: c OK done\n"
            "1C: d UID THREAD ORDEREDSUBJECT UTF-8 SUBJECT nothing\n"
            "1S: * THREAD\n"
            "1S: d OK done\n"
            "1C: e FETCH 1 (PREVIEW (LAZY))\n"
            "1S: * 1 FETCH (PREVIEW @)\n"
            "1S: e OK done\n"
            "1C: f FETCH 1:2 PREVIEW\n"
            "1S: * 1 FETCH (PREVIEW \"first words and more\")\n"
            "1S: * 2 FETCH (PREVIEW \"second\")\n"
            "1S: f OK done\n"
            "1C: g FETCH 1 (PREVIEW (LAZY))\n"
            "1S: * 1 FETCH (PREVIEW \"first words and more\")\n"
            "1S: g OK done\n");
}

TEST_CASE("COMPRESS is for the owner to do", "[imap][imap-session][rfc4978-3]")
{
    Home home;
    Client c(home);
    CHECK(c.say("a COMPRESS DEFLATE\r\n").starts_with("a OK"));
    CHECK(c.wants == imap::Session::Wants::compress);
    CHECK(c.session.start_compression().empty());
    CHECK(c.say("b COMPRESS DEFLATE\r\n").starts_with("b NO [COMPRESSIONACTIVE]"));
    CHECK(c.say("c CAPABILITY\r\n").find("COMPRESS") == std::string::npos);
    CHECK(c.wants == imap::Session::Wants::input);
}

TEST_CASE("what was acknowledged is there for the next process", "[imap][imap-session]")
{
    Home home;
    {
        Client c(home);
        fill(c, 3);
        (void)c.say("s SELECT INBOX\r\na STORE 2 +FLAGS (\\Answered $Later)\r\nb UID STORE 3 +FLAGS (\\Deleted)\r\nc "
                    "EXPUNGE\r\n");
    }
    home.reopen();
    Client c(home);
    (void)c.say("s SELECT INBOX\r\n");
    play(c, "1C: a FETCH 1:* (UID FLAGS)\n"
            "1S: * 1 FETCH (UID 1 FLAGS ())\n"
            "1S: * 2 FETCH (UID 2 FLAGS (\\Answered $Later))\n"
            "1S: a OK done\n");
}

TEST_CASE("what must look at each mail gives the other sessions their turns", "[imap][imap-session]")
{
    struct SlowClock final : Clock { // each look at it takes 30 ms
        mutable int64_t now = 1'800'000'000LL * us_per_second;
        int64_t wall_us() const override { return now; }
        int64_t mono_us() const override { return now += 30'000; }
    } slow;
    Home home(true);
    std::string mbox;
    for (int i = 0; i < 5; ++i) append(mbox, "From a@example.org Tue Nov 24 14:00:00 2026\nSubject: ", i, "\n\nb\n\n");
    std::FILE* file = std::fopen((home.path + "/inbox").c_str(), "w");
    REQUIRE(file);
    std::fputs(mbox.c_str(), file);
    std::fclose(file);
    imap::Session session(*home.account, home.options, slow);
    const auto turns_of = [&](std::string_view line) {
        std::string out;
        unsigned turns = 0;
        for (auto wants = session.feed(line, out); wants == imap::Session::Wants::drain; wants = session.more(out))
            ++turns;
        INFO(out);
        CHECK(out.find(" OK ") != std::string::npos);
        return turns;
    };
    CHECK(turns_of("a STATUS INBOX (MESSAGES SIZE)\r\n") >= 4);
    CHECK(turns_of("b LIST \"\" INBOX RETURN (STATUS (SIZE))\r\n") >= 4);
    CHECK(turns_of("c SELECT INBOX\r\n") == 0);
    CHECK(turns_of("d SORT (SUBJECT) UTF-8 ALL\r\n") >= 4);
    CHECK(turns_of("e THREAD REFERENCES UTF-8 ALL\r\n") >= 4);
    CHECK(turns_of("f FETCH 1:* (ENVELOPE RFC822.SIZE)\r\n") >= 4);
}

TEST_CASE("an mbox serves the same session", "[imap][imap-session]")
{
    Home home(true);
    Client a(home), b(home);
    fill(a, 2);
    (void)a.say("s SELECT INBOX\r\n");
    (void)b.say("s SELECT INBOX\r\n");
    play({&a, &b}, "1C: a CREATE x/y\n"
                   "1S: a OK @\n"
                   "1C: b LIST \"\" x/%\n"
                   "1S: * LIST (\\HasNoChildren) \"/\" \"x/y\"\n"
                   "1S: b OK done\n"
                   "1C: c COPY 1 x/y\n"
                   "1S: c OK [COPYUID @ 1 1] copied\n"
                   "1C: d STORE 1 +FLAGS (\\Deleted)\n"
                   "1S: * 1 FETCH (FLAGS (@\\Deleted@))\n"
                   "1S: d OK done\n"
                   "1C: e EXPUNGE\n"
                   "1S: * 1 EXPUNGE\n"
                   "1S: e OK done\n"
                   "1C: f FETCH 1 (UID BODY.PEEK[TEXT])\n"
                   "1S: * 1 FETCH (UID 2 BODY[TEXT] {20}\n"
                   "1S: line one\n"
                   "1S: line two\n"
                   "1S: )\n"
                   "1S: f OK done\n"
                   "2C: g NOOP\n"
                   "2S: * 1 EXPUNGE\n"
                   "2S: g OK done\n");
}

TEST_CASE("a long answer comes in pieces, and the others have their turn", "[imap][imap-session]")
{
    Home home;
    Client a(home), b(home);
    const std::string big = cat("Subject: big\r\n\r\n", [] {
        std::string s;
        for (int i = 0; i < 12000; ++i) append(s, "line ", i, " of many\r\n");
        return s;
    }());
    REQUIRE(a.say(append_command("f", "INBOX", big)).find("f OK") != std::string::npos);
    (void)a.say("s SELECT INBOX\r\n");
    std::string out, all;
    auto wants = a.session.feed("a FETCH 1 (FLAGS BODY.PEEK[])\r\nb NOOP\r\n", out);
    std::size_t most = out.size(), pieces = 0;
    all += out;
    CHECK(wants == imap::Session::Wants::drain);
    // Nothing of this may be said in the midst of the literal.
    (void)b.say("s SELECT INBOX\r\nx STORE 1 +FLAGS.SILENT (\\Deleted $New)\r\ny EXPUNGE\r\n");
    while (wants == imap::Session::Wants::drain) {
        out.clear();
        wants = a.session.more(out);
        most = std::max(most, out.size());
        all += out;
        ++pieces;
    }
    CHECK(pieces >= 3);
    CHECK(most < 3 * imap::Session::high_water);
    const std::string wanted = cat("* 1 FETCH (FLAGS (\\Recent) BODY[] {", big.size(), "}\r\n", big,
                                   ")\r\n* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $New)\r\n"
                                   "a OK done\r\n* 1 EXPUNGE\r\nb OK done\r\n");
    CHECK((all == wanted));
}

TEST_CASE("byte by byte is the same as at once", "[imap][imap-session]")
{
    const std::string script = cat(append_command("1", "INBOX", simple_mail, "(\\Seen)"),
                                   "2 SELECT INBOX\r\n3 FETCH 1 (FLAGS BODY.PEEK[] ENVELOPE)\r\n",
                                   "4 STORE 1 +FLAGS ($A \\Deleted)\r\n5 IDLE\r\nDONE\r\n6 bogus\r\n7 UID COPY 1 "
                                   "Sent\r\n8 EXPUNGE\r\n9 LIST \"\" *\r\n");
    std::string at_once, trickled;
    {
        Home home;
        Client c(home);
        at_once = c.say(script);
    }
    {
        Home home;
        Client c(home);
        for (const char b : script) trickled += c.say(std::string_view(&b, 1));
    }
    const auto without_numbers = [](std::string s) { // UIDVALIDITY and MAILBOXID are new each time
        for (const std::string_view word : {"UIDVALIDITY ", "MAILBOXID (", "APPENDUID ", "COPYUID "})
            for (auto at = s.find(word); at != std::string::npos; at = s.find(word, at + 1)) {
                const auto from = at + word.size();
                s.erase(from, s.find_first_of(" ])", from) - from);
            }
        return s;
    };
    CHECK(without_numbers(at_once) == without_numbers(trickled));
    CHECK(at_once.find("9 OK") != std::string::npos);
}

TEST_CASE("hostile sets and numbers cost what the mailbox costs", "[imap][imap-session]")
{
    Home home;
    Client c(home);
    fill(c, 3);
    (void)c.say("s SELECT INBOX\r\n");
    std::string set = "1:4294967295";
    for (int i = 0; i < 5000; ++i) set += ",4294967295:1";
    CHECK(c.say(cat("a UID FETCH ", set, " UID\r\n")) ==
          "* 1 FETCH (UID 1)\r\n* 2 FETCH (UID 2)\r\n* 3 FETCH (UID 3)\r\na OK done\r\n");
    CHECK(c.say("a FETCH 1:4294967295 UID\r\n") == "a BAD no such message\r\n");
    CHECK(c.say("a UID FETCH 100:200 UID\r\n") == "a OK done\r\n");
    CHECK(c.say("a FETCH *:2 UID\r\n") == "* 2 FETCH (UID 2)\r\n* 3 FETCH (UID 3)\r\na OK done\r\n");
    std::string parts = "1";
    for (int i = 0; i < 900; ++i) parts += ".1";
    CHECK(c.say(cat("a FETCH 1 BODY.PEEK[", parts, "]\r\n")).find("a ") != std::string::npos);
    CHECK(c.say("a NOOP\r\n") == "a OK done\r\n");
    for (unsigned i = 0; i < home.options.errors; ++i) {
        CHECK(c.wants == imap::Session::Wants::input);
        (void)c.say("a bogus\r\n");
    }
    CHECK(c.wants == imap::Session::Wants::close);
}

TEST_CASE("mail delivered by another program is recent to one session", "[imap][imap-session][rfc3501-2.3.2]")
{
    Home home;
    Client a(home), b(home);
    (void)a.say("s SELECT INBOX\r\n");
    const Fd file(::open(cat(home.path, "/Maildir/new/1.2.host").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    REQUIRE(file);
    REQUIRE(write_all(file.get(), simple_mail));
    play({&a, &b}, "2C: a STATUS INBOX (MESSAGES RECENT)\n"
                   "2S: * STATUS \"INBOX\" (MESSAGES 1 RECENT 1)\n"
                   "2S: a OK done\n"
                   "1C: b NOOP\n"
                   "1S: * 1 EXISTS\n"
                   "1S: * 1 RECENT\n"
                   "1S: b OK done\n"
                   "2C: c STATUS INBOX (MESSAGES RECENT)\n"
                   "2S: * STATUS \"INBOX\" (MESSAGES 1 RECENT 0)\n"
                   "2S: c OK done\n"
                   "1C: d CHECK\n"
                   "1S: d OK done\n");
    CHECK(::access(cat(home.path, "/Maildir/new/1.2.host").c_str(), F_OK) != 0); // CHECK took it into cur/
}

TEST_CASE("a folder that another program removes takes no mail, and one made anew does", "[imap][imap-session]")
{
    Home home;
    Client c(home);
    (void)c.say("a CREATE Gone\r\n");
    fill(c, 1, "Gone");
    fill(c, 1, "Sent");
    REQUIRE(std::system(cat("rm -r ", home.path, "/Maildir/.Gone ", home.path, "/Maildir/.Sent").c_str()) == 0);
    CHECK(c.say(append_command("b", "Gone", simple_mail)).starts_with("b NO [TRYCREATE]"));
    CHECK(c.say("c CREATE Gone\r\n").starts_with("c OK"));
    fill(c, 1, "Gone");
    fill(c, 1, "Sent"); // one of those that are there when they are needed
    CHECK(c.say("d STATUS Gone (MESSAGES)\r\n").starts_with("* STATUS \"Gone\" (MESSAGES 1)"));
    CHECK(c.say("d STATUS Sent (MESSAGES)\r\n").starts_with("* STATUS \"Sent\" (MESSAGES 1)"));
    REQUIRE(std::system(cat("rm -r ", home.path, "/Maildir/.Gone").c_str()) == 0);
    CHECK(c.say("e CREATE Gone\r\n").starts_with("e OK")); // at once, while the old one is still open
    fill(c, 1, "Gone");
}

TEST_CASE("a name that means another directory now is that one's", "[imap][imap-session]")
{
    Home home;
    Client c(home);
    (void)c.say("a CREATE foo\r\n");
    fill(c, 1, "foo");
    const std::string foo = home.path + "/Maildir/.foo";
    REQUIRE(std::system(cat("mv ", foo, " ", foo, "-saved && mkdir ", foo, " ", foo, "/cur ", foo, "/new ", foo, "/tmp && printf 'Subject: restored\\n\\nx\\n' >", foo,
                            "/cur/1.restored:2,S")
                            .c_str()) == 0);
    fill(c, 1, "foo");
    CHECK(std::system(cat("test $(ls ", foo, "/cur | wc -l) = 2 && test $(ls ", foo, "-saved/cur | wc -l) = 1").c_str()) == 0);
    const std::string selected = c.say("b SELECT foo\r\n");
    CHECK(selected.find("* 2 EXISTS") != std::string::npos);
    CHECK(c.say("c FETCH 1 BODY.PEEK[HEADER.FIELDS (SUBJECT)]\r\n").find("restored") != std::string::npos);
}

TEST_CASE("UIDs that mean other messages now move nothing", "[imap][imap-session][rfc9051-2.3.1.1]")
{
    for (const char* command : {"UID MOVE 2 Sent", "UID STORE 2 +FLAGS (\\Deleted)", "UID COPY 2 Sent", "CLOSE"}) {
        INFO(command);
        Home home;
        Client c(home);
        const std::string in = home.path + "/Maildir/";
        REQUIRE(std::system(cat("touch ", in, "cur/1.a:2, ", in, "cur/2.b:2,T ", in, "cur/3.c:2,").c_str()) == 0);
        (void)c.say("a SELECT INBOX\r\n");
        REQUIRE(std::system(cat("rm ", in, "cur/1.a:2, ", in, ".veredus/uidlog").c_str()) == 0);
        {
            auto other = store::open_maildir(home.path + "/Maildir");
            REQUIRE(other);
            REQUIRE((*other)->open("INBOX"));
        }
        if (std::string_view(command) == "UID COPY 2 Sent") // a copy of the mail that had that UID is right
            REQUIRE(std::system(cat("mv ", in, "cur/2.b:2,T ", in, "cur/2.b:2,ST").c_str()) == 0);
        const std::string answer = c.say(cat("b ", command, "\r\n"));
        CHECK(answer.find("b NO [UNAVAILABLE]") != std::string::npos);
        CHECK(c.say("c NOOP\r\n").starts_with("* BYE"));
        CHECK(std::system(cat("test $(ls ", in, "cur | wc -l) = 2 && ! ls ", in, "cur/3.c:2,*T* 2>/dev/null && test $(ls ", in, ".Sent/cur 2>/dev/null | wc -l) = 0").c_str()) == 0);
    }
}

TEST_CASE("a mailbox that is removed while a message for it comes does not come back", "[imap][imap-session]")
{
    for (const bool mbox : {false, true}) {
        INFO(mbox);
        Home home(mbox);
        Client a(home), b(home);
        CHECK(a.say("a CREATE bar\r\n").starts_with("a OK"));
        (void)a.say("b APPEND bar {5+}\r\nx: y");
        CHECK(b.say("a DELETE bar\r\n").starts_with("a OK"));
        const std::string answer = a.say("\n\r\n");
        INFO(answer);
        CHECK(answer.find("b NO [TRYCREATE]") != std::string::npos);
        CHECK(b.say("b LIST \"\" bar\r\n").starts_with("b OK"));
        CHECK(a.say("c NOOP\r\n").starts_with("c OK"));
        if (mbox) CHECK(std::system(cat("test -z \"$(find ", home.path, " -name '*bar*')\"").c_str()) == 0);
    }
}

TEST_CASE("an mbox file that another program removes is no mailbox any more", "[imap][imap-session]")
{
    Home home(true);
    Client a(home);
    CHECK(a.say("a CREATE bar\r\n").starts_with("a OK"));
    fill(a, 1, "bar");
    REQUIRE(::unlink((home.path + "/mail/bar").c_str()) == 0);
    CHECK(a.say("b SELECT bar\r\n").starts_with("b NO [NONEXISTENT]"));
    CHECK(a.say(append_command("c", "bar", simple_mail)).starts_with("c NO [TRYCREATE]"));
    CHECK(a.say("d CREATE bar\r\n").starts_with("d OK"));
    fill(a, 1, "bar");
    CHECK(a.say("e STATUS bar (MESSAGES)\r\n").find("MESSAGES 1") != std::string::npos);
}

TEST_CASE("LIST's patterns", "[imap][imap-session][rfc9051-6.3.9]")
{
    struct Case {
        const char *pattern, *name;
        bool matches;
    };
    const Case cases[] = {
        {"*", "a.b.c", true},    {"%", "a.b", false},     {"%", "a", true},        {"a.%", "a.b", true},
        {"a.%", "a.b.c", false}, {"a.*", "a.b.c", true},  {"a*c", "abbc", true},   {"a%c", "ab.c", false},
        {"*.c", "a.b.c", true},  {"%.c", "a.b.c", false}, {"", "a", false},        {"", "", true},
        {"a", "a", true},        {"a", "ab", false},      {"%%a*%", "ba.b", true}, {"*a*a*a*b", "aaa", false},
        {"%*", "a.b", true},     {"a.b%", "a.b", true},
    };
    for (const Case& t : cases) {
        INFO(t.pattern << " on " << t.name);
        CHECK(imap::list_matches(imap::collapse_pattern(t.pattern), t.name, '.') == t.matches);
    }
    std::string hostile;
    for (int i = 0; i < 30000; ++i) hostile += "*a";
    CHECK(!imap::list_matches(imap::collapse_pattern(hostile), std::string(200, 'a'), '.'));
}

TEST_CASE("a view keeps its numbers while messages go", "[imap][imap-session]")
{
    store::UidTable table;
    store::Seed seed;
    seed.uidvalidity = 1;
    seed.uidnext = 21;
    for (uint32_t uid = 2; uid <= 20; uid += 2) {
        store::NewMessage m;
        m.uid = uid;
        m.name = cat("m", uid);
        seed.messages.push_back(m);
    }
    table.start(seed);
    imap::View view(table);
    REQUIRE(view.exists() == 10);
    std::string records;
    store::encode_vanished(records, table.highest_modseq() + 1, {{4, 4}, {10, 12}, {20, 20}});
    table.apply(records);
    view.vanished({4, 10, 12, 20}, 1);
    REQUIRE(table.messages().size() == 6);
    CHECK(view.exists() == 10);
    for (uint32_t n = 1; n <= 10; ++n) {
        INFO(n);
        CHECK(view.at(n).uid == 2 * n);
        CHECK(view.number_of(2 * n) == n);
        CHECK((view.at(n).message == nullptr) == (n == 2 || n == 5 || n == 6 || n == 10));
        CHECK(view.number_of(2 * n + 1) == 0);
    }
    CHECK(view.at(11).uid == 0);
    imap::SequenceSet set;
    set.ranges = {{9, 13}, {0, 19}};
    const auto numbers = view.resolve(set, true, {});
    REQUIRE(numbers);
    CHECK(*numbers == std::vector<store::UidRange>{{5, 6}, {10, 10}});
    CHECK(view.bury_last() == 10);
    CHECK(view.bury_last() == 6);
    CHECK(view.bury_last() == 5);
    CHECK(view.bury_last() == 2);
    CHECK(view.exists() == 6);
    CHECK(view.at(6).uid == 18);
}

TEST_CASE("the values of answers", "[imap][imap-session][rfc9051-9]")
{
    std::string out;
    imap::put_string(out, "a\"b\\c", false);
    CHECK(out == "\"a\\\"b\\\\c\"");
    out.clear();
    imap::put_string(out, "a\r\nb", true);
    CHECK(out == "{4}\r\na\r\nb");
    out.clear();
    imap::put_string(out, "\xc3\xa9", false);
    CHECK(out == "{2}\r\n\xc3\xa9");
    out.clear();
    imap::put_string(out, std::string_view("a\0b", 3), false);
    CHECK(out == "{2}\r\nab");
    out.clear();
    imap::put_date_time(out, -62135596800 - 10);
    CHECK(out.size() == 28);
    std::vector<store::UidRange> ranges;
    for (const uint32_t n : {1u, 2u, 3u, 7u, 9u, 10u}) imap::add_to_ranges(ranges, n);
    out.clear();
    imap::put_ranges(out, ranges);
    CHECK(out == "1:3,7,9:10");
}
