#include "submission/mend.h"

namespace veredus::submission {

namespace {

class Completer final : public queue::Inspector {
public:
    explicit Completer(const MendSettings& settings) : settings_(settings) {}
    queue::Decision finish(mail::HeaderBlock& header, mail::Envelope& envelope) override
    {
        if (envelope.origin == mail::Origin::stranger) return {};
        complete(envelope.sender, settings_.origin);
        for (mail::Recipient& recipient : envelope.recipients) complete(recipient.address, settings_.origin);
        for (const std::string& name : settings_.drop_fields) header.remove(name);
        header = complete(header, settings_.origin);
        return {};
    }

private:
    MendSettings settings_;
};

} // namespace

std::unique_ptr<queue::Inspector> completer(const MendSettings& settings)
{
    return std::make_unique<Completer>(settings);
}

} // namespace veredus::submission
