#include "lib/ipc/listing.h"

#include <cerrno>
#include <cstdio>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/mail/date.h"

namespace veredus::ipc {

namespace {

constexpr int answer_ms = 60'000;
constexpr std::size_t reason_column = 76;

std::string padded(std::string_view s, std::size_t width, bool right)
{
    const std::string fill(s.size() < width ? width - s.size() : 0, ' ');
    return right ? cat(fill, s) : cat(s, fill);
}

std::string columns(std::string_view id, std::string_view size, std::string_view date, std::string_view who)
{
    return cat(padded(id, 17, false), ' ', padded(size, 8, true), ' ', padded(date, 19, true), ' ', who, '\n');
}

// postqueue(1): the null sender by the name that its bounces bear.
std::string_view shown_sender(const Listed& mail) { return mail.sender.empty() ? "MAILER-DAEMON" : std::string_view(mail.sender); }

void append_json_string(std::string& out, std::string_view s)
{
    // What is not UTF-8 would make the whole line unreadable (RFC 8259 §8.1).
    const std::string clean = is_utf8(s) ? std::string(s) : printable(s, s.size());
    out.push_back('"');
    for (const char c : clean) {
        switch (c) {
        case '"': out.append("\\\""); break;
        case '\\': out.append("\\\\"); break;
        case '\b': out.append("\\b"); break;
        case '\f': out.append("\\f"); break;
        case '\n': out.append("\\n"); break;
        case '\r': out.append("\\r"); break;
        case '\t': out.append("\\t"); break;
        default:
            if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) append(out, "\\u", hex_upper(static_cast<unsigned char>(c), 4));
            else out.push_back(c);
        }
    }
    out.push_back('"');
}

}  // namespace

std::string QueueText::entry(const Listed& mail)
{
    std::string out;
    if (count_ == 0) out = "----Queue ID-----  --Size-- ---Arrival Time---- --Sender/Recipient------\n";
    else out = "\n";
    bytes_ += mail.size;
    ++count_;
    const char mark = mail.state == "active" ? '*' : mail.state == "hold" ? '!' : ' ';
    const std::string date = mail::date_asctime(mail.arrival_us).substr(0, 19);
    out += columns(cat(printable(mail.id), mark), std::to_string(mail.size), date, printable(shown_sender(mail)));
    std::string_view last_reason;
    for (const ListedRecipient& r : mail.recipients) {
        if (!r.reason.empty() && r.reason != last_reason) {
            const std::string reason = printable(r.reason, 2000);
            append(out, padded("", reason.size() < reason_column ? reason_column - reason.size() : 0, false), '(', reason, ")\n");
        }
        last_reason = r.reason;
        out += columns("", "", "", printable(r.address));
    }
    return out;
}

std::string QueueText::end() const
{
    if (count_ == 0) return "Mail queue is empty\n";
    return cat("\n-- ", bytes_ / 1024, " Kbytes in ", count_, " Request", count_ == 1 ? "" : "s", ".\n");
}

std::string queue_json(const Listed& mail)
{
    std::string out = "{\"queue_name\": ";
    append_json_string(out, mail.state);
    out += ", \"queue_id\": ";
    append_json_string(out, mail.id);
    append(out, ", \"arrival_time\": ", mail.arrival_us / us_per_second, ", \"message_size\": ", mail.size,
           ", \"forced_expire\": false, \"sender\": ");
    append_json_string(out, shown_sender(mail));
    out += ", \"recipients\": [";
    bool first = true;
    for (const ListedRecipient& r : mail.recipients) {
        out += first ? "{\"address\": " : ", {\"address\": ";
        first = false;
        append_json_string(out, r.address);
        if (!r.reason.empty()) {
            out += ", \"delay_reason\": ";
            append_json_string(out, r.reason);
        }
        out += "}";
    }
    return out + "]}\n";
}

Result<QueueClient> QueueClient::connect(const std::string& run_directory)
{
    const std::string path = run_directory + "/public";
    auto fd = connect_unix(path);
    if (fd) return QueueClient(run_directory, std::move(*fd));
    const int code = fd.error().code;
    if (code == ENOENT || code == ECONNREFUSED)
        return unexpected(Error{code, cat("the mail system is down: nothing answers at ", path, " (\"veredus start\" starts it)")});
    return unexpected(fd.error());
}

Result<uint32_t> QueueClient::send(QueueType type, std::string body)
{
    Message question;
    question.type = static_cast<uint16_t>(type);
    question.request = ++request_;
    question.deadline_ms = answer_ms;
    question.body = std::move(body);
    TRY(send_blocking(fd_.get(), question, answer_ms));
    return request_;
}

Result<Message> QueueClient::receive(uint32_t request)
{
    for (;;) {
        auto answer = TRY(recv_blocking(fd_.get(), answer_ms));
        if (!answer) return fail("the queue manager closed the connection before it answered");
        if (answer->answer && answer->request == request) return std::move(*answer);
    }
}

Result<Message> QueueClient::call(QueueType type, std::string body)
{
    const uint32_t request = TRY(send(type, std::move(body)));
    return receive(request);
}

Result<void> QueueClient::connect_again()
{
    auto again = TRY(connect(run_directory_));
    fd_ = std::move(again.fd_);
    return {};
}

// A pager may let us wait for longer than an idle connection is kept: the list then goes on over a new one.
Result<uint32_t> QueueClient::ask_page(const ListRequest& request)
{
    auto asked = send(QueueType::list, request.encode());
    if (asked || request.after.empty() || !connect_again()) return asked;
    return send(QueueType::list, request.encode());
}

// The next page is asked for before this one is shown, so that the queue manager and we work at the same time.
Result<void> QueueClient::list(const Filter& filter, const std::function<bool(const Listed&)>& each)
{
    ListRequest request{filter, {}};
    uint32_t asked = TRY(ask_page(request));
    for (;;) {
        auto answer = receive(asked);
        if (!answer && !request.after.empty() && connect_again()) answer = call(QueueType::list, request.encode());
        if (!answer) return unexpected(answer.error());
        const ListReply page = TRY(ListReply::decode(answer->body));
        if (page.more) {
            if (page.mails.empty() || page.mails.back().id <= request.after) return fail("the queue manager's list does not go on");
            request.after = page.mails.back().id;
            asked = TRY(ask_page(request));
        }
        for (const Listed& mail : page.mails)
            if (!each(mail)) return {};
        if (!page.more) return {};
    }
}

Result<ActReply> QueueClient::act(const ActRequest& request)
{
    const Message answer = TRY(call(QueueType::act, request.encode()));
    return ActReply::decode(answer.body);
}

}  // namespace veredus::ipc
