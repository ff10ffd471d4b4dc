// lib/daemon: which files TLS is made of, what is wrong with them, and a role that follows their changes.
#include "t/unit/catch.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <map>

#include "lib/base/text.h"
#include "lib/daemon/roles.h"
#include "lib/daemon/server_tls.h"
#include "lib/log/log.h"
#include "master/ticket_keys.h"

using namespace veredus;
using namespace veredus::daemon;

namespace {

std::string pem(const std::string& host)
{
    const auto pems = tls::make_self_signed(host);
    REQUIRE(pems);
    return pems->key + pems->certificate;
}

struct Disk {    // paths and texts, without files
    std::map<std::string, std::string> texts;
    ReadText read = [this](const std::string& path) {
        const auto found = texts.find(path);
        return found == texts.end() ? Result<std::string>(fail(cat(path, ": No such file"))) : Result<std::string>(found->second);
    };
};

struct Folder {
    std::string path;
    Folder()
    {
        char name[] = "/tmp/veredus-dtls.XXXXXX";
        REQUIRE(::mkdtemp(name));
        path = name;
    }
    ~Folder()
    {
        for (const char* f : {"/tls/self-signed.pem", "/cert.pem"}) ::unlink((path + f).c_str());
        ::rmdir((path + "/tls").c_str());
        ::rmdir(path.c_str());
    }
    void write(const std::string& name, const std::string& text) const
    {
        const Fd fd(::open((path + name).c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600));
        REQUIRE(write_all(fd.get(), text));
    }
};

bool any(const std::vector<std::string>& lines, const std::string& part)
{
    for (const std::string& line : lines)
        if (line.find(part) != std::string::npos) return true;
    return false;
}

}  // namespace

TEST_CASE("the files of TLS are those that the settings name, and the self-signed one when they name none", "[daemon][tls]")
{
    Disk disk;
    disk.texts["/sni"] = "# names\nMail.Example.NET /b.pem, /c.pem\n.example.com /d.pem\nbad\nworse relative.pem\nmail.example.net /late.pem\n";
    auto values = conf::Values::defaults();
    auto files = tls_files(values, "smtpd", "/etc/veredus", disk.read);
    CHECK(files.own);
    CHECK((files.all() == std::vector<std::string>{"/etc/veredus/tls/self-signed.pem"}));

    values.set_for_test("smtpd_tls_cert_file", "/rsa.pem");
    values.set_for_test("smtpd_tls_key_file", "/rsa.key");
    values.set_for_test("smtpd_tls_eccert_file", "/ec.pem");
    values.set_for_test("smtpd_tls_eckey_file", "/ec.pem");
    values.set_for_test("tls_server_sni_maps", "hash:/sni, static:x, texthash:/missing");
    files = tls_files(values, "smtpd", "/etc/veredus", disk.read);
    CHECK_FALSE(files.own);
    CHECK((files.all() == std::vector<std::string>{"/b.pem", "/c.pem", "/d.pem", "/ec.pem", "/missing", "/rsa.key", "/rsa.pem", "/sni"}));
    CHECK((files.names.at("mail.example.net").files == std::vector<std::string>{"/b.pem", "/c.pem"}));
    CHECK(files.names.count(".example.com") == 1);
    CHECK(any(files.problems, "/sni, line 4"));
    CHECK(any(files.problems, "/sni, line 5"));
    CHECK(any(files.problems, "static:x"));
    CHECK(any(files.problems, "/missing: No such file"));

    values.set_for_test("smtpd_tls_chain_files", "/chain.pem");
    files = tls_files(values, "smtpd", "/etc/veredus", disk.read);
    REQUIRE(files.chains.size() == 1);
    CHECK(files.chains[0].in_order);
}

TEST_CASE("one bad certificate does not take the good ones along", "[daemon][tls]")
{
    Disk disk;
    disk.texts = {{"/good.pem", pem("mx.example.org")}, {"/bad.pem", "nonsense"}, {"/sni", "a.example /good.pem\nb.example /bad.pem\n"}};
    auto values = conf::Values::defaults();
    values.set_for_test("smtpd_tls_cert_file", "/bad.pem");
    values.set_for_test("smtpd_tls_key_file", "/bad.pem");
    values.set_for_test("smtpd_tls_eccert_file", "/good.pem");
    values.set_for_test("smtpd_tls_eckey_file", "/good.pem");
    values.set_for_test("tls_server_sni_maps", "hash:/sni");
    std::vector<std::string> problems;
    auto keys = read_keys(tls_files(values, "smtpd", "/x", disk.read), disk.read, problems);
    REQUIRE(keys);
    CHECK(keys->chains.size() == 1);
    CHECK(keys->names.size() == 1);
    CHECK(any(problems, "smtpd_tls_cert_file /bad.pem"));
    CHECK(any(problems, "/sni: b.example /bad.pem"));
    values.set_for_test("smtpd_tls_eccert_file", "");
    CHECK_FALSE(read_keys(tls_files(values, "smtpd", "/x", disk.read), disk.read, problems));
}

