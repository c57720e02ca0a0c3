// Which e-mail addresses notifications are sent to. Pure: no I/O, no look-up whether the domain exists.
#pragma once

#include <cstddef>
#include <string_view>

namespace sync_engine {

// Octets (RFC 5321, 4.5.3.1; the path's 256 include its angle brackets).
inline constexpr std::size_t kMaxEmailAddress = 254;
inline constexpr std::size_t kMaxEmailLocalPart = 64;
inline constexpr std::size_t kMaxEmailLabel = 63;

// Why no mail can be sent to `text`; empty when it can. The reason is static text that quotes nothing of the
// address and follows "the e-mail address ...". Accepted is ASCII local@domain: a dot-atom of at most 64
// octets (RFC 5322, 3.4.1), then labels of letters, digits and inner hyphens with at least one dot, the last
// of them not all digits. Quoted local parts, comments, display names and address literals are refused, so
// that an address that passes can stand in a header and in an SMTP command as it is.
std::string_view email_fault(std::string_view text);

}  // namespace sync_engine
