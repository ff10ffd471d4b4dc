// IMAP's commands from bytes: each production, literals of both kinds, APPEND's stream, any cut of the input, and
// hostile clients.
#include "t/unit/catch.h"

#include "t/unit/imap_commands.h"

using namespace veredus;
using namespace veredus::imap;
using namespace std::literals;

namespace {

struct Run {
    std::string seen, out;
    bool closed = false;
};

// What comes of `input`; `setup` may change the handler and the limits before.
template <class Setup> Run run(std::string_view input, std::size_t piece, Setup setup)
{
    Recorder recorder;
    ReaderLimits limits;
    bool utf8 = false;
    setup(recorder, limits, utf8);
    Reader reader(recorder, limits);
    reader.set_utf8(utf8);
    recorder.reader = &reader;
    Run result;
    for (; !input.empty(); input.remove_prefix(std::min(piece, input.size())))
        reader.feed(input.substr(0, piece), result.out);
    result.seen = std::move(recorder.seen);
    result.closed = reader.closed();
    return result;
}

// At once, byte by byte, and in threes: the same.
template <class Setup> Run all_cuts(std::string_view input, Setup setup)
{
    const Run whole = run(input, SIZE_MAX, setup);
    for (const std::size_t piece : {std::size_t{1}, std::size_t{3}}) {
        const Run cut = run(input, piece, setup);
        INFO(input.substr(0, 200) << " in pieces of " << piece);
        CHECK(cut.seen == whole.seen);
        CHECK(cut.out == whole.out);
        CHECK(cut.closed == whole.closed);
    }
    return whole;
}

std::string seen(std::string_view input)
{
    return all_cuts(input, [](Recorder&, ReaderLimits&, bool&) {}).seen;
}

std::string seen_utf8(std::string_view input)
{
    return all_cuts(input, [](Recorder&, ReaderLimits&, bool& utf8) { utf8 = true; }).seen;
}

struct Case {
    std::string_view line, expected;
};

void check(const Case& c)
{
    INFO(c.line);
    CHECK(seen(cat("a ", c.line, "\r\n")) == cat("a ", c.expected, "\n"));
}

} // namespace

TEST_CASE("commands of a session and of mailboxes", "[imap][reader][rfc9051-9]")
{
    const Case cases[] = {
        {"NOOP", "noop"},
        {"noop  ", "noop"},
        {"CAPABILITY", "capability"},
        {"LOGOUT", "logout"},
        {"STARTTLS", "starttls"},
        {"CHECK", "check"},
        {"CLOSE", "close"},
        {"UNSELECT", "unselect"},
        {"NAMESPACE", "namespace"},
        {"EXPUNGE", "expunge"},
        {"COMPRESS deflate", "compress"},
        {"COMPRESS LZMA", "BAD COMPRESS: COMPRESS knows DEFLATE only"},
        {"NOOP x", "BAD NOOP: the end of the command expected, not <x>"},
        {"LOGIN alice secret", "login <alice> <secret>"},
        {"LOGIN  \"al ice\"   \"sec\\\"r\\\\et\"", "login <al ice> <sec\"r\\et>"},
        {"LOGIN \"\" \"\"", "login <> <>"},
        {"LOGIN a]b c+d", "login <a]b> <c+d>"},
        {"LOGIN alice", "BAD LOGIN: a blank expected at the end of the command"},
        {"LOGIN alice se*cret", "BAD LOGIN: the end of the command expected, not <*cret>"},
        {"LOGIN alice \"secret", "BAD LOGIN: a quoted string does not end"},
        {"LOGIN al\xe4 x", "BAD LOGIN: a blank expected, not <?>"},
        {"ID NIL", "id"},
        {"ID (\"name\" \"mutt\" \"version\" NIL)", "id name=mutt version=(nil)"},
        {"ID ()", "id"},
        {"ID (name)", "BAD ID: a blank expected, not <)>"},
        {"ENABLE condstore X-GOOD", "enable CONDSTORE X-GOOD"},
        {"ENABLE", "BAD ENABLE: a blank expected at the end of the command"},
        {"SELECT inBox", "select <INBOX>"},
        {"EXAMINE \"a/b c\"", "examine <a/b c>"},
        {"SELECT INBOX (CONDSTORE)", "select <INBOX> condstore"},
        {"SELECT INBOX (QRESYNC (67890007 20050715194045000 41,43:211,214:541))",
         "select <INBOX> qresync 67890007 20050715194045000 known 41,43:211,214:541"},
        {"SELECT INBOX (QRESYNC (1 2 3:4 (1,2 7,9)) CONDSTORE)",
         "select <INBOX> condstore qresync 1 2 known 3:4 match 1,2 7,9"},
        {"SELECT INBOX (QRESYNC (1 2 (1,2 7,9)))", "select <INBOX> qresync 1 2 match 1,2 7,9"},
        {"SELECT INBOX (QRESYNC (1 2 1:*))", "BAD SELECT: QRESYNC takes no \"*\" or \"$\""},
        {"SELECT INBOX (QRESYNC (0 2))", "BAD SELECT: a number is zero that must not be"},
        {"SELECT INBOX (FOO)", "BAD SELECT: CONDSTORE or QRESYNC expected, not <FOO)>"},
        {"SELECT Entw&APw-rfe", "select <Entw\xc3\xbcrfe>"},
        {"SELECT Entw\xc3\xbcrfe", "BAD SELECT: the end of the command expected, not <\xc3\xbcrfe>"},
        {"SELECT \"Entw\xc3\xbcrfe\"", "select <Entw\xc3\xbcrfe>"},
        {"SELECT \"\xff\"", "NO [CANNOT] the mailbox name is not modified UTF-7 (RFC 3501 section 5.1.3)"},
        {"SELECT a&b", "NO [CANNOT] the mailbox name is not modified UTF-7 (RFC 3501 section 5.1.3)"},
        {"SELECT a&-b", "select <a&b>"},
        {"CREATE x", "create <x>"},
        {"CREATE x (USE (\\Sent \\Drafts))", "create <x> \\Sent \\Drafts"},
        {"CREATE x (FOO)", "BAD CREATE: USE expected, not <FOO)>"},
        {"DELETE x", "delete <x>"},
        {"RENAME x y", "rename <x> <y>"},
        {"SUBSCRIBE x", "subscribe <x>"},
        {"UNSUBSCRIBE x", "unsubscribe <x>"},
        {"STATUS x (MESSAGES unseen SIZE)", "status <x> 81"},
        {"STATUS x ( RECENT UIDNEXT UIDVALIDITY DELETED HIGHESTMODSEQ MAILBOXID APPENDLIMIT )", "status <x> 942"},
        {"STATUS x ()", "BAD STATUS: STATUS without an item"},
        {"STATUS x (FOO)", "BAD STATUS: a status item expected, not <FOO)>"},
        {"COPY 1:3 x", "copy 1:3 <x>"},
        {"UID MOVE 4,7:* x", "uid move 4,7:0 <x>"},
        {"COPY $ x", "copy $ <x>"},
        {"UID EXPUNGE 1:9", "expunge 1:9"},
        {"UID CLOSE", "BAD there is no command UID CLOSE"},
        {"FOO bar", "BAD there is no command FOO"},
        {"", "BAD a command expected"},
        {"(", "BAD a command expected"},
    };
    for (const auto& c : cases) check(c);
}

