// Addresses changed: inside header fields, by router's tables, and in a whole mail before it is queued.
#include "t/unit/catch.h"

#include "lib/base/text.h"
#include "lib/conf/values.h"
#include "lib/mail/rewrite.h"
#include "lib/reception/rewriter.h"
#include "qmgr/router/routing.h"

using namespace veredus;
using Kind = ipc::RewriteRequest::Kind;

TEST_CASE("addresses of a list are changed in place, all other bytes stay", "[rewrite][rfc5322-3.4]")
{
    const auto map = [](const std::string& a) { return iequals(a, "a@h.example") ? std::optional<std::string>("b@example") : std::nullopt; };
    struct Case {
        const char *body, *result;
    };
    for (const Case& c : {
             Case{" a@h.example", " b@example"},
             {"Ann <a@h.example>, x@y.z", "Ann <b@example>, x@y.z"},
             {"\"a@h.example\" <a@h.example> (a@h.example),\r\n\ta@h.example", "\"a@h.example\" <b@example> (a@h.example),\r\n\tb@example"},
             {"a@h.example (Ann)", "b@example (Ann)"},
             {"\"a\"@h.example", "b@example"},
             {"list: a@h.example, Ann <a@h.example>;", "list: b@example, Ann <b@example>;"},
             {"<@relay:a@h.example>", "<@relay:b@example>"},
             {"A@H.EXAMPLE", "b@example"},
             {"a @h.example", "a @h.example"},
             {"Ann a@h.example", "Ann a@h.example"},
             {"a", "a"},
             {"<a@h.example", "<a@h.example"},
             {"a@h.example@x", "a@h.example@x"},
             {"(a@h.example", "(a@h.example"},
             {"<a@h.example> <a@h.example>", "<a@h.example> <a@h.example>"},
             {"", ""},
         }) {
        INFO(c.body);
        CHECK(mail::rewrite_list(c.body, map) == c.result);
    }
    const auto header = mail::HeaderBlock::parse("Subject: a@h.example\r\nFROM: a@h.example\r\nResent-To:\r\n a@h.example\r\nReceived: for <a@h.example>\r\n");
    std::string seen;
    const auto changed = mail::rewrite_header(header, [&](mail::AddressField field, const std::string& address) {
        append(seen, field == mail::AddressField::sender ? "s " : "r ");
        return map(address);
    });
    CHECK(changed.text() == "Subject: a@h.example\r\nFROM: b@example\r\nResent-To:\r\n b@example\r\nReceived: for <a@h.example>\r\n");
    CHECK(seen == "s r ");
}

TEST_CASE("canonical forms, masquerading and copies by class", "[rewrite][router]")
{
    struct Case {
        const char* conf;
        Kind kind;
        const char *address, *result;
    };
    using enum Kind;
    for (const Case& c : {
             Case{"canonical_maps = inline:{ann@h.example=ann.smith@example.org}\n", header_sender, "ann@h.example", "ann.smith@example.org"},
             {"canonical_maps = inline:{ann=ann.smith}\n", envelope_sender, "ann+x@example.org", "ann.smith+x@example.org"},
             {"canonical_maps = inline:{ann=ann.smith}\npropagate_unmatched_extensions =\n", envelope_sender, "ann+x@example.org", "ann.smith@example.org"},
             {"canonical_maps = inline:{ann=ann.smith}\n", envelope_sender, "ann@far.example", "ann@far.example"},
             {"canonical_maps = inline:{@old.example=@new.example}\n", header_recipient, "any+x@old.example", "any+x@new.example"},
             {"canonical_maps = inline:{a=b,b=c,c=a}\n", header_sender, "a@example.org", "c@example.org"},
             {"canonical_maps = inline:{a=b}\ncanonical_classes = header_sender\n", envelope_sender, "a@example.org", "a@example.org"},
             {"sender_canonical_maps = inline:{a=b}\n", header_recipient, "a@example.org", "a@example.org"},
             {"sender_canonical_maps = inline:{a=b}\ncanonical_maps = inline:{b=c}\n", header_sender, "a@example.org", "c@example.org"},
             {"recipient_canonical_maps = inline:{a=b}\n", header_recipient, "a@example.org", "b@example.org"},
             {"masquerade_domains = !keep.example.org example.org\n", header_sender, "a@host.example.org", "a@example.org"},
             {"masquerade_domains = !keep.example.org example.org\n", header_sender, "a@x.keep.example.org", "a@x.keep.example.org"},
             {"masquerade_domains = !keep.example.org example.org\n", header_sender, "a@keep.example.org", "a@keep.example.org"},
             {"masquerade_domains = example.org\n", header_sender, "a@hostexample.org", "a@hostexample.org"},
             {"masquerade_domains = example.org\n", envelope_recipient, "a@host.example.org", "a@host.example.org"},
             {"masquerade_domains = example.org\nmasquerade_exceptions = Root\n", envelope_sender, "root@host.example.org", "root@host.example.org"},
             {"sender_bcc_maps = inline:{@example.org=archive}\n", envelope_sender, "a@example.org", "a@example.org >archive@example.org"},
             {"recipient_bcc_maps = inline:{{a@example.org = x@y.z, w@y.z}}\n", envelope_recipient, "a@example.org", "a@example.org >x@y.z >w@y.z"},
             {"recipient_bcc_maps = inline:{a@example.org=x@y.z}\n", header_recipient, "a@example.org", "a@example.org"},
             {"canonical_maps = inline:{{a = b, c}}\n", header_sender, "a@example.org", "error"},
             {"canonical_maps = hash:/nonexistent/canonical\n", header_sender, "a@example.org", "error"},
             {"canonical_maps = inline:{a=b}\n", header_sender, "not an address", "not an address"},
         }) {
        INFO(c.conf << c.address);
        const auto file = conf::File::parse(cat("mydestination = example.org\nmyorigin = example.org\n", c.conf), "main.cf");
        REQUIRE(file.ok());
        const auto item = router::Routing(file.values(), {}).rewrite({c.kind, c.address});
        std::string shown = item ? item->address : "error";
        if (item)
            for (const auto& copy : item->copies) append(shown, " >", copy);
        CHECK(shown == c.result);
    }
}

