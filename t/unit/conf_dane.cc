// lib/conf: levels of TLS that a Postfix main.cf may ask for.
#include "t/unit/catch.h"

#include "lib/conf/values.h"

using namespace veredus;

TEST_CASE("dane is taken with a warning, levels that promise verification are refused", "[conf]")
{
    const auto dane = conf::File::parse("smtp_tls_security_level = dane\n", "main.cf");
    CHECK(dane.ok());
    REQUIRE(dane.diagnostics().size() == 1);
    CHECK(dane.diagnostics()[0].text.find("taken as may") != std::string::npos);
    for (const char* level : {"dane-only", "verify", "secure", "fingerprint"}) {
        CAPTURE(level);
        CHECK_FALSE(conf::File::parse(std::string("smtp_tls_security_level = ") + level + "\n", "main.cf").ok());
    }
}
