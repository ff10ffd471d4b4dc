// Which of many names somebody meant who wrote a wrong one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace veredus::conf {

// Damerau-Levenshtein in its optimal-string-alignment form.
std::size_t edit_distance(std::string_view a, std::string_view b);

// Offer names, best first among equals; best() is empty when none is near.
class Nearest {
public:
    explicit Nearest(std::string_view wrong) : wrong_(wrong) {}
    void offer(std::string_view name);
    std::string_view best() const { return best_; }

private:
    std::string_view wrong_, best_;
    std::size_t distance_ = SIZE_MAX;
};

}  // namespace veredus::conf
