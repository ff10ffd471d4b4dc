// Restriction lists: what is parsed, and what each restriction says, with DNS, router and policy services that are tables.
#include "lib/reception/judge.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "lib/base/text.h"
#include "lib/conf/values.h"
#include "lib/reception/check.h"
#include "lib/reception/policy_service.h"
#include "t/unit/catch.h"

using namespace veredus;
using namespace veredus::reception;

namespace {

// A world that answers every question.
struct World {
    std::map<std::string, std::string> settings;
    std::map<std::pair<std::string, dns::Kind>, dns::Answer> names;
    std::string policy_action = "DUNNO", policy_asked;
    Situation s;
    std::vector<Complaint> complaints;
    Verdict verdict;
    std::size_t asked_at_once = 0;         // most questions to DNS in one turn

    World()
    {
        s.client = *net::Address::parse_ip("192.0.2.7", 4711);
        s.server = *net::Address::parse_ip("198.51.100.1", 25);
        s.client_name = s.reverse_name = "mail.client.example";
        s.helo = "mail.client.example";
        s.protocol = "ESMTP";
        s.has_sender = s.has_recipient = true;
        s.sender = *mail::parse_address("a@sender.example");
        s.recipient = *mail::parse_address("b@here.example");
    }
    void name(const std::string& name, dns::Kind kind, const std::string& value)
    {
        dns::Record record;
        record.kind = kind;
        if (kind == dns::Kind::a) record.address = *net::Address::parse_ip(value, 0);
        else if (kind == dns::Kind::txt) record.bytes = value;
        else record.name = value;
        dns::Answer& answer = names[{name, kind}];
        answer.status = dns::Status::ok;
        answer.records.push_back(record);
    }
    static ipc::Route route(const std::string& address)
    {
        ipc::Route r;
        r.kind = ipc::Route::Kind::deliver;
        r.address_class = address.ends_with("@here.example")    ? ipc::AddressClass::local
                          : address.ends_with("@relay.example") ? ipc::AddressClass::relay
                                                                : ipc::AddressClass::remote;
        if (address.starts_with("nobody@") || address.starts_with("postmaster@")) {
            r.kind = ipc::Route::Kind::reject;
            r.text = "User unknown in local recipient table";
        }
        if (address.starts_with("later@")) r.kind = ipc::Route::Kind::defer;
        return r;
    }
    // shop@here.example is alice's by the table, and alice@here.example is hers without one.
    static ipc::OwnerReply owner(const std::string& user, const std::string& address)
    {
        ipc::OwnerReply reply;
        if (address.starts_with("later@")) return reply;
        reply.listed = address.starts_with("shop@");
        const bool hers = user == "alice" && (reply.listed || address.starts_with("alice@"));
        reply.word = hers ? ipc::OwnerReply::Word::yes : ipc::OwnerReply::Word::no;
        return reply;
    }
    void login(const char* name, const char* from)
    {
        s.sasl_user = s.user = name;
        s.sender = *mail::parse_address(from);
    }
    // "250", or the reply's code, status and text.
    std::string say(const std::string& recipient_restrictions, At at = At::rcpt)
    {
        conf::Values values = conf::Values::defaults();
        for (const auto& [name, value] : settings) values.set_for_test(name, value);
        values.set_for_test("smtpd_recipient_restrictions", recipient_restrictions);
        complaints.clear();
        const Rules rules = parse_rules(values, "smtpd", complaints);
        const Tables tables = open_tables(rules, [](const std::string& path) { return fail(cat("open ", path, ": No such file or directory")); });
        Facts facts;
        for (int turn = 0; turn < 50; ++turn) {
            verdict = judge(rules, tables, s, at, facts);
            if (verdict.kind == Verdict::Kind::permit) return "250";
            if (verdict.kind == Verdict::Kind::refuse) return cat(verdict.reply.code, ' ', verdict.reply.enhanced, ' ', verdict.reply.text);
            const auto questions = facts.take_questions();
            if (questions.empty()) return "waits for nothing";
            asked_at_once = std::max(asked_at_once, questions.size());
            for (const Question& q : questions) answer(facts, q);
        }
        return "never ends";
    }
    void answer(Facts& facts, const Question& q)
    {
        if (q.kind == Question::Kind::route) facts.put_route(q.name, route(q.name));
        if (q.kind == Question::Kind::policy) {
            policy_asked = q.name;
            facts.put_policy(q.server->endpoint, q.name, policy_action);
        }
        if (q.kind == Question::Kind::owner) facts.put_owner(q.user, q.name, owner(q.user, q.name));
        if (q.kind != Question::Kind::dns) return;
        dns::Answer nothing;
        nothing.status = q.name.ends_with("broken.example") ? dns::Status::timeout : dns::Status::nxdomain;
        const auto known = names.find({q.name, q.record});
        bool other = false;
        for (const auto& [key, value] : names) other = other || key.first == q.name;
        if (other) nothing.status = dns::Status::nodata;
        facts.put_dns(q.name, q.record, known == names.end() ? nothing : known->second);
    }
};

struct Case {
    const char *list, *reply;
    void (*change)(World&) = nullptr;
};

void run(std::initializer_list<Case> cases)
{
    for (const Case& c : cases) {
        World world;
        if (c.change) c.change(world);
        INFO(c.list);
        CHECK(world.say(c.list) == c.reply);
        for (const Complaint& complaint : world.complaints) {
            INFO(complaint.text);
            CHECK_FALSE(complaint.error);
        }
    }
}

}  // namespace

TEST_CASE("an empty main.cf relays for mynetworks and logged-in users only, and takes mail for those who exist", "[restrictions]")
{
    run({
        {"", "250"},
        {"", "554 5.7.1 <x@far.example>: Relay access denied", [](World& w) { w.s.recipient = *mail::parse_address("x@far.example"); }},
        {"", "250", [](World& w) { w.s.recipient = *mail::parse_address("x@far.example"); w.s.ours = true; }},
        {"", "250", [](World& w) { w.s.recipient = *mail::parse_address("x@far.example"); w.s.sasl_user = "u"; }},
        {"", "550 5.1.1 <nobody@here.example>: Recipient address rejected: User unknown in local recipient table",
         [](World& w) { w.s.recipient = *mail::parse_address("nobody@here.example"); }},
        {"permit", "550 5.1.1 <nobody@here.example>: Recipient address rejected: User unknown in local recipient table",
         [](World& w) { w.s.recipient = *mail::parse_address("nobody@here.example"); }},
        {"", "250", [](World& w) { w.s.recipient = *mail::parse_address("postmaster@here.example"); }},
        {"", "451 4.3.0 <later@here.example>: Temporary lookup failure", [](World& w) { w.s.recipient = *mail::parse_address("later@here.example"); }},
        {"", "250", [](World& w) { w.s.recipient = *mail::parse_address("u@relay.example"); }},
        {"", "250", [](World& w) { w.s.recipient = *mail::parse_address("u%far.example@here.example"); }},
    });
    for (const char* through : {"u%far.example@relay.example", "far.example!u@relay.example", "\"u@far.example\"@relay.example"}) {
        World world;
        world.s.recipient = *mail::parse_address(through);
        INFO(through);
        CHECK(world.say("").starts_with("554 5.7.1 "));
    }
}

