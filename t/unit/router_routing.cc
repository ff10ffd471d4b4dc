// router: where an address goes, as tables of cases; what is asked about users; what happens when a table is broken.
#include "t/unit/catch.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "lib/base/text.h"
#include "lib/conf/values.h"
#include "lib/ipc/agent.h"
#include "lib/ipc/anvil.h"
#include "lib/ipc/flush.h"
#include "lib/ipc/user.h"
#include "lib/reception/meters.h"
#include "qmgr/router/batch.h"
#include "qmgr/router/tell.h"

using namespace veredus;
using namespace veredus::router;
using Kind = ipc::Route::Kind;

namespace {

struct World final : Users {
    std::set<std::string> users = {"alice", "bob", "root", "own+er", "dave@v.example"};
    bool down = false;
    mutable std::vector<std::string> asked;
    Known known(const std::string& name) const override
    {
        asked.push_back(name);
        return down ? Known::temporary : users.count(name) ? Known::yes : Known::no;
    }
};

// A main.cf for example.org with a host mail.example.org; `more` comes last.
Routing routing_of(std::string_view more)
{
    const auto file = conf::File::parse(cat("myhostname = mail.example.org\nmydestination = $myhostname, example.org, localhost\nmyorigin = example.org\n"
                                            "alias_maps = inline:{list=alice,news=bob}\n", more),
                                        "main.cf");
    for (const auto& d : file.diagnostics()) UNSCOPED_INFO(d.str());
    REQUIRE(file.ok());
    return Routing(file.values(), {*net::Address::parse_ip("192.0.2.1", 0), *net::Address::parse_ip("2001:db8::1", 0)});
}

std::string shown(const ipc::Route& r)
{
    static constexpr const char* kinds[] = {"", "deliver", "expand", "reject", "defer", "discard"};
    static constexpr const char* classes[] = {"", "local", "valias", "vmailbox", "relay", "remote"};
    std::string out = cat(classes[static_cast<int>(r.address_class)], ' ', kinds[static_cast<int>(r.kind)], ' ', r.address);
    if (r.kind == Kind::deliver) append(out, ' ', r.transport, ':', r.nexthop);
    if (r.kind == Kind::reject || r.kind == Kind::defer || r.kind == Kind::discard) append(out, ' ', r.dsn, ' ', r.text);
    for (const auto& child : r.children) append(out, " >", child.text);
    return out;
}

Result<ipc::OwnerReply> owner(const Routing& routing, const std::string& user, const std::string& address, const World& world = {})
{
    std::vector<std::string> ask;
    auto reply = routing.owner(user, address, world, ask);
    REQUIRE(ask.empty());
    return reply;
}

std::string routed(const Routing& routing, const Question& question, const World& world = {})
{
    std::vector<std::string> ask;
    const auto route = routing.route(question, world, ask);
    REQUIRE(ask.empty());
    return shown(route);
}
std::string routed(std::string_view conf, const char* recipient, const char* sender = "s@sender.example") { return routed(routing_of(conf), {sender, recipient}); }

}  // namespace

TEST_CASE("whose an address is", "[router][submission]")
{
    const Routing routing = routing_of("virtual_alias_domains = valias.example\nrelay_domains = relayed.example\n"
                                       "virtual_alias_maps = inline:{info@valias.example=alice,{all@valias.example=alice, bob},loop@valias.example=loop2@valias.example,"
                                       "loop2@valias.example=loop@valias.example}\n"
                                       "alias_maps = inline:{webmaster=alice,{staff=alice,bob},hook=|/bin/true,chain=webmaster}\n"
                                       "smtpd_sender_login_maps = inline:{{shop@example.org=bob, carol},@partner.example=bob}\n");
    struct Case {
        const char *user, *address;
        bool owns;
    };
    const Case cases[] = {
        {"alice", "alice@example.org", true},           {"alice", "Alice@MAIL.example.org", true}, {"alice", "alice+tag@example.org", true},
        {"alice", "alice", true},                       {"alice", "bob@example.org", false},       {"alice", "alice@elsewhere.example", false},
        {"alice", "alice@relayed.example", false},      {"alice", "webmaster@example.org", true},  {"bob", "webmaster@example.org", false},
        {"alice", "chain@example.org", true},           {"alice", "staff@example.org", false},     {"alice", "hook@example.org", false},
        {"alice", "info@valias.example", true},         {"bob", "info@valias.example", false},     {"alice", "all@valias.example", false},
        {"alice", "loop@valias.example", false},        {"bob", "shop@example.org", true},         {"carol", "shop@example.org", true},
        {"shop", "shop@example.org", false},            {"bob", "any@partner.example", true},      {"alice", "any@partner.example", false},
        {"alice@example.org", "alice@example.org", true}, {"alice@example.org", "alice@mail.example.org", false},
        {"alice@valias.example", "alice@valias.example", true}, {"x@elsewhere.example", "x@elsewhere.example", false}, {"alice", "a b@@", false},
    };
    for (const Case& c : cases) {
        INFO(c.user << " as " << c.address);
        const auto reply = owner(routing, c.user, c.address);
        REQUIRE(reply);
        CHECK((reply->word == ipc::OwnerReply::Word::yes) == c.owns);
    }
    // What exists in its own right is nobody's extension.
    const Routing dashes = routing_of("recipient_delimiter = -\nvirtual_mailbox_domains = vm.example\nvirtual_mailbox_maps = inline:{john@vm.example=j/,john-smith@vm.example=s/}\n"
                                      "alias_maps = inline:{{alice-team=alice, bob}}\n");
    const auto owns = [&](const char* user, const char* address) { return owner(dashes, user, address)->word == ipc::OwnerReply::Word::yes; };
    CHECK(owns("john@vm.example", "john@vm.example"));
    CHECK(owns("john@vm.example", "john-x@vm.example"));
    CHECK_FALSE(owns("john@vm.example", "john-smith@vm.example"));
    CHECK(owns("alice", "alice-x@example.org"));
    CHECK_FALSE(owns("alice", "alice-team@example.org"));
    // So is an account, of the system or of a passwd-file; who cannot be asked about it is nobody's for now.
    World world;
    world.users.insert({"alice-admin", "john-doe@vm.example", "carol-box@example.org"});
    const auto word = [&](const char* user, const char* address) { return owner(dashes, user, address, world)->word; };
    using Word = ipc::OwnerReply::Word;
    CHECK(word("alice", "Alice-Admin@example.org") == Word::no);
    CHECK(word("alice-admin", "alice-admin@example.org") == Word::yes);
    CHECK(word("alice", "alice-other@example.org") == Word::yes);
    CHECK(word("john@vm.example", "john-DOE@vm.example") == Word::no);
    CHECK(word("john-doe@vm.example", "john-doe@vm.example") == Word::yes);
    CHECK(word("carol", "carol-box@example.org") == Word::no);
    CHECK(word("carol@example.org", "carol-box@example.org") == Word::no);
    world.down = true;
    CHECK_FALSE(owner(dashes, "alice", "alice-other@example.org", world));
    CHECK(word("alice", "alice@example.org") == Word::yes);
    struct Nothing final : Users {
        Known known(const std::string&) const override { return Known::ask; }
    };
    std::vector<std::string> ask;
    CHECK(dashes.owner("alice", "alice-x@example.org", Nothing(), ask));
    CHECK(ask == std::vector<std::string>{"alice-x", "alice-x@example.org"});
    CHECK(owner(routing_of("recipient_delimiter = -\nlocal_recipient_maps = inline:{alice-shop=x}\n"), "alice", "alice-shop@example.org")->word == Word::no);
    const auto reply = owner(routing, "alice", "alice");
    CHECK(reply->address == "alice@example.org");
    CHECK(reply->address_class == ipc::AddressClass::local);
    const auto back = ipc::OwnerReply::decode(reply->encode());
    REQUIRE(back);
    CHECK((back->word == reply->word && back->address == reply->address && back->address_class == reply->address_class && !back->listed));
    for (const char* user : {"bob", "alice", "-"}) {            // whoever asks: the table has it
        INFO(user);
        const auto listed = ipc::OwnerReply::decode(owner(routing, user, "shop+x@EXAMPLE.org")->encode());
        REQUIRE(listed);
        CHECK(listed->listed);
        CHECK(owner(routing, user, "any@partner.example")->listed);
        CHECK_FALSE(owner(routing, user, "alice@example.org")->listed);
    }
    const auto request = ipc::OwnerRequest::decode(ipc::OwnerRequest{"alice", "x@y"}.encode());
    REQUIRE(request);
    CHECK((request->user == "alice" && request->address == "x@y"));
    CHECK_FALSE(ipc::OwnerRequest::decode(ipc::OwnerRequest{"", "x@y"}.encode()));
    CHECK_FALSE(ipc::OwnerReply::decode(std::string("\x09\x01", 2)));
    CHECK_FALSE(owner(routing_of("smtpd_sender_login_maps = hash:/nonexistent/logins\n"), "alice", "alice@example.org"));
}

