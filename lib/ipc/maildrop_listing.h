// The queue as an administrator means it: with the mails that sendmail(1) has taken and submission has still to take up.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lib/ipc/listing.h"

namespace veredus::ipc {

// Mails in the maildrop below `queue_directory`, with state "maildrop", the oldest first; at most 10,000, with at most 1,000
// recipients each and 100,000 in all. None when the caller may not look there: root and submission may (veredus-queue(5)).
std::vector<Listed> maildrop_mails(const std::string& queue_directory);

// QueueClient::list(), and behind it what lies in the maildrop. With a filter the queue manager's mails alone.
Result<void> list_queue(QueueClient& client, const std::string& queue_directory, const Filter& filter, const std::function<bool(const Listed&)>& each);

}  // namespace veredus::ipc