TEST_CASE("LIST and LSUB", "[imap][reader][rfc5258-6][rfc5819-5][rfc6154-6]")
{
    const Case cases[] = {
        {"LIST \"\" *", "list <> <*>"},
        {"LIST \"\" \"\"", "list <> <>"},
        {"LIST ~/ %x]", "list <~/> <%x]>"},
        {"LSUB \"\" \"*\"", "lsub <> <*>"},
        {"LIST \"\" Entw&APw-*", "list <> <Entw\xc3\xbc*>"},
        {"LIST \"\" &*", "list <>"},
        {"LIST &x *", "list <&x>"},
        {"LIST () \"\" *", "xlist <> <*>"},
        {"LIST (SUBSCRIBED RECURSIVEMATCH REMOTE SPECIAL-USE) \"\" (a \"b c\" %)",
         "xlist <> <a> <b c> <%> subscribed remote recursive special-use"},
        {"LIST (RECURSIVEMATCH) \"\" *", "BAD LIST: RECURSIVEMATCH needs SUBSCRIBED"},
        {"LIST (REMOTE RECURSIVEMATCH) \"\" *", "BAD LIST: RECURSIVEMATCH needs SUBSCRIBED"},
        {"LIST (FOO) \"\" *", "BAD LIST: a selection option of LIST expected, not <FOO)>"},
        {"LIST \"\" % RETURN (CHILDREN SUBSCRIBED SPECIAL-USE STATUS (MESSAGES UNSEEN))",
         "xlist <> <%> +subscribed +children +special-use +status 17"},
        {"LIST \"\" % RETURN ()", "xlist <> <%>"},
        {"LIST \"\" % FOO", "BAD LIST: RETURN expected, not <FOO>"},
        {"LIST \"\" ()", "BAD LIST: a mailbox name or pattern expected, not <)>"},
    };
    for (const auto& c : cases) check(c);
    CHECK(seen_utf8("a SELECT \"Entw\xc3\xbcrfe&\"\r\n") == "a select <Entw\xc3\xbcrfe&>\n");
    CHECK(seen_utf8("a SELECT \"\xc3\"\r\n") == "a BAD SELECT: a quoted string is not UTF-8\n");
    CHECK(seen_utf8("a SELECT {1}\r\n\xc3\r\n") == "a NO [CANNOT] the mailbox name is not UTF-8\n");
}

