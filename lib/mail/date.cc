// Dates of mail: RFC 5322 §3.3 date-time, the From_ line's asctime, and mailq's.
#include "lib/mail/date.h"

#include <time.h>

#include <cstdio>
#include <cstdlib>

#include "lib/base/clock.h"
#include "lib/base/text.h"

namespace veredus::mail {

namespace {

constexpr const char* days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
constexpr const char* months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

tm local_time(int64_t wall_us)
{
    // localtime_r reads the zone once per process, so it works in a jail when it ran before it.
    const time_t seconds = static_cast<time_t>((wall_us >= 0 ? wall_us : wall_us - (us_per_second - 1)) / us_per_second);
    tm t{};
    localtime_r(&seconds, &t);
    return t;
}

// RFC 5322 §4.3: the named zones; a military letter says nothing reliable and counts as -0000.
std::optional<int> zone_minutes(std::string_view zone)
{
    struct Named {
        const char* name;
        int minutes;
    };
    static constexpr Named named[] = {{"UT", 0},      {"GMT", 0},     {"UTC", 0},     {"Z", 0},       {"EST", -300}, {"EDT", -240},
                                      {"CST", -360},  {"CDT", -300},  {"MST", -420},  {"MDT", -360},  {"PST", -480}, {"PDT", -420}};
    for (const Named& n : named)
        if (iequals(zone, n.name)) return n.minutes;
    if (!zone.empty() && (zone[0] == '+' || zone[0] == '-')) {
        const auto number = zone.size() == 5 ? parse_number<unsigned>(zone.substr(1)) : std::nullopt;
        if (!number || *number % 100 > 59) return std::nullopt;
        const int minutes = static_cast<int>(*number / 100 * 60 + *number % 100);
        return zone[0] == '-' ? -minutes : minutes;
    }
    for (const char c : zone)
        if (!is_alpha(c)) return std::nullopt;
    return 0;
}

std::optional<int> month_of(std::string_view name)
{
    for (int i = 0; i < 12; ++i)
        if (iequals(name, months[i])) return i;
    return std::nullopt;
}

std::string without_comments(std::string_view text)
{
    std::string out;
    int depth = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (depth > 0 && c == '\\') ++i;
        else if (c == '(') ++depth;
        else if (c == ')' && depth > 0) --depth;
        else if (depth == 0) out.push_back(c == ',' ? ' ' : c);
    }
    return out;
}

// "14:00" or "14:00:60" into `t`.
bool read_time(std::string_view text, tm& t)
{
    const auto parts = split_on(text, ':');
    if (parts.size() < 2 || parts.size() > 3) return false;
    const auto hour = parse_number<int>(trim(parts[0]), 23), minute = parse_number<int>(trim(parts[1]), 59);
    const auto second = parts.size() == 3 ? parse_number<int>(trim(parts[2]), 60) : std::optional<int>(0);
    if (!hour || !minute || !second || *hour < 0 || *minute < 0 || *second < 0) return false;
    t.tm_hour = *hour;
    t.tm_min = *minute;
    t.tm_sec = *second;
    return true;
}

}  // namespace

std::string date_rfc5322(int64_t wall_us)
{
    const tm t = local_time(wall_us);
    const long offset = t.tm_gmtoff / 60, absolute = std::labs(offset);
    char buffer[80];
    std::snprintf(buffer, sizeof buffer, "%s, %d %s %d %02d:%02d:%02d %c%02ld%02ld", days[t.tm_wday], t.tm_mday, months[t.tm_mon],
                  t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec, offset < 0 ? '-' : '+', absolute / 60, absolute % 60);
    std::string out = buffer;
    // The zone's name is a comment: only when it is a plain word.
    std::string_view name = t.tm_zone ? t.tm_zone : "";
    bool plain = !name.empty() && name.size() <= 10;
    for (const char c : name) plain = plain && is_alpha(c);
    if (plain) append(out, " (", name, ")");
    return out;
}

std::string date_asctime(int64_t wall_us)
{
    const tm t = local_time(wall_us);
    char buffer[80];
    std::snprintf(buffer, sizeof buffer, "%s %s %2d %02d:%02d:%02d %d", days[t.tm_wday], months[t.tm_mon], t.tm_mday, t.tm_hour, t.tm_min,
                  t.tm_sec, t.tm_year + 1900);
    return buffer;
}

std::optional<int64_t> parse_date_rfc5322(std::string_view text)
{
    if (text.size() > 1000) return std::nullopt;
    const std::string plain = without_comments(text);
    auto words = split(plain, " \t\r\n");
    if (!words.empty() && is_alpha(words[0][0])) words.erase(words.begin());  // the day's name says nothing new
    if (words.size() < 4) return std::nullopt;
    tm t{};
    const auto day = parse_number<int>(words[0], 31);
    const auto month = month_of(words[1]);
    auto year = parse_number<int>(words[2], 9999);
    if (!day || *day < 1 || !month || !year || *year < 0) return std::nullopt;
    if (words[2].size() == 2) *year += *year < 50 ? 2000 : 1900;  // §4.3
    else if (words[2].size() == 3) *year += 1900;
    if (*year < 1900 || !read_time(words[3], t)) return std::nullopt;
    t.tm_mday = *day;
    t.tm_mon = *month;
    t.tm_year = *year - 1900;
    const auto zone = words.size() > 4 ? zone_minutes(words[4]) : std::optional<int>(0);
    if (!zone) return std::nullopt;
    return (int64_t{timegm(&t)} - *zone * 60) * us_per_second;
}

}  // namespace veredus::mail
