// -bs: the policy behind SMTP on standard input. Everything goes through veredus-drop, with the caller's own rights.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "lib/mail/header.h"
#include "lib/queue/intake.h"
#include "lib/smtp/server.h"
#include "submission/sendmail/maildrop.h"

namespace veredus::sendmail {

// Where a mail's bytes go; veredus-drop but for tests.
class Sink {
public:
    virtual ~Sink() = default;
    virtual bool write(std::string_view bytes) = 0;
    virtual int finish(std::string& id) = 0;       // a sysexits(3) status
};
using OpenSink = std::function<Result<std::unique_ptr<Sink>>()>;
OpenSink drop_sinks(DropProgram program);

class StandardInputPolicy final : public smtp::Delegate {
public:
    explicit StandardInputPolicy(OpenSink open) : open_(std::move(open)) {}
    smtp::Outcome helo(std::string_view name, bool extended) override;
    smtp::Outcome sender(const mail::Envelope& envelope, uint64_t declared_size) override;
    smtp::Outcome recipient(mail::Recipient rcpt, const mail::Envelope& envelope) override;
    smtp::Outcome data(const mail::Envelope& envelope) override;
    bool content(std::string_view bytes) override;
    smtp::Outcome end_of_data(const Content& content, mail::Envelope&& envelope) override;
    void reset() override { mail_.reset(); }

private:
    static constexpr std::size_t room_for_mending = 4096;    // From, Date, Message-ID
    struct Mail {
        explicit Mail(const mail::Envelope& e) : envelope(e), cutter(queue::max_intake_header - room_for_mending) {}
        mail::Envelope envelope;
        mail::HeaderCutter cutter;
        std::optional<Encoder> encoder;
        std::unique_ptr<Sink> sink;
        std::string trouble;
    };
    bool begin(Mail& mail);
    OpenSink open_;
    std::optional<Mail> mail_;
};

}  // namespace veredus::sendmail
