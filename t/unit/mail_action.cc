// The right-hand side of access tables and header checks.
#include "lib/mail/action.h"
#include "t/unit/catch.h"

using namespace veredus::mail;

TEST_CASE("an action is a verb, perhaps a code and a status, and text", "[mail][action]")
{
    struct Row {
        const char* text;
        Verb verb;
        int code;
        const char *enhanced, *rest;
    };
    const Row rows[] = {
        {"OK", Verb::ok, 0, "", ""}, {"ok", Verb::ok, 0, "", ""}, {"RELAY", Verb::ok, 0, "", ""}, {"1234", Verb::ok, 0, "", ""},
        {"  DUNNO ", Verb::dunno, 0, "", ""}, {"REJECT", Verb::reject, 0, "", ""}, {"Reject  go  away ", Verb::reject, 0, "", "go  away"},
        {"REJECT 5.7.1 no", Verb::reject, 0, "5.7.1", "no"}, {"REJECT 5.7", Verb::reject, 0, "", "5.7"}, {"DEFER 4.7.1", Verb::defer, 0, "4.7.1", ""},
        {"550 no such list", Verb::reject, 550, "", "no such list"}, {"550 5.1.10 moved", Verb::reject, 550, "5.1.10", "moved"},
        {"450", Verb::defer, 450, "", ""}, {"defer_if_permit later", Verb::defer_if_permit, 0, "", "later"}, {"DEFER_IF_REJECT", Verb::defer_if_reject, 0, "", ""},
        {"HOLD\tlook at it", Verb::hold, 0, "", "look at it"}, {"DISCARD 5.7.1 x", Verb::discard, 0, "", "5.7.1 x"},
        {"PREPEND X-A: b c", Verb::prepend, 0, "", "X-A: b c"}, {"REDIRECT a@b.example", Verb::redirect, 0, "", "a@b.example"},
        {"BCC a@b.example", Verb::bcc, 0, "", "a@b.example"}, {"WARN", Verb::warn, 0, "", ""}, {"INFO x", Verb::info, 0, "", "x"},
        {"FILTER smtp:[::1]:10025", Verb::filter, 0, "", "smtp:[::1]:10025"}, {"IGNORE", Verb::ignore, 0, "", ""}, {"STRIP", Verb::strip, 0, "", ""},
        {"REPLACE Subject: y", Verb::replace, 0, "", "Subject: y"},
    };
    for (const Row& row : rows) {
        INFO(row.text);
        const auto action = parse_action(row.text);
        REQUIRE(action);
        CHECK(action->verb == row.verb);
        CHECK(action->code == row.code);
        CHECK(action->enhanced == row.enhanced);
        CHECK(action->text == row.rest);
    }
    for (const char* text : {"", " ", "reject_unknown_client_hostname", "permit_mynetworks, reject", "OKAY", "250 hello", "REJECTED"}) {
        INFO(text);
        CHECK_FALSE(parse_action(text));
    }
}

TEST_CASE("the class of an enhanced status follows the reply code", "[mail][action]")
{
    CHECK(status_for(554, "4.7.1") == "5.7.1");
    CHECK(status_for(450, "5.7.1") == "4.7.1");
    CHECK(status_for(450, "").empty());
    CHECK(is_enhanced_status("5.1.10"));
    for (const char* text : {"", "5", "5.1", "3.1.1", "5.1.1.1", "5..1", "5.1.1000", "5.a.1"}) CHECK_FALSE(is_enhanced_status(text));
    CHECK(verb_name(Verb::defer_if_permit) == "DEFER_IF_PERMIT");
}