namespace {
struct Desk {
    explicit Desk(std::string_view conf)
    {
        const auto file = conf::File::parse(cat("mydestination = example.org\nmyorigin = example.org\n", conf), "main.cf");
        REQUIRE(file.ok());
        routing.emplace(file.values(), std::vector<net::Address>());
        rewriter.configure(file.values());
    }
    // Header, sender and recipients as they come out.
    std::string run(mail::Origin origin, const char* client, std::vector<std::string> recipients = {"r@far.example"})
    {
        mail::Envelope envelope;
        envelope.sender = *mail::parse_address("a@example.org");
        envelope.origin = origin;
        envelope.client_address = client;
        for (const std::string& r : recipients) envelope.recipients.push_back({*mail::parse_address(r), 0, ""});
        std::string out;
        rewriter.run({mail::HeaderBlock::parse("From: a@example.org\r\nTo: r@far.example\r\n"), envelope}, [&](Result<reception::Rewriter::Mail> mail) {
            if (!mail) return append(out, "error ", mail.error().text);
            append(out, mail->header.find("From")->body(), " | ", mail->envelope.sender.text());
            if (mail->envelope.recipients.size() <= 5)
                for (const auto& r : mail->envelope.recipients) append(out, " >", r.address.text(), r.notify == mail::notify_never ? "!" : "");
        });
        return out;
    }
    std::optional<router::Routing> routing;
    unsigned calls = 0;
    bool down = false;
    reception::Rewriter rewriter{[this](const std::string& body, const std::function<void(Result<ipc::Message>)>& done) {
        ++calls;
        if (down) return done(fail("router is away"));
        const auto request = ipc::RewriteRequest::decode(body);
        REQUIRE(request);
        ipc::RewriteReply reply;
        for (const auto& item : request->items) {
            auto answer = routing->rewrite(item);
            if (!answer) reply.trouble = "Temporary lookup failure";
            reply.items.push_back(answer ? *answer : ipc::RewriteReply::Item());
        }
        ipc::Message message;
        message.body = reply.encode();
        done(std::move(message));
    }};
};
}  // namespace

TEST_CASE("a mail before it is queued: whose header is changed, who gets copies, what happens without router", "[rewrite]")
{
    using mail::Origin;
    Desk canonical("canonical_maps = inline:{a=ann}\n");
    CHECK(canonical.rewriter.wanted());
    CHECK(canonical.run(Origin::local, "") == "ann@example.org | ann@example.org >r@far.example");
    CHECK(canonical.run(Origin::authenticated, "192.0.2.1") == "ann@example.org | ann@example.org >r@far.example");
    CHECK(canonical.run(Origin::stranger, "192.0.2.1") == "a@example.org | ann@example.org >r@far.example");
    CHECK(canonical.run(Origin::network, "192.0.2.1") == "a@example.org | ann@example.org >r@far.example");
    CHECK(canonical.run(Origin::network, "127.0.0.1").starts_with("ann@example.org | "));
    std::vector<std::string> many;
    for (int i = 0; i < 1000; ++i) many.push_back(cat("recipient-", i, "@far.example"));
    canonical.calls = 0;
    CHECK(canonical.run(Origin::local, "", many) == "ann@example.org | ann@example.org");
    CHECK(canonical.calls > 1);
    canonical.down = true;
    CHECK(canonical.run(Origin::local, "") == "error router is away");

    Desk nothing("");
    CHECK_FALSE(nothing.rewriter.wanted());
    Desk always("always_bcc = keep\n");
    CHECK(always.run(Origin::stranger, "192.0.2.1") == "a@example.org | a@example.org >r@far.example >keep@example.org!");
    CHECK(always.run(Origin::stranger, "192.0.2.1", {"Keep@example.org"}) == "a@example.org | a@example.org >Keep@example.org");
    CHECK(always.calls == 0);
    Desk copies("sender_bcc_maps = inline:{@example.org=s@k.example}\nrecipient_bcc_maps = inline:{r@far.example=k@k.example,q@far.example=k@k.example}\n");
    CHECK(copies.run(Origin::stranger, "192.0.2.1", {"r@far.example", "q@far.example"}) ==
          "a@example.org | a@example.org >r@far.example >q@far.example >k@k.example! >s@k.example!");
    Desk broken("canonical_maps = hash:/nonexistent/c\n");
    CHECK(broken.run(Origin::local, "") == "error Temporary lookup failure");
}
