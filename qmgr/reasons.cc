#include "qmgr/reasons.h"

#include "lib/base/panic.h"
#include "lib/base/text.h"

namespace veredus::qmgr {

namespace {
constexpr std::size_t longest = 500;   // of one text
const std::string none;
}  // namespace

uint32_t Reasons::take(std::string_view text)
{
    if (text.empty()) return 0;
    std::string key = printable(text, longest);
    auto found = index_.find(key);
    if (found == index_.end() && used_ + key.size() > budget_) {
        key = cat(key.substr(0, key.find(' ')), " see the log");
        found = index_.find(key);
    }
    if (found != index_.end()) {
        ++slots_[found->second - 1].users;
        return found->second;
    }
    uint32_t id = 0;
    if (free_.empty()) {
        slots_.emplace_back();
        id = static_cast<uint32_t>(slots_.size());
    } else {
        id = free_.back();
        free_.pop_back();
    }
    used_ += key.size();
    const auto [place, fresh] = index_.emplace(std::move(key), id);
    slots_[id - 1] = {&place->first, 1};
    return id;
}

void Reasons::drop(uint32_t id)
{
    if (id == 0) return;
    if (id > slots_.size() || slots_[id - 1].users == 0) panic("qmgr: a reason was dropped twice");
    Slot& slot = slots_[id - 1];
    if (--slot.users > 0) return;
    used_ -= slot.text->size();
    index_.erase(index_.find(*slot.text));
    slot.text = nullptr;
    free_.push_back(id);
}

const std::string& Reasons::text(uint32_t id) const
{
    if (id == 0 || id > slots_.size() || !slots_[id - 1].text) return none;
    return *slots_[id - 1].text;
}

}  // namespace veredus::qmgr
