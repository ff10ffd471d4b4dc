// What main.cf says of scheduling, back-off, bounces and who may ask, as qmgr uses it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lib/conf/values.h"

namespace veredus::qmgr {

struct TransportLimits {
    unsigned concurrency = 20;     // TRANSPORT_destination_concurrency_limit
    unsigned recipients = 50;      // TRANSPORT_destination_recipient_limit: most in one attempt
    unsigned initial = 5;          // TRANSPORT_initial_destination_concurrency
    unsigned cohorts = 1;          // TRANSPORT_destination_concurrency_failed_cohort_limit; 0: none
    int64_t rate_delay_us = 0;     // TRANSPORT_destination_rate_delay
};

struct Limits {
    int64_t lifetime_us = 5 * 86'400 * int64_t{1'000'000};
    int64_t bounce_lifetime_us = 5 * 86'400 * int64_t{1'000'000};
    int64_t minimal_backoff_us = 300 * int64_t{1'000'000};
    int64_t maximal_backoff_us = 4000 * int64_t{1'000'000};
    int64_t queue_run_us = 300 * int64_t{1'000'000};
    std::size_t active = 2000;             // open mails: each holds a descriptor
    std::size_t attempts = 500;            // in flight at one agent process
    std::size_t expansion = 50'000;        // recipients that aliases may add to one mail
    unsigned expansion_depth = 50;
    TransportLimits other;
    std::map<std::string, TransportLimits, std::less<>> transports;
    std::vector<std::string> defer_transports;
    std::set<std::string, std::less<>> pipes;      // transports of pipe_transports: local runs their commands
    uint64_t bounce_size = 50'000;
    std::string myhostname = "localhost", myorigin = "localhost";
    std::string postmaster = "postmaster";         // 2bounce_notice_recipient
    std::string double_bounce = "double-bounce";   // local part of the sender of such notices
    bool notify_postmaster = true;                 // notify_classes has 2bounce
    std::string bounce_copy_to, delay_copy_to;     // notify_classes has bounce, delay: whom; empty: nobody
    int64_t delay_warning_us = 0;                  // 0: no such reports
    bool confirm_delay_cleared = false;
    bool soft_bounce = false;
    std::size_t header_size = 102'400;
    std::string delimiters = "+";                  // recipient_delimiter

    const TransportLimits& transport(std::string_view name) const;
};

Limits read_limits(const conf::Values& values);

}  // namespace veredus::qmgr