TEST_CASE("FETCH and STORE", "[imap][reader][rfc9051-6.4.5][rfc9051-6.4.6][rfc7162-7]")
{
    const Case cases[] = {
        {"FETCH 1 FLAGS", "fetch 1 flags"},
        {"FETCH 1:* (FLAGS UID)", "fetch 1:0 flags uid"},
        {"fetch 2,4:7,9,12:* ( flags  envelope )", "fetch 2,4:7,9,12:0 flags envelope"},
        {"FETCH *:4 ALL", "fetch 0:4 flags date size envelope"},
        {"FETCH 1 (FAST)", "fetch 1 flags date size"},
        {"FETCH 1 FULL", "fetch 1 flags date size envelope body"},
        {"FETCH 1 (FULL FLAGS)", "BAD FETCH: ) expected, not <FLAGS)>"},
        {"UID FETCH 1:4294967295 FLAGS", "uid fetch 1:4294967295 flags uid"},
        {"UID FETCH 5 (UID BODYSTRUCTURE)", "uid fetch 5 uid structure"},
        {"FETCH 1 BODY[]", "fetch 1 section[]!"},
        {"FETCH 1 BODY.PEEK[]<0.2048>", "fetch 1 section[]<0.2048>"},
        {"FETCH 1 BODY[]<0.0>", "BAD FETCH: a number is zero that must not be"},
        {"FETCH 1 BODY[]<1>", "BAD FETCH: . expected, not <>>"},
        {"FETCH 1 (BODY[1.2.MIME] BODY[3.HEADER] BODY[TEXT] BODY[4])",
         "fetch 1 section[1.2.mime]! section[3.header]! section[text]! section[4.]!"},
        {"FETCH 1 BODY.PEEK[HEADER.FIELDS (From \"To\" X-A)]", "fetch 1 section[fields From To X-A]"},
        {"FETCH 1 BODY.PEEK[2.HEADER.FIELDS.NOT (Received)]<1.2>", "fetch 1 section[2.fields.not Received]<1.2>"},
        {"FETCH 1 BODY[HEADER.FIELDS ()]", "BAD FETCH: a string expected, not <)]>"},
        {"FETCH 1 BODY[HEADER.FIELDS (\"a:\")]", "BAD FETCH: the name of a header field has a byte that none has"},
        {"FETCH 1 BODY[MIME]", "BAD FETCH: a section expected, not <MIME]>"},
        {"FETCH 1 BODY[0]", "BAD FETCH: a number is zero that must not be"},
        {"FETCH 1 BODY[1.]", "BAD FETCH: a section expected, not <]>"},
        {"FETCH 1 (RFC822 RFC822.SIZE RFC822.HEADER RFC822.TEXT INTERNALDATE BODY)",
         "fetch 1 rfc822! size rfc822.header rfc822.text! date body"},
        {"FETCH 1 (BINARY[1]<0.10> BINARY.PEEK[] BINARY.SIZE[2.1])",
         "fetch 1 binary[1.]<0.10>! binary[] binary.size[2.1.]"},
        {"FETCH 1 BINARY[HEADER]", "BAD FETCH: ] expected, not <HEADER]>"},
        {"FETCH 1 BINARY[1.TEXT]", "BAD FETCH: a part number expected, not <TEXT]>"},
        {"FETCH 1 (MODSEQ EMAILID THREADID SAVEDATE PREVIEW)", "fetch 1 modseq emailid threadid savedate preview"},
        {"FETCH 1 (PREVIEW (LAZY) UID)", "fetch 1 preview.lazy uid"},
        {"FETCH 1 PREVIEW", "fetch 1 preview"},
        {"FETCH 1 FLAGS (CHANGEDSINCE 12345)", "fetch 1 flags modseq since 12345"},
        {"UID FETCH 300:500 (FLAGS) (CHANGEDSINCE 12345 VANISHED)",
         "uid fetch 300:500 flags uid modseq since 12345 vanished"},
        {"FETCH 300:500 FLAGS (CHANGEDSINCE 12345 VANISHED)", "BAD FETCH: VANISHED is for UID FETCH with CHANGEDSINCE"},
        {"UID FETCH 300 FLAGS (VANISHED)", "BAD UID FETCH: VANISHED is for UID FETCH with CHANGEDSINCE"},
        {"FETCH 1 ()", "BAD FETCH: FETCH without an item"},
        {"FETCH 1 FOO", "BAD FETCH: an item of FETCH expected, not <FOO>"},
        {"FETCH 0 FLAGS", "BAD FETCH: a number is zero that must not be"},
        {"FETCH 4294967296 FLAGS", "BAD FETCH: a number that is not too large expected, not <4294967296>"},
        {"FETCH 1, FLAGS", "BAD FETCH: a message number, a UID or \"*\" expected, not <>"},
        {"FETCH 1:2:3 FLAGS", "BAD FETCH: a blank expected, not <:3>"},
        {"STORE 1 FLAGS (\\Seen \\Deleted)", "store 1 ={12}"},
        {"STORE 1:2 +FLAGS.SILENT (\\Answered $Junk $junk work)", "store 1:2 +{1 $Junk work} silent"},
        {"UID STORE 7 -FLAGS \\Seen \\Draft foo", "uid store 7 -{24 foo}"},
        {"STORE 1 FLAGS ()", "store 1 ={0}"},
        {"STORE 1 (UNCHANGEDSINCE 320162338) +FLAGS.SILENT \\Deleted", "store 1 +{4} silent unless 320162338"},
        {"STORE 1 (UNCHANGEDSINCE 0) +FLAGS (\\Flagged)", "store 1 +{2} unless 0"},
        {"STORE 1 +FLAGS (\\Recent)", "BAD STORE: there is no flag \\Recent"},
        {"STORE 1 +FLAGS (\\Foo)", "BAD STORE: there is no flag \\Foo"},
        {"STORE 1 +FLAGS (a]b)", "BAD STORE: a flag expected, not <]b)>"},
        {"STORE 1 FLAGS", "BAD STORE: a blank expected at the end of the command"},
        {"STORE 1 FOO (\\Seen)", "BAD STORE: FLAGS or FLAGS.SILENT expected, not <FOO>"},
        {"STORE 1 FLAGS.SILENTLY (\\Seen)", "BAD STORE: FLAGS or FLAGS.SILENT expected, not <FLAGS.SILENTLY>"},
    };
    for (const auto& c : cases) check(c);
}

