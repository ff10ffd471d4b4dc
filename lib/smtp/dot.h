// Transparency of DATA: dot-unstuffing on the way in, dot-stuffing on the way out (RFC 5321 §4.5.2), and the one rule
// for line ends: content ends at CRLF.CRLF only, and leaves here with CRLF line ends only.
#pragma once

#include <string>
#include <string_view>

namespace veredus::smtp {

// A bare LF becomes CRLF, a bare CR a blank; neither ever ends the content. Whether such mail is welcome is the owner's
// choice: see saw_bare(). NUL passes (RFC 5322 §4 tells readers to bear it); see saw_nul().
class DotReader {
public:
    // plain: BDAT's chunks (RFC 3030), which end by their size. binary: of BODY=BINARYMIME too, where every byte stays what and where it is
    // (§3), so that nothing counts as bare.
    enum class Dots : unsigned char { stuffed, plain, binary };
    explicit DotReader(Dots dots = Dots::stuffed) : dots_(dots) {}
    // Appends unstuffed content to `out` and says how many bytes of `bytes` it took. After ended() it takes none.
    std::size_t feed(std::string_view bytes, std::string& out);
    // Of chunks: the last one is in. Plain: the last line is ended when it is not.
    void finish(std::string& out);
    bool ended() const { return ended_; }
    bool saw_bare() const { return saw_bare_; }      // a LF without CR or a CR without LF was there
    bool saw_bare_lf() const { return saw_bare_lf_; }
    bool saw_8bit() const { return saw_8bit_; }
    bool saw_nul() const { return saw_nul_; }
    bool saw_leading_dot() const { return leading_dot_; }   // a content line begins with a dot
    std::size_t longest_line() const { return longest_; }
    std::size_t size() const { return size_; }       // content bytes so far

private:
    // lf_…: the line began after a bare LF, so its dot may be stuffed but can end nothing.
    enum class State : unsigned char { line_start, line, cr, dot, dot_cr, lf_start, lf_dot, lf_dot_cr };
    class Pass;
    void look_at(std::string_view bytes);
    Dots dots_;
    State state_ = State::line_start;
    bool ended_ = false, saw_bare_ = false, saw_bare_lf_ = false, saw_8bit_ = false, saw_nul_ = false, leading_dot_ = false;
    std::size_t line_size_ = 0, longest_ = 0, size_ = 0;
};

// Content in CRLF form to DATA form: any cut; finish() adds what is missing of CRLF, then ".\r\n".
class DotWriter {
public:
    void feed(std::string_view content, std::string& out);
    void finish(std::string& out);

private:
    bool line_start_ = true;
    char last_ = '\n';
};

}  // namespace veredus::smtp