TEST_CASE("the class of an address, and whether it exists", "[router]")
{
    const Routing routing = routing_of("relay_domains = relayed.example\nrelay_recipient_maps = inline:{known@relayed.example=x,@open.relayed.example=x}\n"
                                       "virtual_alias_domains = valias.example\nvirtual_alias_maps = inline:{info@valias.example=alice}\n");
    struct Case {
        const char *recipient, *result;
    };
    for (const Case& c : {
             Case{"alice", "local deliver alice@example.org local:"},
             {"Alice@Example.ORG", "local deliver Alice@example.org local:"},
             {"alice+x@mail.example.org", "local deliver alice+x@mail.example.org local:"},
             {"own+er@localhost", "local deliver own+er@localhost local:"},
             {"list@example.org", "local deliver list@example.org local:"},
             {"LIST+x@example.org", "local deliver LIST+x@example.org local:"},
             {"nobody-here@example.org", "local reject nobody-here@example.org 5.1.1 User unknown in local recipient table"},
             {"root@example.org", "local deliver root@example.org local:"},
             {"alice@[192.0.2.1]", "local deliver alice@[192.0.2.1] local:"},
             {"alice@[IPv6:2001:db8::1]", "local deliver alice@[ipv6:2001:db8::1] local:"},
             {"alice@[192.0.2.2]", "remote deliver alice@[192.0.2.2] smtp:[192.0.2.2]"},
             {"x@other.example", "remote deliver x@other.example smtp:other.example"},
             {"x@sub.example.org", "remote deliver x@sub.example.org smtp:sub.example.org"},
             {"known@relayed.example", "relay deliver known@relayed.example relay:relayed.example"},
             {"any@open.relayed.example", "relay deliver any@open.relayed.example relay:open.relayed.example"},
             {"x@relayed.example", "relay reject x@relayed.example 5.1.1 User unknown in relay recipient table"},
             {"info@valias.example", "valias expand info@valias.example >alice@example.org"},
             {"x@valias.example", "valias reject x@valias.example 5.1.1 User unknown in virtual alias table"},
             {"@example.org", "remote reject @example.org 5.1.3 Bad recipient address syntax"},
             {"", "remote reject  5.1.3 Bad recipient address syntax"},
             {"postmaster@example.org", "local expand postmaster@example.org >root@example.org"},
             {"MAILER-DAEMON", "local expand MAILER-DAEMON@example.org >postmaster@example.org"},
         }) {
        INFO(c.recipient);
        CHECK(routed(routing, {"", c.recipient}) == c.result);
    }
}

