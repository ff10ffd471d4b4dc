#include "qmgr/limits.h"

#include <algorithm>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/conf/check.h"
#include "lib/conf/pipes.h"
#include "lib/log/log.h"

namespace veredus::qmgr {

const TransportLimits& Limits::transport(std::string_view name) const
{
    const auto found = transports.find(name);
    return found == transports.end() ? other : found->second;
}

Limits read_limits(const conf::Values& v)
{
    const auto micro = [&](const char* name) { return v.seconds(name) * us_per_second; };
    const auto count = [&](std::string_view name) { return static_cast<unsigned>(v.number(name)); };
    Limits l;
    l.lifetime_us = micro("maximal_queue_lifetime");
    l.bounce_lifetime_us = micro("bounce_queue_lifetime");
    l.minimal_backoff_us = micro("minimal_backoff_time");
    l.maximal_backoff_us = std::max(l.minimal_backoff_us, micro("maximal_backoff_time"));
    l.queue_run_us = micro("queue_run_delay");
    l.active = count("qmgr_message_active_limit");
    l.attempts = count("qmgr_attempt_limit");
    l.expansion = count("qmgr_expansion_limit");
    l.expansion_depth = count("qmgr_expansion_depth_limit");
    const auto transport = [&](std::string_view name, unsigned recipients, unsigned initial) {
        TransportLimits t;
        t.concurrency = count(cat(name, "_destination_concurrency_limit"));
        t.recipients = recipients;
        t.initial = initial;
        t.rate_delay_us = micro(cat(name, "_destination_rate_delay").c_str());
        return t;
    };
    for (const char* name : {"smtp", "relay", "lmtp"}) {
        TransportLimits t = transport(name, count(cat(name, "_destination_recipient_limit")), count(cat(name, "_initial_destination_concurrency")));
        t.cohorts = count(cat(name, "_destination_concurrency_failed_cohort_limit"));
        l.transports[name] = t;
    }
    for (const char* name : {"local", "virtual"}) l.transports[name] = transport(name, 1, count("initial_destination_concurrency"));
    l.other = transport("default", count("default_destination_recipient_limit"), count("initial_destination_concurrency"));
    l.other.cohorts = count("default_destination_concurrency_failed_cohort_limit");
    l.transports["local"].cohorts = l.transports["virtual"].cohorts = l.other.cohorts;
    if (const auto pipes = conf::parse_pipe_transports(v.text("pipe_transports"))) {
        for (const conf::PipeTransport& pipe : *pipes) {
            l.pipes.insert(pipe.name);
            TransportLimits& t = l.transports[pipe.name] = l.other;
            t.recipients = 1;
            if (const auto pause = conf::parse_duration(v.extra(cat(pipe.name, "_destination_rate_delay")), 's')) t.rate_delay_us = *pause * us_per_second;
            if (const auto most = parse_number<unsigned>(v.extra(cat(pipe.name, "_destination_concurrency_limit"))); most && *most > 0) t.concurrency = *most;
            if (const auto first = parse_number<unsigned>(v.extra(cat(pipe.name, "_initial_destination_concurrency"))); first && *first > 0) t.initial = *first;
            if (const auto cohorts = parse_number<unsigned>(v.extra(cat(pipe.name, "_destination_concurrency_failed_cohort_limit")))) t.cohorts = *cohorts;
        }
    } else {
        log::error("pipe_transports: ", pipes.error().text, "; none of them is used");
    }
    l.defer_transports = v.list("defer_transports");
    l.bounce_size = static_cast<uint64_t>(v.number("bounce_size_limit"));
    l.myhostname = v.text("myhostname");
    l.myorigin = v.text("myorigin");
    l.delimiters = v.text("recipient_delimiter");
    l.postmaster = v.text("2bounce_notice_recipient");
    l.double_bounce = v.text("double_bounce_sender");
    const auto classes = v.list("notify_classes");
    const auto notified = [&](std::string_view word) {
        return std::any_of(classes.begin(), classes.end(), [&](const std::string& c) { return iequals(c, word); });
    };
    l.notify_postmaster = notified("2bounce");
    if (notified("bounce")) l.bounce_copy_to = v.text("bounce_notice_recipient");
    if (notified("delay")) l.delay_copy_to = v.text("delay_notice_recipient");
    l.delay_warning_us = micro("delay_warning_time");
    l.confirm_delay_cleared = v.flag("confirm_delay_cleared");
    l.soft_bounce = v.flag("soft_bounce");
    return l;
}

}  // namespace veredus::qmgr