TEST_CASE("restrictions that need nobody's answer", "[restrictions]")
{
    run({
        {"reject", "554 5.7.1 <b@here.example>: Recipient address rejected: Access denied"},
        {"permit, reject", "250"},
        {"defer", "450 4.3.2 <b@here.example>: Recipient address rejected: Try again later"},
        {"defer_if_permit", "450 4.7.0 <b@here.example>: Recipient address rejected: defer_if_permit requested"},
        {"defer_if_permit reject", "554 5.7.1 <b@here.example>: Recipient address rejected: Access denied"},
        {"defer_if_reject", "250"},
        {"defer_if_reject, reject", "450 4.7.0 <b@here.example>: Recipient address rejected: defer_if_reject requested"},
        {"warn_if_reject reject", "250"},
        {"permit_mynetworks, reject", "250", [](World& w) { w.s.ours = true; }},
        {"permit_sasl_authenticated, reject", "250", [](World& w) { w.s.sasl_user = "u"; }},
        {"permit_auth_destination, reject", "250"},
        {"permit_auth_destination, reject", "554 5.7.1 <b@far.example>: Recipient address rejected: Access denied",
         [](World& w) { w.s.ours = true; w.s.recipient = *mail::parse_address("b@far.example"); }},
        {"reject_unauth_destination", "554 5.7.1 <b@far.example>: Relay access denied",
         [](World& w) { w.settings["smtpd_relay_restrictions"] = ""; w.s.recipient = *mail::parse_address("b@far.example"); }},
        {"defer_unauth_destination", "454 4.7.1 <b@far.example>: Relay access denied",
         [](World& w) { w.settings["smtpd_relay_restrictions"] = ""; w.s.recipient = *mail::parse_address("b@far.example"); }},
        {"permit_inet_interfaces, reject", "554 5.7.1 <b@here.example>: Recipient address rejected: Access denied"},
        {"permit_inet_interfaces, reject", "250", [](World& w) { w.s.client = *net::Address::parse_ip("127.0.0.9", 1); }},
        {"permit_inet_interfaces, reject", "250", [](World& w) { w.s.client = w.s.server; }},
        {"reject_unlisted_recipient", "550 5.1.1 <nobody@here.example>: Recipient address rejected: User unknown in local recipient table",
         [](World& w) { w.settings["smtpd_reject_unlisted_recipient"] = "no"; w.s.recipient = *mail::parse_address("nobody@here.example"); }},
        {"permit", "250", [](World& w) { w.settings["smtpd_reject_unlisted_recipient"] = "no"; w.s.recipient = *mail::parse_address("nobody@here.example"); }},
        {"reject_unauth_pipelining", "503 5.5.0 <b@here.example>: Recipient address rejected: Improper use of SMTP command pipelining", [](World& w) { w.s.pipelined = true; }},
        {"reject_plaintext_session", "450 4.7.1 <b@here.example>: Recipient address rejected: Session encryption is required"},
        {"reject_multi_recipient_bounce", "550 5.5.3 <>: Recipient address rejected: Multi-recipient bounce", [](World& w) { w.s.sender = {}; w.s.recipients = 1; }},
        {"reject_non_fqdn_sender", "250"},
        {"reject_non_fqdn_sender", "504 5.5.2 <a@host>: Sender address rejected: need fully-qualified address", [](World& w) { w.s.sender = *mail::parse_address("a@host"); }},
        {"reject_non_fqdn_sender", "250", [](World& w) { w.s.sender = {}; }},
        {"reject_non_fqdn_recipient", "504 5.5.2 <b>: Recipient address rejected: need fully-qualified address", [](World& w) { w.s.recipient = *mail::parse_address("b"); w.s.ours = true; }},
        {"reject_non_fqdn_hostname", "504 5.5.2 <host>: Helo command rejected: need fully-qualified hostname", [](World& w) { w.s.helo = "host"; }},
        {"reject_invalid_helo_hostname", "250", [](World& w) { w.s.helo = "host"; }},
        {"reject_invalid_helo_hostname", "250", [](World& w) { w.s.helo = "192.0.2.7"; }},
        {"reject_non_fqdn_helo_hostname", "504 5.5.2 <192.0.2.7>: Helo command rejected: need fully-qualified hostname", [](World& w) { w.s.helo = "192.0.2.7"; }},
        {"reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname", "250", [](World& w) { w.s.helo = "good.example."; }},
        {"reject_non_fqdn_helo_hostname", "504 5.5.2 <host.>: Helo command rejected: need fully-qualified hostname", [](World& w) { w.s.helo = "host."; }},
        {"reject_invalid_helo_hostname", "501 5.5.2 <good.example..>: Helo command rejected: Invalid name", [](World& w) { w.s.helo = "good.example.."; }},
        {"reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname", "250", [](World& w) { w.s.helo = "[192.0.2.7]"; }},
        {"reject_invalid_helo_hostname", "501 5.5.2 <a..b>: Helo command rejected: Invalid name", [](World& w) { w.s.helo = "a..b"; }},
        {"reject_unknown_client", "450 4.7.25 Client host rejected: cannot find your hostname, [192.0.2.7]", [](World& w) { w.s.client_name = "unknown"; }},
        {"reject_unknown_client_hostname", "550 5.7.25 Client host rejected: cannot find your hostname, [192.0.2.7]",
         [](World& w) { w.s.client_name = "unknown"; w.settings["unknown_client_reject_code"] = "550"; }},
        {"reject_unknown_client_hostname", "450 4.7.25 Client host rejected: cannot find your hostname, [192.0.2.7]",
         [](World& w) { w.s.client_name = "unknown"; w.s.name_trouble = true; w.settings["unknown_client_reject_code"] = "550"; }},
        {"reject_unknown_reverse_client_hostname", "250", [](World& w) { w.s.client_name = "unknown"; }},
        {"reject_unknown_reverse_client_hostname", "450 4.7.25 Client host rejected: cannot find your reverse hostname, [192.0.2.7]",
         [](World& w) { w.s.reverse_name = "unknown"; }},
        {"reject_unknown_reverse_client_hostname", "550 5.7.25 Client host rejected: cannot find your reverse hostname, [192.0.2.7]",
         [](World& w) { w.s.reverse_name = "unknown"; w.settings["unknown_client_reject_code"] = "550"; }},
        {"reject_unknown_reverse_client_hostname", "450 4.7.25 Client host rejected: cannot find your reverse hostname, [192.0.2.7]",
         [](World& w) { w.s.reverse_name = "unknown"; w.s.name_trouble = true; w.settings["unknown_client_reject_code"] = "550"; }},
        {"reject_unlisted_sender", "550 5.1.0 <nobody@here.example>: Sender address rejected: User unknown in local recipient table",
         [](World& w) { w.s.sender = *mail::parse_address("nobody@here.example"); }},
    });
    const auto file = conf::File::parse("smtpd_restriction_classes = own\nown = reject_plaintext_session, defer\nsmtpd_client_restrictions = own\n", "main.cf");
    std::vector<Complaint> complaints;
    World classes;
    Facts facts;
    CHECK(judge(parse_rules(file.values(), "smtpd", complaints), {}, classes.s, At::rcpt, facts).reply.text == "<mail.client.example[192.0.2.7]>: Client host rejected: Session encryption is required");
    CHECK(complaints.empty());
    World world;
    CHECK(world.say("warn_if_reject reject_plaintext_session, permit") == "250");
    REQUIRE(world.verdict.events.size() == 1);
    CHECK(world.verdict.events[0].what == "reject_warning");
    CHECK(world.verdict.events[0].text == "450 4.7.1 <b@here.example>: Recipient address rejected: Session encryption is required");
}

