// lib/base: text, CRC-32C, Result, Fd, directories.
#include <fcntl.h>
#include <sys/stat.h>

#include "t/unit/catch.h"

#include "lib/base/crc32c.h"
#include "lib/base/directory.h"
#include "lib/base/fd.h"
#include "lib/base/random.h"
#include "lib/base/text.h"

using namespace veredus;

TEST_CASE("printable never lets a control byte or broken UTF-8 through", "[base]")
{
    CHECK(printable("plain") == "plain");
    CHECK(printable("a\r\nb\0c") == "a??b");
    CHECK(printable(std::string_view("a\0b", 3)) == "a?b");
    CHECK(printable("gr\xc3\xbc\xc3\x9f") == "gr\xc3\xbc\xc3\x9f");
    CHECK(printable("\xc2\x9b[31m") == "?[31m");         // C1 CSI
    CHECK(printable("\xff\xfe") == "??");
    CHECK(printable("\xe0\x80\xaf") == "???");           // overlong
    CHECK(printable("\xed\xa0\x80") == "???");           // surrogate
    CHECK(printable(std::string(10, 'x'), 4) == "xxxx...");
}

TEST_CASE("numbers are whole, bounded and unsigned", "[base]")
{
    CHECK(parse_number<uint32_t>("42") == 42u);
    CHECK_FALSE(parse_number<uint32_t>("-1"));
    CHECK_FALSE(parse_number<uint32_t>("4294967296"));
    CHECK_FALSE(parse_number<uint32_t>("1 "));
    CHECK_FALSE(parse_number<uint32_t>(""));
    CHECK_FALSE(parse_number<int>("11", 10));
}

TEST_CASE("CRC-32C check value, and pieces equal the whole", "[base]")
{
    CHECK(crc32c(0, "123456789") == 0xE3069283u);
    CHECK(crc32c(crc32c(0, "1234"), "56789") == crc32c(0, "123456789"));
    const std::string bytes = random_bytes(1000);
    uint32_t c = 0;
    for (std::size_t i = 0; i < bytes.size(); i += 7) c = crc32c(c, std::string_view(bytes).substr(i, 7));
    CHECK(c == crc32c(0, bytes));
}

TEST_CASE("split drops empty pieces, split_on keeps them", "[base]")
{
    CHECK(split(" a, b ,,c ", ", ") == std::vector<std::string_view>{"a", "b", "c"});
    CHECK(split_on("a::b", ':') == std::vector<std::string_view>{"a", "", "b"});
    CHECK(split("", " ").empty());
}

TEST_CASE("a sealed memfd cannot be changed any more", "[base]")
{
    auto fd = sealed_memfd("test", "hello");
    REQUIRE(fd);
    CHECK(::write(fd->get(), "x", 1) == -1);
    CHECK(*read_all(fd->get(), 100) == "hello");
    CHECK_FALSE(read_all(sealed_memfd("test", std::string(10, 'x'))->get(), 9));
}

namespace {
Result<int> half(int n)
{
    if (n % 2) return fail("odd");
    return n / 2;
}
Result<int> quarter(int n) { return TRY(half(TRY(half(n)))); }
}  // namespace

TEST_CASE("TRY passes the value on or returns the error", "[base]")
{
    CHECK(*quarter(12) == 3);
    REQUIRE_FALSE(quarter(6));
    CHECK(quarter(6).error().text == "odd");
}

TEST_CASE("one high byte anywhere is seen, whatever the length", "[base]")
{
    for (std::size_t size = 0; size <= 70; ++size) {
        std::string text(size, '\x7f');
        CHECK(is_ascii(text));
        for (std::size_t at = 0; at < size; ++at) {
            text[at] = '\x80';
            CHECK_FALSE(is_ascii(text));
            text[at] = '\x7f';
        }
        CHECK(is_ascii(std::string_view(text + "\xff").substr(0, size)));
    }
}

TEST_CASE("the entries of a directory: all but itself and its parent, until the taker has enough", "[base]")
{
    char path[] = "/tmp/veredus-entries-XXXXXX";
    REQUIRE(::mkdtemp(path));
    const std::string folder = path;
    for (const char* name : {"a", "b", ".c"}) Fd(::open((folder + '/' + name).c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    REQUIRE(::mkdir((folder + "/d").c_str(), 0700) == 0);
    std::vector<std::string> names;
    const auto note = [&](const DirectoryEntry& entry) {
        names.emplace_back(entry.name);
        return true;
    };
    REQUIRE(for_each_entry(folder, note));
    std::sort(names.begin(), names.end());
    CHECK(names == std::vector<std::string>{".c", "a", "b", "d"});
    int met = 0;
    REQUIRE(for_each_entry(folder, [&](const DirectoryEntry&) { return ++met < 2; }));
    CHECK(met == 2);
    // Two at a time share no offset, and what is met may be removed.
    const Fd dir(::open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    names.clear();
    REQUIRE(for_each_entry(dir.get(), folder, [&](const DirectoryEntry& entry) {
        if (names.empty()) REQUIRE(for_each_entry(dir.get(), folder, note));
        return ::unlinkat(dir.get(), entry.name, 0) == 0 || ::unlinkat(dir.get(), entry.name, AT_REMOVEDIR) == 0;
    }));
    CHECK(names.size() == 4);
    REQUIRE(::rmdir(path) == 0);
    const auto gone = for_each_entry(folder, note);
    REQUIRE(!gone);
    CHECK(gone.error().code == ENOENT);
    CHECK(gone.error().text.find(folder) != std::string::npos);
}
