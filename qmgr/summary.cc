#include "qmgr/summary.h"

#include <cstring>
#include <string>

#include "lib/queue/codec.h"

namespace veredus::qmgr {

namespace {
void put_address(std::string& out, const mail::Address& address)
{
    queue::put_string(out, address.local);
    queue::put_string(out, address.domain);
}

mail::Address take_address(queue::Reader& reader)
{
    mail::Address address;
    address.local = reader.string();
    address.domain = reader.string();
    return address;
}
}  // namespace

Summary Summary::of(const queue::Layout& layout, const mail::Envelope& envelope)
{
    std::string bytes;
    queue::put_int(bytes, layout.content_size());
    queue::put_int(bytes, envelope.arrival_us);
    queue::put_int(bytes, envelope.uid);
    put_address(bytes, envelope.sender);
    for (const mail::Recipient& r : envelope.recipients) {
        if (bytes.size() > longest) return {};
        put_address(bytes, r.address);
    }
    return from(bytes);
}

Summary Summary::from(std::string_view bytes)
{
    if (bytes.size() > longest) return {};
    Summary out;
    out.size_ = static_cast<uint16_t>(bytes.size());
    out.bytes_ = std::make_unique_for_overwrite<char[]>(bytes.size());
    std::memcpy(out.bytes_.get(), bytes.data(), bytes.size());
    return out;
}

queue::MailFile Summary::mail() const
{
    queue::Reader reader({bytes_.get(), size_});
    queue::MailFile file;
    file.layout.body_size = reader.integer<uint64_t>() - file.layout.content_size();    // all of it counts as body
    file.envelope.arrival_us = reader.integer<int64_t>();
    file.envelope.uid = reader.integer<uint32_t>();
    file.envelope.sender = take_address(reader);
    while (!reader.at_end()) {
        mail::Recipient recipient;
        recipient.address = take_address(reader);
        file.envelope.recipients.push_back(std::move(recipient));
    }
    return file;
}

}  // namespace veredus::qmgr