TEST_CASE("login mismatch: a listed sender is its users' alone, and who has logged in sends as himself", "[restrictions]")
{
    const char *all = "reject_sender_login_mismatch", *known = "reject_known_sender_login_mismatch", *in = "reject_authenticated_sender_login_mismatch",
               *out = "reject_unauthenticated_sender_login_mismatch";
    const std::string away = "553 5.7.1 <shop@here.example>: Sender address rejected: not logged in", later = "451 4.3.0 <later@here.example>: Temporary lookup failure";
    const auto not_his = [](const char* user, const char* from) { return cat("553 5.7.1 <", from, ">: Sender address rejected: not owned by user ", user); };
    struct Row {
        const char *user, *from;                                // user: empty for a stranger
        std::string all, known, in, out;
    };
    const Row rows[] = {
        {"", "shop@here.example", away, away, "250", away},
        {"", "alice@here.example", "250", "250", "250", "250"}, // as in Postfix: nothing lists her
        {"", "a@sender.example", "250", "250", "250", "250"},
        {"", "", "250", "250", "250", "250"},
        {"", "later@here.example", later, later, "250", later},
        {"alice", "shop@here.example", "250", "250", "250", "250"},
        {"alice", "alice@here.example", "250", "250", "250", "250"},
        {"alice", "", "250", "250", "250", "250"},
        {"bob", "shop@here.example", not_his("bob", "shop@here.example"), not_his("bob", "shop@here.example"), not_his("bob", "shop@here.example"), "250"},
        {"bob", "alice@here.example", not_his("bob", "alice@here.example"), "250", not_his("bob", "alice@here.example"), "250"},
        {"bob", "a@sender.example", not_his("bob", "a@sender.example"), "250", not_his("bob", "a@sender.example"), "250"},
        {"bob", "later@here.example", later, later, later, "250"},
    };
    for (const Row& row : rows) {
        INFO(row.user << " as " << row.from);
        World world;
        if (*row.from) world.login(row.user, row.from);
        else world.s.sasl_user = world.s.user = row.user, world.s.sender = {};
        CHECK(world.say(all) == row.all);
        CHECK(world.say(known) == row.known);
        CHECK(world.say(in) == row.in);
        CHECK(world.say(out) == row.out);
        CHECK(world.complaints.empty());                        // no warning that it is not done
        world.s.ours = true;                                    // mynetworks alone excuses nobody
        CHECK(world.say(all) == row.all);
        CHECK(world.say(cat("permit_mynetworks, ", all)) == "250");
        CHECK(world.say(cat("warn_if_reject ", out)) == "250");
    }
    // Words of a client do not break out of the reply, and as whom he logged in is asked for by authd's word.
    World world;
    world.login("alice", "shop@here.example");
    world.s.sasl_user = "ALICE@here.example";
    CHECK(world.say(all) == "250");
    world.s.user = "bob";
    world.s.sasl_user = "b\r\nob";
    CHECK(world.say(all) == not_his("b??ob", "shop@here.example"));
}

TEST_CASE("access tables: the keys that are tried, and what their results do", "[restrictions]")
{
    run({
        {"check_recipient_access inline:{b@here.example=REJECT}", "554 5.7.1 <b@here.example>: Recipient address rejected: Access denied"},
        {"check_recipient_access inline:{{b@here.example=550 5.1.6 moved}}", "550 5.1.6 <b@here.example>: Recipient address rejected: moved"},
        {"check_recipient_access inline:{here.example=DEFER}", "450 4.7.1 <b@here.example>: Recipient address rejected: Access denied"},
        {"check_recipient_access inline:{example=REJECT}", "554 5.7.1 <b@here.example>: Recipient address rejected: Access denied"},
        {"check_recipient_access inline:{.example=REJECT}", "250"},
        {"check_recipient_access inline:{.example=REJECT}", "554 5.7.1 <b@here.example>: Recipient address rejected: Access denied",
         [](World& w) { w.settings["parent_domain_matches_subdomains"] = "relay_domains"; }},
        {"check_recipient_access inline:{example=REJECT}", "250", [](World& w) { w.settings["parent_domain_matches_subdomains"] = ""; }},
        {"check_recipient_access inline:{here.example=REJECT}", "554 5.7.1 <b@here.example>: Recipient address rejected: Access denied",
         [](World& w) { w.settings["parent_domain_matches_subdomains"] = ""; }},
        {"check_client_access inline:{.client.example=REJECT}", "554 5.7.1 <mail.client.example[192.0.2.7]>: Client host rejected: Access denied",
         [](World& w) { w.settings["parent_domain_matches_subdomains"] = ""; }},
        {"check_recipient_access inline:{b@=REJECT}", "554 5.7.1 <b+x@here.example>: Recipient address rejected: Access denied", [](World& w) { w.s.recipient.local = "b+x"; }},
        {"check_recipient_access inline:{b@here.example=OK, here.example=REJECT}, reject", "250"},
        {"check_recipient_access inline:{here.example=DUNNO, example=REJECT}", "250"},
        {"check_sender_access inline:{{<>=REJECT no bounces}}", "554 5.7.1 <>: Sender address rejected: no bounces", [](World& w) { w.s.sender = {}; }},
        {"check_client_access inline:{192.0.2=REJECT}", "554 5.7.1 <mail.client.example[192.0.2.7]>: Client host rejected: Access denied"},
        {"check_client_access inline:{client.example=REJECT}", "554 5.7.1 <mail.client.example[192.0.2.7]>: Client host rejected: Access denied"},
        {"check_client_access inline:{2001:db8=REJECT}", "554 5.7.1 <mail.client.example[2001:db8::1]>: Client host rejected: Access denied",
         [](World& w) { w.s.client = *net::Address::parse_ip("2001:db8::1", 1); }},
        {"check_reverse_client_hostname_access inline:{client.example=REJECT}", "554 5.7.1 <mail.client.example>: Unverified Client host rejected: Access denied"},
        {"check_reverse_client_hostname_access inline:{unknown=REJECT}", "554 5.7.1 <unknown>: Unverified Client host rejected: Access denied", [](World& w) { w.s.reverse_name = "unknown"; }},
        {"check_sasl_access inline:{mallory=REJECT}", "250"},
        {"check_sasl_access inline:{mallory=REJECT}", "554 5.7.1 <mallory>: SASL login name rejected: Access denied", [](World& w) { w.s.sasl_user = "mallory"; }},
        {"check_helo_access inline:{mail.client.example=REJECT}", "554 5.7.1 <mail.client.example>: Helo command rejected: Access denied"},
        {"check_sender_access inline:{sender.example=reject_plaintext_session}", "450 4.7.1 <a@sender.example>: Sender address rejected: Session encryption is required"},
        {"check_sender_access inline:{sender.example=strict}", "554 5.7.1 <a@sender.example>: Sender address rejected: Access denied",
         [](World& w) { w.settings["smtpd_restriction_classes"] = ""; w.settings["access_map_reject_code"] = "554"; w.settings["smtpd_sender_restrictions"] = "check_sender_access inline:{sender.example=REJECT}"; }},
        {"check_sender_access inline:{sender.example=no_such_thing}", "451 4.3.5 <a@sender.example>: Sender address rejected: Server configuration error"},
        {"check_sender_access hash:/not/there", "451 4.3.5 <a@sender.example>: Sender address rejected: Server configuration error"},
    });
    // A service that answers with itself lets nobody in and ends soon, though its answer only warns.
    World loops;
    loops.policy_action = "warn_if_reject check_policy_service inet:127.0.0.1:1 warn_if_reject check_policy_service inet:127.0.0.1:1";
    const std::string looped = loops.say("check_policy_service inet:127.0.0.1:1, permit");
    CHECK(looped.starts_with("451 4.3.5 "));
    World world;
    CHECK(world.say("check_sender_access inline:{{sender.example=PREPEND X-Seen: yes}}, check_client_access inline:{192.0.2.7=HOLD},"
                    "check_helo_access inline:{{mail.client.example=REDIRECT boss@here.example}}, check_recipient_access inline:{{here.example=BCC copy@here.example}}") == "250");
    CHECK(world.verdict.deeds.prepend == std::vector<std::string>{"X-Seen: yes"});
    CHECK(world.verdict.deeds.hold);
    CHECK(world.verdict.deeds.redirect == "boss@here.example");
    CHECK(world.verdict.deeds.bcc == std::vector<std::string>{"copy@here.example"});
    bool said = false;
    for (const Event& event : world.verdict.events) said = said || (event.what == "hold" && event.text == "<mail.client.example[192.0.2.7]>: Client host triggers HOLD action");
    CHECK(said);
    CHECK(world.say("check_sender_access inline:{sender.example=DISCARD}, reject") == "250");
    CHECK(world.verdict.deeds.discard);
}

