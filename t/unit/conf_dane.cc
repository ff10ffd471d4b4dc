// lib/conf: levels of TLS that a Postfix main.cf may ask for.
#include "t/unit/catch.h"

#include "lib/conf/values.h"

using namespace veredus;

TEST_CASE("dane is taken with a warning, dane-only is refused", "[conf]")
{
    const auto dane = conf::File::parse("smtp_tls_security_level = dane\n", "main.cf");
    CHECK(dane.ok());
    REQUIRE(dane.diagnostics().size() == 1);
    CHECK(dane.diagnostics()[0].text.find("taken as may") != std::string::npos);
    CHECK_FALSE(conf::File::parse("smtp_tls_security_level = dane-only\n", "main.cf").ok());
    for (const char* level : {"verify", "secure", "fingerprint"}) {
        CAPTURE(level);
        CHECK(conf::File::parse(std::string("smtp_tls_security_level = ") + level + "\n", "main.cf").ok());
    }
}
