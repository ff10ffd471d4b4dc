// The login stage: the PROXY header, POP3 before the login, guests with an authd and a master of the test's, tickets,
// and sessions as master keeps them.
#include "t/unit/catch.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "lib/base/base64.h"
#include "lib/base/text.h"
#include "lib/daemon/confine.h"
#include "lib/log/log.h"
#include "lib/login/guests.h"
#include "lib/login/lock_keeper.h"
#include "lib/login/proxy_header.h"
#include "lib/login/session.h"
#include "lib/pop3/login.h"
#include "lib/pop3/uidl.h"
#include "lib/tls/digest.h"
#include "master/sessions.h"
#include "master/tickets.h"

using namespace veredus;
using namespace std::chrono_literals;
using namespace std::string_literals;
using Heard = login::ProxyHeader::Heard;
using Wants = login::Dialect::Wants;

namespace {

// The header at once, or byte by byte; what is left of the input.
struct Proxied {
    Heard heard = Heard::more;
    std::string source, destination, rest;
    bool named = false;
};
Proxied proxied(std::string input, std::size_t step)
{
    login::ProxyHeader header;
    Proxied out;
    std::string waiting;
    for (std::size_t at = 0; at < input.size() && out.heard == Heard::more;) {
        const std::size_t n = std::min(step, input.size() - at);
        waiting += input.substr(at, n);
        at += n;
        std::size_t taken = 0;
        out.heard = header.feed(waiting, taken);
        REQUIRE(taken <= waiting.size());
        // What is not taken is looked at again with what comes behind it: but while there is more to come, all is the
        // header's.
        if (out.heard == Heard::more) CHECK(taken == waiting.size());
        waiting.erase(0, taken);
        out.rest = waiting + input.substr(at);
    }
    out.named = header.names_client();
    if (out.named) {
        out.source = header.source().text();
        out.destination = header.destination().text();
    }
    return out;
}

std::string binary(unsigned version_command, unsigned family, const std::string& rest)
{
    std::string out("\r\n\r\n\0\r\nQUIT\n", 12);
    out += static_cast<char>(version_command);
    out += static_cast<char>(family);
    out += static_cast<char>(rest.size() >> 8);
    out += static_cast<char>(rest.size() & 255);
    return out + rest;
}

const std::string four = "\xC0\x00\x02\x07\xC0\x00\x02\x01\x9C\x40\x00\x6E"s; // 192.0.2.7:40000 to 192.0.2.1:110

} // namespace