TEST_CASE("virtual mailbox domains: who exists, catch-all, transport", "[router]")
{
    const std::string conf = "virtual_mailbox_domains = v.example, w.example, both.example\nmydestination = example.org, both.example\n"
                             "virtual_mailbox_maps = inline:{alice@v.example=v/alice/,@w.example=w/all}\nvirtual_alias_maps = inline:{sales@v.example=alice@v.example}\n";
    struct Case {
        const char *more, *recipient, *result;
    };
    for (const Case& c : {
             Case{"", "alice@v.example", "vmailbox deliver alice@v.example virtual:"},
             {"", "Alice+x@V.Example", "vmailbox deliver Alice+x@v.example virtual:"},
             {"", "bob@v.example", "vmailbox reject bob@v.example 5.1.1 User unknown in virtual mailbox table"},
             {"myorigin = v.example\n", "postmaster@v.example", "vmailbox reject postmaster@v.example 5.1.1 User unknown in virtual mailbox table"},
             {"", "anyone@w.example", "vmailbox deliver anyone@w.example virtual:"},
             {"", "sales@v.example", "vmailbox expand sales@v.example >alice@v.example"},
             {"", "alice@both.example", "local deliver alice@both.example local:"},
             {"", "postmaster@v.example", "vmailbox expand postmaster@v.example >postmaster@example.org"},
             // users of a passwd-file need no table
             {"virtual_mailbox_maps =\n", "bob@v.example", "vmailbox reject bob@v.example 5.1.1 User unknown in virtual mailbox table"},
             {"virtual_mailbox_maps =\n", "Dave+x@V.example", "vmailbox deliver Dave+x@v.example virtual:"},
             {"", "dave@v.example", "vmailbox deliver dave@v.example virtual:"},
             // and are nobody in a domain of the system's accounts
             {"", "\"dave@v.example\"@example.org", "local reject \"dave@v.example\"@example.org 5.1.1 User unknown in local recipient table"},
             {"", "\"dave@v.example+x\"@example.org", "local reject \"dave@v.example+x\"@example.org 5.1.1 User unknown in local recipient table"},
             {"virtual_transport = lmtp:unix:/run/x\n", "dave@v.example", "vmailbox reject dave@v.example 5.1.1 User unknown in virtual mailbox table"},
             {"virtual_mailbox_maps =\nvirtual_transport = lmtp:unix:/run/x\n", "bob@v.example", "vmailbox deliver bob@v.example lmtp:unix:/run/x"},
             {"relayhost = smart.example\nsender_dependent_default_transport_maps = static:smtp:x\n", "alice@v.example", "vmailbox deliver alice@v.example virtual:"},
             {"virtual_transport = lmtp:unix:/run/dovecot/lmtp\n", "alice@v.example", "vmailbox deliver alice@v.example lmtp:unix:/run/dovecot/lmtp"},
             {"virtual_transport = lmtp:inet:store.example:24\n", "alice@v.example", "vmailbox deliver alice@v.example lmtp:inet:store.example:24"},
             {"transport_maps = inline:{v.example=lmtp:[192.0.2.9]:2424}\n", "alice@v.example", "vmailbox deliver alice@v.example lmtp:[192.0.2.9]:2424"},
         }) {
        INFO(c.more << c.recipient);
        CHECK(routed(conf + c.more, c.recipient) == c.result);
    }
    CHECK(routed(conf + "virtual_mailbox_maps = hash:/nonexistent/vmailbox\nvirtual_mailbox_domains = v.example\n", "alice@v.example").starts_with("vmailbox defer alice@v.example 4.3.0"));
}

TEST_CASE("an address literal that became ours since is ours", "[router][rfc5321-4.1.3]")
{
    Routing routing = routing_of("");
    for (const char* strange : {"alice@[192.0.2.2]", "alice@[IPv6:2001:db8::2]", "alice@[nonsense]"}) CHECK(routing.is_strange_literal(strange));
    for (const char* plain : {"alice@[192.0.2.1]", "alice@[IPv6:2001:db8::1]", "alice@example.org", "alice", "a[192.0.2.2]", "@", ""}) CHECK_FALSE(routing.is_strange_literal(plain));
    CHECK_FALSE(routing.set_own({*net::Address::parse_ip("2001:db8::1", 0), *net::Address::parse_ip("192.0.2.1", 0)}));
    CHECK(routing.set_own({*net::Address::parse_ip("192.0.2.2", 0)}));
    CHECK(routed(routing, {"", "alice@[192.0.2.2]"}) == "local deliver alice@[192.0.2.2] local:");
    CHECK(routed(routing, {"", "alice@[192.0.2.1]"}).starts_with("remote "));
}

TEST_CASE("postmaster needs no account, and an alias for it wins", "[router][rfc5321-4.5.1]")
{
    CHECK(routed("", "Postmaster@example.org") == "local expand Postmaster@example.org >root@example.org");
    CHECK(routed("alias_maps = inline:{postmaster=alice}\n", "postmaster@example.org") == "local deliver postmaster@example.org local:");
    CHECK(routed("", "postmaster@other.example") == "remote deliver postmaster@other.example smtp:other.example");
    const Routing routing = routing_of("");
    CHECK(routed(routing, {"", "postmaster", true, false}) == "local expand postmaster@example.org");
    CHECK(routed(routing, {"", "postmaster", false, true}) == "local deliver postmaster@example.org local:");
}

TEST_CASE("virtual aliases: order of keys, lists, self, extensions, @domain", "[router]")
{
    struct Case {
        const char *map, *recipient, *result;
    };
    for (const Case& c : {
             Case{"{a@example.org = b, c@other.example}", "a", "local expand a@example.org >b@example.org >c@other.example"},
             {"a=b", "a@example.org", "local expand a@example.org >b@example.org"},
             {"a=b", "a@other.example", "remote deliver a@other.example smtp:other.example"},
             {"a@other.example=b", "A@Other.Example", "remote expand A@other.example >b@example.org"},
             {"a=b", "a+x@example.org", "local expand a+x@example.org >b+x@example.org"},
             {"alice=alice@example.org", "alice", "local deliver alice@example.org local:"},
             {"{alice = alice, bob}", "alice@example.org", "local expand alice@example.org >alice@example.org >bob@example.org"},
             {"@gone.example=@other.example", "who+x@gone.example", "remote expand who+x@gone.example >who+x@other.example"},
             {"@gone.example=bob", "who@gone.example", "remote expand who@gone.example >bob@example.org"},
             {"{a = John <j@x.example>}", "a", "local expand a@example.org >j@x.example"},
             {"{a = not an address}", "a", "local defer a@example.org 4.3.0 Temporary lookup failure"},
             {"{a = @x.example, b}", "a", "local defer a@example.org 4.3.0 Temporary lookup failure"},
             {"{a = 1,2,3,4}", "a", "local defer a@example.org 4.3.0 Temporary lookup failure"},
         }) {
        INFO(c.map << " " << c.recipient);
        CHECK(routed(cat("virtual_alias_expansion_limit = 3\nvirtual_alias_maps = inline:{", c.map, "}\n"), c.recipient) == c.result);
    }
    const std::string conf = "virtual_alias_maps = inline:{a=b}\n";
    CHECK(routed(conf + "propagate_unmatched_extensions =\n", "a+x") == "local expand a+x@example.org >b@example.org");
    const Routing routing = routing_of(conf + "local_recipient_maps =\n");
    CHECK(routed(routing, {"", "a", true, false}) == "local expand a@example.org");
    CHECK(routed(routing, {"", "a", false, true}) == "local deliver a@example.org local:");
}