TEST_CASE("who may say ETRN, and for whom: the lists of client and helo count too, unless they were asked before", "[restrictions][rfc1985-5]")
{
    const auto say = [](const std::string& etrn, const std::string& client = "", const std::string& delay = "yes") {
        World w;
        w.s.has_sender = w.s.has_recipient = false;
        w.s.etrn_domain = "Relay.example";
        w.settings = {{"smtpd_etrn_restrictions", etrn}, {"smtpd_client_restrictions", client}, {"smtpd_delay_reject", delay}};
        return w.say("reject", At::etrn);
    };
    const std::string refused = "554 5.7.1 <Relay.example>: Etrn command rejected: Access denied";
    CHECK(say("") == "250");
    CHECK(say("permit_mynetworks, reject") == refused);
    CHECK(say("check_etrn_access inline:{relay.example=REJECT}") == refused);
    CHECK(say("check_etrn_access inline:{example=REJECT}") == refused);
    CHECK(say("inline:{relay.example=OK}, reject") == "250");
    CHECK(say("check_client_access inline:{192.0.2.7=OK}, reject") == "250");
    CHECK(say("", "reject") == "554 5.7.1 <mail.client.example[192.0.2.7]>: Client host rejected: Access denied");
    CHECK(say("", "reject", "no") == "250");
    World w;
    w.s.etrn_domain = "relay.example";
    w.settings["smtpd_etrn_restrictions"] = "check_policy_service inet:127.0.0.1:1";
    CHECK(w.say("reject", At::etrn) == "250");
    CHECK(w.policy_asked.find("protocol_state=ETRN\n") != std::string::npos);
    CHECK(w.policy_asked.find("\netrn_domain=relay.example\n") != std::string::npos);
    World mail;
    CHECK(mail.say("check_etrn_access inline:{relay.example=REJECT}") == "250");     // no ETRN, nothing to look for
}

TEST_CASE("names in DNS that must be there", "[restrictions][rfc7505-3]")
{
    run({
        {"reject_unknown_sender_domain", "450 4.1.8 <a@sender.example>: Sender address rejected: Domain not found"},
        {"reject_unknown_sender_domain", "250", [](World& w) { w.name("sender.example", dns::Kind::mx, "mx.sender.example"); }},
        {"reject_unknown_sender_domain", "250", [](World& w) { w.name("sender.example", dns::Kind::a, "192.0.2.1"); }},
        {"reject_unknown_sender_domain", "250", [](World& w) { w.s.sender = *mail::parse_address("a@here.example"); }},
        {"reject_unknown_sender_domain", "250", [](World& w) { w.s.sender = {}; }},
        {"reject_unknown_sender_domain", "550 5.7.27 <a@sender.example>: Sender address rejected: Domain sender.example does not accept mail (nullMX)",
         [](World& w) { w.name("sender.example", dns::Kind::mx, ""); }},
        {"reject_unknown_sender_domain", "450 4.1.8 <a@broken.example>: Sender address rejected: Domain not found", [](World& w) { w.s.sender = *mail::parse_address("a@broken.example"); }},
        {"reject_unknown_sender_domain, reject", "554 5.7.1 <b@here.example>: Recipient address rejected: Access denied", [](World& w) { w.s.sender = *mail::parse_address("a@broken.example"); }},
        {"reject_unknown_recipient_domain", "550 5.1.2 <b@far.example>: Recipient address rejected: Domain not found",
         [](World& w) { w.s.ours = true; w.s.recipient = *mail::parse_address("b@far.example"); w.settings["unknown_address_reject_code"] = "550"; }},
        {"reject_unknown_helo_hostname", "450 4.7.1 <mail.client.example>: Helo command rejected: Host not found"},
        {"reject_unknown_helo_hostname", "250", [](World& w) { w.name("mail.client.example", dns::Kind::a, "192.0.2.7"); }},
    });
}

