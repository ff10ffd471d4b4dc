// `veredus trace`: which log lines belong to a mail.
#include "t/unit/catch.h"

#include "master/veredus/trace.h"

using veredus::admin::Trace;

TEST_CASE("a trace has the lines of its mail and of the notifications made from it, and no others", "[queue-command]")
{
    Trace t("6B0641F081000001");
    const std::pair<const char*, bool> lines[] = {
        {"Nov 28 16:00:00 mx veredus/smtpd[12]: 6B0641F081000001: client=a.example[192.0.2.1]\n", true},
        {"Nov 28 16:00:00 mx veredus/smtpd[12]: 6B0641F081000002: client=a.example[192.0.2.1]\n", false},
        {"Nov 28 16:00:00 mx veredus/smtpd[12]: 6B0641F081000001A: client=a.example[192.0.2.1]\n", false},
        {"Nov 28 16:00:00 mx veredus/smtpd[12]: x6B0641F081000001: no\n", false},
        {"Nov 28 16:00:00 mx veredus/qmgr[13]: 6B0641F0F8000009: from=<>, size=1 (queue active)\n", false},
        {"Nov 28 16:00:01 mx veredus/qmgr[13]: 6B0641F081000001: sender non-delivery notification: 6B0641F0F8000009\n", true},
        {"Nov 28 16:00:01 mx veredus/qmgr[13]: 6B0641F0F8000009: from=<>, size=1 (queue active)\n", true},
        {"Nov 28 16:00:01 mx veredus/qmgr[13]: 6B0641F081000002: sender non-delivery notification: 6B0641F0F800000A\n", false},
        {"Nov 28 16:00:01 mx veredus/qmgr[13]: 6B0641F0F800000A: removed", false},
        {"Nov 28 16:00:01 mx veredus/smtp[13]: 6B0641F081000001: status=bounced (550 your notification: 6B0641F0F800000A)\n", true},
        {"Nov 28 16:00:01 mx veredus/qmgr[13]: 6B0641F0F800000A: removed again\n", false},
        {"Nov 28 16:00:01 mx veredus/qmgr[13]: 6B0641F081000001: removed", true},
        {"", false},
        {"6B0641F081000001", true},
    };
    for (const auto& [line, ours] : lines) {
        INFO(line);
        CHECK(t.feed(line) == ours);
    }
}

TEST_CASE("log files: maillog_file, else where syslog writes, the rotated one first", "[queue-command]")
{
    using veredus::admin::log_files;
    const auto some = [](std::initializer_list<std::string> there) {
        return [there = std::vector<std::string>(there)](const std::string& path) { return std::find(there.begin(), there.end(), path) != there.end(); };
    };
    using Files = std::vector<std::string>;
    CHECK(log_files("/var/log/my.log", some({"/var/log/my.log", "/var/log/my.log.1"})) == Files{"/var/log/my.log.1", "/var/log/my.log"});
    CHECK(log_files("", some({"/var/log/maillog", "/var/log/syslog"})) == Files{"/var/log/maillog"});
    CHECK(log_files("/dev/stdout", some({"/var/log/mail.log"})) == Files{"/var/log/mail.log"});
    CHECK(log_files("", some({})).empty());
}
