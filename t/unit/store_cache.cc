// lib/store/cache and facts: what they say is what the message says, or nothing.
#include "t/unit/catch.h"

#include <cerrno>

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

// Everything in it tells the number.
struct Numbered {
    std::string envelope, body, structure, fields;
    Facts facts;
    explicit Numbered(uint32_t n, std::size_t more = 0)
        : envelope(cat("(env ", n, ')')), body(cat("(body ", n, ')')), structure(cat("(structure ", n, ')')), fields(cat("Subject: ", n, "\r\n", std::string(more, 'x')))
    {
        facts.size = 1000 + n;
        facts.received = -5 - int64_t{n};
        facts.envelope = envelope;
        facts.body = body;
        facts.body_structure = structure;
        facts.fields = fields;
        facts.fields_whole = n % 2 == 0;
    }
};

void put(Cache& cache, uint32_t uid, std::size_t more = 0) { cache.put(uid, 100 + uid, Numbered(uid, more).facts); }

// "": not there; "right", or what is wrong.
std::string look(Cache& cache, uint32_t uid, std::size_t more = 0)
{
    const auto got = cache.get(uid, 100 + uid);
    if (!got) return "";
    const Numbered want(uid, more);
    const bool same = got->size == want.facts.size && got->received == want.facts.received && got->envelope == want.envelope && got->body == want.body &&
                      got->body_structure == want.structure && got->fields == want.fields && got->fields_whole == want.facts.fields_whole;
    return same ? "right" : cat("wrong: ", got->envelope, got->fields);
}

Facts facts_of(std::string_view message, std::size_t cut, FactsMaker& maker)
{
    for (std::size_t at = 0; at < message.size(); at += cut) maker.feed(message.substr(at, cut));
    maker.finish();
    return maker.facts();
}

}  // namespace

TEST_CASE("what was cached is there, before and after it is written, and in another process", "[store][cache]")
{
    World w;
    auto cache = w.open();
    CHECK(look(*cache, 1).empty());
    put(*cache, 1);
    put(*cache, 2);
    CHECK(look(*cache, 1) == "right");
    cache->put_preview(2, 102, "Hello");
    CHECK_FALSE(cache->get(1, 101)->preview);
    CHECK(cache->get(2, 102)->preview == "Hello");
    REQUIRE(cache->flush());
    CHECK(look(*cache, 2) == "right");
    cache->put(1, 101, Numbered(3).facts);
    CHECK(cache->get(1, 101)->envelope == "(env 3)");
    REQUIRE(cache->flush());
    auto again = w.open();
    CHECK(again->get(1, 101)->envelope == "(env 3)");
    CHECK(look(*again, 2) == "right");
    CHECK(again->get(2, 102)->preview == "Hello");
    // Read in order, with those previews that lie right behind and those that came later.
    for (uint32_t uid = 10; uid < 400; ++uid) {
        put(*again, uid);
        if (uid % 3) again->put_preview(uid, 100 + uid, std::to_string(uid));
        if (uid % 50 == 0) REQUIRE(again->flush());
    }
    for (uint32_t uid = 12; uid < 400; uid += 3) again->put_preview(uid, 100 + uid, std::to_string(uid));
    REQUIRE(again->flush());
    for (uint32_t uid = 10; uid < 400; ++uid) {
        INFO(uid);
        CHECK(look(*again, uid) == "right");
        CHECK(again->get(uid, 100 + uid)->preview == std::to_string(uid));
        again->forget(uid);
    }
    again->forget(2);
    CHECK(look(*again, 2).empty());
    again->forget_if([](uint32_t uid) { return uid == 1; });
    CHECK(again->messages() == 0);
    put(*again, 4, (1u << 20) + 1);                 // more than is kept
    CHECK(look(*again, 4).empty());
}

TEST_CASE("a number that another message got means another message", "[store][cache]")
{
    World w;
    auto cache = w.open();
    put(*cache, 1);
    CHECK_FALSE(cache->get(1, 999));
    CHECK(look(*cache, 1).empty());                 // nobody will ask for the old one again
    put(*cache, 2);
    cache->put_preview(2, 999, "of the other one");
    CHECK(look(*cache, 2) == "right");
    CHECK_FALSE(cache->get(2, 102)->preview);
}

