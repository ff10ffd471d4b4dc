// The files behind tables of a role in a jail.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "lib/daemon/table_files.h"
#include "lib/table/table.h"
#include "t/unit/catch.h"

using namespace veredus;

namespace {

struct Folder {
    Folder() { REQUIRE(::mkdtemp(path)); }
    ~Folder()
    {
        ::unlink(file("a").c_str());
        ::rmdir(path);
    }
    std::string file(const char* name) const { return std::string(path) + "/" + name; }
    char path[32] = "/tmp/tables.XXXXXX";
};

}  // namespace

TEST_CASE("a table in a jail is made of the text that was handed in, and of a later one", "[daemon][tables]")
{
    const Folder folder;
    const std::string path = folder.file("a");
    std::ofstream(path) << "one 1\n";
    conf::Values values = conf::Values::defaults();
    values.set_for_test("tls_server_sni_maps", "hash:/not/ours");
    values.set_for_test("smtpd_recipient_restrictions", "check_client_access hash:" + path + ", reject");
    CHECK(daemon::table_files(values, conf::smtpd) == std::set<std::string>{path});
    daemon::TableFiles files;
    files.before_jail(values, conf::smtpd);
    ::unlink(path.c_str());
    const auto table = table::open_from("hash:" + path, files.reader());
    REQUIRE(table);
    CHECK((*table)->find("one").value() == "1");

    std::ofstream(path) << "two 2\n";
    CHECK_FALSE(files.on_file("resolv.conf", Fd()));
    CHECK(files.on_file("table:" + path, Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC))));
    const auto later = table::open_from("proxy:lmdb:" + path, files.reader());
    REQUIRE(later);
    CHECK_FALSE((*later)->find("one").value());
    CHECK((*later)->find("two").value() == "2");
    CHECK_FALSE(table::open_from("hash:/somewhere/else", files.reader()));
    CHECK_FALSE(table::open_from("unix:passwd.byname", files.reader()));
    const auto patterns = table::open_from("cidr:" + path, files.reader());
    REQUIRE(patterns);
    CHECK((*patterns)->problems().size() == 1);
    CHECK((*table::open_from("inline:{a=b}", files.reader()))->find("a").value() == "b");
}