TEST_CASE("a renewal reads what has changed, and only that", "[daemon][tls]")
{
    Disk disk;
    disk.texts = {{"/mx.pem", pem("mx.example.org")}, {"/a.pem", pem("a.example")}, {"/b.pem", pem("b.example")}, {"/sni", "a.example /a.pem\nb.example /b.pem\n"}};
    auto values = conf::Values::defaults();
    values.set_for_test("smtpd_tls_chain_files", "/mx.pem");
    values.set_for_test("tls_server_sni_maps", "hash:/sni");
    std::vector<std::string> problems;
    const auto read = [&](const tls::ServerKeys& before) { return *read_keys(tls_files(values, "smtpd", "/x", disk.read), disk.read, problems, before); };
    const tls::ServerKeys first = read({});
    REQUIRE(first.chains.at(0).parsed);
    disk.texts["/b.pem"] = pem("b.example");
    const tls::ServerKeys second = read(first);
    CHECK(second.chains.at(0).parsed == first.chains.at(0).parsed);
    CHECK(second.names.at("a.example").at(0).parsed == first.names.at("a.example").at(0).parsed);
    CHECK(second.names.at("b.example").at(0).parsed);
    CHECK(second.names.at("b.example").at(0).parsed != first.names.at("b.example").at(0).parsed);
    // Another meaning of the same text: the order counts here, and there it does not.
    values.set_for_test("smtpd_tls_chain_files", "");
    values.set_for_test("smtpd_tls_cert_file", "/mx.pem");
    values.set_for_test("smtpd_tls_key_file", "/mx.pem");
    CHECK(read(second).chains.at(0).parsed != first.chains.at(0).parsed);
    // One that is damaged, or whose key is not there yet: what was in force in its place stays.
    disk.texts["/b.pem"] = "nonsense";
    const tls::ServerKeys third = read(second);
    CHECK(third.names.size() == 2);
    CHECK(third.names.at("b.example").at(0).parsed == second.names.at("b.example").at(0).parsed);
    CHECK(any(problems, "/sni: b.example /b.pem"));
    CHECK(any(problems, "the certificate in force is kept"));
    CHECK(read({}).names.size() == 1);
    // The same when lines are put in above it, or its files have other names.
    for (const char* table : {"0.example /mx.pem\na.example /a.pem\nb.example /b.pem\n", "a.example /a.pem\nb.example /other.pem\n"}) {
        disk.texts["/sni"] = table;
        const tls::ServerKeys moved = read(second);
        CHECK(moved.names.at("a.example").at(0).parsed == second.names.at("a.example").at(0).parsed);
        CHECK(moved.names.at("a.example").at(0).name == second.names.at("a.example").at(0).name);     // ServerTls tells what it has not told yet
        REQUIRE(moved.names.contains("b.example"));
        CHECK(moved.names.at("b.example").at(0).parsed == second.names.at("b.example").at(0).parsed);
    }
    disk.texts["/sni"] = "a.example /a.pem\nb.example /b.pem\n";
    values.set_for_test("smtpd_tls_eccert_file", "/ec.pem");
    values.set_for_test("smtpd_tls_eckey_file", "/ec.pem");
    disk.texts["/ec.pem"] = pem("ec.example");
    const tls::ServerKeys both = read(third);
    REQUIRE(both.chains.size() == 2);
    disk.texts["/ec.pem"] = "nonsense";
    const tls::ServerKeys kept = read(both);
    REQUIRE(kept.chains.size() == 2);
    CHECK(kept.chains.at(1).parsed == both.chains.at(1).parsed);
    values.set_for_test("smtpd_tls_eccert_file", "/other.pem");
    CHECK(read(both).chains.size() == 2);
    values.set_for_test("smtpd_tls_eccert_file", "");
    values.set_for_test("smtpd_tls_eckey_file", "");
    CHECK(read(both).chains.size() == 1);
    disk.texts["/b.pem"] = pem("b.example");
    disk.texts["/sni"] = "a.example /a.pem\n";
    CHECK(read(both).names.size() == 1);
}