TEST_CASE("SEARCH, SORT and THREAD", "[imap][reader][rfc9051-6.4.4][rfc5256-5][rfc4731-3.1][rfc5032-3]")
{
    const Case cases[] = {
        {"SEARCH ALL", "search and(all)"},
        {"SEARCH 1:5 UNSEEN NOT DELETED", "search and(seq 1:5, unflag 8, not(flag 4))"},
        {"SEARCH (FLAGGED DRAFT) UNANSWERED", "search and(and(flag 2, flag 16), unflag 1)"},
        {"SEARCH OR SEEN OR (NEW) OLD RECENT", "search and(or(flag 8, or(and(new), old)), recent)"},
        {"UID SEARCH UID 1,5:* $", "uid search and(uid 1,5:0, seq $)"},
        {"SEARCH FROM \"a b\" TO x CC y BCC z SUBJECT s BODY b TEXT t",
         "search and(from <a b>, to <x>, cc <y>, bcc <z>, subject <s>, body <b>, text <t>)"},
        {"SEARCH HEADER Message-ID <a@b>", "search and(header Message-ID <<a@b>>)"},
        {"SEARCH HEADER X-A \"\"", "search and(header X-A)"},
        {"SEARCH SINCE 1-Feb-1994 BEFORE \"02-Mar-1994\" ON 29-Feb-2024",
         "search and(since day 8797, before day 8826, on day 19782)"},
        {"SEARCH SENTBEFORE 1-jan-1970 SENTON 2-Jan-1970 SENTSINCE 31-Dec-1969",
         "search and(sentbefore, senton day 1, sentsince day -1)"},
        {"SEARCH SAVEDBEFORE 3-Jan-1970 SAVEDON 3-Jan-1970 SAVEDSINCE 3-Jan-1970 SAVEDATESUPPORTED",
         "search and(savedbefore day 2, savedon day 2, savedsince day 2, savedates)"},
        {"SEARCH ON 32-Jan-1970", "BAD SEARCH: a date expected, not <-Jan-1970>"},
        {"SEARCH ON 1-Foo-1970", "BAD SEARCH: a month expected, not <Foo-1970>"},
        {"SEARCH ON 1-Jan-70", "BAD SEARCH: two digits expected at the end of the command"},
        {"SEARCH LARGER 5000000000 SMALLER 10", "search and(larger 5000000000, smaller 10)"},
        {"SEARCH OLDER 3600 YOUNGER 60", "search and(older 3600, younger 60)"},
        {"SEARCH OLDER 0", "BAD SEARCH: a number is zero that must not be"},
        {"SEARCH KEYWORD $Junk UNKEYWORD work", "search and(keyword <$Junk>, unkeyword <work>)"},
        {"SEARCH MODSEQ 620162338", "search and(modseq 620162338)"},
        {"SEARCH MODSEQ \"/flags/\\\\draft\" all 620162338", "search and(modseq 620162338)"},
        {"SEARCH EMAILID M6d99 THREADID T64b4", "search and(emailid <M6d99>, threadid <T64b4>)"},
        {"SEARCH EMAILID a.b", "BAD SEARCH: that is no object ID"},
        {"SEARCH RETURN () UNSEEN", "search extended all and(unflag 8)"},
        {"SEARCH RETURN (MIN MAX COUNT ALL SAVE) UNSEEN", "search extended min max all count save and(unflag 8)"},
        {"SEARCH RETURN (SAVE) UNSEEN", "search extended save and(unflag 8)"},
        {"SEARCH RETURN (FOO) UNSEEN", "BAD SEARCH: a return option of SEARCH expected, not <FOO)>"},
        {"SEARCH RETURN (COUNT) CHARSET UTF-8 TEXT \"\xc3\xa4\"", "search extended count and(text <\xc3\xa4>)"},
        {"SEARCH CHARSET us-ascii TEXT x", "search and(text <x>)"},
        {"SEARCH CHARSET ISO-8859-1 TEXT {1+}\r\n\xe4", "search and(text <\xc3\xa4>)"},
        {"SEARCH TEXT \"\xe4\"", "BAD SEARCH: the text to search for is not UTF-8"},
        {"SEARCH", "BAD SEARCH: a blank expected at the end of the command"},
        {"SEARCH ()", "BAD SEARCH: a search key expected, not <)>"},
        {"SEARCH (SEEN", "BAD SEARCH: a blank expected at the end of the command"},
        {"SEARCH SEEN)", "BAD SEARCH: a blank expected, not <)>"},
        {"SEARCH (SEEN)NEW", "BAD SEARCH: a blank expected, not <NEW>"},
        {"SEARCH FOO", "BAD SEARCH: a search key expected, not <FOO>"},
        {"SORT (SUBJECT REVERSE DATE) UTF-8 ALL", "sort subject -date and(all)"},
        {"UID SORT (ARRIVAL CC FROM SIZE TO) US-ASCII SEEN", "uid sort arrival cc from size to and(flag 8)"},
        {"SORT () UTF-8 ALL", "BAD SORT: what to sort by expected, not <)>"},
        {"SORT (DATE) ALL", "BAD SORT: a blank expected at the end of the command"},
        {"THREAD REFERENCES UTF-8 ALL", "thread references and(all)"},
        {"UID THREAD orderedsubject UTF-8 1:4", "uid thread orderedsubject and(seq 1:4)"},
        {"THREAD FOO UTF-8 ALL", "BAD THREAD: ORDEREDSUBJECT or REFERENCES expected, not <FOO>"},
    };
    for (const auto& c : cases) {
        if (c.line == "SORT (DATE) ALL") continue;
        check(c);
    }
    CHECK(seen("a SEARCH CHARSET X-NONE TEXT x\r\n").substr(0, 20) == "a NO [BADCHARSET (US");
    CHECK(seen("a SORT (DATE) ALL\r\n").substr(0, 17) == "a NO [BADCHARSET ");
}

