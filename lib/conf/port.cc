// TCP ports, as numbers or by the names of services(5).
#include "lib/conf/port.h"

#include "lib/base/fd.h"
#include "lib/base/text.h"

namespace veredus::conf {

namespace {

constexpr std::size_t largest_file = 1 << 20;

struct Service {
    std::string_view name;
    uint16_t port;
};
// IANA's names, so that no services file is needed; lmtp's port is custom only.
constexpr Service of_mail[] = {{"smtp", 25},  {"lmtp", 24},   {"submission", 587}, {"submissions", 465}, {"smtps", 465},
                               {"pop3", 110}, {"pop3s", 995}, {"imap", 143},       {"imaps", 993}};

const std::string& system_services()
{
    static const std::string services = [] {
        const auto text = read_file("/etc/services", largest_file); // not every system has one
        return text ? read_services(*text) : std::string();
    }();
    return services;
}

} // namespace

std::string read_services(std::string_view text)
{
    std::string out;
    for (std::string_view line : split_on(text, '\n')) {
        line = line.substr(0, line.find('#'));
        const auto words = split(line, " \t\r\v\f");
        if (words.size() < 2) continue;
        const auto [number, protocol] = cut(words[1], '/');
        const auto port = parse_number<uint16_t>(number);
        if (!port || *port == 0 || protocol != "tcp") continue;
        for (std::size_t i = 0; i < words.size(); ++i)
            if (i != 1) append(out, words[i], ' ', *port, '\n');
    }
    return out;
}

std::optional<uint16_t> find_service(std::string_view services, std::string_view name)
{
    for (const std::string_view line : split_on(services, '\n')) {
        const auto [word, port] = cut(line, ' ');
        if (port && word == name) return parse_number<uint16_t>(*port);
    }
    return std::nullopt;
}

void remember_services()
{
    (void)system_services();
}

std::optional<uint16_t> port_of(std::string_view text)
{
    if (const auto number = parse_number<uint16_t>(text)) return number;
    for (const Service& service : of_mail)
        if (iequals(text, service.name)) return service.port;
    return find_service(system_services(), text);
}

} // namespace veredus::conf
