// Settings: the queue manager.
#include "config.h"
#include "lib/conf/tables.h"

namespace veredus::conf {

namespace {
constexpr int64_t a_year = 366 * 86'400;

constexpr Setting rows[] = {
    // name, type, default, who, help, min, max, words or unit, public
    {"maximal_queue_lifetime", Type::duration, "5d", qmgr, "how long a mail may wait before it is returned", 0, a_year, "d"},
    {"bounce_queue_lifetime", Type::duration, "5d", qmgr, "the same for mail with the null sender <>", 0, a_year, "d"},
    {"minimal_backoff_time", Type::duration, "300s", qmgr, "shortest wait before a deferred mail, or a dead destination, is tried again", 1, a_year},
    {"maximal_backoff_time", Type::duration, "4000s", qmgr, "longest wait before a deferred mail is tried again", 1, a_year},
    {"queue_run_delay", Type::duration, "300s", qmgr, "how often incoming/ is looked through for mail that nobody announced", 1, a_year},
    {"qmgr_message_active_limit", Type::number, "2000", qmgr, "mails open at once; each takes a descriptor", 10, 100'000},
    {"qmgr_attempt_limit", Type::number, "500", qmgr, "delivery attempts under way at once at one agent process", 1, 10'000},
    {"qmgr_expansion_limit", Type::number, "50000", qmgr, "recipients that aliases and .forward files may add to one mail", 1, 1'000'000},
    {"qmgr_expansion_depth_limit", Type::number, "50", qmgr, "how deep aliases may lead to aliases", 1, 1000},
    {"initial_destination_concurrency", Type::number, "5", qmgr, "attempts at once to a destination that is not known yet", 1, 10'000},
    {"default_destination_concurrency_limit", Type::number, "20", qmgr, "most attempts at once to one destination; TRANSPORT_destination_concurrency_limit for one transport", 1, 10'000},
    {"default_destination_recipient_limit", Type::number, "50", qmgr, "most recipients of a mail in one attempt; TRANSPORT_destination_recipient_limit for one transport", 1, 100},
    {"local_destination_concurrency_limit", Type::number, "400", qmgr, "most attempts at once for one local recipient", 1, 10'000},
    {"smtp_destination_concurrency_limit", Type::number, "$default_destination_concurrency_limit", qmgr, "the same for transport smtp", 1, 10'000},
    {"relay_destination_concurrency_limit", Type::number, "$default_destination_concurrency_limit", qmgr, "the same for transport relay", 1, 10'000},
    {"lmtp_destination_concurrency_limit", Type::number, "$default_destination_concurrency_limit", qmgr, "the same for transport lmtp", 1, 10'000},
    {"smtp_destination_recipient_limit", Type::number, "$default_destination_recipient_limit", qmgr, "most recipients in one attempt of transport smtp", 1, 100},
    {"relay_destination_recipient_limit", Type::number, "$default_destination_recipient_limit", qmgr, "the same for transport relay", 1, 100},
    {"lmtp_destination_recipient_limit", Type::number, "$default_destination_recipient_limit", qmgr, "the same for transport lmtp", 1, 100},
    {"default_destination_concurrency_failed_cohort_limit", Type::number, "1", qmgr, "a destination is dead after so many windows full of failures in a row; 0: never", 0, 1000},
    {"default_destination_rate_delay", Type::duration, "0s", qmgr, "pause between two attempts at one destination, which are then made one at a time", 0, 86'400},
    {"smtp_initial_destination_concurrency", Type::number, "$initial_destination_concurrency", qmgr, "attempts at once to a destination of transport smtp that is not known yet", 1, 10'000},
    {"smtp_destination_concurrency_failed_cohort_limit", Type::number, "$default_destination_concurrency_failed_cohort_limit", qmgr, "the same for transport smtp", 0, 1000},
    {"smtp_destination_rate_delay", Type::duration, "$default_destination_rate_delay", qmgr, "the same for transport smtp", 0, 86'400},
    {"relay_initial_destination_concurrency", Type::number, "$initial_destination_concurrency", qmgr, "attempts at once to a destination of transport relay that is not known yet", 1, 10'000},
    {"relay_destination_concurrency_failed_cohort_limit", Type::number, "$default_destination_concurrency_failed_cohort_limit", qmgr, "the same for transport relay", 0, 1000},
    {"relay_destination_rate_delay", Type::duration, "$default_destination_rate_delay", qmgr, "the same for transport relay", 0, 86'400},
    {"lmtp_initial_destination_concurrency", Type::number, "$initial_destination_concurrency", qmgr, "attempts at once to a destination of transport lmtp that is not known yet", 1, 10'000},
    {"lmtp_destination_concurrency_failed_cohort_limit", Type::number, "$default_destination_concurrency_failed_cohort_limit", qmgr, "the same for transport lmtp", 0, 1000},
    {"lmtp_destination_rate_delay", Type::duration, "$default_destination_rate_delay", qmgr, "the same for transport lmtp", 0, 86'400},
    {"virtual_destination_concurrency_limit", Type::number, "$local_destination_concurrency_limit", qmgr, "most attempts at once for one virtual user", 1, 10'000},
    {"virtual_destination_rate_delay", Type::duration, "$local_destination_rate_delay", qmgr, "the same for one virtual user", 0, 86'400},
    {"local_destination_rate_delay", Type::duration, "$default_destination_rate_delay", qmgr, "the same for one local recipient", 0, 86'400},
    {"defer_transports", Type::list, "", qmgr, "transports whose mail waits until somebody asks for it (sendmail -q)"},
    {"bounce_size_limit", Type::size, "50000", qmgr, "a larger mail is returned as its header only"},
    {"2bounce_notice_recipient", Type::text, "postmaster", qmgr, "who is told of undeliverable mail that has no sender to tell"},
    {"double_bounce_sender", Type::text, "double-bounce", qmgr, "sender (local part) of those notices; what fails from it is dropped"},
    {"notify_classes", Type::list, "2bounce, resource, software", qmgr, "what the postmaster is told: bounce, 2bounce, delay", 0, 0, "bounce|2bounce|data|delay|policy|protocol|resource|software"},
    {"bounce_notice_recipient", Type::text, "postmaster", qmgr, "who gets a copy of each report of a failure (notify_classes with bounce)"},
    {"delay_notice_recipient", Type::text, "postmaster", qmgr, "who gets a copy of each report of a delay (notify_classes with delay)"},
    {"delay_warning_time", Type::duration, "0h", qmgr, "a mail that waits for so long is told to its sender, once; 0: never", 0, a_year, "h"},
    {"confirm_delay_cleared", Type::boolean, "no", qmgr, "whoever was told of a delay is told of the delivery too"},
    {"soft_bounce", Type::boolean, "no", qmgr, "keep and try again what would be returned: for trying out a configuration"},
    {"authorized_mailq_users", Type::list, "static:anyone", qmgr, "who may list the queue: static:anyone, or user names; root, veredus-admin and the owner of a mail always may"},
    {"authorized_flush_users", Type::list, "static:anyone", qmgr, "who may have waiting mail tried now: static:anyone, or user names; root and veredus-admin always may"},
};
}  // namespace

std::span<const Setting> qmgr_settings() { return rows; }

}  // namespace veredus::conf
