// lib/mail: UTF-8 domains as DNS knows them.
#include "t/unit/catch.h"

#include "lib/mail/idna.h"

using namespace veredus::mail;

TEST_CASE("UTF-8 labels become A-labels", "[mail]")
{
    struct Row {
        const char *utf8, *ascii;
    };
    for (const Row& row : {
             Row{"example.org", "example.org"},
             Row{"EXAMPLE.Org", "example.org"},
             Row{"b\xc3\xbc"
                 "cher.example",
                 "xn--bcher-kva.example"},
             Row{"m\xc3\xbcnchen.de", "xn--mnchen-3ya.de"},
             Row{"stra\xc3\x9f"
                 "e.de",
                 "xn--strae-oqa.de"},
             Row{"\xe4\xbe\x8b\xe3\x81\x88.\xe3\x83\x86\xe3\x82\xb9\xe3\x83\x88", "xn--r8jz45g.xn--zckzah"},
             Row{"\xd0\xbf\xd1\x80\xd0\xb8\xd0\xbc\xd0\xb5\xd1\x80."
                 "\xd0\xb8\xd1\x81\xd0\xbf\xd1\x8b\xd1\x82\xd0\xb0\xd0\xbd\xd0\xb8\xd0\xb5",
                 "xn--e1afmkfd.xn--80akhbyknj4f"},
             Row{"\xf0\x9f\x92\xa9.la", "xn--ls8h.la"},
         }) {
        CAPTURE(row.utf8);
        CHECK(domain_to_ascii(row.utf8).value_or("none") == row.ascii);
    }
}

TEST_CASE("what is no UTF-8 or too long becomes no domain", "[mail]")
{
    CHECK_FALSE(domain_to_ascii("\xff.example"));
    CHECK_FALSE(domain_to_ascii("\xc3.example"));
    CHECK_FALSE(domain_to_ascii(std::string(64, 'a') + ".example"));
    std::string lots;
    for (int i = 0; i < 50; ++i) lots += "\xc3\xbc";
    CHECK(domain_to_ascii(lots)); // equal letters are short
    lots.clear();
    for (int i = 0; i < 60; ++i) lots += i % 2 ? "\xe4\xbe\x8b" : "\xc3\xbc";
    CHECK_FALSE(domain_to_ascii(lots));
    CHECK_FALSE(domain_to_ascii(std::string(300, 'a')));
}
