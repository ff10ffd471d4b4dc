// Tickets, arrivals, and who is in: what crosses between authd, the login stages, master and the session processes.
#include "t/unit/catch.h"

#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/ipc/login.h"

using namespace veredus;

namespace {

template <class T> void no_other_length(const T& value)
{
    const std::string body = value.encode();
    REQUIRE(T::decode(body));
    CHECK(T::decode(body)->encode() == body);
    for (std::size_t n = 0; n < body.size(); ++n) CHECK_FALSE(T::decode(std::string_view(body).substr(0, n)));
    CHECK_FALSE(T::decode(body + "x"));
}

ipc::Arrival arrival()
{
    ipc::Arrival a;
    a.connection = 7;
    a.service = "pop3";
    a.user = "alice";
    a.login = "Alice";
    a.method = "PLAIN";
    a.remote = "192.0.2.7";
    a.local = "192.0.2.1";
    a.remote_port = 40'000;
    a.local_port = 110;
    a.session = "abc";
    a.hand_over = "a1";
    a.input = std::string("STAT\r\n\0", 7);
    return a;
}

} // namespace

TEST_CASE("tickets, arrivals and presences survive coding, and no cut or lengthened one is taken", "[ipc][login]")
{
    no_other_length(ipc::Ticket{std::string(16, '\x01'), "pop3d", 1, 9, "alice"});
    no_other_length(arrival());
    no_other_length(ipc::Enter{std::string(16, '\x02'), arrival()});
    no_other_length(
        ipc::Presences{{{7, "alice", "imap", "192.0.2.7", "INBOX", true, 1'700'000'000, 5, 100, 200, 4711}, {}}});
    no_other_length(ipc::Kick{"alice"});
    const auto back = ipc::Arrival::decode(arrival().encode());
    REQUIRE(back);
    CHECK(back->input == arrival().input);
    CHECK(back->remote_port == 40'000);
}

TEST_CASE("a ticket without a user, a number or its sixteen bytes is none", "[ipc][login]")
{
    const ipc::Ticket good{std::string(16, 'x'), "pop3d", 0, 1, "alice"};
    CHECK(ipc::Ticket::decode(good.encode()));
    auto bad = good;
    bad.id = std::string(15, 'x');
    CHECK_FALSE(ipc::Ticket::decode(bad.encode()));
    bad = good;
    bad.id = std::string(17, 'x');
    CHECK_FALSE(ipc::Ticket::decode(bad.encode()));
    bad = good;
    bad.connection = 0;
    CHECK_FALSE(ipc::Ticket::decode(bad.encode()));
    bad = good;
    bad.user.clear();
    CHECK_FALSE(ipc::Ticket::decode(bad.encode()));
    CHECK_FALSE(ipc::Enter::decode(ipc::Enter{std::string(3, 'x'), arrival()}.encode()));
    CHECK_FALSE(ipc::Kick::decode(ipc::Kick{}.encode()));
}

TEST_CASE("an arrival is bounded in each of its parts, and so fits a message", "[ipc][login]")
{
    auto big = arrival();
    big.input.assign(ipc::max_unread, 'x');
    big.hand_over.assign(ipc::max_hand_over, 'y');
    big.login.assign(512, 'l');
    big.user.assign(ipc::max_mailbox_user, 'u');
    big.tls.assign(512, 't');
    const auto body = ipc::Enter{std::string(16, 'k'), big}.encode();
    CHECK(ipc::Enter::decode(body));
    CHECK(body.size() + 16 < ipc::max_message);
    big.input += 'x';
    CHECK_FALSE(ipc::Arrival::decode(big.encode()));
}

TEST_CASE("a page of presences fits a message with the longest of names", "[ipc][login]")
{
    ipc::Presences page;
    for (std::size_t i = 0; i < ipc::max_presences; ++i)
        page.list.push_back({1, std::string(ipc::max_mailbox_user, 'u'), "imap", std::string(64, 'r'),
                             std::string(512, 'f'), false, 1, 2, 3, 4, 5});
    CHECK(page.encode().size() + 16 < ipc::max_message);
    CHECK(ipc::Presences::decode(page.encode())->list.size() == ipc::max_presences);
    page.list.push_back({});
    CHECK_FALSE(ipc::Presences::decode(page.encode()));
}
