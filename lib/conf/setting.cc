// All rows in one place, sorted, and the name that a wrong one may have meant.
#include "lib/conf/setting.h"

#include <algorithm>
#include <vector>

#include "lib/base/panic.h"
#include "lib/base/text.h"
#include "lib/conf/near.h"
#include "lib/conf/tables.h"

namespace veredus::conf {

namespace {

std::vector<Setting> gather()
{
    std::vector<Setting> all;
    for (const auto rows : {general_settings(), master_settings(), smtpd_settings(), submission_settings(), login_settings(), router_settings(), qmgr_settings(),
                            smtp_client_settings(), local_settings()})
        all.insert(all.end(), rows.begin(), rows.end());
    const auto by_name = [](const Setting& a, const Setting& b) { return std::string_view(a.name) < b.name; };
    std::sort(all.begin(), all.end(), by_name);
    for (std::size_t i = 1; i < all.size(); ++i)
        if (std::string_view(all[i - 1].name) == all[i].name) panic(cat("setting ", all[i].name, " has two rows"));
    return all;
}

}  // namespace

std::span<const Setting> all_settings()
{
    static const std::vector<Setting> all = gather();
    return all;
}

const Setting* find_setting(std::string_view name)
{
    const auto all = all_settings();
    const auto at = std::lower_bound(all.begin(), all.end(), name, [](const Setting& row, std::string_view key) { return row.name < key; });
    return at != all.end() && at->name == name ? &*at : nullptr;
}

std::size_t edit_distance(std::string_view a, std::string_view b)
{
    // Optimal string alignment: insertion, deletion, substitution and the swap of two neighbours cost 1 each.
    std::vector<std::size_t> before, last(b.size() + 1), row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const bool same = a[i - 1] == b[j - 1];
            row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + !same});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
        }
        before = last;
        last.swap(row);
    }
    return last[b.size()];
}

void Nearest::offer(std::string_view name)
{
    if (wrong_.size() > 100) return;
    const std::size_t limit = std::min<std::size_t>(1 + wrong_.size() / 5, 4);
    const std::size_t gap = name.size() > wrong_.size() ? name.size() - wrong_.size() : wrong_.size() - name.size();
    if (gap > limit) return;
    const std::size_t distance = edit_distance(wrong_, name);
    if (distance <= limit && distance < distance_) {
        distance_ = distance;
        best_ = name;
    }
}

std::string_view nearest_name(std::string_view wrong)
{
    Nearest nearest(wrong);
    for (const Setting& row : all_settings()) nearest.offer(row.name);
    return nearest.best();
}

}  // namespace veredus::conf
