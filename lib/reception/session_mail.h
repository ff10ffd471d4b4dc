// The mail that a session is taking: from DATA to its end.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "lib/mail/header.h"
#include "lib/reception/session.h"

namespace veredus::reception {

struct Session::Mail {
    Mail(queue::Draft d, std::size_t header_limit) : draft(std::move(d)), cutter(header_limit) {}
    queue::Draft draft;
    mail::HeaderCutter cutter;
    std::unique_ptr<queue::ContentCheck> check;      // null: nothing is checked
    std::string header;                              // once the cutter is done
    std::optional<Error> trouble;
    bool committing = false;

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

}  // namespace veredus::reception
