// What takes the place of a user's mailbox.
#include "local/places.h"

#include <algorithm>

#include "lib/base/text.h"
#include "lib/conf/check.h"
#include "lib/ipc/agent.h"
#include "lib/log/log.h"
#include "lib/table/substitution.h"

namespace veredus::local {

namespace {

constexpr std::size_t longest_transport = 255;    // a child of an expansion holds no more
static_assert(conf::longest_mailbox_command + 1 <= ipc::max_run_as);    // the mark stands in front
constexpr std::string_view known[] = {"virtual", "smtp", "relay", "lmtp", "error", "retry", "discard"};

auto opener(std::vector<std::string> specs)
{
    return [specs = std::move(specs)] {
        const table::WithoutSubstitution scope;
        return table::Chain::open(specs);
    };
}

bool has_control(std::string_view text)
{
    return std::any_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; });
}

}  // namespace

Result<std::string> check_transport(std::string_view text, const std::vector<std::string>& pipes)
{
    const std::string_view value = trim(text);
    const auto [name, hop] = cut(value, ':');
    const std::string transport = name == "defer" ? "retry" : std::string(trim(name));
    if (transport == "local") return fail("transport local would come back here");
    if (std::find(std::begin(known), std::end(known), transport) == std::end(known) && std::find(pipes.begin(), pipes.end(), transport) == pipes.end())
        return fail(cat("there is no transport \"", printable(transport, 60), "\"; known are virtual, smtp, relay, lmtp, error, retry, discard and those of pipe_transports"));
    std::string whole = cat(transport, ':', trim(hop.value_or("")));
    if (whole.size() > longest_transport || has_control(whole)) return fail("a next hop that is too long or has control characters");
    return whole;
}

Result<std::shared_ptr<Places>> Places::create(PlaceSettings settings)
{
    for (auto [name, value] : {std::pair{"mailbox_transport", &settings.transport}, {"fallback_transport", &settings.fallback_transport}}) {
        if (value->empty()) continue;
        auto good = check_transport(*value, settings.pipes);
        if (!good) return fail(cat(name, " = ", *value, ": ", good.error().text));
        *value = std::move(*good);
    }
    if (auto good = conf::check_mailbox_command(settings.command); !good) return fail(cat("mailbox_command: ", good.error().text));
    return std::make_shared<Places>(std::move(settings));
}

Places::Places(PlaceSettings settings)
    : settings_(std::move(settings)), transports_(opener(settings_.transport_maps)), commands_(opener(settings_.command_maps)), fallbacks_(opener(settings_.fallback_maps))
{
    for (const auto* chain : {&transports_, &commands_, &fallbacks_}) chain->tell(trouble_);
    for (const std::string& text : trouble_) log::warning("maps of mailboxes: ", printable(text));
}

void Places::refresh()
{
    const std::lock_guard guard(mutex_);
    std::vector<std::string> trouble;
    for (auto* chain : {&transports_, &commands_, &fallbacks_}) (void)chain->refresh(trouble);
    if (trouble != trouble_)
        for (const std::string& text : trouble) log::warning("maps of mailboxes: ", printable(text));
    trouble_ = std::move(trouble);
}

// True when the table decides, if only that nothing can be said now.
bool Places::ask(const Chain& chain, const char* setting, const std::string& user, Place::Kind kind, Place& place) const
{
    const auto later = [&](std::string text) {
        place = {Place::Kind::deferred, cat(setting, ": ", printable(text, 400))};
        return true;
    };
    if (!chain.get()) return later(chain.get().error().text);
    auto value = chain.get()->find(user);
    if (!value) return later(value.error().text);
    if (!*value) return chain.restless() ? later("is being changed") : chain.stale() ? later(chain.stale()->text) : false;
    if (kind == Place::Kind::command) {
        const std::string_view command = trim(**value);
        if (command.empty()) return false;
        if (const auto good = conf::check_mailbox_command(command); !good) return later(cat(user, ": ", good.error().text));
        place = {kind, std::string(command)};
        return true;
    }
    if (trim(**value).empty()) return false;
    auto good = check_transport(**value, settings_.pipes);
    if (!good) return later(cat(user, ": ", good.error().text));
    place = {kind, std::move(*good)};
    return true;
}

// Without tables to ask both are the loop's to call, and never wait for a thread that reads the others.
Place Places::of_mailbox(const std::string& user) const
{
    std::unique_lock guard(mutex_, std::defer_lock);
    if (asks_tables()) guard.lock();
    Place place;
    if (!settings_.transport_maps.empty() && ask(transports_, "mailbox_transport_maps", user, Place::Kind::transport, place)) return place;
    if (!settings_.transport.empty()) return {Place::Kind::transport, settings_.transport};
    if (!settings_.command_maps.empty() && ask(commands_, "mailbox_command_maps", user, Place::Kind::command, place)) return place;
    if (!settings_.command.empty()) return {Place::Kind::command, settings_.command};
    return place;
}

Place Places::of_unknown(const std::string& user) const
{
    std::unique_lock guard(mutex_, std::defer_lock);
    if (unknown_asks_tables()) guard.lock();
    Place place;
    if (!settings_.fallback_maps.empty() && ask(fallbacks_, "fallback_transport_maps", user, Place::Kind::transport, place)) return place;
    if (!settings_.fallback_transport.empty()) return {Place::Kind::transport, settings_.fallback_transport};
    return place;
}

}  // namespace veredus::local