TEST_CASE("literals that are asked for, and those that are not", "[imap][reader][rfc7888-3][rfc9051-4.3]")
{
    const auto none = [](Recorder&, ReaderLimits&, bool&) {};
    auto r = all_cuts("a LOGIN {5}\r\nalice {6}\r\nse{1}x\r\nb NOOP\r\n", none);
    CHECK(r.seen == "a login <alice> <se{1}x>\nb noop\n");
    CHECK(r.out == "+ OK\r\n+ OK\r\n");
    r = all_cuts("a LOGIN {5+}\r\nali\r\n \"\"\r\nb NOOP\n", none);
    CHECK(r.seen == "a login <ali\r\n> <>\nb noop\n");
    CHECK(r.out.empty());
    r = all_cuts("a LOGIN {0}\r\n {0+}\r\n\r\nb NOOP\r\n", none);
    CHECK(r.seen == "a login <> <>\nb noop\n");
    // The content ends with what would be a mark on a line of its own.
    CHECK(seen("a LOGIN {2+}\r\n{3 x\r\nb LOGIN {3+}\r\n{3+}\r\nc NOOP\r\n") ==
          "a login <{3> <x>\nb BAD LOGIN: a blank expected, not <}>\nc noop\n");
    // Not asked for where none can begin, and not for what is no command.
    r = all_cuts("a LOGIN x{5}\r\nb FOO {5}\r\nc NOOP\r\n", none);
    CHECK(r.seen == "a BAD LOGIN: a blank expected, not <{5}>\nb BAD there is no command FOO\nc noop\n");
    CHECK(r.out.empty());
}