TEST_CASE("servers of a domain, by name and by address, never permit", "[restrictions]")
{
    const auto parked = [](World& w) {
        w.name("sender.example", dns::Kind::mx, "mx1.park.example");
        w.name("sender.example", dns::Kind::mx, "mx2.other.example");
        w.name("mx2.other.example", dns::Kind::a, "203.0.113.9");
        w.name("sender.example", dns::Kind::ns, "ns.park.example");
        w.name("sender.example", dns::Kind::a, "198.51.100.77");
        w.name("mail.client.example", dns::Kind::a, "192.0.2.7");
        w.name("client.example", dns::Kind::ns, "ns.client.example");
    };
    const char* denied = "554 5.7.1 <a@sender.example>: Sender address rejected: Access denied";
    run({
        {"check_sender_mx_access inline:{park.example=REJECT}", denied, parked},
        {"check_sender_mx_access inline:{203.0.113=REJECT}", denied, parked},
        {"check_sender_mx_access inline:{198.51.100.77=REJECT}", "250", parked},
        {"check_sender_ns_access inline:{ns.park.example=REJECT}", denied, parked},
        {"check_sender_a_access inline:{198.51.100.77=REJECT}", denied, parked},
        {"check_sender_a_access inline:{sender.example=REJECT}", "250", parked},
        {"check_sender_mx_access cidr:/not/there", "451 4.3.5 <a@sender.example>: Sender address rejected: Server configuration error", parked},
        {"check_sender_mx_access inline:{198.51.100.78=REJECT}", denied, [](World& w) { w.name("sender.example", dns::Kind::a, "198.51.100.78"); }},   // no MX: itself
        {"check_sender_mx_access inline:{203.0.113=REJECT}", denied, [](World& w) {
             w.name("sender.example", dns::Kind::mx, "mx.example");
             w.name("mx.example", dns::Kind::a, "192.0.2.1");
             w.name("mx.example", dns::Kind::a, "203.0.113.1");
         }},
        {"check_sender_mx_access inline:{192.0.2.8=REJECT}", "554 5.7.1 <a@[192.0.2.8]>: Sender address rejected: Access denied",
         [](World& w) { w.s.sender = *mail::parse_address("a@[192.0.2.8]"); }},
        {"check_sender_ns_access inline:{192.0.2.8=REJECT}", "250", [](World& w) { w.s.sender = *mail::parse_address("a@[192.0.2.8]"); }},
        {"check_sender_mx_access inline:{example=REJECT}", "250", [](World& w) { w.s.sender = *mail::parse_address("a@broken.example"); }},
        {"check_sender_mx_access inline:{example=REJECT}", "250", [](World& w) { w.s.sender = {}; }},
        {"check_sender_mx_access inline:{example=REJECT}", "250", [](World& w) { w.name("sender.example", dns::Kind::mx, ""); }},                       // RFC 7505
        {"check_sender_mx_access inline:{park.example=OK}, reject", "554 5.7.1 <b@here.example>: Recipient address rejected: Access denied", parked},
        {"check_client_ns_access inline:{ns.client.example=REJECT}", "554 5.7.1 <mail.client.example[192.0.2.7]>: Client host rejected: Access denied", parked},   // the parent's
        {"check_client_a_access inline:{192.0.2.7=REJECT}", "554 5.7.1 <mail.client.example[192.0.2.7]>: Client host rejected: Access denied", parked},
        {"check_client_mx_access inline:{192.0.2.7=REJECT}", "250", [](World& w) { w.s.client_name = "unknown"; }},
        {"check_reverse_client_hostname_a_access inline:{192.0.2.7=REJECT}", "554 5.7.1 <mail.client.example>: Unverified Client host rejected: Access denied", parked},
        {"check_helo_a_access inline:{192.0.2.7=REJECT}", "554 5.7.1 <mail.client.example>: Helo command rejected: Access denied", parked},
        {"check_recipient_a_access inline:{192.0.2.7=REJECT}", "554 5.7.1 <b@mail.client.example>: Recipient address rejected: Access denied",
         [](World& w) { w.s.ours = true; w.s.recipient = *mail::parse_address("b@mail.client.example"); w.name("mail.client.example", dns::Kind::a, "192.0.2.7"); }},
    });
    World world;
    parked(world);
    CHECK(world.say("check_sender_mx_access inline:{park.example=OK}, permit") == "250");
    REQUIRE(world.verdict.warnings.size() == 1);
    CHECK(world.verdict.warnings[0].find("OK is not taken") != std::string::npos);
}

TEST_CASE("the many servers of a domain are looked up in turns, and all of them are looked at", "[restrictions][hostile]")
{
    World world;
    for (int i = 0; i < 50; ++i) {
        world.name("sender.example", dns::Kind::mx, cat("mx", i, ".sender.example"));
        world.name(cat("mx", i, ".sender.example"), dns::Kind::a, i == 47 ? "203.0.113.9" : "192.0.2.1");
    }
    CHECK(world.say("check_sender_mx_access inline:{203.0.113=REJECT}") == "554 5.7.1 <a@sender.example>: Sender address rejected: Access denied");
    CHECK(world.asked_at_once == 16);
}

TEST_CASE("client certificates, by fingerprint and by authority", "[restrictions][tls]")
{
    const auto shown = [](World& w) {
        w.settings["smtpd_tls_ask_ccert"] = "yes";
        w.settings["relay_clientcerts"] = "inline:{aa:bb=mail, cc:dd=x}";
        w.s.ccert_fingerprint = "11:22";
        w.s.ccert_key_fingerprint = "CC:DD";
        w.s.ccert_subject = "cert\nof";
    };
    run({
        {"check_ccert_access inline:{11:22=REJECT}", "554 5.7.1 <mail.client.example[192.0.2.7]>: Client certificate rejected: Access denied", shown},
        {"check_ccert_access inline:{{cc:dd=450 later}}", "450 4.7.1 <mail.client.example[192.0.2.7]>: Client certificate rejected: later", shown},
        {"check_ccert_access inline:{33=REJECT}", "250", shown},
        {"permit_tls_clientcerts, reject", "250", shown},
        {"permit_tls_clientcerts, reject", "554 5.7.1 <b@here.example>: Recipient address rejected: Access denied",
         [](World& w) { w.settings["smtpd_tls_ask_ccert"] = "yes"; w.settings["relay_clientcerts"] = "static:x"; }},
        {"permit_tls_clientcerts, reject", "451 4.3.0 <mail.client.example[192.0.2.7]>: Client certificate: Temporary lookup failure",
         [](World& w) { w.settings["smtpd_tls_ask_ccert"] = "yes"; w.settings["relay_clientcerts"] = "hash:/not/there"; w.s.ccert_fingerprint = "1"; }},
        {"permit_tls_all_clientcerts, reject", "250", [](World& w) { w.settings["smtpd_tls_ask_ccert"] = "yes"; w.s.ccert_trusted = true; }},
        {"permit_tls_all_clientcerts, reject", "554 5.7.1 <b@here.example>: Recipient address rejected: Access denied", shown},
    });
    World world;
    shown(world);
    CHECK(world.say("check_policy_service inet:127.0.0.1:1") == "250");
    for (const char* line : {"\nccert_subject=cert?of\n", "\nccert_fingerprint=11:22\n", "\nccert_pubkey_fingerprint=CC:DD\n"}) CHECK(world.policy_asked.find(line) != std::string::npos);
}