TEST_CASE("several processes add to one cache, one of them rewrites it", "[store][cache]")
{
    World w;
    auto ours = w.open(), theirs = w.open();
    for (uint32_t uid = 1; uid <= 400; ++uid) {
        put(*(uid % 2 ? ours : theirs), uid, 2000);
        if (uid % 7 == 0) REQUIRE(ours->flush());
        if (uid % 5 == 0) REQUIRE(theirs->flush());
    }
    std::string records;
    Cache::encode(records, 401, 501, Numbered(401, 2000).facts);
    const auto dir = w.disk.open_directory(nullptr, "/m");
    REQUIRE(Cache::append(w.disk, *dir, "cache", 7, records));
    REQUIRE(Cache::append(w.disk, *dir, "cache", 8, records));      // of other numbers: not taken
    REQUIRE(Cache::append(w.disk, *dir, "first", 7, records));
    {
        auto d = w.disk.open_directory(nullptr, "/m");
        auto first = Cache::open(w.disk, std::move(*d), "first", 7);
        REQUIRE(first);
        CHECK(look(**first, 401, 2000) == "right");
    }
    REQUIRE(ours->flush());
    REQUIRE(theirs->flush());
    for (uint32_t uid = 1; uid <= 401; ++uid) {
        CHECK(look(*ours, uid, 2000) == "right");
        CHECK(look(*theirs, uid, 2000) == "right");
    }
    CHECK(w.open()->messages() == 401);
    for (uint32_t uid = 1; uid <= 350; ++uid) ours->forget(uid);
    REQUIRE(ours->flush());                                          // a new file
    put(*theirs, 500);
    put(*ours, 501);
    REQUIRE(theirs->flush());
    REQUIRE(ours->flush());
    for (auto* cache : {ours.get(), theirs.get()}) {
        CHECK(look(*cache, 500) == "right");
        CHECK(look(*cache, 501) == "right");
        CHECK(look(*cache, 400, 2000) == "right");
    }
    CHECK(w.disk.names("/m") == std::vector<std::string>{"cache", "first"});
}

TEST_CASE("what another writer cuts off the moment it was written is not there, and can be written again", "[store][cache]")
{
    struct Cutting : test::ForgetfulDisk {
        bool armed = false;
        Result<void> write(const Fd& file, std::string_view bytes) override
        {
            const uint64_t before = size(file).value();
            auto done = ForgetfulDisk::write(file, bytes);
            if (armed) REQUIRE(truncate(file, before));
            return done;
        }
    };
    Cutting disk;
    disk.make_directory("/m");
    auto dir = disk.open_directory(nullptr, "/m");
    auto cache = Cache::open(disk, std::move(*dir), "cache", 7);
    REQUIRE(cache);
    put(**cache, 1);
    put(**cache, 2);
    disk.armed = true;
    REQUIRE((*cache)->flush());
    disk.armed = false;
    CHECK(look(**cache, 2).empty());
    put(**cache, 3);
    CHECK(look(**cache, 1).empty());
    put(**cache, 1);
    REQUIRE((*cache)->flush());
    CHECK(look(**cache, 1) == "right");
    CHECK(look(**cache, 3) == "right");
}

TEST_CASE("other numbers, other versions and other files are an empty cache", "[store][cache]")
{
    World w;
    {
        auto cache = w.open();
        put(*cache, 1);
        REQUIRE(cache->flush());
    }
    CHECK(look(*w.open(8), 1).empty());
    for (const std::string& text : {std::string("VEREDUS-CACHE-1\n"), std::string("VEREDUS-CACHE-2\n"), std::string(), std::string(100, '\xff')}) {
        w.disk.put("/m/cache", text);
        auto cache = w.open();
        CHECK(cache->messages() == 0);
        put(*cache, 1);
        REQUIRE(cache->flush());
        CHECK(look(*w.open(), 1) == "right");
    }
}

TEST_CASE("any flipped byte and any cut give the right value or none", "[store][cache]")
{
    World w;
    {
        auto cache = w.open();
        for (uint32_t uid = 1; uid <= 5; ++uid) put(*cache, uid);
        REQUIRE(cache->flush());
    }
    const std::string whole = *w.disk.content("/m/cache");
    for (std::size_t at = 0; at < 2 * whole.size(); ++at) {
        std::string bad = at < whole.size() ? whole : whole.substr(0, at - whole.size());
        if (at < whole.size()) bad[at] = static_cast<char>(bad[at] ^ 0x41);
        w.disk.put("/m/cache", bad);
        auto cache = w.open();
        for (uint32_t uid = 1; uid <= 5; ++uid) {
            const std::string seen = look(*cache, uid);
            if (!seen.empty()) REQUIRE(seen == "right");
        }
        put(*cache, 9);
        REQUIRE(cache->flush());
        REQUIRE(look(*w.open(), 9) == "right");
    }
}

TEST_CASE("a cache of forgotten messages shrinks, and a full disk costs only the cache", "[store][cache]")
{
    World w;
    auto cache = w.open();
    for (uint32_t uid = 1; uid <= 1000; ++uid) put(*cache, uid, 1000);
    REQUIRE(cache->flush());
    const auto before = w.disk.content("/m/cache")->size();
    for (uint32_t uid = 1; uid <= 900; ++uid) cache->forget(uid);
    REQUIRE(cache->flush());
    CHECK(w.disk.content("/m/cache")->size() < before / 5);
    CHECK(look(*cache, 950, 1000) == "right");
    CHECK(w.open()->messages() == 100);
    put(*cache, 2000);
    w.disk.fail_write(1, ENOSPC);
    CHECK_FALSE(cache->flush());
    CHECK(look(*cache, 950, 1000) == "right");
    CHECK(look(*cache, 2000).empty());
    CHECK(w.disk.names("/m") == std::vector<std::string>{"cache"});
}

