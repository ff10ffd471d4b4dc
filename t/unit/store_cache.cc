// lib/store/cache: what it says is what was put, or nothing.
#include "t/unit/catch.h"

#include "lib/base/text.h"
#include "lib/store/cache.h"
#include "t/unit/forgetful_disk.h"

using namespace veredus;
using namespace veredus::store;

namespace {

struct World {
    test::ForgetfulDisk disk;
    World() { disk.make_directory("/m"); }
    std::unique_ptr<Cache> open(uint32_t validity = 7)
    {
        auto dir = disk.open_directory(nullptr, "/m");
        REQUIRE(dir);
        auto cache = Cache::open(disk, std::move(*dir), "cache", validity);
        INFO((cache ? "" : cache.error().text));
        REQUIRE(cache);
        return std::move(*cache);
    }
};

}  // namespace

TEST_CASE("what was cached is there, before and after it is written, and in another process", "[store][cache]")
{
    World w;
    auto cache = w.open();
    CHECK_FALSE(cache->get(1, Cached::envelope));
    cache->put(1, Cached::envelope, "(one)");
    cache->put(1, Cached::size, "42");
    cache->put(2, Cached::envelope, "");
    CHECK(cache->get(1, Cached::envelope) == "(one)");
    CHECK(cache->get(2, Cached::envelope) == "");
    REQUIRE(cache->flush());
    cache->put(1, Cached::size, "43");
    CHECK(cache->get(1, Cached::size) == "43");
    REQUIRE(cache->flush());
    auto again = w.open();
    CHECK(again->get(1, Cached::envelope) == "(one)");
    CHECK(again->get(1, Cached::size) == "43");
    CHECK(again->get(2, Cached::envelope) == "");
    CHECK_FALSE(again->get(2, Cached::size));
    again->forget(1);
    CHECK_FALSE(again->get(1, Cached::size));
    again->put(3, Cached::preview, std::string((1u << 20) + 1, 'x'));
    CHECK_FALSE(again->get(3, Cached::preview));
}

TEST_CASE("other numbers, other versions and other files are an empty cache", "[store][cache]")
{
    World w;
    {
        auto cache = w.open();
        cache->put(1, Cached::size, "42");
        REQUIRE(cache->flush());
    }
    CHECK_FALSE(w.open(8)->get(1, Cached::size));
    for (const std::string& text : {std::string("VEREDUS-CACHE-2\n"), std::string(), std::string(100, '\xff')}) {
        w.disk.put("/m/cache", text);
        auto cache = w.open();
        CHECK(cache->messages() == 0);
        cache->put(1, Cached::size, "1");
        REQUIRE(cache->flush());
        CHECK(w.open()->get(1, Cached::size) == "1");
    }
}

TEST_CASE("any flipped byte and any cut give the right value or none", "[store][cache]")
{
    World w;
    {
        auto cache = w.open();
        for (uint32_t uid = 1; uid <= 5; ++uid) cache->put(uid, Cached::envelope, cat("value ", uid));
        REQUIRE(cache->flush());
    }
    const std::string whole = *w.disk.content("/m/cache");
    for (std::size_t at = 0; at < 2 * whole.size(); ++at) {
        std::string bad = at < whole.size() ? whole : whole.substr(0, at - whole.size());
        if (at < whole.size()) bad[at] = static_cast<char>(bad[at] ^ 0x41);
        w.disk.put("/m/cache", bad);
        auto cache = w.open();
        for (uint32_t uid = 1; uid <= 5; ++uid)
            if (const auto value = cache->get(uid, Cached::envelope)) CHECK(*value == cat("value ", uid));
        cache->put(9, Cached::size, "9");
        REQUIRE(cache->flush());
        CHECK(w.open()->get(9, Cached::size) == "9");
    }
}

TEST_CASE("a cache of forgotten messages shrinks, and a full disk costs only the cache", "[store][cache]")
{
    World w;
    auto cache = w.open();
    for (uint32_t uid = 1; uid <= 1000; ++uid) cache->put(uid, Cached::headers, std::string(1000, static_cast<char>('a' + uid % 26)));
    REQUIRE(cache->flush());
    const auto before = w.disk.content("/m/cache")->size();
    for (uint32_t uid = 1; uid <= 900; ++uid) cache->forget(uid);
    REQUIRE(cache->flush());
    CHECK(w.disk.content("/m/cache")->size() < before / 5);
    CHECK(cache->get(950, Cached::headers) == std::string(1000, static_cast<char>('a' + 950 % 26)));
    CHECK(w.open()->messages() == 100);
    cache->put(2000, Cached::size, "1");
    w.disk.fail_write(1, ENOSPC);
    CHECK_FALSE(cache->flush());
    CHECK(cache->get(950, Cached::headers));
    CHECK_FALSE(cache->get(2000, Cached::size));
    CHECK(w.disk.names("/m") == std::vector<std::string>{"cache"});
}