TEST_CASE("DNS lists, with filters, reasons and replies of their own", "[restrictions][rbl]")
{
    const auto listed = [](World& w) { w.name("7.2.0.192.zen.example", dns::Kind::a, "127.0.0.4"); w.name("7.2.0.192.zen.example", dns::Kind::txt, "see zen"); };
    run({
        {"reject_rbl_client zen.example", "250"},
        {"reject_rbl_client zen.example", "554 5.7.1 Service unavailable; Client host [192.0.2.7] blocked using zen.example; see zen", listed},
        {"reject_rbl_client zen.example=127.0.0.4", "554 5.7.1 Service unavailable; Client host [192.0.2.7] blocked using zen.example; see zen", listed},
        {"reject_rbl_client zen.example=127.0.0.[1..3;5]", "250", listed},
        {"reject_rbl_client zen.example=127.0.0.[2..11]", "554 5.7.1 Service unavailable; Client host [192.0.2.7] blocked using zen.example; see zen", listed},
        {"permit_dnswl_client zen.example, reject", "250", listed},
        {"reject_rbl_client zen.example", "250", [](World& w) { w.name("7.2.0.192.zen.example", dns::Kind::a, "10.0.0.1"); }},
        {"reject_rbl_client broken.example", "250"},
        {"permit_dnswl_client broken.example, reject", "450 4.7.1 <192.0.2.7>: Client host rejected: cannot look up broken.example"},
        {"reject_rhsbl_sender dbl.example", "554 5.7.1 Service unavailable; Sender address [a@sender.example] blocked using dbl.example",
         [](World& w) { w.name("sender.example.dbl.example", dns::Kind::a, "127.0.1.2"); }},
        {"reject_rhsbl_client dbl.example", "554 5.7.1 Service unavailable; Client host [mail.client.example] blocked using dbl.example",
         [](World& w) { w.name("mail.client.example.dbl.example", dns::Kind::a, "127.0.1.2"); }},
        {"reject_rhsbl_reverse_client dbl.example", "554 5.7.1 Service unavailable; Unverified Client host [rev.example] blocked using dbl.example",
         [](World& w) { w.s.reverse_name = "rev.example"; w.name("rev.example.dbl.example", dns::Kind::a, "127.0.1.2"); }},
        {"reject_rhsbl_recipient dbl.example", "554 5.7.1 Service unavailable; Recipient address [b@here.example] blocked using dbl.example",
         [](World& w) { w.name("here.example.dbl.example", dns::Kind::a, "127.0.1.2"); }},
        {"permit_rhswl_client dbl.example, reject", "250", [](World& w) { w.name("mail.client.example.dbl.example", dns::Kind::a, "127.0.1.2"); }},
        {"reject_rhsbl_helo dbl.example", "554 5.7.1 Service unavailable; Helo command [mail.client.example] blocked using dbl.example",
         [](World& w) { w.name("mail.client.example.dbl.example", dns::Kind::a, "127.0.1.2"); }},
        {"reject_rbl_client zen.example", "521 5.7.1 192.0.2.7 is listed", [](World& w) {
             w.name("7.2.0.192.zen.example", dns::Kind::a, "127.0.0.4");
             w.settings["rbl_reply_maps"] = "inline:{{zen.example=521 5.7.1 $client_address is listed}}";
         }},
    });
    CHECK(fill_rbl_reply("${a?yes}${b?no}${b:empty} $a$$ ${c", {{"a", "1"}, {"b", ""}}) == "yesempty 1$ ");
    for (const char* wrong : {"", "127.0.0", "127.0.0.[3..1]", "127.0.0.256", "127.0.0.[1", "127.0.0.x", "127.0.0.1.2"}) CHECK_FALSE(ReplyFilter::parse(wrong));
}

TEST_CASE("a policy service is told everything, on lines that nobody can break", "[restrictions][policy]")
{
    World world;
    world.s.helo = "evil\naction=OK";
    world.policy_action = "450 4.2.0 Greylisted";
    CHECK(world.say("check_policy_service inet:127.0.0.1:10023") == "450 4.2.0 <b@here.example>: Recipient address rejected: Greylisted");
    for (const char* line : {"request=smtpd_access_policy\n", "\nprotocol_state=RCPT\n", "\nclient_address=192.0.2.7\n", "\nclient_name=mail.client.example\n",
                             "\nsender=a@sender.example\n", "\nrecipient=b@here.example\n", "\nhelo_name=evil?action=OK\n", "\nclient_port=4711\n"}) {
        INFO(line);
        CHECK(("\n" + world.policy_asked).find(line) != std::string::npos);
    }
    CHECK(world.policy_asked.ends_with("\n\n"));
    CHECK(world.policy_asked.find("\n\n") == world.policy_asked.size() - 2);
    world.policy_action = "REJECT two\r\n250 lines";
    CHECK(world.say("check_policy_service inet:127.0.0.1:10023") == "554 5.7.1 <b@here.example>: Recipient address rejected: two??250 lines");
    world.policy_action = "REJECT " + std::string(5000, 'x');
    CHECK(world.say("check_policy_service inet:127.0.0.1:10023").size() < 500);
    world.policy_action = "PREPEND X-Greylist: delayed";
    CHECK(world.say("check_policy_service { unix:private/policy, timeout=5s, default_action=DUNNO }, permit") == "250");
    CHECK(world.verdict.deeds.prepend.size() == 1);
}

TEST_CASE("the answer of a policy service is read in any cut, and never without bounds", "[policy]")
{
    using State = PolicyAnswer::State;
    const std::string good = "junk=x\naction=DEFER_IF_PERMIT Service temporarily unavailable\n\n";
    for (std::size_t step = 1; step <= good.size(); ++step) {
        PolicyAnswer answer;
        State state = State::more;
        for (std::size_t at = 0; at < good.size(); at += step) {
            CHECK(state == State::more);
            state = answer.feed(std::string_view(good).substr(at, step));
        }
        CHECK(state == State::complete);
        CHECK(answer.action() == "DEFER_IF_PERMIT Service temporarily unavailable");
    }
    for (const std::string& bad : {std::string("\n"), std::string("action=OK\n\nmore"), std::string("no equals sign\n"), std::string("a=b\n\n"), std::string("action=\n\n"),
                                   std::string("action=O\0K\n\n", 12), std::string(9000, 'x')}) {
        PolicyAnswer answer;
        CHECK(answer.feed(bad) == State::garbage);
    }
}

