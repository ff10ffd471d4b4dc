// sendmail(1): every caller's argument list, and the rules they were distilled into.
#include "t/unit/catch.h"

#include "submission/sendmail/arguments.h"

using namespace veredus;
using namespace veredus::sendmail;

namespace {

using Words = std::vector<std::string>;

Invocation parsed(Words words, const std::string& program = "/usr/sbin/sendmail")
{
    words.insert(words.begin(), program);
    auto inv = parse_arguments(words);
    INFO((inv ? "" : inv.error().text));
    REQUIRE(inv);
    return *inv;
}

int refused(Words words)
{
    words.insert(words.begin(), "sendmail");
    auto inv = parse_arguments(words);
    REQUIRE_FALSE(inv);
    CHECK_FALSE(inv.error().text.empty());
    return inv.error().code;
}

struct Case {
    const char* caller;
    Words argv;
    bool header = false;                 // -t
    bool dot_ends = true;
    std::optional<std::string> sender{};
    std::optional<std::string> name{};
    Words operands{};
    bool eight_bit = false;
};

}  // namespace

TEST_CASE("each known caller's argument list means what the caller means", "[sendmail]")
{
    const Case cases[] = {
        {"PHP mail()", {"-t", "-i"}, true, false},
        {"PHP mail() with a 5th argument", {"-t", "-i", "-fuser@x"}, true, false, "user@x"},
        {"froxlor", {"-t", "-i", "-f", "user"}, true, false, "user"},
        {"Symfony -t", {"-t"}, true, true},
        {"Symfony with a sender", {"-i", "-fs@example.org", "--", "a@x", "b@y"}, false, false, "s@example.org", {}, {"a@x", "b@y"}},
        {"Ruby mail", {"-i", "-f", "from@x", "--", "to@y"}, false, false, "from@x", {}, {"to@y"}},
        {"Nodemailer", {"-i", "-f", "from@x", "to@y", "to@z"}, false, false, "from@x", {}, {"to@y", "to@z"}},
        {"git send-email", {"-f", "from@x", "-i", "r1@y", "r2@y"}, false, false, "from@x", {}, {"r1@y", "r2@y"}},
        {"Dovecot, null sender", {"-i", "-f", "<>", "--", "r@y"}, false, false, "", {}, {"r@y"}},
        {"Dovecot", {"-i", "-f", "<a@b>", "--", "r@y"}, false, false, "a@b", {}, {"r@y"}},
        {"cronie", {"-FCronDaemon", "-i", "-odi", "-oem", "-oi", "-t", "-f", "root"}, true, false, "root", "CronDaemon"},
        {"Debian cron", {"-FCronDaemon", "-i", "-B8BITMIME", "-oem", "joe"}, false, false, {}, "CronDaemon", {"joe"}, true},
        {"Debian cron, other order", {"-i", "-FCronDaemon", "-B8BITMIME", "-oem", "joe"}, false, false, {}, "CronDaemon", {"joe"}, true},
        {"systemd-cron", {"-i", "-B", "8BITMIME", "joe"}, false, false, {}, {}, {"joe"}, true},
        {"old Vixie cron", {"-FCronDaemon", "-odi", "-oem", "-oi", "-t"}, true, false, {}, "CronDaemon"},
        {"old Vixie cron, -or0s", {"-FCronDaemon", "-odi", "-oem", "-or0s", "joe"}, false, true, {}, "CronDaemon", {"joe"}},
        {"anacron", {"-FAnacron", "-odi", "root"}, false, true, {}, "Anacron", {"root"}},
        {"at", {"-i", "joe"}, false, false, {}, {}, {"joe"}},
        {"mdadm", {"-t"}, true, true},
        {"mdadm, glued sender", {"-t", "-froot@host"}, true, true, "root@host"},
        {"busybox", {"-ti"}, true, false},
        {"mutt", {"-oem", "-oi", "--", "a@x"}, false, false, {}, {}, {"a@x"}},
        {"mutt with everything", {"-oem", "-oi", "-f", "me@x", "-N", "failure,delay", "-R", "full", "-B", "8BITMIME", "--", "a@x"},
         false, false, "me@x", {}, {"a@x"}, true},
        {"s-nail", {"-i", "-m", "-r", "me@x", "--", "a@x, b@y"}, false, false, "me@x", {}, {"a@x, b@y"}},
        {"mailutils", {"-oi", "-f", "root@host", "-t"}, true, false, "root@host"},
        {"sudo, logwatch", {"-t"}, true, true},
        {"unattended-upgrades", {"-oi", "-t"}, true, false},
        {"sendbug", {"-t", "-oi", "bugs@x"}, true, false, {}, {}, {"bugs@x"}},
        {"spamc loop-back", {"-oi", "-f", "s@x", "r@y"}, false, false, "s@x", {}, {"r@y"}},
    };
    for (const Case& c : cases) {
        INFO(c.caller);
        const Invocation inv = parsed(c.argv);
        CHECK(inv.mode == Mode::deliver);
        CHECK(inv.header_recipients == c.header);
        CHECK(inv.dot_ends == c.dot_ends);
        CHECK(inv.sender == c.sender);
        CHECK(inv.full_name == c.name);
        CHECK(inv.operands == c.operands);
        CHECK((inv.body == mail::Body::eight_bit) == c.eight_bit);
        CHECK(inv.warnings.empty());
    }
}