TEST_CASE("after an error, literals that come unasked are passed over", "[imap][reader][rfc7888-4]")
{
    CHECK(seen("a FOO {5+}\r\nb BAR {3+}\r\n123 x\r\nc NOOP\r\n") == "a BAD there is no command FOO\nc noop\n");
    CHECK(seen("+ {5+}\r\n1\r\n34\r\nc NOOP\r\n") == "* BAD a tag expected\nc noop\n");
    const auto small = [](Recorder&, ReaderLimits& limits, bool&) { limits.command = 100; };
    auto r = all_cuts(cat("a LOGIN {200+}\r\n", std::string(200, 'x'), " {3+}\r\nabc\r\nb NOOP\r\n"), small);
    CHECK(r.seen == "a BAD [TOOBIG] a command has at most 100 bytes without messages\nb noop\n");
    r = all_cuts("a LOGIN {100000000}\r\nb NOOP\r\n", small);
    CHECK(r.seen == "a BAD [TOOBIG] a command has at most 100 bytes without messages\nb noop\n");
    CHECK(r.out.empty());
    // LITERAL-
    const auto minus = [](Recorder&, ReaderLimits& limits, bool&) {
        limits.literal_plus = false, limits.literal_minus = 4;
    };
    r = all_cuts(
        "a LOGIN {4+}\r\nabcd {5+}\r\nabcde\r\nb APPEND x {5+}\r\nabcde {6+}\r\nabcdef\r\nc LOGIN {5}\r\nabcde x\r\n",
        minus);
    CHECK(r.seen == "a BAD [TOOBIG] a non-synchronizing literal has at most 4 bytes\nb BAD [TOOBIG] a "
                    "non-synchronizing literal has at most 4 bytes\n"
                    "c login <abcde> <x>\n");
    // What is not worth reading ends the session.
    const auto patience = [](Recorder&, ReaderLimits& limits, bool&) { limits.swallow = 1000; };
    CHECK(all_cuts("a FOO {1001+}\r\n", patience).closed);
    CHECK(all_cuts("a FOO {99999999999999999999+}\r\n", patience).closed);
    CHECK(!all_cuts("a FOO {1000+}\r\n", patience).closed);
}

TEST_CASE("endless lines, deep keys and long sets are refused, and the session goes on", "[imap][reader][rfc9051-7.1]")
{
    const auto small = [](Recorder&, ReaderLimits& limits, bool&) { limits.command = 100; };
    const std::string refusal = "a BAD [TOOBIG] a command has at most 100 bytes without messages\n";
    CHECK(all_cuts(cat("a NOOP ", std::string(94, 'x'), "\r\nb NOOP\r\n"), small).seen == refusal + "b noop\n");
    CHECK(all_cuts(cat("a NOOP ", std::string(92, ' '), "\r\nb NOOP\r\n"), small).seen == "a noop\nb noop\n");
    CHECK(all_cuts(cat("a NOOP ", std::string(500, 'x'), "{3+}\r\nx\r\n {1}\r\nb NOOP\r\n"), small).seen ==
          refusal + "b noop\n");
    CHECK(all_cuts(cat("a NOOP ", std::string(1700, 'x')), small).closed);
    CHECK(all_cuts(std::string(5000, '\0'), small).closed);
    const auto depth = [](Recorder&, ReaderLimits& limits, bool&) { limits.depth = 5, limits.ranges = 3; };
    const std::string deep = "a BAD [TOOBIG] search keys may be nested 5 deep\n";
    CHECK(all_cuts("a SEARCH NOT NOT NOT NOT NOT SEEN\r\n", depth).seen ==
          "a search and(not(not(not(not(not(flag 8))))))\n");
    CHECK(all_cuts("a SEARCH NOT NOT NOT NOT NOT NOT SEEN\r\n", depth).seen == deep);
    CHECK(all_cuts("a SEARCH ((((((SEEN))))))\r\n", depth).seen == deep);
    CHECK(all_cuts("a SEARCH OR OR OR OR OR OR SEEN SEEN SEEN SEEN SEEN SEEN SEEN\r\n", depth).seen == deep);
    CHECK(all_cuts("a SEARCH 1,2 UID 3\r\nb SEARCH 1,2 UID 3,4\r\n", depth).seen ==
          "a search and(seq 1,2, uid 3)\nb BAD [TOOBIG] a command has at most 3 ranges of messages\n");
    // With the limits of a session: all of it in time and memory that a command's size bounds.
    std::string bomb = "a SEARCH ";
    for (int i = 0; i < 16000; ++i) bomb += "NOT ";
    CHECK(run(bomb + "SEEN\r\n", SIZE_MAX, [](Recorder&, ReaderLimits&, bool&) {}).seen ==
          "a BAD [TOOBIG] search keys may be nested 100 deep\n");
    std::string words = "a STORE 1 FLAGS (";
    for (int i = 0; i < 501; ++i) append(words, "k", i, " ");
    CHECK(run(words + ")\r\n", SIZE_MAX, [](Recorder&, ReaderLimits&, bool&) {}).seen ==
          "a NO [LIMIT] a command has at most 500 keywords\n");
    std::string items = "a FETCH 1 (";
    for (int i = 0; i < 257; ++i) items += "UID ";
    CHECK(run(items + ")\r\n", SIZE_MAX, [](Recorder&, ReaderLimits&, bool&) {}).seen ==
          "a BAD [TOOBIG] FETCH has at most 256 items\n");
}

