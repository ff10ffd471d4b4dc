// What IMAP says about a message without showing it: ENVELOPE, BODY and BODYSTRUCTURE (RFC 9051 §7.5.2), made while its bytes
// stream by. Pure; bounded however the mail is made.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/mail/mime.h"

namespace veredus::mail {

// IMAP's nstring: NIL for nothing, quoted where that can hold it, else a literal. `value` null: NIL.
void put_nstring(std::string& out, const std::string* value);
// The addresses of a From, To, ... field body as IMAP's list, or NIL when there are none: groups keep their marks, what is broken is
// given as well as it can be (RFC 9051 §7.5.2, RFC 5322 §4.4). At most `limit` of them.
std::string imap_addresses(std::string_view body, std::size_t limit = 10'000);

class StructureMaker final : public MimeSink {
public:
    explicit StructureMaker(const MimeLimits& limits = {}) : parser_(*this, limits) {}
    void feed(std::string_view bytes) { parser_.feed(bytes); }    // any cut; CRLF or LF: sizes are those of the CRLF form
    void finish() { parser_.finish(); }
    std::string envelope() const;                                 // after finish(), like the others; with its parentheses
    std::string body() const;
    std::string body_structure() const;

    void part_begins(const MimePart& part) override;
    void field(const MimePart& part, const MimeField& field) override;
    void headers_end(const MimePart& part) override;
    void part_ends(const MimePart& part) override;

private:
    struct Envelope {
        bool has_date = false, has_subject = false, has_in_reply_to = false, has_message_id = false;
        std::string date, subject, from, sender, reply_to, to, cc, bcc, in_reply_to, message_id;   // lists are formatted already
    };
    struct Node {
        MimePart part;
        Envelope envelope;                    // of the message, and of a nested one
        std::string parameters;               // as a list, of type_body
        std::string type_body, encoding = "7bit", id, description, md5, disposition, languages, location;
        bool has_type = false, has_id = false, has_description = false, has_md5 = false, has_location = false;
        std::vector<uint32_t> children;
    };
    bool afford(std::size_t size);
    void envelope_field(Envelope& envelope, const std::string& name, std::string_view body);
    static void put_envelope(std::string& out, const Envelope& envelope);
    void put_body(std::string& out, const Node& node, bool extended) const;
    void put_leaf(std::string& out, const Node& node, bool extended) const;
    static void put_extension(std::string& out, const Node& node);
    static std::string parameters_of(const Node& node);

    std::vector<Node> nodes_;                 // by MimePart::index
    std::size_t kept_ = 0;                    // bytes of header text
    MimeParser parser_;
};

}  // namespace veredus::mail