TEST_CASE("transport and next hop: from relayhost to transport_maps", "[router]")
{
    struct Case {
        const char *conf, *recipient, *result;
    };
    for (const Case& c : {
             Case{"relayhost = [smart.example]:587\n", "x@other.example", "smtp:[smart.example]:587"},
             {"relayhost = smart.example\n", "alice@example.org", "local:"},
             {"relayhost = smart.example\nrelay_domains = other.example\n", "x@other.example", "relay:smart.example"},
             {"relay_domains = other.example\nrelay_transport = smtp:[in.example]\n", "x@other.example", "smtp:[in.example]"},
             {"default_transport = smtp:[all.example]\nrelayhost = never.example\n", "x@other.example", "smtp:[all.example]"},
             {"relayhost = g.example\nsender_dependent_relayhost_maps = inline:{s@sender.example=[s.example]:25}\n", "x@other.example", "smtp:[s.example]:25"},
             {"relayhost = g.example\nsender_dependent_relayhost_maps = inline:{@sender.example=[d.example]}\n", "x@other.example", "smtp:[d.example]"},
             {"relayhost = g.example\nsender_dependent_relayhost_maps = inline:{s@sender.example=DUNNO,@sender.example=z}\n", "x@other.example", "smtp:g.example"},
             {"sender_dependent_default_transport_maps = inline:{s@sender.example=smtp:[t.example]}\n", "x@other.example", "smtp:[t.example]"},
             {"relayhost = g.example\ntransport_maps = inline:{other.example=smtp:[m.example]:26}\n", "x@other.example", "smtp:[m.example]:26"},
             {"relayhost = g.example\ntransport_maps = inline:{other.example=smtp:}\n", "x@other.example", "smtp:other.example"},
             {"relayhost = g.example\ntransport_maps = inline:{other.example=:[n.example]}\n", "x@other.example", "smtp:[n.example]"},
             {"relayhost = g.example\ntransport_maps = inline:{other.example=:,*=smtp:never}\n", "x@other.example", "smtp:g.example"},
             {"transport_maps = inline:{.other.example=smtp:p}\n", "x@a.b.other.example", "smtp:p"},
             {"transport_maps = inline:{.other.example=smtp:p}\n", "x@other.example", "smtp:other.example"},
             {"transport_maps = inline:{other.example=smtp:p}\n", "x@a.other.example", "smtp:a.other.example"},
             {"transport_maps = inline:{other.example=smtp:p}\nparent_domain_matches_subdomains = transport_maps\n", "x@a.other.example", "smtp:p"},
             {"transport_maps = inline:{x@other.example=smtp:u,other.example=smtp:d,*=smtp:w}\n", "x+e@other.example", "smtp:u"},
             {"transport_maps = inline:{x@other.example=smtp:u,other.example=smtp:d,*=smtp:w}\n", "y@other.example", "smtp:d"},
             {"transport_maps = inline:{x@other.example=smtp:u,other.example=smtp:d,*=smtp:w}\n", "y@third.example", "smtp:w"},
             {"transport_maps = inline:{example.org=smtp:[inside.example]}\n", "alice@example.org", "smtp:[inside.example]"},
             {"transport_maps = inline:{other.example=relay:[2001:db8::2]:25}\n", "x@other.example", "relay:[2001:db8::2]:25"},
         }) {
        INFO(c.conf << c.recipient);
        const std::string result = routed(c.conf, c.recipient);
        REQUIRE(result.find(" deliver ") != std::string::npos);
        CHECK(result.substr(result.rfind(' ') + 1) == c.result);
    }
}

TEST_CASE("error:, retry:, discard: and transports that nobody serves", "[router]")
{
    struct Case {
        const char *value, *result;
    };
    for (const Case& c : {
             Case{"error:no such domain", "remote reject x@o.example 5.0.0 no such domain"},
             {"error:5.2.1 mailbox closed", "remote reject x@o.example 5.2.1 mailbox closed"},
             {"error:4.2.1 odd class", "remote reject x@o.example 5.0.0 4.2.1 odd class"},
             {"error:", "remote reject x@o.example 5.0.0 the address is undeliverable"},
             {"retry:4.7.1 come back later", "remote defer x@o.example 4.7.1 come back later"},
             {"defer:later", "remote defer x@o.example 4.0.0 later"},
             {"discard:silently", "remote discard x@o.example  silently"},
             {"uucp:somewhere", "remote defer x@o.example 4.3.5 mail transport unavailable: there is no transport \"uucp\"; known are local, virtual, smtp, relay, lmtp and those of pipe_transports"},
         }) {
        INFO(c.value);
        CHECK(routed(cat("transport_maps = inline:{{o.example = ", c.value, "}}\n"), "x@o.example") == c.result);
    }
    CHECK(routed("local_transport = error:local mail is off\n", "alice@example.org") == "local reject alice@example.org 5.0.0 local mail is off");
    CHECK(routed("default_transport = error:5.7.0 no way out\nrelayhost = g.example\n", "x@o.example") == "remote reject x@o.example 5.7.0 no way out");
}

TEST_CASE("unqualified names and domains without a dot", "[router]")
{
    CHECK(routed("append_dot_mydomain = yes\n", "alice@mail") == "local deliver alice@mail.example.org local:");
    CHECK(routed("", "x@mail") == "remote deliver x@mail smtp:mail");
    CHECK(routed("myorigin = other.example\n", "x") == "remote deliver x@other.example smtp:other.example");
}

TEST_CASE("local_recipient_maps: empty takes all, other tables count, the user database may be left out", "[router]")
{
    CHECK(routed("local_recipient_maps =\n", "whoever@example.org") == "local deliver whoever@example.org local:");
    const std::string conf = "local_recipient_maps = inline:{carol=x,@localhost=y}\n";
    CHECK(routed(conf, "carol+x@example.org") == "local deliver carol+x@example.org local:");
    CHECK(routed(conf, "who@localhost") == "local deliver who@localhost local:");
    CHECK(routed(conf, "alice@example.org").find("reject") != std::string::npos);
}