TEST_CASE("tables, domains and networks that have everybody make an open relay, and it does not start", "[restrictions][conf]")
{
    std::string folder = "/tmp/veredus-relay-XXXXXX";
    REQUIRE(::mkdtemp(folder.data()));
    std::vector<std::string> written;
    const auto file = [&](const std::string& type, const std::string& name, const std::string& text) {
        written.push_back(cat(folder, '/', name));
        std::ofstream(written.back()) << text;
        return cat(type, ":", written.back());
    };
    const auto checked = [](const std::string& text) {
        const auto file = conf::File::parse(text, "main.cf");
        REQUIRE(file.ok());
        std::string out;
        for (const auto& d : check_restrictions(file)) append(out, d.str(), '\n');
        return out;
    };
    const auto relay = [](const std::string& restrictions) { return cat("smtpd_relay_restrictions = permit_mynetworks, ", restrictions, "\n"); };
    const std::string any = file("regexp", "any", "/./ OK\n"), any_pcre = file("pcre", "any_pcre", "/^/ OK\n"), some = file("regexp", "some", "/@example\\.org$/ OK\n/^bad@/ REJECT\n");
    const std::string all_cidr = file("cidr", "all", "0.0.0.0/0 OK\n"), half_cidr = file("cidr", "half", "128.0.0.0/1 OK\n"), v6_cidr = file("cidr", "v6", "2000::/3 OK\n");
    const std::string own_cidr = file("cidr", "own", "10.0.0.0/8 OK\n198.51.100.0/24 OK\n"), refused = file("regexp", "refused", "/./ REJECT\n");
    const std::string wide_file = file("", "nets", "127.0.0.0/8\n64.0.0.0/3\n").substr(1);
    const std::string in_relay = "main.cf:1: error: smtpd_relay_restrictions: open relay: ", in_networks = "error: mynetworks: open relay: ", in_domains = "error: relay_domains: open relay: ";
    struct Row {
        std::string text, wanted;          // wanted: "" is no word at all
    };
    for (const Row& row : std::vector<Row>{
             {relay("check_client_access static:OK, reject_unauth_destination"), in_relay},
             {relay("check_helo_access proxy:static:OK, reject_unauth_destination"), in_relay},
             {relay(cat("check_sender_access ", any, ", reject_unauth_destination")), in_relay},
             {relay(cat("check_sender_access ", any_pcre, ", reject_unauth_destination")), in_relay},
             {relay(cat("check_recipient_access ", any, ", reject_unauth_destination")), in_relay},
             {relay(cat("check_client_access ", all_cidr, ", reject_unauth_destination")), in_relay},
             {relay(cat("check_client_access ", half_cidr, ", reject_unauth_destination")), in_relay},
             {relay(cat("check_client_access ", v6_cidr, ", reject_unauth_destination")), in_relay},
             {relay(cat("check_helo_access ", refused, ", permit")), "open relay: "},                          // it stands in for nothing
             {relay("reject_unauth_destination, check_client_access static:OK"), ""},
             {relay("check_client_access static:REJECT, reject_unauth_destination"), ""},
             {relay("check_client_access static:DISCARD, reject_unauth_destination"), ""},
             {relay("check_client_access static:DUNNO, reject_unauth_destination"), ""},
             {relay(cat("check_client_access ", own_cidr, ", check_sender_access ", some, ", reject_unauth_destination")), ""},
             {relay("check_client_access unionmap:{inline:{a=b}, static:OK}, reject_unauth_destination"), in_relay},
             {relay("check_client_access proxy:unionmap:{unionmap:{static:OK}}, reject_unauth_destination"), in_relay},
             {relay("check_client_access pipemap:{static:x, static:OK}, reject_unauth_destination"), in_relay},
             {relay("check_client_access pipemap:{inline:{8.8.8.8=x}, static:OK}, reject_unauth_destination"), ""},
             {relay("check_client_access unionmap:{static:DUNNO}, reject_unauth_destination"), ""},
             {relay(cat("check_client_access ", file("hash", "octet", "10 OK\n8 OK\n"), ", reject_unauth_destination")), in_relay + "8.8.8.8 may send"},
             {relay("check_client_access inline:{com=OK}, reject_unauth_destination"), in_relay + "a client with a name or a sender in .com may"},
             {relay("check_sender_access texthash:" + file("texthash", "top", "org OK\n").substr(9) + ", reject_unauth_destination"), in_relay + "a client with a name or a sender in .org may"},
             {relay("check_recipient_access inline:{de=OK}, reject_unauth_destination"), in_relay},
             {relay("check_client_access inline:{unknown=OK}, reject_unauth_destination"), in_relay + "a client without a name may"},
             {relay("check_sender_access inline:{<>=OK}, reject_unauth_destination"), in_relay + "the null sender may"},
             {relay("check_sender_access inline:{{<>=DUNNO}, example.org=OK, b@example.com=OK, x@=OK}, reject_unauth_destination"), ""},
             {relay("check_client_access inline:{10=OK, 8.8.8.8=OK, 203.0.113=OK, mx.example.com=OK, com=REJECT}, reject_unauth_destination"), ""},
             {relay("reject_unauth_destination, check_client_access inline:{com=OK}"), ""},
             {cat("smtpd_client_restrictions = check_client_access static:OK\nsmtpd_sender_restrictions = check_sender_access ", any, "\n"), ""},    // ends that list alone
             {"relay_domains = static:all\n", in_domains},
             {cat("relay_domains = example.net, ", any, "\n"), in_domains},
             {cat("relay_domains = static:all\nrelay_recipient_maps = ", any, "\n"), in_domains},
             {"relay_domains = static:all\nrelay_recipient_maps = inline:{a@example.net=x}\n", ""},
             {"relay_domains = unionmap:{inline:{a=b}, static:all}\n", in_domains},
             {"relay_domains = unionmap:{static:all, socketmap:inet:127.0.0.1:1:x}\n", ""},                    // never asked here
             {"relay_domains = static:all\nrelay_recipient_maps = unionmap:{static:x}\n", in_domains},
             {"relay_domains = !elsewhere.invalid, static:all\n", ""},
             {"relay_domains = example.net, inline:{example.com=x}\n", ""},
             {relay("reject") + "relay_domains = static:all\n", ""},
             {"mydestination = static:all\n", "main.cf:1: warning: mydestination: every domain is in it"},
             {cat("virtual_alias_domains = ", any, "\n"), "main.cf:1: warning: virtual_alias_domains: every domain is in it"},
             {cat("virtual_mailbox_domains = ", any, "\n"), "main.cf:1: warning: virtual_mailbox_domains: every domain is in it"},
             {"mynetworks = 128.0.0.0/1\n", in_networks},
             {"mynetworks = 127.0.0.0/8 8.0.0.0/7\n", in_networks + "9.1.2.3 is in mynetworks"},
             {"mynetworks = 10.0.0.0/7\n", in_networks + "11.1.2.3"},
             {"mynetworks = static:all\n", in_networks},
             {cat("mynetworks = ", all_cidr, "\n"), in_networks},
             {cat("mynetworks = ", wide_file, "\n"), in_networks + "65.1.2.3"},
             {"mynetworks = 127.0.0.1 [2a00::]/15\n", in_networks + "2a00:1::1"},
             {"mynetworks = [::]/0\n", in_networks},
             {"mynetworks = 127.0.0.0/8 8.0.0.0/8 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 [2a00::]/16 [fc00::]/7 [fe80::]/10\n", ""},
             {"mynetworks = !8.128.0.0/9 8.0.0.0/7\n", ""},
             {"smtpd_relay_restrictions = reject_unauth_destination\nmynetworks = 128.0.0.0/1\n", ""},       // nobody asks for mynetworks
         }) {
        INFO(row.text);
        const std::string found = checked(row.text);
        INFO(found);
        if (row.wanted.empty()) CHECK(found.empty());
        else CHECK(found.find(row.wanted) != std::string::npos);
    }
    const auto gaps = [](const std::string& text) {
        std::string out;
        for (const auto& one : unjudged(conf::File::parse(text, "main.cf").values())) append(out, one, '\n');
        return out;
    };
    const std::string policy = "check_policy_service inet:127.0.0.1:10023";
    CHECK(gaps("").empty());
    CHECK(gaps("relay_domains = unionmap:{static:all, socketmap:inet:127.0.0.1:1:x}\n").starts_with("relay_domains: unionmap:{static:all, socketmap:inet:127.0.0.1:1:x} is not asked here"));
    CHECK(gaps("mynetworks = 127.0.0.1, !socketmap:unix:/x:y\n").starts_with("mynetworks: !socketmap:unix:/x:y is not asked here"));
    CHECK(gaps(relay(policy + ", reject_unauth_destination")).starts_with("smtpd_relay_restrictions: check_policy_service inet:127.0.0.1:10023 is not asked here, and an OK"));
    CHECK(gaps("smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = permit_mynetworks, " + policy + ", reject_unauth_destination\n").find("an OK of it lets strangers") != std::string::npos);
    CHECK(gaps("smtpd_recipient_restrictions = permit_mynetworks, " + policy + ", reject_unauth_destination\n").empty());
    CHECK(gaps(relay("reject_unauth_destination, " + policy)).empty());
    CHECK(gaps(relay("warn_if_reject " + policy + ", reject")).find("an OK of it lets strangers") != std::string::npos);
    for (const std::string& path : written) ::unlink(path.c_str());
    ::rmdir(folder.c_str());
}

