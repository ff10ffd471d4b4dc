// The mail that a session is taking: from DATA to its end.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "lib/mail/header.h"
#include "lib/reception/session.h"
#include "lib/smtp/dot.h"

namespace veredus::reception {

struct Session::Mail {
    Mail(queue::Draft d, std::size_t header_limit) : draft(std::move(d)), cutter(header_limit) {}
    queue::Draft draft;
    mail::HeaderCutter cutter;
    std::unique_ptr<queue::ContentCheck> check;      // null: nothing is checked
    std::string header;                              // once the cutter is done
    std::size_t header_bytes = 0;                    // in one of them
    std::optional<Error> trouble;
    mail::HeaderBlock fields;                        // once the content is complete: what goes into the queue
    mail::Envelope envelope;
    bool discarded = false;
    bool crowded_out = false;                        // that is the trouble: Sessions::too_heavy()
    bool committing = false;
    bool binary = false;                             // came by BODY=BINARYMIME: the body stays as it is, byte by byte

    bool body(std::string_view bytes)
    {
        if (bytes.empty()) return true;
        if (!check) return store(bytes);
        std::string checked;
        check->body(bytes, checked);
        return store(checked);
    }
    void begin_body()
    {
        header = cutter.take_header();
        if (binary) {                                // RFC 3030 §3: what is binary is the content of parts, not what we read fields from
            smtp::DotReader lines(smtp::DotReader::Dots::plain);
            std::string clean;
            lines.feed(header, clean);
            lines.finish(clean);
            header = std::move(clean);
        }
        if (check) check->begin_body(header);
    }
    void end_body()
    {
        std::string rest;
        if (check) check->finish_body(rest);
        store(rest);
    }
    bool store(std::string_view bytes)
    {
        auto result = draft.append(bytes);
        if (!result) trouble = result.error();
        return result.has_value();
    }
};

// What a client hears of trouble with the disk.
smtp::Reply storage_reply(const Error& error);
smtp::Reply crowded_reply();                       // Session::crowded()

}  // namespace veredus::reception