TEST_CASE("options and operands come in any order, letters in groups, values glued or next", "[sendmail]")
{
    CHECK(parsed({"root", "-t", "-i"}).operands == Words{"root"});
    CHECK(parsed({"root", "-t", "-i"}).header_recipients);
    CHECK_FALSE(parsed({"-ti"}).dot_ends);
    CHECK(parsed({"-tifjoe"}).sender == "joe");
    CHECK(parsed({"-ti", "-f", "--probe", "r"}).sender == "--probe");      // a value that looks like an option is a value
    CHECK(parsed({"-F", "-x", "r"}).full_name == "-x");
    CHECK(parsed({"-f", "", "r"}).sender == "");
    CHECK(parsed({"-f", " <a@b> ", "r"}).sender == "a@b");
    CHECK(parsed({"-f", "a", "-r", "b"}).sender == "b");
}

TEST_CASE("two dashes end the options once; a lone dash is an operand", "[sendmail]")
{
    CHECK(parsed({"--", "-t", "--", "x"}).operands == Words{"-t", "--", "x"});
    CHECK_FALSE(parsed({"--", "-t"}).header_recipients);
    CHECK(parsed({"-", "x"}).operands == Words{"-", "x"});
}

TEST_CASE("old -o options: -oi is -i, -oA names a file, the others change nothing", "[sendmail]")
{
    CHECK_FALSE(parsed({"-oi", "r"}).dot_ends);
    CHECK_FALSE(parsed({"-o", "i", "r"}).dot_ends);
    for (const char* word : {"-oem", "-oep", "-odi", "-odb", "-odq", "-odd", "-ov", "-om", "-o7", "-o8", "-or0s", "-oQ/var/spool/mqueue", "-oT3d"}) {
        INFO(word);
        const Invocation inv = parsed({word, "r"});
        CHECK(inv.operands == Words{"r"});
        CHECK(inv.dot_ends);
        CHECK(inv.warnings.empty());
    }
    CHECK(parsed({"-oA/etc/aliases"}).alias_file == "/etc/aliases");
    CHECK(parsed({"-oA", "/etc/aliases"}).alias_file == "/etc/aliases");
    CHECK(parsed({"-oe", "m", "r"}).operands == Words{"r"});
    CHECK(parsed({"-oe", "root"}).operands == Words{"root"});
    CHECK(parsed({"-oi", "m"}).operands == Words{"m"});
    CHECK(parsed({"-O", "DeliveryMode=b", "r"}).operands == Words{"r"});
    CHECK(parsed({"-OErrorMode=m", "r"}).operands == Words{"r"});
}

TEST_CASE("a bare -d or -e takes the next word only when that is no option", "[sendmail]")
{
    CHECK_FALSE(parsed({"-d", "-i", "r"}).dot_ends);
    CHECK(parsed({"-d", "0.1", "r"}).operands == Words{"r"});
    CHECK(parsed({"-d0.1", "r"}).operands == Words{"r"});
    CHECK(parsed({"-e", "m", "r"}).operands == Words{"r"});
    CHECK(parsed({"-em", "r"}).operands == Words{"r"});
    CHECK(parsed({"-e", "-t"}).header_recipients);
}

TEST_CASE("line breaks in addresses and names are refused as usage errors", "[sendmail]")
{
    CHECK(refused({"-f", "a@b\nBcc: x@y", "r"}) == EX_USAGE);
    CHECK(refused({"-fa@b\r", "r"}) == EX_USAGE);
    CHECK(refused({"-F", "Joe\nX: y", "r"}) == EX_USAGE);
    CHECK(refused({"a@b\nRCPT TO:<x@y>"}) == EX_USAGE);
    CHECK(refused({"--", "a\r@b"}) == EX_USAGE);
    CHECK(parse_operand("a@b\nc").error().code == EX_USAGE);
    CHECK(parse_operand(std::string_view("a@b\0c", 5)).error().code == EX_USAGE);
}

TEST_CASE("values that mean something are checked", "[sendmail][rfc3461-4]")
{
    CHECK(refused({"-f"}) == EX_USAGE);
    CHECK(refused({"-N", "never,failure", "r"}) == EX_USAGE);
    CHECK(refused({"-N", "sometimes", "r"}) == EX_USAGE);
    CHECK(refused({"-R", "some", "r"}) == EX_USAGE);
    CHECK(refused({"-V", "a b", "r"}) == EX_USAGE);
    CHECK(refused({"-V", std::string(101, 'x'), "r"}) == EX_USAGE);
    CHECK(parsed({"-N", "never"}).notify == mail::notify_never);
    CHECK(parsed({"-Nsuccess,failure"}).notify == (mail::notify_success | mail::notify_failure));
    CHECK(parsed({"-N", "SUCCESS,delay"}).notify == (mail::notify_success | mail::notify_delay));
    CHECK(parsed({"-R", "hdrs"}).ret == mail::Ret::headers);
    CHECK(parsed({"-Rfull"}).ret == mail::Ret::full);
    CHECK(parsed({"-V", "QQ314159"}).envid == "QQ314159");
    CHECK(parsed({"-B7BIT"}).body == mail::Body::seven_bit);
}

