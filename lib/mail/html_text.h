// The words of an HTML text without its markup, while it streams by: for previews, where being quick and bounded is
// more than being exact.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace veredus::mail {

class HtmlText {
public:
    // Any cut of UTF-8. Appends words; what begins a block becomes a blank. Scripts, styles and the head are left out.
    void feed(std::string_view html, std::string& out);
    void finish(std::string& out);

private:
    enum class In : uint8_t { text, entity, open, tag, attributes, quoted, declaration, comment };
    bool step(char c, std::string& out);
    bool step_open(char c, std::string& out);
    bool step_entity(char c, std::string& out);
    void end_tag(std::string& out);
    void put(char c, std::string& out)
    {
        if (hidden_.empty()) out.push_back(c);
    }

    static constexpr std::size_t longest_name = 16;
    In in_ = In::text;
    bool closing_ = false; // a tag that began with </
    char quote_ = '"';
    uint8_t dashes_ = 0; // of a comment's end
    std::string name_;   // of a tag or an entity, as far as it matters
    std::string hidden_; // the element that is left out
};

} // namespace veredus::mail
