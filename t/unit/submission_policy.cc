// What submission says to a user: senders, recipients, rates, and what it mends.
#include "t/unit/catch.h"

#include "submission/policy.h"

using namespace veredus;
using namespace veredus::submission;

namespace {

ipc::Route route(ipc::Route::Kind kind, ipc::AddressClass address_class, std::string transport = "smtp",
                 std::string nexthop = "there.example")
{
    ipc::Route r;
    r.kind = kind;
    r.address_class = address_class;
    r.address = "x@there.example";
    r.transport = std::move(transport);
    r.nexthop = std::move(nexthop);
    return r;
}

} // namespace

TEST_CASE("a user's recipient: ours must exist, everybody else's are welcome", "[submission]")
{
    using Kind = ipc::Route::Kind;
    using Class = ipc::AddressClass;
    const mail::Address x{"x", "there.example"};
    CHECK(UserPolicy::verdict(route(Kind::deliver, Class::remote), x).code == 250);
    CHECK(UserPolicy::verdict(route(Kind::expand, Class::local), x).code == 250);
    auto r = route(Kind::reject, Class::local);
    r.dsn = "5.1.1";
    r.text = "User unknown in local recipient table";
    CHECK(UserPolicy::verdict(r, x).wire() ==
          "550 5.1.1 <x@there.example>: Recipient address rejected: User unknown in local recipient table\r\n");
    CHECK(UserPolicy::verdict(r, {"Postmaster", "there.example"}).code == 250);
    CHECK(UserPolicy::verdict(route(Kind::defer, Class::remote), x).code == 451);
}

TEST_CASE("only domains that mail really goes to by the DNS are looked up", "[submission]")
{
    using Kind = ipc::Route::Kind;
    using Class = ipc::AddressClass;
    CHECK(UserPolicy::domain_to_verify(route(Kind::deliver, Class::remote)) == "there.example");
    CHECK(UserPolicy::domain_to_verify(route(Kind::deliver, Class::remote, "smtp", "[relay.example]:587")).empty());
    CHECK(UserPolicy::domain_to_verify(route(Kind::deliver, Class::remote, "smtp", "relay.example")).empty());
    CHECK(UserPolicy::domain_to_verify(route(Kind::deliver, Class::local, "local", "there.example")).empty());
    auto host = route(Kind::deliver, Class::remote, "smtp", "nosuchhost");     // a name without a dot is looked up like any other
    host.address = "x@nosuchhost";
    CHECK(UserPolicy::domain_to_verify(host) == "nosuchhost");
    CHECK(UserPolicy::domain_to_verify(route(Kind::expand, Class::remote)).empty());
    CHECK(UserPolicy::domain_to_verify(route(Kind::deliver, Class::remote, "lmtp")).empty());
}

TEST_CASE("the owner's word about a sender", "[submission]")
{
    ipc::OwnerReply owner;
    const mail::Address bob{"bob", "example.org"};
    CHECK(UserPolicy::verdict(owner, bob, "alice").code == 451);
    owner.word = ipc::OwnerReply::Word::no;
    CHECK(UserPolicy::verdict(owner, bob, "alice").wire() ==
          "553 5.7.1 <bob@example.org>: Sender address rejected: not owned by user alice; choose one of your own "
          "addresses as sender\r\n");
    owner.word = ipc::OwnerReply::Word::yes;
    CHECK(UserPolicy::verdict(owner, bob, "bob").code == 250);
}

TEST_CASE("what users hand in is completed, and tells nobody who got a blind copy", "[submission][rfc6409-8]")
{
    MendSettings settings;
    settings.origin = {"example.org", ".example.org"};
    settings.drop_fields = {"bcc", "return-path"};
    const auto inspector = completer(settings);
    mail::Envelope envelope;
    envelope.origin = mail::Origin::authenticated;
    envelope.sender = {"alice", ""};
    envelope.recipients = {{{"bob", ""}, 0, ""}, {{"carol", "host"}, 0, ""}, {{"dan", "there.example"}, 0, ""}};
    auto header = mail::HeaderBlock::parse("To: bob, Carol <carol@there.example>\r\nBCC: secret@there.example,\r\n "
                                           "more@there.example\r\nReturn-Path: <x>\r\nSubject: s\r\n");
    CHECK(inspector->finish(header, envelope).kind == queue::Decision::Kind::accept);
    CHECK(header.text() == "To: bob@example.org, Carol <carol@there.example>\r\nSubject: s\r\n");
    CHECK(envelope.sender.text() == "alice@example.org");
    CHECK(envelope.recipients[0].address.text() == "bob@example.org");
    CHECK(envelope.recipients[1].address.text() == "carol@host.example.org");
    CHECK(envelope.recipients[2].address.text() == "dan@there.example");
}