TEST_CASE("every -b mode and every name of the program", "[sendmail]")
{
    const std::pair<Words, Mode> modes[] = {
        {{"-bm"}, Mode::deliver}, {{"-bs"}, Mode::smtp}, {{"-bp"}, Mode::list}, {{"-bi"}, Mode::aliases}, {{"-I"}, Mode::aliases},
        {{"-bv", "x"}, Mode::verify}, {{"-bd"}, Mode::daemon}, {{"-bD"}, Mode::foreground}, {{"-bl"}, Mode::daemon},
        {{"-bt"}, Mode::address_test}, {{"-bh"}, Mode::host_status}, {{"-bH"}, Mode::purge_status}, {{"-q"}, Mode::flush},
        {{"-bd", "-q30m"}, Mode::daemon}, {{"-q30m"}, Mode::daemon}, {{"-b", "p"}, Mode::list}, {{"--help"}, Mode::help},
        {{"--version"}, Mode::version}, {{"-q30m", "-bd"}, Mode::daemon},
    };
    for (const auto& [words, mode] : modes) {
        INFO(words[0]);
        CHECK(parsed(words).mode == mode);
    }
    const std::pair<const char*, Mode> names[] = {
        {"mailq", Mode::list}, {"/usr/bin/newaliases", Mode::aliases}, {"sendmail", Mode::deliver}, {"send-mail", Mode::deliver},
        {"smtpd", Mode::daemon}, {"hoststat", Mode::host_status}, {"purgestat", Mode::purge_status}, {"runq", Mode::flush},
        {"rmail", Mode::deliver}, {"rsmtp", Mode::smtp},
    };
    for (const auto& [name, mode] : names) {
        INFO(name);
        CHECK(parsed({}, name).mode == mode);
    }
    CHECK(parsed({"a"}, "rmail").from_line_sender);
    CHECK(parsed({}, "rsmtp").batch_smtp);
    CHECK(parsed({"-j"}, "mailq").json);
    CHECK(parsed({"-Ac"}, "mailq").mode == Mode::list);
    CHECK(parsed({"-Am"}, "mailq").warnings.empty());
    CHECK(parse_arguments({})->mode == Mode::deliver);
}

TEST_CASE("queue runs name an ID, a recipient or a sender", "[sendmail]")
{
    CHECK(parsed({"-qI4F3C91A0B2"}).flush_id == "4F3C91A0B2");
    CHECK(parsed({"-qRexample.org"}).flush_recipient == "example.org");
    CHECK(parsed({"-qSa@b"}).flush_sender == "a@b");
    CHECK(parsed({"-qSa@b"}).mode == Mode::flush);
    CHECK(refused({"-qZ1"}) == EX_USAGE);
    CHECK(refused({"-qI"}) == EX_USAGE);
}

TEST_CASE("an unknown letter is warned of once and ignored with the rest of its word", "[sendmail]")
{
    const Invocation inv = parsed({"-Zfevil", "-Y", "-i", "r"});
    CHECK(inv.warnings.size() == 1);
    CHECK_FALSE(inv.sender);
    CHECK_FALSE(inv.dot_ends);
    CHECK(inv.operands == Words{"r"});
    CHECK(parsed({"-Gimnx", "-U", "-v", "-h", "3", "-p", "ESMTP:x", "-X/tmp/log", "-L", "tag", "r"}).warnings.empty());
    CHECK(parsed({"-vv", "r"}).operands == Words{"r"});
    CHECK(parsed({"-C/x/main.cf"}).config_directory == "/x");
    CHECK(parsed({"-C", "/x"}).config_directory == "/x");
    CHECK(parsed({"-C/etc/mail/sendmail.cf"}).warnings.size() == 1);
}

TEST_CASE("commas part addresses of one argument, but not within quotes", "[sendmail][rfc5322-3.4]")
{
    const auto texts = [](const char* operand) {
        std::string out;
        auto addresses = parse_operand(operand);
        REQUIRE(addresses);
        for (const auto& a : *addresses) out += a.text() + " ";
        return out;
    };
    CHECK(texts("a@x, b@y") == "a@x b@y ");
    CHECK(texts("\"a,b\"@x,c") == "\"a,b\"@x c ");
    CHECK(texts("Joe <joe@x>") == "joe@x ");
    CHECK(texts("<root>") == "root ");
    CHECK(texts(" , ,") == "");
    CHECK(parse_operand("a@@b").error().code == EX_DATAERR);
    CHECK(parse_operand("\"open").error().code == EX_DATAERR);
    CHECK(parse_sender("a@b, c@d").error().code == EX_USAGE);
    CHECK(parse_sender("")->empty());
    CHECK(parse_sender("Joe <joe@x>")->text() == "joe@x");
}
