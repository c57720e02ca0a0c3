#include "core/email_address.hpp"

namespace sync_engine {
namespace {

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// RFC 5322, 3.2.3.
bool is_atom_text(char c) {
    return is_letter(c) || is_digit(c) ||
           std::string_view("!#$%&'*+-/=?^_`{|}~").find(c) != std::string_view::npos;
}

bool is_ascii(std::string_view text) {
    for (const char c : text) {
        if (static_cast<unsigned char>(c) >= 0x80) {
            return false;
        }
    }
    return true;
}

bool has_blank_or_control(std::string_view text) {
    for (const char c : text) {
        if (static_cast<unsigned char>(c) <= 0x20 || c == 0x7f) {
            return true;
        }
    }
    return false;
}

std::string_view local_part_fault(std::string_view local) {
    if (local.empty()) {
        return "has nothing before its @";
    }
    if (local.size() > kMaxEmailLocalPart) {
        return "has more than 64 characters before its @";
    }
    if (local.front() == '.' || local.back() == '.' || local.find("..") != std::string_view::npos) {
        return "has a dot too many before its @";
    }
    for (const char c : local) {
        if (c != '.' && !is_atom_text(c)) {
            return "has a character before its @ that is not supported, such as a quote, a comma or a "
                   "comment";
        }
    }
    return {};
}

std::string_view label_fault(std::string_view label) {
    if (label.empty()) {
        return "has an empty label in its domain";
    }
    if (label.size() > kMaxEmailLabel) {
        return "has a label of more than 63 characters in its domain";
    }
    if (label.front() == '-' || label.back() == '-') {
        return "has a label in its domain that begins or ends with a hyphen";
    }
    for (const char c : label) {
        if (!is_letter(c) && !is_digit(c) && c != '-') {
            return "has a character in its domain that is neither a letter, a digit nor a hyphen";
        }
    }
    return {};
}

bool all_digits(std::string_view text) {
    for (const char c : text) {
        if (!is_digit(c)) {
            return false;
        }
    }
    return true;
}

std::string_view domain_fault(std::string_view domain) {
    if (domain.empty()) {
        return "has no domain after its @";
    }
    if (domain.front() == '[') {
        return "names a host by its IP address; a domain name is needed";
    }
    if (domain.find('.') == std::string_view::npos) {
        return "has no dot in its domain";
    }
    while (true) {
        const std::size_t dot = domain.find('.');
        const std::string_view label = domain.substr(0, dot);
        if (const std::string_view fault = label_fault(label); !fault.empty()) {
            return fault;
        }
        if (dot == std::string_view::npos) {
            // No top-level domain is a number, but the last byte of an IPv4 address is.
            return all_digits(label) ? "names a host by its IP address; a domain name is needed" : "";
        }
        domain.remove_prefix(dot + 1);
    }
}

}  // namespace

std::string_view email_fault(std::string_view text) {
    if (text.empty()) {
        return "is empty";
    }
    if (text.size() > kMaxEmailAddress) {
        return "is longer than 254 characters";
    }
    if (has_blank_or_control(text)) {
        return "has a blank or a control character";
    }
    // The last @ is the one that counts: any other stands in a local part that is refused.
    const std::size_t at = text.rfind('@');
    if (at == std::string_view::npos) {
        return "has no @";
    }
    const std::string_view local = text.substr(0, at);
    const std::string_view domain = text.substr(at + 1);
    if (!is_ascii(local)) {
        return "has a character outside of ASCII before its @, which is not supported";
    }
    if (!is_ascii(domain)) {
        return "has a character outside of ASCII in its domain; write the domain in its xn-- form";
    }
    const std::string_view fault = local_part_fault(local);
    return fault.empty() ? domain_fault(domain) : fault;
}

}  // namespace sync_engine