TEST_CASE("bytes that are no command", "[imap][reader][rfc9051-2.2.1]")
{
    CHECK(seen("\r\n\r\na NOOP\r\n") == "a noop\n");
    CHECK(seen("a\r\n") == "a BAD a command expected\n");
    CHECK(seen("a* NOOP\r\nb+ NOOP\r\n NOOP\r\n") ==
          "* BAD a tag expected\n* BAD a tag expected\n* BAD a tag expected\n");
    CHECK(seen("GET / HTTP/1.0\r\n") == "GET BAD a command expected\n");
    CHECK(seen("a LOGIN x\0y z\r\nb LOGIN {3+}\r\nx\0y z\r\n"sv) ==
          "a BAD LOGIN: a blank expected, not <?y>\nb BAD LOGIN: a literal has a NUL byte\n");
    CHECK(seen("a LOGIN \"x\ry\" z\r\n") == "a BAD LOGIN: a quoted string has a byte that may only be in a literal\n");
    CHECK(seen(cat(std::string(201, 'a'), " NOOP\r\n")) == "* BAD a tag expected\n");
    const auto strikes = [](Recorder& recorder, ReaderLimits&, bool&) { recorder.strikes = 2; };
    const auto r = all_cuts("a FOO\r\nb FOO\r\nc NOOP\r\n", strikes);
    CHECK(r.seen == "a BAD there is no command FOO\nb BAD there is no command FOO\n");
    CHECK(r.closed);
}

TEST_CASE("APPEND streams its messages", "[imap][reader][rfc9051-6.3.12][rfc3502-6.3.11][rfc3516-4.4]")
{
    const auto none = [](Recorder&, ReaderLimits&, bool&) {};
    auto r = all_cuts(
        "a APPEND inbox (\\Seen x \\Recent) \" 7-Feb-1994 21:52:25 -0800\" {5}\r\nh\r\n\r\n\r\nb NOOP\r\n", none);
    CHECK(r.seen == "a append <INBOX>\nmessage 5{8 x} at 760686745\n:h\r\n\r\n;\na appended\nb noop\n");
    CHECK(r.out == "+ OK\r\n");
    CHECK(seen("a APPEND {5+}\r\nx {3} \"7-Feb-1994 21:52:25 +0000\" {2+}\r\nhi\r\n") ==
          "a append <x {3}>\nmessage 2{0} at 760657945\n:hi;\na appended\n");
    CHECK(seen("a APPEND x () {1+}\r\nh {2+}\r\n{} (\\Draft) {3+}\r\n1\n3 \r\nb NOOP\r\n") ==
          "a append <x>\nmessage 1{0}\n:h;\nmessage 2{0}\n:{};\nmessage 3{16}\n:1\n3;\na appended\nb noop\n");
    CHECK(seen("a APPEND x ~{3+}\r\na\0b\r\nb APPEND x UTF8 (~{1+}\r\nz) UTF8 (~{1+}\r\ny)\r\n"sv) ==
          "a append <x>\nmessage 3{0} binary\n:a\0b;\na appended\nb append <x>\nmessage 1{0} binary utf8\n:z;\n"
          "message 1{0} binary utf8\n:y;\nb appended\n"sv);
    CHECK(seen("a REPLACE 4 Drafts (\\Seen) {1+}\r\nx\r\nb UID REPLACE * d {1+}\r\nx\r\n") ==
          "a replace 4 <Drafts>\nmessage 1{8}\n:x;\na appended\nb uid replace 0 <d>\nmessage 1{0}\n:x;\nb appended\n");
}