TEST_CASE("the facts of a message are those of its CRLF form, in any cut", "[store][facts]")
{
    const std::string lf = "Received: by x\nSubject: a\n folded\nX-Private: no\nFROM : a@b\nTo: c@d\nto: e@f\nContent-Type: text/plain\n\nline\r\nline\n\nend";
    for (const std::size_t cut : {std::size_t{1}, std::size_t{7}, lf.size()}) {
        FactsMaker maker;
        const Facts f = facts_of(lf, cut, maker);
        CHECK(f.size == lf.size() + 11);
        CHECK(f.fields == "Subject: a\r\n folded\r\nFROM : a@b\r\nTo: c@d\r\nto: e@f\r\nContent-Type: text/plain\r\n");
        CHECK(f.fields_whole);
        CHECK(f.envelope == "(NIL \"a folded\" ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) ((NIL NIL \"c\" \"d\")(NIL NIL \"e\" \"f\")) NIL NIL NIL NIL)");
        CHECK(f.preview == "line line end");
        CHECK(f.body_structure == "(\"text\" \"plain\" NIL NIL NIL \"7bit\" 17 3 NIL NIL NIL NIL)");
        std::vector<std::string_view> bodies;
        field_bodies(f.fields, "TO", bodies);
        field_bodies(f.fields, "subject", bodies);
        field_bodies(f.fields, "from", bodies);
        CHECK(bodies == std::vector<std::string_view>{"c@d", "e@f", "a\r\n folded", "a@b"});
    }
    for (const auto& [name, is] : std::vector<std::pair<std::string, bool>>{{"References", true}, {"X-PRIORITY", true}, {"received", false}, {"", false}, {std::string(5000, 'a'), false}})
        CHECK(is_kept_field(name) == is);
}

TEST_CASE("what clients ask for to draw a list of messages is kept", "[store][facts]")
{
    const std::pair<const char*, const char*> clients[] = {
        {"K-9, Thunderbird for Android", "date subject from content-type to cc bcc reply-to message-id references in-reply-to list-post list-unsubscribe sender "
                                         "X-K9mail-Identity Chat-Version"},
        {"mutt", "DATE FROM SENDER SUBJECT TO CC MESSAGE-ID REFERENCES CONTENT-TYPE CONTENT-DESCRIPTION IN-REPLY-TO REPLY-TO LINES LIST-POST X-LABEL"},
        {"NeoMutt", "DATE FROM SENDER SUBJECT TO CC MESSAGE-ID REFERENCES CONTENT-TYPE CONTENT-DESCRIPTION IN-REPLY-TO REPLY-TO LINES LIST-POST LIST-SUBSCRIBE "
                    "LIST-UNSUBSCRIBE X-LABEL X-ORIGINAL-TO"},
        {"Roundcube", "DATE FROM TO SUBJECT CONTENT-TYPE CC REPLY-TO LIST-POST DISPOSITION-NOTIFICATION-TO X-PRIORITY SENDER IN-REPLY-TO BCC"},
        {"Thunderbird", "From To Cc Bcc Subject Date Message-ID Priority X-Priority References Newsgroups In-Reply-To Content-Type Reply-To"},
    };
    for (const auto& [client, fields] : clients)
        for (const auto field : split(fields, " ")) {
            INFO(client << ' ' << field);
            CHECK(is_kept_field(field));
        }
}

TEST_CASE("headers beyond all bounds are kept in part, and say so", "[store][facts]")
{
    struct Case {
        std::string message;
        bool whole;
    };
    const std::vector<Case> cases = {
        {"", true},
        {"Subject: no end of line", true},
        {"Subject: " + std::string(200'000, 'x') + "\n\n", false},
        {"To: a@b\nSubject: " + std::string(20'000, 'x') + "\nCc: c@d\n\n", false},
        {"X-Private: " + std::string(200'000, 'x') + "\nTo: a@b\n\n", true},
        {[] {
             std::string many;
             for (int i = 0; i < 5000; ++i) append(many, "References: <", i, "@x>\n");
             return many + "\n";
         }(), false},
    };
    for (const Case& c : cases) {
        FactsMaker maker;
        const Facts f = facts_of(c.message, 4096, maker);
        INFO(c.message.substr(0, 50));
        CHECK(f.fields_whole == c.whole);
        CHECK(f.fields.size() <= max_kept_fields);
        CHECK((f.fields.empty() || f.fields.ends_with("\r\n")));
    }
}
