// `veredus queue`: the words, and the queue's text as other programs parse it.
#include "t/unit/catch.h"

#include <cstdlib>
#include <regex>

#include "lib/ipc/listing.h"
#include "master/veredus/queue.h"

using namespace veredus;
using namespace veredus::admin;

namespace {

Result<QueueCommand> parsed(std::vector<std::string> words) { return parse_queue_command(words); }

ipc::Listed listed(const char* id, const char* state, uint64_t size, const char* sender, std::vector<ipc::ListedRecipient> recipients)
{
    ipc::Listed mail;
    mail.id = id;
    mail.state = state;
    mail.size = size;
    mail.sender = sender;
    mail.arrival_us = 1'795'867'200'000'000;
    mail.recipients = std::move(recipients);
    return mail;
}

}  // namespace

TEST_CASE("veredus queue: verbs, filters, IDs", "[queue-command]")
{
    CHECK(parsed({"list"})->verb == QueueCommand::Verb::list);
    CHECK(parsed({"list", "--json"})->json);
    CHECK(parsed({"delete", "4f3c91a0b2000001"})->filter.ids == std::vector<std::string>{"4F3C91A0B2000001"});
    CHECK(parsed({"delete", "4F3C91A0B2000001"})->act == ipc::Act::remove);
    CHECK(parsed({"hold", "--sender", "a@b", "--older-than=2d", "--state", "deferred"})->filter.older_than_s == 172'800);
    CHECK(parsed({"release", "ALL"})->all);
    CHECK(parsed({"flush"})->all);
    CHECK_FALSE(parsed({"flush", "--site", "example.org"})->all);
    CHECK(parsed({"show", "-e", "4F3C91A0B2000001"})->message == false);
    for (const auto& bad : std::vector<std::vector<std::string>>{{}, {"shred"}, {"delete"}, {"hold"}, {"requeue"}, {"show"}, {"delete", "all"}, {"delete", "12"},
                                                                 {"list", "--sender"}, {"list", "--state", "odd"}, {"list", "--older-than", "x"}, {"list", "--colour", "red"},
                                                                 {"delete", "--sender="}}) {
        INFO((bad.empty() ? "" : bad[0]));
        CHECK_FALSE(parse_queue_command(bad));
    }
    CHECK(parse_age("90") == 90);
    CHECK(parse_age("5m") == 300);
    CHECK_FALSE(parse_age("5y"));
    CHECK_FALSE(parse_age("m"));
    CHECK_FALSE(parse_age("-1"));
    CHECK_FALSE(parse_age("0"));
    CHECK(done_text(ipc::Act::remove, 3) == "Deleted: 3 messages\n");
    CHECK(done_text(ipc::Act::hold, 1) == "Placed on hold: 1 message\n");
}

TEST_CASE("what was done is said to people and to programs", "[queue-command]")
{
    CHECK(done_text(ipc::Act::remove, 1) == "Deleted: 1 message\n");
    CHECK(done_json(ipc::Act::remove, 12) == "{\"verb\": \"delete\", \"count\": 12}\n");
    CHECK(done_json(ipc::Act::flush, 0) == "{\"verb\": \"flush\", \"count\": 0}\n");
}

TEST_CASE("mailq is Postfix's with long queue IDs, byte for byte", "[queue-command]")
{
    setenv("TZ", "UTC", 1);
    tzset();
    ipc::QueueText text;
    CHECK(text.end() == "Mail queue is empty\n");
    std::string out = text.entry(listed("4F3C91A0B2000001", "active", 1234, "user@example.org", {{"a@x", ""}}));
    out += text.entry(listed("4F3C91A0B2000002", "deferred", 20'000, "",
                             {{"b@y", "connect to mx.example.net[192.0.2.1]:25: Connection timed out"}, {"c@y", "connect to mx.example.net[192.0.2.1]:25: Connection timed out"}, {"d@z", "x"}}));
    out += text.entry(listed("4F3C91A0B2000003", "hold", 1, "e@x", {{"f@x", ""}}));
    out += text.end();
    CHECK(out ==
          "----Queue ID-----  --Size-- ---Arrival Time---- --Sender/Recipient------\n"
          "4F3C91A0B2000001*     1234 Sat Nov 28 12:00:00 user@example.org\n"
          "                                               a@x\n"
          "\n"
          "4F3C91A0B2000002     20000 Sat Nov 28 12:00:00 MAILER-DAEMON\n"
          "               (connect to mx.example.net[192.0.2.1]:25: Connection timed out)\n"
          "                                               b@y\n"
          "                                               c@y\n"
          "                                                                           (x)\n"
          "                                               d@z\n"
          "\n"
          "4F3C91A0B2000003!        1 Sat Nov 28 12:00:00 e@x\n"
          "                                               f@x\n"
          "\n-- 20 Kbytes in 3 Requests.\n");
    // postfix_exporter and check_mailq (dropin.md §3.3)
    const std::regex exporter(R"(^[0-9A-F]+([\*!]?) +(\d+) (\w{3} \w{3} +\d+ +\d+:\d{2}:\d{2}) +)");
    CHECK(std::regex_search("4F3C91A0B2000001*     1234 Sat Nov 28 12:00:00 user@example.org", exporter));
    CHECK(std::regex_search(out, std::regex(R"(Kbytes in (\d+))")));
    ipc::QueueText one;
    one.entry(listed("4F3C91A0B2000003", "hold", 1, "e@x", {}));
    CHECK(one.end() == "\n-- 0 Kbytes in 1 Request.\n");
}

TEST_CASE("mailq -j is one object a line, as postqueue -j", "[queue-command][rfc8259-7]")
{
    CHECK(ipc::queue_json(listed("4F3C91A0B2000001", "deferred", 1234, "", {{"a\"b\\c@x", "say \"no\"\n"}, {"d@x", ""}})) ==
          "{\"queue_name\": \"deferred\", \"queue_id\": \"4F3C91A0B2000001\", \"arrival_time\": 1795867200, \"message_size\": 1234, "
          "\"forced_expire\": false, \"sender\": \"MAILER-DAEMON\", \"recipients\": [{\"address\": \"a\\\"b\\\\c@x\", \"delay_reason\": \"say \\\"no\\\"\\n\"}, "
          "{\"address\": \"d@x\"}]}\n");
    CHECK(ipc::queue_json(listed("X", "hold", 0, "\xff", {})).find("\"sender\": \"?\", \"recipients\": []}") != std::string::npos);
}

TEST_CASE("mailq never says that the queue is empty when nobody answers", "[queue-command]")
{
    const auto client = ipc::QueueClient::connect("/nonexistent");
    REQUIRE_FALSE(client);
    CHECK(client.error().text.find("the mail system is down") == 0);
}