TEST_CASE("APPEND that breaks in the midst", "[imap][reader][rfc3502-6.3.11][rfc7888-4]")
{
    const auto none = [](Recorder&, ReaderLimits&, bool&) {};
    // before its first message
    auto r = all_cuts("a APPEND x (\\Foo) {3}\r\nb APPEND x {2+}\r\n12{1}\r\nc APPEND\r\nd APPEND x (\\Foo) "
                      "{3+}\r\n123 {1+}\r\n1\r\ne APPEND x hi\r\nf APPEND x {0}\r\n",
                      none);
    CHECK(r.seen == "a BAD APPEND: there is no flag \\Foo\n"
                    "b append <x>\nmessage 2{0}\n:12;\nb aborted BAD APPEND: a blank expected, not <{1}>\n"
                    "c BAD APPEND without a message as a literal\n"
                    "d BAD APPEND: there is no flag \\Foo\n"
                    "e BAD APPEND without a message as a literal\n"
                    "f NO APPEND: a message of no bytes is not kept\n");
    CHECK(r.out.empty());
    // a refusal of the mailbox, of a message, and of its bytes
    CHECK(seen("a APPEND none {3+}\r\nabc (\\Seen) {2+}\r\nxx\r\nb NOOP\r\n") ==
          "a append <none>\na aborted NO [TRYCREATE] none\nb noop\n");
    r = all_cuts("a APPEND none {3}\r\nb NOOP\r\n", none);
    CHECK(r.seen == "a append <none>\na aborted NO [TRYCREATE] none\nb noop\n");
    CHECK(r.out.empty());
    const auto limit = [](Recorder& recorder, ReaderLimits&, bool&) { recorder.append_limit = 4; };
    CHECK(all_cuts("a APPEND x {4+}\r\n1234 {5+}\r\n12345 {1+}\r\n1\r\nb NOOP\r\n", limit).seen ==
          "a append <x>\nmessage 4{0}\n:1234;\nmessage 5{0}\n:a aborted NO [TOOBIG] large\nb noop\n");
    const auto disk = [](Recorder& recorder, ReaderLimits&, bool&) { recorder.disk = 6; };
    CHECK(all_cuts("a APPEND x {4+}\r\n1234 {5+}\r\n12345 {1+}\r\n1\r\nb NOOP\r\n", disk).seen ==
          "a append <x>\nmessage 4{0}\n:1234;\nmessage 5{0}\n:12a aborted NO disk full\nb noop\n");
    CHECK(all_cuts("a APPEND x {7}\r\n1234567\r\nb NOOP\r\n", disk).seen ==
          "a append <x>\nmessage 7{0}\n:123456a aborted NO disk full\nb noop\n");
    CHECK(seen("a APPEND x {1+}\r\n1 (\\Foo) {2+}\r\nyy\r\nb NOOP\r\n") ==
          "a append <x>\nmessage 1{0}\n:1;\na aborted BAD APPEND: there is no flag \\Foo\nb noop\n");
    CHECK(
        seen("a REPLACE 1 x {1+}\r\n1 {2+}\r\nyy\r\nb NOOP\r\n") ==
        "a replace 1 <x>\nmessage 1{0}\n:1;\na aborted BAD APPEND: the end of the command expected, not <>\nb noop\n");
}

TEST_CASE("SASL's lines and IDLE's end are no commands", "[imap][reader][rfc4959-3][rfc9051-6.3.13]")
{
    CHECK(seen("a AUTHENTICATE plain\r\nAGEAYg==\r\nb NOOP\r\n") == "a authenticate PLAIN\nsasl <AGEAYg==>\nb noop\n");
    CHECK(seen("a AUTHENTICATE PLAIN YWI=\r\n*\r\n") == "a authenticate PLAIN <ab>\nsasl <*>\n");
    CHECK(seen("a AUTHENTICATE EXTERNAL =\r\n\r\nb NOOP\r\n") == "a authenticate EXTERNAL <>\nsasl <>\nb noop\n");
    CHECK(seen("a AUTHENTICATE PLAIN Y\r\n") == "a BAD AUTHENTICATE: the initial response is not base64\n");
    CHECK(seen("a IDLE\r\ndone\r\nb NOOP\r\nc IDLE\r\nx\r\nd IDLE\r\nDONE\r\n") ==
          "a idle\ndone\nb noop\nc idle\nnot done\nd idle\ndone\n");
    const auto small = [](Recorder&, ReaderLimits& limits, bool&) { limits.command = 50; };
    CHECK(all_cuts(cat("a AUTHENTICATE PLAIN\r\n", std::string(70, 'A'), "\r\nb NOOP\r\n"), small).seen ==
          "a authenticate PLAIN\nsasl <*>\nb noop\n");
    CHECK(all_cuts(cat("a IDLE\r\n", std::string(70, 'A'), "\r\nb NOOP\r\n"), small).seen ==
          "a idle\nnot done\nb noop\n");
}

TEST_CASE("one command at a time is handed over, and what was not looked at can be taken",
          "[imap][reader][rfc9051-5.5]")
{
    Recorder recorder;
    const ReaderLimits limits;
    Reader reader(recorder, limits);
    recorder.reader = &reader;
    recorder.wait = true;
    std::string out;
    reader.feed("a NOOP\r\nb CHECK\r\nc LOG", out);
    CHECK(recorder.seen == "a noop\n");
    CHECK(reader.busy());
    CHECK(reader.held() == 14);
    reader.feed("OUT\r\nd LOGIN {1}\r\nx y\r\n", out);
    CHECK(recorder.seen == "a noop\n");
    reader.resume(out);
    CHECK(recorder.seen == "a noop\nb check\n");
    reader.resume(out);
    CHECK(recorder.seen == "a noop\nb check\nc logout\n");
    CHECK(out.empty());
    CHECK(reader.take_rest() == "d LOGIN {1}\r\nx y\r\n");
    CHECK(reader.held() == 0);
    reader.resume(out);
    CHECK(!reader.busy());
    reader.feed("e NO", out);
    CHECK(reader.take_rest() == "e NO");
    reader.feed("f NOOP\r\n", out);
    CHECK(recorder.seen == "a noop\nb check\nc logout\nf noop\n");
}