TEST_CASE("what is wrong with lists is said with the nearest name, and open relays do not start", "[restrictions][conf]")
{
    const auto checked = [](const std::string& text) {
        const auto file = conf::File::parse(text, "main.cf");
        std::string out;
        for (const auto& d : file.diagnostics()) append(out, d.str(), '\n');
        if (file.ok())
            for (const auto& d : check_restrictions(file)) append(out, d.str(), '\n');
        return out;
    };
    CHECK(checked("").empty());
    CHECK(checked("smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination\n").empty());
    CHECK(checked("smtpd_restriction_classes = grey\ngrey = check_policy_service inet:127.0.0.1:10023\nsmtpd_recipient_restrictions = grey\n").empty());
    CHECK(checked("header_checks = inline:{{a=REJECT spam}}, static:DUNNO\nbody_checks = static:IGNORE\n").empty());
    CHECK(checked("mynetworks = 127.0.0.0/8 10.0.0.0/8 [::1]/128\n").empty());
    struct Row {
        const char *text, *wanted;
    };
    for (const Row& row : {
             Row{"\nsmtpd_recipient_restrictions = reject_unknown_client_hostnam\n", "main.cf:2: error: smtpd_recipient_restrictions: \"reject_unknown_client_hostnam\" is no restriction and no restriction class; did you mean reject_unknown_client_hostname?"},
             {"smtpd_client_restrictions = check_client_access\n", "check_client_access: a table must follow"},
             {"smtpd_client_restrictions = reject_rbl_client zen.example=1.2\n", "is not a reply like"},
             {"smtpd_client_restrictions = check_policy_service 127.0.0.1:10023\n", "is not inet:host:port"},
             {"\nsmtpd_client_restrictions = check_policy_service { inet:host:no-such-service, timeout=1s }\n",
              "main.cf:2: error: smtpd_client_restrictions: check_policy_service: \"inet:host:no-such-service\": \"no-such-service\" is not a port: no number from 1 to 65535, and no TCP service of /etc/services"},
             {"smtpd_client_restrictions = check_policy_service inet:host:0\n", "\"0\" is not a port"},
             {"smtpd_client_restrictions = check_policy_service inet:10023\n", "is not inet:host:port"},
             {"smtpd_client_restrictions = check_client_access hash:/not/there\n", "main.cf:1: error: smtpd_client_restrictions: hash:/not/there: "},
             {"smtpd_relay_restrictions = permit\n", "main.cf:1: error: open relay"},
             {"smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = permit_mynetworks, permit\n", "error: open relay"},
             {"smtpd_relay_restrictions = warn_if_reject reject_unauth_destination\n", "error: open relay"},
             {"smtpd_relay_restrictions = reject_sender_login_mismatch, permit, reject_unauth_destination\n", "error: open relay"},
             {"mynetworks = 0.0.0.0/0\n", "main.cf:1: error: mynetworks: open relay"},
             {"mynetworks = 0.0.0.0/1 128.0.0.0/1\n", "error: mynetworks: open relay"},
             {"smtpd_recipient_restrictions = reject_unverified_recipient\n", "main.cf:1: warning: smtpd_recipient_restrictions: reject_unverified_recipient is not done by veredus: mail is ACCEPTED without this check"},
             {"submission_recipient_restrictions = reject_unknown_clien\n", "main.cf:1: error: submission_recipient_restrictions: \"reject_unknown_clien\" is no restriction"},
             {"submission_relay_restrictions = permit\n", "main.cf:1: error: open relay"},
             {"smtpd_recipient_restrictions = permit_tls_clientcerts\n", "warning: smtpd_tls_ask_ccert = no: clients are not asked for certificates, so permit_tls_clientcerts finds none"},
             {"smtpd_tls_ask_ccert = yes\nsmtpd_recipient_restrictions = permit_tls_all_clientcerts\n", "warning: smtpd_tls_CAfile is empty"},
             {"\nheader_checks = inline:{{a=REJEKT spam}}\n", "main.cf:2: warning: header_checks: inline: a: unknown action \"REJEKT\""},
             {"body_checks = static:REDIRECT\n", "main.cf:1: warning: body_checks: static: REDIRECT wants user@domain"},
             {"smtp_header_checks = static:REJECT\n", "main.cf:1: warning: smtp_header_checks: static: REJECT is not supported for mail on its way out"},
             {"smtpd_restriction_classes = a, b\na = b\nb = a\nsmtpd_client_restrictions = a\n", "leads to itself"},
         }) {
        INFO(row.text);
        const std::string found = checked(row.text);
        INFO(found);
        CHECK(found.find(row.wanted) != std::string::npos);
    }
}
