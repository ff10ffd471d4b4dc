#include "lib/dns/turns.h"

namespace veredus::dns {

bool Turns::add(const std::string& who, const Key& key)
{
    const auto asker = askers_.try_emplace(who).first;
    Asker& a = asker->second;
    if (a.at.contains(key)) return true;
    const bool full = a.waiting.size() >= limits_.waiting_each || (waiting_ >= limits_.waiting && !a.waiting.empty());
    if (full && !who.empty()) return false;        // he has questions that wait: he stays
    a.at.emplace(key, a.waiting.insert(a.waiting.end(), key));
    ++waiting_;
    settle(asker);
    return true;
}

void Turns::remove(const std::string& who, const Key& key)
{
    const auto asker = askers_.find(who);
    if (asker == askers_.end()) return;
    const auto at = asker->second.at.find(key);
    if (at == asker->second.at.end()) return;
    asker->second.waiting.erase(at->second);
    asker->second.at.erase(at);
    --waiting_;
    settle(asker);
}

std::optional<std::pair<std::string, Turns::Key>> Turns::next()
{
    if (running_ >= limits_.places) return std::nullopt;
    const bool kept = running_ >= limits_.places - limits_.places / 5;
    Order& order = without_.empty() && !kept ? with_ : without_;
    if (order.empty()) return std::nullopt;
    const auto asker = askers_.find(order.front());
    Asker& a = asker->second;
    std::pair<std::string, Key> out(asker->first, a.waiting.front());
    a.at.erase(a.waiting.front());
    a.waiting.pop_front();
    --waiting_;
    ++a.running;
    ++running_;
    leave(a);                                      // his next one comes after those of the others
    settle(asker);
    return out;
}

void Turns::release(const std::string& who)
{
    const auto asker = askers_.find(who);
    if (asker == askers_.end() || asker->second.running == 0) return;
    --asker->second.running;
    --running_;
    settle(asker);
}

// He stands where he belongs, or is forgotten.
void Turns::settle(Askers::iterator asker)
{
    Asker& a = asker->second;
    const bool ourselves = asker->first.empty();
    const bool may = !a.waiting.empty() && (ourselves || a.running < limits_.each);
    Order* const wanted = !may ? nullptr : a.running == 0 || ourselves ? &without_ : &with_;
    if (a.order != wanted) {
        leave(a);
        a.order = wanted;
        if (wanted) a.place = wanted->insert(wanted->end(), asker->first);
    }
    if (a.waiting.empty() && a.running == 0) askers_.erase(asker);
}

void Turns::leave(Asker& a)
{
    if (a.order) a.order->erase(a.place);
    a.order = nullptr;
}

}  // namespace veredus::dns
