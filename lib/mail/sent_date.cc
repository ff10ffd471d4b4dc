// The Date field, tolerant and quick.
#include "lib/mail/sent_date.h"

#include "lib/base/text.h"

namespace veredus::mail {

namespace {

constexpr std::size_t longest = 1000;

// Days from 1970-01-01, Gregorian; years count from March, so that the leap day is the last one.
int64_t days_to(int64_t year, int month, int day)
{
    const int64_t y = month > 2 ? year : year - 1;
    const int from_march = month > 2 ? month - 3 : month + 9;
    return 365 * y + y / 4 - y / 100 + y / 400 + (153 * from_march + 2) / 5 + day - 1 - 719'468;
}

class Scanner {
public:
    explicit Scanner(std::string_view text) : text_(text) {}
    char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
    bool take(char c)
    {
        if (peek() != c || at_ >= text_.size()) return false;
        ++at_;
        return true;
    }
    // Blanks and comments.
    void skip()
    {
        int depth = 0;
        for (; at_ < text_.size(); ++at_) {
            const char c = text_[at_];
            if (c == '(')
                ++depth;
            else if (c == ')' && depth > 0)
                --depth;
            else if (c == '\\' && depth > 0)
                ++at_;
            else if (depth == 0 && !is_space(c))
                return;
        }
    }
    std::string_view word()
    {
        const std::size_t begin = at_;
        while (is_alpha(peek())) ++at_;
        return text_.substr(begin, at_ - begin);
    }
    // At most four digits; nothing: none, or more.
    std::optional<int> number(std::size_t* digits = nullptr)
    {
        const std::size_t begin = at_;
        int value = 0;
        for (; is_digit(peek()); ++at_)
            if (at_ - begin < 4) value = value * 10 + (peek() - '0');
        if (digits) *digits = at_ - begin;
        if (at_ == begin || at_ - begin > 4) return std::nullopt;
        return value;
    }

private:
    std::string_view text_;
    std::size_t at_ = 0;
};

std::optional<int> month_of(std::string_view name)
{
    static constexpr std::string_view months[] = {"jan", "feb", "mar", "apr", "may", "jun",
                                                  "jul", "aug", "sep", "oct", "nov", "dec"};
    for (int i = 0; i < 12; ++i)
        if (istarts_with(name, months[i])) return i + 1;
    return std::nullopt;
}

std::optional<int> read_year(Scanner& scan)
{
    std::size_t digits = 0;
    auto year = scan.number(&digits);
    if (!year || digits < 2) return std::nullopt;
    if (digits == 2) *year += *year < 50 ? 2000 : 1900; // RFC 5322 §4.3
    if (digits == 3) *year += 1900;
    return year;
}

// Seconds of the day.
std::optional<int> read_time(Scanner& scan)
{
    const auto hour = scan.number();
    scan.skip();
    if (!hour || *hour > 23 || !(scan.take(':') || scan.take('.'))) return std::nullopt;
    scan.skip();
    const auto minute = scan.number();
    if (!minute || *minute > 59) return std::nullopt;
    scan.skip();
    std::optional<int> second = 0;
    if (scan.take(':') || scan.take('.')) {
        scan.skip();
        second = scan.number();
    }
    if (!second || *second > 60) return std::nullopt;
    return *hour * 3600 + *minute * 60 + *second;
}

// Seconds east of Greenwich.
int read_zone(Scanner& scan)
{
    struct Named {
        std::string_view name;
        int hours;
    };
    static constexpr Named named[] = {{"EST", -5}, {"EDT", -4}, {"CST", -6}, {"CDT", -5},
                                      {"MST", -7}, {"MDT", -6}, {"PST", -8}, {"PDT", -7}};
    const bool west = scan.take('-');
    if (west || scan.take('+')) {
        std::size_t digits = 0;
        auto value = scan.number(&digits);
        if (value && digits == 2 && scan.take(':')) {
            const auto minutes = scan.number();
            value = minutes && *minutes < 60 ? std::optional<int>(*value * 100 + *minutes) : std::nullopt;
        } else if (digits != 4) {
            return 0;
        }
        if (!value || *value % 100 > 59) return 0;
        const int seconds = *value / 100 * 3600 + *value % 100 * 60;
        return west ? -seconds : seconds;
    }
    const std::string_view name = scan.word();
    for (const Named& zone : named)
        if (iequals(name, zone.name)) return zone.hours * 3600;
    return 0; // UT, GMT, Z; a military letter says nothing reliable (RFC 5322 §4.3)
}

SentDate moment(int year, int month, int day, int time, int zone)
{
    SentDate out;
    out.local = days_to(year, month, day) * 86400 + time;
    out.utc = out.local - zone;
    return out;
}

// "Nov 24 14:00:00 2026", with or without a zone before the year: asctime's order, which some programs put there.
std::optional<SentDate> read_asctime(Scanner& scan, int month)
{
    scan.skip();
    const auto day = scan.number();
    scan.skip();
    const auto time = read_time(scan);
    scan.skip();
    const int zone = is_digit(scan.peek()) ? 0 : read_zone(scan);
    scan.skip();
    const auto year = read_year(scan);
    if (!day || *day < 1 || *day > 31 || !year) return std::nullopt;
    return moment(*year, month, *day, time.value_or(0), zone);
}

} // namespace

std::optional<SentDate> parse_sent_date(std::string_view body)
{
    Scanner scan(body.substr(0, longest));
    scan.skip();
    if (is_alpha(scan.peek())) { // the day's name, which says nothing new; or the month of asctime without it
        scan.word();
        scan.skip();
        while (scan.take(',') || scan.take('.')) scan.skip();
        if (is_alpha(scan.peek())) {
            const auto month = month_of(scan.word());
            return month ? read_asctime(scan, *month) : std::nullopt;
        }
    }
    const auto day = scan.number();
    scan.skip();
    if (scan.take('-')) scan.skip();
    const auto month = month_of(scan.word());
    scan.skip();
    if (scan.take('-') || scan.take(',') || scan.take('.')) scan.skip();
    const auto year = read_year(scan);
    if (!day || *day < 1 || *day > 31 || !month || !year) return std::nullopt;
    scan.skip();
    const auto time = read_time(scan);
    scan.skip();
    return moment(*year, *month, *day, time.value_or(0), time ? read_zone(scan) : 0);
}

} // namespace veredus::mail