TEST_CASE("the self-signed certificate is made once, for root's eyes only, and not where another is configured", "[daemon][tls]")
{
    const Folder folder;
    auto values = conf::Values::defaults();
    values.set_for_test("myhostname", "mx.example.org");
    const auto said = make_own_certificate(values, folder.path, true);
    REQUIRE(said);
    CHECK(said->find("mx.example.org") != std::string::npos);
    const std::string path = own_certificate_path(folder.path);
    CHECK(::access(path.c_str(), F_OK) != 0);
    REQUIRE(make_own_certificate(values, folder.path));
    struct stat info{};
    REQUIRE(::stat(path.c_str(), &info) == 0);
    CHECK((info.st_mode & 07777) == 0600);
    const std::string text = *read_file(path, 1 << 20);
    CHECK(make_own_certificate(values, folder.path)->empty());
    CHECK(*read_file(path, 1 << 20) == text);
    std::vector<std::string> problems;
    CHECK(read_keys(tls_files(values, "smtpd", folder.path, read_tls_file), read_tls_file, problems));
    CHECK(problems.empty());

    const Folder other;
    for (const Role& role : roles())
        if (role.tls()) values.set_for_test(cat(role.name, "_tls_cert_file"), "/some.pem");
    CHECK(make_own_certificate(values, other.path)->empty());
}

TEST_CASE("the end of a certificate is told 14 days before", "[daemon][tls]")
{
    tls::CertificateFacts facts{"smtpd_tls_cert_file /c.pem", "mx.example.org", "RSA", 1'800'000'000};
    constexpr int64_t day = 86'400;
    bool urgent = false;
    CHECK(validity_line(facts, facts.not_after - 15 * day, urgent) == "smtpd_tls_cert_file /c.pem: the RSA certificate of mx.example.org is valid until 2027-01-15 08:00:00 UTC");
    CHECK_FALSE(urgent);
    CHECK(validity_line(facts, facts.not_after - 13 * day, urgent).ends_with("08:00:00 UTC: that is in 13 days; renew it"));
    CHECK(urgent);
    CHECK(validity_line(facts, facts.not_after + 1, urgent).find("has ended on 2027-01-15") != std::string::npos);
    CHECK(urgent);
}

TEST_CASE("a role takes up a new certificate that master sends, and keeps the old one when the new one is bad", "[daemon][tls]")
{
    const Folder folder;
    std::string log;
    log::capture(&log);
    auto loop = *Loop::create();
    auto values = conf::Values::defaults();
    const std::string path = folder.path + "/cert.pem";
    values.set_for_test("smtpd_tls_cert_file", path);
    values.set_for_test("smtpd_tls_key_file", path);
    ServerTls tls("smtpd");
    Place place;
    place.config_directory = folder.path;
    tls.before_jail(values, place);
    CHECK_FALSE(tls.ready());
    CHECK(log.find("mail comes in clear only") != std::string::npos);
    log.clear();
    place.quiet = true;      // said before: of what is there at the start, nothing
    folder.write("/cert.pem", pem("zero.example.org"));
    ServerTls good("smtpd");
    good.before_jail(values, place);
    CHECK(good.ready());
    ::unlink(path.c_str());
    tls.before_jail(values, place);
    CHECK(log.empty());
    int changes = 0;
    tls.start(*loop, [&] { ++changes; });
    const auto bring = [&](const std::string& text) {
        folder.write("/cert.pem", text);
        const Fd fd(::open(path.c_str(), O_RDONLY));
        const int before = changes;
        CHECK(tls.on_file("tls:" + path, fd));
        for (int i = 0; i < 200 && changes == before; ++i) loop->run_once(std::chrono::milliseconds(50));
        CHECK(changes == before + 1);
    };
    bring(pem("one.example.org"));
    CHECK(tls.ready());
    CHECK(log.find("certificate of one.example.org is valid until 20") != std::string::npos);
    bring("nonsense");
    CHECK(tls.ready());
    CHECK(log.find("the certificate in force is kept") != std::string::npos);
    const std::string two = pem("two.example.org");
    bring(two);
    CHECK(log.find("certificate of two.example.org is valid until 20") != std::string::npos);
    log.clear();
    bring(two + "\n");
    CHECK(log.find("is valid until") == std::string::npos);      // told already
    const Fd ring = *sealed_memfd("ring", master::TicketKeys().ring());
    CHECK(tls.on_file("ticket-keys", ring));
    CHECK(log.find("ticket keys") == std::string::npos);
    const Fd short_ring = *sealed_memfd("ring", "short");
    CHECK(tls.on_file("ticket-keys", short_ring));
    CHECK(log.find("TLS ticket keys") != std::string::npos);
    CHECK_FALSE(tls.on_file("resolv.conf", ring));
    log::capture(nullptr);
}

TEST_CASE("ticket keys turn: the coming key is known before it is used, and gone after two turns", "[master][tls]")
{
    master::TicketKeys keys;
    const auto part = [&](std::size_t i) { return keys.ring().substr(i * tls::ticket_key_size, tls::ticket_key_size); };
    const std::string first = part(0), coming = part(1);
    CHECK(keys.ring().size() == 2 * tls::ticket_key_size);
    keys.rotate();
    CHECK(part(0) == coming);
    CHECK(part(2) == first);
    keys.rotate();
    CHECK(keys.ring().find(first) == std::string::npos);
    CHECK(part(2) == coming);
}