TEST_CASE("a PROXY header of either version names the client, and takes no byte behind it", "[login][proxy]")
{
    const struct {
        std::string header, source, destination;
    } cases[] = {
        {"PROXY TCP4 192.0.2.7 192.0.2.1 40000 110\r\n", "192.0.2.7:40000", "192.0.2.1:110"},
        {"PROXY TCP6 2001:db8::7 2001:db8::1 40000 995\r\n", "[2001:db8::7]:40000", "[2001:db8::1]:995"},
        {"PROXY UNKNOWN\r\n", "", ""},
        {"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:192.0.2.1 40000 995\r\n", "192.0.2.7:40000", "192.0.2.1:995"},
        {"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "", ""},
        {binary(0x21, 0x11, four), "192.0.2.7:40000", "192.0.2.1:110"},
        {binary(0x21, 0x11, four + "\x03\x00\x04"s + "abcd"), "192.0.2.7:40000", "192.0.2.1:110"}, // with a TLV
        {binary(0x21, 0x21,
                "\x20\x01\x0d\xb8"s + std::string(11, '\0') + "\x07" + "\x20\x01\x0d\xb8"s + std::string(11, '\0') +
                    "\x01" + "\x9C\x40\x00\x6E"s),
         "[2001:db8::7]:40000", "[2001:db8::1]:110"},
        {binary(0x20, 0x00, ""), "", ""},                    // LOCAL
        {binary(0x21, 0x31, std::string(216, 'x')), "", ""}, // a Unix socket
    };
    for (const auto& c : cases)
        for (const std::size_t step : {std::size_t{1}, std::size_t{5}, std::size_t{4096}}) {
            INFO(printable(c.header) << " by " << step);
            const auto got = proxied(c.header + "USER alice\r\n", step);
            CHECK(got.heard == Heard::done);
            CHECK(got.rest == "USER alice\r\n");
            CHECK(got.named == !c.source.empty());
            CHECK(got.source == c.source);
            CHECK(got.destination == c.destination);
        }
}

TEST_CASE("what is no PROXY header is refused, and never kept for long", "[login][proxy]")
{
    const std::string bad[] = {
        "USER alice\r\n",
        "PROXY TCP4 192.0.2.7 192.0.2.1 40000\r\n",
        "PROXY TCP4 192.0.2.7 192.0.2.1 40000 110 1\r\n",
        "PROXY TCP4 2001:db8::7 2001:db8::1 40000 110\r\n",
        "PROXY TCP6 192.0.2.7 192.0.2.1 40000 110\r\n",
        "PROXY TCP4 192.0.2.7 192.0.2.1 70000 110\r\n",
        "PROXY TCP4 192.0.2.7 192.0.2.1 40000 110\n",
        "PROXY\r\n",
        "PROXY TCP4 192.0.2.7\r\n",
        "PROXY TCP5 192.0.2.7 192.0.2.1 40000 110\r\n",
        "PROXY " + std::string(200, 'x') + "\r\n",
        "\r\n\r\nX",
        binary(0x11, 0x11, four),
        binary(0x22, 0x11, four),
        binary(0x21, 0x11, "abc"),
        binary(0x21, 0x21, four),
        binary(0x21, 0x11, four + std::string(4000, 'x')),
    };
    for (const std::string& text : bad)
        for (const std::size_t step : {std::size_t{1}, std::size_t{4096}}) {
            INFO(printable(text));
            CHECK(proxied(text, step).heard == Heard::bad);
        }
    CHECK(proxied("PROXY TCP4 192.0.2.7 ", 1).heard == Heard::more);
}

// --- POP3 before the login

namespace {

login::Circumstances circumstances(bool passwords = true, bool starttls = true)
{
    login::Circumstances now;
    now.greeting = "veredus ready.";
    now.passwords = passwords;
    now.starttls = starttls;
    now.mechanisms = {"SCRAM-SHA-256"};
    if (passwords) now.mechanisms.emplace_back("PLAIN");
    return now;
}

struct Pop3 {
    pop3::Login dialect{"EXPIRE NEVER\r\n"};
    std::string out;
    explicit Pop3(const login::Circumstances& now = circumstances()) { dialect.set(now); }
    Wants say(std::string_view text)
    {
        out.clear();
        return dialect.feed(text, out);
    }
};

} // namespace

TEST_CASE("POP3 before the login answers each command in its place", "[pop3][login]")
{
    Pop3 p;
    p.dialect.greet(p.out);
    CHECK(p.out == "+OK veredus ready.\r\n");
    CHECK(p.say("CAPA\r\n") == Wants::input);
    for (const char* line : {"\r\nSTLS\r\n", "\r\nUSER\r\n", "\r\nSASL SCRAM-SHA-256 PLAIN\r\n", "\r\nPIPELINING\r\n",
                             "\r\nEXPIRE NEVER\r\n", "\r\nAUTH-RESP-CODE\r\n"})
        CHECK(p.out.find(line) != std::string::npos);
    CHECK(p.out.ends_with("\r\n.\r\n"));
    CHECK(p.say("AUTH\r\n") == Wants::input);
    CHECK(p.out == "+OK\r\nSCRAM-SHA-256\r\nPLAIN\r\n.\r\n");
    CHECK(p.say("PASS x\r\n") == Wants::input);
    CHECK(p.out == "-ERR No username given.\r\n");
    CHECK(p.say("user alice\r\n") == Wants::input);
    CHECK(p.out == "+OK\r\n");
    CHECK(p.say("PASS  a b \r\n") == Wants::begin);
    CHECK(p.dialect.asked().mechanism == "PLAIN");
    CHECK(p.dialect.asked().initial == "\0alice\0 a b "s); // RFC 1939 §7: blanks are the password's
    p.out.clear();
    CHECK(p.dialect.refused(login::Refusal::password, p.out) == Wants::input);
    CHECK(p.out == "-ERR [AUTH] Authentication failed.\r\n");
    CHECK(p.say("STAT\r\n") == Wants::input);
    CHECK(p.out == "-ERR Unknown command.\r\n");
    CHECK_FALSE(p.dialect.said_goodbye());
    CHECK(p.say("QUIT\r\n") == Wants::close);
    CHECK(p.dialect.said_goodbye());
}

TEST_CASE("POP3 greets with a timestamp where there is one, and takes APOP only then", "[pop3][login][rfc1939-7]")
{
    auto now = circumstances(false);
    now.timestamp = "<1896.697170952@veredus>";
    now.login_delay_s = 60;
    Pop3 p(now);
    p.dialect.greet(p.out);
    CHECK(p.out == "+OK veredus ready. <1896.697170952@veredus>\r\n");
    CHECK(p.say("APOP a b c4c9334bac560ecc979e58001b3e22fb\r\n") == Wants::begin); // in clear: no password goes over the line
    CHECK(p.dialect.asked().mechanism == "APOP");
    CHECK(p.dialect.asked().initial == "a b c4c9334bac560ecc979e58001b3e22fb");
    p.out.clear();
    CHECK(p.dialect.refused(login::Refusal::password, p.out) == Wants::input);
    CHECK(p.say("CAPA\r\n") == Wants::input);
    CHECK(p.out.find("\r\nLOGIN-DELAY 60\r\n") != std::string::npos);
    Pop3 without;
    CHECK(without.say("APOP alice c4c9334bac560ecc979e58001b3e22fb\r\n") == Wants::input);
    CHECK(without.out == "-ERR The greeting had no timestamp.\r\n");
}

TEST_CASE("where PLAIN is switched off, CAPA has no USER", "[pop3][login][rfc2449-6.3]")
{
    auto now = circumstances();
    now.mechanisms = {"SCRAM-SHA-256"};
    Pop3 p(now);
    CHECK(p.say("CAPA\r\n") == Wants::input);
    CHECK(p.out.find("\r\nUSER\r\n") == std::string::npos);
    CHECK(p.out.find("\r\nSASL SCRAM-SHA-256\r\n") != std::string::npos);
}

TEST_CASE("POP3's AUTH takes an initial response, challenges, and a client that gives up", "[pop3][login][rfc5034-4]")
{
    Pop3 p;
    CHECK(p.say("AUTH PLAIN AGEAYg==\r\n") == Wants::begin);
    CHECK(p.dialect.asked().initial == "\0a\0b"s);
    p.out.clear();
    (void)p.dialect.refused(login::Refusal::unavailable, p.out);
    CHECK(p.out.starts_with("-ERR [SYS/TEMP] "));
    CHECK(p.say("AUTH PLAIN =\r\n") == Wants::begin);
    CHECK(p.dialect.asked().initial == "");
    (void)p.dialect.refused(login::Refusal::malformed, p.out);
    CHECK(p.say("AUTH PLAIN\r\n") == Wants::begin);
    CHECK_FALSE(p.dialect.asked().initial);
    p.out.clear();
    CHECK(p.dialect.challenge("", p.out) == Wants::input);
    CHECK(p.out == "+ \r\n");
    CHECK(p.say("AGEAYg==\r\n") == Wants::step);
    CHECK(p.dialect.asked().response == "\0a\0b"s);
    p.out.clear();
    CHECK(p.dialect.challenge("more", p.out) == Wants::input);
    CHECK(p.say("*\r\n") == Wants::cancel);
    CHECK(p.out == "-ERR Authentication cancelled.\r\n");
    CHECK(p.say("") == Wants::input);
    CHECK(p.say("AUTH PLAIN !!\r\n") == Wants::input);
    CHECK(p.out.starts_with("-ERR "));
    CHECK(p.say("AUTH PLAIN\r\n") == Wants::begin);
    (void)p.dialect.challenge("", p.out);
    CHECK(p.say("not base64\r\n") == Wants::cancel);
}

TEST_CASE("POP3 takes no password in clear, and forgets what came before TLS", "[pop3][login][rfc2595-4]")
{
    Pop3 p(circumstances(false));
    CHECK(p.say("CAPA\r\n") == Wants::input);
    CHECK(p.out.find("USER\r\n") == p.out.find("UTF8 USER\r\n") + 5);
    CHECK(p.out.find("PLAIN") == std::string::npos);
    CHECK(p.say("USER alice\r\n") == Wants::input);
    CHECK(p.out.starts_with("-ERR [AUTH] Plaintext authentication disallowed"));
    CHECK(p.say("STLS\r\nUSER mallory\r\nPASS x\r\n") == Wants::starttls);
    CHECK(p.out == "+OK Begin TLS negotiation now.\r\n");
    p.dialect.secured();
    auto now = circumstances(true, false);
    now.tls = true;
    p.dialect.set(now);
    CHECK(p.say("PASS x\r\n") == Wants::input);
    CHECK(p.out == "-ERR No username given.\r\n");
    CHECK(p.say("STLS\r\n") == Wants::input);
    CHECK(p.out.starts_with("-ERR TLS is active"));
}

TEST_CASE("what is pipelined behind a POP3 login goes to the session, byte for byte and in any cut", "[pop3][login]")
{
    const std::string input = "USER alice\r\nPASS secret\r\nSTAT\r\nRETR 1\r\nQU";
    Pop3 whole;
    CHECK(whole.say(input) == Wants::begin);
    CHECK(whole.dialect.hand_over().input == "STAT\r\nRETR 1\r\nQU");
    Pop3 drop;
    Wants wants = Wants::input;
    std::size_t at = 0;
    for (; at < input.size() && wants == Wants::input; ++at) wants = drop.say(input.substr(at, 1));
    CHECK(wants == Wants::begin);
    CHECK(input.substr(at) == "STAT\r\nRETR 1\r\nQU");
    CHECK(drop.dialect.asked().initial == whole.dialect.asked().initial);
}

TEST_CASE("POP3 lines are bounded, and whoever speaks another protocol is dismissed", "[pop3][login]")
{
    Pop3 p;
    CHECK(p.say(std::string(40'000, 'x')) == Wants::input);
    CHECK(p.say(std::string(40'000, 'x') + "\r\n") == Wants::input);
    CHECK(p.out == "-ERR The line is too long.\r\n");
    CHECK(p.say("USER alice\r\n") == Wants::input);
    CHECK(p.out == "+OK\r\n");
    Wants wants = Wants::input;
    int lines = 0;
    for (; wants == Wants::input && lines < 100; ++lines) wants = p.say("GET / HTTP/1.1\r\n");
    CHECK(wants == Wants::close);
    CHECK(lines <= 10);
}

// What Dovecot 2.3 does with a format: src/lib/var-expand.c as its manual describes it.
TEST_CASE("UIDL is made as Dovecot's setting says, and is always a valid one", "[pop3][uidl][rfc1939-7]")
{
    const struct {
        const char* format;
        const char* text;
    } good[] = {{"%08Xu%08Xv", "0000001f65432100"}, // lower case, as Dovecot's
                {"%08XUu%08XUv", "0000001F65432100"},
                {"%08Xv%08Xu", "654321000000001f"}, // UW's ipop3d
                {"%u.%v", "31.1698898176"},
                {"%v.%u", "1698898176.31"},         // Cyrus
                {"%v-%u", "1698898176-31"},         // Courier
                {"%f", "1700000000.M1P2.host"},
                {"%g", "1700000000.M1P2.host"},
                {"%Mf", "ead5a231507d7b1050c64be21bfdd21b"}, // tpop3d
                {"%m", "00112233445566778899aabbccddeeff"},
                {"%xu", "1f"},
                {"%4u%%x", "31%x"},
                {"%4v%u", "169831"},                // a width without zeros cuts
                {"%04u", "0031"},
                {"%11.Uf", "M1P2.HOST"},
                {"%-4.f", "host"},
                {"%11.4f", "M1P2"},
                {"%2.04v-%u", "98898176-31"},
                {"%Rf", "tsoh.2P1M.0000000071"},
                {"%Xf", "0"},
                {"%{uid}-%{uidvalidity}", "31-1698898176"},
                {"%08X{uid}", "0000001f"},
                {"%{uid | hex(8)}%{uidvalidity | hex(8)}", "0000001f65432100"}, // Dovecot 2.4's default
                {"%{uid|hex|upper}", "1F"},
                {"%{filename | md5 | hexlify}", "ead5a231507d7b1050c64be21bfdd21b"},
                {"%{md5}%{guid|lower}", "00112233445566778899aabbccddeeff1700000000.m1p2.host"}};
    const pop3::UidlFacts facts{31, 0x65432100, "1700000000.M1P2.host:2,S", "", "00112233445566778899aabbccddeeff"};
    for (const auto& [format, text] : good) {
        INFO(format);
        const auto parsed = pop3::UidlFormat::parse(format, tls::md5_hex);
        REQUIRE(parsed);
        CHECK(parsed->text(facts) == text);
    }
    for (const char* bad : {"", "x", "%v", "%u%", "%08Q", "%999u", "%", "%Hu", "%Nf", "%-8u", "%300.u", "%3.71u", "%{uid", "%{}", "%{user}u", "%{uid | sha1}",
                            "%{uid | hex(99)}", "%{uid | hex(8) | md5}", "%{uid | hexlify}", "%5", "%{uidvalidity}"}) {
        INFO(bad);
        CHECK_FALSE(pop3::UidlFormat::parse(bad, tls::md5_hex));
    }
    const pop3::UidlFormat::Md5 none = [](std::string_view) { return std::string(); };
    CHECK(pop3::UidlFormat::parse("%u", none));
    CHECK_FALSE(pop3::UidlFormat::parse("%Mu", none));
    CHECK_FALSE(pop3::UidlFormat::parse("%m", none));
    const auto odd = pop3::UidlFormat::parse("%f");
    REQUIRE(odd);
    CHECK(odd->text({1, 1, "a b\xff\n", "", ""}) == "a_b__");
    CHECK(odd->text({1, 1, std::string(200, 'x'), "", ""}).size() == 70);
    CHECK(odd->text({1, 1, "", "", "5f"}) == "5f"); // of an mbox
    CHECK(pop3::UidlFormat::parse("%g")->text({1, 1, "file", "noted", ""}) == "noted");
    CHECK(pop3::told_apart("", 7) == "-7");
    CHECK(pop3::told_apart(std::string(70, 'x'), 4294967295) == std::string(59, 'x') + "-4294967295");
}

TEST_CASE("a format knows whether it tells messages apart by their UIDs, and what it wants to read", "[pop3][uidl]")
{
    const struct {
        const char* format;
        bool unique, maildir, mbox;
    } cases[] = {{"%XXu", false, false, false}, {"%08Xu%08Xv", true, false, false}, {"%v.%u", true, false, false}, {"%8u", false, false, false}, {"%2.u", false, false, false}, {"%Mu", false, false, false},
                 {"%03Ru", false, false, false},     {"%f", false, false, true},    {"%g", false, false, true},   {"%m", false, true, true},     {"%u%m", false, true, true},
                 {"1234567890123456789012345678901234567890123456789012345678901234567890%u", false, false, false}};
    for (const auto& c : cases) {
        INFO(c.format);
        const auto format = pop3::UidlFormat::parse(c.format, tls::md5_hex);
        REQUIRE(format);
        CHECK(format->unique() == c.unique);
        CHECK(format->needs_header(false) == c.maildir);
        CHECK(format->needs_header(true) == c.mbox);
    }
}

TEST_CASE("the sum that Dovecot knows a mail of an mbox by is over its first Received and what local delivery adds", "[pop3][uidl]")
{
    const struct {
        const char *head, *summed;
    } cases[] = {{"Received: from a\r\n\tby b\r\nReceived: c\r\nDate: d\r\nMessage-ID: <m>\r\nSubject: s\r\n\r\nDate: body\r\n", "from a\tby b"},
                 {"Date:  d\r\nmessage-id :<m>\r\n\tx\r\nReceived: a\r\nDate: e\r\n", " d<m>\txa"},
                 {"Delivered-To: u\r\nReceived: a\r\nX-Delivery-ID:7\r\nDelivered-To: v\r\n\r\n", "ua7v"},
                 {" folded\r\nDate\r\nDates: x\r\n", ""},
                 {"", ""},
                 {"\r\nDate: d\r\n", ""}};
    for (const auto& [head, summed] : cases) {
        INFO(head);
        CHECK(pop3::summed_header(head) == summed);
    }
}

TEST_CASE("a confined process opens what is its own and nothing else of its uid", "[daemon][confine]")
{
    char folder[] = "/tmp/veredus-confine.XXXXXX";
    REQUIRE(::mkdtemp(folder));
    const std::string own = cat(folder, "/own"), other = cat(folder, "/other"), single = other + "/single";
    for (const std::string& path : {own, other, own + "/tmp"}) {
        REQUIRE(::mkdir(path.c_str(), 0700) == 0);
        REQUIRE(Fd(::open(cat(path, "/file").c_str(), O_CREAT | O_WRONLY, 0600)));
    }
    REQUIRE(Fd(::open(single.c_str(), O_CREAT | O_WRONLY, 0600)));
    const pid_t pid = ::fork();
    if (pid == 0) {
        const auto confined = daemon::confine_to({own, single}, {"/etc", "/nowhere"});
        if (!confined) ::_exit(1);
        if (!*confined) ::_exit(77);
        const auto opens = [](const std::string& path, int flags) { return static_cast<bool>(Fd(::open(path.c_str(), flags, 0600))); };
        if (!opens(own + "/file", O_RDWR) || !opens(own + "/new", O_CREAT | O_WRONLY)) ::_exit(2);
        if (::rename((own + "/new").c_str(), (own + "/newer").c_str()) < 0) ::_exit(3);
        if (::rename((own + "/tmp/file").c_str(), (own + "/delivered").c_str()) < 0) ::_exit(7); // as deliveries do
        if (!opens("/etc/passwd", O_RDONLY)) ::_exit(4);
        const int version = static_cast<int>(::syscall(SYS_landlock_create_ruleset, nullptr, 0, 1u));
        if (version >= 6 && ::kill(::getppid(), 0) == 0) ::_exit(8);
        if (opens(other + "/file", O_RDONLY) || opens(other + "/new", O_CREAT | O_WRONLY) || opens(other, O_RDONLY | O_DIRECTORY)) ::_exit(5);
        if (::unlink((other + "/file").c_str()) == 0 || ::rename((own + "/newer").c_str(), (other + "/x").c_str()) == 0) ::_exit(6);
        // A file of its own among others: that one, and nothing beside it.
        if (!opens(single, O_RDWR) || !opens(single, O_WRONLY | O_TRUNC)) ::_exit(9);
        if (::unlink(single.c_str()) == 0 || ::rename(single.c_str(), (own + "/single").c_str()) == 0) ::_exit(10);
        ::_exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) WARN("this kernel has no Landlock");
    else CHECK(WEXITSTATUS(status) == 0);
    std::filesystem::remove_all(folder);
}

// --- guests

namespace {

class Scene {
public:
    explicit Scene(login::Rules rules = {})
    {
        log::capture(&log);
        rules.greeting = "veredus ready.";
        guests = std::make_unique<login::Guests>(
            login::Guests::Parts{
                *loop, system_clock(), "pop3", [] { return std::make_unique<pop3::Login>(""); }, logins, nullptr,
                nullptr,
                [this](const std::string& body, int fd, std::function<void(ipc::Code, std::string)> done) {
                    auto enter = ipc::Enter::decode(body);
                    REQUIRE(enter);
                    entered.push_back(*enter);
                    descriptor = Fd(::dup(fd));
                    let_in = std::move(done);
                },
                true},
            std::make_shared<login::Rules>(std::move(rules)));
    }
    ~Scene()
    {
        guests.reset();
        log::capture(nullptr);
    }
    void offer(std::vector<std::string> mechanisms = {"SCRAM-SHA-256", "PLAIN"})
    {
        ipc::Message message;
        message.type = static_cast<uint16_t>(ipc::AuthType::offer);
        message.body = ipc::AuthOffer{std::move(mechanisms)}.encode();
        logins.heard(message);
        guests->offers_changed();
    }
    Fd client(const char* ip = "192.0.2.7")
    {
        auto pair = socket_pair(SOCK_STREAM);
        REQUIRE(pair);
        REQUIRE(set_nonblocking(pair->second.get(), true));
        guests->accept(std::move(pair->first), *net::Address::parse_ip(ip, 4000), false);
        return std::move(pair->second);
    }
    // What comes until `end` is at its end; "" end: until the connection is closed.
    std::string read(const Fd& fd, const std::string& end)
    {
        std::string got;
        const int64_t until = system_clock().mono_us() + 20 * us_per_second;
        while (system_clock().mono_us() < until) {
            char bytes[4096];
            const ssize_t n = ::recv(fd.get(), bytes, sizeof bytes, 0);
            if (n == 0) return end.empty() ? got : got + "<eof>";
            if (n > 0) got.append(bytes, static_cast<std::size_t>(n));
            if (!end.empty() && got.ends_with(end)) return got;
            loop->run_once(10ms);
        }
        return got + "<nothing>";
    }
    void turn_until(const std::function<bool()>& condition)
    {
        const int64_t until = system_clock().mono_us() + 20 * us_per_second;
        while (!condition() && system_clock().mono_us() < until) loop->run_once(10ms);
        REQUIRE(condition());
    }
    void write(const Fd& fd, std::string_view text)
    {
        REQUIRE(::send(fd.get(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
    }
    void answer(ipc::AuthReply reply)
    {
        ipc::Message message;
        message.body = reply.encode();
        auto done = std::move(asked);
        asked = nullptr;
        REQUIRE(done);
        done(std::move(message));
    }

    std::string log;
    std::unique_ptr<Loop> loop = std::move(*Loop::create());
    std::vector<std::pair<ipc::AuthType, std::string>> calls;
    std::vector<uint64_t> cancelled, withdrawn;
    std::function<void(Result<ipc::Message>)> asked;
    std::function<bool()> wanted;                  // is what was asked last
    reception::Logins logins{
        "pop3",
        {[this](ipc::AuthType type, std::string body, std::function<void(Result<ipc::Message>)> done, std::function<bool()> still) {
             calls.emplace_back(type, std::move(body));
             asked = std::move(done);
             wanted = std::move(still);
         },
         [this](ipc::AuthType type, const std::string& body) {
             (type == ipc::AuthType::withdraw ? withdrawn : cancelled).push_back(ipc::Reader(body).u64());
         }}};
    std::vector<ipc::Enter> entered;
    Fd descriptor;
    std::function<void(ipc::Code, std::string)> let_in;
    std::unique_ptr<login::Guests> guests;
};

ipc::AuthReply welcome()
{
    ipc::AuthReply ok;
    ok.kind = ipc::AuthReply::Kind::ok;
    ok.user = "alice";
    ok.login = "Alice";
    ok.ticket = std::string(16, 't');
    return ok;
}

login::Rules in_clear()
{
    login::Rules rules;
    rules.passwords_in_clear = true;
    return rules;
}

} // namespace

TEST_CASE("a client is greeted when authd has said what it offers, logs in, and its socket changes hands",
          "[login][guests]")
{
    Scene scene(in_clear());
    const Fd client = scene.client();
    scene.loop->run_once(1ms);
    char byte = 0;
    CHECK(::recv(client.get(), &byte, 1, 0) < 0);
    scene.offer();
    CHECK(scene.read(client, "\r\n") == "+OK veredus ready.\r\n");
    scene.write(client, "USER Alice\r\nPASS secret\r\nSTAT\r\n");
    scene.turn_until([&] { return scene.asked != nullptr; });
    const auto begin = ipc::AuthBegin::decode(scene.calls.at(0).second);
    REQUIRE(begin);
    CHECK(begin->mechanism == "PLAIN");
    CHECK(begin->initial == "\0Alice\0secret"s);
    CHECK(begin->connection == 1);
    CHECK(begin->client == "192.0.2.7");
    scene.answer(welcome());
    scene.turn_until([&] { return !scene.entered.empty(); });
    const ipc::Enter& enter = scene.entered[0];
    CHECK(enter.ticket == std::string(16, 't'));
    CHECK(enter.arrival.connection == 1);
    CHECK(enter.arrival.input == "STAT\r\n");
    CHECK(enter.arrival.remote == "192.0.2.7");
    CHECK(enter.arrival.user.empty()); // master's to say
    scene.let_in(ipc::Code::ok, "4711");
    scene.turn_until([&] { return scene.guests->size() == 0; });
    REQUIRE(::send(scene.descriptor.get(), "+OK in\r\n", 8, 0) == 8);
    CHECK(scene.read(client, "in\r\n") == "+OK\r\n+OK in\r\n");
    CHECK(scene.log.find("Login: user=<alice>, method=PLAIN, rip=192.0.2.7, lip=unix, mpid=4711, session=<") != std::string::npos);
    CHECK(scene.log.find("secret") == std::string::npos);
}

TEST_CASE("once authd has said what there is, clients are greeted, be it nothing for them", "[login][guests]")
{
    Scene scene;
    const Fd early = scene.client();
    SECTION("nothing without TLS") { scene.offer({"SCRAM-SHA-256-PLUS"}); }
    SECTION("nothing at all") { scene.offer({}); }
    CHECK(scene.read(early, "\r\n") == "+OK veredus ready.\r\n");
    const Fd late = scene.client();
    CHECK(scene.read(late, "\r\n") == "+OK veredus ready.\r\n");
    scene.write(late, "AUTH PLAIN\r\n");
    CHECK(scene.read(late, "\r\n") == "-ERR Unsupported authentication mechanism.\r\n");
}

TEST_CASE("where authd offers APOP alone, that is how a client comes in", "[login][guests][rfc1939-7]")
{
    Scene scene;
    scene.offer({"APOP"});
    const Fd client = scene.client();
    scene.turn_until([&] { return scene.asked != nullptr; });
    scene.answer({ipc::AuthReply::Kind::challenge, 77, "<a@veredus>", "", "", ipc::AuthFailure::none, ""});
    CHECK(scene.read(client, "\r\n") == "+OK veredus ready. <a@veredus>\r\n");
    scene.write(client, "APOP alice 0123456789abcdef0123456789abcdef\r\n");
    scene.turn_until([&] { return scene.asked != nullptr; });
    scene.answer(welcome());
    scene.turn_until([&] { return !scene.entered.empty(); });
}

TEST_CASE("where authd offers APOP each greeting has a timestamp of its own, good for one answer", "[login][guests][rfc1939-7]")
{
    Scene scene;
    scene.offer({"PLAIN", "APOP"});
    Fd client = scene.client();
    scene.turn_until([&] { return scene.asked != nullptr; });
    const auto begin = ipc::AuthBegin::decode(scene.calls.at(0).second);
    REQUIRE(begin);
    CHECK(begin->mechanism == "APOP");
    CHECK(begin->connection == 1);
    CHECK_FALSE(begin->initial);
    char byte = 0;
    CHECK(::recv(client.get(), &byte, 1, 0) < 0); // the greeting waits for it
    scene.offer({"PLAIN", "APOP"});
    CHECK(scene.calls.size() == 1);
    scene.answer({ipc::AuthReply::Kind::challenge, 77, "<a@veredus>", "", "", ipc::AuthFailure::none, ""});
    CHECK(scene.read(client, "\r\n") == "+OK veredus ready. <a@veredus>\r\n");
    scene.write(client, "APOP alice 0123456789abcdef0123456789abcdef\r\n");
    scene.turn_until([&] { return scene.asked != nullptr; });
    const auto step = ipc::AuthStep::decode(scene.calls.at(1).second);
    REQUIRE(step);
    CHECK(step->exchange == 77);
    CHECK(step->response == "alice 0123456789abcdef0123456789abcdef");
    SECTION("right")
    {
        scene.answer(welcome());
        scene.turn_until([&] { return !scene.entered.empty(); });
        CHECK(scene.entered[0].arrival.method == "APOP");
        scene.let_in(ipc::Code::ok, "");
        CHECK(scene.cancelled.empty());
    }
    SECTION("wrong, and no second try")
    {
        scene.answer({ipc::AuthReply::Kind::failed, 0, "", "", "alice", ipc::AuthFailure::password_mismatch, ""});
        CHECK(scene.read(client, "failed.\r\n") == "-ERR [AUTH] Authentication failed.\r\n");
        scene.write(client, "APOP alice 0123456789abcdef0123456789abcdef\r\n");
        CHECK(scene.read(client, "mechanism.\r\n") == "-ERR Unsupported authentication mechanism.\r\n");
        CHECK(scene.calls.size() == 2);
    }
}

TEST_CASE("a timestamp that is not answered is given back, and authd away costs APOP alone", "[login][guests][rfc1939-7]")
{
    Scene scene(in_clear());
    scene.offer({"PLAIN", "APOP"});
    SECTION("the client leaves")
    {
        Fd client = scene.client();
        scene.turn_until([&] { return scene.asked != nullptr; });
        scene.answer({ipc::AuthReply::Kind::challenge, 77, "<a@veredus>", "", "", ipc::AuthFailure::none, ""});
        CHECK(scene.read(client, "\r\n").ends_with("<a@veredus>\r\n"));
        client.reset();
        scene.turn_until([&] { return scene.guests->size() == 0; });
        CHECK(scene.cancelled == std::vector<uint64_t>{77});
    }
    SECTION("the client left before it was there")
    {
        Fd client = scene.client();
        scene.turn_until([&] { return scene.asked != nullptr; });
        CHECK(scene.wanted());
        scene.guests->stop([] {});
        scene.turn_until([&] { return scene.guests->size() == 0; });
        CHECK_FALSE(scene.wanted());
        CHECK(scene.withdrawn == std::vector<uint64_t>{ipc::AuthBegin::decode(scene.calls.at(0).second)->call});
        scene.answer({ipc::AuthReply::Kind::challenge, 78, "<b@veredus>", "", "", ipc::AuthFailure::none, ""});
        CHECK(scene.cancelled == std::vector<uint64_t>{78});
    }
    SECTION("another way in")
    {
        Fd client = scene.client();
        scene.turn_until([&] { return scene.asked != nullptr; });
        scene.answer({ipc::AuthReply::Kind::challenge, 79, "<c@veredus>", "", "", ipc::AuthFailure::none, ""});
        scene.write(client, "USER alice\r\nPASS secret\r\n");
        scene.turn_until([&] { return scene.asked != nullptr; });
        CHECK(ipc::AuthBegin::decode(scene.calls.at(1).second)->mechanism == "PLAIN");
        scene.answer(welcome());
        scene.turn_until([&] { return !scene.entered.empty(); });
        CHECK(scene.cancelled == std::vector<uint64_t>{79});
    }
    SECTION("he is sent away before authd has answered")
    {
        Fd client = scene.client();
        scene.turn_until([&] { return scene.asked != nullptr; });
        scene.answer({ipc::AuthReply::Kind::challenge, 80, "<d@veredus>", "", "", ipc::AuthFailure::none, ""});
        scene.write(client, "USER alice\r\nPASS secret\r\n");
        scene.turn_until([&] { return scene.asked != nullptr; });
        scene.guests->stop([] {});
        scene.turn_until([&] { return scene.guests->size() == 0; });
        CHECK(scene.withdrawn == std::vector<uint64_t>{ipc::AuthBegin::decode(scene.calls.at(1).second)->call});
        CHECK_FALSE(scene.wanted());
    }
    SECTION("authd has none to give")
    {
        Fd client = scene.client();
        scene.turn_until([&] { return scene.asked != nullptr; });
        scene.answer({ipc::AuthReply::Kind::failed, 0, "", "", "", ipc::AuthFailure::internal, ""});
        CHECK(scene.read(client, "\r\n") == "+OK veredus ready.\r\n");
    }
}

TEST_CASE("a client that is wrong is told, may try again, and leaves a line for fail2ban", "[login][guests]")
{
    Scene scene(in_clear());
    scene.offer();
    Fd client = scene.client();
    CHECK(scene.read(client, "\r\n") == "+OK veredus ready.\r\n");
    scene.write(client, "USER alice\r\nPASS wrong\r\n");
    scene.turn_until([&] { return scene.asked != nullptr; });
    scene.answer({ipc::AuthReply::Kind::failed, 0, "", "", "alice", ipc::AuthFailure::password_mismatch, ""});
    CHECK(scene.read(client, "failed.\r\n") == "+OK\r\n-ERR [AUTH] Authentication failed.\r\n");
    client.reset();
    scene.turn_until([&] { return scene.guests->size() == 0; });
    CHECK(scene.log.find(
              "Disconnected (auth failed, 1 attempts in 0 secs): user=<alice>, method=PLAIN, rip=192.0.2.7, lip=") !=
          std::string::npos);
    CHECK(scene.entered.empty());
}

TEST_CASE("a client without TLS cannot be talked into sending a password, and authd is not asked", "[login][guests]")
{
    Scene scene;
    scene.offer();
    const Fd client = scene.client();
    (void)scene.read(client, "\r\n");
    scene.write(client, "AUTH PLAIN AGEAYg==\r\n");
    CHECK(scene.read(client, "\r\n").starts_with("-ERR "));
    CHECK(scene.calls.empty());
    scene.write(client, "AUTH SCRAM-SHA-256 " + base64_encode("n,,n=a,r=b") + "\r\n");
    scene.turn_until([&] { return !scene.calls.empty(); });
    scene.write(client, "QUIT\r\n");
    scene.answer({ipc::AuthReply::Kind::failed, 0, "", "", "", ipc::AuthFailure::internal, ""});
    (void)scene.read(client, "");
    scene.turn_until([&] { return scene.guests->size() == 0; });
    CHECK(scene.log.find("Aborted login (tried to use disallowed plaintext auth)") != std::string::npos);
}

TEST_CASE("a response longer than any mechanism has is the client's mistake, and authd never sees it",
          "[login][guests][hostile][rfc4954-4]")
{
    Scene scene(in_clear());
    scene.offer();
    const Fd client = scene.client();
    (void)scene.read(client, "\r\n");
    const std::string longest(ipc::max_sasl - 7, 'x'); // with "alice" and two NULs
    scene.write(client, cat("USER alice\r\nPASS x", longest, "\r\n"));
    CHECK(scene.read(client, "stood.\r\n") == "+OK\r\n-ERR Authentication exchange not understood.\r\n");
    CHECK(scene.calls.empty());
    scene.write(client, cat("USER alice\r\nPASS ", longest, "\r\n"));
    scene.turn_until([&] { return scene.asked != nullptr; });
    CHECK(ipc::AuthBegin::decode(scene.calls.at(0).second)->initial->size() == ipc::max_sasl);
    scene.answer({ipc::AuthReply::Kind::failed, 0, "", "", "alice", ipc::AuthFailure::password_mismatch, ""});
    (void)scene.read(client, "failed.\r\n");
    scene.write(client, "AUTH PLAIN\r\n");
    scene.turn_until([&] { return scene.asked != nullptr; });
    scene.answer({ipc::AuthReply::Kind::challenge, 78, "", "", "", ipc::AuthFailure::none, ""});
    (void)scene.read(client, "+ \r\n");
    scene.write(client, base64_encode(std::string(ipc::max_sasl, 'x')) + "\r\n"); // longer than a line of POP3 may be
    CHECK(scene.read(client, "\r\n").starts_with("-ERR "));
    CHECK(scene.calls.size() == 2);
    CHECK(scene.cancelled == std::vector<uint64_t>{78}); // it is over, and what comes next is a command
    scene.write(client, "NOOP\r\n");
    CHECK(scene.read(client, "\r\n") == "+OK\r\n");
}

TEST_CASE("a client that asks and reads no answer is not read from, and gets them all when it reads",
          "[login][guests][hostile]")
{
    Scene scene(in_clear());
    scene.offer();
    const Fd client = scene.client();
    (void)scene.read(client, "\r\n");
    std::string flood;
    while (flood.size() < 6'000'000) flood += "CAPA\r\n";
    std::size_t sent = 0;
    for (int quiet = 0; quiet < 20 && sent < flood.size();) {
        const ssize_t n = ::send(client.get(), flood.data() + sent, flood.size() - sent, 0);
        sent += n > 0 ? static_cast<std::size_t>(n) : 0;
        quiet = n > 0 ? 0 : quiet + 1;
        scene.loop->run_once(1ms);
    }
    CHECK(sent < 2'000'000); // what two sockets hold, and one read of ours
    // Half a command may be left over.
    const std::string rest = flood.substr(sent, (6 - sent % 6) % 6) + "QUIT\r\n";
    const std::size_t asked = (sent + 5) / 6;
    std::size_t answers = 0, written = 0;
    std::string got;
    const int64_t until = system_clock().mono_us() + 60 * us_per_second;
    for (bool open = true; open && system_clock().mono_us() < until;) {
        char bytes[65536];
        const ssize_t n = ::recv(client.get(), bytes, sizeof bytes, 0);
        open = n != 0;
        got.append(bytes, n > 0 ? static_cast<std::size_t>(n) : 0);
        for (std::size_t at; (at = got.find("\r\n.\r\n")) != got.npos; ++answers) got.erase(0, at + 5);
        if (const ssize_t more = ::send(client.get(), rest.data() + written, rest.size() - written, MSG_NOSIGNAL); more > 0)
            written += static_cast<std::size_t>(more);
        if (n < 0) scene.loop->run_once(10ms);
    }
    CHECK(answers == asked);
    CHECK(got == "+OK Logging out\r\n");
}

TEST_CASE("what is ours is no guess of the client's: nobody is banned for it", "[login][guests]")
{
    const struct {
        ipc::AuthFailure why;
        const char* text;
    } cases[] = {{ipc::AuthFailure::internal, "Disconnected (auth service unavailable, 1 attempts in 0 secs): user=<"},
                 {ipc::AuthFailure::throttled, "Disconnected (auth refused for a while after many failures, 1 attempts"},
                 {ipc::AuthFailure::no_mechanism, "Disconnected (auth mechanism not offered, 1 attempts in 0 secs): "}};
    for (const auto& c : cases) {
        INFO(c.text);
        Scene scene(in_clear());
        scene.offer();
        Fd client = scene.client();
        (void)scene.read(client, "\r\n");
        scene.write(client, "USER alice\r\nPASS right\r\n");
        scene.turn_until([&] { return scene.asked != nullptr; });
        scene.answer({ipc::AuthReply::Kind::failed, 0, "", "", "alice", c.why, ""});
        (void)scene.read(client, ".\r\n");
        client.reset();
        scene.turn_until([&] { return scene.guests->size() == 0; });
        CHECK(scene.log.find(c.text) != std::string::npos);
        CHECK(scene.log.find("auth failed") == std::string::npos);
    }
}

TEST_CASE("where a certificate is wanted nobody logs in without, and authd is not asked", "[login][guests]")
{
    auto rules = in_clear();
    rules.needs_certificate = true;
    Scene scene(std::move(rules));
    scene.offer();
    const Fd client = scene.client();
    CHECK(scene.read(client, "\r\n") == "+OK veredus ready.\r\n");
    scene.write(client, "USER alice\r\nPASS secret\r\nAUTH SCRAM-SHA-256\r\nQUIT\r\n");
    const std::string refusal = "-ERR [AUTH] Nobody logs in here without a client certificate that is trusted.\r\n";
    CHECK(scene.read(client, "") == cat("+OK\r\n", refusal, refusal, "+OK Logging out\r\n"));
    CHECK(scene.calls.empty());
    CHECK(scene.log.find("Aborted login (client didn't send a cert, 2 attempts in ") != std::string::npos);
}

TEST_CASE("after so many failures it is over", "[login][guests]")
{
    auto rules = in_clear();
    rules.failures = 3;
    Scene scene(std::move(rules));
    scene.offer();
    const Fd client = scene.client();
    (void)scene.read(client, "\r\n");
    for (int i = 0; i < 3; ++i) {
        scene.write(client, "USER alice\r\nPASS wrong\r\n");
        scene.turn_until([&] { return scene.asked != nullptr; });
        scene.answer({ipc::AuthReply::Kind::failed, 0, "", "", "alice", ipc::AuthFailure::unknown_user, ""});
    }
    CHECK(scene.read(client, "").ends_with("-ERR Too many failures, good bye.\r\n"));
    scene.turn_until([&] { return scene.guests->size() == 0; });
    CHECK(scene.log.find("Disconnected: Too many failures (auth failed, 3 attempts") != std::string::npos);
}

TEST_CASE("whoever master does not let in is told that it is not his fault", "[login][guests]")
{
    Scene scene(in_clear());
    scene.offer();
    const Fd client = scene.client();
    (void)scene.read(client, "\r\n");
    scene.write(client, "USER alice\r\nPASS secret\r\n");
    scene.turn_until([&] { return scene.asked != nullptr; });
    SECTION("master says no")
    {
        scene.answer(welcome());
        scene.turn_until([&] { return !scene.entered.empty(); });
        scene.descriptor.reset();
        scene.let_in(ipc::Code::unavailable, "no room");
    }
    SECTION("authd has no ticket to give")
    {
        auto reply = welcome();
        reply.ticket.clear();
        scene.answer(reply);
        CHECK(scene.read(client, "later.\r\n").find("-ERR [SYS/TEMP] ") != std::string::npos);
        CHECK(scene.entered.empty());
        return;
    }
    CHECK(scene.read(client, "").ends_with("-ERR [SYS/TEMP] The mailbox cannot be opened now, try again later.\r\n"));
}

TEST_CASE("a client that leaves in the middle of an exchange frees authd of it", "[login][guests]")
{
    Scene scene;
    scene.offer();
    Fd client = scene.client();
    (void)scene.read(client, "\r\n");
    scene.write(client, "AUTH SCRAM-SHA-256 " + base64_encode("n,,n=a,r=b") + "\r\n");
    scene.turn_until([&] { return scene.asked != nullptr; });
    SECTION("while the client has the turn")
    {
        scene.answer({ipc::AuthReply::Kind::challenge, 77, "r=bc,s=x,i=1", "", "", ipc::AuthFailure::none, ""});
        client.reset();
    }
    SECTION("the answer comes too late")
    {
        auto done = std::move(scene.asked);
        scene.guests->stop([] {});
        scene.turn_until([&] { return scene.guests->size() == 0; });
        scene.asked = std::move(done);
        scene.answer({ipc::AuthReply::Kind::challenge, 77, "r=bc,s=x,i=1", "", "", ipc::AuthFailure::none, ""});
    }
    scene.turn_until([&] { return !scene.cancelled.empty(); });
    CHECK(scene.cancelled == std::vector<uint64_t>{77});
}

TEST_CASE("what comes from a proxy names its client, and from nobody else", "[login][guests][proxy]")
{
    auto rules = in_clear();
    rules.proxies = *table::MatchList::networks({"198.51.100.0/24"});
    Scene scene(std::move(rules));
    scene.offer();
    const Fd proxied = scene.client("198.51.100.1");
    scene.write(proxied, "PROXY TCP4 203.0.113.9 192.0.2.1 40000 110\r\nUSER a\r\nPASS b\r\n");
    (void)scene.read(proxied, "+OK\r\n");
    scene.turn_until([&] { return scene.asked != nullptr; });
    CHECK(ipc::AuthBegin::decode(scene.calls.at(0).second)->client == "203.0.113.9");
    const Fd liar = scene.client("203.0.113.9");
    scene.write(liar, "PROXY TCP4 127.0.0.1 127.0.0.1 40000 110\r\n");
    CHECK(scene.read(liar, "command.\r\n").ends_with("-ERR Unknown command.\r\n"));
    const Fd silent = scene.client("198.51.100.2");
    scene.write(silent, "USER a\r\n");
    CHECK(scene.read(silent, "").empty());
    CHECK(scene.log.find("haproxy(198.51.100.2): does not begin with the PROXY header") != std::string::npos);
}

TEST_CASE("a proxy of login_trusted_networks logs in for whom it names, and a stranger for himself", "[login][guests][proxy]")
{
    auto rules = in_clear();
    rules.trusted = *table::MatchList::networks({"198.51.100.0/24"});
    Scene scene(std::move(rules));
    scene.offer();
    const Fd proxy = scene.client("198.51.100.1");
    CHECK(scene.read(proxy, "\r\n") == "+OK [XCLIENT] veredus ready.\r\n");
    scene.write(proxy, "XCLIENT ADDR=203.0.113.9 PORT=1\r\nUSER a\r\nPASS b\r\n");
    scene.turn_until([&] { return scene.asked != nullptr; });
    CHECK(ipc::AuthBegin::decode(scene.calls.at(0).second)->client == "203.0.113.9");
    const Fd liar = scene.client("203.0.113.7");
    CHECK(scene.read(liar, "\r\n") == "+OK veredus ready.\r\n");
    scene.write(liar, "XCLIENT ADDR=203.0.113.9\r\nUSER a\r\nPASS b\r\n");
    scene.turn_until([&] { return scene.calls.size() == 2; });
    CHECK(ipc::AuthBegin::decode(scene.calls.at(1).second)->client == "203.0.113.7");
}

TEST_CASE("in a full process who was silent longest makes room, not who came first", "[login][guests][hostile]")
{
    auto rules = in_clear();
    rules.connections = 3;
    Scene scene(std::move(rules));
    scene.offer();
    const Fd first = scene.client(), second = scene.client(), third = scene.client();
    for (const Fd* fd : {&first, &second, &third}) CHECK(scene.read(*fd, "\r\n") == "+OK veredus ready.\r\n");
    scene.write(first, "USER alice\r\n"); // at work
    CHECK(scene.read(first, "\r\n") == "+OK\r\n");
    const Fd fourth = scene.client();
    CHECK(scene.read(second, "") == "-ERR [SYS/TEMP] Too many connections, try again later.\r\n");
    CHECK(scene.read(fourth, "\r\n") == "+OK veredus ready.\r\n");
    // What authd says of one counts as well: until then it had to be silent.
    scene.write(first, "PASS secret\r\n");
    scene.turn_until([&] { return scene.asked != nullptr; });
    scene.write(third, "NOOP\r\n");
    CHECK(scene.read(third, "\r\n") == "+OK\r\n");
    scene.write(fourth, "NOOP\r\n");
    CHECK(scene.read(fourth, "\r\n") == "+OK\r\n");
    scene.answer({ipc::AuthReply::Kind::failed, 0, "", "", "alice", ipc::AuthFailure::password_mismatch, ""});
    CHECK(scene.read(first, "\r\n") == "-ERR [AUTH] Authentication failed.\r\n");
    const Fd fifth = scene.client();
    CHECK(scene.read(third, "") == "-ERR [SYS/TEMP] Too many connections, try again later.\r\n");
    CHECK(scene.read(fifth, "\r\n") == "+OK veredus ready.\r\n");
}

TEST_CASE("in a full process a client without a login makes room, whatever it does, and no other", "[login][guests][hostile]")
{
    auto rules = in_clear();
    rules.connections = 2;
    Scene scene(std::move(rules));
    scene.offer();
    const Fd first = scene.client(), second = scene.client();
    CHECK(scene.read(first, "\r\n") == "+OK veredus ready.\r\n");
    CHECK(scene.read(second, "\r\n") == "+OK veredus ready.\r\n");
    scene.write(second, "AUTH SCRAM-SHA-256 " + base64_encode("n,,n=a,r=b") + "\r\n");
    scene.turn_until([&] { return scene.asked != nullptr; });
    scene.answer({ipc::AuthReply::Kind::challenge, 77, "r=bc,s=x,i=1", "", "", ipc::AuthFailure::none, ""});
    (void)scene.read(second, "\r\n");
    const Fd third = scene.client();
    CHECK(scene.read(first, "") == "-ERR [SYS/TEMP] Too many connections, try again later.\r\n");
    CHECK(scene.read(third, "\r\n") == "+OK veredus ready.\r\n");
    CHECK(scene.log.find("Disconnected: Too many connections (no auth attempts in 0 secs): user=<>") !=
          std::string::npos);
    scene.write(third, "USER alice\r\nPASS secret\r\n");
    scene.turn_until([&] { return scene.asked != nullptr; });
    scene.answer(welcome());
    scene.turn_until([&] { return !scene.entered.empty(); });
    const Fd fourth = scene.client(); // the second goes, in the middle of his exchange
    CHECK(scene.read(fourth, "\r\n") == "+OK veredus ready.\r\n");
    CHECK(scene.cancelled == std::vector<uint64_t>{77});
    scene.write(fourth, "USER alice\r\nPASS secret\r\n");
    scene.turn_until([&] { return scene.asked != nullptr; });
    scene.answer(welcome());
    scene.turn_until([&] { return scene.entered.size() == 2; });
    const Fd fifth = scene.client(); // both have logged in
    CHECK(scene.read(fifth, "") == "-ERR [SYS/TEMP] Too many connections, try again later.\r\n");
    CHECK(scene.guests->size() == 2);
}

TEST_CASE("a login that gets no session in its time leaves a line", "[login][guests]")
{
    auto rules = in_clear();
    rules.timeout = 300ms;
    Scene scene(std::move(rules));
    scene.offer();
    const Fd client = scene.client();
    (void)scene.read(client, "\r\n");
    scene.write(client, "USER alice\r\nPASS secret\r\n");
    scene.turn_until([&] { return scene.asked != nullptr; });
    scene.answer(welcome());
    scene.descriptor.reset();
    scene.turn_until([&] { return scene.guests->size() == 0; });
    CHECK(scene.log.find("Disconnected: Inactivity (password right, no session in ") != std::string::npos);
}

TEST_CASE("a process keeps the dotlock of one mbox, and its lock ends with whom it keeps it for", "[login][lock]")
{
    char scratch[] = "/tmp/veredus-lock-XXXXXX";
    REQUIRE(::mkdtemp(scratch));
    const std::string mbox = cat(scratch, "/alice"), dotlock = mbox + ".lock";
    auto mine = login::LockKeeper::start(mbox), other = login::LockKeeper::start(mbox);
    REQUIRE(mine);
    REQUIRE(other);
    CHECK((*mine)->create());
    CHECK(std::filesystem::exists(mbox));
    const auto locked = (*mine)->lock();
    REQUIRE(locked);
    CHECK(*locked);
    CHECK(std::filesystem::exists(dotlock));
    const auto held = (*other)->lock();
    REQUIRE(held);
    CHECK_FALSE(*held);
    (*mine)->unlock();
    CHECK_FALSE(std::filesystem::exists(dotlock));
    REQUIRE((*other)->lock());
    CHECK(std::filesystem::exists(dotlock));
    other->reset();
    for (int i = 0; i < 2000 && std::filesystem::exists(dotlock); ++i) ::usleep(10'000);
    CHECK_FALSE(std::filesystem::exists(dotlock));
    std::filesystem::remove_all(scratch);
    const auto nowhere = (*mine)->lock();
    REQUIRE_FALSE(nowhere);
    CHECK(nowhere.error().code == ENOENT);
    CHECK_FALSE((*mine)->has_ended());
}

// --- tickets and sessions

namespace {
ipc::Ticket ticket(char id, uint64_t connection = 5, uint32_t instance = 0)
{
    return {std::string(16, id), "pop3d", instance, connection, "alice"};
}
} // namespace

TEST_CASE("a ticket is good once, for its connection of its process, and not for long", "[master][tickets]")
{
    const int64_t second = us_per_second;
    const auto id = [](char c) { return std::string(16, c); };
    master::Tickets tickets;
    REQUIRE(tickets.add(ticket('a'), 0));
    CHECK(*tickets.redeem(id('a'), "pop3d", 0, 5, second) == "alice");
    CHECK_FALSE(tickets.redeem(id('a'), "pop3d", 0, 5, second)); // replayed
    CHECK_FALSE(tickets.redeem(id('b'), "pop3d", 0, 5, second)); // made up
    CHECK_FALSE(tickets.redeem("", "pop3d", 0, 5, second));
    const struct {
        const char* role;
        uint32_t instance;
        uint64_t connection;
    } others[] = {{"pop3d", 0, 6}, {"pop3d", 1, 5}, {"imapd", 0, 5}, {"smtpd", 0, 5}};
    for (const auto& other : others) {
        REQUIRE(tickets.add(ticket('c'), second));
        CHECK_FALSE(tickets.redeem(id('c'), other.role, other.instance, other.connection, second));
        CHECK_FALSE(tickets.redeem(id('c'), "pop3d", 0, 5, second)); // shown once is spent
    }
    REQUIRE(tickets.add(ticket('d'), 0));
    CHECK_FALSE(tickets.redeem(id('d'), "pop3d", 0, 5, 30 * second)); // too old
    REQUIRE(tickets.add(ticket('e'), 31 * second));
    CHECK_FALSE(tickets.add(ticket('e'), 31 * second));
    tickets.forget("pop3d", 1);
    CHECK(tickets.size() == 1);
    tickets.forget("pop3d", 0);
    CHECK(tickets.size() == 0);
    CHECK_FALSE(tickets.redeem(id('e'), "pop3d", 0, 5, 31 * second));
}

TEST_CASE("a login stage that asks for tickets and uses none is bounded, and hurts no other process",
          "[master][tickets]")
{
    master::Tickets tickets;
    const auto numbered = [](uint32_t n, uint32_t instance) {
        ipc::Ticket t = ticket('x', 1, instance);
        t.id = std::string(12, static_cast<char>(instance));
        for (int shift = 0; shift < 32; shift += 8) t.id += static_cast<char>(n >> shift);
        return t;
    };
    uint32_t n = 0;
    while (n < 20'000 && tickets.add(numbered(n, 0), 0)) ++n;
    CHECK(n == master::Tickets::most_per_process);
    CHECK(tickets.add(numbered(0, 1), 0));
    CHECK(tickets.add(numbered(n, 0), 30 * us_per_second));
    CHECK(tickets.size() == 1);
}

namespace {

// master's sessions, with a resolver and a zygote of the test's.
class Court {
public:
    Court() { log::capture(&log); }
    ~Court() { log::capture(nullptr); }
    void enter(char id, uint64_t connection = 5, const char* role = "pop3d", uint32_t instance = 0)
    {
        auto pair = socket_pair(SOCK_STREAM);
        REQUIRE(pair);
        ipc::Enter enter{std::string(16, id), {}};
        enter.arrival.connection = connection;
        enter.arrival.user = "root"; // whatever a login stage says
        enter.arrival.service = "imap";
        sessions.enter(role, instance, "pop3-session", std::move(enter), std::move(pair->first),
                       [this](ipc::Code code, const std::string& text) {
                           codes.push_back(code);
                           words.push_back(text);
                       });
    }
    ipc::UserReply person(const std::string& name)
    {
        ipc::UserReply user;
        user.found = ipc::UserReply::Found::yes;
        user.name = name;
        user.uid = user.gid = 1000;
        return user;
    }
    // What the newest process was told next.
    std::optional<ipc::Message> told(int number)
    {
        loop->run_once(1ms);
        auto message = ipc::recv_blocking(spawned.at(static_cast<std::size_t>(number)).get(), 100);
        if (!message || !*message) return std::nullopt;
        return std::move(**message);
    }

    bool answer(int number, const ipc::Message& question, std::string body)
    {
        return static_cast<bool>(ipc::send_blocking(spawned.at(static_cast<std::size_t>(number)).get(),
                                                    {question.type, true, question.request, 0, std::move(body), {}}, 100));
    }
    // The process takes over the client that is next.
    std::optional<ipc::Message> takes(int number)
    {
        auto message = told(number);
        if (!message || message->request == 0 || !answer(number, *message, ipc::Writer().u32(4711).take())) return std::nullopt;
        for (int i = 0; i < 5; ++i) loop->run_once(1ms);
        return message;
    }
    void turn_until(const std::function<bool()>& condition)
    {
        for (int i = 0; i < 2000 && !condition(); ++i) loop->run_once(10ms);
        REQUIRE(condition());
    }

    std::string log;
    std::unique_ptr<Loop> loop = std::move(*Loop::create());
    std::vector<ipc::Code> codes;
    std::vector<std::string> words;
    std::vector<std::pair<std::string, std::function<void(Result<ipc::UserReply>)>>> questions;
    std::vector<Fd> spawned;
    bool allowed = true;
    int wrong = 0; // with the zygote: ENOTCONN, it is away; EAGAIN, it does not read
    master::Sessions sessions{
        *loop,
        {[this](const std::string& user, auto done) { questions.emplace_back(user, std::move(done)); },
         [this](const ipc::UserReply&) -> Result<void> {
             if (allowed) return {};
             return fail("uid 0 is never served");
         },
         [this](const std::string& zygote, const ipc::UserReply&) -> Result<Fd> {
             CHECK(zygote == "pop3-session");
             if (wrong) return unexpected(Error{wrong, "away"});
             auto pair = TRY(socket_pair(SOCK_SEQPACKET));
             spawned.push_back(std::move(pair.first));
             return std::move(pair.second);
         }}};
};

} // namespace

TEST_CASE("clients of a user share one process, and master says who they are", "[master][sessions]")
{
    Court court;
    REQUIRE(court.sessions.add_ticket(ticket('a')));
    REQUIRE(court.sessions.add_ticket(ticket('b', 6)));
    court.enter('a');
    court.enter('b', 6);
    REQUIRE(court.questions.size() == 1); // one question for both
    CHECK(court.questions[0].first == "alice");
    court.questions[0].second(court.person("alice"));
    CHECK(court.codes.empty()); // not before the process says who it is
    REQUIRE(court.spawned.size() == 1);
    for (int i = 0; i < 2; ++i) {
        const auto message = court.takes(0);
        REQUIRE(message);
        CHECK(message->type == static_cast<uint16_t>(ipc::LoginType::arrive));
        CHECK(message->fds.size() == 1);
        const auto arrival = ipc::Arrival::decode(message->body);
        REQUIRE(arrival);
        CHECK(arrival->user == "alice"); // not what the login stage said
        CHECK(arrival->service == "pop3");
    }
    REQUIRE(court.sessions.add_ticket(ticket('c', 7)));
    court.enter('c', 7);
    CHECK(court.questions.size() == 1); // his process is there
    CHECK(court.spawned.size() == 1);
    CHECK(court.codes == std::vector<ipc::Code>(3, ipc::Code::ok));
    CHECK(court.words == std::vector<std::string>(3, "4711"));
}

TEST_CASE("a login waits only so long for a new process to say its ID, and hears when there is none", "[master][sessions]")
{
    Court court;
    REQUIRE(court.sessions.add_ticket(ticket('a')));
    court.enter('a');
    court.questions.at(0).second(court.person("alice"));
    SECTION("it is slow")
    {
        court.turn_until([&] { return court.codes.size() == 1; });
        CHECK(court.codes[0] == ipc::Code::ok);
        CHECK(court.words[0].empty());
        CHECK(court.sessions.size() == 1);
        REQUIRE(court.takes(0));
        CHECK(court.codes.size() == 1);
    }
    SECTION("it says something else")
    {
        const auto message = court.told(0);
        REQUIRE(message);
        REQUIRE(court.answer(0, *message, "nonsense"));
        court.turn_until([&] { return court.codes.size() == 1; });
        CHECK(court.codes[0] == ipc::Code::ok);
        CHECK(court.words[0].empty());
    }
    SECTION("the mail system stops")
    {
        court.sessions.stop();
        CHECK(court.codes == std::vector<ipc::Code>{ipc::Code::unavailable});
        CHECK(court.sessions.size() == 0);
    }
}

TEST_CASE("a login hears at once that the process that sessions come from has too much to do", "[master][sessions]")
{
    Court court;
    court.wrong = EAGAIN; // it is there: nothing follows that could be waited for
    REQUIRE(court.sessions.add_ticket(ticket('a')));
    court.enter('a');
    court.questions.at(0).second(court.person("alice"));
    CHECK(court.codes == std::vector<ipc::Code>{ipc::Code::unavailable});
}

TEST_CASE("while the process that sessions come from is started anew, as at a reload, logins wait for it", "[master][sessions]")
{
    Court court;
    court.wrong = ENOTCONN;
    for (const char id : {'a', 'b', 'c'}) {
        auto one = ticket(id);
        if (id == 'b') one.user = "bob";
        REQUIRE(court.sessions.add_ticket(std::move(one)));
        court.enter(id);
    }
    REQUIRE(court.questions.size() == 2); // alice's second login stands behind her first
    for (int i = 0; i < 2; ++i) {
        const auto [user, done] = court.questions[static_cast<std::size_t>(i)];
        done(court.person(user));
    }
    CHECK(court.codes.empty());
    CHECK(court.spawned.empty());
    SECTION("it comes")
    {
        court.sessions.zygote_ready("imap-session");
        CHECK(court.questions.size() == 2);
        court.wrong = 0;
        court.sessions.zygote_ready("pop3-session");
        REQUIRE(court.questions.size() == 4);
        for (int i = 2; i < 4; ++i) {
            const auto [user, done] = court.questions[static_cast<std::size_t>(i)];
            done(court.person(user));
        }
        REQUIRE(court.spawned.size() == 2);
        CHECK(court.takes(0));
        CHECK(court.takes(0));
        CHECK(court.takes(1));
        CHECK(court.codes == std::vector<ipc::Code>(3, ipc::Code::ok));
    }
    SECTION("the mail system stops")
    {
        court.sessions.stop();
        CHECK(court.codes == std::vector<ipc::Code>(3, ipc::Code::unavailable));
    }
}

TEST_CASE("without a good ticket nobody is looked up, and nothing is started", "[master][sessions]")
{
    Court court;
    REQUIRE(court.sessions.add_ticket(ticket('a')));
    court.enter('z');    // forged
    court.enter('a', 6); // another connection's
    court.enter('a');    // spent by that
    REQUIRE(court.sessions.add_ticket(ticket('b')));
    court.enter('b', 5, "pop3d", 1); // another process's
    REQUIRE(court.sessions.add_ticket(ticket('c')));
    court.sessions.process_ended("pop3d", 0);
    court.enter('c'); // of a process that is no more
    CHECK(court.codes == std::vector<ipc::Code>(5, ipc::Code::refused));
    CHECK(court.questions.empty());
    CHECK(court.spawned.empty());
}

TEST_CASE("a user whom nobody knows, who may not, or whom nobody can look up has no session", "[master][sessions]")
{
    Court court;
    REQUIRE(court.sessions.add_ticket(ticket('a')));
    court.enter('a');
    ipc::UserReply nobody;
    SECTION("unknown")
    {
        nobody.found = ipc::UserReply::Found::no;
        court.questions.at(0).second(nobody);
        CHECK(court.codes.at(0) == ipc::Code::unknown);
    }
    SECTION("not now")
    {
        court.questions.at(0).second(nobody);
        CHECK(court.codes.at(0) == ipc::Code::unavailable);
    }
    SECTION("the resolver is gone")
    {
        court.questions.at(0).second(fail("gone"));
        CHECK(court.codes.at(0) == ipc::Code::unavailable);
    }
    SECTION("root")
    {
        court.allowed = false;
        court.questions.at(0).second(court.person("toor"));
        CHECK(court.codes.at(0) == ipc::Code::refused);
    }
    CHECK(court.spawned.empty());
    CHECK(court.sessions.size() == 0);
}

TEST_CASE("a process that has no client goes, unless one is on his way to it", "[master][sessions]")
{
    Court court;
    REQUIRE(court.sessions.add_ticket(ticket('a')));
    court.enter('a');
    court.questions.at(0).second(court.person("alice"));
    const auto idle = [&](uint64_t taken) {
        REQUIRE(ipc::send_blocking(
            court.spawned.at(0).get(),
            {static_cast<uint16_t>(ipc::LoginType::idle), false, 0, 0, ipc::Writer().u64(taken).take(), {}}, 100));
        for (int i = 0; i < 5; ++i) court.loop->run_once(1ms);
    };
    idle(0); // he has not seen the first one yet
    CHECK(court.sessions.size() == 1);
    idle(1); // says so, but has not taken him over
    CHECK(court.sessions.size() == 1);
    REQUIRE(court.takes(0));
    idle(1);
    CHECK(court.sessions.size() == 0);
    CHECK_FALSE(court.told(0));
    REQUIRE(court.sessions.add_ticket(ticket('b')));
    court.enter('b');
    CHECK(court.questions.size() == 2);
}

TEST_CASE("a user's process that says what it may not say is hung up on", "[master][sessions]")
{
    Court court;
    REQUIRE(court.sessions.add_ticket(ticket('a')));
    court.enter('a');
    court.questions.at(0).second(court.person("alice"));
    for (const auto type :
         {static_cast<uint16_t>(ipc::Control::neighbour), static_cast<uint16_t>(ipc::Control::ticket)})
        (void)ipc::send_blocking(court.spawned.at(0).get(),
                                 {type, false, 1, 0, ipc::Neighbour{"authd", 0}.encode(), {}}, 100);
    for (int i = 0; i < 5; ++i) court.loop->run_once(1ms);
    CHECK(court.sessions.size() == 0);
    CHECK(court.log.find("is not for it to send") != std::string::npos);
}

TEST_CASE("who asks page by page, and a process tells of no more clients than it was given", "[master][sessions]")
{
    Court court;
    constexpr int many = 51;
    for (int i = 0; i < many; ++i) {
        REQUIRE(court.sessions.add_ticket(ticket(static_cast<char>('a' + i))));
        court.enter(static_cast<char>('a' + i));
        if (i == 0) court.questions.at(0).second(court.person("alice"));
        REQUIRE(court.told(0));
    }
    for (const bool honest : {true, false}) {
        std::vector<ipc::Presence> seen;
        bool done = false;
        court.sessions.who([&](const ipc::Presences& page) { seen.insert(seen.end(), page.list.begin(), page.list.end()); },
                           [&] { done = true; });
        for (const uint64_t after : {0, 50}) {
            CHECK_FALSE(done);
            const auto question = court.told(0);
            REQUIRE(question);
            CHECK(ipc::Reader(question->body).u64() == after);
            ipc::Presences page;
            const uint64_t last = honest && after == 50 ? 51 : after + 50;
            for (uint64_t c = after + 1; c <= last; ++c) {
                page.list.emplace_back();
                page.list.back().connection = c;
            }
            REQUIRE(ipc::send_blocking(court.spawned[0].get(),
                                       {question->type, true, question->request, 0, page.encode(), {}}, 100));
            court.loop->run_once(100ms);
        }
        for (int i = 0; i < 500 && !done; ++i) court.loop->run_once(10ms);
        CHECK(done);
        CHECK(seen.size() == (honest ? 51 : 100));
        CHECK(seen[50].user == "alice");
    }
}

TEST_CASE("who and kick ask the processes, and one that does not answer holds up nobody for ever", "[master][sessions]")
{
    Court court;
    REQUIRE(court.sessions.add_ticket(ticket('a')));
    court.enter('a');
    court.questions.at(0).second(court.person("alice"));
    REQUIRE(court.takes(0));
    std::vector<ipc::Presence> seen;
    bool done = false;
    court.sessions.who([&](const ipc::Presences& page) { seen.insert(seen.end(), page.list.begin(), page.list.end()); },
                       [&] { done = true; });
    const auto question = court.told(0);
    REQUIRE(question);
    ipc::Presences page{{{}}};
    page.list[0].user = "root"; // it says so of itself
    page.list[0].remote = "192.0.2.7";
    REQUIRE(ipc::send_blocking(court.spawned[0].get(), {question->type, true, question->request, 0, page.encode(), {}},
                               100));
    for (int i = 0; i < 500 && !done; ++i) court.loop->run_once(10ms);
    REQUIRE(done);
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].user == "alice");
    CHECK(seen[0].service == "pop3");
    uint64_t told = 99;
    court.sessions.kick("bob", [&](uint64_t n) { told = n; });
    CHECK(told == 0);
    court.spawned.clear(); // it dies while it is asked
    told = 99;
    court.sessions.kick("alice", [&](uint64_t n) { told = n; });
    for (int i = 0; i < 500 && told == 99; ++i) court.loop->run_once(10ms);
    CHECK(told == 0);
}

TEST_CASE("a client whose process ends before it takes him over goes to its successor, once", "[master][sessions]")
{
    Court court;
    REQUIRE(court.sessions.add_ticket(ticket('a')));
    court.enter('a');
    court.questions.at(0).second(court.person("alice"));
    court.spawned[0].reset();
    court.turn_until([&] { return court.questions.size() == 2; });
    CHECK(court.questions[1].first == "alice");
    court.questions[1].second(court.person("alice"));
    REQUIRE(court.spawned.size() == 2);
    SECTION("which takes him")
    {
        const auto message = court.takes(1);
        REQUIRE(message);
        CHECK(message->fds.size() == 1);
        CHECK(ipc::Arrival::decode(message->body)->user == "alice");
        CHECK(court.sessions.size() == 1);
        CHECK(court.codes == std::vector<ipc::Code>{ipc::Code::ok});
    }
    SECTION("which dies of him")
    {
        court.spawned[1].reset();
        court.turn_until([&] { return court.sessions.size() == 0; });
        CHECK(court.codes == std::vector<ipc::Code>{ipc::Code::unavailable});
    }
    for (int i = 0; i < 5; ++i) court.loop->run_once(1ms);
    CHECK(court.questions.size() == 2);
    CHECK(court.codes.size() == 1);
}

TEST_CASE("a process that takes nobody over is given up, and the next login has a new one", "[master][sessions]")
{
    Court court;
    court.sessions.set_patience(50ms);
    REQUIRE(court.sessions.add_ticket(ticket('a')));
    court.enter('a');
    court.questions.at(0).second(court.person("alice"));
    court.turn_until([&] { return court.sessions.size() == 0; });
    CHECK(court.log.find("pop3-session of alice does not answer: given up") != std::string::npos);
    CHECK(court.questions.size() == 1); // it might still take him
    REQUIRE(court.told(0));
    CHECK_FALSE(court.told(0)); // its channel is closed
    REQUIRE(court.sessions.add_ticket(ticket('b')));
    court.enter('b');
    court.questions.at(1).second(court.person("alice"));
    CHECK(court.spawned.size() == 2);
}

TEST_CASE("who and kick are answered though a process is given up while it is asked", "[master][sessions]")
{
    Court court;
    REQUIRE(court.sessions.add_ticket(ticket('a')));
    court.enter('a');
    court.questions.at(0).second(court.person("alice"));
    REQUIRE(court.takes(0));
    bool done = false;
    std::optional<uint64_t> first, second;
    court.sessions.who([](const ipc::Presences&) {}, [&] { done = true; });
    court.sessions.kick("alice", [&](uint64_t n) { first = n; });
    court.sessions.kick("alice", [&](uint64_t n) { second = n; });
    CHECK_FALSE(done);
    const auto who = court.told(0), kick = court.told(0);
    REQUIRE(kick);
    // The answer to the first kick ends the process and its channel, and with it the other questions.
    REQUIRE(court.answer(0, *kick, ipc::Writer().u64(2).take()));
    court.turn_until([&] { return done && first && second; });
    CHECK(first == 2);
    CHECK(second == 1);
    // Whoever asks when the mail system stops hears of it, too.
    REQUIRE(court.sessions.add_ticket(ticket('b')));
    court.enter('b');
    court.questions.at(1).second(court.person("alice"));
    done = false;
    court.sessions.who([](const ipc::Presences&) {}, [&] { done = true; });
    CHECK_FALSE(done);
    court.sessions.stop();
    CHECK(done);
}

TEST_CASE("kick gives the processes of a user up, whatever they say", "[master][sessions]")
{
    Court court;
    REQUIRE(court.sessions.add_ticket(ticket('a')));
    court.enter('a');
    court.questions.at(0).second(court.person("alice"));
    REQUIRE(court.takes(0));
    std::optional<uint64_t> told;
    court.sessions.kick("alice", [&](uint64_t n) { told = n; });
    SECTION("it answers")
    {
        const auto question = court.told(0);
        REQUIRE(question);
        REQUIRE(court.answer(0, *question, ipc::Writer().u64(3).take()));
        court.turn_until([&] { return told.has_value(); });
        CHECK(told == 3);
    }
    SECTION("it is stopped")
    {
        court.turn_until([&] { return told.has_value(); });
        CHECK(told == 1);
    }
    CHECK(court.sessions.size() == 0);
}

TEST_CASE("kick finds a user by another spelling, unless that is somebody else", "[master][sessions]")
{
    Court court;
    const auto comes = [&](char id, const char* name, int process) {
        REQUIRE(court.sessions.add_ticket(ticket(id)));
        court.enter(id);
        court.questions.back().second(court.person(name));
        REQUIRE(court.takes(process));
    };
    const auto kicked = [&](const char* name, int process) {
        std::optional<uint64_t> told;
        court.sessions.kick(name, [&](uint64_t n) { told = n; });
        if (process >= 0) {
            const auto question = court.told(process);
            REQUIRE(question);
            REQUIRE(court.answer(process, *question, ipc::Writer().u64(7).take()));
        }
        court.turn_until([&] { return told.has_value(); });
        return *told;
    };
    comes('a', "alice@v.example", 0);
    CHECK(kicked("bob@v.example", -1) == 0);
    CHECK(kicked("Alice@V.example", 0) == 7);
    CHECK(court.sessions.size() == 0);
    comes('b', "carol", 1);
    comes('c', "Carol", 2);
    CHECK(kicked("Carol", 2) == 7);
    CHECK(court.sessions.size() == 1);
}