TEST_CASE("what cannot be looked up is deferred, never refused", "[router]")
{
    World world;
    world.down = true;
    const Routing routing = routing_of("");
    CHECK(routed(routing, {"", "someone@example.org"}, world) == "local defer someone@example.org 4.3.0 Temporary lookup failure");
    CHECK(routed(routing, {"", "list@example.org"}, world) == "local deliver list@example.org local:");
    CHECK(routed("virtual_alias_maps = hash:/nonexistent/v\n", "alice") == "local defer alice@example.org 4.3.0 Temporary lookup failure");
    CHECK(routed("transport_maps = hash:/nonexistent/t\n", "x@o.example") == "remote defer x@o.example 4.3.0 Temporary lookup failure");
    CHECK(routed("relay_domains = /nonexistent/r\n", "x@o.example") == "remote defer x@o.example 4.3.0 Temporary lookup failure");
    CHECK(routed("relay_domains = /nonexistent/r\n", "alice@example.org") == "local deliver alice@example.org local:");
    const Routing broken = routing_of("transport_maps = hash:/nonexistent/t\n");
    REQUIRE(broken.trouble().size() == 1);
    CHECK(broken.trouble()[0].find("/nonexistent/t") != std::string::npos);
    std::vector<std::string> ask;
    std::string why;
    (void)broken.route({"", "x@o.example"}, World(), ask, &why);
    CHECK(why.find("/nonexistent/t") != std::string::npos);
}

TEST_CASE("a table that appears or changes is taken up", "[router]")
{
    std::string folder = "/tmp/veredus-router-XXXXXX";
    REQUIRE(mkdtemp(folder.data()));
    const std::string path = folder + "/transport";
    const auto write = [&](const char* text, time_t age) {
        std::ofstream(path) << text;
        const timespec times[2] = {{time(nullptr) - age, 0}, {time(nullptr) - age, 0}};
        REQUIRE(utimensat(AT_FDCWD, path.c_str(), times, 0) == 0);
    };
    Routing routing = routing_of(cat("transport_maps = hash:", path, "\n"));
    std::vector<std::string> trouble;
    CHECK_FALSE(routing.refresh(trouble));
    CHECK(trouble.size() == 1);
    write("o.example smtp:[one]\n", 100);
    for (int i = 0; i < 1000 && !trouble.empty(); ++i, usleep(10'000)) trouble.clear(), (void)routing.refresh(trouble);
    CHECK(trouble.empty());
    CHECK(routed(routing, {"", "x@o.example"}) == "remote deliver x@o.example smtp:[one]");
    CHECK_FALSE(routing.refresh(trouble));
    write("o.example smtp:[two]\n", 50);
    CHECK(routing.refresh(trouble));
    CHECK(routed(routing, {"", "x@o.example"}) == "remote deliver x@o.example smtp:[two]");
    unlink(path.c_str());
    rmdir(folder.c_str());
}

TEST_CASE("while a table's file cannot be read nobody is refused for not being in it, and who was in it is served", "[router]")
{
    std::string folder = "/tmp/veredus-router-XXXXXX";
    REQUIRE(mkdtemp(folder.data()));
    const std::string path = folder + "/table", away = folder + "/away";
    const auto write = [](const std::string& name, const char* text, time_t age) {
        std::ofstream(name) << text;
        const timespec times[2] = {{time(nullptr) - age, 0}, {time(nullptr) - age, 0}};
        REQUIRE(utimensat(AT_FDCWD, name.c_str(), times, 0) == 0);
    };
    struct {
        const char *settings, *domain, *address_class, *delivered;
    } cases[] = {
        {"virtual_mailbox_domains = v.example\nvirtual_mailbox_maps = hash:", "v.example", "virtual_mailbox", "deliver one@v.example virtual:"},
        {"relay_domains = r.example\nrelay_recipient_maps = hash:", "r.example", "relay", "deliver one@r.example relay:r.example"},
        {"virtual_alias_domains = a.example\nvirtual_alias_maps = hash:", "a.example", "virtual_alias", " expand one@a.example"},
        {"local_recipient_maps = hash:", "example.org", "local", "deliver one@example.org local:"},
    };
    for (const auto& c : cases) {
        INFO(c.settings);
        const auto word = [&](const char* user) { return routed(routing_of(cat(c.settings, path, "\n")), {"", cat(user, '@', c.domain)}); };
        write(path, cat("one@", c.domain, " alice@example.org\n").c_str(), 100);
        CHECK(word("one").find(c.delivered) != std::string::npos);
        Routing routing = routing_of(cat(c.settings, path, "\n"));
        const auto now = [&](const char* user) { return routed(routing, {"", cat(user, '@', c.domain)}); };
        std::vector<std::string> trouble;
        CHECK(now("two").find(" reject ") != std::string::npos);
        REQUIRE(rename(path.c_str(), away.c_str()) == 0);
        CHECK(routing.refresh(trouble));               // answers are others now
        CHECK(trouble.size() == 1);
        CHECK_FALSE(routing.refresh(trouble));
        CHECK(now("two").find(cat(" defer two@", c.domain, " 4.3.0")) != std::string::npos);
        CHECK(now("one").find(c.delivered) != std::string::npos);
        REQUIRE(rename(away.c_str(), path.c_str()) == 0);
        trouble.clear();
        CHECK(routing.refresh(trouble));
        CHECK(trouble.empty());
        CHECK(now("two").find(" reject ") != std::string::npos);
    }
    unlink(path.c_str());
    rmdir(folder.c_str());
}

TEST_CASE("while a list of domains cannot be read, a domain that was not in it waits, and one that was is served", "[router]")
{
    std::string folder = "/tmp/veredus-router-XXXXXX";
    REQUIRE(mkdtemp(folder.data()));
    const std::string path = folder + "/table", away = folder + "/away";
    struct {
        const char *list, *rest, *old;
    } cases[] = {
        {"mydestination = example.org, ", "", "local deliver one@old.example local:"},
        {"virtual_alias_domains = ", "virtual_alias_maps = inline:{one@old.example=alice@example.org}\n", "valias expand one@old.example"},
        {"virtual_mailbox_domains = ", "virtual_transport = lmtp:x\nvirtual_mailbox_maps = inline:{one@old.example=x}\n", "vmailbox deliver one@old.example lmtp:x"},
        {"relay_domains = ", "relay_recipient_maps = inline:{one@old.example=x}\n", "relay deliver one@old.example relay:old.example"},
    };
    for (const auto& c : cases)
        for (const bool as_table : {true, false}) {
            INFO(c.list << as_table);
            std::ofstream(path) << (as_table ? "old.example x\n" : "old.example\n");
            const timespec times[2] = {{time(nullptr) - 100, 0}, {time(nullptr) - 100, 0}};
            REQUIRE(utimensat(AT_FDCWD, path.c_str(), times, 0) == 0);
            Routing routing = routing_of(cat("alias_maps =\nlocal_recipient_maps =\n", c.list, as_table ? "hash:" : "", path, "\n", c.rest));
            const auto now = [&](const char* recipient) { return routed(routing, {"", recipient}); };
            std::vector<std::string> trouble;
            CHECK(now("one@old.example").starts_with(c.old));
            CHECK(now("two@new.example") == "remote deliver two@new.example smtp:new.example");
            CHECK(owner(routing, "two@new.example", "two@new.example")->word == ipc::OwnerReply::Word::no);
            REQUIRE(rename(path.c_str(), away.c_str()) == 0);
            CHECK(routing.refresh(trouble));               // answers are others now
            CHECK(now("one@old.example").starts_with(c.old));
            CHECK(now("two@new.example") == "remote defer two@new.example 4.3.0 Temporary lookup failure");
            CHECK_FALSE(owner(routing, "two@new.example", "two@new.example"));
            CHECK(owner(routing, "-", "two@new.example")->word == ipc::OwnerReply::Word::no);
            CHECK(routing.rewrite({ipc::RewriteRequest::Kind::header_sender, "two@new.example"}));
            REQUIRE(rename(away.c_str(), path.c_str()) == 0);
            CHECK(routing.refresh(trouble));
            CHECK(trouble.size() == 1);
            CHECK(now("two@new.example") == "remote deliver two@new.example smtp:new.example");
        }
    unlink(path.c_str());
    rmdir(folder.c_str());
}

TEST_CASE("aliases files in local_recipient_maps are read as aliases", "[router]")
{
    std::string folder = "/tmp/veredus-router-XXXXXX";
    REQUIRE(mkdtemp(folder.data()));
    const std::string path = folder + "/aliases";
    std::ofstream(path) << "Webmaster: alice\n";
    const std::string conf = cat("alias_maps = hash:", path, "\n");
    CHECK(routed(conf, "webmaster@example.org") == "local deliver webmaster@example.org local:");
    unlink(path.c_str());
    // no aliases file at all: a fresh system still works
    CHECK(routed(conf, "alice@example.org") == "local deliver alice@example.org local:");
    rmdir(folder.c_str());
}

TEST_CASE("a long aliases file is read elsewhere; while it cannot be read nobody is refused for not being in it", "[router]")
{
    std::string folder = "/tmp/veredus-router-XXXXXX";
    REQUIRE(mkdtemp(folder.data()));
    const std::string path = folder + "/aliases";
    const auto write = [&](std::string_view first, time_t age) {
        std::ofstream(path) << first << "two: bob\n" << std::string(1000, '#') << '\n';
        const timespec times[2] = {{time(nullptr) - age, 0}, {time(nullptr) - age, 0}};
        REQUIRE(utimensat(AT_FDCWD, path.c_str(), times, 0) == 0);
    };
    const auto read = [](Routing& routing) {
        auto due = routing.due_aliases();
        REQUIRE(due.size() == 1);
        CHECK(routing.reading_aliases());
        table::AliasMaps::read(*due[0]);
        const bool changed = routing.take_aliases(*due[0]);
        CHECK_FALSE(routing.reading_aliases());
        return changed;
    };
    write("one: alice\n", 100);
    const auto file = conf::File::parse(cat("myhostname = mail.example.org\nmydestination = example.org\nmyorigin = example.org\nalias_maps = hash:", path, "\n"), "main.cf");
    REQUIRE(file.ok());
    Routing first(file.values(), {}, 1000);
    CHECK(routed(first, {"", "one"}) == "local defer one@example.org 4.3.0 Temporary lookup failure");
    CHECK(read(first));
    CHECK(routed(first, {"", "one"}) == "local deliver one@example.org local:");
    CHECK(first.trouble().empty());
    Routing routing(file.values(), {}, 1000, &first);           // other settings, the same file
    CHECK(routed(routing, {"", "one"}) == "local deliver one@example.org local:");
    CHECK(routed(routing, {"", "none"}).starts_with("local reject none@example.org 5.1.1"));
    CHECK(routing.due_aliases().empty());
    std::vector<std::string> trouble;
    write("three: alice\n", 90);
    CHECK_FALSE(routing.refresh(trouble));
    CHECK(routing.restless());
    CHECK(routed(routing, {"", "one"}) == "local deliver one@example.org local:");
    CHECK(read(routing));
    CHECK(routed(routing, {"", "three"}) == "local deliver three@example.org local:");
    CHECK_FALSE(routing.restless());
    write(std::string_view("four: \0\n", 8), 80);
    CHECK_FALSE(routing.refresh(trouble));
    CHECK_FALSE(read(routing));
    CHECK(routed(routing, {"", "three"}) == "local deliver three@example.org local:");
    CHECK(routed(routing, {"", "four"}) == "local defer four@example.org 4.3.0 Temporary lookup failure");
    CHECK(routing.trouble().size() == 1);
    CHECK(routing.refresh(trouble));                            // answers are others now
    CHECK_FALSE(routing.refresh(trouble));
    CHECK(routing.due_aliases().empty());                       // once for each change of it
    unlink(path.c_str());
    rmdir(folder.c_str());
}

namespace {
class TestClock final : public Clock {
public:
    int64_t now = 1;
    int64_t wall_us() const override { return now; }
    int64_t mono_us() const override { return now; }
};
}  // namespace

TEST_CASE("a user is asked about once at a time, and remembered for a while", "[router]")
{
    TestClock clock;
    std::vector<std::pair<std::string, std::function<void(Known)>>> asked;
    UserCache cache(clock, [&](const std::string& name, std::function<void(Known)> answer) { asked.emplace_back(name, std::move(answer)); });
    cache.keep_for(10);
    std::vector<Known> heard;
    const auto hear = [&](Known known) { heard.push_back(known); };
    cache.find("a", hear);
    cache.find("a", hear);
    CHECK(asked.size() == 1);
    asked[0].second(Known::yes);
    CHECK(heard == std::vector<Known>{Known::yes, Known::yes});
    CHECK(cache.known("a") == Known::yes);
    clock.now += 10 * us_per_second;
    CHECK(cache.known("a") == Known::ask);
    cache.find("a", hear);
    asked[1].second(Known::temporary);
    CHECK(cache.known("a") == Known::ask);       // trouble is not remembered
    UserCache quick(clock, [](const std::string&, const std::function<void(Known)>& answer) { answer(Known::no); });
    for (std::size_t i = 0; i < UserCache::most + 10; ++i) {
        clock.now += 1;
        quick.find(cat("u", i), [](Known) {});
    }
    CHECK(quick.size() <= UserCache::most);
    CHECK(quick.known(cat("u", UserCache::most + 9)) == Known::no);
}

TEST_CASE("a name that no user can have is nobody's, and the resolver is not asked", "[router]")
{
    TestClock clock;
    std::vector<std::string> asked;
    UserCache cache(clock, [&](const std::string& name, const std::function<void(Known)>& answer) {
        asked.push_back(name);
        CHECK(ipc::UserRequest::decode(ipc::UserRequest{name}.encode()));        // or the resolver closes the channel
        answer(Known::no);
    });
    const Routing routing = routing_of("");
    ipc::RouteRequest request;
    for (const std::size_t size : {255, 256, 257, 400, 512}) request.recipients.push_back(cat(std::string(size, 'a'), "@example.org"));
    std::vector<std::string> results;
    std::make_shared<Batch>(request, [&]() -> const Routing& { return routing; }, cache, nullptr, [&](const std::vector<ipc::Route>& routes, const std::vector<std::string>&) {
        for (const auto& route : routes) results.push_back(shown(route));
    })->run();
    REQUIRE(results.size() == 5);
    for (std::size_t i = 0; i < results.size(); ++i) CHECK(results[i] == cat("local reject ", request.recipients[i], " 5.1.1 User unknown in local recipient table"));
    CHECK(asked == std::vector<std::string>{std::string(255, 'a'), std::string(256, 'a')});
}

TEST_CASE("what strangers may say as an address fits every question and answer about addresses", "[router][ipc]")
{
    const auto taken = [](const mail::Address& address) { return mail::parse_address(address.text()).has_value(); };
    const std::string label(63, 'd'), domain = cat(label, '.', label, '.', label, '.', label);      // as long as one gets
    REQUIRE(domain.size() == 255);
    REQUIRE(taken({"a", domain}));
    std::size_t local = 1;
    while (taken({std::string(local + 1, 'a'), domain})) ++local;
    CHECK(local >= 64);
    for (const char byte : {'"', 'a'}) {             // of the first each is escaped
        const mail::Address given{std::string(local, byte), domain};
        const std::string longest = given.text();
        const auto parsed = mail::parse_address(longest);
        REQUIRE(parsed);
        REQUIRE(*parsed == given);
        ipc::RouteRequest route;
        route.sender = longest;
        route.recipients = {longest};
        CHECK(ipc::RouteRequest::decode(route.encode()));
        ipc::RouteReply routed;
        routed.routes.emplace_back();
        routed.routes[0].kind = Kind::deliver;
        routed.routes[0].address_class = ipc::AddressClass::remote;
        routed.routes[0].address = longest;
        routed.routes[0].nexthop = domain;
        CHECK(ipc::RouteReply::decode(routed.encode()));
        CHECK(ipc::OwnerRequest::decode(ipc::OwnerRequest{std::string(512, 'u'), longest}.encode()));
        ipc::OwnerReply owner;
        owner.word = ipc::OwnerReply::Word::no;
        owner.address_class = ipc::AddressClass::remote;
        owner.address = longest;
        CHECK(ipc::OwnerReply::decode(owner.encode()));
        CHECK(ipc::RewriteRequest::decode(ipc::RewriteRequest{{{ipc::RewriteRequest::Kind::envelope_sender, longest}}}.encode()));
        CHECK(ipc::RewriteReply::decode(ipc::RewriteReply{"", {{longest, {longest}}}}.encode()));
        ipc::Attempt attempt;
        attempt.sender = attempt.delivered_to = longest;
        attempt.nexthop = domain;
        ipc::Target target;
        target.address = target.original = target.sender = longest;
        target.extension = given.local;
        target.orcpt = cat("utf-8;", std::string(2048, 'o'));      // as long as a command line
        attempt.targets.push_back(target);
        CHECK(ipc::Attempt::decode(attempt.encode()));
        CHECK(ipc::AnvilEvent::decode(ipc::AnvilEvent{ipc::AnvilEvent::Kind::connect, reception::user_meter_name(longest), 1}.encode()));
        CHECK(ipc::FlushSite::decode(ipc::FlushSite{domain}.encode()));
    }
    CHECK(ipc::RewriteReply::decode(ipc::RewriteReply{"", {{mail::Address{std::string(2 * local, '"'), domain}.text(), {}}}}.encode()));     // an extension was hung on
}

TEST_CASE("a batch asks for all its users at once and answers in order", "[router]")
{
    TestClock clock;
    std::map<std::string, std::function<void(Known)>> asked;
    UserCache cache(clock, [&](const std::string& name, std::function<void(Known)> answer) { asked.emplace(name, std::move(answer)); });
    const Routing routing = routing_of("");
    ipc::RouteRequest request;
    request.recipients = {"alice@example.org", "x@o.example", "bob+1@example.org", "alice+y@example.org", "later@example.org"};
    std::vector<std::string> results;
    std::make_shared<Batch>(request, [&]() -> const Routing& { return routing; }, cache, nullptr, [&](std::vector<ipc::Route> routes, const std::vector<std::string>& reasons) {
        for (const auto& route : routes) results.push_back(shown(route));
        CHECK(reasons.size() == 1);
    })->run();
    CHECK(results.empty());
    CHECK(asked.size() == 5);                    // alice, bob, bob+1, alice+y, later
    for (auto& [name, answer] : asked) answer(name == "alice" ? Known::yes : name == "later" ? Known::temporary : Known::no);
    REQUIRE(results.size() == 5);
    CHECK(results[0] == "local deliver alice@example.org local:");
    CHECK(results[1] == "remote deliver x@o.example smtp:o.example");
    CHECK(results[2] == "local reject bob+1@example.org 5.1.1 User unknown in local recipient table");
    CHECK(results[3] == "local deliver alice+y@example.org local:");
    CHECK(results[4] == "local defer later@example.org 4.3.0 Temporary lookup failure");
}

TEST_CASE("an answer always fits into one message", "[router]")
{
    ipc::RouteReply reply{7, {}};
    for (int i = 0; i < 500; ++i) {
        ipc::Route route;
        route.kind = Kind::expand;
        route.address = cat("user", i, "@example.org");
        for (int k = 0; k < 50; ++k) route.children.push_back({queue::Child::Kind::address, cat("child", k, "-", i, "@example.org"), "", "-"});
        reply.routes.push_back(std::move(route));
    }
    const std::string body = encode_fitting(reply);
    CHECK(body.size() < ipc::max_message);
    const auto back = ipc::RouteReply::decode(body);
    REQUIRE(back);
    REQUIRE(back->routes.size() == 500);
    CHECK(back->routes[0].kind == Kind::expand);
    CHECK(back->routes[0].children.size() == 50);
    CHECK(back->routes[499].kind == Kind::defer);
}

TEST_CASE("explain: the steps of a decision with what decided them", "[router]")
{
    const auto file = conf::File::parse("myhostname = mail.example.org\nmydestination = example.org\nmyorigin = example.org\nalias_maps = inline:{list=alice}\n"
                                        "virtual_alias_domains = v.example\nvirtual_alias_maps = inline:{{team@v.example = alice, bob+x, who@far.example},@v.example=@w.example}\n"
                                        "virtual_mailbox_domains = w.example\nvirtual_mailbox_maps = inline:{@w.example=all/}\nrelayhost = [relay.example]\n"
                                        "sender_dependent_relayhost_maps = inline:{s@x.example=[own.example]}\ntransport_maps = inline:{.far.example=smtp:[near.example]:26}\n",
                                        "main.cf");
    REQUIRE(file.ok());
    const Routing routing(file.values(), {*net::Address::parse_ip("192.0.2.1", 0)});
    const World world;
    struct Case {
        const char *sender, *recipient, *told;
        bool failed;
    };
    for (const Case& c : {
             Case{"", "alice", "alice\n  address: without a domain it is alice@example.org  [myorigin, main.cf:3]\n  class: local: example.org is listed  [mydestination, main.cf:2]\n"
                              "  recipient: there is a user \"alice\"  [local_recipient_maps by default; unix:passwd.byname]\n  transport: local  [local_transport by default]\n"
                              "  => delivered by local\n", false},
             {"", "list@example.org", "list@example.org\n  class: local: example.org is listed  [mydestination, main.cf:2]\n"
                                      "  recipient: \"list\" has \"alice\"  [local_recipient_maps by default; inline:]\n"
                                      "  transport: local  [local_transport by default]\n  => delivered by local\n", false},
             {"", "no@example.org", "no@example.org\n  class: local: example.org is listed  [mydestination, main.cf:2]\n  transport: local  [local_transport by default]\n"
                                    "  => refused: 5.1.1 User unknown in local recipient table\n", true},
             {"s@x.example", "x@y.far.example", "x@y.far.example\n"
                                    "  class: remote: y.far.example is in none of mydestination, virtual_alias_domains, virtual_mailbox_domains, relay_domains\n"
                                    "  transport: smtp  [default_transport by default]\n  next hop: \"s@x.example\" has \"[own.example]\"  [sender_dependent_relayhost_maps, main.cf:10; inline:]\n"
                                    "  transport: \".far.example\" has \"smtp:[near.example]:26\"  [transport_maps, main.cf:11; inline:]\n"
                                    "  => delivered by smtp to [near.example]:26\n", false},
             {"", "any@v.example", "any@v.example\n  class: virtual alias: v.example is listed  [virtual_alias_domains, main.cf:5]\n"
                                   "  alias: \"@v.example\" has \"@w.example\"  [virtual_alias_maps, main.cf:6; inline:]\n  => expands to 1 address\n"
                                   "    any@w.example\n      class: virtual mailbox: w.example is listed  [virtual_mailbox_domains, main.cf:7]\n"
                                   "      recipient: \"@w.example\" has \"all/\"  [virtual_mailbox_maps, main.cf:8; inline:]\n"
                                   "      transport: virtual  [virtual_transport by default]\n      => delivered by virtual\n", false},
             {"", "@", "@\n  address: no address: nothing stands before the @\n  => refused: 5.1.3 Bad recipient address syntax\n", true},
         }) {
        INFO(c.recipient);
        bool failed = false;
        CHECK(tell(file, routing, c.sender, c.recipient, world, failed) == c.told);
        CHECK(failed == c.failed);
    }
    bool failed = false;
    const std::string team = tell(file, routing, "", "team@v.example", world, failed);
    CHECK(team.find("expands to 3 addresses") != std::string::npos);
    CHECK(team.find("    who@far.example\n      class: remote") != std::string::npos);
    CHECK(team.find("next hop: [relay.example]  [relayhost, main.cf:9]") != std::string::npos);
}

TEST_CASE("explain ends where aliases go round", "[router]")
{
    const auto file = conf::File::parse("mydestination = example.org\nmyorigin = example.org\nvirtual_alias_maps = inline:{{a = b, c},b=a}\n", "main.cf");
    REQUIRE(file.ok());
    bool failed = false;
    const std::string told = tell(file, Routing(file.values(), {}), "", "a@example.org", World(), failed);
    CHECK(told.find("(told above)") != std::string::npos);
    CHECK(told.size() < 3000);
}
